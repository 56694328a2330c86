//! The rules of committing and collecting: pure functions of what the log says.
//!
//! The engine asks them before every append and every delete; the explicit-state model in this crate's tests asks
//! the same functions, so that what is checked there is what runs.
//!
//! *Invariant*: after every record, each chunk of each live snapshot is in a pack that was added and never
//! reclaimed. Every rule below takes the log up to the slot it is asked for, and a record takes that slot only if
//! nobody else did (`CreateNew`), so what a rule allowed is still true when the record stands.

use decube_backup_format::checkpoint::{State, Visibility};
use decube_backup_format::ids::{IndexId, PackName, SnapshotId};
use decube_backup_format::log::ObjectName;
use std::collections::BTreeSet;

/// What the log says, as far as the rules ask.
pub trait Ledger {
    /// Name of a pack; random, never used twice.
    type Pack: Copy + Ord;
    /// Name of an index segment; random, never used twice.
    type Index: Copy + Ord;
    /// Name of a snapshot.
    type Snapshot: Copy + Ord;

    /// Whether some record added the pack and none reclaimed it.
    fn is_in_force(&self, pack: &Self::Pack) -> bool;
    /// Whether some record reclaimed the pack, added before or not.
    fn is_reclaimed(&self, pack: &Self::Pack) -> bool;
    /// How many packs were ever reclaimed: equal counts of one log mean that none was in between.
    fn reclaimed_count(&self) -> usize;
    /// Whether some record took the index segment out of force, added before or not.
    fn is_index_retired(&self, index: &Self::Index) -> bool;
    /// Whether the snapshot is recorded and not forgotten.
    fn is_live(&self, snapshot: &Self::Snapshot) -> bool;
    /// All live snapshots.
    fn live_snapshots(&self) -> BTreeSet<Self::Snapshot>;
}

impl Ledger for State {
    type Pack = PackName;
    type Index = (u8, IndexId);
    type Snapshot = SnapshotId;

    fn is_in_force(&self, pack: &PackName) -> bool {
        self.pack(pack).is_some()
    }
    fn is_reclaimed(&self, pack: &PackName) -> bool {
        State::is_reclaimed(self, pack)
    }
    fn reclaimed_count(&self) -> usize {
        self.reclaimed_packs().len()
    }
    fn is_index_retired(&self, (level, id): &(u8, IndexId)) -> bool {
        self.is_retired(&ObjectName::Index { level: *level, id: *id })
    }
    fn is_live(&self, snapshot: &SnapshotId) -> bool {
        self.snapshot(snapshot).is_some_and(|s| s.visibility == Visibility::Live)
    }
    fn live_snapshots(&self) -> BTreeSet<SnapshotId> {
        State::live_snapshots(self).map(|s| s.id).collect()
    }
}

/// Whether a record that relies on `packs` (own and deduplicated against) and on the chunks of `parent` may follow.
/// `seen` is [`Ledger::reclaimed_count`] of the log the work began with.
///
/// Unchanged files take over the parent's chunks without looking them up; those are safe as long as the parent is
/// live, because every `Reclaim` keeps a location for each chunk of each live snapshot.
pub fn commit_stands<'p, L: Ledger>(
    ledger: &L,
    seen: usize,
    packs: impl IntoIterator<Item = &'p L::Pack>,
    parent: Option<&L::Snapshot>,
) -> bool
where
    L::Pack: 'p,
{
    ledger.reclaimed_count() == seen
        || (parent.is_none_or(|parent| ledger.is_live(parent))
            && packs.into_iter().all(|pack| !ledger.is_reclaimed(pack)))
}

/// Whether a record that adds `indexes` may follow: none was taken for what a crashed upload left behind and reclaimed
/// meanwhile. Its packs would be in force, and nobody would find what is in them.
pub fn indexes_stand<'i, L: Ledger>(ledger: &L, indexes: impl IntoIterator<Item = &'i L::Index>) -> bool
where
    L::Index: 'i,
{
    indexes.into_iter().all(|index| !ledger.is_index_retired(index))
}

/// What a collector knew when it decided what to reclaim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked<S> {
    /// Snapshots whose chunks it marked.
    pub snapshots: BTreeSet<S>,
    /// [`Ledger::reclaimed_count`] when it looked for other locations of them.
    pub reclaimed: usize,
}

/// Whether a `Reclaim` decided with that knowledge may follow: nothing lives that was not marked, and no location that
/// was counted on was taken. Snapshots forgotten since do no harm: what they kept is garbage a later run finds.
pub fn reclaim_stands<L: Ledger>(ledger: &L, marked: &Marked<L::Snapshot>) -> bool {
    ledger.reclaimed_count() == marked.reclaimed && ledger.live_snapshots().is_subset(&marked.snapshots)
}

/// Takes one pack out of `candidates` if they hold all `locations` of a live chunk, which must all be in force.
///
/// Candidates only ever become fewer, so asking for one live chunk after the other, in any order, leaves a set that
/// may be reclaimed as a whole.
pub fn spare_last_location<P: Copy + Ord>(candidates: &mut BTreeSet<P>, locations: &[P]) {
    if locations.iter().all(|pack| candidates.contains(pack))
        && let Some(first) = locations.first()
    {
        candidates.remove(first);
    }
}

/// Whether an object that no record named when the store was listed may still be reclaimed as an orphan. Its
/// writer may be alive: then it finds its pack reclaimed when it commits, and stores the chunks again.
pub fn orphan_stands<L: Ledger>(ledger: &L, pack: &L::Pack) -> bool {
    !ledger.is_in_force(pack)
}

/// Whether a `Forget` of `dropped` may follow that was decided with all of `counted_on` staying: all of them are still live. Another
/// one in between may have taken what was to stay instead of these, and each of the two alone would have been right.
pub fn forget_stands<'s, L: Ledger>(
    ledger: &L,
    dropped: impl IntoIterator<Item = &'s L::Snapshot>,
    counted_on: impl IntoIterator<Item = &'s L::Snapshot>,
) -> bool
where
    L::Snapshot: 's,
{
    dropped.into_iter().chain(counted_on).all(|snapshot| ledger.is_live(snapshot))
}

/// Whether a `RestoreForgotten` may follow, all of whose chunks were found in packs in force when `seen` packs had been
/// reclaimed.
pub fn undelete_stands<L: Ledger>(ledger: &L, seen: usize) -> bool {
    ledger.reclaimed_count() == seen
}

/// Whether the object of a pack may be deleted. Names are never used twice, so this stays true once it is.
pub fn may_delete<L: Ledger>(ledger: &L, pack: &L::Pack) -> bool {
    ledger.is_reclaimed(pack)
}
