//! POSIX ACLs as Linux keeps them in an extended attribute.
//!
//! `u32` version 2, then entries of 8 bytes: `u16` tag, `u16` permissions, `u32` id, all little-endian. Source: Linux,
//! `include/uapi/linux/posix_acl_xattr.h`.

/// The attribute with the ACL that governs access.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute with the ACL that a directory hands down.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: [u8; 4] = [2, 0, 0, 0];
/// Tag of the entry of the owning group.
const GROUP_OBJ: u16 = 0x04;

struct Entry {
    tag: u16,
    bits: u16,
    id: u32,
}

/// The entries of `acl`; `None` if it is not of that version and shape.
fn entries(acl: &[u8]) -> Option<impl Iterator<Item = Entry>> {
    let entries = acl.strip_prefix(&VERSION).filter(|entries| entries.len() % 8 == 0)?;
    Some(entries.chunks_exact(8).filter_map(|entry| {
        let (tag, rest) = entry.split_first_chunk()?;
        let (bits, id) = rest.split_first_chunk()?;
        let id = u32::from_le_bytes(id.try_into().ok()?);
        Some(Entry { tag: u16::from_le_bytes(*tag), bits: u16::from_le_bytes(*bits), id })
    }))
}

/// What the owning group itself may do, `0..=7`; 0 if `acl` does not say.
pub fn group_bits(acl: &[u8]) -> u32 {
    let of_group = entries(acl).and_then(|mut entries| entries.find(|entry| entry.tag == GROUP_OBJ));
    of_group.map_or(0, |entry| u32::from(entry.bits & 7))
}

/// The short text form, with numbers for names and commas between entries (`user::rw-,user:1000:r--,mask::r--`), as
/// `acl_from_text(3)` and archivers read it; `None` for what is no ACL.
pub fn text(acl: &[u8]) -> Option<String> {
    let entry = |entry: Entry| {
        let id = entry.id;
        let who = match entry.tag {
            0x01 => "user:".into(),
            0x02 => format!("user:{id}"),
            GROUP_OBJ => "group:".into(),
            0x08 => format!("group:{id}"),
            0x10 => "mask:".into(),
            0x20 => "other:".into(),
            _ => return None,
        };
        let bit = |bit: u16, letter: char| if entry.bits & bit == 0 { '-' } else { letter };
        Some(format!("{who}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x')))
    };
    let entries: Vec<String> = entries(acl)?.map(entry).collect::<Option<_>>()?;
    Some(entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl() -> Vec<u8> {
        let entry = |tag: u8, bits: u8| [tag, 0, bits, 0, 0xe8, 3, 0, 0];
        let entries = [entry(1, 6), entry(2, 7), entry(4, 4), entry(8, 1), entry(16, 6), entry(32, 0)].concat();
        [&VERSION[..], &entries].concat()
    }

    #[test]
    fn the_owning_groups_bits_are_found_and_nonsense_gives_none() {
        let acl = acl();
        assert_eq!(group_bits(&acl), 4);
        for len in 0..acl.len() {
            assert!(group_bits(&acl[..len]) <= 4);
        }
        assert_eq!(group_bits(&[1; 44]), 0);
    }

    #[test]
    fn text_names_every_entry_and_nonsense_has_none() {
        let whole = "user::rw-,user:1000:rwx,group::r--,group:1000:--x,mask::rw-,other::---";
        assert_eq!(text(&acl()).as_deref(), Some(whole));
        assert_eq!(text(&[1; 44]), None);
        assert_eq!(text(&acl()[..7]), None);
        let strange = [&VERSION[..], &[3, 0, 6, 0, 0, 0, 0, 0]].concat();
        assert_eq!(text(&strange), None);
    }
}
