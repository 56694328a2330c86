//! The restore workers: fetch, decode, check, write.

use super::Tally;
use super::file::FileJob;
use crate::index::LocalIndex;
use crate::options::{Effect, RestoreOptions, Sparse};
use crate::repository::Repository;
use crate::segments::{Fetch, Scratch, SegmentReader, loss};
use crossbeam_channel::Receiver;
use decube_backup_core::monitor::{Problem, ProblemKind, Progress};
use decube_backup_core::target::{FileMode, Target, TargetFile};
use decube_backup_core::zeros::is_zero;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Domain;
use decube_backup_format::ids::{ChunkId, PackName};
use decube_backup_format::pack::SegmentEntry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

/// A chunk in a decoded segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chunk {
    pub offset: u32,
    pub len: u32,
    pub id: ChunkId,
}

impl Chunk {
    fn end(&self) -> u32 {
        self.offset + self.len
    }

    /// Its bytes; none if the segment is too short.
    fn of<'r>(&self, raw: &'r [u8]) -> &'r [u8] {
        raw.get(self.offset as usize..self.end() as usize).unwrap_or_default()
    }
}

/// One of the places that a chunk goes to.
pub(super) struct Piece {
    pub file: Arc<FileJob>,
    pub file_offset: u64,
    pub chunk: Chunk,
}

impl Piece {
    /// Whether `next` comes right after it in the file.
    fn adjoins(&self, next: &Self) -> bool {
        Arc::ptr_eq(&self.file, &next.file) && self.file_offset + u64::from(self.chunk.len) == next.file_offset
    }

    /// Whether `next` comes after it both in the file and in the segment.
    fn is_followed_by(&self, next: &Self) -> bool {
        self.adjoins(next) && self.chunk.end() == next.chunk.offset
    }

    /// Whether `next` is the same once more, right after it in the file.
    fn is_repeated_by(&self, next: &Self) -> bool {
        self.adjoins(next) && self.chunk == next.chunk
    }
}

/// What is written to one file with one call.
#[derive(Clone, Copy)]
enum Bytes<'r> {
    Content(&'r [u8]),
    Zeros(u64),
}

impl Bytes<'_> {
    fn len(self) -> u64 {
        match self {
            Self::Content(bytes) => bytes.len() as u64,
            Self::Zeros(len) => len,
        }
    }

    fn is_zero(self) -> bool {
        match self {
            Self::Content(bytes) => is_zero(bytes),
            Self::Zeros(_) => true,
        }
    }

    fn split_at(self, at: u64) -> (Self, Self) {
        match self {
            Self::Content(bytes) => {
                let (before, after) = bytes.split_at((at as usize).min(bytes.len()));
                (Self::Content(before), Self::Content(after))
            }
            Self::Zeros(len) => (Self::Zeros(at.min(len)), Self::Zeros(len.saturating_sub(at))),
        }
    }

    fn to_vec(self) -> Vec<u8> {
        match self {
            Self::Content(bytes) => bytes.to_vec(),
            Self::Zeros(len) => vec![0; len as usize],
        }
    }

    fn write(self, to: &dyn TargetFile, offset: u64) -> Result<()> {
        match self {
            Self::Content([]) | Self::Zeros(0) => Ok(()),
            Self::Content(bytes) => to.write_at(offset, bytes),
            Self::Zeros(len) => to.write_zeros(offset, len),
        }
    }
}

pub(super) struct SegmentTask {
    pub number: u32,
    pub entry: SegmentEntry,
    /// As they were wanted: file by file, each from front to back.
    pub pieces: Vec<Piece>,
}

pub(super) enum Task {
    /// Neighbouring segments of one pack, fetched with one request.
    Segments { pack: PackName, segments: Vec<SegmentTask>, fetch: Result<Fetch> },
    /// Files with nothing to fetch.
    Whole(Vec<WholeFile>),
}

/// A file whose whole content is at hand.
pub(super) struct WholeFile {
    pub file: Arc<FileJob>,
    pub content: Vec<u8>,
}

pub(super) struct WorkContext<'a> {
    pub repo: &'a Repository,
    pub target: &'a dyn Target,
    pub tally: &'a Tally<'a>,
    pub options: &'a RestoreOptions,
    pub index: Arc<LocalIndex>,
    pub segments: SegmentReader<'a>,
    /// Unfinished files open now.
    pub open_files: AtomicUsize,
    /// How many of them all workers together keep open; beyond, they are reopened for each piece.
    pub open_files_max: usize,
}

pub(super) fn run(context: &WorkContext<'_>, queue: &Receiver<Task>) {
    let mut scratch = None;
    for task in queue {
        match task {
            Task::Whole(files) => files.iter().for_each(|whole| context.whole(&whole.file, &whole.content)),
            Task::Segments { pack, segments, fetch } => {
                let scratch = match &mut scratch {
                    Some(ready) => ready,
                    none => match Scratch::new() {
                        Ok(new) => none.insert(new),
                        Err(error) => {
                            segments.iter().flat_map(|s| &s.pieces).for_each(|piece| context.lose(piece, &error));
                            continue;
                        }
                    },
                };
                context.pack(&pack, segments, fetch, scratch);
            }
        }
    }
}

