//! Roots in which nothing is any more.
//!
//! The mount point of a disk that is not mounted is an empty directory: a sound backup of it would let a policy drop what was
//! on the disk. So a root that is an empty directory, and was none in the parent snapshot, counts as missing; from then
//! on too, until there is something in it again or somebody says that it is right as it is.

use super::Before;
use crate::options::{BackupOptions, ChangeDetection};
use crate::repository::{Repository, read_record};
use decube_backup_core::entry::EntryPath;
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::source::Source;
use decube_backup_format::log::Payload;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const WHY: &str = "nothing is in it, and in the snapshot before there was: if a disk belongs here, mount it and back up again; if \
                   it is meant to be empty, back up once with --force";

/// Looks for them while a scan goes by, in path order.
#[derive(Default)]
pub(super) struct Emptied {
    /// Empty if nobody wants to know.
    roots: HashSet<EntryPath>,
    missing_before: HashSet<Vec<u8>>,
    /// A root that was not empty before, and of which nothing but itself was met yet.
    doubtful: Option<EntryPath>,
    found: Arc<AtomicBool>,
}

impl Emptied {
    /// Against `before`; of no root if all is read again on purpose.
    pub(super) fn of(
        repo: &Repository,
        source: &dyn Source,
        options: &BackupOptions,
        before: Option<&Before<'_>>,
    ) -> Self {
        let Some(before) = before.filter(|_| options.detection != ChangeDetection::ReadAll) else {
            return Self::default();
        };
        let roots = source.describe().roots.into_iter().collect();
        Self { roots, missing_before: missing_in(repo, before), ..Self::default() }
    }

    /// Tells whether any was found, once the scan is through.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        self.found.clone()
    }

    /// Whether `path` is a root.
    pub(super) fn is_root(&self, path: &EntryPath) -> bool {
        !self.roots.is_empty() && self.roots.contains(path)
    }

    /// The directory `root` was met; `next_before` is what follows it in the parent.
    pub(super) fn met(&mut self, root: EntryPath, next_before: Option<&EntryPath>) {
        let had_entries = next_before.is_some_and(|path| path.is_within(&root));
        if had_entries || self.missing_before.contains(root.as_bytes()) {
            self.doubtful = Some(root);
        }
    }

    /// What follows in the scan is `next`, or nothing: says so if the root met last is empty.
    pub(super) fn followed_by(&mut self, next: Option<&[u8]>) -> Option<Problem> {
        let root = self.doubtful.take()?;
        let is_in_it = |path: &[u8]| {
            path.strip_prefix(root.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
        };
        // A problem with the root itself says more.
        if next.is_some_and(is_in_it) {
            return None;
        }
        self.found.store(true, Ordering::Relaxed);
        Some(Problem::new(ProblemKind::MissingSource, root.as_bytes(), WHY))
    }
}

/// Roots that were missing in the parent. Only its record names them; mostly there are none, and it is not read.
fn missing_in(repo: &Repository, before: &Before<'_>) -> HashSet<Vec<u8>> {
    let state = repo.state();
    let Some(snapshot) = state.snapshot(&before.snapshot) else { return HashSet::new() };
    if !snapshot.manifest.problems_total.contains_key(&ProblemKind::MissingSource) {
        return HashSet::new();
    }
    let Some((_, Some(Payload::Commit { manifest }))) = read_record(repo, &state, snapshot.seq) else {
        return HashSet::new();
    };
    let problems = manifest.decode().map(|manifest| manifest.problems).unwrap_or_default();
    problems.into_iter().filter(|problem| problem.kind == ProblemKind::MissingSource).map(|p| p.path).collect()
}
