//! All entries in the order of their ids, the entries of one chunk together.
//!
//! A pass reads the run on disk once from front to back. In memory are a block of it, and 12 bytes for each segment: the
//! tables that say which pack an entry is in.

use super::run::Slots;
use super::{LocalIndex, SegmentSlot, Slot};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::ids::{PackName, ShortId};

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its ordinal in the index.
    pub ordinal: u64,
    /// The chunk.
    pub id: ShortId,
    /// Its pack, by number in [`Chunks::packs`].
    pub pack: u32,
    /// Length before compression, bytes.
    pub len: u32,
    /// Its share of the stored bytes of its segment, rounded up.
    pub stored: u32,
}

/// The segments of the index as a pass needs them.
#[derive(Clone, Copy)]
struct Segment {
    pack: u32,
    stored_len: u32,
    raw_len: u32,
}

/// A pass over all entries.
pub struct Chunks<'a> {
    index: &'a LocalIndex,
    packs: Vec<PackName>,
    memory_segments: Vec<Segment>,
    run_segments: Vec<Segment>,
    at_memory: usize,
    slots: Option<Slots<'a>>,
    /// The next entry of the run.
    ahead: Option<Entry>,
    at_run: u64,
    group: Vec<Entry>,
}

impl LocalIndex {
    /// A pass over all entries in the order of their ids.
    ///
    /// # Errors
    /// The run on disk cannot be read.
    pub fn chunks(&self) -> Result<Chunks<'_>> {
        let mut packs: Vec<PackName> = self.memory.packs().collect();
        let first = packs.len() as u32;
        packs.extend(self.run.iter().flat_map(|run| run.packs()));
        let segment = |s: &SegmentSlot, first: u32| Segment {
            pack: s.pack + first,
            stored_len: s.stored_len,
            raw_len: s.raw_len,
        };
        let memory_segments = self.memory.segments.iter().map(|s| segment(s, 0)).collect();
        let mut run_segments = Vec::new();
        if let Some(run) = &self.run {
            run.each_segment(&mut |s| run_segments.push(segment(s, first)))?;
        }
        let mut chunks = Chunks {
            index: self,
            packs,
            memory_segments,
            run_segments,
            at_memory: 0,
            slots: self.run.as_ref().map(Slots::new),
            ahead: None,
            at_run: self.memory.len() as u64,
            group: Vec::new(),
        };
        chunks.step_run()?;
        Ok(chunks)
    }
}

impl Chunks<'_> {
    /// The packs that [`Entry::pack`] numbers; one in memory and in the run comes twice.
    pub fn packs(&self) -> &[PackName] {
        &self.packs
    }

    /// All entries of the next chunk, in the order in which a look-up finds them; `None` at the end.
    ///
    /// # Errors
    /// The run on disk cannot be read.
    #[allow(clippy::should_implement_trait, reason = "lends its buffer and fails per item")]
    pub fn next(&mut self) -> Result<Option<&[Entry]>> {
        self.group.clear();
        let memory = self.index.memory.slots.get(self.at_memory).map(|slot| slot.id);
        let Some(id) = memory.into_iter().chain(self.ahead.map(|e| e.id)).min() else { return Ok(None) };
        while let Some(slot) = self.index.memory.slots.get(self.at_memory).filter(|slot| slot.id == id) {
            self.group.push(entry(self.at_memory as u64, slot, &self.memory_segments)?);
            self.at_memory += 1;
        }
        while let Some(entry) = self.ahead.filter(|e| e.id == id) {
            self.group.push(entry);
            self.step_run()?;
        }
        Ok(Some(&self.group))
    }

    fn step_run(&mut self) -> Result<()> {
        self.ahead = None;
        if let Some(slots) = &mut self.slots
            && let Some(slot) = slots.next()?
        {
            self.ahead = Some(entry(self.at_run, &slot, &self.run_segments)?);
            self.at_run += 1;
        }
        Ok(())
    }
}

/// An entry that fits no segment must not go unseen: who counts live chunks relies on seeing all of them.
fn entry(ordinal: u64, slot: &Slot, segments: &[Segment]) -> Result<Entry> {
    let segment = segments.get(slot.segment as usize).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "index cache", "the local index contradicts itself")
            .with_hint("delete the cache folder: it is rebuilt")
    })?;
    let stored = (u64::from(slot.len) * u64::from(segment.stored_len)).div_ceil(u64::from(segment.raw_len.max(1)));
    Ok(Entry { ordinal, id: slot.id, pack: segment.pack, len: slot.len, stored: stored as u32 })
}
