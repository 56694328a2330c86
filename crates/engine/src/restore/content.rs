//! The content of one file, planned: what is written whole, what is fetched piece by piece, what stays as it stands there.

use super::file::{FileJob, Length};
use super::plan::Planner;
use super::window::Fill;
use super::work::{Task, WholeFile};
use crate::options::Sparse;
use crate::segments::{locate, loss};
use decube_backup_core::entry::{Entry, EntryPath};
use decube_backup_core::monitor::{ProblemKind, Progress};
use decube_backup_core::target::{FileMode, TargetFile};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Domain;
use decube_backup_format::ids::ChunkId;
use decube_backup_format::tree::{Content, Extent, ListCursor};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Files with nothing to fetch go to a worker so many at a time: a message each costs more than writing a small one.
const WHOLE_FILES: usize = 64;

impl Planner<'_> {
    /// Plans the content of the file at `path`.
    pub(super) fn contents(
        &mut self,
        path: &EntryPath,
        entry: Entry,
        content: &Content,
        mode: FileMode,
        over_directory: bool,
    ) -> Result<()> {
        let job =
            |mode, length| Arc::new(FileJob { over_directory, ..FileJob::new(path.clone(), entry, mode, length) });
        match content {
            Content::None => self.whole(job(mode, Length::Set), Vec::new()),
            Content::Inline(bytes) => self.whole(job(mode, Length::ByContent), bytes.clone()),
            _ => {
                let dense = mode != FileMode::InPlace && self.options.sparse == Sparse::AsRecorded;
                self.pieces(job(mode, if dense { Length::ByContent } else { Length::Set }), content)
            }
        }
    }

    /// Hands out the pieces of `file` as they are listed: a list may be longer than memory holds.
    fn pieces(&mut self, file: Arc<FileJob>, content: &Content) -> Result<()> {
        let old = match file.mode {
            FileMode::InPlace => Some(self.target.create_file(&file.path, FileMode::InPlace, file.entry.meta.flags)?),
            _ => None,
        };
        file.opened.store(old.is_some(), Ordering::Relaxed);
        let mut buffer = Vec::new();
        let nodes = Rc::clone(&self.nodes);
        let mut list = ListCursor::new(&*nodes, content);
        loop {
            self.tally.check()?;
            match list.next() {
                Ok(None) => break,
                Ok(Some((offset, Extent::Hole { len }))) => {
                    file.has_holes.store(true, Ordering::Relaxed);
                    if let Some(Err(error)) = old.as_ref().map(|old| old.punch(offset, len)) {
                        self.lack(&file, ProblemKind::Unwritable, error.chain());
                    }
                }
                Ok(Some((offset, Extent::Chunk { id, len }))) => {
                    if old.as_ref().is_some_and(|old| self.stands_there(&**old, offset, &id, len, &mut buffer)) {
                        self.tally.monitor.advance(Progress::Bytes, u64::from(len));
                        continue;
                    }
                    match locate(self.repo, &self.index, &id) {
                        Ok(location) if location.len == len => {
                            file.remaining.fetch_add(1, Ordering::Relaxed);
                            if self.window.add(&file, id, offset, &location) == Fill::Full {
                                self.flush()?;
                            }
                        }
                        Ok(_) => {
                            let error = Error::new(ErrorKind::Corrupt, "restore", "chunk has another length");
                            self.lose(&file, &error.with("chunk", id));
                        }
                        Err(error) => self.lose(&file, &self.tally.answered(error)?),
                    }
                }
                Err(error) => self.lose(&file, &self.tally.answered(error)?),
            }
        }
        if let Some(Err(error)) = old.map(|old| self.target.set_aside(old)) {
            self.lack(&file, ProblemKind::Unwritable, error.chain());
        }
        // Until here the file could not be finished. If none of its pieces is left to do so, a worker does.
        if file.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            file.remaining.store(1, Ordering::Relaxed);
            return self.whole(file, Vec::new());
        }
        Ok(())
    }

    /// Whether the chunk `id` is at `offset` of `old` already.
    fn stands_there(&self, old: &dyn TargetFile, offset: u64, id: &ChunkId, len: u32, buffer: &mut Vec<u8>) -> bool {
        buffer.resize(len as usize, 0);
        let read = old.read_at(offset, buffer).unwrap_or(0);
        read == len as usize && self.repo.hasher.id(Domain::Content, buffer) == *id
    }

    fn lose(&self, file: &FileJob, error: &Error) {
        self.lack(file, loss(error), format!("part of its content is missing: {}", error.chain()));
    }

    /// Counts `file` as one that is not whole; says why once.
    fn lack(&self, file: &FileJob, kind: ProblemKind, why: String) {
        if file.fail(kind) {
            self.tally.problem(file.problem(kind, &why));
        }
    }

    /// A file that needs nothing fetched.
    fn whole(&mut self, file: Arc<FileJob>, content: Vec<u8>) -> Result<()> {
        self.whole.push(WholeFile { file, content });
        if self.whole.len() < WHOLE_FILES { Ok(()) } else { self.flush_whole() }
    }

    /// Hands what needs nothing fetched to the workers.
    pub(super) fn flush_whole(&mut self) -> Result<()> {
        match std::mem::take(&mut self.whole) {
            files if files.is_empty() => Ok(()),
            files => self.send(Task::Whole(files)),
        }
    }

    /// Hands the window to the workers.
    pub(super) fn flush(&mut self) -> Result<()> {
        for (pack, segments) in self.window.take(self.repo.env.workers()) {
            // What waits in the queue is on its way already.
            let fetch = self.segments.start(&pack, segments.iter().map(|segment| &segment.entry));
            self.send(Task::Segments { pack, segments, fetch })?;
        }
        Ok(())
    }

    fn send(&self, task: Task) -> Result<()> {
        self.tasks.send(task).map_err(|_| Error::new(ErrorKind::Internal, "restore", "the restore workers ended early"))
    }
}
