//! Publishing: first the index segment (several for very many packs), then one log record.

use super::Pass;
use crate::index::LocalIndex;
use crate::options::{BackupOptions, BackupReport};
use crate::pipeline::{AddedPack, tables};
use crate::repository::{Appended, NewRecord, Repository, Verdict, index_associated};
use crate::rules;
use decube_backup_core::source::Source;
use decube_backup_core::{Error, ErrorKind, PutMode, PutOutcome, Result, Timestamp};
use decube_backup_format::checkpoint::{SnapshotEntry, State};
use decube_backup_format::ids::{IndexId, index_key};
use decube_backup_format::index::encode_index;
use decube_backup_format::log::{AddedObject, ObjectName, Payload};
use decube_backup_format::manifest::{RunId, SnapshotManifest, SnapshotStats};
use decube_backup_format::sealed;
use std::cell::Cell;
use std::sync::Arc;

/// One call of `backup`: all its passes over the source together.
pub(super) struct Run {
    /// Random; the same in its `Add` records and its snapshot.
    pub id: RunId,
    /// Of the series.
    pub name: String,
    stored: Cell<Stored>,
    /// Bytes of packs that are in an `Add` record.
    recorded: Cell<u64>,
}

/// What a run stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    /// Content chunks.
    pub chunks: u64,
    /// Their bytes before compression.
    pub chunk_bytes: u64,
    pub packs: u64,
    /// Bytes of packs and index segments.
    pub bytes: u64,
}

impl Run {
    pub(super) fn new(repo: &Repository, name: String) -> Result<Self> {
        let mut id = RunId::default();
        repo.env.entropy.fill(&mut id)?;
        Ok(Self { id, name, stored: Cell::default(), recorded: Cell::default() })
    }

    pub(super) fn stored(&self) -> Stored {
        self.stored.get()
    }

    pub(super) fn count(&self, more: Stored) {
        let Stored { chunks, chunk_bytes, packs, bytes } = self.stored.get();
        self.stored.set(Stored {
            chunks: chunks + more.chunks,
            chunk_bytes: chunk_bytes + more.chunk_bytes,
            packs: packs + more.packs,
            bytes: bytes + more.bytes,
        });
    }

    /// Says of an interruption what is kept.
    pub(super) fn explain(&self, error: Error) -> Error {
        match self.recorded.get() {
            _ if error.kind() != ErrorKind::Interrupted => error,
            0 => error.with_hint("no snapshot was made, and no pack was full yet: the next backup begins anew"),
            bytes => error.with_hint(format!(
                "no snapshot was made; {} MiB in full packs are kept, and the next backup does not store their content again",
                bytes.div_ceil(1 << 20)
            )),
        }
    }

    pub(super) fn count_packs(&self, added: &[AddedPack]) {
        let bytes = added.iter().map(|p| p.len).sum();
        self.count(Stored { packs: added.len() as u64, bytes, ..Stored::default() });
    }
}

pub(super) enum Committed {
    Done(Box<BackupReport>),
    /// Something relied upon was reclaimed: take another pass.
    Void,
}

pub(super) struct Commit<'a> {
    pub repo: &'a Repository,
    pub run: &'a Run,
    pub source: &'a dyn Source,
    pub options: &'a BackupOptions,
    pub started: Timestamp,
    pub parent: Option<&'a SnapshotEntry>,
    /// Packs reclaimed when the pass began: its view of the log.
    pub reclaimed: usize,
}

