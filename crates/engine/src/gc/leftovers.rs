//! Objects that are in the store and not in force: deletes that were interrupted, uploads that never got a record.
//!
//! The listing is a hint at names only. What a record took out of force may be deleted, whoever recorded it; what no
//! record names goes through a `Reclaim` like any pack, because its writer may still be alive.

use crate::repository::Repository;
use crate::repository::beyond::Judged;
use crate::rules::Ledger;
use decube_backup_core::sink::ObjectMeta;
use decube_backup_core::{Key, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{PackName, SlotId, parse_index_key, parse_pack_key, parse_parity_key, parse_seq_key};
use decube_backup_format::log::ObjectName;
use hashbrown::HashSet;
use std::time::Duration;

/// Checkpoints of use that are kept: the newest, and one for who is about to read the one before.
const CHECKPOINTS_KEPT: usize = 2;

/// What a look at the store found.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers {
    /// Out of force and still there, with their lengths.
    pub deletable: Vec<(ObjectName, u64)>,
    /// Named by no record and old enough, with their lengths.
    pub orphans: Vec<(ObjectName, u64)>,
    /// Named by no record; perhaps a backup that is running.
    pub young: u64,
    /// Packs in force that are not listed, or of another length than recorded.
    pub odd: HashSet<PackName>,
    /// Superseded checkpoints, with their lengths.
    pub checkpoints: Vec<(Key, u64)>,
    /// Listings asked for.
    pub lists: u64,
}

/// Whether an object is of no use, and why.
enum Standing {
    InForce,
    OutOfForce,
    Unnamed,
}

/// Looks what is there; `orphan_age` is how long ago an object without a record must have been stored. An object whose
/// time the store does not tell is old enough only if any is.
///
/// # Errors
/// What listing yields.
pub(super) fn look(repo: &Repository, state: &State, orphan_age: Duration) -> Result<Leftovers> {
    let mut found = Leftovers { odd: state.live_packs().map(|(pack, _)| pack).collect(), ..Leftovers::default() };
    let now_ms = i128::from(repo.env.clock.now().seconds) * 1000;
    let is_old = |object: &ObjectMeta| match object.modified_ms {
        // The storage's clock may be ahead of this one.
        Some(time) => orphan_age.is_zero() || now_ms - i128::from(time) >= orphan_age.as_millis() as i128,
        None => orphan_age.is_zero(),
    };
    let mut prefixes = vec!["packs/", "index/", "keys/"];
    // Who never used parity does not pay a request for it.
    let has_parity = |name: &ObjectName| matches!(name, ObjectName::Parity(_));
    if !repo.env.parity.is_none() || state.parities().len() > 0 || state.retired_objects().any(has_parity) {
        prefixes.push("parity/");
    }
    for prefix in prefixes {
        found.lists += 1;
        for object in repo.store.list(prefix)? {
            let Some(name) = named(&object.key) else { continue };
            match standing(state, &name) {
                Standing::InForce => {
                    if let ObjectName::Pack(pack) = &name
                        && state.pack(pack).is_some_and(|info| u64::from(info.len) == object.len)
                    {
                        found.odd.remove(pack);
                    }
                }
                Standing::OutOfForce => found.deletable.push((name, object.len)),
                Standing::Unnamed if is_old(&object) => found.orphans.push((name, object.len)),
                Standing::Unnamed => found.young += 1,
            }
        }
    }
    Ok(found)
}

/// Checkpoints older than the newest two that open and that this log continues, with their lengths; of older ones those that
/// could tell nothing else. None if a record that one ends with cannot be read: they may be all that knows what it said.
///
/// # Errors
/// `Diverged` if one knows of records that are lost; what listing and reading yield.
pub(super) fn superseded(repo: &Repository) -> Result<Vec<(Key, u64)>> {
    let (mut kept, mut superseded) = (0, Vec::new());
    for object in repo.store.list("ckpt/")?.into_iter().rev() {
        let Some(seq) = parse_seq_key(&object.key) else { continue };
        let is_superseded = kept == CHECKPOINTS_KEPT;
        match repo.judge_checkpoint(&object.key, seq)? {
            Judged::Continued if !is_superseded => kept += 1,
            Judged::Continued | Judged::Damaged(_) if is_superseded => superseded.push((object.key, object.len)),
            Judged::Continued | Judged::Gone | Judged::Damaged(_) | Judged::Unreadable(_) => {}
            Judged::Undecided => return Ok(Vec::new()),
            Judged::Beyond(lost) => {
                let error = lost.to_error("prune");
                repo.hold_lost(lost);
                return Err(error);
            }
        }
    }
    Ok(superseded)
}

fn named(key: &Key) -> Option<ObjectName> {
    let pack = parse_pack_key(key).map(ObjectName::Pack);
    let index = || parse_index_key(key).map(|(level, id)| ObjectName::Index { level, id });
    let slot = || Some(ObjectName::KeySlot(SlotId::from_hex(key.as_str().strip_prefix("keys/")?).ok()?));
    let parity = || parse_parity_key(key).map(ObjectName::Parity);
    pack.or_else(parity).or_else(index).or_else(slot)
}

fn standing(state: &State, name: &ObjectName) -> Standing {
    let (in_force, out_of_force) = match name {
        ObjectName::Pack(pack) => (state.is_in_force(pack), Ledger::is_reclaimed(state, pack)),
        ObjectName::Index { level, id } => (state.index(*level, id).is_some(), state.is_retired(name)),
        ObjectName::Parity(parity) => {
            (state.parity(&parity.pack).is_some_and(|(known, _)| known == *parity), state.is_retired(name))
        }
        other => (state.objects().any(|(known, _)| known == *other), state.is_retired(name)),
    };
    match (in_force, out_of_force) {
        (true, _) => Standing::InForce,
        (false, true) => Standing::OutOfForce,
        (false, false) => Standing::Unnamed,
    }
}

/// Whether an object that no record named when the store was listed may still be taken for an orphan.
pub(super) fn is_orphan(state: &State, name: &ObjectName) -> bool {
    match name {
        ObjectName::Pack(pack) => crate::rules::orphan_stands(state, pack),
        other => matches!(standing(state, other), Standing::Unnamed),
    }
}

/// Whether the log says that the object may be deleted.
pub(super) fn may_delete(state: &State, name: &ObjectName) -> bool {
    match name {
        ObjectName::Pack(pack) => crate::rules::may_delete(state, pack),
        other => state.is_retired(other),
    }
}
