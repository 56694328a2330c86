//! The decisions of the protocol as the shipped rules make them, or with one of them taken away.

use crate::world::{ModelLedger, Name, Names, Snapshots, World, bits};
use decube_backup_engine::rules::{self, Ledger, Marked};
use std::collections::BTreeSet;

/// One rule removed or weakened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Nothing is checked before a `Commit`.
    CommitUnchecked,
    /// Packs deduplicated against are not checked.
    DepsUnchecked,
    /// Packs uploaded are not checked.
    OwnUnchecked,
    /// Whether the parent is still live is not checked.
    ParentUnchecked,
    /// Index segments uploaded are not checked.
    IndexUnchecked,
    /// Packs whose `Add` was void count as recorded.
    VoidProgressIgnored,
    /// Nothing is checked before a `Reclaim`.
    ReclaimUnchecked,
    /// A `Reclaim` ignores snapshots made since it marked.
    NewSnapshotsIgnored,
    /// A `Reclaim` ignores others since it looked for locations.
    OtherReclaimsIgnored,
    /// Each candidate has its chunks elsewhere, and that elsewhere may be another candidate.
    LastLocationTaken,
    /// Orphans are reclaimed although a record named them meanwhile.
    OrphansUnchecked,
    /// Orphans are deleted because a listing shows them and the log does not, without a record.
    OrphansUnrecorded,
    /// A `RestoreForgotten` of a snapshot whose chunks nobody looked for.
    UndeleteBlind,
    /// A `RestoreForgotten` ignores reclaims since its chunks were looked for.
    UndeleteUnchecked,
    /// Objects are deleted as soon as they are chosen.
    DeletedBeforeReclaimed,
    /// Packs are called by a hash of their content, and one stored again is in force again.
    NamesReused,
    /// A record put where there is one already replaces it.
    CreateOverwrites,
    /// Harmless: writers deduplicate against condemned packs.
    CondemnedReused,
    /// Harmless: an author does not know its own record and appends it again.
    NonceIgnored,
}

/// Who decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdicts {
    /// What is taken away; nothing: the rules as shipped.
    pub mutant: Option<Mutant>,
}

impl Verdicts {
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether a record that adds `own` and relies on `deps` and on the chunks of `parent` may follow.
    pub fn commit(
        &self,
        world: &World,
        ledger: &ModelLedger,
        seen: u8,
        (own, deps): (Names, Names),
        parent: Option<u8>,
    ) -> bool {
        if self.is(Mutant::CommitUnchecked) {
            return true;
        }
        let own_packs = if self.is(Mutant::OwnUnchecked) { 0 } else { own & !world.indexes };
        let own_indexes = if self.is(Mutant::IndexUnchecked) { 0 } else { own & world.indexes };
        let deps = if self.is(Mutant::DepsUnchecked) { 0 } else { deps };
        let parent = parent.filter(|_| !self.is(Mutant::ParentUnchecked));
        let packs: Vec<Name> = bits(own_packs | deps).collect();
        let indexes: Vec<Name> = bits(own_indexes).collect();
        rules::commit_stands(ledger, seen.into(), &packs, parent.as_ref()) && rules::indexes_stand(ledger, &indexes)
    }

    /// What may be reclaimed of `candidates` without taking all locations of a chunk of `marked`.
    pub fn spare(&self, world: &World, ledger: &ModelLedger, marked: Snapshots, candidates: Names) -> Names {
        let chunks = ledger.chunks(marked);
        let locations = bits(chunks.into()).map(|chunk| world.locations(ledger, chunk));
        if self.is(Mutant::LastLocationTaken) {
            return locations.filter(|l| l.count_ones() == 1).fold(candidates, |left, only| left & !only);
        }
        let mut left: BTreeSet<Name> = bits(candidates).collect();
        for of_chunk in locations {
            rules::spare_last_location(&mut left, &bits(of_chunk).collect::<Vec<_>>());
        }
        left.into_iter().fold(0, |all, pack| all | 1 << pack)
    }

    /// Whether a `Reclaim` of packs that were chosen with that knowledge may follow.
    pub fn reclaim(&self, ledger: &ModelLedger, marked: Snapshots, seen: u8) -> bool {
        if self.is(Mutant::ReclaimUnchecked) {
            return true;
        }
        let live = if self.is(Mutant::NewSnapshotsIgnored) { ledger.live } else { 0 };
        let reclaimed =
            if self.is(Mutant::OtherReclaimsIgnored) { ledger.reclaimed_count() } else { usize::from(seen) };
        rules::reclaim_stands(ledger, &Marked { snapshots: bits(marked | live).collect(), reclaimed })
    }

    /// Those of `orphans` that may still be reclaimed.
    pub fn orphans(&self, ledger: &ModelLedger, orphans: Names) -> Names {
        let stands = |name: &Name| self.is(Mutant::OrphansUnchecked) || rules::orphan_stands(ledger, name);
        bits(orphans).filter(stands).fold(0, |all, name| all | 1 << name)
    }

    /// Whether a `RestoreForgotten` may follow.
    pub fn undelete(&self, ledger: &ModelLedger, seen: u8) -> bool {
        self.is(Mutant::UndeleteUnchecked) || rules::undelete_stands(ledger, seen.into())
    }

    /// Those of `names` that may be deleted.
    pub fn deletes(&self, ledger: &ModelLedger, names: Names) -> Names {
        let may = |name: &Name| self.is(Mutant::DeletedBeforeReclaimed) || rules::may_delete(ledger, name);
        bits(names).filter(may).fold(0, |all, name| all | 1 << name)
    }
}
