//! Snapshot manifests: what a `Commit` record says about its snapshot.
//!
//! A manifest's bytes are `postcard(Versioned::V1(SnapshotManifest))` and never change once recorded. The snapshot's
//! id is a hash of exactly those bytes, so it is known before the record is built, stays the same when a lost
//! race moves the record to another slot or a key change signs it anew, and is the same in every replica.
//! The manifest names the tree by its keyed id and the run by a random number, so an id tells nothing
//! to who does not hold the keys, and no two runs share one.

use crate::ids::SnapshotId;
use crate::tree::TreeRoot;
use crate::wire::corrupt;
use decube_backup_core::limits::MANIFEST_PROBLEMS_MAX;
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::{EntryPath, Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest encoded manifest, bytes.
pub const MANIFEST_BYTES_MAX: usize = 8 << 20;
/// Longest name, host, tag, label, exclude line or message, bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Most paths, labels or tags.
pub const ITEMS_MAX: usize = 4096;
/// Most exclude lines.
pub const EXCLUDES_MAX: usize = 16_384;
/// Bytes of paths and messages after which problems are only counted.
const PROBLEMS_BYTES_MAX: usize = 2 << 20;

/// Random number of one backup run: the same in its progress records and its snapshot.
pub type RunId = [u8; 16];

/// What a backup did, in numbers: of its last pass over the source; what is new or stored, of the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotStats {
    /// Regular files not in the parent.
    pub files_new: u64,
    /// Regular files that differ from the parent's.
    pub files_changed: u64,
    /// Regular files as in the parent: taken over unread, or read and found the same.
    pub files_unchanged: u64,
    /// Directories.
    pub dirs: u64,
    /// Symlinks, devices, pipes.
    pub others: u64,
    /// Content bytes read; holes are not.
    pub bytes_read: u64,
    /// Content bytes that were new to the repository, before compression.
    pub bytes_added: u64,
    /// Bytes of new packs and index segments.
    pub bytes_stored: u64,
    /// Content chunks stored.
    pub chunks_new: u64,
    /// Content chunks read that were stored already, by this run or an earlier one.
    pub chunks_reused: u64,
    /// Packs written, data and metadata.
    pub packs_new: u64,
}

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotManifest {
    /// Which run made it.
    pub run: RunId,
    /// Series name; versions of one name are ordered by the log.
    pub name: String,
    /// Host it was taken on.
    pub host: String,
    /// User that took it.
    pub username: String,
    /// What was backed up, as a person wrote it.
    pub paths: Vec<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Free tags.
    pub tags: Vec<String>,
    /// Part of a larger system it holds.
    pub component: Option<String>,
    /// Configured pipeline that made it.
    pub pipeline: Option<String>,
    /// When the backup began, by the client's clock.
    pub begun: Timestamp,
    /// When its last object was stored, by the client's clock.
    pub ended: Timestamp,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// Its content.
    pub tree: TreeRoot,
    /// What the backup did.
    pub stats: SnapshotStats,
    /// All problems, by kind.
    pub problems_total: BTreeMap<ProblemKind, u64>,
    /// The first of them; see [`Self::add_problem`].
    pub problems: Vec<Problem>,
    /// Exclude rules in force.
    pub excludes: Vec<String>,
    /// Program and version that took it.
    pub program: String,
}

#[derive(Serialize, Deserialize)]
enum Versioned<T> {
    V1(T),
}

impl SnapshotManifest {
    /// Counts `problem`, and keeps it while there is room (1000 problems, 2 MiB): a snapshot of a broken
    /// tree must still fit its record.
    pub fn add_problem(&mut self, mut problem: Problem) {
        *self.problems_total.entry(problem.kind).or_default() += 1;
        truncate(&mut problem.message, TEXT_BYTES_MAX);
        problem.path.truncate(EntryPath::LEN_MAX);
        let used: usize = self.problems.iter().map(|p| p.path.len() + p.message.len()).sum();
        let wanted = problem.path.len() + problem.message.len();
        if self.problems.len() < MANIFEST_PROBLEMS_MAX && used + wanted <= PROBLEMS_BYTES_MAX {
            self.problems.push(problem);
        }
    }

