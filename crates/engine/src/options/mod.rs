//! What callers may choose, and what they get back.

mod verification;

use crate::verify::Freshness;
use decube_backup_core::Timestamp;
use decube_backup_core::entry::{Entry, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_format::checkpoint::{Pin, Visibility};
use decube_backup_format::chunker::ChunkerParams;
use decube_backup_format::codec::Effort;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::manifest::SnapshotManifest;
use decube_backup_format::seal::Cipher;
use std::collections::BTreeMap;

pub use verification::{AffectedEntry, Damage, Repairable, Subset, VerifyDepth, VerifyReport};

/// Choices at `init`; fixed for the repository's life unless said otherwise.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// What seals packs.
    pub cipher: Cipher,
    /// Chunk sizes.
    pub chunker: ChunkerParams,
    /// Data pack size aimed at, bytes, 1–64 MiB.
    pub pack_bytes: u32,
    /// Largest segment of small chunks compressed together, bytes, 64 KiB – 8 MiB.
    pub segment_bytes: u32,
    /// Label of the first key slot.
    pub key_label: String,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            cipher: Cipher::Aes256Gcm,
            chunker: ChunkerParams::DEFAULT,
            pack_bytes: 16 << 20,
            segment_bytes: 4 << 20,
            key_label: "first key".into(),
        }
    }
}

/// Whether unchanged files may be recognised without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChangeDetection {
    /// Same device, inode, size, mtime and ctime as in the parent: not read.
    #[default]
    StatCache,
    /// Every file is read and hashed.
    ReadAll,
}

/// Whether anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Effect {
    /// Do it.
    #[default]
    Real,
    /// Only say what would be done.
    DryRun,
}

/// Choices of one backup.
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    /// Series name; `None` for the covered paths.
    pub name: Option<String>,
    /// Host recorded.
    pub host: String,
    /// User recorded.
    pub username: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Component of a pipeline.
    pub component: Option<String>,
    /// Pipeline that ran it.
    pub pipeline: Option<String>,
    /// Parent snapshot; `None` takes the newest of the same name and host.
    pub parent: Option<SnapshotId>,
    /// How unchanged files are recognised.
    pub detection: ChangeDetection,
    /// Time recorded instead of now.
    pub time: Option<Timestamp>,
    /// Exclude patterns, recorded in the manifest.
    pub excludes: Vec<String>,
    /// How hard to compress; `None` for the measured default.
    pub effort: Option<Effort>,
    /// New content after which progress is recorded, so that a killed backup resumes there, bytes; `None` for 4 GiB. It is
    /// recorded every ten minutes too.
    pub progress_bytes: Option<u64>,
    /// Really write.
    pub effect: Effect,
}

/// What a backup did.
#[derive(Clone, Debug, Default)]
pub struct BackupReport {
    /// The new snapshot; `None` on a dry run.
    pub snapshot: Option<SnapshotId>,
    /// Its series name.
    pub name: String,
    /// The parent it was compared with.
    pub parent: Option<SnapshotId>,
    /// Files not in the parent.
    pub files_new: u64,
    /// Files whose content or attributes changed.
    pub files_changed: u64,
    /// Files as in the parent: taken over unread, or read and found the same.
    pub files_unchanged: u64,
    /// Unchanged files that were read because stored content of theirs is damaged: it is stored again.
    pub files_healed: u64,
    /// Directories.
    pub directories: u64,
    /// Links, FIFOs and devices.
    pub others: u64,
    /// All entries of the snapshot.
    pub entries: u64,
    /// Content bytes of the snapshot.
    pub bytes: u64,
    /// Content bytes read; holes are not.
    pub bytes_read: u64,
    /// Content bytes not known before, uncompressed: in chunks, and small files kept in the tree.
    pub bytes_new: u64,
    /// Bytes uploaded, everything included.
    pub bytes_stored: u64,
    /// Chunks not known before.
    pub chunks_new: u64,
    /// Chunks read that were known, from this run or an earlier one.
    pub chunks_reused: u64,
    /// Packs uploaded.
    pub packs_new: u64,
    /// Problems by kind.
    pub problems: BTreeMap<ProblemKind, u64>,
    /// The first problems in detail.
    pub problem_list: Vec<Problem>,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// A set of snapshots.
#[derive(Clone, Debug, Default)]
pub struct SnapshotFilter {
    /// Exact series name.
    pub name: Option<String>,
    /// Exact host.
    pub host: Option<String>,
    /// All of these tags.
    pub tags: Vec<String>,
    /// All of these labels, with these values.
    pub labels: BTreeMap<String, String>,
    /// Recorded path.
    pub path: Option<String>,
    /// Configured pipeline that made it.
    pub pipeline: Option<String>,
    /// None of these components.
    pub not_components: Vec<String>,
    /// The newest this many of each name.
    pub latest: Option<usize>,
}

/// One snapshot as listed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Content id.
    pub id: SnapshotId,
    /// Position in the log.
    pub seq: u64,
    /// What it records.
    pub manifest: SnapshotManifest,
    /// Kept against retention or not.
    pub pin: Pin,
    /// Shown or forgotten.
    pub visibility: Visibility,
}

