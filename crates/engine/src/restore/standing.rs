//! What stands at the destination already: whether it stays, is the same, is another name of something, or goes.

use super::afterwards::{Again, Link};
use super::plan::Planner;
use crate::options::{Effect, Overwrite};
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind, Progress};
use decube_backup_core::target::{DIRECTORY_IN_THE_WAY, Existing};
use decube_backup_core::{Error, ErrorKind, Result};

impl Planner<'_> {
    /// Whether what stands in the way of `wanted` stays there; counts it.
    pub(super) fn leaves_alone(&self, existing: Option<&Existing>, wanted: &Entry) -> bool {
        let Some(existing) = existing else { return false };
        let stays = match self.options.overwrite {
            Overwrite::Never => true,
            Overwrite::IfNewer => existing.mtime >= existing.time_there(wanted.meta.mtime) && !existing.is_unfinished,
            Overwrite::IfChanged | Overwrite::Always => false,
        };
        if stays {
            self.tally.update(|r| r.files_skipped += 1);
            if existing.is_unfinished {
                let message = "what stands here is a file that a restore did not finish; --overwrite never leaves it, every \
                               other mode restores it";
                self.tally.problem(Problem::new(ProblemKind::Unwritable, wanted.path.as_bytes(), message));
            }
        }
        stays
    }

    /// As [`Self::leaves_alone`], of what may have other names.
    pub(super) fn keeps(&mut self, existing: Option<&Existing>, wanted: &Entry) -> bool {
        let stays = self.leaves_alone(existing, wanted);
        if let Some(existing) = existing.filter(|_| stays) {
            self.kept(existing, wanted);
        }
        stays
    }

    /// What stands at the place of `wanted` stays. If it is the snapshot's it is one of its group: other names become its own.
    /// Otherwise the group's next name is the first one restored.
    fn kept(&mut self, existing: &Existing, wanted: &Entry) {
        let Some(group) = &wanted.meta.link_group else { return };
        let same = existing.kind == wanted.kind
            && existing.mtime == existing.time_there(wanted.meta.mtime)
            && !existing.is_unfinished;
        // It stands for no other file of the snapshot.
        if !same || self.same_inodes.entry(existing.inode).or_insert_with(|| group.clone()) != group {
            return;
        }
        let Some(first) = self.first_links.get(group) else {
            self.first_links.insert(group.clone(), wanted.path.clone());
            return;
        };
        let is_one = matches!(self.target.existing(first), Ok(Some(first)) if first.inode == existing.inode);
        if !is_one {
            let message = format!("is not one with {first}, as it is in the snapshot: --overwrite leaves it");
            self.tally.problem(Problem::new(ProblemKind::Attribute, wanted.path.as_bytes(), message));
        }
    }

    /// Whether what stands at `folder`, of which the snapshot's entry is not known, stays there, and all below it away.
    pub(super) fn bars_the_way(&mut self, existing: Option<&Existing>, folder: &EntryPath) -> bool {
        let is_else = existing.is_some_and(|existing| existing.kind != EntryKind::Directory);
        let why = match self.options.overwrite {
            Overwrite::Never => "--overwrite never leaves it",
            // Newer than what cannot be told.
            Overwrite::IfNewer => "whether it is newer cannot be told, so it stays",
            Overwrite::IfChanged | Overwrite::Always => return false,
        };
        if is_else {
            let message = format!("stands where a directory belongs whose own entry is not restored; {why}");
            self.tally.problem(Problem::new(ProblemKind::Unwritable, folder.as_bytes(), message));
            self.left_alone = Some(folder.clone());
        }
        is_else
    }

    /// Whether `path` cannot be restored because of what stays above it.
    pub(super) fn is_below_what_stays(&self, path: &EntryPath) -> bool {
        self.left_alone.as_ref().is_some_and(|above| path.is_within(above))
    }

    /// Whether a directory with content stands where something else belongs and goes for it.
    pub(super) fn over_directory(&self, path: &EntryPath, existing: Option<&Existing>) -> Result<bool> {
        if existing.is_none_or(|existing| existing.kind != EntryKind::Directory) {
            return Ok(false);
        }
        if self.sweeper.as_ref().is_some_and(|sweeper| sweeper.may_clear_for_another(path))
            || self.alone.as_ref().is_some_and(|alone| alone.over_directory)
        {
            if self.options.effect == Effect::Real {
                self.target.gives_way(path);
            }
            return Ok(true);
        }
        if self.target.children(path)?.is_empty() {
            return Ok(false);
        }
        Err(Error::new(ErrorKind::AlreadyExists, "restore", DIRECTORY_IN_THE_WAY).with("path", path))
    }

    /// Whether `entry` is another name of what is restored already; then it is made one in the end, unless it is.
    pub(super) fn is_linked(&mut self, existing: Option<&Existing>, entry: &Entry, over_directory: bool) -> bool {
        let Some(group) = &entry.meta.link_group else { return false };
        if self.alone.as_ref().is_some_and(|alone| alone.again == Again::Apart) {
            return false;
        }
        let Some(original) = self.first_links.get(group).cloned() else {
            self.first_links.insert(group.clone(), entry.path.clone());
            return false;
        };
        let is_one = existing.is_some_and(|existing| self.same_inodes.get(&existing.inode) == Some(group));
        match self.options.effect {
            _ if is_one => self.tally.update(|r| match entry.kind {
                EntryKind::File { .. } => r.files_unchanged += 1,
                _ => r.others += 1,
            }),
            Effect::Real => {
                let (path, kind) = (entry.path.clone(), entry.kind.clone());
                self.afterwards.links.push(Link { original, path, kind, over_directory });
            }
            Effect::DryRun => {
                self.would_restore(&entry.path);
                self.tally.update(|r| match entry.kind {
                    EntryKind::File { .. } => r.files_restored += 1,
                    _ => r.others += 1,
                });
            }
        }
        true
    }

    /// Whether an existing file is taken for the wanted one; counts it, and sets its attributes.
    pub(super) fn is_same(&mut self, existing: &Existing, wanted: &Entry) -> bool {
        let same = existing.kind == wanted.kind
            && existing.mtime == existing.time_there(wanted.meta.mtime)
            && !existing.is_unfinished;
        if !same || self.options.overwrite != Overwrite::IfChanged || !self.is_own(existing, wanted) {
            return false;
        }
        if self.options.effect == Effect::Real {
            self.tally.problems(self.target.finish_existing(wanted));
        }
        self.tally.update(|r| r.files_unchanged += 1);
        self.tally.monitor.advance(Progress::Bytes, wanted.kind.size());
        true
    }

    /// Whether what stands there under several names may be taken for `wanted`: nothing is set on it that its other names,
    /// which may be outside of the target, would show, and it stands for no other file of the snapshot.
    pub(super) fn is_own(&mut self, existing: &Existing, wanted: &Entry) -> bool {
        if existing.links <= 1 {
            return true;
        }
        let Some(group) = &wanted.meta.link_group else { return false };
        self.target.is_finished(wanted)
            && self.same_inodes.entry(existing.inode).or_insert_with(|| group.clone()) == group
    }
}