impl WorkContext<'_> {
    fn whole(&self, file: &Arc<FileJob>, content: &[u8]) {
        let result = match content {
            [] => Ok(()),
            bytes => self.with_handle(file, |handle| handle.write_at(0, bytes)),
        };
        self.tally.written(content.len(), &result);
        self.piece_done(file, 1, result.err().as_ref(), ProblemKind::Unwritable);
    }

    fn pack(&self, pack: &PackName, segments: Vec<SegmentTask>, fetch: Result<Fetch>, scratch: &mut Scratch) {
        let fetched = fetch.and_then(|fetch| self.segments.arrived(pack, fetch)).ok();
        for segment in segments {
            if self.tally.check().is_err() {
                return;
            }
            let decoded = match fetched.as_ref().and_then(|fetched| fetched.segment(&segment.entry)) {
                Some(sealed) => self.segments.decode(pack, segment.number, &segment.entry, sealed, scratch),
                // A bad range must not cost all of its segments.
                None => self.segments.read(pack, segment.number, &segment.entry, scratch),
            };
            match decoded {
                Ok(()) => {
                    let mismatched = self.segment(&segment.pieces, &scratch.raw);
                    if !mismatched.is_empty() {
                        self.recover(pack, mismatched, &mismatch().with("pack", pack.id), scratch);
                    }
                }
                Err(error) => match self.tally.answered(error.with("pack", pack.id)) {
                    Ok(error) => self.recover(pack, &segment.pieces, &error, scratch),
                    Err(_ended) => return,
                },
            }
        }
    }

    /// Takes `pieces`, damaged in `pack`, from other packs that hold them; what none holds is lost.
    fn recover<'p>(
        &self,
        pack: &PackName,
        pieces: impl IntoIterator<Item = &'p Piece>,
        why: &Error,
        scratch: &mut Scratch,
    ) {
        // Neighbours here are mostly neighbours there.
        let mut decoded = None;
        for piece in pieces {
            // A copy that does not come soon costs as much time as the first one.
            if self.tally.check().is_err() {
                return;
            }
            let found = self.segments.read_other_copy(&self.index, &piece.chunk.id, pack, |at| {
                if decoded != Some((at.pack, at.segment)) {
                    decoded = None;
                    self.segments.read(&at.pack, at.segment, &at.entry, scratch)?;
                    decoded = Some((at.pack, at.segment));
                }
                let bytes = scratch.raw.get(at.offset as usize..(at.offset + at.len) as usize);
                let bytes = bytes.filter(|bytes| self.repo.hasher.id(Domain::Content, bytes) == piece.chunk.id);
                self.put(std::slice::from_ref(piece), Bytes::Content(bytes.ok_or_else(mismatch)?));
                Ok(())
            });
            match found {
                Ok(Some(())) => {}
                Ok(None) => self.lose(piece, why),
                Err(error) => match self.tally.answered(error) {
                    Ok(error) => self.lose(piece, &error),
                    Err(_ended) => return,
                },
            }
        }
    }

    /// Writes all pieces of a decoded segment, neighbours with one call; returns those that are not what their id says.
    fn segment<'p>(&self, pieces: &'p [Piece], raw: &[u8]) -> Vec<&'p Piece> {
        let mut mismatched: Vec<_> = pieces.iter().map(|piece| piece.chunk).collect();
        // Checked once, however many places it goes to.
        mismatched.sort_unstable();
        mismatched.dedup();
        mismatched.retain(|chunk| self.repo.hasher.id(Domain::Content, chunk.of(raw)) != chunk.id);
        let is_whole = |piece: &Piece| mismatched.binary_search(&piece.chunk).is_err();
        let mut rest = pieces;
        while let Some(at) = rest.iter().position(is_whole) {
            rest = rest.get(at..).unwrap_or_default();
            let count = |joined: fn(&Piece, &Piece) -> bool| {
                let joined = |pair: &&[Piece]| matches!(pair, [one, next] if joined(one, next) && is_whole(next));
                1 + rest.windows(2).take_while(joined).count()
            };
            let first = rest.first().map_or(&[][..], |piece| piece.chunk.of(raw));
            // Of zeros alone: other content that repeats is written piece by piece, and would be counted anew for each.
            let repeats = if is_zero(first) { count(Piece::is_repeated_by) } else { 1 };
            let run = if repeats > 1 { repeats } else { count(Piece::is_followed_by) };
            let (members, after) = rest.split_at(run);
            let bytes = if repeats > 1 {
                Bytes::Zeros(first.len() as u64 * repeats as u64)
            } else {
                let (start, end) =
                    members.first().zip(members.last()).map_or((0, 0), |(a, b)| (a.chunk.offset, b.chunk.end()));
                Bytes::Content(raw.get(start as usize..end as usize).unwrap_or_default())
            };
            self.put(members, bytes);
            rest = after;
        }
        pieces.iter().filter(|piece| !is_whole(piece)).collect()
    }

    /// Writes `bytes`, the checked content of `members`: neighbours in one file.
    fn put(&self, members: &[Piece], bytes: Bytes<'_>) {
        let Some(Piece { file, file_offset, .. }) = members.first() else { return };
        let len = bytes.len();
        let fresh = file.mode != FileMode::InPlace;
        let skip_zeros = self.options.sparse == Sparse::Zeros && fresh && bytes.is_zero();
        let held_from = file.held_from(*file_offset, file_offset + len).filter(|_| !skip_zeros);
        let (now, held) = bytes.split_at(held_from.map_or(len, |at| at - file_offset));
        if let Some(at) = held_from {
            file.last_block.lock().unwrap_or_else(PoisonError::into_inner).insert(at, held.to_vec());
        }
        let result = self.with_handle(file, |handle| if skip_zeros { Ok(()) } else { now.write(handle, *file_offset) });
        self.tally.written(now.len() as usize, &result);
        self.piece_done(file, members.len() as u64, result.err().as_ref(), ProblemKind::Unwritable);
    }

    fn lose(&self, piece: &Piece, error: &Error) {
        self.piece_done(&piece.file, 1, Some(error), loss(error));
    }

    /// Runs `act` on the open file, opening it if need be.
    fn with_handle(&self, file: &FileJob, act: impl FnOnce(&dyn TargetFile) -> Result<()>) -> Result<()> {
        let mut shared = file.handle.read().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            drop(shared);
            let mut alone = file.handle.write().unwrap_or_else(PoisonError::into_inner);
            if alone.is_none() {
                *alone = Some(self.open(file)?);
                self.open_files.fetch_add(1, Ordering::Relaxed);
            }
            shared = RwLockWriteGuard::downgrade(alone);
        }
        let result = shared.as_deref().map_or(Ok(()), act);
        drop(shared);
        if self.open_files.load(Ordering::Relaxed) > self.open_files_max {
            let mut alone = file.handle.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(handle) = alone.take() {
                self.open_files.fetch_sub(1, Ordering::Relaxed);
                // Before anybody opens it again.
                return result.and(self.target.set_aside(handle));
            }
        }
        result
    }

    fn open(&self, file: &FileJob) -> Result<Box<dyn TargetFile>> {
        let opened = self.target.create_file(&file.path, file.next_mode(), file.entry.meta.flags)?;
        // Not before: what stands where nothing could be opened is not this restore's to go on with.
        file.opened.store(true, Ordering::Relaxed);
        Ok(opened)
    }

    /// Accounts for finished pieces; the last one finishes the file.
    fn piece_done(&self, file: &Arc<FileJob>, pieces: u64, error: Option<&Error>, kind: ProblemKind) {
        if let Some(error) = error {
            self.fail(file, kind, error);
        }
        if file.remaining.fetch_sub(pieces, Ordering::AcqRel) == pieces {
            self.finish(file);
        }
    }

    /// The first failure is reported.
    fn fail(&self, file: &FileJob, kind: ProblemKind, error: &Error) {
        file.no_space.fetch_or(error.kind() == ErrorKind::NoSpace, Ordering::Relaxed);
        if file.fail(kind) {
            self.tally.problem(file.problem(kind, &error.chain()));
        }
    }

    /// Ends a file of which nothing is to come: gives it its attributes, or leaves its place to what stands there.
    fn finish(&self, file: &FileJob) {
        let settled = self.with_handle(file, |handle| {
            let (len, written) = file.write_held(handle);
            self.tally.written(len, &written);
            // It is ended as any other that lacks content.
            if let Err(error) = &written {
                self.fail(file, ProblemKind::Unwritable, error);
            }
            file.settle(handle)
        });
        let handle = file.handle.write().unwrap_or_else(PoisonError::into_inner).take();
        if handle.is_some() {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
        }
        let handle = match (settled, handle) {
            (Ok(()), Some(handle)) => Ok(handle),
            (Ok(()), None) => self.open(file),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = &handle {
            self.fail(file, ProblemKind::Unwritable, error);
        }
        let failed = file.failed.load(Ordering::Relaxed);
        match handle {
            Ok(handle) if !(failed && handle.is_beside()) => {
                let lacking = if handle.is_beside() { file.nothing() } else { file.parts() };
                let problems = self.target.finish_file(handle, &file.attributes());
                let whole = !failed && problems.iter().all(|problem| problem.kind != ProblemKind::Unwritable);
                self.tally.problems(problems);
                self.tally.update(|r| r.files_restored += u64::from(whole));
                if whole && file.over_directory {
                    self.tally.deleted(&file.path, Effect::Real);
                }
                if !whole {
                    self.tally.lack(file, lacking);
                }
            }
            _ => {
                if let Err(error) = self.target.discard_file(&file.path) {
                    self.tally.problem(Problem::from_error(ProblemKind::Unwritable, file.path.as_bytes(), &error));
                }
                self.tally.lack(file, file.nothing());
            }
        }
        self.tally.monitor.advance(Progress::Entries, 1);
    }
}

fn mismatch() -> Error {
    Error::new(ErrorKind::Corrupt, "restore", "content does not match its id")
}
