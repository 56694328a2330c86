//! One state of the model: the log, the store and what everyone is about to do.
//!
//! Sets are bit masks and everything is `Copy`, because a state is copied and hashed millions of times.

use decube_backup_engine::rules::Ledger;
use std::collections::BTreeSet;

/// Longest log.
pub const SLOTS: usize = 10;
/// Most objects ever named.
pub const NAMES: usize = 12;

/// Name of an object, a pack or an index segment: the order in which it was drawn. Drawn once.
pub type Name = u8;
/// A set of names.
pub type Names = u16;
/// A set of chunks.
pub type Chunks = u8;
/// A set of snapshots; each is called by the slot of its `Commit`.
pub type Snapshots = u16;

/// What a record of the log says, as far as it concerns safety.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Record {
    /// A pin, a tag, a note: takes a slot and changes nothing.
    #[default]
    Note,
    Commit {
        chunks: Chunks,
        added: Names,
    },
    /// Progress, a repack's output, or merged index segments in place of `retired`.
    Add {
        added: Names,
        retired: Names,
    },
    Forget(u8),
    Restore(u8),
    Condemn(Names),
    Reclaim(Names),
}

/// The log folded: what the rules are asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModelLedger {
    /// Every object some record added.
    pub named: Names,
    pub in_force: Names,
    pub reclaimed: Names,
    pub condemned: Names,
    pub live: Snapshots,
    pub forgotten: Snapshots,
    chunks: [Chunks; SLOTS],
    indexes: Names,
    /// What was reclaimed and is added again counts again: only under a mutant.
    pub names_reused: bool,
}

impl ModelLedger {
    /// What the snapshots hold together.
    pub fn chunks(&self, snapshots: Snapshots) -> Chunks {
        bits(snapshots).fold(0, |all, s| all | self.chunks[usize::from(s)])
    }

    fn fold(&mut self, slot: u8, record: Record) {
        match record {
            Record::Note => {}
            Record::Commit { chunks, added } => {
                self.add(added);
                self.chunks[usize::from(slot)] = chunks;
                self.live |= 1 << slot;
            }
            Record::Add { added, retired } => {
                self.add(added);
                self.take(retired);
            }
            Record::Forget(s) => {
                self.live &= !(1 << s);
                self.forgotten |= 1 << s;
            }
            Record::Restore(s) => {
                self.forgotten &= !(1 << s);
                self.live |= 1 << s;
            }
            Record::Condemn(packs) => self.condemned |= packs & self.in_force,
            Record::Reclaim(names) => self.take(names),
        }
    }

    fn add(&mut self, added: Names) {
        if self.names_reused {
            self.reclaimed &= !added;
        }
        self.named |= added;
        self.in_force |= added & !self.reclaimed;
    }

    fn take(&mut self, names: Names) {
        self.in_force &= !names;
        self.condemned &= !names;
        self.reclaimed |= names;
    }
}

impl Ledger for ModelLedger {
    type Pack = Name;
    type Index = Name;
    type Snapshot = u8;

    fn is_in_force(&self, pack: &Name) -> bool {
        has(self.in_force, *pack)
    }
    fn is_reclaimed(&self, pack: &Name) -> bool {
        has(self.reclaimed, *pack)
    }
    fn reclaimed_count(&self) -> usize {
        (self.reclaimed & !self.indexes).count_ones() as usize
    }
    fn is_index_retired(&self, index: &Name) -> bool {
        has(self.reclaimed, *index)
    }
    fn is_live(&self, snapshot: &u8) -> bool {
        has(self.live, *snapshot)
    }
    fn live_snapshots(&self) -> BTreeSet<u8> {
        bits(self.live).collect()
    }
}

/// What a run of a writer knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Writing {
    /// Packs reclaimed in the view it began with.
    pub seen: u8,
    /// The snapshot whose chunks it takes over.
    pub parent: Option<u8>,
    /// Chunks still to be stored.
    pub missing: Chunks,
    /// What it uploaded and no record names: packs and their index segments.
    pub own: Names,
    /// Packs it deduplicated against.
    pub deps: Names,
    /// It was found void before.
    pub redone: bool,
}

/// What a run of a collector knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Collecting {
    /// Snapshots whose chunks it marked.
    pub marked: Snapshots,
    /// Objects that a listing showed and no record named.
    pub orphans: Names,
    /// Output of a repack that no record names yet.
    pub own: Names,
    /// Packs reclaimed when it looked for other locations.
    pub seen: u8,
    /// What it is going to reclaim; nothing until it has looked.
    pub chosen: Names,
    pub located: bool,
}

