//! Ids of chunks, packs and repositories, and the object keys made from them.

use decube_backup_core::{Error, ErrorKind, Key, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length, bytes.
            pub const LEN: usize = $len;

            /// Lower-case hex.
            pub fn to_hex(&self) -> String {
                hex(&self.0)
            }

            /// From exactly `LEN` × 2 lower- or upper-case hex digits.
            ///
            /// # Errors
            /// `Invalid`.
            pub fn from_hex(text: &str) -> Result<Self> {
                let mut id = [0; $len];
                if unhex(text, &mut id) {
                    Ok(Self(id))
                } else {
                    Err(Error::new(ErrorKind::Invalid, "id", "not a hexadecimal id").with("id", format!("{text:?}")))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }
    };
}

id_type!(
    /// Keyed BLAKE3 of a chunk's plaintext (or a tree or list node's).
    ChunkId, 32);
id_type!(
    /// The first 16 bytes of a [`ChunkId`]: what indexes and footers hold.
    ShortId, 16);
id_type!(
    /// Random name of a pack, chosen before its first byte; never reused.
    PackId, 16);
id_type!(
    /// Random part of a parity object's name; never used again for the same pack.
    ParityId, 8);
id_type!(
    /// Random name of a repository.
    RepositoryId, 16);
id_type!(
    /// Random name of an index segment.
    IndexId, 16);
id_type!(
    /// BLAKE3 of a snapshot's manifest as recorded (before sealing): the snapshot's id.
    SnapshotId, 32);
id_type!(
    /// Random name of a key slot.
    SlotId, 8);

impl ChunkId {
    /// What indexes look up.
    pub fn short(&self) -> ShortId {
        let mut short = [0; 16];
        short.copy_from_slice(&self.0[..16]);
        ShortId(short)
    }
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

fn unhex(text: &str, out: &mut [u8]) -> bool {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    text.len() == out.len() * 2
        && text.as_bytes().chunks_exact(2).zip(out).all(|(pair, byte)| match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => {
                *byte = high << 4 | low;
                true
            }
            _ => false,
        })
}

/// Which of the two pack families a pack belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PackKind {
    /// Content of files: `packs/d/…`.
    Data,
    /// Tree and list nodes: `packs/m/…`.
    Meta,
}

impl PackKind {
    /// The letter in object keys.
    pub fn letter(self) -> char {
        match self {
            Self::Data => 'd',
            Self::Meta => 'm',
        }
    }
}

/// A pack's full name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackName {
    /// Family.
    pub kind: PackKind,
    /// Random part.
    pub id: PackId,
}

/// A parity object's full name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParityName {
    /// The pack it helps.
    pub pack: PackName,
    /// Random part: a pack that loses its parity may get another one.
    pub id: ParityId,
}

/// Plain header object: repository id, version, features, chunker.
pub const FORMAT_KEY: &str = "format";
/// The same bytes once more.
pub const FORMAT_COPY_KEY: &str = "copy/format";
/// Reserved for an untrusted hint at the log's end: written by nobody yet, in nobody's way.
pub const HINT_KEY: &str = "hint";

fn key(name: String) -> Result<Key> {
    Key::new(name)
}

/// `packs/<d|m>/<xx>/<id>`.
///
/// # Errors
/// Never for an id type; the signature is the key constructor's.
pub fn pack_key(name: &PackName) -> Result<Key> {
    let hex = name.id.to_hex();
    key(format!("packs/{}/{}/{hex}", name.kind.letter(), &hex[..2]))
}

/// `parity/<d|m>/<xx>/<pack>-<id>`; the letter and `xx` are the pack's.
///
/// # Errors
/// Never.
pub fn parity_key(name: &ParityName) -> Result<Key> {
    let pack = name.pack.id.to_hex();
    key(format!("parity/{}/{}/{pack}-{}", name.pack.kind.letter(), &pack[..2], name.id))
}

/// `log/<seq>`, 16 hex digits so that names sort like numbers.
///
/// # Errors
/// Never.
pub fn log_key(seq: u64) -> Result<Key> {
    key(format!("log/{seq:016x}"))
}

/// `ckpt/<seq>`.
///
/// # Errors
/// Never.
pub fn checkpoint_key(seq: u64) -> Result<Key> {
    key(format!("ckpt/{seq:016x}"))
}

