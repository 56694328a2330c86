//! What must hold in every state, and what must come about in some: a model in which nothing happens loses nothing.

use crate::model::Protocol;
use crate::world::{ModelLedger, Record, World, bits, has};
use stateright::Property;

pub const NOTHING_LOST: &str = "every chunk of every live snapshot is there and found";
pub const NOTHING_MISSING: &str = "every pack in force exists";
pub const DELETED: &str = "a reclaimed pack is deleted";
pub const AFTER_VOID: &str = "a commit that was void succeeds in the end";
pub const UNDELETED: &str = "a forgotten snapshot is shown again";
pub const ORPHAN_DELETED: &str = "an orphan is deleted";
pub const REPACKED: &str = "a pack that was needed is deleted after a repack";
pub const MERGED: &str = "index segments are deleted after a merge";

/// The properties of a model in which all that can happen.
pub fn of(model: &Protocol) -> Vec<Property<Protocol>> {
    let writers = model.left.runs != [0, 0];
    let mut all = vec![Property::always(NOTHING_LOST, nothing_lost), Property::sometimes(DELETED, deleted)];
    if model.verdicts.mutant.is_none() {
        all.push(Property::always(NOTHING_MISSING, nothing_missing));
    }
    for (possible, property) in [
        (writers, Property::sometimes(AFTER_VOID, |_, world: &World| world.committed_after_void)),
        (writers, Property::sometimes(ORPHAN_DELETED, orphan_deleted)),
        (model.left.undeletes > 0, Property::sometimes(UNDELETED, undeleted)),
        (model.left.repacks > 0, Property::sometimes(REPACKED, repacked)),
        (model.left.merges > 0, Property::sometimes(MERGED, merged)),
    ] {
        if possible {
            all.push(property);
        }
    }
    all
}

/// Each chunk of each live snapshot is in a pack in force that exists, and an index segment in force that exists
/// says so.
fn nothing_lost(_: &Protocol, world: &World) -> bool {
    let ledger = world.ledger;
    let packs = ledger.in_force & world.exists & !world.indexes & world.covered(ledger.in_force & world.exists);
    let found = bits(packs).fold(0, |all, pack| all | world.content[usize::from(pack)]);
    u16::from(ledger.chunks(ledger.live)) & !found == 0
}

fn nothing_missing(_: &Protocol, world: &World) -> bool {
    world.ledger.in_force & !world.exists == 0
}

fn gone(world: &World) -> (ModelLedger, u16) {
    let ledger = world.ledger;
    (ledger, ledger.reclaimed & !world.indexes & !world.exists)
}

fn deleted(_: &Protocol, world: &World) -> bool {
    let (ledger, gone) = gone(world);
    gone & ledger.named != 0
}

fn orphan_deleted(_: &Protocol, world: &World) -> bool {
    let (ledger, gone) = gone(world);
    gone & !ledger.named != 0
}

fn undeleted(_: &Protocol, world: &World) -> bool {
    world.log.iter().any(|record| matches!(record, Record::Restore(_)))
}

/// The first pack is gone and the first snapshot lives on.
fn repacked(_: &Protocol, world: &World) -> bool {
    let (ledger, gone) = gone(world);
    has(ledger.live, 0) && has(gone, 0)
}

fn merged(_: &Protocol, world: &World) -> bool {
    world.log.iter().any(|record| matches!(record, Record::Add { retired, .. } if retired & !world.exists != 0))
}
