//! The reader pool: reads attributes and content, cuts it into chunks, hashes them.
//!
//! Several files share one arena of up to a few MiB; a large file streams through blocks of 1 MiB
//! ([`super::stream`]). Arenas travel back through a pool.

use super::plan::{Item, Relation};
use super::stream::{HashJob, Outlets, StreamMessage, chunk};
use crossbeam_channel::{Receiver, Sender};
use decube_backup_core::entry::{EntryKind, EntryPath, Identity};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress};
use decube_backup_core::source::{Content, ContentEnd, Piece, SIZE_UNKNOWN, Scanned, Source, Stability};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::chunker::Chunker;
use decube_backup_format::hash::ContentHasher;
use decube_backup_format::ids::ChunkId;
use decube_backup_format::tree::TreeEntry;

/// Arenas that grew beyond this are cut back before they are used again, bytes.
const ARENA_KEPT_BYTES: usize = 4 << 20;
/// A file whose size is given as 0 and that has more content than this is not read, bytes: its content lies in memory as a
/// whole, and may have no end.
const UNSIZED_BYTES_MAX: usize = 16 << 20;
/// First read of such a file, bytes: settings below `/proc/sys` are given in one read or not whole.
const UNSIZED_READ_BYTES: usize = 4096;

/// One piece of content inside an arena.
pub(super) enum RawExtent {
    Chunk {
        id: ChunkId,
        start: u32,
        len: u32,
    },
    /// Whole small content, not hashed: it is stored in the tree.
    Inline {
        start: u32,
        len: u32,
    },
    Hole(u64),
}

/// An item after reading.
pub(super) enum Ready {
    Same(Box<TreeEntry>, Identity, Option<EntryPath>),
    Read(Box<ReadEntry>),
    Link(Box<Scanned>, Relation, EntryPath),
    Problem(Problem),
}

/// A read entry; `extents` point into the batch's arena.
pub(super) struct ReadEntry {
    pub scanned: Scanned,
    pub relation: Relation,
    pub extents: Vec<RawExtent>,
    pub problems: Vec<Problem>,
    /// Whether there is an entry at all.
    pub outcome: ReadOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    Whole,
    /// Nothing usable could be read.
    Lost,
}

/// A part of a batch: what lies in one arena. All but batches with content nobody announced have one part.
pub(super) struct BatchResult {
    pub arena: Vec<u8>,
    pub items: Vec<Ready>,
    /// Whether no other part follows.
    pub last: bool,
}

pub(super) enum ReadJob {
    Batch { items: Vec<Item>, done: Sender<BatchResult> },
    Stream { scanned: Scanned, blocks: Sender<StreamMessage> },
}

/// What a reader needs.
#[derive(Clone, Copy)]
pub(super) struct ReadContext<'a> {
    pub source: &'a dyn Source,
    pub chunker: &'a Chunker,
    pub hasher: &'a ContentHasher,
    /// Longest content that becomes part of the tree itself, bytes.
    pub inline_bytes_max: usize,
    pub monitor: &'a dyn Monitor,
    pub arenas: &'a (Sender<Vec<u8>>, Receiver<Vec<u8>>),
}

impl ReadContext<'_> {
    fn arena(&self) -> Vec<u8> {
        let mut arena = self.arenas.1.try_recv().unwrap_or_default();
        arena.clear();
        arena.shrink_to(ARENA_KEPT_BYTES);
        arena
    }

    pub(super) fn run(&self, jobs: &Receiver<ReadJob>, hashers: &Sender<HashJob>) {
        for job in jobs {
            match job {
                // Nobody takes the parts after an error.
                ReadJob::Batch { items, done } => self.batch(items, |part| {
                    let _ = done.send(part);
                }),
                ReadJob::Stream { scanned, blocks } => self.stream(scanned, &Outlets { blocks, hashers }),
            }
        }
    }

    /// Reads `items` and gives them away in parts.
    pub(super) fn batch(&self, items: Vec<Item>, mut give: impl FnMut(BatchResult)) {
        let (mut arena, mut ready) = (self.arena(), Vec::with_capacity(items.len()));
        for item in items {
            if arena.len() >= 2 * super::plan::BATCH_BYTES as usize {
                let arena = std::mem::replace(&mut arena, self.arena());
                give(BatchResult { arena, items: std::mem::take(&mut ready), last: false });
            }
            ready.push(match item {
                Item::Same(entry, identity, first) => Ready::Same(entry, identity, first),
                Item::Link(scanned, relation, first) => Ready::Link(scanned, relation, first),
                Item::Problem(problem) => Ready::Problem(problem),
                Item::Read(scanned, relation) => Ready::Read(Box::new(self.read_entry(*scanned, relation, &mut arena))),
            });
        }
        give(BatchResult { arena, items: ready, last: true });
    }

    fn read_entry(&self, scanned: Scanned, relation: Relation, arena: &mut Vec<u8>) -> ReadEntry {
        let mut read =
            ReadEntry { scanned, relation, extents: Vec::new(), problems: Vec::new(), outcome: ReadOutcome::Whole };
        self.monitor.at(read.scanned.entry.path.as_bytes());
        if let EntryKind::File { size } = read.scanned.entry.kind {
            let start = arena.len();
            let result = self.source.open(&read.scanned).and_then(|mut content| {
                let expected = usize::try_from(size).unwrap_or(usize::MAX).min(super::plan::BATCH_BYTES as usize);
                let (pieces, len) = read_small(content.as_mut(), arena, expected)?;
                Ok((pieces, len, content.finish(&mut read.scanned.entry)?))
            });
            match result {
                Ok((pieces, len, end)) => {
                    self.monitor.advance(Progress::Bytes, len);
                    self.cut_small(arena, start, &pieces, len, &mut read.extents);
                    settle(&mut read, len, end);
                }
                Err(error) => {
                    arena.truncate(start);
                    lose(&mut read, &error);
                }
            }
        } else {
            read.problems.extend(self.source.detail(&mut read.scanned.entry));
        }
        read
    }

    fn cut_small(&self, arena: &[u8], start: usize, pieces: &[Piece], len: u64, extents: &mut Vec<RawExtent>) {
        let mut at = start;
        let all_data = !pieces.iter().any(|p| matches!(p, Piece::Hole(_)));
        if all_data && len <= self.inline_bytes_max as u64 {
            if len > 0 {
                extents.push(RawExtent::Inline { start: start as u32, len: len as u32 });
            }
            return;
        }
        for piece in pieces {
            match *piece {
                Piece::Hole(hole) => extents.push(RawExtent::Hole(hole)),
                Piece::Data(n) => {
                    self.cut_all(arena, at, at + n, extents);
                    at += n;
                }
                Piece::End => {}
            }
        }
    }

    /// Chunks `arena[from..to]` to its end.
    fn cut_all(&self, arena: &[u8], mut from: usize, to: usize, extents: &mut Vec<RawExtent>) {
        while from < to {
            let rest = arena.get(from..to).unwrap_or_default();
            let len = self.chunker.cut(rest).max(1);
            extents.push(chunk(self.hasher, arena, from, len));
            from += len;
        }
    }
}

