//! Where chunks are: a local, rebuildable view of the repository's index segments.
//!
//! Recent entries are a sorted table in memory; once they pass [`MEMORY_ENTRIES_MAX`] they become a
//! sorted run on disk with sampled fences in memory, so memory stays at 32 bytes for each of at most half
//! a million recent chunks plus 0.25 bytes for each older one. A run swallows those before it that are not
//! [`GROWTH`] times as large: there are few, and each entry is rewritten a logarithmic number of times. A wrong or
//! missing entry costs a duplicate or a clear error, never data: every chunk read is checked against its full id.
//!
//! | module | holds |
//! |---|---|
//! | [`table`] | packs, segments and entries in memory |
//! | [`run`] | the same on disk |
//! | `merge` | runs and table → one run |
//! | [`bitmap`] | one bit for each entry |
//! | [`scan`] | all entries in the order of their ids |
//!
//! Every entry has an *ordinal* below [`LocalIndex::len`]: those in memory first, then those of each run, each sorted by id.
//! It stays the same as long as the index is loaded, so one bit per entry says something of each chunk.

pub mod bitmap;
mod merge;
pub mod run;
pub mod scan;
pub mod table;

use decube_backup_core::Result;
use decube_backup_format::codec::Codec;
use decube_backup_format::ids::{PackName, ShortId};
use decube_backup_format::pack::{Footer, SegmentEntry};
use run::Run;
use std::collections::HashSet;
use std::path::Path;
use table::Table;

/// Entries held in memory before they are merged into the run on disk.
pub const MEMORY_ENTRIES_MAX: usize = 512 << 10;

/// How many times as large as all newer entries a run must be to be left alone.
const GROWTH: u64 = 3;

/// Where one chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Pack.
    pub pack: PackName,
    /// Segment number in the pack.
    pub segment: u32,
    /// Where the segment's sealed bytes are.
    pub entry: SegmentEntry,
    /// Offset in the raw segment.
    pub offset: u32,
    /// Length.
    pub len: u32,
}

/// The local index.
pub struct LocalIndex {
    memory: Table,
    /// Large ones first.
    runs: Vec<Run>,
}

impl LocalIndex {
    /// An index over runs on disk.
    pub fn new(mut runs: Vec<Run>) -> Self {
        runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        Self { memory: Table::default(), runs }
    }

    /// Adds a pack's table of contents; call [`Self::sort`] before the next look-up.
    pub fn add(&mut self, pack: PackName, footer: &Footer) {
        self.memory.add(pack, footer);
    }

    /// Makes added entries findable.
    pub fn sort(&mut self) {
        self.memory.sort();
    }

    /// Entries in memory.
    pub fn memory_entries(&self) -> usize {
        self.memory.len()
    }

    /// All entries, duplicates counted.
    pub fn len(&self) -> u64 {
        self.memory.len() as u64 + self.runs.iter().map(Run::len).sum::<u64>()
    }

    /// Whether nothing is indexed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves the table in memory, which holds the index segments `covers`, into a run in `folder`, together with runs
    /// that are not much larger.
    ///
    /// # Errors
    /// The cache directory cannot be written; the index is unchanged then.
    pub fn spill(&mut self, folder: &Path, mut covers: HashSet<[u8; 16]>) -> Result<()> {
        let (mut kept, mut entries) = (self.runs.len(), self.memory.len() as u64);
        while let Some(run) = self.runs.get(..kept).and_then(<[Run]>::last).filter(|run| run.len() < GROWTH * entries) {
            (kept, entries) = (kept - 1, entries + run.len());
        }
        let swallowed = self.runs.get(kept..).unwrap_or_default();
        covers.extend(swallowed.iter().flat_map(Run::covers));
        let run = merge::merge(&folder.join(run::file_name(&covers)), swallowed, &self.memory, &covers)?;
        for old in self.runs.drain(kept..).filter(|old| old.path() != run.path()) {
            // Another process may have it open, or have removed it.
            let _ = std::fs::remove_file(old.path());
        }
        self.runs.push(run);
        self.memory = Table::default();
        Ok(())
    }

    /// A location of `id` outside the packs `excluded` names.
    ///
    /// # Errors
    /// The run on disk cannot be read.
    pub fn find(&self, id: &ShortId, excluded: &dyn Fn(&PackName) -> bool) -> Result<Option<Location>> {
        Ok(self.find_entry(id, excluded)?.map(|(_, location)| location))
    }

    /// As [`Self::find`], with the entry's ordinal.
    ///
    /// # Errors
    /// As there.
    pub fn find_entry(&self, id: &ShortId, excluded: &dyn Fn(&PackName) -> bool) -> Result<Option<(u64, Location)>> {
        if let Some((at, location)) = self.memory.find(id, excluded) {
            return Ok(Some((at as u64, location)));
        }
        let mut first = self.memory.len() as u64;
        for run in &self.runs {
            if let Some((at, location)) = run.find(id, excluded)? {
                return Ok(Some((first + at, location)));
            }
            first += run.len();
        }
        Ok(None)
    }

