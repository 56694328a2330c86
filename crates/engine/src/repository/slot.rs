//! How the slot that opened a repository stands to its log.
//!
//! *Invariant*: a slot that a record took out of force opens nothing. One that no record names opens for reading only: either
//! what made it did not get to its end, or the record that put it in force is lost, and then it may be the only way left to
//! what is there. It says nothing new to anybody: who opens such a slot has the keyring key.

use super::plain::fold_plain;
use super::{Appended, NewRecord, Repository, Verdict, unlock};
use crate::environment::Credentials;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{SlotId, slot_key};
use decube_backup_format::keyslot::KeySlot;
use decube_backup_format::log::{AddedObject, ObjectName, Payload, SlotChange};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// What the log says of a slot.
enum Standing {
    InForce,
    Removed,
    Unknown,
}

impl Repository {
    /// Finds a slot in force if the one that opened is not: a crash between object and record leaves a slot object
    /// that counts for little, and the same password may open a sound one too.
    pub(super) fn settle_slot(&mut self, credentials: &Credentials) -> Result<()> {
        let state = self.state();
        let in_force = |slot: &SlotId| state.has_slot(slot);
        if !in_force(&self.slot)
            && let Ok(unlocked) =
                unlock::unlock(&self.store, &self.id(), credentials, &in_force).and_then(unlock::Way::everything)
        {
            (self.slot, self.keyring_key, self.kek) = (unlocked.slot, unlocked.keyring_key, unlocked.kek);
            self.hold_keyring(unlocked.keyring.value);
        }
        match self.standing() {
            Standing::InForce => {}
            Standing::Removed => return Err(self.removed()),
            Standing::Unknown if self.was_removed()? => return Err(self.removed()),
            // A log with holes is not written to either.
            Standing::Unknown if !self.damaged_records().is_empty() => {}
            Standing::Unknown => {
                tracing::error!(slot = %self.slot, "no record of the log names this key: what made it did not get to its end, or \
                                                    records are lost; this repository is only read with it");
                self.unrecorded.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Refuses a slot that the log does not list.
    pub(super) fn check_slot_in_force(&self) -> Result<()> {
        if self.state().has_slot(&self.slot) { Ok(()) } else { Err(self.removed()) }
    }

    fn standing(&self) -> Standing {
        let state = self.state();
        match state.has_slot(&self.slot) {
            true => Standing::InForce,
            false if state.is_retired(&ObjectName::KeySlot(self.slot)) => Standing::Removed,
            false => Standing::Unknown,
        }
    }

    /// Whether the slot is a copy, under another name, of one that was taken out of force.
    fn was_removed(&self) -> Result<bool> {
        let bytes = self.store.get_existing(&slot_key(&self.slot.to_hex())?)?;
        let (hash, now) = (*blake3::hash(&bytes).as_bytes(), self.state());
        let mut removed = false;
        let broken = fold_plain(&self.store, &mut State::new(self.id()), &mut |envelope| {
            let slots = envelope.added.iter().filter(|added| matches!(added.name, ObjectName::KeySlot(_)));
            removed |= slots.filter(|added| added.hash == hash).any(|added| now.is_retired(&added.name));
            Ok(if removed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if let Some(why) = broken {
            tracing::debug!(error = %why.chain(), "who added the slot cannot be told of records behind a damaged one");
        }
        Ok(removed)
    }

    fn removed(&self) -> Error {
        Error::new(ErrorKind::WrongKey, "open", "this key was removed from the repository")
            .with("slot", self.slot)
            .with_hint("open the repository with another key; `decube-backup key list` shows those in force")
    }

    /// Why nothing is written with a slot that no record names; `None` if one does.
    pub(super) fn unrecorded_slot(&self) -> Option<Error> {
        self.is_unrecorded().then(|| {
            Error::new(ErrorKind::Diverged, "append", "no record of the log names the key that opened this repository")
                .with("slot", self.slot)
                .with_hint(
                    "nothing was changed, and restoring works; open it with another key. If there is none, the record that \
                     put this one in force is lost: put `log/` back from a replica, or let `decube-backup audit --accept` put \
                     it in force and go on with the log as it is",
                )
        })
    }

    /// Whether no record names the slot that opened the repository.
    pub(super) fn is_unrecorded(&self) -> bool {
        self.unrecorded.load(Ordering::Relaxed)
    }

    /// Says so for people.
    pub(crate) fn unrecorded_text(&self) -> Option<String> {
        let text = "it opened this repository, and no record names it: records that are lost put it in force, or what made it did \
                    not get to its end";
        self.is_unrecorded().then(|| text.to_owned())
    }

    /// Puts the slot that opened this repository in force if no record has; its keyring as well.
    ///
    /// # Errors
    /// What reading and storing yield.
    pub(super) fn record_own_slot(&self) -> Result<bool> {
        if !self.unrecorded.swap(false, Ordering::Relaxed) {
            return Ok(false);
        }
        let recorded = self.append_own_slot();
        self.unrecorded.store(recorded.is_err(), Ordering::Relaxed);
        recorded.map(|()| true)
    }

    fn append_own_slot(&self) -> Result<()> {
        let bytes = self.store.get_existing(&slot_key(&self.slot.to_hex())?)?;
        let mut added = vec![AddedObject::of(ObjectName::KeySlot(self.slot), &bytes)];
        let (generation, current) = (self.held_keyring()?.generation, self.state().keyring_current());
        let mut reclaimed = Vec::new();
        let payload = if generation == current {
            Payload::KeySlot(SlotChange::Added { slot: self.slot, label: KeySlot::decode(&bytes)?.label })
        } else {
            for name in [ObjectName::Keyring(generation), ObjectName::KeyringCopy(generation)] {
                added.extend(self.store.get(&name.key()?)?.map(|bytes| AddedObject::of(name, &bytes)));
            }
            reclaimed = self.ended_by_lost(generation)?;
            Payload::Keyring { generation }
        };
        let record = NewRecord { payload, added, reclaimed, stamp: self.stamp("", "") };
        let mut unchanged =
            |state: &State| Ok(Verdict::of(state.keyring_current() == current && !state.has_slot(&self.slot)));
        match self.append(record, &mut unchanged)? {
            Appended::At(_) => Ok(()),
            Appended::Void => {
                Err(Error::new(ErrorKind::Contended, "audit", "keys were changed by somebody else meanwhile")
                    .with_hint("nothing was changed by this command; run it again"))
            }
        }
    }

    /// What the lost record that made the keyring `generation` took out of force, as far as that shows: keyrings before it
    /// that are gone with their copies, and then the slots that are gone, which led to them. The keyring holds all their keys.
    fn ended_by_lost(&self, generation: u32) -> Result<Vec<ObjectName>> {
        let state = self.state();
        let is_gone = |name: &ObjectName| Ok::<_, Error>(self.store.stat(&name.key()?)?.is_none());
        let (mut keyrings, mut slots) = (Vec::new(), Vec::new());
        for (name, _) in state.objects() {
            match name {
                ObjectName::Keyring(older) if older < generation => {
                    let twice = [name, ObjectName::KeyringCopy(older)];
                    if is_gone(&twice[0])? && is_gone(&twice[1])? {
                        keyrings.extend(twice);
                    }
                }
                ObjectName::KeySlot(_) if is_gone(&name)? => slots.push(name),
                _ => {}
            }
        }
        if !keyrings.is_empty() {
            keyrings.append(&mut slots);
        }
        Ok(keyrings)
    }
}
