//! Merging index segments: one request for many, and no entries of packs that are gone.
//!
//! *Invariant*: one record adds the merged segments and takes those out of force that they replace, and it stands only if
//! all of these are in force at its slot. So no pack ever loses its last entry: a segment that somebody adds meanwhile is not
//! touched, and of two merges of the same segments one is void.

use super::reclaim;
use crate::publish;
use crate::repository::{Appended, NewRecord, Owners, Repository, Verdict, index_segment};
use crate::rules::Ledger;
use crate::segments::is_damage;
use decube_backup_core::Result;
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{IndexId, PackName};
use decube_backup_format::index::INDEX_PACKS_MAX;
use decube_backup_format::log::{AddedObject, ObjectName, Payload, Stamp};
use decube_backup_format::manifest::RunId;
use decube_backup_format::pack::Footer;
use std::collections::HashSet;

/// Level of merged index segments.
const LEVEL_MERGED: u8 = 1;
/// An index segment below this is small, bytes.
const SMALL_BYTES: u32 = 1 << 20;
/// So many small ones are worth merging.
const SMALL_MIN: usize = 16;
/// Merged segments are cut here, bytes: about half a million chunks.
const MERGED_BYTES: usize = 8 << 20;
/// Bytes of an index entry, and of a pack besides its entries, about.
const ENTRY_BYTES: u64 = 20;
const PACK_BYTES: u64 = 40;
/// Entries of packs that are gone that never matter, bytes.
const WASTE_BYTES: u64 = 64 << 10;

/// Index segments in force that should be merged, if so many packs stay with so many `entries`: all if more than half of
/// what they hold is of packs that are gone, else the small ones if they are many.
pub(super) fn due(state: &State, packs: u64, entries: u64) -> Vec<(u8, IndexId)> {
    let all: u64 = state.indexes().map(|(_, _, info)| u64::from(info.len)).sum();
    let is_wasteful = all > 2 * (entries * ENTRY_BYTES + packs * PACK_BYTES) + WASTE_BYTES;
    let chosen = state.indexes().filter(|(_, _, info)| is_wasteful || info.len < SMALL_BYTES);
    let chosen: Vec<_> = chosen.map(|(level, id, _)| (level, id)).collect();
    // Those of each host stay apart.
    let many = SMALL_MIN.max(2 * (1 + Owners::of(state).count()));
    if is_wasteful || chosen.len() >= many { chosen } else { Vec::new() }
}

/// What merging came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compacted {
    /// Segments replaced and deleted.
    pub merged: u64,
    /// Bytes of the new ones.
    pub bytes: u64,
}

/// Merges `segments`; one that is damaged or was merged meanwhile is left out or makes it void.
///
/// # Errors
/// What reading, storing and deleting yield; `Interrupted`.
pub(super) fn compact(
    repo: &Repository,
    segments: &[(u8, IndexId)],
    stamp: Stamp,
    monitor: &dyn Monitor,
) -> Result<Compacted> {
    monitor.phase("index", None, Some(segments.len() as u64));
    let state = repo.state();
    let mut output = Output { repo, tables: Vec::new(), bytes: 0, added: Vec::new() };
    let (mut merged, mut seen) = (Vec::new(), HashSet::new());
    for (level, id) in segments {
        check_stop(monitor)?;
        let tables = match index_segment(repo, *level, id) {
            Ok(tables) => tables,
            Err(error) if is_damage(&error) => continue,
            Err(error) => return Err(error),
        };
        merged.push(ObjectName::Index { level: *level, id: *id });
        for (pack, footer) in tables.into_iter().filter(|(pack, _)| state.is_in_force(pack)) {
            if seen.insert(pack) {
                output.add(pack, footer)?;
            }
        }
        monitor.advance(Progress::Objects, 1);
    }
    let added = output.finish()?;
    if merged.is_empty() {
        return Ok(Compacted::default());
    }
    let bytes = publish::index_bytes(&added);
    let replaced = merged.clone();
    let mut validate = |state: &State| Ok(Verdict::of(all_in_force(state, &replaced)));
    let payload = Payload::Add { run: RunId::default() };
    match repo.append(NewRecord { payload, added, reclaimed: merged.clone(), stamp }, &mut validate)? {
        Appended::At(_) => {
            reclaim::delete(repo, &merged, monitor)?;
            Ok(Compacted { merged: merged.len() as u64, bytes })
        }
        // Somebody else merged them; what was stored here is a leftover.
        Appended::Void => Ok(Compacted { merged: 0, bytes }),
    }
}

fn all_in_force(state: &State, segments: &[ObjectName]) -> bool {
    segments.iter().all(|name| match name {
        ObjectName::Index { level, id } => state.index(*level, id).is_some(),
        _ => false,
    })
}

/// Collects tables and stores a segment whenever there are enough.
struct Output<'a> {
    repo: &'a Repository,
    tables: Vec<(PackName, Footer)>,
    bytes: usize,
    added: Vec<AddedObject>,
}

impl Output<'_> {
    fn add(&mut self, pack: PackName, footer: Footer) -> Result<()> {
        self.bytes += footer.segments.len() * PACK_BYTES as usize + footer.chunks.len() * ENTRY_BYTES as usize;
        self.tables.push((pack, footer));
        if self.bytes >= MERGED_BYTES || self.tables.len() >= INDEX_PACKS_MAX { self.store() } else { Ok(()) }
    }

    fn store(&mut self) -> Result<()> {
        let tables = self.tables.iter().map(|(pack, footer)| (*pack, footer));
        self.added.extend(publish::index(self.repo, LEVEL_MERGED, tables)?);
        self.tables.clear();
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<AddedObject>> {
        self.store()?;
        Ok(self.added)
    }
}