/// Where an actor stands. A crash puts it back to `Idle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Actor {
    #[default]
    Idle,
    Writing(Writing),
    /// Found void; what is still good is about to be recorded.
    Void(Writing),
    Collecting(Collecting),
    /// All chunks of the forgotten snapshot were found when that many packs had been reclaimed.
    Undeleting {
        snapshot: u8,
        seen: u8,
    },
    /// Merged these index segments into a new one.
    Merging {
        sources: Names,
        merged: Name,
    },
}

/// A record validated for a slot and not yet put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ready {
    pub slot: u8,
    pub record: Record,
}

/// How often things may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Left {
    pub runs: [u8; 2],
    pub collections: u8,
    pub repacks: u8,
    pub progress: u8,
    pub condemns: u8,
    pub forgets: u8,
    pub undeletes: u8,
    pub merges: u8,
    pub crashes: u8,
    pub notes: u8,
}

/// Everything there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct World {
    pub log: [Record; SLOTS],
    pub len: u8,
    /// The log, folded.
    pub ledger: ModelLedger,
    /// Per name: chunks of a pack, or packs an index segment knows.
    pub content: [u16; NAMES],
    pub drawn: u8,
    pub indexes: Names,
    pub exists: Names,
    /// Deletes on their way, which nobody can call back.
    pub deletes: Names,
    /// A put of a record whose author crashed or gave up; it may still arrive.
    pub flight: Option<Ready>,
    /// Two writers, two collectors, an undeleter, a merger.
    pub actors: [Actor; 6],
    pub ready: [Option<Ready>; 6],
    pub left: Left,
    /// A snapshot was committed that was void at first.
    pub committed_after_void: bool,
}

impl World {
    pub fn push(&mut self, record: Record) {
        self.ledger.fold(self.len, record);
        self.log[usize::from(self.len)] = record;
        self.len += 1;
    }

    /// What no store may do: another record in a slot that is taken.
    pub fn overwrite(&mut self, slot: u8, record: Record) {
        self.log[usize::from(slot)] = record;
        let ModelLedger { indexes, names_reused, .. } = self.ledger;
        self.ledger = ModelLedger { indexes, names_reused, ..ModelLedger::default() };
        for slot in 0..self.len {
            self.ledger.fold(slot, self.log[usize::from(slot)]);
        }
    }

    pub fn can_draw(&self, count: usize) -> bool {
        usize::from(self.drawn) + count <= NAMES
    }

    fn draw(&mut self, content: u16) -> Name {
        let name = self.drawn;
        self.drawn += 1;
        self.content[usize::from(name)] = content;
        self.exists |= 1 << name;
        name
    }

    /// Stores a pack and the index segment that knows it. `name` is the pack's, if it is not drawn.
    pub fn upload(&mut self, chunks: Chunks, name: Option<Name>) -> Names {
        let pack = match name {
            Some(name) => {
                self.exists |= 1 << name;
                name
            }
            None => self.draw(chunks.into()),
        };
        self.upload_index(1 << pack) | 1 << pack
    }

    /// Stores an index segment that knows `packs`.
    pub fn upload_index(&mut self, packs: Names) -> Names {
        let index = self.draw(packs);
        self.indexes |= 1 << index;
        self.ledger.indexes = self.indexes;
        1 << index
    }

    /// Packs in force in which an index segment in force finds the chunk.
    pub fn locations(&self, ledger: &ModelLedger, chunk: u8) -> Names {
        let packs = ledger.in_force & !self.indexes & self.covered(ledger.in_force);
        bits(packs).filter(|p| has(self.content[usize::from(*p)], chunk)).fold(0, |all, p| all | 1 << p)
    }

    /// Packs that some index segment among `names` knows.
    pub fn covered(&self, names: Names) -> Names {
        bits(names & self.indexes).fold(0, |all, index| all | self.content[usize::from(index)])
    }
}

pub fn has(set: u16, member: u8) -> bool {
    set & (1 << member) != 0
}

/// The members of a set, ascending.
pub fn bits(set: u16) -> impl Iterator<Item = u8> {
    let mut left = set;
    std::iter::from_fn(move || {
        let lowest = left.trailing_zeros() as u8;
        left &= left.wrapping_sub(1);
        (lowest < 16).then_some(lowest)
    })
}

/// Every subset but the empty one.
pub fn subsets(set: u16) -> impl Iterator<Item = u16> {
    let mut next = set;
    std::iter::from_fn(move || {
        let found = next;
        next = next.wrapping_sub(1) & set;
        (found != 0).then_some(found)
    })
}
