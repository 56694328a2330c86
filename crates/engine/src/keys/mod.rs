//! Who can open the repository: key slots, and the keys behind them.
//!
//! | module | holds |
//! |---|---|
//! | `rotate` | new pack keys |
//! | `revoke` | a new keyring key |
//! | `recipients` | public keys as slots |
//! | `hosts` | write-only keys |
//! | `usage` | which packs are under which keys |
//!
//! Every slot wraps the same keyring key, so adding and removing slots re-encrypts nothing. A new slot
//! object is written before the record that puts it in force; a removed one is taken out of force by
//! a record before its object is deleted. A crash in between leaves either an unused object or a slot
//! that no longer opens; the next change of keys deletes it.

mod hosts;
mod recipients;
mod revoke;
mod rotate;
mod usage;

pub use hosts::add_write_only;
pub use recipients::{Identities, Recipient};
pub use revoke::{Others, Revocation, plan_revocation, revoke};
pub use rotate::{Rotation, rotate};
pub use usage::{Certainty, Exactness, KeyVersion, KeyVersionUsage, pack_key_versions, packs_by_key_version};

use crate::environment::Credentials;
use crate::options::KeySlotInfo;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, PutMode, Result, Timestamp};
use decube_backup_format::checkpoint::State;
use decube_backup_format::hash::Key32;
use decube_backup_format::header::Access;
use decube_backup_format::host::HostAdmission;
use decube_backup_format::ids::{SlotId, slot_key};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::keyslot::{KDF_DEFAULT, KeySlot, SlotKdf, SlotScope, random_slot_id};
use decube_backup_format::log::{AddedObject, ObjectName, Payload, SlotChange};
use std::collections::HashSet;

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
        created: slot.created,
        host: repo.state().host_of_slot(&id).map(|host| host.name.clone()),
        current: id == repo.slot,
    }
}

/// Adds a slot that `new` opens.
///
/// # Errors
/// `Invalid` for a label too long or private keys; `Contended` if keys were replaced meanwhile; what storing yields.
pub fn add(repo: &Repository, new: &Credentials, label: &str) -> Result<KeySlotInfo> {
    let (id, slot, _) = add_slot(repo, new, label)?;
    Ok(info(repo, id, &slot))
}

/// Adds a slot that the owner of `recipient` opens.
///
/// # Errors
/// As [`add`].
pub fn add_recipient(repo: &Repository, recipient: &Recipient, label: &str) -> Result<KeySlotInfo> {
    let (envelope, secret) = recipient.enclose(repo.env.entropy.as_ref())?;
    let (id, slot, _) = put_in_force(repo, label, &|created, keyring_key, entropy| {
        KeySlot::seal_in(repo.id(), envelope.clone(), &secret, label, created, keyring_key, entropy)
    })?;
    Ok(info(repo, id, &slot))
}

fn add_slot(repo: &Repository, new: &Credentials, label: &str) -> Result<(SlotId, KeySlot, Key32)> {
    let secret = new.secret()?;
    put_in_force(repo, label, &|created, keyring_key, entropy| {
        KeySlot::seal(repo.id(), secret, KDF_DEFAULT, label, created, keyring_key, entropy)
    })
}

/// Makes a slot of that date around a keyring key, and its KEK.
type Seal<'a> = dyn Fn(Timestamp, &Key32, &dyn Entropy) -> Result<(KeySlot, Key32)> + 'a;

/// Stores what `seal` makes for the keyring key in force, and records it.
fn put_in_force(repo: &Repository, label: &str, seal: &Seal<'_>) -> Result<(SlotId, KeySlot, Key32)> {
    repo.check_reader(Access::Write)?;
    // A slot around a keyring key that was replaced would open nothing.
    let held = rotate::current(repo)?;
    let entropy = repo.env.entropy.as_ref();
    let id = random_slot_id(entropy)?;
    let (slot, kek) = seal(repo.env.clock.now(), &repo.keyring_key, entropy)?;
    let change = SlotChange::Added { slot: id, label: label.to_owned() };
    put_slot(repo, &held, id, &slot, change, None)?;
    Ok((id, slot, kek))
}

