//! Large files: one reader reads and cuts, whoever is idle hashes.
//!
//! ```text
//! reader (read, cut) ── block ─→ hasher, if one is idle, else the reader itself ── hashed block ─→ builder
//!        └───────────── where the hashed block will come from, in order ─────────────────────────────↑
//! ```
//! Cut points depend on all bytes before them, so one thread cuts; ids do not.

use super::plan::Relation;
use super::read::{RawExtent, ReadContext, ReadEntry, ReadOutcome, lose, settle};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use decube_backup_core::monitor::Progress;
use decube_backup_core::source::{Content, Piece, Scanned};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::{ContentHasher, Domain};

/// Bytes read between hand-overs of a stream.
const BLOCK_BYTES: usize = 1 << 20;
/// Blocks of a stream that wait for the builder. It takes them in bursts, while compressors are free; with one, they ran out
/// of work before the next segment was read (first backup of a database a tenth slower; more than four gain nothing).
pub(super) const BLOCKS_WAITING: usize = 4;
/// A block full of holes is handed over with so many extents.
const BLOCK_EXTENTS: usize = 1024;

/// What the builder gets of a stream, in order.
pub(super) enum StreamMessage {
    /// A block, as soon as it is hashed.
    Block(Receiver<Block>),
    End(Box<ReadEntry>),
}

/// A stretch of a stream; `extents` point into the arena.
pub(super) struct Block {
    pub arena: Vec<u8>,
    pub extents: Vec<RawExtent>,
}

/// One piece of a block that is not hashed yet.
enum Cut {
    Chunk { start: usize, len: usize },
    Hole(u64),
}

/// A block to hash.
pub(super) struct HashJob {
    arena: Vec<u8>,
    cuts: Vec<Cut>,
    done: Sender<Block>,
}

impl HashJob {
    fn run(self, hasher: &ContentHasher) {
        let Self { arena, cuts, done } = self;
        let hash = |cut: &Cut| match *cut {
            Cut::Hole(len) => RawExtent::Hole(len),
            Cut::Chunk { start, len } => chunk(hasher, &arena, start, len),
        };
        let extents = cuts.iter().map(hash).collect();
        let _ = done.send(Block { arena, extents });
    }
}

/// The extent of a chunk at `start` of `arena`, `len` bytes long.
pub(super) fn chunk(hasher: &ContentHasher, arena: &[u8], start: usize, len: usize) -> RawExtent {
    let bytes = arena.get(start..start + len).unwrap_or_default();
    RawExtent::Chunk { id: hasher.id(Domain::Content, bytes), start: start as u32, len: len as u32 }
}

/// Hashes blocks until no reader is left.
pub(super) fn hash_blocks(jobs: &Receiver<HashJob>, hasher: &ContentHasher) {
    jobs.iter().for_each(|job| job.run(hasher));
}

/// Where a stream goes.
pub(super) struct Outlets<'a> {
    /// To the builder.
    pub(super) blocks: Sender<StreamMessage>,
    /// To hashers; takes a job only if one of them waits for it.
    pub(super) hashers: &'a Sender<HashJob>,
}

impl Outlets<'_> {
    fn block(&self, hasher: &ContentHasher, arena: Vec<u8>, cuts: Vec<Cut>) -> Result<()> {
        let (done, result) = bounded(1);
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            self.hashers.try_send(HashJob { arena, cuts, done })
        {
            job.run(hasher);
        }
        let closed = |_| Error::new(ErrorKind::Interrupted, "read", "backup ended");
        self.blocks.send(StreamMessage::Block(result)).map_err(closed)
    }
}

impl ReadContext<'_> {
    /// Reads one large file.
    pub(super) fn stream(&self, scanned: Scanned, to: &Outlets<'_>) {
        let relation = Relation::New; // the builder knows the real one
        let mut read =
            ReadEntry { scanned, relation, extents: Vec::new(), problems: Vec::new(), outcome: ReadOutcome::Whole };
        self.monitor.at(read.scanned.entry.path.as_bytes());
        let result = self.source.open(&read.scanned).and_then(|mut content| {
            let len = self.stream_content(content.as_mut(), to)?;
            Ok((len, content.finish(&mut read.scanned.entry)?))
        });
        match result {
            Ok((len, end)) => settle(&mut read, len, end),
            Err(error) => lose(&mut read, &error),
        }
        let _ = to.blocks.send(StreamMessage::End(Box::new(read)));
    }

    /// A block of a stream: of full length, old bytes in it.
    fn block(&self, max: usize) -> Vec<u8> {
        let mut block = self.arenas.1.try_recv().unwrap_or_default();
        block.resize(BLOCK_BYTES + max, 0);
        block
    }

    fn stream_content(&self, content: &mut dyn Content, to: &Outlets<'_>) -> Result<u64> {
        let max = self.chunker.params().max as usize;
        let (mut arena, mut cuts) = (self.block(max), Vec::new());
        // arena[..cut] is cut into chunks, arena[cut..have] is not yet.
        let (mut cut, mut have, mut total) = (0, 0, 0u64);
        loop {
            let mut end = None;
            while have < arena.len() {
                match content.read(arena.get_mut(have..).unwrap_or_default())? {
                    Piece::Data(n) => have += n,
                    other => {
                        end = Some(other);
                        break;
                    }
                }
            }
            let before = have - cut;
            while have - cut >= max || (end.is_some() && cut < have) {
                let len = self.chunker.cut(arena.get(cut..have).unwrap_or_default()).max(1);
                cuts.push(Cut::Chunk { start: cut, len });
                cut += len;
            }
            let done = (before - (have - cut)) as u64;
            total += done;
            self.monitor.advance(Progress::Bytes, done);
            if let Some(Piece::Hole(hole)) = end {
                cuts.push(Cut::Hole(hole));
                total += hole;
            }
            if end == Some(Piece::End) {
                return to.block(self.hasher, arena, cuts).map(|()| total);
            }
            // Without an end the arena is full; after a hole with little data around it the same one is filled on.
            if have + max <= arena.len() && cuts.len() < BLOCK_EXTENTS {
                continue;
            }
            let mut next = self.block(max);
            let rest = arena.get(cut..have).unwrap_or_default();
            next.get_mut(..rest.len()).unwrap_or_default().copy_from_slice(rest);
            (cut, have) = (0, rest.len());
            let full = std::mem::replace(&mut arena, next);
            to.block(self.hasher, full, std::mem::take(&mut cuts))?;
        }
    }
}
