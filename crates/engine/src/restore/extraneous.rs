//! Deleting what the snapshot does not have.
//!
//! A directory is cleared when the walk leaves it: by then every name that the snapshot has in it was seen. What a snapshot
//! does not have need not be superfluous, so nothing is deleted
//! * in directories above what was backed up, which hold more than that by right,
//! * where the backup had problems: what it could not read may stand there unharmed,
//! * from a damaged place of the tree on: names may be missing that were there,
//! * that the filter does not want.

use super::Tally;
use crate::options::{Effect, EntryFilter, RestoreOptions};
use decube_backup_core::entry::{Entry, EntryKind, EntryPath, Metadata};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::Target;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::manifest::SnapshotManifest;
use std::collections::HashSet;

/// Deepest directory that is looked through before it is deleted: each level takes a stack frame.
const DEPTH_MAX: usize = 2048;

/// A directory the walk is in.
struct Open {
    path: EntryPath,
    /// Names the snapshot has in it.
    names: HashSet<Vec<u8>>,
}

/// What becomes of a name that the snapshot does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Gone,
    Stays,
}

pub(super) struct Sweeper<'a> {
    target: &'a dyn Target,
    tally: &'a Tally<'a>,
    effect: Effect,
    subtree: EntryPath,
    filter: Option<EntryFilter>,
    /// Trees that were backed up, as paths in the snapshot.
    roots: Vec<EntryPath>,
    /// Where the backup had problems.
    troubled: Vec<EntryPath>,
    /// The directories from the root down to where the walk is.
    open: Vec<Open>,
    /// No longer trusted to know all names.
    stopped: bool,
}

impl<'a> Sweeper<'a> {
    /// For a restore of what `manifest` says, or of a snapshot of which all cannot be told.
    pub(super) fn new(
        options: &RestoreOptions,
        manifest: Result<SnapshotManifest>,
        target: &'a dyn Target,
        tally: &'a Tally<'a>,
    ) -> Self {
        let (manifest, unreadable) = match manifest {
            Ok(manifest) => (manifest, None),
            Err(error) => (SnapshotManifest::default(), Some(error.chain())),
        };
        let missing = |problem: &&Problem| !matches!(problem.kind, ProblemKind::Attribute | ProblemKind::Changed);
        let troubled = manifest.problems.iter().filter(missing);
        let mut this = Self {
            target,
            tally,
            effect: options.effect,
            subtree: options.subtree.clone(),
            filter: options.filter.clone(),
            roots: manifest.paths.iter().filter_map(|written| absolute(written)).collect(),
            troubled: troubled.filter_map(|problem| EntryPath::new(problem.path.clone()).ok()).collect(),
            open: Vec::new(),
            stopped: false,
        };
        if let Some(why) = unreadable {
            this.stop(&why);
        } else if manifest.problems_total.values().sum::<u64>() > manifest.problems.len() as u64 {
            this.stop("the backup had more problems than its snapshot names");
        } else if this.roots.is_empty() {
            this.stop("the snapshot does not say which directories it covers");
        }
        this
    }

    /// Deletes nothing from here on.
    pub(super) fn stop(&mut self, why: &str) {
        if !std::mem::replace(&mut self.stopped, true) {
            let message = format!("nothing more is deleted: {why}");
            self.tally.problem(Problem::new(ProblemKind::Unwritable, Vec::new(), message));
        }
    }

    /// The walk reached `path`.
    pub(super) fn see(&mut self, path: &EntryPath, is_directory: bool) {
        self.leave(Some(path));
        if let (Some(parent), Some(open)) = (path.parent(), self.open.last_mut())
            && open.path == parent
        {
            open.names.insert(path.name().to_vec());
        }
        if is_directory {
            self.open.push(Open { path: path.clone(), names: HashSet::new() });
        }
    }

    /// Clears the directories that are complete once the walk goes on to `next`, innermost first.
    pub(super) fn leave(&mut self, next: Option<&EntryPath>) {
        while let Some(left) = self.open.pop_if(|open| next.is_none_or(|next| !next.is_within(&open.path))) {
            if !self.stopped {
                self.clear(&left);
            }
        }
    }

