//! The restore plan: walks the tree, compares with what stands at the destination, groups pieces.

use super::Tally;
use super::afterwards::Afterwards;
use super::extraneous::Extraneous as Watch;
use super::window::{Fill, Window};
use super::work::{FileJob, Length, Task, WholeFile};
use crate::index::LocalIndex;
use crate::options::{Effect, Extraneous, Overwrite, RestoreOptions, Sparse};
use crate::repository::Repository;
use crate::segments::{Fetch, Nodes, locate};
use crossbeam_channel::Sender;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind, Progress, check_stop};
use decube_backup_core::target::{Existing, FileMode, Target};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Domain;
use decube_backup_format::tree::{Content, Extent, ListCursor, TreeCursor, TreeEntry, TreeRoot};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// From this size on an existing file is rewritten in place, chunk by chunk.
const IN_PLACE_MIN: u64 = 1 << 20;
/// Files with nothing to fetch go to a worker so many at a time: a message each costs more than writing a small one.
const WHOLE_FILES: usize = 64;

pub(super) struct Planner<'a> {
    repo: &'a Repository,
    options: &'a RestoreOptions,
    target: &'a dyn Target,
    tally: &'a Tally<'a>,
    tasks: Sender<Task>,
    nodes: Nodes<'a>,
    index: Arc<LocalIndex>,
    window: Window,
    first_links: HashMap<EntryPath, EntryPath>,
    afterwards: Afterwards,
    watch: Watch,
    /// Directories made, from the root down to where the walk is.
    inside: Vec<Inside>,
    /// Files with nothing to fetch that wait for more of them.
    whole: Vec<WholeFile>,
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
        options: &'a RestoreOptions,
        target: &'a dyn Target,
        tally: &'a Tally<'a>,
        tasks: Sender<Task>,
        index: Arc<LocalIndex>,
    ) -> Result<Self> {
        Ok(Self {
            repo,
            options,
            target,
            tally,
            tasks,
            nodes: Nodes::to_look(repo)?,
            index,
            window: Window::default(),
            first_links: HashMap::new(),
            afterwards: Afterwards::default(),
            watch: Watch::default(),
            inside: Vec::new(),
            whole: Vec::new(),
        })
    }

    pub(super) fn run(mut self, tree: &TreeRoot) -> Result<Afterwards> {
        let nodes = Nodes::to_look(self.repo)?;
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
        self.delete_extraneous(None)?;
        Ok(self.afterwards)
    }

    fn entry(&mut self, entry: TreeEntry) -> Result<()> {
        let mut path = entry.entry.path.strip(&self.options.subtree).unwrap_or_default();
        if path.is_root() && entry.entry.kind != EntryKind::Directory {
            path = EntryPath::new(entry.entry.path.name())?;
        }
        if self.options.extraneous == Extraneous::Delete && self.options.effect == Effect::Real {
            self.delete_extraneous(Some(&path))?;
            self.watch.see(&path, entry.entry.kind == EntryKind::Directory);
        }
        if let Some(filter) = &self.options.filter
            && !filter(&entry.entry)
        {
            return Ok(());
        }
        match self.make_way(&path).and_then(|()| self.place(&path, entry)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.tally.problem(Problem::from_error(ProblemKind::Unwritable, path.as_bytes().to_vec(), &error));
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
        let fresh = self.existing(path)?.is_none();
        if self.options.effect == Effect::Real {
            self.target.create_directory(path)?;
        }
        self.inside.push(Inside { path: path.clone(), fresh });
        Ok(())
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
                self.tally.update(|r| r.directories += 1);
                self.tally.monitor.advance(Progress::Entries, 1);
                self.enter(path)?;
                if real && (!path.is_root() || !self.options.subtree.is_root()) {
                    self.afterwards.directories.push((path.clone(), entry.entry));
                }
                Ok(())
            }
            EntryKind::File { .. } => self.file(path, entry),
            _ => {
                let existing = self.existing(path)?;
                if existing.is_some() && self.options.overwrite == Overwrite::Never {
                    self.tally.update(|r| r.files_skipped += 1);
                    return Ok(());
                }
                self.tally.update(|r| r.others += 1);
                self.tally.monitor.advance(Progress::Entries, 1);
                if real {
                    let placed = Entry { path: path.clone(), ..entry.entry };
                    self.tally.problems(self.target.create_special(&placed)?);
                }
                Ok(())
            }
        }
    }

    fn file(&mut self, path: &EntryPath, entry: TreeEntry) -> Result<()> {
        let real = self.options.effect == Effect::Real;
        if let Some(group) = &entry.entry.meta.link_group {
            if let Some(first) = self.first_links.get(group) {
                if real {
                    self.afterwards.links.push((first.clone(), path.clone()));
                }
                return Ok(());
            }
            self.first_links.insert(group.clone(), path.clone());
        }
        let existing = self.existing(path)?;
        let placed = Entry { path: path.clone(), ..entry.entry };
        if let Some(existing) = &existing
            && self.keep(existing, &placed)
        {
            return Ok(());
        }
        if !real {
            self.tally.update(|r| r.files_restored += 1);
            self.tally.monitor.note(&format!("would restore {path}"));
            return Ok(());
        }
        let in_place =
            matches!(existing, Some(Existing { kind: EntryKind::File { size }, .. }) if size >= IN_PLACE_MIN);
        let mode = if in_place && placed.kind.size() >= IN_PLACE_MIN { FileMode::InPlace } else { FileMode::Replace };
        self.contents(path, placed, &entry.content, mode)
    }

    /// Whether an existing file stays; counts it.
    fn keep(&self, existing: &Existing, wanted: &Entry) -> bool {
        let same = existing.kind == wanted.kind && existing.mtime == wanted.meta.mtime;
        match self.options.overwrite {
            Overwrite::IfChanged if same => {
                if self.options.effect == Effect::Real {
                    self.tally.problems(self.target.finish_existing(wanted));
                }
                self.tally.update(|r| r.files_unchanged += 1);
                self.tally.monitor.advance(Progress::Bytes, wanted.kind.size());
                true
            }
            Overwrite::Never => {
                self.tally.update(|r| r.files_skipped += 1);
                true
            }
            Overwrite::IfNewer if existing.mtime >= wanted.meta.mtime => {
                self.tally.update(|r| r.files_skipped += 1);
                true
            }
            _ => false,
        }
    }

    fn contents(&mut self, path: &EntryPath, entry: Entry, content: &Content, mode: FileMode) -> Result<()> {
        let job = |remaining, holes, mode, length, entry| {
            Arc::new(FileJob {
                path: path.clone(),
                entry,
                mode,
                length,
                remaining: AtomicU32::new(remaining),
                opened: AtomicBool::new(false),
                failed: AtomicBool::new(false),
                holes,
                handle: Default::default(),
            })
        };
        match content {
            Content::None => self.whole(job(1, Vec::new(), mode, Length::Set, entry), Vec::new()),
            Content::Inline(bytes) => {
                self.whole(job(1, Vec::new(), FileMode::Replace, Length::ByContent, entry), bytes.clone())
            }
            _ => {
                let old = match mode {
                    FileMode::InPlace => Some(self.target.create_file(path, FileMode::InPlace)?),
                    FileMode::Replace => None,
                };
                let (mut wanted, mut holes, mut lost) = (Vec::new(), Vec::new(), None);
                let dense = mode == FileMode::Replace && self.options.sparse == Sparse::AsRecorded;
                let mut length = if dense { Length::ByContent } else { Length::Set };
                let mut buffer = Vec::new();
                let mut list = ListCursor::new(&self.nodes, content);
                loop {
                    check_stop(self.tally.monitor)?;
                    match list.next() {
                        Ok(None) => break,
                        Ok(Some((offset, Extent::Hole { len }))) => {
                            length = Length::Set;
                            if old.is_some() {
                                holes.push((offset, len));
                            }
                        }
                        Ok(Some((offset, Extent::Chunk { id, len }))) => {
                            if let Some(old) = &old {
                                buffer.resize(len as usize, 0);
                                let read = old.read_at(offset, &mut buffer).unwrap_or(0);
                                if read == len as usize && self.repo.hasher.id(Domain::Content, &buffer) == id {
                                    self.tally.monitor.advance(Progress::Bytes, u64::from(len));
                                    continue;
                                }
                            }
                            match locate(self.repo, &self.index, &id) {
                                Ok(location) if location.len == len => wanted.push((offset, id, location)),
                                Ok(_) => {
                                    lost = Some(
                                        Error::new(ErrorKind::Corrupt, "restore", "chunk has another length")
                                            .with("chunk", id),
                                    )
                                }
                                Err(error) => lost = Some(error),
                            }
                        }
                        Err(error) => lost = Some(error),
                    }
                }
                drop(old);
                let file = job(wanted.len().max(1) as u32, holes, mode, length, entry);
                if let Some(error) = lost {
                    file.failed.store(true, std::sync::atomic::Ordering::Relaxed);
                    let message = format!("part of its content is missing: {}", error.chain());
                    self.tally.problem(Problem::new(ProblemKind::Damaged, path.as_bytes().to_vec(), message));
                }
                if wanted.is_empty() {
                    return self.whole(file, Vec::new());
                }
                for (file_offset, id, location) in wanted {
                    // A huge file may fill many windows.
                    if self.window.add(&file, id, file_offset, &location) == Fill::Full {
                        self.flush()?;
                    }
                }
                Ok(())
            }
        }
    }

    /// A file that needs nothing fetched.
    fn whole(&mut self, file: Arc<FileJob>, content: Vec<u8>) -> Result<()> {
        self.whole.push(WholeFile { file, content });
        if self.whole.len() < WHOLE_FILES { Ok(()) } else { self.flush_whole() }
    }

    fn flush_whole(&mut self) -> Result<()> {
        match std::mem::take(&mut self.whole) {
            files if files.is_empty() => Ok(()),
            files => self.send(Task::Whole(files)),
        }
    }

    fn send(&self, task: Task) -> Result<()> {
        self.tasks.send(task).map_err(|_| Error::new(ErrorKind::Internal, "restore", "the restore workers ended early"))
    }

    /// Hands the window to the workers.
    fn flush(&mut self) -> Result<()> {
        for (pack, segments) in self.window.take() {
            // What waits in the queue is on its way already.
            let fetch = Fetch::start(self.repo, &pack, segments.iter().map(|segment| &segment.entry));
            self.send(Task::Segments { pack, segments, fetch })?;
        }
        Ok(())
    }

    /// Removes what the snapshot does not have from directories the walk has left.
    fn delete_extraneous(&mut self, next: Option<&EntryPath>) -> Result<()> {
        for (directory, names) in self.watch.left(next) {
            let there = match self.target.children(&directory) {
                Ok(there) => there,
                Err(_) => continue,
            };
            for name in there.into_iter().filter(|n| !names.contains(n)) {
                let Ok(path) = directory.join(&name) else { continue };
                match self.target.remove(&path) {
                    Ok(()) => {
                        self.tally.update(|r| r.deleted += 1);
                        self.tally.monitor.note(&format!("deleted {path}"));
                    }
                    Err(error) => self.tally.problem(Problem::from_error(
                        ProblemKind::Unwritable,
                        path.as_bytes().to_vec(),
                        &error,
                    )),
                }
            }
        }
        Ok(())
    }
}
