//! All entries in the order of their ids, the entries of one chunk together.
//!
//! A pass reads the runs on disk once from front to back. In memory are a block of each, and 12 bytes for each segment: the
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
    at_memory: usize,
    runs: Vec<RunPass<'a>>,
    group: Vec<Entry>,
}

/// A pass over the entries of one run, one ahead.
struct RunPass<'a> {
    segments: Vec<Segment>,
    slots: Slots<'a>,
    ahead: Option<Entry>,
    /// Ordinal of the entry after `ahead`.
    at: u64,
}

impl RunPass<'_> {
    fn step(&mut self) -> Result<()> {
        self.ahead = match self.slots.next()? {
            Some(slot) => Some(entry(self.at, &slot, &self.segments)?),
            None => None,
        };
        self.at += 1;
        Ok(())
    }
}

impl LocalIndex {
    /// A pass over all entries in the order of their ids.
    ///
    /// # Errors
    /// A run on disk cannot be read.
    pub fn chunks(&self) -> Result<Chunks<'_>> {
        let mut packs: Vec<PackName> = self.memory.packs().collect();
        let segment = |s: &SegmentSlot, first: u32| Segment {
            pack: s.pack + first,
            stored_len: s.stored_len,
            raw_len: s.raw_len,
        };
        let memory_segments = self.memory.segments.iter().map(|s| segment(s, 0)).collect();
        let (mut runs, mut at) = (Vec::new(), self.memory.len() as u64);
        for run in &self.runs {
            let (first, mut segments) = (packs.len() as u32, Vec::new());
            packs.extend(run.packs());
            run.each_segment(&mut |s| segments.push(segment(s, first)))?;
            let mut pass = RunPass { segments, slots: Slots::new(run), ahead: None, at };
            pass.step()?;
            runs.push(pass);
            at += run.len();
        }
        Ok(Chunks { index: self, packs, memory_segments, at_memory: 0, runs, group: Vec::new() })
    }
}

impl Chunks<'_> {
    /// The packs that [`Entry::pack`] numbers; one in memory and in a run comes twice.
    pub fn packs(&self) -> &[PackName] {
        &self.packs
    }

    /// All entries of the next chunk, in the order in which a look-up finds them; `None` at the end.
    ///
    /// # Errors
    /// A run on disk cannot be read.
    #[allow(clippy::should_implement_trait, reason = "lends its buffer and fails per item")]
    pub fn next(&mut self) -> Result<Option<&[Entry]>> {
        self.group.clear();
        let memory = self.index.memory.slots.get(self.at_memory).map(|slot| slot.id);
        let runs = self.runs.iter().filter_map(|run| run.ahead.map(|entry| entry.id));
        let Some(id) = runs.chain(memory).min() else { return Ok(None) };
        while let Some(slot) = self.index.memory.slots.get(self.at_memory).filter(|slot| slot.id == id) {
            self.group.push(entry(self.at_memory as u64, slot, &self.memory_segments)?);
            self.at_memory += 1;
        }
        for run in &mut self.runs {
            while let Some(entry) = run.ahead.filter(|entry| entry.id == id) {
                self.group.push(entry);
                run.step()?;
            }
        }
        Ok(Some(&self.group))
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
