//! Slots as they are found: whole, or damaged. A damaged one opens nothing, and keeps nobody from changing the others.

use crate::options::KeySlotInfo;
use crate::repository::Repository;
use crate::store::is_unreadable;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{ObjectInfo, State};
use decube_backup_format::ids::{SlotId, slot_key};
use decube_backup_format::keyslot::{KeySlot, SlotKdf, SlotScope};
use decube_backup_format::log::{AddedObject, ObjectName};

/// What is stored of a slot in force.
pub(super) enum Found {
    Whole(Box<KeySlot>),
    /// It opens nothing; why.
    Damaged(String),
}

/// The slots in force, damaged ones too.
///
/// # Errors
/// The store cannot be asked.
pub fn list(repo: &Repository) -> Result<Vec<KeySlotInfo>> {
    let slots: Vec<(SlotId, ObjectInfo)> = repo.state().slots().map(|(id, recorded)| (id, *recorded)).collect();
    slots.into_iter().map(|(id, recorded)| Ok(told(repo, id, &read(repo, id, &recorded)?))).collect()
}

/// Reads the slot `id`, of which the log says `recorded`.
///
/// # Errors
/// The store cannot be asked. That there is nothing, or something else, is no error.
pub(super) fn read(repo: &Repository, id: SlotId, recorded: &ObjectInfo) -> Result<Found> {
    let bytes = match repo.store.get(&slot_key(&id.to_hex())?) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Found::Damaged("its object is missing".to_owned())),
        Err(error) if is_unreadable(&error) => return Ok(Found::Damaged(error.chain())),
        Err(error) => return Err(error),
    };
    let there = AddedObject::of(ObjectName::KeySlot(id), &bytes);
    if (there.len, there.hash) != (u64::from(recorded.len), recorded.hash) {
        return Ok(Found::Damaged("its object is not what was stored".to_owned()));
    }
    match KeySlot::decode(&bytes) {
        Ok(slot) => Ok(Found::Whole(Box::new(slot))),
        Err(error) => Ok(Found::Damaged(error.chain())),
    }
}

/// As [`read`], of a slot of which the state at hand says that it is in force.
///
/// # Errors
/// `NotFound` if it is not; as [`read`].
pub(super) fn read_in_force(repo: &Repository, id: SlotId) -> Result<Found> {
    let recorded = repo.state().slots().find(|(slot, _)| *slot == id).map(|(_, recorded)| *recorded);
    let gone = || Error::new(ErrorKind::NotFound, "key", "the key slot is not in force").with("slot", id);
    read(repo, id, &recorded.ok_or_else(gone)?)
}

/// Whether by `state` something other than `id` opens the repository: a write-only key and a damaged slot do not.
///
/// # Errors
/// As [`read`].
pub(super) fn another_opens(repo: &Repository, state: &State, id: SlotId) -> Result<bool> {
    for (other, recorded) in state.slots() {
        let may = other != id && state.host_of_slot(&other).is_none();
        if may && matches!(read(repo, other, recorded)?, Found::Whole(slot) if slot.scope != SlotScope::WriteOnly) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is shown of a slot.
pub(super) fn told(repo: &Repository, id: SlotId, found: &Found) -> KeySlotInfo {
    match found {
        Found::Whole(slot) => info(repo, id, slot),
        Found::Damaged(why) => KeySlotInfo {
            slot: id.to_hex(),
            label: String::new(),
            kind: "damaged",
            recipient: None,
            host: host_of(repo, id),
            created: None,
            current: id == repo.slot,
            damage: Some(why.clone()),
        },
    }
}

pub(super) fn info(repo: &Repository, id: SlotId, slot: &KeySlot) -> KeySlotInfo {
    let kind = match slot.kdf {
        _ if slot.scope == SlotScope::WriteOnly => "write-only",
        SlotKdf::Argon2id { .. } => "password",
        SlotKdf::KeyFile { .. } => "key-file",
        SlotKdf::Recipient { .. } => "recipient",
        SlotKdf::Recovery { .. } => "recovery-sheet",
    };
    let recipient = match &slot.kdf {
        SlotKdf::Recipient { envelope, .. } => Some(envelope.recipient.clone()),
        _ => None,
    };
    KeySlotInfo {
        slot: id.to_hex(),
        label: slot.label.clone(),
        kind,
        recipient,
        created: Some(slot.created),
        host: host_of(repo, id),
        current: id == repo.slot,
        damage: None,
    }
}

fn host_of(repo: &Repository, id: SlotId) -> Option<String> {
    repo.state().host_of_slot(&id).map(|host| host.name.clone())
}
