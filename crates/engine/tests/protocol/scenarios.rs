//! The worlds that are checked, and what is taken away in which of them.
//!
//! Each begins with one snapshot of two chunks in one pack. Everything at once would be too many states; each world
//! has the writers and collectors and one thing more, so that every pair of things meets somewhere.

use crate::model::Protocol;
use crate::verdicts::{Mutant, Verdicts};
use crate::world::{Chunks, Left};

/// A bounded world.
pub struct Scenario {
    pub name: &'static str,
    wants: [Chunks; 2],
    split: bool,
    slots: u8,
    left: Left,
}

impl Scenario {
    pub fn model(&self, verdicts: Verdicts) -> Protocol {
        let Self { wants, split, slots, left, .. } = *self;
        Protocol { first: 0b11, wants, left, split, slots, verdicts }
    }
}

const NOTHING: Left = Left {
    runs: [0, 0],
    collections: 0,
    repacks: 0,
    progress: 0,
    condemns: 0,
    forgets: 0,
    undeletes: 0,
    merges: 0,
    crashes: 0,
    notes: 0,
};

/// What continuous integration checks.
pub const SMALL: &[Scenario] = &[
    Scenario {
        name: "two writers, two collections, forget",
        wants: [0b01, 0b10],
        split: false,
        slots: 8,
        left: Left { runs: [1, 1], collections: 2, forgets: 1, ..NOTHING },
    },
    Scenario {
        name: "crashes, lost replies, records that arrive late",
        wants: [0b01, 0b111],
        split: true,
        slots: 7,
        left: Left { runs: [2, 0], collections: 2, forgets: 1, crashes: 1, notes: 1, ..NOTHING },
    },
    Scenario {
        name: "undelete",
        wants: [0b01, 0b10],
        split: false,
        slots: 9,
        left: Left { runs: [1, 1], collections: 2, forgets: 1, undeletes: 1, ..NOTHING },
    },
    Scenario {
        name: "repack, condemn",
        wants: [0b01, 0b10],
        split: false,
        slots: 9,
        left: Left { runs: [1, 0], collections: 2, forgets: 1, repacks: 1, condemns: 1, ..NOTHING },
    },
    Scenario {
        name: "index segments merged",
        wants: [0b01, 0b100],
        split: false,
        slots: 7,
        left: Left { runs: [0, 1], collections: 2, forgets: 1, merges: 1, ..NOTHING },
    },
    Scenario {
        name: "progress recorded",
        wants: [0b01, 0b101],
        split: false,
        slots: 7,
        left: Left { runs: [0, 1], collections: 2, forgets: 1, progress: 1, ..NOTHING },
    },
];

/// What `cargo xtask prove` checks besides.
pub const LARGE: &[Scenario] = &[
    Scenario {
        name: "three chunks, two writers, two collections, forget",
        wants: [0b01, 0b111],
        split: false,
        slots: 8,
        left: Left { runs: [1, 1], collections: 2, forgets: 1, ..NOTHING },
    },
    Scenario {
        name: "the same in two steps per record, with a crash",
        wants: [0b01, 0b10],
        split: true,
        slots: 7,
        left: Left { runs: [1, 1], collections: 2, forgets: 1, crashes: 1, ..NOTHING },
    },
    Scenario {
        name: "repack, undelete, crash",
        wants: [0b01, 0b10],
        split: false,
        slots: 8,
        left: Left { runs: [1, 0], collections: 3, forgets: 1, undeletes: 1, repacks: 1, crashes: 1, ..NOTHING },
    },
];

/// What a mutant must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Loses,
    /// Nothing is lost: what it takes away is advice.
    Harmless,
}

/// A rule taken away in a world.
pub struct Row {
    pub mutant: Mutant,
    pub scenario: &'static str,
    pub fate: Fate,
}

const fn row(mutant: Mutant, scenario: &'static str, fate: Fate) -> Row {
    Row { mutant, scenario, fate }
}

const COMMIT: &str = "two writers, two collections, forget";
const CRASH: &str = "crashes, lost replies, records that arrive late";
const UNDELETE: &str = "undelete";
const REPACK: &str = "repack, condemn";
const MERGE: &str = "index segments merged";
const PROGRESS: &str = "progress recorded";

/// Each rule taken away in turn.
pub const MUTANTS: &[Row] = &[
    row(Mutant::CommitUnchecked, COMMIT, Fate::Loses),
    row(Mutant::DepsUnchecked, COMMIT, Fate::Loses),
    row(Mutant::OwnUnchecked, PROGRESS, Fate::Loses),
    row(Mutant::ParentUnchecked, COMMIT, Fate::Loses),
    row(Mutant::IndexUnchecked, MERGE, Fate::Loses),
    row(Mutant::VoidProgressIgnored, PROGRESS, Fate::Loses),
    row(Mutant::ReclaimUnchecked, COMMIT, Fate::Loses),
    row(Mutant::NewSnapshotsIgnored, COMMIT, Fate::Loses),
    row(Mutant::OtherReclaimsIgnored, REPACK, Fate::Loses),
    row(Mutant::LastLocationTaken, REPACK, Fate::Loses),
    row(Mutant::OrphansUnchecked, REPACK, Fate::Loses),
    row(Mutant::OrphansUnrecorded, PROGRESS, Fate::Loses),
    row(Mutant::UndeleteBlind, UNDELETE, Fate::Loses),
    row(Mutant::UndeleteUnchecked, UNDELETE, Fate::Loses),
    row(Mutant::DeletedBeforeReclaimed, COMMIT, Fate::Loses),
    row(Mutant::NamesReused, MERGE, Fate::Loses),
    row(Mutant::CreateOverwrites, CRASH, Fate::Loses),
    row(Mutant::CondemnedReused, REPACK, Fate::Harmless),
    row(Mutant::NonceIgnored, CRASH, Fate::Harmless),
];
