//! Sound bytes for every decoder, without the checksum, seal or signature that the checks put around them.

use crate::shared::wrap::{KEY, NoEntropy, PACK, REPOSITORY, pack_header as header_of_pack};
use decube_backup_core::entry::{Entry, EntryKind, EntryPath, Metadata, Xattr};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::checkpoint::State;
use decube_backup_format::chunker::{ARGMIN_CHUNKER_ID, ChunkerParams};
use decube_backup_format::codec::{Codec, Compressor, Effort};
use decube_backup_format::hash::Key32;
use decube_backup_format::header::{Features, Header};
use decube_backup_format::host::{HostAdmission, HostRing};
use decube_backup_format::ids::{ChunkId, IndexId, PackId, PackKind, PackName, ParityId, ParityName, ShortId, SlotId};
use decube_backup_format::index::encode_index;
use decube_backup_format::keyring::{Keyring, VersionedKey};
use decube_backup_format::keyslot::{Envelope, KdfCost, KeyFile, KeySlot, RecoveryKey, SlotSecret};
use decube_backup_format::log::{
    AddedObject, LabelChange, LogKeys, ObjectName, Payload, RecordBuilder, SlotChange, SnapshotEdit, Stamp,
};
use decube_backup_format::manifest::{EncodedManifest, SnapshotManifest};
use decube_backup_format::pack::{Footer, PackHeader, PackWriter};
use decube_backup_format::parity::{Overhead, Parity, ParityEncoder};
use decube_backup_format::reading::{ReadingPublic, RunKeys, Shared};
use decube_backup_format::seal::{Cipher, TAG_BYTES};
use decube_backup_format::sealed;
use decube_backup_format::tree::{
    Child, Content, Extent, ListChild, ListNode, TreeEntry, TreeRoot, encode_inner, encode_leaf, encode_list,
};

const TIME: Timestamp = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
/// Envelope of a record that admits, adds and reclaims nothing, bytes.
const BARE_ENVELOPE_BYTES: usize = 8 + 2 + 16 + 8 + 32 + 16 + 3 + 4;
/// Public key and signature, bytes.
const SIGNED_BYTES: usize = 32 + 64;

fn must<T>(result: Result<T>) -> T {
    result.expect("a seed is sound")
}

fn without_ends(bytes: Vec<u8>) -> Vec<u8> {
    bytes[8..bytes.len() - 32].to_vec()
}

fn keys() -> (Keyring, LogKeys) {
    let mut keyring = must(Keyring::generate(Cipher::Aes256Gcm, &NoEntropy));
    keyring.log_key = KEY;
    keyring.data_keys.push(VersionedKey { version: 3, key: Key32([4; 32]) });
    let log_keys = must(LogKeys::new(&keyring));
    (keyring, log_keys)
}

pub fn format_header() -> Vec<Vec<u8>> {
    let header = Header {
        repository: REPOSITORY,
        features: Features { read: 0, write: 1, gc: 2 },
        chunker_id: ARGMIN_CHUNKER_ID,
        chunker: ChunkerParams::DEFAULT,
        pack_data_bytes: 16 << 20,
        pack_meta_bytes: 8 << 20,
        segment_bytes: 4 << 20,
    };
    vec![without_ends(must(header.encode()))]
}

pub fn key_slot() -> Vec<Vec<u8>> {
    let cost = KdfCost { m_kib: 8, t: 1, p: 1 };
    let (file, sheet) = (must(KeyFile::generate(&NoEntropy)), must(RecoveryKey::generate(&NoEntropy)));
    let secrets = [SlotSecret::Password(b"secret"), SlotSecret::KeyFile(&file), SlotSecret::Recovery(&sheet)];
    let mut slots =
        secrets.map(|secret| must(KeySlot::seal(REPOSITORY, secret, cost, "lab", TIME, &KEY, &NoEntropy)).0).to_vec();
    let envelope = Envelope { recipient: "age1example".into(), sealed: b"enclosed".to_vec() };
    slots.push(must(KeySlot::seal_in(REPOSITORY, envelope, &KEY, "lab", TIME, &KEY, &NoEntropy)).0);
    for secret in [SlotSecret::Password(b"secret"), SlotSecret::KeyFile(&file)] {
        slots.push(must(KeySlot::seal_ring(REPOSITORY, secret, cost, "lab", TIME, &ring(), &NoEntropy)));
    }
    slots.iter().map(|slot| without_ends(slot.encode())).collect()
}

