//! What holds for any bytes: no panic, no more output than the input justifies, and, where the encoding is
//! canonical, that what was accepted encodes to the same bytes. Each check says whether the bytes were accepted.

use super::wrap::{
    KEY, NoEntropy, REPOSITORY, pack_header, pack_with, record_with, sealed_as, sealed_segment, signed, with_checksum,
};
use decube_backup_format::checkpoint::State;
use decube_backup_format::codec::{Codec, Decompressor};
use decube_backup_format::header::Header;
use decube_backup_format::host::HostRing;
use decube_backup_format::index::{decode_index, encode_index};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::keyslot::{KeyFile, KeySlot, RecoveryKey};
use decube_backup_format::log::{Envelope, LogChain, LogKeys};
use decube_backup_format::manifest::EncodedManifest;
use decube_backup_format::pack::{Footer, HASH_BYTES, PackHeader, PackReader, SegmentEntry, TRAILER_BYTES, scrub};
use decube_backup_format::parity::{Parity, ParityHead};
use decube_backup_format::reading::{RunKeys, SealedToReader, Shared};
use decube_backup_format::seal::{Cipher, TAG_BYTES};
use decube_backup_format::sealed;
use decube_backup_format::tree::{
    NODE_ITEMS_MAX, decode_inner, decode_leaf, decode_list, encode_inner, encode_leaf, encode_list,
};
use decube_backup_format::wire::Reader;

/// The object `format`; `data` also as what lies between its magic and its checksum.
pub fn format_header(data: &[u8]) -> bool {
    let _ = Header::decode(data);
    let whole = with_checksum(b"DECUBEBK", data);
    let Ok(header) = Header::decode(&whole) else { return false };
    assert_eq!(header.encode().expect("what was decoded can be encoded"), whole);
    true
}

/// A key slot. Opening is left out: the derivation is slow by intent, and its cost is bounded by what decode accepts.
pub fn key_slot(data: &[u8]) -> bool {
    let _ = KeySlot::decode(data);
    let whole = with_checksum(b"DECUBEKS", data);
    let Ok(slot) = KeySlot::decode(&whole) else { return false };
    assert_eq!(slot.encode(), whole);
    true
}

/// A key file's text.
pub fn key_file(data: &[u8]) -> bool {
    let Ok(file) = KeyFile::parse(data) else { return false };
    assert_eq!(KeyFile::parse(file.to_text().as_bytes()).expect("what was written can be read"), file);
    true
}

/// A recovery sheet's text.
pub fn recovery_key(data: &[u8]) -> bool {
    let Ok(key) = RecoveryKey::parse(&String::from_utf8_lossy(data)) else { return false };
    let lines = key.to_lines().map(|line| line.as_str().to_owned()).join("\n");
    assert_eq!(RecoveryKey::parse(&lines).expect("what was written can be read"), key);
    assert_eq!(RecoveryKey::parse(&key.to_code()).expect("what was written can be read"), key);
    true
}

/// A keyring behind its seal.
pub fn keyring(data: &[u8]) -> bool {
    let bytes = sealed_as("keyring", "00000000", data);
    let Ok(keyring) = Keyring::open(&KEY, &REPOSITORY, 0, &bytes) else { return false };
    let again = keyring.seal(&KEY, &REPOSITORY, &NoEntropy).expect("what was opened can be sealed");
    if keyring.cipher == Cipher::Aes256Gcm {
        assert_eq!(again, bytes);
    }
    assert_eq!(Keyring::open(&KEY, &REPOSITORY, 0, &again).expect("opens again"), keyring);
    true
}

/// A sealed object: nothing but what was sealed opens.
pub fn sealed_object(data: &[u8]) -> bool {
    assert!(sealed::open(&KEY, b"", data).is_err(), "nobody guesses a seal");
    sealed::commits_to(&KEY, data).is_ok()
}

/// What a write-only key slot holds.
pub fn host_ring(data: &[u8]) -> bool {
    let Ok(ring) = HostRing::decode(data) else { return false };
    assert_eq!(*ring.encode().expect("what was decoded can be encoded"), data);
    true
}

/// An object sealed to a reading key, or for a reader and a host: nothing but what was sealed opens.
pub fn sealed_to_reader(data: &[u8]) -> bool {
    let to_reader = SealedToReader::parse(data).ok().flatten();
    let opened = to_reader.is_some_and(|object| {
        let run = RunKeys::open(&KEY, &object.tag, &REPOSITORY);
        run.and_then(|run| run.open_object(b"", &object)).is_ok()
    });
    let shared = Shared::parse(data).ok().flatten();
    opened || shared.is_some_and(|shared| shared.open_for_host(b"", &KEY).is_ok())
}

