//! The restore plan: walks the tree, compares with what stands at the destination, groups pieces.

use super::afterwards::{Afterwards, Link};
use super::extraneous::Sweeper;
use super::window::Window;
use super::work::{Task, WholeFile};
use super::{Lacking, Tally};
use crate::index::LocalIndex;
use crate::options::{Effect, Extraneous, Overwrite, RestoreOptions, Snapshot};
use crate::repository::Repository;
use crate::segments::Nodes;
use crossbeam_channel::Sender;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind, Progress, check_stop};
use decube_backup_core::target::{DIRECTORY_IN_THE_WAY, Existing, FileMode, Target};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::tree::{TreeCursor, TreeEntry};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// From this size on an existing file is rewritten in place, chunk by chunk.
const IN_PLACE_MIN: u64 = 1 << 20;

pub(super) struct Planner<'a> {
    pub(super) repo: &'a Repository,
    snapshot: &'a Snapshot,
    pub(super) options: &'a RestoreOptions,
    pub(super) target: &'a dyn Target,
    pub(super) tally: &'a Tally<'a>,
    pub(super) tasks: Sender<Task>,
    /// Reads lists of extents.
    pub(super) nodes: Rc<Nodes<'a>>,
    pub(super) index: Arc<LocalIndex>,
    pub(super) window: Window,
    /// Where the first restored member of each group of hard links is.
    first_links: HashMap<EntryPath, EntryPath>,
    /// What was taken for the same and has several names: inodes with the group each is of.
    same_inodes: HashMap<(u64, u64), EntryPath>,
    afterwards: Afterwards,
    sweeper: Option<Sweeper<'a>>,
    /// Directories made, from the root down to where the walk is.
    inside: Vec<Inside>,
    /// What stands here stays, so nothing below it can be restored.
    left_alone: Option<EntryPath>,
    /// Files with nothing to fetch that wait for more of them.
    pub(super) whole: Vec<WholeFile>,
}