fn ring() -> HostRing {
    HostRing {
        cipher: Cipher::Aes256Gcm,
        id_key: KEY,
        chunker_key: KEY,
        reader: ReadingPublic::of(3, &KEY),
        signing_seed: KEY,
        index_key: KEY,
        cache_key: KEY,
        root: [8; 32],
        host: "alpha".into(),
    }
}

pub fn host_ring() -> Vec<Vec<u8>> {
    vec![must(ring().encode()).to_vec()]
}

fn run() -> RunKeys {
    must(RunKeys::begin(&ReadingPublic::of(3, &KEY), &REPOSITORY, &NoEntropy))
}

pub fn sealed_to_reader() -> Vec<Vec<u8>> {
    let cipher = Cipher::Aes256Gcm;
    let shared = must(Shared::seal(cipher, b"", b"content", &NoEntropy, &KEY, |key| {
        run().seal(cipher, b"", &key.0, &NoEntropy)
    }));
    vec![must(run().seal(cipher, b"", b"content", &NoEntropy)), shared]
}

pub fn recovery_key() -> Vec<Vec<u8>> {
    let key = must(RecoveryKey::generate(&NoEntropy));
    let lines = key.to_lines().map(|line| line.as_str().to_owned()).join("\n");
    vec![lines.into_bytes(), key.to_code().as_bytes().to_vec()]
}

pub fn key_file() -> Vec<Vec<u8>> {
    vec![must(KeyFile::generate(&NoEntropy)).to_text().as_bytes().to_vec()]
}

pub fn keyring() -> Vec<Vec<u8>> {
    let bytes = must(keys().0.seal(&KEY, &REPOSITORY, &NoEntropy));
    let mut reading = keys().0;
    reading.reading_keys.push(VersionedKey { version: 3, key: KEY });
    let reading = must(reading.seal(&KEY, &REPOSITORY, &NoEntropy));
    let aad = sealed::aad("keyring", &REPOSITORY, "00000000");
    [bytes, reading].map(|bytes| must(sealed::open(&KEY, &aad, &bytes))).to_vec()
}

pub fn sealed_object() -> Vec<Vec<u8>> {
    [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305]
        .map(|cipher| must(sealed::seal(cipher, &KEY, b"of another use", b"content", &NoEntropy)))
        .to_vec()
}

fn stamp() -> Stamp {
    Stamp { time: TIME, host: "alpha".into(), username: "root".into(), program: "decube-backup".into() }
}

fn build(payload: &Payload, added: Vec<AddedObject>, reclaimed: Vec<ObjectName>) -> Vec<u8> {
    let keys = keys().1;
    let builder = must(RecordBuilder::new(REPOSITORY, &stamp(), payload, added, reclaimed, &NoEntropy));
    must(builder.admitting(keys.writer()).build(0, &[0; 32], &keys, &NoEntropy)).bytes
}

fn objects() -> Vec<ObjectName> {
    let meta = PackName { kind: PackKind::Meta, id: PackId([9; 16]) };
    let index = ObjectName::Index { level: 0, id: IndexId([5; 16]) };
    let parity = |pack, n| ObjectName::Parity(ParityName { pack, id: ParityId([n; 8]) });
    let packs = [ObjectName::Pack(PACK), ObjectName::Pack(meta)].into_iter();
    packs.chain([index, ObjectName::Checkpoint(31), parity(PACK, 1), parity(meta, 2)]).collect()
}