/// A record; `data` also as what is signed.
pub fn record(data: &[u8]) -> bool {
    let _ = Envelope::decode(data);
    let whole = signed(data);
    let Ok(envelope) = Envelope::decode(&whole) else { return false };
    assert!(envelope.admits.len() * 32 + envelope.added.len() * 41 + envelope.reclaimed.len() * 5 <= data.len());
    let _ = envelope.open(&whole, &KEY);
    let _ = LogChain::new(REPOSITORY).accept(&whole);
    true
}

/// A record's payload behind signature and seal.
pub fn record_payload(data: &[u8]) -> bool {
    let whole = record_with(data);
    let envelope = Envelope::decode(&whole).expect("the envelope is sound");
    let Ok((_, payload)) = envelope.open(&whole, &KEY) else { return false };
    let mut state = State::new(REPOSITORY);
    let _ = state.apply(&envelope, &payload);
    true
}

/// A manifest as recorded: a postcard byte string inside the payload of a `Commit` record.
pub fn manifest(data: &[u8]) -> bool {
    let recorded = postcard::to_allocvec(data).expect("bytes can be written");
    let recorded: EncodedManifest = postcard::from_bytes(&recorded).expect("bytes can be read");
    let Ok(manifest) = recorded.decode() else { return false };
    let again = manifest.encode().expect("what was decoded can be encoded");
    assert!(again.as_bytes().len() <= data.len(), "the encoder writes the shortest form");
    assert_eq!(again.decode().expect("decodes again"), manifest);
    true
}

/// A checkpoint behind its seal, as it is and behind compression.
pub fn checkpoint(data: &[u8]) -> bool {
    let _ = State::decode(&sealed_as("checkpoint", "", data), &KEY, &REPOSITORY);
    let packed = zstd::bulk::compress(data, 1).expect("compressed");
    let Ok(state) = State::decode(&sealed_as("checkpoint", "", &packed), &KEY, &REPOSITORY) else { return false };
    let mut keyring = Keyring::generate(Cipher::Aes256Gcm, &NoEntropy).expect("generated");
    keyring.log_key = KEY;
    let keys = LogKeys::new(&keyring).expect("keys");
    let again = state.encode(&keys, &NoEntropy).expect("what was decoded can be encoded");
    assert_eq!(State::decode(&again, &KEY, &REPOSITORY).expect("decodes again"), state);
    true
}

/// A pack's header.
pub fn pack_header_bytes(data: &[u8]) -> bool {
    let Ok(header) = PackHeader::decode(data) else { return false };
    assert_eq!(header.encode(), data[..PackHeader::BYTES]);
    true
}

/// A pack's table of contents.
pub fn pack_footer(data: &[u8]) -> bool {
    let mut reader = Reader::new(data, "pack footer");
    let Ok(footer) = Footer::decode_from(&mut reader) else { return false };
    check_footer(&footer);
    let mut again = Vec::new();
    footer.encode_to(&mut again);
    assert_eq!(again, data[..data.len() - reader.remaining()]);
    true
}

/// A parity object, as it is and with a head whose checksum holds; some pack is then brought back by it, or not.
pub fn parity(data: &[u8]) -> bool {
    if let Ok(parity) = Parity::decode(data) {
        use_parity(&parity);
    }
    let Ok(head) = ParityHead::decode(&with_checksum(b"DECUBEPA", data)) else { return false };
    assert_eq!(head.encode(), with_checksum(b"DECUBEPA", data));
    assert!((head.data.len() + head.recovery.len()) * 8 <= data.len());
    true
}

/// A whole parity object: what lies behind its head too.
pub fn parity_object(data: &[u8]) -> bool {
    let Ok(parity) = Parity::decode(data) else { return false };
    assert!(parity.usable() * parity.head().shard_bytes as usize <= data.len());
    use_parity(&parity)
}

/// Tries a pack of zeros: its true bytes come back, or an error.
fn use_parity(parity: &Parity<'_>) -> bool {
    let head = parity.head();
    // A head may speak of a pack of any legal length; memory for that is its reader's decision.
    if head.pack_len > 1 << 16 || head.shard_bytes > 1 << 13 {
        return false;
    }
    match parity.rebuild(Vec::new()) {
        Ok(rebuilt) => {
            assert_eq!(*blake3::hash(&rebuilt.bytes).as_bytes(), head.pack_hash);
            true
        }
        Err(_) => false,
    }
}

/// A whole pack as stored.
pub fn pack(data: &[u8]) -> bool {
    let hash_holds = scrub(data).is_ok();
    let Ok(reader) = PackHeader::decode(data).and_then(|header| PackReader::new(header, &KEY)) else { return false };
    let Ok(footer) = reader.footer_of(data) else { return false };
    let mut decompressor = Decompressor::new().expect("bounds are legal");
    let mut raw = Vec::new();
    let mut whole = hash_holds;
    for (number, entry) in footer.segments.iter().enumerate() {
        let from = entry.offset as usize;
        let mut sealed = data[from..from + entry.stored_len as usize].to_vec();
        match reader.segment(number as u32, entry, &mut sealed, &mut decompressor, &mut raw) {
            Ok(()) => assert_eq!(raw.len(), entry.raw_len as usize),
            Err(_) => whole = false,
        }
    }
    whole
}

