mod leopard;

use super::*;
use crate::ids::{PackId, PackKind, PackName, RepositoryId};

const REPOSITORY: RepositoryId = RepositoryId([1; 16]);
const PACK: PackName = PackName { kind: PackKind::Meta, id: PackId([3; 16]) };

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    bytes
}

fn parity_of(pack: &[u8], percent: u8) -> Vec<u8> {
    let (hash, overhead) = (*blake3::hash(pack).as_bytes(), Overhead::percent(percent).expect("in range"));
    let mut out = vec![7; 9];
    ParityEncoder::new().encode(REPOSITORY, PACK, pack, hash, overhead, &mut out).expect("encodes");
    out
}

fn rebuilt(parity: &[u8], damaged: Vec<u8>) -> Result<Rebuilt> {
    Parity::decode(parity)?.rebuild(damaged)
}

/// `pack` with a bit flipped in each of these shards.
fn flipped(pack: &[u8], shards: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut bytes = pack.to_vec();
    shards.for_each(|shard| bytes[shard * SHARD_BYTES + shard % SHARD_BYTES] ^= 0x10);
    bytes
}

#[test]
fn flipped_bits_come_back_in_as_many_shards_as_there_is_parity_and_one_more_is_said() {
    let pack = noise(1, 40 * SHARD_BYTES);
    let parity = parity_of(&pack, 10);
    let back = rebuilt(&parity, flipped(&pack, [0, 7, 8, 39].into_iter())).expect("four of forty");
    let shard = |n: u32| n * SHARD_BYTES as u32;
    assert!(back.bytes == pack);
    assert_eq!(back.ranges, [0..shard(1), shard(7)..shard(9), shard(39)..shard(40)], "neighbours are one range");
    assert_eq!(back.damaged_bytes(), 4 * SHARD_BYTES as u64);
    let error = rebuilt(&parity, flipped(&pack, [0, 7, 8, 20, 39].into_iter())).expect_err("five of forty");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("shards_damaged=5"), "{error}");
    assert_eq!(rebuilt(&parity, pack.clone()).expect("whole"), Rebuilt { bytes: pack, ranges: Vec::new() });
}

#[test]
fn a_cut_tail_a_hole_and_bytes_too_many_come_back() {
    let pack = noise(2, 100 * SHARD_BYTES + 77);
    let parity = parity_of(&pack, 10);
    let cut = |len: usize| pack[..len].to_vec();
    let mut hole = pack.clone();
    hole[123_456..123_456 + 9 * SHARD_BYTES].fill(0);
    let longer = [&pack[..], b"and more"].concat();
    for (what, damaged) in [
        ("one byte", cut(pack.len() - 1)),
        ("ten shards and 77 bytes", cut(90 * SHARD_BYTES)),
        ("a hole across ten shards", hole),
        ("too long", longer),
    ] {
        assert!(rebuilt(&parity, damaged).expect(what).bytes == pack, "{what}");
    }
    assert!(rebuilt(&parity, cut(89 * SHARD_BYTES)).is_err());
    assert!(rebuilt(&parity, Vec::new()).is_err());
}

#[test]
fn damage_of_the_parity_costs_what_it_hit() {
    let pack = noise(3, 40 * SHARD_BYTES);
    let parity = parity_of(&pack, 10);
    let head = Parity::decode(&parity).expect("sound").head().encoded_len();
    assert_eq!(parity.len(), 2 * head + 4 * SHARD_BYTES + 4);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = parity.clone();
        change(&mut bytes);
        bytes
    };
    let usable = |bytes: &[u8]| Parity::decode(bytes).map(|parity| parity.usable()).ok();
    assert_eq!(usable(&with(&|b| b[3] ^= 1)), Some(4), "the head behind serves");
    assert_eq!(usable(&with(&|b| b[head - 1] ^= 1)), Some(4));
    assert_eq!(usable(&with(&|b| b[80] = 0xff)), Some(4), "a number of shards no parity has");
    assert_eq!(usable(&with(&|b| b.truncate(head + 2 * SHARD_BYTES + 1))), Some(2), "the head in front serves");
    assert_eq!(usable(&with(&|b| *b.last_mut().expect("bytes") ^= 1)), Some(4));
    assert_eq!(usable(&with(&|b| b[head + SHARD_BYTES] ^= 1)), Some(3));
    assert_eq!(usable(&with(&|b| (b[0], b[parity.len() - 9]) = (0, 0))), None, "both heads");
    assert_eq!(usable(&[]), None);
    let both = with(&|b| (b[3], b[head + SHARD_BYTES]) = (0, !parity[head + SHARD_BYTES]));
    assert!(rebuilt(&both, flipped(&pack, [1, 2, 30].into_iter())).expect("three and three").bytes == pack);
    assert!(rebuilt(&both, flipped(&pack, 1..5)).is_err());
}

