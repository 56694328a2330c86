use super::*;
use crate::codec::{Codec, Compressor, Decompressor, Effort};
use crate::hash::Key32;
use crate::ids::{PackId, PackKind, PackName, RepositoryId, ShortId};
use crate::seal::Cipher;
use proptest::prelude::*;

const FAMILY: Key32 = Key32([9; 32]);

fn build(segments: &[(&[u8], bool)]) -> (Vec<u8>, Footer) {
    let name = PackName { kind: PackKind::Data, id: PackId([3; 16]) };
    let mut writer = PackWriter::new(RepositoryId([1; 16]), name, Cipher::Aes256Gcm, 0, &FAMILY, Vec::new());
    let mut compressor = Compressor::new(Effort::Balanced, 1 << 20).expect("valid");
    for (number, (raw, compress)) in segments.iter().enumerate() {
        let half = (raw.len() / 2) as u32;
        let chunks = vec![(ShortId([number as u8; 16]), half), (ShortId([0xff; 16]), raw.len() as u32 - half)];
        let mut out = Vec::new();
        let codec = match compress {
            true => compress_segment(raw, &mut compressor, &mut out).expect("compresses"),
            false => Codec::Stored,
        };
        let body = if codec == Codec::Stored { raw } else { &out[..] };
        writer.append(codec, body, raw.len() as u32, &chunks).expect("seals");
    }
    let pack = writer.finish().expect("finishes");
    (pack.bytes, pack.footer)
}

fn open(pack: &[u8]) -> decube_backup_core::Result<Vec<Vec<u8>>> {
    let reader = PackReader::new(PackHeader::decode(pack)?, &FAMILY)?;
    let footer = reader.footer_of(pack)?;
    let mut decompressor = Decompressor::new()?;
    let mut all = Vec::new();
    for (number, entry) in footer.segments.iter().enumerate() {
        let at = entry.offset as usize;
        let mut sealed = pack[at..at + entry.stored_len as usize].to_vec();
        let mut raw = Vec::new();
        reader.segment(number as u32, entry, &mut sealed, &mut decompressor, &mut raw)?;
        all.push(raw);
    }
    Ok(all)
}

#[test]
fn a_pack_gives_its_segments_back_and_is_padded() {
    let text = b"the same line again and again\n".repeat(2000);
    let (pack, footer) = build(&[(&text, true), (b"ab", false), (b"xyz", true)]);
    assert_eq!(open(&pack).expect("opens"), [text.clone(), b"ab".to_vec(), b"xyz".to_vec()]);
    assert_eq!(footer.segments[0].codec, Codec::Zstd);
    assert_eq!(footer.segments[2].codec, Codec::Stored);
    assert_eq!(padding::padme(pack.len() as u64), pack.len() as u64);
    scrub(&pack).expect("sound");
}

#[test]
fn a_pack_is_full_at_the_most_segments_a_reader_takes() {
    let name = PackName { kind: PackKind::Data, id: PackId([3; 16]) };
    let mut writer = PackWriter::new(RepositoryId([1; 16]), name, Cipher::Aes256Gcm, 0, &FAMILY, Vec::new());
    for number in 0..SEGMENTS_MAX {
        assert!(!writer.is_full(usize::MAX), "{number}");
        writer.append(Codec::Stored, b"x", 1, &[(ShortId([7; 16]), 1)]).expect("seals");
    }
    assert!(writer.is_full(usize::MAX));
    assert!(writer.append(Codec::Stored, b"x", 1, &[(ShortId([7; 16]), 1)]).is_err());
    let pack = writer.finish().expect("reads back").bytes;
    let reader = PackReader::new(PackHeader::decode(&pack).expect("a header"), &FAMILY).expect("opens");
    assert_eq!(reader.footer_of(&pack).expect("within bounds").segments.len(), SEGMENTS_MAX);
}