/// A pack's trailer (8 bytes of `data`) and footer (the rest) behind their seals.
pub fn pack_tail(data: &[u8]) -> bool {
    let Some((trailer, footer)) = data.split_first_chunk::<8>() else { return false };
    let bytes = pack_with(footer, 64, trailer);
    let reader = PackReader::new(pack_header(), &KEY).expect("the right key");
    let last = bytes[bytes.len() - TRAILER_BYTES - HASH_BYTES..].to_vec();
    if let Ok(tail) = reader.tail(&last, bytes.len() as u64) {
        assert!(tail.footer_offset + u64::from(tail.footer_len) <= bytes.len() as u64);
        assert!(u64::from(tail.padding_len) <= tail.footer_offset);
    }
    let Ok(footer) = reader.footer_of(&bytes) else { return false };
    check_footer(&footer);
    true
}

/// A segment behind its seal: two bytes of `data` choose codec and length, the rest is what was sealed.
pub fn segment(data: &[u8]) -> bool {
    let Some(([codec, len_log], plain)) = data.split_first_chunk::<2>() else { return false };
    let codec = if codec & 1 == 0 { Codec::Stored } else { Codec::Zstd };
    let raw_len = if codec == Codec::Stored { plain.len() as u32 } else { 1 << (len_log % 24) };
    let mut sealed = sealed_segment(5, raw_len, codec as u8, plain);
    let stored_len = (plain.len() + TAG_BYTES) as u32;
    let entry = SegmentEntry { offset: 76, stored_len, raw_len, codec, first_chunk: 0, chunks: 1 };
    let reader = PackReader::new(pack_header(), &KEY).expect("the right key");
    let mut raw = Vec::new();
    let mut decompressor = Decompressor::new().expect("bounds are legal");
    let opened = reader.segment(5, &entry, &mut sealed, &mut decompressor, &mut raw);
    // One page of slack for the allocator's rounding.
    assert!(raw.capacity() <= (raw_len as usize).max(data.len() + TAG_BYTES) * 2 + 4096, "{}", raw.capacity());
    opened.is_ok_and(|()| {
        assert_eq!(raw.len(), raw_len as usize);
        true
    })
}

/// An index segment's content.
pub fn index_segment(data: &[u8]) -> bool {
    let Ok(packs) = decode_index(data) else { return false };
    packs.iter().for_each(|(_, footer)| check_footer(footer));
    assert!(packs.iter().map(|(_, f)| 18 + f.segments.len() * 4 + f.chunks.len() * 17).sum::<usize>() <= data.len());
    let again = encode_index(packs.iter().map(|(name, footer)| (*name, footer)));
    assert!(if packs.is_empty() { again.is_empty() } else { again == [data] });
    true
}

/// A leaf of a tree.
pub fn tree_leaf(data: &[u8]) -> bool {
    let Ok(entries) = decode_leaf(data) else { return false };
    assert!(entries.len() <= NODE_ITEMS_MAX);
    assert!(entries.is_sorted_by(|a, b| a.entry.path < b.entry.path));
    entries.iter().for_each(|entry| entry.check().expect("a decoded entry keeps the rules"));
    assert_eq!(encode_leaf(&entries), data);
    true
}

/// An inner node of a tree.
pub fn tree_inner(data: &[u8]) -> bool {
    let Ok(node) = decode_inner(data) else { return false };
    assert!(node.children.len() <= NODE_ITEMS_MAX);
    assert_eq!(encode_inner(node.height, &node.children), data);
    true
}

/// A node of an extent list.
pub fn list_node(data: &[u8]) -> bool {
    let Ok(node) = decode_list(data) else { return false };
    assert!(node.len().is_some_and(|len| len > 0));
    assert_eq!(encode_list(&node), data);
    true
}

/// Segments and chunks are consecutive, gap-free and as long as they add up to.
fn check_footer(footer: &Footer) {
    let mut offset = PackHeader::BYTES as u32;
    for segment in &footer.segments {
        assert_eq!(segment.offset, offset);
        offset += segment.stored_len;
        let chunks = footer.chunks_of(segment);
        assert_eq!(chunks.len(), segment.chunks as usize);
        assert_eq!(chunks.iter().map(|c| c.len).sum::<u32>(), segment.raw_len);
    }
    assert_eq!(footer.segments_end(), offset);
    assert_eq!(footer.segments.iter().map(|s| s.chunks as usize).sum::<usize>(), footer.chunks.len());
}