/// A directory that the walk is in.
struct Inside {
    path: EntryPath,
    /// Nothing stood there before, so nothing stands in it.
    fresh: bool,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        repo: &'a Repository,
        snapshot: &'a Snapshot,
        options: &'a RestoreOptions,
        target: &'a dyn Target,
        tally: &'a Tally<'a>,
        tasks: Sender<Task>,
        index: Arc<LocalIndex>,
    ) -> Result<Self> {
        Ok(Self {
            repo,
            snapshot,
            options,
            target,
            tally,
            tasks,
            nodes: Rc::new(Nodes::to_look(repo)?),
            index,
            window: Window::default(),
            first_links: HashMap::new(),
            same_inodes: HashMap::new(),
            afterwards: Afterwards::default(),
            sweeper: None,
            inside: Vec::new(),
            left_alone: None,
            whole: Vec::new(),
        })
    }

    /// Restores what is wanted.
    pub(super) fn run(mut self) -> Result<Afterwards> {
        if self.options.extraneous == Extraneous::Delete {
            let manifest = crate::browse::whole_manifest(self.repo, self.snapshot);
            self.sweeper = Some(Sweeper::new(self.options, manifest, self.target, self.tally));
        }
        let nodes = Nodes::to_look(self.repo)?;
        let tree = &crate::browse::root(self.snapshot);
        // Where the way to the subtree is damaged, the walk from the start says what is lost.
        let mut cursor =
            TreeCursor::within(&nodes, tree, &self.options.subtree).unwrap_or_else(|_| TreeCursor::new(&nodes, tree));
        let mut found = false;
        loop {
            check_stop(self.tally.monitor)?;
            match cursor.next() {
                Ok(None) => break,
                Ok(Some(entry)) if entry.entry.path.is_within(&self.options.subtree) => {
                    found = true;
                    self.entry(entry)?;
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    found = true;
                    let from = cursor.gap().map(|g| g.from.as_bytes().to_vec()).unwrap_or_default();
                    let lost = cursor.gap().map_or(0, |g| g.entries);
                    let message = format!("{lost} entries from here on cannot be read: {}", error.chain());
                    self.tally.problem(Problem::new(ProblemKind::Damaged, from, message));
                    if let Some(sweeper) = &mut self.sweeper {
                        sweeper.stop("the snapshot's names cannot all be read");
                    }
                }
            }
        }
        if !found && !self.options.subtree.is_root() {
            return Err(Error::new(ErrorKind::NotFound, "restore", "no such path in the snapshot")
                .with("path", &self.options.subtree)
                .with_hint("list what is there with `decube-backup ls SNAPSHOT`; paths are absolute"));
        }
        self.flush_whole()?;
        self.flush()?;
        if let Some(sweeper) = &mut self.sweeper {
            sweeper.leave(None);
        }
        Ok(self.afterwards)
    }

    /// Restores `paths` anew, nothing else.
    pub(super) fn run_alone(mut self, paths: &[EntryPath]) -> Result<Afterwards> {
        for path in paths {
            check_stop(self.tally.monitor)?;
            let place = path.below(&self.options.subtree);
            match place.and_then(|place| crate::browse::entry(self.repo, self.snapshot, &place)) {
                Ok(entry) => self.entry(entry)?,
                Err(error) => {
                    self.tally.problem(Problem::from_error(ProblemKind::Damaged, path.as_bytes().to_vec(), &error));
                }
            }
        }
        self.flush_whole()?;
        self.flush()?;
        Ok(self.afterwards)
    }

    fn entry(&mut self, entry: TreeEntry) -> Result<()> {
        let mut path = entry.entry.path.strip(&self.options.subtree).unwrap_or_default();
        if path.is_root() && entry.entry.kind != EntryKind::Directory {
            path = EntryPath::new(entry.entry.path.name())?;
            // Of the directory it is restored to the snapshot says nothing.
            self.sweeper = None;
        }
        if let Some(sweeper) = &mut self.sweeper {
            sweeper.see(&path, entry.entry.kind == EntryKind::Directory);
        }
        if let Some(filter) = &self.options.filter
            && !filter(&entry.entry)
        {
            return Ok(());
        }
        if self.left_alone.as_ref().is_some_and(|above| path.is_within(above)) {
            self.tally.update(|r| r.files_skipped += 1);
            return Ok(());
        }
        match self.make_way(&path).and_then(|()| self.place(&path, entry)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.tally.problem(Problem::from_error(ProblemKind::Unwritable, path.as_bytes().to_vec(), &error));
                self.tally.lack_at(&path, Lacking::Place);
                Ok(())
            }
        }
    }

    /// Makes the directories above `path` that no entry made: they were lost with a damaged node or filtered out.
    fn make_way(&mut self, path: &EntryPath) -> Result<()> {
        while self.inside.pop_if(|above| !path.is_within(&above.path)).is_some() {}
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(folder) =
            above.filter(|folder| !folder.is_root() && self.inside.last().is_none_or(|last| last.path != *folder))
        {
            above = folder.parent();
            missing.push(folder);
        }
        missing.iter().rev().try_for_each(|folder| self.enter(folder))
    }

    /// Makes a directory that the walk goes into.
    fn enter(&mut self, path: &EntryPath) -> Result<()> {
        let existing = self.existing(path)?;
        self.enter_over(path, existing.as_ref())
    }

    fn enter_over(&mut self, path: &EntryPath, existing: Option<&Existing>) -> Result<()> {
        let fresh = existing.is_none_or(|existing| existing.kind != EntryKind::Directory);
        match self.options.effect {
            Effect::Real => self.target.create_directory(path)?,
            Effect::DryRun if fresh => self.would_restore(path),
            Effect::DryRun => {}
        }
        self.inside.push(Inside { path: path.clone(), fresh });
        Ok(())
    }

    fn would_restore(&self, path: &EntryPath) {
        self.tally.monitor.note(&format!("would restore {path}"));
    }

    /// What stands at `path`, whose directory is the innermost one the walk is in.
    fn existing(&self, path: &EntryPath) -> Result<Option<Existing>> {
        match self.inside.last() {
            Some(Inside { fresh: true, .. }) => Ok(None),
            _ => self.target.existing(path),
        }
    }

    /// Whether what stands in the way of `wanted` stays there; counts it.
    fn leaves_alone(&self, existing: Option<&Existing>, wanted: &Entry) -> bool {
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

    fn place(&mut self, path: &EntryPath, entry: TreeEntry) -> Result<()> {
        let real = self.options.effect == Effect::Real;
        match &entry.entry.kind {
            EntryKind::Directory => {
                let existing = self.existing(path)?;
                let in_the_way = existing.as_ref().filter(|there| there.kind != EntryKind::Directory);
                if self.leaves_alone(in_the_way, &entry.entry) {
                    self.left_alone = Some(path.clone());
                    return Ok(());
                }
                self.tally.update(|r| r.directories += 1);
                self.tally.monitor.advance(Progress::Entries, 1);
                self.enter_over(path, existing.as_ref())?;
                if real && (!path.is_root() || !self.options.subtree.is_root()) {
                    let stood = existing.is_some().then(|| Entry { path: path.clone(), ..entry.entry.clone() });
                    self.afterwards.directories.push((path.clone(), entry.entry));
                    stood.map_or(Ok(()), |placed| self.target.narrow_directory(&placed))?;
                }
                Ok(())
            }
            EntryKind::File { .. } => self.file(path, entry),
            _ => self.special(path, entry.entry),
        }
    }

    fn special(&mut self, path: &EntryPath, entry: Entry) -> Result<()> {
        let existing = self.existing(path)?;
        let placed = Entry { path: path.clone(), ..entry };
        if self.leaves_alone(existing.as_ref(), &placed) {
            return Ok(());
        }
        self.tally.monitor.advance(Progress::Entries, 1);
        let over_directory = self.over_directory(path, existing.as_ref())?;
        if self.is_linked(&placed, over_directory) {
            return Ok(());
        }
        let same =
            existing.as_ref().is_some_and(|existing| existing.kind == placed.kind && self.is_own(existing, &placed));
        match self.options.effect {
            Effect::Real if same => self.tally.problems(self.target.finish_existing(&placed)),
            Effect::Real => {
                if over_directory {
                    self.tally.remove_directory(self.target, path)?;
                }
                let problems = self.target.create_special(&placed)?;
                self.tally.problems(problems);
            }
            Effect::DryRun if same => {}
            Effect::DryRun => self.would_restore(path),
        }
        self.tally.update(|r| r.others += 1);
        Ok(())
    }

    fn file(&mut self, path: &EntryPath, entry: TreeEntry) -> Result<()> {
        let existing = self.existing(path)?;
        let placed = Entry { path: path.clone(), ..entry.entry };
        if self.leaves_alone(existing.as_ref(), &placed) {
            // Its group's next name is the first one restored: what stands here is not the snapshot's.
            return Ok(());
        }
        let over_directory = self.over_directory(path, existing.as_ref())?;
        if self.is_linked(&placed, over_directory) {
            return Ok(());
        }
        if existing.as_ref().is_some_and(|existing| self.is_same(existing, &placed)) {
            return Ok(());
        }
        if self.options.effect == Effect::DryRun {
            self.tally.update(|r| r.files_restored += 1);
            self.would_restore(path);
            return Ok(());
        }
        let is_long = |kind: &EntryKind| kind.size() >= IN_PLACE_MIN;
        let mode = match existing {
            None => FileMode::New,
            Some(existing) if is_long(&existing.kind) && is_long(&placed.kind) => FileMode::InPlace,
            Some(_) => FileMode::Beside,
        };
        self.contents(path, placed, &entry.content, mode, over_directory)
    }

    /// Whether a directory with content stands where something else belongs and goes for it.
    fn over_directory(&self, path: &EntryPath, existing: Option<&Existing>) -> Result<bool> {
        if existing.is_none_or(|existing| existing.kind != EntryKind::Directory) {
            return Ok(false);
        }
        if self.sweeper.as_ref().is_some_and(|sweeper| sweeper.may_clear_for_another(path)) {
            return Ok(true);
        }
        if self.target.children(path)?.is_empty() {
            return Ok(false);
        }
        Err(Error::new(ErrorKind::AlreadyExists, "restore", DIRECTORY_IN_THE_WAY).with("path", path))
    }

    /// Whether `entry` is another name of what is restored already; then it is made one in the end.
    fn is_linked(&mut self, entry: &Entry, over_directory: bool) -> bool {
        let Some(group) = &entry.meta.link_group else { return false };
        let Some(original) = self.first_links.get(group).cloned() else {
            self.first_links.insert(group.clone(), entry.path.clone());
            return false;
        };
        match self.options.effect {
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
    fn is_same(&mut self, existing: &Existing, wanted: &Entry) -> bool {
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
    fn is_own(&mut self, existing: &Existing, wanted: &Entry) -> bool {
        if existing.links <= 1 {
            return true;
        }
        let Some(group) = &wanted.meta.link_group else { return false };
        self.target.is_finished(wanted)
            && self.same_inodes.entry(existing.inode).or_insert_with(|| group.clone()) == group
    }
}
