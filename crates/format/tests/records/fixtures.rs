//! A repository with fixed secrets, and golden files.

use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::hash::Key32;
use decube_backup_format::ids::{ChunkId, IndexId, PackId, PackKind, PackName, RepositoryId, SlotId, hex};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::log::{AddedObject, BuiltRecord, LogKeys, ObjectName, Payload, RecordBuilder, Stamp};
use decube_backup_format::manifest::{SnapshotManifest, SnapshotStats};
use decube_backup_format::seal::Cipher;
use decube_backup_format::tree::TreeRoot;
use std::sync::atomic::{AtomicU64, Ordering};

pub const REPOSITORY: RepositoryId = RepositoryId([0x11; 16]);
pub const KEYRING_KEY: Key32 = Key32([0x22; 32]);

/// The same bytes in every run, never the same bytes twice.
#[derive(Default)]
pub struct FixedEntropy(pub AtomicU64);

impl Entropy for FixedEntropy {
    fn fill(&self, buf: &mut [u8]) -> Result<()> {
        let call = self.0.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new().update(&call.to_le_bytes()).finalize_xof().fill(buf);
        Ok(())
    }
}

pub fn keyring() -> Keyring {
    Keyring::generate(Cipher::Aes256Gcm, &FixedEntropy::default()).expect("fixed entropy")
}

pub fn log_keys() -> LogKeys {
    LogKeys::new(&keyring()).expect("keys")
}

pub fn pack(number: u8) -> PackName {
    let kind = if number.is_multiple_of(2) { PackKind::Data } else { PackKind::Meta };
    PackName { kind, id: PackId([number; 16]) }
}

pub fn added(name: ObjectName) -> AddedObject {
    AddedObject { name, len: 1000, hash: [0xab; 32] }
}

pub fn added_pack(number: u8) -> AddedObject {
    added(ObjectName::Pack(pack(number)))
}

pub fn init_objects() -> Vec<AddedObject> {
    let twice = [ObjectName::Format, ObjectName::FormatCopy, ObjectName::Keyring(0), ObjectName::KeyringCopy(0)];
    twice.into_iter().chain([ObjectName::KeySlot(SlotId([5; 8]))]).map(added).collect()
}

pub fn index(number: u8) -> ObjectName {
    ObjectName::Index { level: 0, id: IndexId([number; 16]) }
}

pub fn stamp() -> Stamp {
    Stamp {
        time: Timestamp { seconds: 1_700_000_000, nanoseconds: 7 },
        host: "alpha".into(),
        username: "root".into(),
        program: "decube-backup 0.1.0".into(),
    }
}

pub fn manifest(number: u8) -> SnapshotManifest {
    let mut manifest = SnapshotManifest {
        run: [number; 16],
        name: "home".into(),
        host: "alpha".into(),
        username: "root".into(),
        paths: vec!["/home".into(), "/etc".into()],
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        tags: vec!["nightly".into()],
        component: Some("db".into()),
        begun: Timestamp { seconds: -1, nanoseconds: 999_999_999 },
        ended: Timestamp { seconds: 1_700_000_000, nanoseconds: 0 },
        tree: TreeRoot { id: ChunkId([9; 32]), height: 2, entries: 1000, bytes: 1 << 40 },
        stats: SnapshotStats { files_new: 3, bytes_read: 4096, ..SnapshotStats::default() },
        excludes: vec!["*.tmp".into()],
        program: "decube-backup 0.1.0".into(),
        ..SnapshotManifest::default()
    };
    manifest.add_problem(Problem::new(ProblemKind::Unreadable, *b"etc/\xffshadow", "permission denied"));
    manifest
}

pub fn commit(number: u8) -> Payload {
    Payload::Commit { manifest: manifest(number).encode().expect("in bounds") }
}

/// Builds a log from payloads, one record after another.
pub struct Log {
    pub keys: LogKeys,
    pub entropy: FixedEntropy,
    pub records: Vec<BuiltRecord>,
}

impl Log {
    /// With record 0.
    pub fn new() -> Self {
        let mut log = Self { keys: log_keys(), entropy: FixedEntropy::default(), records: Vec::new() };
        let builder = log.builder(&Payload::Init, init_objects(), Vec::new()).admitting(log.keys.writer());
        log.push(&builder);
        log
    }

    pub fn builder(&self, payload: &Payload, added: Vec<AddedObject>, reclaimed: Vec<ObjectName>) -> RecordBuilder {
        RecordBuilder::new(REPOSITORY, &stamp(), payload, added, reclaimed, &self.entropy).expect("in bounds")
    }

    pub fn push(&mut self, builder: &RecordBuilder) {
        let prev = self.records.last().map_or([0; 32], |record| record.hash);
        let record = builder.build(self.records.len() as u64, &prev, &self.keys, &self.entropy).expect("builds");
        self.records.push(record);
    }

    pub fn append(&mut self, payload: &Payload, added: Vec<AddedObject>, reclaimed: Vec<ObjectName>) {
        let builder = self.builder(payload, added, reclaimed);
        self.push(&builder);
    }
}

/// Compares `bytes` with `golden/<name>.hex`; a difference means that old repositories are no longer readable.
pub fn check_golden(name: &str, bytes: &[u8]) {
    let path = format!("{}/tests/records/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let actual: Vec<String> = bytes.chunks(32).map(hex).collect();
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected.lines().collect::<Vec<_>>(), "{path} should be\n{}", actual.join("\n"));
}