    /// Every indexed pack; one in memory and in a run comes twice.
    pub fn packs(&self) -> impl Iterator<Item = PackName> + '_ {
        self.memory.packs().chain(self.runs.iter().flat_map(|run| run.packs()))
    }
}

/// Fixed-width form of an entry: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub id: ShortId,
    /// Ordinal among the segments of the table.
    pub segment: u32,
    pub offset: u32,
    pub len: u32,
}

/// Fixed-width form of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSlot {
    /// Ordinal among the packs of the table.
    pub pack: u32,
    /// Number in its pack.
    pub number: u32,
    pub offset: u32,
    pub stored_len: u32,
    pub raw_len: u32,
    pub codec: Codec,
}

impl SegmentSlot {
    pub(crate) fn entry(&self) -> SegmentEntry {
        SegmentEntry {
            offset: self.offset,
            stored_len: self.stored_len,
            raw_len: self.raw_len,
            codec: self.codec,
            first_chunk: 0,
            chunks: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decube_backup_format::ids::{PackId, PackKind};

    fn footer(first: u8) -> Footer {
        let mut footer = Footer::default();
        for segment in 0..3u8 {
            let chunks: Vec<_> = (0..50u8)
                .map(|n| (ShortId([first, segment, n, 0, 0, 0, 0, 0, n, 0, 0, 0, 0, 0, 0, 1]), 10 + u32::from(n)))
                .collect();
            let raw = chunks.iter().map(|c| c.1).sum();
            footer.push(100, raw, Codec::Zstd, &chunks);
        }
        footer
    }

    fn pack(n: u8) -> PackName {
        PackName { kind: PackKind::Data, id: PackId([n; 16]) }
    }

    #[test]
    fn entries_are_found_in_memory_and_after_spilling_twice() {
        let dir = tempfile::tempdir().expect("temp");
        let mut index = LocalIndex::new(Vec::new());
        let everywhere = |_: &PackName| false;
        for n in 1..4u8 {
            index.add(pack(n), &footer(n));
            index.sort();
            if n != 2 {
                index.spill(dir.path(), HashSet::from([[n; 16]])).expect("spills");
            }
            for known in 1..=n {
                let footer = footer(known);
                for (number, segment) in footer.segments.iter().enumerate() {
                    for chunk in footer.chunks_of(segment) {
                        let found = index.find(&chunk.id, &everywhere).expect("readable").expect("known");
                        assert_eq!(
                            (found.pack, found.segment, found.offset, found.len),
                            (pack(known), number as u32, chunk.offset, chunk.len)
                        );
                        assert_eq!((found.entry.offset, found.entry.stored_len), (segment.offset, 100));
                    }
                }
            }
            assert_eq!(index.find(&ShortId([0xee; 16]), &everywhere).expect("readable"), None);
        }
        let excluded = index.find(&footer(1).chunks[0].id, &|p: &PackName| *p == pack(1)).expect("readable");
        assert_eq!(excluded, None);
        let files: Vec<_> = std::fs::read_dir(dir.path()).expect("listed").map(|e| e.expect("entry").path()).collect();
        let [path] = &files[..] else { panic!("one run is left: {files:?}") };
        let reopened = Run::open(path).expect("readable").expect("a run");
        assert_eq!(reopened.len(), 450);
        assert_eq!(reopened.covers(), &HashSet::from([[1; 16], [3; 16]]));
    }

    #[test]
    fn runs_stay_few_and_every_entry_is_found() {
        let dir = tempfile::tempdir().expect("temp");
        let mut index = LocalIndex::new(Vec::new());
        for n in 0..40u8 {
            index.add(pack(n), &footer(n));
            index.sort();
            index.spill(dir.path(), HashSet::from([[n; 16]])).expect("spills");
        }
        assert!(index.runs.len() <= 4, "{} runs", index.runs.len());
        let files = || std::fs::read_dir(dir.path()).expect("listed").map(|e| e.expect("entry").path());
        assert_eq!(files().count(), index.runs.len());
        let runs: Vec<Run> = files().filter_map(|path| Run::open(&path).expect("readable")).collect();
        let covered: HashSet<_> = runs.iter().flat_map(Run::covers).copied().collect();
        assert_eq!(covered.len(), 40);
        let reopened = LocalIndex::new(runs);
        for n in 0..40u8 {
            for chunk in &footer(n).chunks {
                let found = reopened.find(&chunk.id, &|_| false).expect("readable").expect("known");
                assert_eq!((found.pack, found.offset, found.len), (pack(n), chunk.offset, chunk.len));
            }
        }
    }

    #[test]
    fn a_damaged_run_is_not_used() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("run");
        std::fs::write(&path, b"not a run").expect("written");
        assert!(Run::open(&path).expect("readable").is_none());
        assert!(Run::open(&dir.path().join("missing")).expect("readable").is_none());
    }
}