fn first_objects() -> Vec<ObjectName> {
    let twice = [ObjectName::Format, ObjectName::FormatCopy, ObjectName::Keyring(0), ObjectName::KeyringCopy(0)];
    twice.into_iter().chain([ObjectName::KeySlot(SlotId([5; 8]))]).collect()
}

pub fn record() -> Vec<Vec<u8>> {
    let added = |names: Vec<ObjectName>| {
        names.into_iter().map(|name| AddedObject { name, len: 1000, hash: [0xab; 32] }).collect::<Vec<_>>()
    };
    let first = added(first_objects());
    let keys = keys().1;
    let host = HostAdmission { slot: SlotId([5; 8]), writer: [6; 32] };
    let admitting = must(RecordBuilder::new(REPOSITORY, &stamp(), &commit(), Vec::new(), Vec::new(), &NoEntropy));
    let admitting = admitting.admitting(keys.writer()).admitting_host(host);
    [
        must(admitting.build(0, &[0; 32], &keys, &NoEntropy)).bytes,
        build(&Payload::Init, first, Vec::new()),
        build(&commit(), added(objects()), Vec::new()),
        build(&Payload::Reclaim, Vec::new(), objects()),
    ]
    .map(|bytes| bytes[..bytes.len() - SIGNED_BYTES].to_vec())
    .to_vec()
}

fn recorded_manifest() -> EncodedManifest {
    let mut manifest = SnapshotManifest {
        run: [6; 16],
        name: "home".into(),
        paths: vec!["/home".into()],
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        tags: vec!["nightly".into()],
        component: Some("db".into()),
        begun: TIME,
        ended: TIME,
        tree: TreeRoot { id: ChunkId([9; 32]), height: 2, entries: 1000, bytes: 1 << 40 },
        excludes: vec!["*.tmp".into()],
        ..SnapshotManifest::default()
    };
    manifest.add_problem(Problem::new(ProblemKind::Unreadable, *b"etc/\xffshadow", "permission denied"));
    must(manifest.encode())
}

fn commit() -> Payload {
    Payload::Commit { manifest: recorded_manifest() }
}

pub fn record_payload() -> Vec<Vec<u8>> {
    let snapshot = recorded_manifest().id();
    let slot = SlotId([5; 8]);
    let edit = SnapshotEdit {
        snapshot,
        tags_removed: vec!["a".into()],
        tags_added: vec!["b".into()],
        labels: [("tier".to_owned(), LabelChange::Set("silver".into())), ("x".to_owned(), LabelChange::Remove)].into(),
        name: Some("other".into()),
    };
    let payloads = [
        Payload::Init,
        commit(),
        Payload::Add { run: [1; 16] },
        Payload::Forget { snapshots: vec![snapshot] },
        Payload::Condemn { packs: vec![PACK], released: vec![PACK] },
        Payload::Pin { snapshot, until: Some(TIME) },
        Payload::TagChange(edit),
        Payload::KeySlot(SlotChange::Added { slot, label: "lab".into() }),
        Payload::KeySlot(SlotChange::HostAdded { slot, label: "lab".into(), host: "alpha".into() }),
        Payload::Note { text: "text".into() },
        Payload::Damaged { packs: vec![PACK], healed: vec![PACK] },
        Payload::Verified { packs: vec![PACK], time: TIME },
    ];
    let keys = keys().1;
    let plain = |payload: &Payload| {
        let builder = must(RecordBuilder::new(REPOSITORY, &stamp(), payload, Vec::new(), Vec::new(), &NoEntropy));
        let bytes = must(builder.build(0, &[0; 32], &keys, &NoEntropy)).bytes;
        let (envelope, rest) = bytes.split_at(BARE_ENVELOPE_BYTES);
        must(sealed::open(&KEY, envelope, &rest[..rest.len() - SIGNED_BYTES]))
    };
    payloads.iter().map(plain).collect()
}