impl Commit<'_> {
    pub(super) fn run(self, pass: Pass) -> Result<Committed> {
        let Pass { mut report, root, added, deps, stat } = pass;
        let objects = publish_index(self.repo, self.run, &added)?;
        let stored = self.run.stored();
        (report.packs_new, report.bytes_stored) = (stored.packs, stored.bytes);
        let manifest = self.manifest(&report, root)?.encode()?;
        let record = NewRecord {
            payload: Payload::Commit { manifest: manifest.clone() },
            added: objects,
            reclaimed: Vec::new(),
            stamp: self.repo.stamp(&self.options.host, &self.options.username),
        };
        let mut validate = |state: &State| {
            let packs = added.iter().map(|p| &p.name).chain(&deps);
            Ok(Verdict::of(rules::commit_stands(state, self.reclaimed, packs, self.parent.map(|p| &p.id))))
        };
        match self.repo.append(record, &mut validate)? {
            Appended::At(_) => {
                if let Some(stat) = stat
                    && let Err(error) = stat.finish(&root.id)
                {
                    tracing::warn!(error = %error.chain(), "the stat cache could not be saved; the next backup reads more");
                }
                report.snapshot = Some(manifest.id());
                Ok(Committed::Done(Box::new(report)))
            }
            Appended::Void => {
                // What is still good need not be uploaded again.
                let state = self.repo.state();
                let good: Vec<AddedPack> = added.into_iter().filter(|p| !state.is_reclaimed(&p.name)).collect();
                record_progress(self.repo, self.run, good)?;
                Ok(Committed::Void)
            }
        }
    }

    fn manifest(&self, report: &BackupReport, root: decube_backup_format::tree::TreeRoot) -> Result<SnapshotManifest> {
        let options = self.options;
        let mut manifest = SnapshotManifest {
            run: self.run.id,
            name: self.run.name.clone(),
            host: options.host.clone(),
            username: options.username.clone(),
            paths: self.source.describe().paths,
            labels: options.labels.clone(),
            tags: options.tags.clone(),
            component: options.component.clone(),
            pipeline: options.pipeline.clone(),
            begun: self.started,
            ended: options.time.unwrap_or_else(|| self.repo.env.clock.now()),
            parent: self.parent.map(|p| p.id),
            tree: root,
            stats: SnapshotStats {
                files_new: report.files_new,
                files_changed: report.files_changed,
                files_unchanged: report.files_unchanged,
                dirs: report.directories,
                others: report.others,
                bytes_read: report.bytes_read,
                bytes_added: report.bytes_new,
                bytes_stored: report.bytes_stored,
                chunks_new: report.chunks_new,
                chunks_reused: report.chunks_reused,
                packs_new: report.packs_new,
            },
            excludes: options.excludes.clone(),
            program: concat!("decube-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..SnapshotManifest::default()
        };
        for problem in &report.problem_list {
            manifest.add_problem(problem.clone());
        }
        manifest.problems_total = report.problems.clone();
        Ok(manifest)
    }
}

/// Stores the index segments of `added`; lists them and the packs for a record.
fn publish_index(repo: &Repository, run: &Run, added: &[AddedPack]) -> Result<Vec<AddedObject>> {
    let mut objects: Vec<AddedObject> =
        added.iter().map(|p| AddedObject { name: ObjectName::Pack(p.name), len: p.len, hash: p.hash }).collect();
    let keyring = repo.held_keyring();
    for plain in encode_index(tables(added)) {
        let mut id = IndexId::default();
        repo.env.entropy.fill(&mut id.0)?;
        let key = index_key(0, &id)?;
        let associated = index_associated(repo, 0, &id)?;
        let entropy = repo.env.entropy.as_ref();
        let bytes = sealed::seal(keyring.cipher, &keyring.index_key, &associated, &plain, entropy)?;
        objects.push(AddedObject::of(ObjectName::Index { level: 0, id }, &bytes));
        run.count(Stored { bytes: bytes.len() as u64, ..Stored::default() });
        if repo.store.put(&key, bytes, PutMode::CreateNew)? == PutOutcome::AlreadyExists {
            return Err(Error::new(ErrorKind::AlreadyExists, "commit", "a random index name is taken").with("key", key));
        }
    }
    Ok(objects)
}

/// Records packs that no snapshot needs yet, so that a later backup finds their chunks; returns the
/// index that knows them.
pub(super) fn record_progress(repo: &Repository, run: &Run, added: Vec<AddedPack>) -> Result<Arc<LocalIndex>> {
    if !added.is_empty() {
        let objects = publish_index(repo, run, &added)?;
        let record = NewRecord {
            payload: Payload::Add { run: run.id },
            added: objects,
            reclaimed: Vec::new(),
            stamp: repo.stamp("", ""),
        };
        // An own pack was reclaimed after it was uploaded at the earliest, so counting from the very beginning is right.
        let mut validate = |state: &State| {
            let packs = added.iter().map(|p| &p.name);
            Ok(Verdict::of(rules::commit_stands(state, 0, packs, None)))
        };
        if let Appended::At(_) = repo.append(record, &mut validate)? {
            run.recorded.set(run.recorded.get() + added.iter().map(|p| p.len).sum::<u64>());
        }
    }
    repo.index()
}
