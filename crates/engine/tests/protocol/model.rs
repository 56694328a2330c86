//! Who may do what in a state, and what comes of it.
//!
//! Steps are as small as they must be and no smaller: reading the log is one step, because it is append-only and its
//! prefix never changes; an upload is one step, because until a record names it nobody relies on it; a record is
//! validated in one step and put in another (`split`), or both in one, which comes to the same as long as a slot is
//! taken only once: who wins slot n has validated exactly what is before n.

use crate::properties;
use crate::verdicts::{Mutant, Verdicts};
use crate::world::{Chunks, Left, Name, Names, Record, World};
use stateright::{Model, Property};

pub const UNDELETER: usize = 4;
pub const MERGER: usize = 5;

/// What is checked: how much may happen, under which rules.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Chunks of the snapshot there is at the beginning.
    pub first: Chunks,
    /// Chunks each writer backs up.
    pub wants: [Chunks; 2],
    pub left: Left,
    /// Records are validated and put in two steps; crashes between them leave a put that may arrive later.
    pub split: bool,
    /// Longest log.
    pub slots: u8,
    pub verdicts: Verdicts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads the log and decides what to store.
    Begin {
        writer: usize,
        parent: Option<u8>,
        newest: bool,
    },
    Upload(usize),
    /// Records what was uploaded so far.
    Progress(usize),
    /// Validates a `Commit`, and puts it unless that is a step of its own.
    Commit(usize),
    /// Records what is still good after a `Commit` was void.
    KeepGood(usize),
    /// Reads the log and a listing that shows any of the orphans there are, or were.
    Mark {
        collector: usize,
        orphans: Names,
    },
    /// Stores the live chunks of a pack again.
    Repack {
        collector: usize,
        pack: Name,
    },
    AddRepacked(usize),
    /// Reads the log again and chooses what to reclaim.
    Locate {
        collector: usize,
        chosen: Names,
    },
    Condemn(usize),
    Reclaim(usize),
    Put(usize),
    Crash(usize),
    /// The actor fails, and the put it began may still arrive.
    CrashPutting(usize),
    Arrive,
    Delete(Name),
    Forget(u8),
    CheckForgotten(u8),
    Undelete,
    Merge(Names),
    RecordMerged,
    Pin,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World { left: self.left, ..World::default() };
        world.ledger.names_reused = self.verdicts.is(Mutant::NamesReused);
        let added = world.upload(self.first, None);
        world.push(Record::Commit { chunks: self.first, added });
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.offer(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = *world;
        self.step(&mut next, action)?;
        // The collectors are alike: which is which makes no difference.
        if (next.actors[2], next.ready[2]) > (next.actors[3], next.ready[3]) {
            next.actors.swap(2, 3);
            next.ready.swap(2, 3);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}
