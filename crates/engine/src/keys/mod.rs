//! Who can open the repository: key slots, and the keys behind them.
//!
//! | module | holds |
//! |---|---|
//! | `rotate` | new pack keys |
//! | `revoke` | a new keyring key |
//! | `recipients` | public keys as slots |
//! | `hosts` | write-only keys |
//! | `usage` | which packs are under which keys |
//! | `slots` | which slots there are, damaged ones too |
//! | `removal` | slots taken out of force, and deleted |
//!
//! Every slot wraps the same keyring key, so adding and removing slots re-encrypts nothing. A new slot
//! object is written before the record that puts it in force; a removed one is taken out of force by
//! a record before its object is deleted. A crash in between leaves either an unused object or a slot
//! that no longer opens: the next prune deletes the one, the next change of keys the other. What the log says of a slot counts, and not
//! whether its object is there: one that is damaged keeps nobody from changing keys.

mod hosts;
mod recipients;
mod removal;
mod revoke;
mod rotate;
mod slots;
mod usage;

pub use hosts::add_write_only;
pub use recipients::{Identities, Recipient};
pub use removal::{Undeleted, plan_removal, remove};
pub use revoke::{Others, Revocation, plan_revocation, revoke};
pub use rotate::{Rotation, rotate};
pub use slots::list;
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
use decube_backup_format::keyslot::{KDF_DEFAULT, KeySlot, random_slot_id};
use decube_backup_format::log::{AddedObject, ObjectName, Payload, SlotChange};
use slots::info;

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

/// Replaces the slot this handle was opened with by one that `new` opens, with its label unless another is given. Returns
/// also what of the old one could not be deleted.
///
/// # Errors
/// As [`add`] and [`remove`]; the old slot stays in force unless the new one is. `Contended` if somebody else replaced the old
/// slot meanwhile: then the new one is taken back, so that of two passwords set at once one opens.
pub fn change_password(
    repo: &mut Repository,
    new: &Credentials,
    label: Option<&str>,
) -> Result<(KeySlotInfo, Vec<Undeleted>)> {
    let old = repo.slot;
    repo.refresh()?;
    if !repo.state().has_slot(&old) {
        return Err(removal::changed_meanwhile());
    }
    let own = match slots::read_in_force(repo, old)? {
        slots::Found::Whole(slot) => slot.label,
        slots::Found::Damaged(_) => String::new(),
    };
    let (id, slot, kek) = add_slot(repo, new, label.unwrap_or(&own))?;
    let left = match removal::remove_slot(repo, old) {
        Err(error) if error.kind() == ErrorKind::Contended && !repo.state().has_slot(&old) => {
            let kept = |kept: Error| kept.with("key", id).with_hint("the new key is in force as well: `key remove` it");
            removal::remove_slot(repo, id).map_err(kept)?;
            return Err(error);
        }
        removed => removed?,
    };
    (repo.slot, repo.kek) = (id, kek);
    Ok((info(repo, id, &slot), left))
}
