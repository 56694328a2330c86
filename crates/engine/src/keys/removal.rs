//! Taking slots out of force, and deleting what is.
//!
//! A record decides: once it is appended the slot opens nothing, whether or not its object can be deleted. What cannot is
//! named, and the next change of keys tries again.

use super::slots;
use super::slots::{read_in_force, told};
use crate::options::KeySlotInfo;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::header::Access;
use decube_backup_format::ids::SlotId;
use decube_backup_format::log::{ObjectName, Payload, SlotChange};
use std::collections::HashSet;

/// An object that is out of force and could not be deleted: it opens nothing, and is only in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeleted {
    /// Its name in the store.
    pub key: String,
    /// Why it is still there.
    pub why: String,
}

/// What [`remove`] would take out of force.
///
/// # Errors
/// As [`remove`].
pub fn plan_removal(repo: &Repository, slot: &str) -> Result<KeySlotInfo> {
    repo.check_reader(Access::Write)?;
    repo.refresh()?;
    let id = slot_named(repo, slot)?;
    let state = repo.state();
    if state.host_of_slot(&id).is_none() && !slots::another_opens(repo, &state, id)? {
        return Err(last_key());
    }
    Ok(told(repo, id, &read_in_force(repo, id)?))
}

/// Takes the slot whose name begins with `slot` out of force and deletes it; returns what of it could not be deleted.
///
/// Whoever opened the repository with it before may have kept the keys themselves: for that there is [`super::revoke()`].
///
/// # Errors
/// `NotFound`, `Invalid` if ambiguous or the last one that opens anything, `Contended` if somebody else removed it at the
/// same moment.
pub fn remove(repo: &Repository, slot: &str) -> Result<Vec<Undeleted>> {
    repo.check_reader(Access::Write)?;
    repo.refresh()?;
    remove_slot(repo, slot_named(repo, slot)?)
}

/// The slot in force whose name begins with `slot`.
pub(super) fn slot_named(repo: &Repository, slot: &str) -> Result<SlotId> {
    let state = repo.state();
    let matching: Vec<SlotId> =
        state.slots().map(|(id, _)| id).filter(|id| !slot.is_empty() && id.to_hex().starts_with(slot)).collect();
    match matching.as_slice() {
        [id] => Ok(*id),
        [] => Err(Error::new(ErrorKind::NotFound, "key", "no such key slot")
            .with("slot", slot)
            .with_hint("`decube-backup key list` shows them")),
        _ => Err(Error::new(ErrorKind::Invalid, "key", "several key slots begin so; give more of the name")
            .with("slot", slot)),
    }
}

/// As [`remove`], the slot `id`.
pub(super) fn remove_slot(repo: &Repository, id: SlotId) -> Result<Vec<Undeleted>> {
    let own = ObjectName::KeySlot(id);
    let record = NewRecord {
        payload: Payload::KeySlot(SlotChange::Removed { slot: id }),
        added: Vec::new(),
        reclaimed: vec![own],
        stamp: repo.stamp("", ""),
    };
    let mut in_force = true;
    // Checked against the state the record would follow: two removers must not take the last two.
    let appended = repo.append(record, &mut |state| {
        in_force = state.has_slot(&id);
        // A write-only key opens nothing: whether there is another does not matter.
        let may = in_force && (state.host_of_slot(&id).is_some() || slots::another_opens(repo, state, id)?);
        Ok(Verdict::of(may))
    })?;
    match appended {
        Appended::At(_) => Ok(delete_retired(repo, &[own])),
        Appended::Void if in_force => Err(last_key()),
        Appended::Void => Err(changed_meanwhile()),
    }
}

fn last_key() -> Error {
    Error::new(ErrorKind::Invalid, "key", "this is the last key: without it nobody could open the repository")
        .with_hint("add another key first; one that is damaged does not count")
}

pub(super) fn changed_meanwhile() -> Error {
    Error::new(ErrorKind::Contended, "key", "the key was changed by somebody else meanwhile")
        .with_hint("nothing was changed by this command; `key list` shows the keys there are now")
}

/// Deletes slots and keyrings that are out of force but still there, also those of a change of keys that ended before its
/// deletes. Returns what is left of `own`; what is left of others is logged.
pub(super) fn delete_retired(repo: &Repository, own: &[ObjectName]) -> Vec<Undeleted> {
    let mut left = Vec::new();
    let mut note = |name: &ObjectName, why: String| {
        let key = name.key().map_or_else(|_| format!("{name:?}"), |key| key.to_string());
        if own.contains(name) {
            left.push(Undeleted { key, why });
        } else {
            tracing::warn!(key, error = why, "out of force, but it cannot be deleted: it opens nothing");
        }
    };
    let there = match there(repo) {
        Ok(there) => there,
        Err(error) => {
            own.iter().for_each(|name| note(name, error.chain()));
            return left;
        }
    };
    let state = repo.state();
    let of_kind = |is: fn(&ObjectName) -> bool| {
        let named = state.retired_objects().filter(move |name| is(name));
        named.filter(|name| name.key().is_ok_and(|key| there.contains(&key)))
    };
    let mut slots_are_gone = true;
    for name in of_kind(|name| matches!(name, ObjectName::KeySlot(_))) {
        if let Err(error) = name.key().and_then(|key| repo.store.delete(&key)) {
            slots_are_gone = false;
            note(name, error.chain());
        }
    }
    // Slots first: whoever has a slot and finds no keyring for it takes the repository for damaged.
    for name in of_kind(|name| matches!(name, ObjectName::Keyring(_) | ObjectName::KeyringCopy(_))) {
        if !slots_are_gone {
            note(name, "a slot that leads to it could not be deleted".to_owned());
        } else if let Err(error) = name.key().and_then(|key| repo.store.delete(&key)) {
            note(name, error.chain());
        }
    }
    left
}

fn there(repo: &Repository) -> Result<HashSet<decube_backup_core::Key>> {
    let mut there = HashSet::new();
    for prefix in ["keys/", "keyring/", "copy/keyring/"] {
        there.extend(repo.store.list(prefix)?.into_iter().map(|object| object.key));
    }
    Ok(there)
}
