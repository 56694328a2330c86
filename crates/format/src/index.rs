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

/// Encodes the tables of `packs`, in order: one index segment per [`INDEX_PACKS_MAX`] packs, none for no packs. The
/// caller seals each.
pub fn encode_index<'a>(packs: impl ExactSizeIterator<Item = (PackName, &'a Footer)>) -> Vec<Vec<u8>> {
    let mut left = packs.len();
    let mut segments: Vec<Vec<u8>> = Vec::with_capacity(left.div_ceil(INDEX_PACKS_MAX));
    for (at, (name, footer)) in packs.enumerate() {
        if at.is_multiple_of(INDEX_PACKS_MAX) {
            let count = left.min(INDEX_PACKS_MAX);
            left -= count;
            let mut segment = Vec::new();
            segment.write_u8(1);
            segment.write_varint(count as u64);
            segments.push(segment);
        }
        if let Some(out) = segments.last_mut() {
            out.write_u8(match name.kind {
                PackKind::Data => 0,
                PackKind::Meta => 1,
            });
            out.extend_from_slice(&name.id.0);
            footer.encode_to(out);
        }
    }
    segments
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
        let bytes = encode_index([(name, &footer)].into_iter()).remove(0);
        assert_eq!(decode_index(&bytes).expect("decodes"), [(name, footer)]);
        for len in 0..bytes.len() {
            assert!(decode_index(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn more_packs_than_a_reader_takes_become_several_index_segments() {
        let mut footer = Footer::default();
        footer.push(17, 1, Codec::Stored, &[(ShortId([1; 16]), 1)]);
        let packs = |count: usize| {
            let name = |n: usize| PackName { kind: PackKind::Data, id: PackId((n as u128).to_be_bytes()) };
            (0..count).map(|n| (name(n), &footer)).collect::<Vec<_>>()
        };
        for (count, expected) in [
            (0, vec![]),
            (1, vec![1]),
            (INDEX_PACKS_MAX, vec![INDEX_PACKS_MAX]),
            (INDEX_PACKS_MAX + 1, vec![INDEX_PACKS_MAX, 1]),
        ] {
            let segments = encode_index(packs(count).into_iter());
            let decoded: Vec<_> = segments.iter().map(|s| decode_index(s).expect("decodes")).collect();
            assert_eq!(decoded.iter().map(Vec::len).collect::<Vec<_>>(), expected);
            let joined: Vec<PackName> = decoded.into_iter().flatten().map(|(name, _)| name).collect();
            assert_eq!(joined, packs(count).iter().map(|p| p.0).collect::<Vec<_>>());
        }
    }
}