pub fn manifest() -> Vec<Vec<u8>> {
    vec![recorded_manifest().as_bytes().to_vec()]
}

pub fn checkpoint() -> Vec<Vec<u8>> {
    let (keyring, keys) = keys();
    let mut state = State::new(REPOSITORY);
    let mut seeds = Vec::new();
    let verified = Payload::Verified { packs: vec![PACK], time: TIME };
    let damaged = Payload::Damaged { packs: vec![PACK], healed: Vec::new() };
    let records =
        [(Payload::Init, first_objects()), (commit(), objects()), (verified, Vec::new()), (damaged, Vec::new())];
    for (payload, names) in records {
        let added = names.into_iter().map(|name| AddedObject { name, len: 9, hash: [2; 32] }).collect();
        let builder = must(RecordBuilder::new(REPOSITORY, &stamp(), &payload, added, Vec::new(), &NoEntropy));
        let builder = builder.admitting(keys.writer());
        let record = must(builder.build(state.next_seq(), &state.hash(), &keys, &NoEntropy)).bytes;
        let envelope = must(state.chain().accept(&record));
        must(state.apply(&envelope, &payload));
        let bytes = must(state.encode(&keys, &NoEntropy));
        let packed = must(sealed::open(&keyring.log_key, &sealed::aad("checkpoint", &REPOSITORY, ""), &bytes));
        seeds.push(zstd::stream::decode_all(&packed[..]).expect("a frame"));
    }
    seeds
}

pub fn pack_header() -> Vec<Vec<u8>> {
    let of_run = PackHeader::of_run(REPOSITORY, PACK, Cipher::Aes256Gcm, run().tag());
    vec![header_of_pack().encode(), of_run.encode()]
}

fn footer() -> Footer {
    let mut footer = Footer::default();
    footer.push(23, 300, Codec::Zstd, &[(ShortId([1; 16]), 100), (ShortId([2; 16]), 200)]);
    footer.push(17, 1, Codec::Stored, &[(ShortId([3; 16]), 1)]);
    footer
}

pub fn pack_footer() -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    footer().encode_to(&mut bytes);
    vec![bytes]
}

pub fn pack_tail() -> Vec<Vec<u8>> {
    let mut bytes = vec![0; 8];
    footer().encode_to(&mut bytes);
    let footer_len = (bytes.len() - 8 + TAG_BYTES) as u32;
    bytes[..4].copy_from_slice(&footer_len.to_le_bytes());
    bytes[4..8].copy_from_slice(&(64u32 - 23 - 17).to_le_bytes());
    vec![bytes]
}

fn frame_of(raw: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    must(must(Compressor::new(Effort::Balanced, 1 << 20)).compress(raw, &mut frame));
    frame
}

pub fn pack() -> Vec<Vec<u8>> {
    let text = b"the same line again and again\n".repeat(40);
    let mut writer = PackWriter::new(REPOSITORY, PACK, Cipher::Aes256Gcm, 0, &KEY, Vec::new());
    must(writer.append(Codec::Zstd, &frame_of(&text), text.len() as u32, &[(ShortId([1; 16]), text.len() as u32)]));
    must(writer.append(Codec::Stored, b"xyz", 3, &[(ShortId([2; 16]), 1), (ShortId([3; 16]), 2)]));
    vec![must(writer.finish()).bytes]
}

fn parity_of(len: usize, percent: u8) -> Vec<u8> {
    let mut pack = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut pack);
    let (hash, overhead) = (*blake3::hash(&pack).as_bytes(), must(Overhead::percent(percent)));
    let mut object = Vec::new();
    must(ParityEncoder::new().encode(REPOSITORY, PACK, &pack, hash, overhead, &mut object));
    object
}

pub fn parity() -> Vec<Vec<u8>> {
    [(100, 1), (40_000, 10), (9000, 100)]
        .map(|(len, percent)| {
            let object = parity_of(len, percent);
            without_ends(object[..must(Parity::decode(&object)).head().encoded_len()].to_vec())
        })
        .to_vec()
}