#[test]
fn packs_of_every_length_come_back_whole_by_as_much_parity() {
    let mut encoder = ParityEncoder::new();
    let mut out = Vec::new();
    for len in [1, 2, 63, 64, 65, 4095, 4096, 4097, 8192, 100_000] {
        let pack = noise(4, len);
        let hash = *blake3::hash(&pack).as_bytes();
        for percent in [1, 30, 100] {
            let overhead = Overhead::percent(percent).expect("in range");
            encoder.encode(REPOSITORY, PACK, &pack, hash, overhead, &mut out).expect("encodes");
            assert_eq!(out, parity_of(&pack, percent), "{len}: what an encoder did before does not show");
            let parity = Parity::decode(&out).expect("decodes");
            let (data, usable) = (parity.head().data.len(), parity.usable());
            assert_eq!(usable, (data * usize::from(percent)).div_ceil(100), "{len} {percent}");
            let mut damaged = pack.clone();
            let kept = data.saturating_sub(usable) * SHARD_BYTES;
            damaged.truncate(kept.min(len));
            assert_eq!(parity.rebuild(damaged).expect("enough").bytes, pack, "{len} {percent}");
        }
        let shards = len.div_ceil(SHARD_BYTES);
        let shard_bytes = SHARD_BYTES.min(len.next_multiple_of(64));
        assert_eq!(
            out.len(),
            shards * shard_bytes + 2 * (119 + 16 * shards) + 4,
            "{len}: a short pack has short parity"
        );
    }
    let none = encoder.encode(REPOSITORY, PACK, &[], [0; 32], Overhead::NONE, &mut out);
    assert_eq!(none.expect_err("nothing to protect").kind(), ErrorKind::Invalid);
    assert!(Overhead::percent(101).is_err() && Overhead::percent(0).expect("none").is_none());
}

#[test]
fn a_forged_table_does_not_pass() {
    let pack = noise(5, 3 * SHARD_BYTES);
    let other = noise(6, 3 * SHARD_BYTES);
    let hash = *blake3::hash(&other).as_bytes();
    let mut parity = Vec::new();
    let overhead = Overhead::percent(100).expect("in range");
    ParityEncoder::new().encode(REPOSITORY, PACK, &pack, hash, overhead, &mut parity).expect("encodes");
    for left in [pack, other, Vec::new()] {
        assert!(rebuilt(&parity, left).is_err(), "every shard fits, the whole does not");
    }
}

/// docs/format/parity.md, line by line, and the bytes once and for all.
#[test]
fn the_bytes_are_those_documented_and_settled() {
    let pack = noise(8, 2 * SHARD_BYTES + 100);
    let mut last = pack[2 * SHARD_BYTES..].to_vec();
    last.resize(SHARD_BYTES, 0);
    let shards = [&pack[..SHARD_BYTES], &pack[SHARD_BYTES..2 * SHARD_BYTES], &last];
    let recovery = reed_solomon_simd::encode(3, 2, shards).expect("encodes");
    let mut head = [&b"DECUBEPA\x01\x00"[..], &REPOSITORY.0, &[1], &PACK.id.0].concat();
    head.extend_from_slice(&(pack.len() as u32).to_le_bytes());
    head.extend_from_slice(blake3::hash(&pack).as_bytes());
    head.extend_from_slice(&[0, 16, 0, 0, 2, 0, 0, 0]);
    for shard in pack.chunks(SHARD_BYTES).chain(recovery.iter().map(Vec::as_slice)) {
        head.extend_from_slice(&blake3::hash(shard).as_bytes()[..8]);
    }
    let checksum = blake3::hash(&head);
    head.extend_from_slice(checksum.as_bytes());
    let expected = [&head[..], &recovery[0], &recovery[1], &head, &(head.len() as u32).to_le_bytes()].concat();
    let parity = parity_of(&pack, 50);
    assert!(parity == expected);
    const GOLDEN: &str = "170b48536f33d37a58ec70099b21d073ceb4f934cea135324d0ba4d8c1c29740";
    assert_eq!(crate::ids::hex(blake3::hash(&parity).as_bytes()), GOLDEN);
}

#[test]
fn another_version_is_not_taken_for_damage() {
    let mut head = Parity::decode(&parity_of(b"pack", 10)).expect("sound").head().encode();
    head[8] = 2;
    assert_eq!(ParityHead::decode(&head).expect_err("checksum").kind(), ErrorKind::Corrupt);
    let body = head.len() - 32;
    let checksum = blake3::hash(&head[..body]);
    head[body..].copy_from_slice(checksum.as_bytes());
    assert_eq!(ParityHead::decode(&head).expect_err("version").kind(), ErrorKind::Unsupported);
}