    /// Whether names, labels, tags, paths and excludes are within bounds; worth asking before the work begins.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self) -> Result<()> {
        match self.out_of_bounds() {
            None => Ok(()),
            Some(field) => {
                Err(Error::new(ErrorKind::Invalid, "backup", "snapshot field too long").with("field", field))
            }
        }
    }

    /// The bytes to record, whose hash is the snapshot's id.
    ///
    /// # Errors
    /// `Invalid` as [`Self::check`], or if all of it together exceeds 8 MiB.
    pub fn encode(&self) -> Result<EncodedManifest> {
        self.check()?;
        let bytes = encode_versioned(self)?;
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(
                Error::new(ErrorKind::Invalid, "backup", "snapshot manifest too long").with("bytes", bytes.len())
            );
        }
        Ok(EncodedManifest(bytes))
    }

    /// Without what only a close look needs: excludes and listed problems.
    #[must_use]
    pub fn into_summary(mut self) -> Self {
        self.problems = Vec::new();
        self.excludes = Vec::new();
        self
    }

    fn out_of_bounds(&self) -> Option<&'static str> {
        let long = |text: &String| text.len() > TEXT_BYTES_MAX;
        let optional = |text: &Option<String>| text.as_ref().is_some_and(long);
        let list = |items: &[String], max: usize| items.len() > max || items.iter().any(long);
        let labels = self.labels.len() > ITEMS_MAX || self.labels.iter().any(|(k, v)| long(k) || long(v));
        let path_too_long = |p: &String| p.len() > EntryPath::LEN_MAX;
        let problems = self.problems.len() > MANIFEST_PROBLEMS_MAX
            || self.problems.iter().any(|p| long(&p.message) || p.path.len() > EntryPath::LEN_MAX);
        let moment = |t: &Timestamp| t.nanoseconds >= 1_000_000_000;
        [
            (long(&self.name), "name"),
            (long(&self.host), "host"),
            (long(&self.username), "username"),
            (self.paths.len() > ITEMS_MAX || self.paths.iter().any(path_too_long), "paths"),
            (labels, "labels"),
            (list(&self.tags, ITEMS_MAX), "tags"),
            (optional(&self.component), "component"),
            (optional(&self.pipeline), "pipeline"),
            (list(&self.excludes, EXCLUDES_MAX), "excludes"),
            (long(&self.program), "program"),
            (moment(&self.begun) || moment(&self.ended), "time"),
            (problems, "problems"),
        ]
        .into_iter()
        .find_map(|(bad, field)| bad.then_some(field))
    }
}

/// A manifest as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedManifest(Vec<u8>);

impl EncodedManifest {
    /// The snapshot's id: BLAKE3 `derive_key` of the bytes.
    pub fn id(&self) -> SnapshotId {
        SnapshotId(blake3::derive_key("decube-backup 2026 v1 snapshot id", &self.0))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What they say.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for another version.
    pub fn decode(&self) -> Result<SnapshotManifest> {
        let manifest: SnapshotManifest = decode_versioned(&self.0, MANIFEST_BYTES_MAX, "snapshot manifest")?;
        match manifest.out_of_bounds() {
            None => Ok(manifest),
            Some(field) => Err(corrupt("snapshot manifest").with("field", field)),
        }
    }
}

/// Encodes `value` behind a version number, 0 for version 1.
pub(crate) fn encode_versioned<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_allocvec(&Versioned::V1(value))
        .map_err(|e| Error::new(ErrorKind::Internal, "encode", "structure does not encode").with_source(e))
}

/// Decodes what [`encode_versioned`] made, all of it.
pub(crate) fn decode_versioned<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    bytes_max: usize,
    what: &'static str,
) -> Result<T> {
    match bytes.first() {
        Some(0) if bytes.len() <= bytes_max => {}
        Some(&version @ 1..=0x7f) => return Err(crate::header::unsupported_version(what, u16::from(version) + 1)),
        _ => return Err(corrupt(what)),
    }
    match postcard::take_from_bytes::<Versioned<T>>(bytes) {
        Ok((Versioned::V1(value), [])) => Ok(value),
        Ok(_) => Err(corrupt(what)),
        Err(error) => Err(corrupt(what).with_source(error)),
    }
}

/// Cuts `text` to at most `bytes_max` bytes at a character border.
fn truncate(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}