/// `index/<level>/<id>`.
///
/// # Errors
/// Never.
pub fn index_key(level: u8, id: &IndexId) -> Result<Key> {
    key(format!("index/{level}/{id}"))
}

/// The pack a `packs/…` key names; `None` for any other key.
pub fn parse_pack_key(key: &Key) -> Option<PackName> {
    let (kind, hex) = match key.as_str().strip_prefix("packs/")?.split_at_checked(5)? {
        (folder, hex) if folder.starts_with("d/") => (PackKind::Data, hex),
        (folder, hex) if folder.starts_with("m/") => (PackKind::Meta, hex),
        _ => return None,
    };
    let name = PackName { kind, id: PackId::from_hex(hex).ok()? };
    // Upper case, or another folder: not a name this program ever gave.
    pack_key(&name).is_ok_and(|made| made == *key).then_some(name)
}

/// The parity object a `parity/…` key names; `None` for any other key.
pub fn parse_parity_key(key: &Key) -> Option<ParityName> {
    let (pack, id) = key.as_str().strip_prefix("parity/")?.split_once('-')?;
    let pack = parse_pack_key(&Key::new(format!("packs/{pack}")).ok()?)?;
    let name = ParityName { pack, id: ParityId::from_hex(id).ok()? };
    parity_key(&name).is_ok_and(|made| made == *key).then_some(name)
}

/// Level and name of the index segment an `index/…` key names; `None` for any other key.
pub fn parse_index_key(key: &Key) -> Option<(u8, IndexId)> {
    let (level, hex) = key.as_str().strip_prefix("index/")?.split_once('/')?;
    let (level, id) = (level.parse().ok()?, IndexId::from_hex(hex).ok()?);
    index_key(level, &id).is_ok_and(|made| made == *key).then_some((level, id))
}

/// Record number in a `log/…` or `ckpt/…` key; `None` for any other key.
pub fn parse_seq_key(key: &Key) -> Option<u64> {
    let (folder, hex) = key.as_str().split_once('/')?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_named = (folder == "log" || folder == "ckpt") && hex.len() == 16 && hex.bytes().all(is_digit);
    is_named.then(|| u64::from_str_radix(hex, 16).ok())?
}

/// `keys/<slot>`; the slot is the hex of 8 random bytes.
///
/// # Errors
/// `Invalid` if `slot` is not a legal name.
pub fn slot_key(slot: &str) -> Result<Key> {
    key(format!("keys/{slot}"))
}

/// `keyring/<generation>`.
///
/// # Errors
/// Never.
pub fn keyring_key(generation: u32) -> Result<Key> {
    key(format!("keyring/{generation:08x}"))
}

/// `copy/keyring/<generation>`: the same bytes once more.
///
/// # Errors
/// Never.
pub fn keyring_copy_key(generation: u32) -> Result<Key> {
    key(format!("copy/keyring/{generation:08x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_through_hex() {
        let id = PackId([0xa5; 16]);
        assert_eq!(PackId::from_hex(&id.to_hex()).expect("hex"), id);
        assert!(PackId::from_hex("zz").is_err());
        let name = PackName { kind: PackKind::Meta, id };
        let key = pack_key(&name).expect("legal");
        assert_eq!(key.as_str(), format!("packs/m/a5/{id}"));
        assert_eq!(parse_pack_key(&key), Some(name));
        let parity = ParityName { pack: name, id: ParityId([0xb6; 8]) };
        let key = parity_key(&parity).expect("legal");
        assert_eq!(key.as_str(), format!("parity/m/a5/{id}-b6b6b6b6b6b6b6b6"));
        assert_eq!((parse_parity_key(&key), parse_pack_key(&key)), (Some(parity), None));
        let key = index_key(3, &IndexId([7; 16])).expect("legal");
        assert_eq!(parse_index_key(&key), Some((3, IndexId([7; 16]))));
        assert_eq!(parse_seq_key(&checkpoint_key(77).expect("legal")), Some(77));
        for other in [
            "packs/d/a5/xx",
            "packs/x/a5/a5",
            "packs/d",
            "index/0",
            "index/00/07",
            "keys/0000000000000007",
            "hint",
            "parity/d/a5/a5-b6",
        ] {
            let key = Key::new(other).expect("legal");
            let parsed = (parse_pack_key(&key), parse_index_key(&key), parse_seq_key(&key), parse_parity_key(&key));
            assert_eq!(parsed, (None, None, None, None), "{other}");
        }
    }
}