#[test]
fn packs_are_closed_where_padding_is_small() {
    // Random content comes in segments of 1 MiB of chunks between 16 and 128 KiB, for packs of 16 MiB.
    const TARGET: usize = 16 << 20;
    let name = PackName { kind: PackKind::Data, id: PackId([3; 16]) };
    let new = || PackWriter::new(RepositoryId([1; 16]), name, Cipher::Aes256Gcm, 0, &FAMILY, Vec::new());
    let (mut writer, mut state, mut content, mut stored, mut packs) = (new(), 7u64, 0, 0, 0);
    let mut close = |writer: PackWriter| {
        let len = writer.finish().expect("finishes").bytes.len();
        assert!(len > TARGET / 4 * 3 && len <= TARGET + (1 << 19), "{len}");
        (stored, packs) = (stored + len, packs + 1);
    };
    for _ in 0..400 {
        let mut chunks: Vec<(ShortId, u32)> = Vec::new();
        while chunks.iter().map(|c| c.1).sum::<u32>() < (1 << 20) - (1 << 17) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunks.push((ShortId([1; 16]), (16 << 10) + (state >> 33) as u32 % (112 << 10)));
        }
        let mut rest = &chunks[..];
        while !rest.is_empty() {
            let cut = writer.cut(rest, TARGET);
            let (taken, left) = rest.split_at(cut.unwrap_or(rest.len()));
            let len: u32 = taken.iter().map(|c| c.1).sum();
            writer.append(Codec::Stored, &vec![0; len as usize], len, taken).expect("seals");
            content += len as usize;
            if cut.is_some() || writer.is_full(TARGET) {
                close(std::mem::replace(&mut writer, new()));
            }
            rest = left;
        }
    }
    content -= writer.len();
    assert!(packs > 20 && stored - content < content / 500, "{packs} packs of {stored} bytes hold {content}");
}

#[test]
fn a_flip_anywhere_is_found_by_the_scrub_and_harmful_ones_by_opening() {
    let (pack, _) = build(&[(b"some content", true), (b"more content", false)]);
    for at in 0..pack.len() {
        let mut bad = pack.clone();
        bad[at] ^= 0x10;
        assert!(scrub(&bad).is_err(), "{at}");
        if let Ok(all) = open(&bad) {
            assert_eq!(all, [b"some content".to_vec(), b"more content".to_vec()], "{at}");
        }
    }
}

#[test]
fn a_truncated_pack_never_opens() {
    let (pack, _) = build(&[(b"some content", true)]);
    for len in 0..pack.len() {
        assert!(scrub(&pack[..len]).is_err());
        assert!(open(&pack[..len]).is_err());
    }
}

#[test]
fn a_chunk_length_that_wraps_around_is_refused() {
    let mut bytes = Vec::new();
    let mut footer = Footer::default();
    footer.push(20, 9, Codec::Stored, &[(ShortId([1; 16]), 4), (ShortId([2; 16]), 5)]);
    footer.encode_to(&mut bytes);
    let lengths = bytes.len() - 2 * ShortId::LEN - 1;
    // 4 + (2^64 - 1) is 3 if nobody looks, and the segment's other chunk would begin before this one.
    bytes.splice(lengths..lengths + 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    assert!(Footer::decode_from(&mut crate::wire::Reader::new(&bytes, "test")).is_err());
}

#[test]
fn the_first_bytes_of_a_pack_are_frozen() {
    let (pack, _) = build(&[(b"golden", false)]);
    assert_eq!(&pack[..12], b"DCPK\x01\x00\x01\x00\x00\x00\x00\x00");
    assert_eq!(crate::ids::hex(blake3::hash(&pack).as_bytes()), GOLDEN);
}

const GOLDEN: &str = "52603c43aaec6cd8af9834779016d41c3a9a9397593029b9b626b864e3925eab";

proptest! {
    #[test]
    fn hostile_footers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut reader = crate::wire::Reader::new(&bytes, "fuzz");
        if let Ok(footer) = Footer::decode_from(&mut reader) {
            let mut again = Vec::new();
            footer.encode_to(&mut again);
            prop_assert_eq!(&again[..], &bytes[..again.len()]);
        }
        let _ = PackHeader::decode(&bytes);
    }
}
