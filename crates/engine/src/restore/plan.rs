//! The restore plan: walks the tree, compares with what stands at the destination, groups pieces.

use super::afterwards::{Afterwards, Alone};
use super::extraneous::Sweeper;
use super::window::Window;
use super::work::{Task, WholeFile, WorkContext};
use super::{Lacking, Tally};
use crate::index::LocalIndex;
use crate::link_groups::tell_apart;
use crate::options::{Effect, Extraneous, RestoreOptions, Snapshot};
use crate::repository::Repository;
use crate::segments::{Nodes, SegmentReader, loss};
use crossbeam_channel::Sender;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind, Progress};
use decube_backup_core::target::{Existing, FileMode, Target};
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
    pub(super) segments: &'a SegmentReader<'a>,
    pub(super) window: Window,
    /// Where the first restored member of each group of hard links is.
    pub(super) first_links: HashMap<EntryPath, EntryPath>,
    /// What was taken for the same and has several names: inodes with the group each is of.
    pub(super) same_inodes: HashMap<(u64, u64), EntryPath>,
    pub(super) afterwards: Afterwards,
    /// What is restored again, and how.
    pub(super) alone: Option<Alone>,
    pub(super) sweeper: Option<Sweeper<'a>>,
    /// Directories made, from the root down to where the walk is.
    inside: Vec<Inside>,
    /// What stands here stays, so nothing below it can be restored.
    pub(super) left_alone: Option<EntryPath>,
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
    pub(super) fn new(context: &'a WorkContext<'a>, snapshot: &'a Snapshot, tasks: Sender<Task>) -> Result<Self> {
        Ok(Self {
            repo: context.repo,
            snapshot,
            options: context.options,
            target: context.target,
            tally: context.tally,
            tasks,
            nodes: Rc::new(Nodes::to_look(context.repo)?),
            index: context.index.clone(),
            segments: &context.segments,
            window: Window::default(),
            first_links: HashMap::new(),
            same_inodes: HashMap::new(),
            afterwards: Afterwards::default(),
            alone: None,
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
            self.tally.check()?;
            match cursor.next() {
                Ok(None) => break,
                Ok(Some(entry)) if entry.entry.path.is_within(&self.options.subtree) => {
                    found = true;
                    self.entry(entry)?;
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    let error = self.tally.answered(error)?;
                    found = true;
                    let from = cursor.gap().map(|g| g.from.as_bytes().to_vec()).unwrap_or_default();
                    let lost = cursor.gap().map_or(0, |g| g.entries);
                    let message = format!("{lost} entries from here on cannot be read: {}", error.chain());
                    self.tally.problem(Problem::new(loss(&error), from, message));
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

    /// Restores `all` anew, nothing else.
    pub(super) fn run_alone(mut self, all: &[Alone]) -> Result<Afterwards> {
        let nodes = Nodes::to_look(self.repo)?;
        // They are in path order.
        let mut cursor = TreeCursor::new(&nodes, &crate::browse::root(self.snapshot));
        for alone in all {
            self.tally.check()?;
            let found = alone
                .path
                .below(&self.options.subtree)
                .and_then(|place| cursor.lookup(&place)?.ok_or_else(|| crate::browse::no_such_path(&place)));
            self.alone = Some(alone.clone());
            match found {
                Ok(entry) => self.entry(entry)?,
                Err(error) => {
                    let error = self.tally.answered(error)?;
                    self.tally.problem(Problem::from_error(loss(&error), alone.path.as_bytes(), &error));
                }
            }
        }
        self.flush_whole()?;
        self.flush()?;
        Ok(self.afterwards)
    }

    fn entry(&mut self, mut entry: TreeEntry) -> Result<()> {
        tell_apart(&mut entry);
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
        let placed = self.make_way(&path).and_then(|()| match self.is_below_what_stays(&path) {
            true => {
                self.tally.update(|r| r.files_skipped += 1);
                Ok(())
            }
            false => self.place(&path, entry),
        });
        match placed {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.tally.problem(Problem::from_error(ProblemKind::Unwritable, path.as_bytes().to_vec(), &error));
                let full = error.kind() == ErrorKind::NoSpace;
                self.tally.lack_at(&path, if full { Lacking::Space } else { Lacking::Place });
                Ok(())
            }
        }
    }

    /// Makes the directories above `path` that no entry made: they were lost with a damaged node or filtered out.
    fn make_way(&mut self, path: &EntryPath) -> Result<()> {
        while self.inside.pop_if(|above| !path.is_within(&above.path)).is_some() {}
        if self.is_below_what_stays(path) {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(folder) =
            above.filter(|folder| !folder.is_root() && self.inside.last().is_none_or(|last| last.path != *folder))
        {
            above = folder.parent();
            missing.push(folder);
        }
        for folder in missing.iter().rev() {
            let existing = self.existing(folder)?;
            if self.bars_the_way(existing.as_ref(), folder) {
                break;
            }
            self.enter_over(folder, existing.as_ref())?;
        }
        Ok(())
    }

    /// Makes a directory that the walk goes into, where `existing` stands.
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

    pub(super) fn would_restore(&self, path: &EntryPath) {
        self.tally.monitor.note(&format!("would restore {path}"));
    }

    /// What stands at `path`, whose directory is the innermost one the walk is in.
    fn existing(&self, path: &EntryPath) -> Result<Option<Existing>> {
        match self.inside.last() {
            Some(Inside { fresh: true, .. }) => Ok(None),
            _ => self.target.existing(path),
        }
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
        if self.keeps(existing.as_ref(), &placed) {
            return Ok(());
        }
        self.tally.monitor.advance(Progress::Entries, 1);
        let over_directory = self.over_directory(path, existing.as_ref())?;
        if self.is_linked(existing.as_ref(), &placed, over_directory) {
            return Ok(());
        }
        let same =
            existing.as_ref().is_some_and(|existing| existing.kind == placed.kind && self.is_own(existing, &placed));
        match self.options.effect {
            Effect::Real if same => self.tally.problems(self.target.finish_existing(&placed)),
            Effect::Real => {
                let problems = self.target.create_special(&placed)?;
                if over_directory {
                    self.tally.deleted(path, Effect::Real);
                }
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
        if self.keeps(existing.as_ref(), &placed) {
            return Ok(());
        }
        let over_directory = self.over_directory(path, existing.as_ref())?;
        if self.is_linked(existing.as_ref(), &placed, over_directory) {
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
}
