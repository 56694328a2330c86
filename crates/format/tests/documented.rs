//! `docs/format/pack.md` and `index.md` taken at their word: cut points and a pack read with nothing but what they say.

use decube_backup_core::Result;
use decube_backup_core::world::Entropy;
use decube_backup_format::chunker::{Chunker, ChunkerParams};
use decube_backup_format::codec::Codec;
use decube_backup_format::hash::{ContentHasher, Domain, Key32};
use decube_backup_format::ids::{IndexId, PackId, PackKind, PackName, RepositoryId, ShortId, index_key};
use decube_backup_format::index::encode_index;
use decube_backup_format::pack::{Footer, PackWriter};
use decube_backup_format::seal::Cipher;
use decube_backup_format::sealed;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const KEY: [u8; 32] = [9; 32];
const REPOSITORY: [u8; 16] = [1; 16];
const PACK: [u8; 16] = [3; 16];

fn derive(context: &str, material: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(&format!("decube-backup 2026 v1 {context}"), &material.concat())
}

fn noise(key: &[u8; 32], len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_keyed(key).finalize_xof().fill(&mut bytes);
    bytes
}

fn open(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"));
    let mut bytes = sealed.to_vec();
    key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut bytes).expect("opens").to_vec()
}

fn counted(counter: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// The rule of pack.md, line by line.
fn cut(words: &[u32], data: &[u8], min: usize, max: usize) -> usize {
    if data.len() < max {
        return data.len();
    }
    let u32_at = |i: usize| u32::from_le_bytes(data[i..i + 4].try_into().expect("4 bytes"));
    let mut best = (u32::MAX, min);
    for i in min..=max - 64 {
        let mut h = words[4];
        for (key, at) in words[..4].iter().zip([0, 9, 27, 60]) {
            h = h.wrapping_add(u32_at(i + at).wrapping_mul(key | 1));
        }
        h = (h ^ (h >> 15)).wrapping_mul(words[5] | 1);
        if h <= best.0 {
            best = (h, i);
        }
    }
    best.1
}

#[test]
fn cut_points_are_those_of_the_documented_rule_and_frozen() {
    let keys = noise(&derive("cut hash", &[&KEY]), 24);
    let words: Vec<u32> = keys.chunks(4).map(|b| u32::from_le_bytes(b.try_into().expect("4 bytes"))).collect();
    let ChunkerParams { min, max, .. } = ChunkerParams::DEFAULT;
    let chunker = Chunker::new(&Key32(KEY), ChunkerParams::DEFAULT).expect("valid");
    // Behind noise a long repeat: places that tie.
    let mut data = noise(&[5; 32], 3 << 20);
    data.extend_from_slice(&b"abcdefgh".repeat(50_000));
    let (mut rest, mut lengths) = (&data[..], Vec::new());
    while !rest.is_empty() {
        let len = chunker.cut(rest);
        assert_eq!(len, cut(&words, rest, min as usize, max as usize));
        lengths.push(len);
        rest = &rest[len..];
    }
    assert!(lengths.iter().filter(|len| **len > max as usize - 64 - 8).count() > 3, "the last of those that tie");
    assert_eq!(lengths[..4], FIRST_CUTS);
}

const FIRST_CUTS: [usize; 4] = [88636, 37032, 67016, 83406];

#[test]
fn a_pack_is_read_by_the_documentation_alone() {
    let name = PackName { kind: PackKind::Meta, id: PackId(PACK) };
    let mut writer = PackWriter::new(RepositoryId(REPOSITORY), name, Cipher::Aes256Gcm, 4, &Key32(KEY), Vec::new());
    writer.append(Codec::Stored, b"hello world", 11, &[(ShortId([7; 16]), 5), (ShortId([8; 16]), 6)]).expect("seals");
    writer.append(Codec::Stored, &[0xaa; 300], 300, &[(ShortId([6; 16]), 300)]).expect("seals");
    let object = writer.finish().expect("finishes").bytes;

    let (body, hash) = object.split_at(object.len() - 32);
    assert_eq!(blake3::hash(body).as_bytes(), hash);
    let pack_key = derive("pack key", &[&KEY, &PACK]);
    let commitment = derive("key commitment", &[&pack_key, &PACK]);
    let header = [b"DCPK\x01\x01\x01\x00\x04\x00\x00\x00", &REPOSITORY[..], &PACK, &commitment].concat();
    assert_eq!((&object[..76], header.len()), (&header[..], 76));

    let trailer = open(&pack_key, counted(u32::MAX - 1), &header, &body[body.len() - 24..]);
    let (footer_len, padding_len) = (u32_at(&trailer, 0) as usize, u32_at(&trailer, 4) as usize);
    let footer_at = body.len() - 24 - footer_len;
    let footer = open(&pack_key, counted(u32::MAX), &header, &body[footer_at..body.len() - 24]);
    let columns: [&[u8]; 6] =
        [&[2, 27, 11, 0, 2, 0xbc, 2, 0xac, 2, 0, 1], &[5, 6, 0xac, 2], &[7; 16], &[8; 16], &[6; 16], &[]];
    assert_eq!(footer, columns.concat());

    let segment = |number: u32, raw_len: u32, range: std::ops::Range<usize>| {
        let aad = [&header[..], &number.to_le_bytes(), &raw_len.to_le_bytes(), &[0]].concat();
        open(&pack_key, counted(number), &aad, &object[range])
    };
    assert_eq!(segment(0, 11, 76..103), b"hello world");
    assert_eq!(segment(1, 300, 103..419), [0xaa; 300]);

    assert_eq!(419 + padding_len, footer_at);
    assert_eq!(&object[419..footer_at], noise(&derive("pack padding", &[&pack_key]), padding_len));
    let bare = object.len() - padding_len;
    let step = 1 << (bare.ilog2() - (bare.ilog2().ilog2() + 1));
    assert_eq!(object.len(), bare.next_multiple_of(step));
}

#[test]
fn ids_are_keyed_as_documented() {
    let hasher = ContentHasher::new(&Key32(KEY));
    for (domain, context) in [(Domain::Content, "content id"), (Domain::Node, "node id")] {
        let expected = blake3::keyed_hash(&derive(context, &[&KEY]), b"bytes");
        assert_eq!(hasher.id(domain, b"bytes").0, *expected.as_bytes());
    }
}

struct Nines;

impl Entropy for Nines {
    fn fill(&self, buf: &mut [u8]) -> Result<()> {
        buf.fill(9);
        Ok(())
    }
}

#[test]
fn an_index_segment_is_read_by_the_documentation_alone() {
    let mut footer = Footer::default();
    footer.push(27, 11, Codec::Stored, &[(ShortId([7; 16]), 11)]);
    let name = PackName { kind: PackKind::Data, id: PackId(PACK) };
    let object_name = index_key(0, &IndexId([2; 16])).expect("legal");
    assert_eq!(object_name.as_str(), "index/0/02020202020202020202020202020202");
    let aad = sealed::aad("index", &RepositoryId(REPOSITORY), object_name.as_str());
    let plain = encode_index([(name, &footer)].into_iter()).remove(0);
    let object = sealed::seal(Cipher::Aes256Gcm, &Key32(KEY), &aad, &plain, &Nines).expect("sealed");

    assert_eq!(object[..13], [1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!(object[13..45], derive("key commitment", &[&KEY, b"sealed object", &[1], &[9; 12]]));
    let name = object_name.as_str().as_bytes();
    let aad = [&[5], &b"index"[..], &REPOSITORY, &[name.len() as u8], name].concat();
    let opened = open(&derive("sealed object", &[&KEY, &[1]]), [9; 12], &aad, &object[45..]);
    let expected: [&[u8]; 5] = [&[1, 1, 0], &PACK, &[1, 27, 11, 0, 1], &[11], &[7; 16]];
    assert_eq!(opened, expected.concat());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}