    /// Where `path` of the target is in the snapshot.
    fn in_snapshot(&self, path: &EntryPath) -> Option<EntryPath> {
        path.below(&self.subtree).ok()
    }

    /// Whether the snapshot knows all that belongs in `path`.
    fn covers(&self, path: &EntryPath) -> bool {
        self.in_snapshot(path).is_some_and(|place| self.roots.iter().any(|root| place.is_within(root)))
    }

    /// Whether the directory `path`, which the snapshot has as something else, may go with all that is in it.
    pub(super) fn may_clear_for_another(&self, path: &EntryPath) -> bool {
        let may = !self.stopped
            && self.covers(path)
            && matches!(self.delete(path, Effect::DryRun, &mut |_| {}), Ok(Fate::Gone));
        if may && self.effect == Effect::DryRun {
            self.gone(path);
        }
        may
    }

    fn clear(&mut self, left: &Open) {
        let is_directory = |path| self.target.existing(path).map(|found| found.map(|e| e.kind));
        // Of a dry run, or where something else was left in its place.
        if !self.covers(&left.path)
            || matches!(is_directory(&left.path), Ok(found) if found != Some(EntryKind::Directory))
        {
            return;
        }
        match self.target.children(&left.path) {
            Ok(there) => {
                for name in there.iter().filter(|name| !left.names.contains(*name)) {
                    if let Ok(path) = left.path.join(name) {
                        self.clear_away(&path);
                    }
                }
            }
            Err(error) => self.fail(&left.path, &error),
        }
    }

    fn gone(&self, path: &EntryPath) {
        self.tally.deleted(path, self.effect);
    }

    fn clear_away(&self, path: &EntryPath) -> Fate {
        self.delete_or_tell(path, self.effect, &mut |path| self.gone(path))
    }

    fn delete_or_tell(&self, path: &EntryPath, effect: Effect, gone: &mut dyn FnMut(&EntryPath)) -> Fate {
        self.delete(path, effect, gone).unwrap_or_else(|error| {
            self.fail(path, &error);
            Fate::Stays
        })
    }

    fn fail(&self, path: &EntryPath, error: &Error) {
        self.tally.problem(Problem::from_error(ProblemKind::Unwritable, path.as_bytes().to_vec(), error));
    }

    /// Deletes `path` and what is below it, but for what has to stay, and tells `gone` what went or would go.
    fn delete(&self, path: &EntryPath, effect: Effect, gone: &mut dyn FnMut(&EntryPath)) -> Result<Fate> {
        let (Some(place), Some(existing)) = (self.in_snapshot(path), self.target.existing(path)?) else {
            return Ok(Fate::Stays);
        };
        if self.troubled.iter().any(|trouble| place.is_within(trouble)) {
            self.tally.monitor.note(&format!("kept {path}: the backup could not read what it found there"));
            return Ok(Fate::Stays);
        }
        let looked_through = self.filter.is_some() || self.troubled.iter().any(|trouble| trouble.is_within(&place));
        if existing.kind == EntryKind::Directory && looked_through {
            if path.depth() > DEPTH_MAX {
                return Err(Error::new(ErrorKind::Invalid, "restore", "too deep to look for what has to stay"));
            }
            let below: Vec<EntryPath> =
                self.target.children(path)?.iter().map(|name| path.join(name)).collect::<Result<_>>()?;
            // All of them are dealt with, whatever stays.
            let staying = below.iter().filter(|below| self.delete_or_tell(below, effect, gone) == Fate::Stays).count();
            if staying > 0 {
                return Ok(Fate::Stays);
            }
        }
        let entry = Entry { path: place, kind: existing.kind, meta: Metadata::default() };
        if self.filter.as_ref().is_some_and(|wanted| !wanted(&entry)) {
            return Ok(Fate::Stays);
        }
        if effect == Effect::Real
            && let Err(error) = self.target.remove(path)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        gone(path);
        Ok(Fate::Gone)
    }
}

/// The path in the snapshot of a source written as an absolute path.
fn absolute(written: &str) -> Option<EntryPath> {
    let names = written.strip_prefix('/')?.split('/').filter(|name| !matches!(*name, "" | "."));
    EntryPath::new(names.collect::<Vec<_>>().join("/")).ok()
}