/// How existing files are treated by a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Rewritten unless size and mtime say they are the same.
    #[default]
    IfChanged,
    /// Always rewritten, chunk by chunk in place.
    Always,
    /// Rewritten only if the snapshot's file is newer.
    IfNewer,
    /// Kept.
    Never,
}

/// Whether what is not in the snapshot is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Extraneous {
    /// Left alone.
    #[default]
    Keep,
    /// Deleted below the restored directories.
    Delete,
}

/// How long runs of zeros are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sparse {
    /// Holes of the source become holes.
    #[default]
    AsRecorded,
    /// Every long run of zeros becomes a hole.
    Zeros,
}

/// Decides whether an entry is wanted; gets its path in the snapshot.
pub type EntryFilter = std::sync::Arc<dyn Fn(&Entry) -> bool + Send + Sync>;

/// Choices of one restore.
#[derive(Clone, Default)]
pub struct RestoreOptions {
    /// Only this entry and what is below it; its content lands directly in the target. Root for all.
    pub subtree: EntryPath,
    /// Only entries this accepts (and the directories above them).
    pub filter: Option<EntryFilter>,
    /// Existing files.
    pub overwrite: Overwrite,
    /// Extraneous files.
    pub extraneous: Extraneous,
    /// Zeros.
    pub sparse: Sparse,
    /// Really write.
    pub effect: Effect,
}

/// What a restore did.
#[derive(Clone, Debug, Default)]
pub struct RestoreReport {
    /// Files written.
    pub files_restored: u64,
    /// Existing files left as they were because they are the same.
    pub files_unchanged: u64,
    /// Existing files left alone because of the overwrite policy.
    pub files_skipped: u64,
    /// Directories.
    pub directories: u64,
    /// Links, FIFOs, devices.
    pub others: u64,
    /// Entries removed.
    pub deleted: u64,
    /// Content bytes written.
    pub bytes_written: u64,
    /// Problems by kind.
    pub problems: BTreeMap<ProblemKind, u64>,
    /// The first problems in detail.
    pub problem_list: Vec<Problem>,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// Repository statistics.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct StatsReport {
    /// Live snapshots.
    pub snapshots: u64,
    /// Content bytes of all live snapshots together, as restored.
    pub bytes_logical: u64,
    /// Distinct content chunks.
    pub chunks: u64,
    /// Content bytes stored, before compression.
    pub bytes_raw: u64,
    /// Bytes of all data packs.
    pub bytes_data_packs: u64,
    /// Bytes of all metadata packs.
    pub bytes_meta_packs: u64,
    /// Bytes of index segments.
    pub bytes_index: u64,
    /// Packs that have parity.
    pub parity_packs: u64,
    /// Bytes of parity.
    pub bytes_parity: u64,
    /// Data packs.
    pub data_packs: u64,
    /// Metadata packs.
    pub meta_packs: u64,
    /// Log records.
    pub records: u64,
    /// Packs in force that are known to be damaged.
    pub damaged_packs: u64,
    /// How long ago the packs in force were read whole.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// One key slot as listed.
#[derive(Clone, Debug)]
pub struct KeySlotInfo {
    /// Object name under `keys/`.
    pub slot: String,
    /// Its label.
    pub label: String,
    /// `password`, `key-file`, `recipient`, `recovery-sheet`, `write-only`, or `damaged` of one that opens nothing.
    pub kind: &'static str,
    /// The public key of a recipient.
    pub recipient: Option<String>,
    /// Whose snapshots alone a write-only key adds.
    pub host: Option<String>,
    /// When it was made; a damaged one does not tell.
    pub created: Option<Timestamp>,
    /// Whether this session was opened with it.
    pub current: bool,
    /// What is wrong with it, if it is damaged: it opens nothing.
    pub damage: Option<String>,
}

/// Changes to a snapshot's labels.
#[derive(Clone, Debug, Default)]
pub struct TagChange {
    /// Tags added.
    pub add: Vec<String>,
    /// Tags removed.
    pub remove: Vec<String>,
    /// Replaces all tags first.
    pub set: Option<Vec<String>>,
    /// Labels set.
    pub labels: BTreeMap<String, String>,
}

/// One difference between two trees.
#[derive(Clone, Debug)]
pub enum Difference {
    /// Only in the second.
    Added(Entry),
    /// Only in the first.
    Removed(Entry),
    /// In both, content differs.
    Content(Entry, Entry),
    /// In both, only attributes differ.
    Attributes(Entry, Entry),
}
