//! POSIX ACLs as Linux keeps them in an extended attribute.
//!
//! `u32` version 2, then entries of 8 bytes: `u16` tag, `u16` permissions, `u32` id, all little-endian. Source: Linux,
//! `include/uapi/linux/posix_acl_xattr.h`.

const VERSION: [u8; 4] = [2, 0, 0, 0];
/// The entry of the owning group.
const GROUP_OBJ: [u8; 2] = [4, 0];

/// What the owning group itself may do, `0..=7`; 0 if `acl` does not say.
pub(super) fn group_bits(acl: &[u8]) -> u32 {
    let entries = acl.strip_prefix(&VERSION).unwrap_or_default();
    let of_group = |entry: &&[u8]| entry.starts_with(&GROUP_OBJ);
    entries.chunks_exact(8).find(of_group).and_then(|entry| entry.get(2)).map_or(0, |bits| u32::from(bits & 7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owning_groups_bits_are_found_and_nonsense_gives_none() {
        // user::rw- user:1000:rw- group::r-- mask::rw- other::---
        let entry = |tag: u8, bits: u8| [tag, 0, bits, 0, 0xe8, 3, 0, 0];
        let acl =
            [&VERSION[..], &[entry(1, 6), entry(2, 6), entry(4, 4), entry(16, 6), entry(32, 0)].concat()].concat();
        assert_eq!(group_bits(&acl), 4);
        for len in 0..acl.len() {
            assert!(group_bits(&acl[..len]) <= 4);
        }
        assert_eq!(group_bits(&[1; 44]), 0);
    }
}
