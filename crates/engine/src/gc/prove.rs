//! Reading the copy that stays before the other one goes.
//!
//! A chunk that two packs hold survives damage of one of them. Taking one away must not leave the damaged one, so the
//! segment that stays is read and checked first, unless this very run wrote it. Copies are rare: two backups that stored
//! the same at once, a prune that was stopped half-way.
//!
//! What an index segment of a host says nobody has checked: a pack that the host wrote is asked itself what it holds, and a
//! copy that is claimed and not there is none.

use super::mark::Marks;
use crate::index::Location;
use crate::index::scan::Entry;
use crate::repository::Repository;
use crate::rules::Ledger;
use crate::segments::{Scratch, SegmentReader, chunk_in, is_damage};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, check_stop};
use decube_backup_core::{Error, Result};
use decube_backup_format::ids::{PackName, ShortId, pack_key};
use decube_backup_format::log::ObjectName;
use decube_backup_format::pack::{Footer, SegmentEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

/// Gets a chunk, its places in packs that stay, and the packs with it that go.
type EachCopy<'e> = &'e mut dyn FnMut(&ShortId, &[Location], &[PackName]);

/// Segments that were looked at, and whether all of their chunks are whole.
pub(super) struct Proof<'a> {
    repo: &'a Repository,
    monitor: &'a dyn Monitor,
    /// Packs this run wrote: checked on the way in.
    written: BTreeSet<PackName>,
    segments: BTreeMap<(PackName, u32), bool>,
    /// What is in the packs among these that a host wrote, by [`Self::fingerprint`], sorted: 8 bytes a chunk.
    hosted: BTreeMap<PackName, Vec<u64>>,
    random: RandomState,
}

impl<'a> Proof<'a> {
    pub(super) fn new(repo: &'a Repository, written: BTreeSet<PackName>, monitor: &'a dyn Monitor) -> Self {
        let (segments, hosted) = Default::default();
        Self { repo, monitor, written, segments, hosted, random: RandomState::new() }
    }

    /// Packs with a segment that is damaged.
    pub(super) fn damaged(&self) -> u64 {
        let damaged = self.segments.iter().filter(|(_, is_whole)| !**is_whole).map(|((pack, _), _)| pack);
        damaged.collect::<BTreeSet<_>>().len() as u64
    }

    /// Takes out of `candidates` every pack with a live chunk of which no whole copy stays.
    ///
    /// Says whether that is settled: not if another prune took a copy away since `marks` were made. Then nothing is taken
    /// out, and newer marks know better.
    ///
    /// # Errors
    /// The store does not answer; `Interrupted`. Damage is told to the monitor.
    pub(super) fn spare(&mut self, marks: &Marks, candidates: &mut BTreeSet<PackName>) -> Result<bool> {
        if candidates.is_empty() {
            return Ok(true);
        }
        let mut doubtful: BTreeMap<(PackName, u32), SegmentEntry> = BTreeMap::new();
        let state = &marks.state;
        self.each_copy(marks, candidates, &mut |_, staying, _| {
            let best = staying.iter().find(|at| !state.is_hosted(&at.pack)).or(staying.first());
            if let Some(at) = best
                && !self.segments.contains_key(&(at.pack, at.segment))
            {
                doubtful.insert((at.pack, at.segment), at.entry);
            }
        })?;
        if !self.check(&doubtful)? {
            return Ok(false);
        }
        if self.hosted.is_empty() && self.segments.values().all(|is_whole| *is_whole) {
            return Ok(true);
        }
        let (mut needed, mut false_claims) = (BTreeSet::new(), BTreeSet::new());
        let is_whole = |at: &Location| self.segments.get(&(at.pack, at.segment)).is_some_and(|is_whole| *is_whole);
        self.each_copy(marks, candidates, &mut |id, staying, going| {
            let is_there = |at: &Location| !state.is_hosted(&at.pack) || self.holds(&at.pack, self.fingerprint(id, at));
            if !staying.iter().any(|at| is_whole(at) && is_there(at)) {
                needed.extend(going.iter().copied());
                false_claims.extend(staying.iter().filter(|at| is_whole(at) && !is_there(at)).map(|at| at.pack));
            }
        })?;
        for pack in false_claims {
            let what = "a host says that this pack holds what is not in it, so what does hold it stays";
            self.monitor.problem(&Problem::new(ProblemKind::Damaged, pack_key(&pack)?.as_str(), what.to_owned()));
        }
        candidates.retain(|pack| !needed.contains(pack));
        Ok(true)
    }

