//! Publishing a snapshot: first the index segments, then one log record.

use super::Pass;
use super::emptied::Missing;
use crate::index::LocalIndex;
use crate::options::{BackupOptions, BackupReport};
use crate::pipeline::AddedPack;
use crate::publish;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use crate::rules;
use decube_backup_core::source::Source;
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::log::Payload;
use decube_backup_format::manifest::{RunId, SnapshotManifest, SnapshotStats};
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
        let bytes = added.iter().map(AddedPack::stored_bytes).sum();
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
    /// What it was compared with.
    pub parent: Option<SnapshotId>,
    /// The parent, if its chunks were taken over without being looked up.
    pub relied_on: Option<SnapshotId>,
    /// Packs reclaimed when the pass began: its view of the log.
    pub reclaimed: usize,
}

impl Commit<'_> {
    pub(super) fn run(self, pass: Pass<'_>) -> Result<Committed> {
        let Pass { mut report, root, added, deps, stat, kept, .. } = pass;
        let objects = publish::objects(self.repo, &added)?;
        self.run.count(Stored { bytes: publish::index_bytes(&objects), ..Stored::default() });
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
            Ok(Verdict::of(rules::commit_stands(state, self.reclaimed, packs, self.relied_on.as_ref())))
        };
        match self.repo.append(record, &mut validate)? {
            Appended::At(_) => {
                if let Some(stat) = stat
                    && let Err(error) = stat.finish(&root.id)
                {
                    tracing::warn!(error = %error.chain(), "the stat cache could not be saved; the next backup reads more");
                }
                if let Some(kept) = kept {
                    kept.finish(&manifest.id(), &root, &Missing::told_by(&report));
                }
                report.snapshot = Some(manifest.id());
                Ok(Committed::Done(Box::new(report)))
            }
            Appended::Void => {
                // What is still good need not be uploaded again.
                record_progress(self.repo, self.run, added)?;
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
            parent: self.parent,
            tree: root,
            stats: SnapshotStats {
                files_new: report.files_new,
                files_changed: report.files_changed,
                files_unchanged: report.files_unchanged + report.files_healed,
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

/// Records packs that no snapshot needs yet, so that a later backup finds their chunks; returns the
/// index that knows them.
///
/// # Errors
/// As [`publish::record_packs`].
pub(super) fn record_progress(repo: &Repository, run: &Run, added: Vec<AddedPack>) -> Result<Arc<LocalIndex>> {
    let recorded = publish::record_packs(repo, run.id, added, "backup")?;
    run.count(Stored { bytes: recorded.index_bytes, ..Stored::default() });
    run.recorded.set(run.recorded.get() + recorded.packs.iter().map(AddedPack::stored_bytes).sum::<u64>());
    repo.index()
}
