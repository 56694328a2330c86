//! Key slots: who can open the repository.
//!
//! Every slot wraps the same keyring key, so adding and removing slots re-encrypts nothing. A new slot
//! object is written before the record that puts it in force; a removed one is taken out of force by
//! a record before its object is deleted. A crash in between leaves either an unused object or a slot
//! that no longer opens.

use crate::environment::Credentials;
use crate::options::KeySlotInfo;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use decube_backup_core::{Error, ErrorKind, PutMode, Result};
use decube_backup_format::header::Access;
use decube_backup_format::ids::{SlotId, slot_key};
use decube_backup_format::keyslot::{KDF_DEFAULT, KeySlot, SlotKdf, random_slot_id};
use decube_backup_format::log::{AddedObject, ObjectName, Payload, SlotChange};

/// The slots in force.
///
/// # Errors
/// A slot object is missing or damaged.
pub fn list(repo: &Repository) -> Result<Vec<KeySlotInfo>> {
    repo.state()
        .slots()
        .map(|(id, _)| {
            let slot = KeySlot::decode(&repo.store.get_existing(&slot_key(&id.to_hex())?)?)?;
            Ok(info(repo, id, &slot))
        })
        .collect()
}

fn info(repo: &Repository, id: SlotId, slot: &KeySlot) -> KeySlotInfo {
    let kind = match slot.kdf {
        SlotKdf::Argon2id { .. } => "password",
        SlotKdf::KeyFile { .. } => "key-file",
    };
    KeySlotInfo { slot: id.to_hex(), label: slot.label.clone(), kind, created: slot.created, current: id == repo.slot }
}

/// Adds a slot that `new` opens.
///
/// # Errors
/// `Invalid` for a label too long; what storing yields.
pub fn add(repo: &Repository, new: &Credentials, label: &str) -> Result<KeySlotInfo> {
    let (id, slot) = add_slot(repo, new, label)?;
    Ok(info(repo, id, &slot))
}

fn add_slot(repo: &Repository, new: &Credentials, label: &str) -> Result<(SlotId, KeySlot)> {
    repo.header.check(Access::Write)?;
    repo.refresh()?;
    let entropy = repo.env.entropy.as_ref();
    let id = random_slot_id(entropy)?;
    let slot =
        KeySlot::seal(repo.id(), new.secret(), KDF_DEFAULT, label, repo.env.clock.now(), &repo.keyring_key, entropy)?;
    let bytes = slot.encode();
    let object = AddedObject::of(ObjectName::KeySlot(id), &bytes);
    repo.store.put(&slot_key(&id.to_hex())?, bytes, PutMode::CreateNew)?;
    let change = SlotChange::Added { slot: id, label: label.to_owned() };
    let record = NewRecord {
        payload: Payload::KeySlot(change),
        added: vec![object],
        reclaimed: Vec::new(),
        stamp: repo.stamp("", ""),
    };
    repo.append(record, &mut |_| Ok(Verdict::Stands))?;
    Ok((id, slot))
}

/// Takes the slot whose name begins with `slot` out of force and deletes it.
///
/// Whoever opened the repository with it before may have kept the keys themselves: for that, keys must
/// be rotated.
///
/// # Errors
/// `NotFound`, `Invalid` if ambiguous or the last one.
pub fn remove(repo: &Repository, slot: &str) -> Result<()> {
    repo.header.check(Access::Write)?;
    repo.refresh()?;
    let state = repo.state();
    let matching: Vec<SlotId> =
        state.slots().map(|(id, _)| id).filter(|id| !slot.is_empty() && id.to_hex().starts_with(slot)).collect();
    match matching.as_slice() {
        [id] => remove_slot(repo, *id),
        [] => Err(Error::new(ErrorKind::NotFound, "key", "no such key slot")
            .with("slot", slot)
            .with_hint("`decube-backup key list` shows them")),
        _ => Err(Error::new(ErrorKind::Invalid, "key", "several key slots begin so; give more of the name")
            .with("slot", slot)),
    }
}

fn remove_slot(repo: &Repository, id: SlotId) -> Result<()> {
    let record = NewRecord {
        payload: Payload::KeySlot(SlotChange::Removed { slot: id }),
        added: Vec::new(),
        reclaimed: vec![ObjectName::KeySlot(id)],
        stamp: repo.stamp("", ""),
    };
    // Checked against the state the record would follow: two removers must not take the last two.
    let appended = repo.append(record, &mut |state| {
        let others = state.slots().any(|(other, _)| other != id);
        Ok(if others { Verdict::Stands } else { Verdict::Void })
    })?;
    if appended == Appended::Void {
        return Err(Error::new(
            ErrorKind::Invalid,
            "key",
            "this is the last key: without it nobody could open the repository",
        )
        .with_hint("add another key first"));
    }
    repo.store.delete(&slot_key(&id.to_hex())?)
}

/// Replaces the slot this handle was opened with by one that `new` opens.
///
/// # Errors
/// As [`add`] and [`remove`]; the old slot stays in force unless the new one is.
pub fn change_password(repo: &mut Repository, new: &Credentials) -> Result<KeySlotInfo> {
    let old = repo.slot;
    let label = KeySlot::decode(&repo.store.get_existing(&slot_key(&old.to_hex())?)?)?.label;
    let (id, slot) = add_slot(repo, new, &label)?;
    remove_slot(repo, old)?;
    repo.slot = id;
    Ok(info(repo, id, &slot))
}