/// Stores a slot and puts it in force, if the keyring it was made for still is; `host` is admitted by it.
fn put_slot(
    repo: &Repository,
    held: &Keyring,
    id: SlotId,
    slot: &KeySlot,
    change: SlotChange,
    host: Option<HostAdmission>,
) -> Result<()> {
    let (key, bytes) = (slot_key(&id.to_hex())?, slot.encode());
    let object = AddedObject::of(ObjectName::KeySlot(id), &bytes);
    repo.store.put(&key, bytes, PutMode::CreateNew)?;
    let record = NewRecord {
        payload: Payload::KeySlot(change),
        added: vec![object],
        reclaimed: Vec::new(),
        stamp: repo.stamp("", ""),
    };
    let mut unchanged = |state: &State| Ok(Verdict::of(state.keyring_current() == held.generation));
    match repo.append_admitting(record, host, &mut unchanged)? {
        Appended::At(_) => Ok(()),
        Appended::Void => {
            repo.store.delete(&key)?;
            Err(Error::new(ErrorKind::Contended, "key", "keys were changed by somebody else at the same moment")
                .with_hint("nothing was changed by this command; run it again"))
        }
    }
}

/// Takes the slot whose name begins with `slot` out of force and deletes it.
///
/// Whoever opened the repository with it before may have kept the keys themselves: for that there is [`revoke`].
///
/// # Errors
/// `NotFound`, `Invalid` if ambiguous or the last one.
pub fn remove(repo: &Repository, slot: &str) -> Result<()> {
    repo.check_reader(Access::Write)?;
    repo.refresh()?;
    sweep(repo)?;
    remove_slot(repo, slot_named(repo, slot)?)
}

/// The slot in force whose name begins with `slot`.
fn slot_named(repo: &Repository, slot: &str) -> Result<SlotId> {
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

/// Deletes slots and keyrings that are out of force but still there: a change of keys ended before its deletes.
fn sweep(repo: &Repository) -> Result<()> {
    let state = repo.state();
    let listed = ["keys/", "keyring/", "copy/keyring/"].map(|prefix| repo.store.list(prefix));
    let mut there = HashSet::new();
    for list in listed {
        there.extend(list?.into_iter().map(|object| object.key));
    }
    // Slots first: what they open is of no use to anyone without them.
    let slots = state.retired_objects().filter(|name| matches!(name, ObjectName::KeySlot(_)));
    let keyrings = |name: &&ObjectName| matches!(name, ObjectName::Keyring(_) | ObjectName::KeyringCopy(_));
    for name in slots.chain(state.retired_objects().filter(keyrings)) {
        if there.contains(&name.key()?) {
            repo.store.delete(&name.key()?)?;
        }
    }
    Ok(())
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
        // A write-only key opens nothing: it does not count as another.
        let is_full = |slot: &SlotId| state.host_of_slot(slot).is_none();
        let others = !is_full(&id) || state.slots().any(|(other, _)| other != id && is_full(&other));
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

/// Replaces the slot this handle was opened with by one that `new` opens, with its label unless another is given.
///
/// # Errors
/// As [`add`] and [`remove`]; the old slot stays in force unless the new one is.
pub fn change_password(repo: &mut Repository, new: &Credentials, label: Option<&str>) -> Result<KeySlotInfo> {
    let old = repo.slot;
    let own = KeySlot::decode(&repo.store.get_existing(&slot_key(&old.to_hex())?)?)?.label;
    let (id, slot, kek) = add_slot(repo, new, label.unwrap_or(&own))?;
    remove_slot(repo, old)?;
    (repo.slot, repo.kek) = (id, kek);
    Ok(info(repo, id, &slot))
}
