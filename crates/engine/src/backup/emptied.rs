//! Roots in which nothing is any more.
//!
//! The mount point of a disk that is not mounted is an empty directory: a sound backup of it would let a policy drop what was
//! on the disk. So a root in which nothing is, and in the parent snapshot something was, counts as missing; from then
//! on too, until there is something in it again or somebody says that it is right as it is. What cannot be known of the
//! parent speaks against the root.
//!
//! Roots may lie in one another. *An entry fills every root around it*, a directory also if it is an emptied root itself: of
//! two of which one is all that is in the other, only the inner one is told. So at most one root is doubtful at a time:
//! one that follows within it settles the doubt about it.

use super::Before;
use crate::options::{BackupOptions, BackupReport, ChangeDetection};
use crate::repository::{Repository, read_record};
use decube_backup_core::entry::{EntryPath, is_within_path_bytes};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::source::{ScanItem, Source};
use decube_backup_format::log::Payload;
use std::collections::HashSet;

const NOTHING: &str = "nothing in it is backed up any more";
const NO_DIRECTORY: &str = "it is no directory any more, and nothing of what was in it is backed up";
const UNKNOWN: &str = "nothing in it is backed up, and what was in it before cannot be read";
const ADVICE: &str = "if a disk belongs here, mount it and back up again; if it is meant to be so, because it is empty now or because \
                      all in it is excluded, back up once with --force";

/// Looks for them while a scan goes by, in path order.
#[derive(Default)]
pub(super) struct Emptied {
    /// Empty if nobody wants to know.
    roots: HashSet<EntryPath>,
    missing_before: Missing,
    /// The root met last, if nothing in it was met yet and something was before; with what is said of it then.
    doubtful: Option<(EntryPath, &'static str)>,
}

/// A root as it is and was.
pub(super) struct Root {
    pub is_directory: bool,
    /// Whether the parent has an entry of it.
    pub was_there: bool,
    /// Whether the parent has entries in it.
    pub had_entries: Known,
}

/// What the parent says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    No,
    /// It is damaged here.
    Lost,
}

/// The roots that were missing in a snapshot, or what kept them from being read. By default nothing is known of them.
#[derive(Default)]
pub(super) struct Missing {
    /// Whether these are all.
    pub complete: bool,
    pub paths: Vec<Vec<u8>>,
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
        Self { roots, missing_before: Missing::before(repo, before), doubtful: None }
    }

    /// Whether `path` is a root.
    pub(super) fn is_root(&self, path: &EntryPath) -> bool {
        !self.roots.is_empty() && self.roots.contains(path)
    }

    /// The entry of `path` was met.
    pub(super) fn met(&mut self, path: EntryPath, root: Root) {
        let was_missing = self.missing_before.holds(&path);
        let why = match root {
            Root { is_directory: true, had_entries: Known::Yes, .. } => Some(NOTHING),
            Root { is_directory: true, .. } if was_missing => Some(NOTHING),
            Root { is_directory: true, had_entries, .. } => {
                (had_entries == Known::Lost || !self.missing_before.complete).then_some(UNKNOWN)
            }
            // A file that was missing and is there again has no entry before.
            Root { was_there, had_entries, .. } => {
                (had_entries == Known::Yes || was_missing && was_there).then_some(NO_DIRECTORY)
            }
        };
        self.doubtful = why.map(|why| (path, why));
    }

    /// What follows in the scan is `next`, or nothing: says so if the root met last is empty.
    pub(super) fn followed_by(&mut self, next: Option<&ScanItem>) -> Option<Problem> {
        let (root, why) = self.doubtful.take()?;
        let path = match next {
            None => None,
            Some(ScanItem::Entry(scanned)) => Some(scanned.entry.path.as_bytes()),
            Some(ScanItem::Problem(problem)) => Some(problem.path.as_slice()),
        };
        if !path.is_some_and(|path| is_within_path_bytes(path, root.as_bytes())) {
            return Some(Problem::new(ProblemKind::MissingSource, root.as_bytes(), format!("{why}: {ADVICE}")));
        }
        // That a root in it is missing does not fill it; a problem with the root itself says more, and what could not be
        // read is there.
        if let Some(ScanItem::Problem(problem)) = next
            && problem.kind == ProblemKind::MissingSource
            && problem.path != root.as_bytes()
        {
            self.doubtful = Some((root, why));
        }
        None
    }
}

impl Missing {
    /// What the next backup has to know of one that told this.
    pub(super) fn told_by(report: &BackupReport) -> Self {
        let total = report.problems.get(&ProblemKind::MissingSource).copied();
        Self::of(total.unwrap_or_default(), &report.problem_list)
    }

    fn of(total: u64, listed: &[Problem]) -> Self {
        let listed = listed.iter().filter(|problem| problem.kind == ProblemKind::MissingSource);
        let paths: Vec<_> = listed.map(|problem| problem.path.clone()).collect();
        Self { complete: total <= paths.len() as u64, paths }
    }

    /// In the parent. Only its record, or what a host keeps of it, names them; mostly there are none, and no record is read.
    fn before(repo: &Repository, before: &Before<'_>) -> Self {
        if let Some(kept) = &before.kept {
            return Self { complete: kept.missing.complete, paths: kept.missing.paths.clone() };
        }
        let state = repo.state();
        // Without it, or without its record, nothing is known: not complete.
        let Some(snapshot) = state.snapshot(&before.snapshot) else { return Self::default() };
        let Some(total) = snapshot.manifest.problems_total.get(&ProblemKind::MissingSource).copied() else {
            return Self::of(0, &[]);
        };
        let recorded = match read_record(repo, &state, snapshot.seq) {
            Some((_, Some(Payload::Commit { manifest }))) => manifest.decode().ok(),
            _ => None,
        };
        recorded.map_or_else(Self::default, |recorded| Self::of(total, &recorded.problems))
    }

    fn holds(&self, root: &EntryPath) -> bool {
        self.paths.iter().any(|path| is_within_path_bytes(root.as_bytes(), path))
    }
}