/// Reads a whole small file behind `arena`'s end. Files that grew past the plan are read on.
fn read_small(content: &mut dyn Content, arena: &mut Vec<u8>, expected: usize) -> Result<(Vec<Piece>, u64)> {
    let (mut pieces, mut total) = (Vec::with_capacity(1), 0u64);
    let mut want = expected;
    if expected == 0 {
        let len = read_unsized(content, arena)?;
        pieces.extend((len > 0).then_some(Piece::Data(len)));
        return Ok((pieces, len as u64));
    }
    loop {
        let start = arena.len();
        arena.resize(start + want.max(1), 0);
        match content.read(arena.get_mut(start..).unwrap_or_default()) {
            Ok(Piece::Data(n)) => {
                arena.truncate(start + n);
                total += n as u64;
                match pieces.last_mut() {
                    Some(Piece::Data(before)) => *before += n,
                    _ => pieces.push(Piece::Data(n)),
                }
                want = want.saturating_sub(n);
                if want == 0 && total >= expected as u64 {
                    // The size the scan saw is complete; growth shows in `finish`.
                    return Ok((pieces, total));
                }
            }
            Ok(Piece::Hole(n)) => {
                arena.truncate(start);
                total += n;
                want = want.saturating_sub(usize::try_from(n).unwrap_or(usize::MAX));
                pieces.push(Piece::Hole(n));
                if want == 0 && total >= expected as u64 {
                    return Ok((pieces, total));
                }
            }
            Ok(Piece::End) => {
                arena.truncate(start);
                return Ok((pieces, total));
            }
            Err(error) => {
                arena.truncate(start);
                return Err(error);
            }
        }
    }
}

/// Reads a file whose size is given as 0 to its end. Most are empty, but files of `/proc` and of some file systems in
/// user space are not.
///
/// # Errors
/// Reading fails, or there is more than [`UNSIZED_BYTES_MAX`].
fn read_unsized(content: &mut dyn Content, arena: &mut Vec<u8>) -> Result<usize> {
    let (start, mut len, mut want) = (arena.len(), 0, UNSIZED_READ_BYTES);
    loop {
        let at = start + len;
        arena.resize(at + want, 0);
        match content.read(arena.get_mut(at..).unwrap_or_default())? {
            Piece::Data(n) => len += n,
            // A hole: it grew since it was listed, which `finish` tells.
            Piece::Hole(_) | Piece::End => {
                arena.truncate(at);
                return Ok(len);
            }
        }
        if len > UNSIZED_BYTES_MAX {
            let message = "its size is given as 0, but it has content without end, or too much of it";
            return Err(Error::new(ErrorKind::Unsupported, "read", message)
                .with("bytes_read", len)
                .with_hint("if it has an end, back it up through a pipe with `backup --stdin`; else exclude it"));
        }
        want = super::plan::BATCH_BYTES as usize;
    }
}

pub(super) fn settle(read: &mut ReadEntry, len: u64, end: ContentEnd) {
    read.problems.extend(end.problems);
    let entry = &mut read.scanned.entry;
    // A size of 0 says nothing where there was content. Such a file never is as its parent knows it: it is read every time.
    let announced = Some(entry.kind.size()).filter(|size| ![0, SIZE_UNKNOWN].contains(size));
    if end.stable == Stability::Changed || announced.is_some_and(|size| size != len) {
        let path = entry.path.as_bytes().to_vec();
        read.problems.push(Problem::new(
            ProblemKind::Changed,
            path,
            "changed while it was read; the stored copy may be a mixture",
        ));
        read.scanned.identity = None;
    } else {
        read.scanned.identity = end.identity.or(read.scanned.identity);
    }
    read.scanned.entry.kind = EntryKind::File { size: len };
}

pub(super) fn lose(read: &mut ReadEntry, error: &Error) {
    let kind = if error.kind() == ErrorKind::NotFound { ProblemKind::Vanished } else { ProblemKind::Unreadable };
    read.problems.push(Problem::from_error(kind, read.scanned.entry.path.as_bytes().to_vec(), error));
    read.outcome = ReadOutcome::Lost;
    read.extents.clear();
}