pub fn parity_object() -> Vec<Vec<u8>> {
    vec![parity_of(100, 1), parity_of(200, 100), parity_of(9000, 100)]
}

pub fn segment() -> Vec<Vec<u8>> {
    let raw: Vec<u8> = (0..1u32 << 14).flat_map(|n| (n / 7).to_le_bytes()).collect();
    vec![[&[1, 16], &frame_of(&raw)[..]].concat(), b"\x00\x00stored as it is".to_vec()]
}

pub fn index_segment() -> Vec<Vec<u8>> {
    let (table, empty) = (footer(), Footer::default());
    let meta = PackName { kind: PackKind::Meta, id: PackId([9; 16]) };
    [encode_index([(PACK, &table), (meta, &table)].into_iter()), encode_index([(meta, &empty)].into_iter())].concat()
}

fn entry(path: &str, kind: EntryKind, content: Content, change: impl FnOnce(&mut Metadata)) -> TreeEntry {
    let mut meta = Metadata { mode: 0o644, uid: 1000, gid: 100, mtime: TIME, ..Metadata::default() };
    meta.user = "ann".into();
    change(&mut meta);
    TreeEntry { entry: Entry { path: must(EntryPath::new(path)), kind, meta }, content }
}

fn extents() -> Vec<Extent> {
    vec![
        Extent::Chunk { id: ChunkId([7; 32]), len: 65_536 },
        Extent::Hole { len: 1 << 33 },
        Extent::Chunk { id: ChunkId([8; 32]), len: 100 },
    ]
}

pub fn tree_leaf() -> Vec<Vec<u8>> {
    let size = extents().iter().map(Extent::len).sum();
    let one = vec![Extent::Chunk { id: ChunkId([1; 32]), len: 4096 }];
    let list = Content::List { root: ChunkId([5; 32]), height: 1, len: 1 << 40 };
    let entries = vec![
        entry("", EntryKind::Directory, Content::None, |_| {}),
        entry("dev", EntryKind::CharDevice { major: 1, minor: 300 }, Content::None, |_| {}),
        entry("fifo", EntryKind::Fifo, Content::None, |m| m.flags = 16),
        entry("link", EntryKind::Symlink { target: b"some/where".to_vec() }, Content::None, |m| m.mode = 0o777),
        entry("list", EntryKind::File { size: 1 << 40 }, list, |m| m.mtime.seconds = -1),
        entry("one.rs", EntryKind::File { size: 4096 }, Content::Extents(one), |m| m.birth = Some(TIME)),
        entry("small.rs", EntryKind::File { size: 3 }, Content::Inline(b"hi\n".to_vec()), |m| {
            m.xattrs = vec![Xattr { name: b"user.a".to_vec(), value: vec![1, 2] }];
        }),
        entry("sparse", EntryKind::File { size }, Content::Extents(extents()), |_| {}),
        entry("twin", EntryKind::File { size: 3 }, Content::Inline(b"hi\n".to_vec()), |m| {
            m.link_group = Some(must(EntryPath::new("small.rs")));
        }),
    ];
    vec![encode_leaf(&entries), encode_leaf(&entries[..1]), encode_leaf(&[])]
}

pub fn tree_inner() -> Vec<Vec<u8>> {
    let child = |path: &str, number| Child {
        first: must(EntryPath::new(path)),
        id: ChunkId([number; 32]),
        entries: 300,
        bytes: 1 << 33,
    };
    vec![encode_inner(1, &[child("", 1), child("src/lib.rs", 2), child("src/main.rs", 3)])]
}

pub fn list_node() -> Vec<Vec<u8>> {
    let children = [1, 2, 3].map(|n| ListChild { id: ChunkId([n; 32]), len: 1 << 25 }).to_vec();
    vec![encode_list(&ListNode::Leaf(extents())), encode_list(&ListNode::Inner { height: 1, children })]
}
