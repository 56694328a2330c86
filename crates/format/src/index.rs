//! Index segments: the tables of contents of several packs in one sealed object.
//!
//! In pack order, not sorted: that is 17–19 bytes a chunk instead of 28–36, and the sorted form each
//! client needs is a local, rebuildable matter. A missing entry only ever costs a duplicate.

use crate::ids::{PackId, PackKind, PackName};
use crate::pack::Footer;
use crate::wire::{Reader, Writer};
use decube_backup_core::Result;

/// Most packs of one index segment.
pub const INDEX_PACKS_MAX: usize = 1 << 16;

/// Encodes the tables of `packs`; the caller seals the result.
pub fn encode_index<'a>(packs: impl ExactSizeIterator<Item = (PackName, &'a Footer)>) -> Vec<u8> {
    let mut out = Vec::new();
    out.write_u8(1);
    out.write_varint(packs.len() as u64);
    for (name, footer) in packs {
        out.write_u8(match name.kind {
            PackKind::Data => 0,
            PackKind::Meta => 1,
        });
        out.extend_from_slice(&name.id.0);
        footer.encode_to(&mut out);
    }
    out
}

/// Decodes an index segment.
///
/// # Errors
/// `Corrupt`.
pub fn decode_index(bytes: &[u8]) -> Result<Vec<(PackName, Footer)>> {
    let mut reader = Reader::new(bytes, "index segment");
    if reader.u8()? != 1 {
        return Err(reader.corrupt());
    }
    let count = reader.count(18)?;
    if count > INDEX_PACKS_MAX {
        return Err(reader.corrupt());
    }
    let mut packs = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = match reader.u8()? {
            0 => PackKind::Data,
            1 => PackKind::Meta,
            _ => return Err(reader.corrupt()),
        };
        let id = PackId(reader.array()?);
        packs.push((PackName { kind, id }, Footer::decode_from(&mut reader)?));
    }
    reader.finish()?;
    Ok(packs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::ids::ShortId;

    #[test]
    fn an_index_segment_round_trips_and_every_truncation_is_refused() {
        let mut footer = Footer::default();
        footer.push(100, 30, Codec::Zstd, &[(ShortId([1; 16]), 10), (ShortId([2; 16]), 20)]);
        footer.push(50, 7, Codec::Stored, &[(ShortId([3; 16]), 7)]);
        let name = PackName { kind: PackKind::Meta, id: PackId([7; 16]) };
        let bytes = encode_index([(name, &footer)].into_iter());
        assert_eq!(decode_index(&bytes).expect("decodes"), [(name, footer)]);
        for len in 0..bytes.len() {
            assert!(decode_index(&bytes[..len]).is_err());
        }
    }
}