    /// Shows each live chunk that has places both among `candidates` and in packs that stay, none of which this run wrote.
    fn each_copy(&self, marks: &Marks, candidates: &BTreeSet<PackName>, each: EachCopy<'_>) -> Result<()> {
        let state = &marks.state;
        let mut chunks = marks.index.chunks()?;
        let names = chunks.packs().to_vec();
        let name = |entry: &Entry| names.get(entry.pack as usize).filter(|pack| state.is_in_force(pack)).copied();
        while let Some(group) = chunks.next()? {
            if group.len() < 2 || !marks.has_any(group) {
                continue;
            }
            let (going, staying): (Vec<PackName>, Vec<PackName>) =
                group.iter().filter_map(name).partition(|pack| candidates.contains(pack));
            if going.is_empty() || staying.iter().any(|pack| self.written.contains(pack)) {
                continue;
            }
            let id = group.first().map(|entry| entry.id).unwrap_or_default();
            let mut places = Vec::with_capacity(staying.len());
            for pack in &staying {
                places.extend(marks.index.find(&id, &|other| other != pack)?);
            }
            each(&id, &places, &going);
        }
        Ok(())
    }

    /// Reads each of `doubtful`; `false` if one turns out to be reclaimed by now.
    fn check(&mut self, doubtful: &BTreeMap<(PackName, u32), SegmentEntry>) -> Result<bool> {
        if doubtful.is_empty() {
            return Ok(true);
        }
        let bytes = doubtful.values().map(|entry| u64::from(entry.stored_len)).sum();
        self.monitor.phase("check copies", Some(bytes), None);
        let reader = SegmentReader::new(self.repo);
        let mut scratch = Scratch::new()?;
        let mut footer: Option<(PackName, Result<Footer>)> = None;
        for ((pack, number), entry) in doubtful {
            check_stop(self.monitor)?;
            if footer.as_ref().is_none_or(|(name, _)| name != pack) {
                let read = self.footer(&reader, pack);
                if let (Ok(read), true) = (&read, self.repo.state().is_hosted(pack)) {
                    let known = self.contents(read);
                    self.hosted.insert(*pack, known);
                }
                footer = Some((*pack, read));
            }
            let checked = match footer.as_ref().map(|(_, footer)| footer) {
                Some(Ok(footer)) => reader
                    .read(pack, *number, entry, &mut scratch)
                    .and_then(|()| self.check_chunks(pack, footer, *number, &scratch.raw)),
                Some(Err(error)) => Err(Error::new(error.kind(), "prune", error.chain())),
                None => Ok(()),
            };
            let is_whole = match checked {
                Ok(()) => true,
                Err(error) if is_damage(&error) => {
                    if self.repo.is_out_of_force_by_now(&ObjectName::Pack(*pack))? {
                        return Ok(false);
                    }
                    let what = format!("a copy is damaged, so the other one stays: {}", error.chain());
                    self.monitor.problem(&Problem::new(ProblemKind::Damaged, pack_key(pack)?.as_str(), what));
                    false
                }
                Err(error) => return Err(error),
            };
            self.segments.insert((*pack, *number), is_whole);
            self.monitor.advance(decube_backup_core::monitor::Progress::Bytes, u64::from(entry.stored_len));
        }
        Ok(true)
    }

    fn footer(&self, reader: &SegmentReader<'_>, pack: &PackName) -> Result<Footer> {
        let len = self.repo.state().pack(pack).map_or(0, |info| u64::from(info.len));
        reader.footer(&*reader.pack(pack)?, len)
    }

    /// A chunk at its place in a pack; a host that could find two alike would have to guess the key.
    fn fingerprint(&self, id: &ShortId, at: &Location) -> u64 {
        self.random.hash_one((id, at.segment, at.offset, at.len))
    }

    fn contents(&self, footer: &Footer) -> Vec<u64> {
        let all = (0u32..).zip(&footer.segments).flat_map(|(number, segment)| {
            footer.chunks_of(segment).iter().map(move |chunk| (&chunk.id, number, chunk.offset, chunk.len))
        });
        let mut all: Vec<u64> = all.map(|place| self.random.hash_one(place)).collect();
        all.sort_unstable();
        all
    }

    fn holds(&self, pack: &PackName, fingerprint: u64) -> bool {
        self.hosted.get(pack).is_some_and(|all| all.binary_search(&fingerprint).is_ok())
    }

    fn check_chunks(&self, pack: &PackName, footer: &Footer, number: u32, raw: &[u8]) -> Result<()> {
        let chunks = footer.segments.get(number as usize).map(|segment| footer.chunks_of(segment)).unwrap_or_default();
        chunks.iter().try_for_each(|chunk| chunk_in(self.repo, pack.kind, raw, chunk).map(drop))
    }
}
