//! How much of each pack is needed, each live chunk counted once.
//!
//! A chunk in several packs is counted where it is best kept: in a pack that is there and not known to be damaged, then in one
//! that is not condemned, then in the one of which most is needed anyway, so that the others become empty. A host with a write-only key sees no packs but its own, and would
//! store again what is not in them: so of its packs one is kept besides. What a host says of its own packs nobody has checked:
//! a pack that a holder of all keys wrote goes before one that a host did.

use super::mark::Marks;
use crate::index::LocalIndex;
use crate::index::bitmap::Bitmap;
use crate::index::scan::Entry;
use crate::repository::Owners;
use crate::rules::Ledger;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::PackName;
use decube_backup_format::log::WriterId;
use hashbrown::HashSet;
use std::collections::{BTreeSet, HashMap};

/// A pack in force and how much of it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackUse {
    pub name: PackName,
    /// Length of the object, bytes.
    pub len: u32,
    pub is_condemned: bool,
    /// Stored bytes of all its chunks; 0 if no index segment knows the pack.
    pub stored: u64,
    /// Stored bytes of the chunks that are counted here.
    pub needed: u64,
    /// All its entries, and those that are counted here.
    pub chunks: u32,
    pub chunks_needed: u32,
}

impl PackUse {
    /// Stored bytes nobody needs.
    pub(super) fn unused(&self) -> u64 {
        self.stored.saturating_sub(self.needed)
    }
}

/// What a tally yields.
pub(super) struct Tally {
    /// By name.
    pub packs: Vec<PackUse>,
    /// The one entry at which each live chunk is counted.
    pub kept: Bitmap,
}

/// Counts what `marks` say is needed; `odd` packs are missing or of another length than recorded.
///
/// # Errors
/// The local index cannot be read.
pub(super) fn tally(marks: &Marks, odd: &HashSet<PackName>) -> Result<Tally> {
    let state = &marks.state;
    let mut packs: Vec<PackUse> = state
        .live_packs()
        .map(|(name, info)| PackUse {
            name,
            len: info.len,
            is_condemned: !state.may_reuse(&name),
            stored: 0,
            needed: 0,
            chunks: 0,
            chunks_needed: 0,
        })
        .collect();
    let kept = Bitmap::new(marks.index.len());
    let mut has_copies = false;
    let mut chunks = marks.index.chunks()?;
    let at = places(&packs, chunks.packs());
    while let Some(group) = chunks.next()? {
        let is_live = marks.has_any(group);
        for entry in group {
            if let Some(pack) = use_of(&mut packs, &at, entry) {
                pack.stored += u64::from(entry.stored);
                pack.chunks += 1;
            }
        }
        let mut places = group.iter().filter(|entry| place(&at, entry).is_some());
        match (places.next(), places.next()) {
            (Some(entry), None) if is_live => keep(&mut packs, &at, &kept, entry),
            (_, Some(_)) if is_live => has_copies = true,
            (None, _) if is_live => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "prune",
                    "a marked chunk has no place; nothing was reclaimed",
                ));
            }
            _ => {}
        }
    }
    if has_copies {
        let owners = Owners::of(state);
        let owners: Vec<_> = packs.iter().map(|pack| owners.owner(&pack.name.id.0)).collect();
        let is_sound = |pack: &PackName| !odd.contains(pack) && !state.is_damaged(pack);
        assign_copies(marks, &mut packs, &owners, &is_sound, &at, &kept)?;
    }
    Ok(Tally { packs, kept })
}

/// The second pass: chunks with several places go to a pack that has them, where most is needed already.
fn assign_copies(
    marks: &Marks,
    packs: &mut [PackUse],
    owners: &[Option<WriterId>],
    is_sound: &dyn Fn(&PackName) -> bool,
    at: &[Option<u32>],
    kept: &Bitmap,
) -> Result<()> {
    let is_ours = |pack: &PackUse| !marks.state.is_hosted(&pack.name);
    let before: Vec<_> =
        packs.iter().map(|pack| (is_sound(&pack.name), is_ours(pack), !pack.is_condemned, pack.needed)).collect();
    let rank = |entry: &Entry| {
        let place = place(at, entry)?;
        Some((before.get(place as usize)?, std::cmp::Reverse(place)))
    };
    let mut chunks = marks.index.chunks()?;
    while let Some(group) = chunks.next()? {
        if group.len() < 2 || !marks.has_any(group) || group.iter().any(|entry| kept.has(entry.ordinal)) {
            continue;
        }
        let owner = |entry: &Entry| owners.get(place(at, entry)? as usize).copied();
        let of_whom: BTreeSet<Option<WriterId>> = group.iter().filter_map(owner).collect();
        for whose in of_whom {
            // Of two entries in one pack the first, as a look-up finds it.
            let candidates = group.iter().rev().filter(|entry| owner(entry) == Some(whose));
            if let Some(entry) = candidates.max_by_key(|entry| rank(entry)) {
                keep(packs, at, kept, entry);
            }
        }
    }
    Ok(())
}

/// Where each pack of a pass over the index is among `packs`; nowhere if it is not in force.
fn places(packs: &[PackUse], names: &[PackName]) -> Vec<Option<u32>> {
    let by_name: HashMap<PackName, u32> = (0..).zip(packs).map(|(at, pack)| (pack.name, at)).collect();
    names.iter().map(|name| by_name.get(name).copied()).collect()
}

fn place(at: &[Option<u32>], entry: &Entry) -> Option<u32> {
    at.get(entry.pack as usize).copied().flatten()
}

fn use_of<'p>(packs: &'p mut [PackUse], at: &[Option<u32>], entry: &Entry) -> Option<&'p mut PackUse> {
    packs.get_mut(place(at, entry)? as usize)
}

fn keep(packs: &mut [PackUse], at: &[Option<u32>], kept: &Bitmap, entry: &Entry) {
    kept.set(entry.ordinal);
    if let Some(pack) = use_of(packs, at, entry) {
        pack.needed += u64::from(entry.stored);
        pack.chunks_needed += 1;
    }
}

/// Whether the chunk is kept as it is in `pack`, and not elsewhere; true once for each.
pub(super) fn take_kept(
    index: &LocalIndex,
    kept: &Bitmap,
    id: &decube_backup_format::ids::ShortId,
    pack: &PackName,
) -> Result<bool> {
    Ok(index.find_entry(id, &|other| other != pack)?.is_some_and(|(at, _)| kept.take(at)))
}

/// Takes out of `candidates` every pack that is the last place of a live chunk.
///
/// # Errors
/// A live chunk has no place at all; the local index cannot be read.
pub(super) fn spare(marks: &Marks, candidates: &mut std::collections::BTreeSet<PackName>) -> Result<()> {
    let state: &State = &marks.state;
    let mut chunks = marks.index.chunks()?;
    let names = chunks.packs().to_vec();
    let mut locations = Vec::new();
    while let Some(group) = chunks.next()? {
        if !marks.has_any(group) {
            continue;
        }
        locations.clear();
        locations
            .extend(group.iter().filter_map(|e| names.get(e.pack as usize)).filter(|p| state.is_in_force(p)).copied());
        if locations.is_empty() {
            return Err(Error::new(ErrorKind::Internal, "prune", "a live chunk has no place; nothing was reclaimed"));
        }
        crate::rules::spare_last_location(candidates, &locations);
    }
    Ok(())
}
