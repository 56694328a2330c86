//! Known or new: the one place that decides whether a chunk is stored.

use super::kept_tree::Keeper;
use crate::index::LocalIndex;
use crate::pipeline::{AddedPack, ChunkWriter, Lane};
use decube_backup_core::Result;
use decube_backup_core::world::Clock;
use decube_backup_format::codec::looks_incompressible;
use decube_backup_format::ids::{ChunkId, PackName, ShortId};
use decube_backup_format::tree::NodeWriter;
use hashbrown::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// New raw bytes after which what was uploaded so far is recorded in the log, so that a killed backup
/// resumes from there.
pub(crate) const CHECKPOINT_BYTES: u64 = 4 << 30;
/// Time after which the same happens, if anything is new: so much at most is uploaded twice over a slow line.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(600);
/// New chunks after which the same happens: bounds the set of pending ids.
const CHECKPOINT_CHUNKS: usize = 512 << 10;

/// Called with packs that are durable but in no record yet; records them and returns the index that knows them.
pub(crate) type Checkpoint<'a> = dyn FnMut(Vec<AddedPack>) -> Result<Arc<LocalIndex>> + 'a;

pub(crate) struct Dedup<'a> {
    writer: ChunkWriter,
    /// Loaded on first use.
    index: Option<Arc<LocalIndex>>,
    load_index: Box<dyn FnMut() -> Result<Arc<LocalIndex>> + 'a>,
    excluded: &'a (dyn Fn(&PackName) -> bool + 'a),
    known_nodes: &'a dyn Fn(&ChunkId) -> bool,
    keeper: Option<&'a Keeper<'a>>,
    /// `None` on a dry run: nothing may be recorded.
    checkpoint: Option<Box<Checkpoint<'a>>>,
    /// Packs whose chunks were taken as known.
    pub(crate) deps: HashSet<PackName>,
    pending: HashSet<ShortId>,
    since_checkpoint: u64,
    checkpoint_bytes: u64,
    /// With the time of the last record.
    clock: Option<(&'a dyn Clock, Duration)>,
    pub(crate) chunks_new: u64,
    pub(crate) chunks_reused: u64,
    pub(crate) bytes_new: u64,
}

impl<'a> Dedup<'a> {
    pub(crate) fn new(
        writer: ChunkWriter,
        load_index: Box<dyn FnMut() -> Result<Arc<LocalIndex>> + 'a>,
        excluded: &'a (dyn Fn(&PackName) -> bool + 'a),
        known_nodes: &'a dyn Fn(&ChunkId) -> bool,
        checkpoint: Option<Box<Checkpoint<'a>>>,
        checkpoint_bytes: u64,
    ) -> Self {
        Self {
            writer,
            index: None,
            load_index,
            excluded,
            known_nodes,
            keeper: None,
            checkpoint,
            deps: HashSet::new(),
            pending: HashSet::new(),
            since_checkpoint: 0,
            checkpoint_bytes,
            clock: None,
            chunks_new: 0,
            chunks_reused: 0,
            bytes_new: 0,
        }
    }

    /// Also keeps every node in the cache.
    pub(super) fn keeping(mut self, keeper: Option<&'a Keeper<'a>>) -> Self {
        self.keeper = keeper;
        self
    }

    /// Also records progress every so often by `clock`.
    pub(super) fn pacing(mut self, clock: &'a dyn Clock) -> Self {
        self.clock = Some((clock, clock.monotonic()));
        self
    }

    fn is_known(&mut self, id: &ShortId) -> Result<bool> {
        if self.pending.contains(id) {
            return Ok(true);
        }
        let index = match &mut self.index {
            Some(index) => index,
            none => none.insert((self.load_index)()?),
        };
        let found = index.find(id, self.excluded)?;
        if let Some(location) = &found {
            self.deps.insert(location.pack);
        }
        Ok(found.is_some())
    }

    fn store(&mut self, lane: Lane, id: ShortId, bytes: &[u8]) -> Result<()> {
        self.writer.push(lane, id, bytes)?;
        self.pending.insert(id);
        self.since_checkpoint += bytes.len() as u64;
        Ok(())
    }

    /// Stores a content chunk unless it is known.
    pub(crate) fn content(&mut self, id: &ChunkId, bytes: &[u8]) -> Result<()> {
        let id = id.short();
        if self.is_known(&id)? {
            self.chunks_reused += 1;
            return Ok(());
        }
        self.chunks_new += 1;
        self.bytes_new += bytes.len() as u64;
        let lane = if looks_incompressible(bytes) { Lane::Stored } else { Lane::Solid };
        self.store(lane, id, bytes)
    }

    /// Stores what was decoded from elsewhere unless it is known; says whether it was stored.
    pub(crate) fn put(&mut self, lane: Lane, id: ShortId, bytes: &[u8]) -> Result<bool> {
        let known = self.is_known(&id)?;
        if !known {
            self.store(lane, id, bytes)?;
        }
        Ok(!known)
    }

    /// Records progress in the log if enough was uploaded.
    pub(crate) fn checkpoint_if_due(&mut self) -> Result<()> {
        let is_late =
            |(clock, last): (&dyn Clock, Duration)| clock.monotonic().saturating_sub(last) >= CHECKPOINT_EVERY;
        let due = self.since_checkpoint >= self.checkpoint_bytes
            || self.pending.len() >= CHECKPOINT_CHUNKS
            || self.since_checkpoint > 0 && self.clock.is_some_and(is_late);
        let Some(checkpoint) = self.checkpoint.as_mut().filter(|_| due) else { return Ok(()) };
        let added = self.writer.flush()?;
        // Recorded packs are no longer our own, but no snapshot keeps them yet: the tree relies on them.
        self.deps.extend(added.iter().map(|p| p.name));
        self.index = Some(checkpoint(added)?);
        self.pending.clear();
        self.since_checkpoint = 0;
        self.clock = self.clock.map(|(clock, _)| (clock, clock.monotonic()));
        Ok(())
    }

    /// Records the packs that are full, so that the next backup finds what is in them.
    pub(crate) fn keep_uploaded(&mut self) -> Result<()> {
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(()) };
        checkpoint(self.writer.stop()).map(drop)
    }

    /// Waits until everything is durable; returns the packs no record names yet.
    pub(crate) fn finish(&mut self) -> Result<(Vec<AddedPack>, HashSet<PackName>)> {
        Ok((self.writer.flush()?, std::mem::take(&mut self.deps)))
    }
}

impl NodeWriter for Dedup<'_> {
    fn put_node(&mut self, id: ChunkId, bytes: &[u8]) -> Result<()> {
        if let Some(keeper) = self.keeper {
            keeper.keep(&id, bytes);
        }
        if (self.known_nodes)(&id) {
            return Ok(());
        }
        let short = id.short();
        if self.is_known(&short)? {
            return Ok(());
        }
        self.store(Lane::Meta, short, bytes)
    }
}
