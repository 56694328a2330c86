//! Taking a key away from who may have kept what it opened: a new keyring key.
//!
//! Whoever opened the repository once may have kept the keyring key, which every slot wraps. So a revocation makes a new
//! one, seals a further keyring generation under it, and wraps it anew: for the slot in use, whose KEK is at hand, and
//! for public keys, which need no secret. Passwords, key files and recovery sheets other than the one in use are not
//! known; those slots end, and their owners add them again.
//!
//! One record does all of it: it adds the keyring and the slots and takes the old ones out of force. A crash before it
//! leaves unused objects; a crash after it, objects that nothing opens and the next change of keys deletes.

use super::rotate::{Next, current, store_next};
use super::slots::{Found, info, read, told};
use super::{Recipient, Undeleted, removal};
use crate::options::KeySlotInfo;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use decube_backup_core::{Error, ErrorKind, PutMode, Result};
use decube_backup_format::hash::Key32;
use decube_backup_format::header::Access;
use decube_backup_format::ids::{SlotId, slot_key};
use decube_backup_format::keyslot::{KeySlot, SlotKdf, random_slot_id};
use decube_backup_format::log::{AddedObject, ObjectName, Payload};
use std::collections::BTreeSet;

/// What becomes of slots whose secret is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// The revocation is refused if there are any.
    Refuse,
    /// They end too.
    Drop,
}

/// What a revocation does, or would do.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// The slot to be revoked.
    pub revoked: KeySlotInfo,
    /// Slots that go on, under new names once it is done.
    pub kept: Vec<KeySlotInfo>,
    /// Slots that end because their secret is not known here.
    pub dropped: Vec<KeySlotInfo>,
    /// The keyring generation in force afterwards; `None` for a plan.
    pub generation: Option<u32>,
    /// What is out of force and could not be deleted.
    pub undeleted: Vec<Undeleted>,
}

impl Revocation {
    /// A plan in which one slot ends, and nothing else changes.
    pub fn of_one(revoked: KeySlotInfo) -> Self {
        Self { revoked, kept: Vec::new(), dropped: Vec::new(), generation: None, undeleted: Vec::new() }
    }
}

struct Plan {
    revoked: KeySlotInfo,
    kept: Vec<(SlotId, KeySlot)>,
    dropped: Vec<KeySlotInfo>,
    all: BTreeSet<SlotId>,
}

/// What [`revoke`] would do.
///
/// # Errors
/// As [`revoke`], but for the refusal.
pub fn plan_revocation(repo: &Repository, slot: &str) -> Result<Revocation> {
    let plan = plan(repo, slot)?;
    let kept = plan.kept.iter().map(|(id, slot)| info(repo, *id, slot)).collect();
    Ok(Revocation { revoked: plan.revoked, kept, dropped: plan.dropped, generation: None, undeleted: Vec::new() })
}

fn plan(repo: &Repository, slot: &str) -> Result<Plan> {
    repo.check_reader(Access::Write)?;
    current(repo)?;
    let target = removal::slot_named(repo, slot)?;
    if target == repo.slot {
        return Err(Error::new(ErrorKind::Invalid, "key", "this command was opened with the key to be revoked")
            .with("slot", target)
            .with_hint("open the repository with another key; if there is none, add one first"));
    }
    let (mut revoked, mut kept, mut dropped, mut all) = (None, Vec::new(), Vec::new(), BTreeSet::new());
    let slots: Vec<_> = repo.state().slots().map(|(id, recorded)| (id, *recorded)).collect();
    for (id, recorded) in slots {
        let found = read(repo, id, &recorded)?;
        all.insert(id);
        match found {
            _ if id == target => revoked = Some(told(repo, id, &found)),
            Found::Whole(slot) if id == repo.slot || matches!(slot.kdf, SlotKdf::Recipient { .. }) => {
                kept.push((id, *slot));
            }
            // What a damaged one wrapped for whom cannot be told.
            _ => dropped.push(told(repo, id, &found)),
        }
    }
    if !kept.iter().any(|(id, _)| *id == repo.slot) {
        return Err(Error::new(ErrorKind::Corrupt, "key", "the key this command was opened with is damaged by now")
            .with("slot", repo.slot)
            .with_hint("add another key, open the repository with that one, and try again"));
    }
    let revoked = revoked.ok_or_else(|| Error::new(ErrorKind::NotFound, "key", "no such key slot"))?;
    Ok(Plan { revoked, kept, dropped, all })
}

/// Takes a slot out of force and makes a new keyring key and new pack keys: what is stored from now on cannot be read
/// with anything that slot ever opened.
///
/// What was stored before can still be read by who kept its keys *and* still reads the store; and the keys of records,
/// index and ids never change, so who kept those can still read the names and sizes in the log.
///
/// # Errors
/// `NotFound`; `Invalid` for the slot in use, an ambiguous name, or slots that would end with [`Others::Refuse`];
/// `Contended` if slots or keys changed meanwhile; what storing yields.
pub fn revoke(repo: &mut Repository, slot: &str, others: Others) -> Result<Revocation> {
    let plan = plan(repo, slot)?;
    if others == Others::Refuse && !plan.dropped.is_empty() {
        let names: Vec<String> =
            plan.dropped.iter().map(|s| format!("{} ({}, \"{}\")", s.slot, s.kind, s.label)).collect();
        return Err(Error::new(
            ErrorKind::Invalid,
            "key",
            "other keys would end too, because their secrets are not known here",
        )
        .with("keys", names.join(", "))
        .with_hint("nothing was changed; give --drop-others, and add those keys again afterwards"));
    }
    let held = current(repo)?;
    let entropy = repo.env.entropy.clone();
    let mut keyring_key = Key32::default();
    entropy.fill(&mut keyring_key.0)?;
    // Whoever kept the keyring could read what hosts seal to its reading key.
    let next = if held.reading_keys.is_empty() { Next::PackKeys } else { Next::ReadingKey };
    let stored = store_next(repo, &held, &keyring_key, next)?;
    let (mut added, mut own, mut kept) = (stored.objects.to_vec(), None, Vec::new());
    for (old, slot) in &plan.kept {
        let id = random_slot_id(entropy.as_ref())?;
        let (slot, kek) = match &slot.kdf {
            _ if *old == repo.slot => (slot.rewrap(&repo.kek, &keyring_key, entropy.as_ref())?, repo.kek.clone()),
            SlotKdf::Recipient { envelope, .. } => {
                let (envelope, secret) = Recipient::parse(&envelope.recipient)?.enclose(entropy.as_ref())?;
                let (label, created) = (&slot.label, slot.created);
                KeySlot::seal_in(repo.id(), envelope, &secret, label, created, &keyring_key, entropy.as_ref())?
            }
            _ => continue,
        };
        let bytes = slot.encode();
        added.push(AddedObject::of(ObjectName::KeySlot(id), &bytes));
        repo.store.put(&slot_key(&id.to_hex())?, bytes, PutMode::CreateNew)?;
        if *old == repo.slot {
            own = Some((id, kek));
        }
        kept.push((id, slot));
    }
    let (own, kek) = own.ok_or_else(|| Error::new(ErrorKind::Internal, "key", "the key in use is not in force"))?;
    let generation = stored.keyring.generation;
    let superseded = superseded(repo, &plan.all);
    let record = NewRecord {
        payload: Payload::Keyring { generation },
        added,
        reclaimed: superseded.clone(),
        stamp: repo.stamp("", ""),
    };
    let appended = repo.append(record, &mut |state| {
        let slots: BTreeSet<SlotId> = state.slots().map(|(id, _)| id).collect();
        Ok(Verdict::of(state.keyring_current() == held.generation && slots == plan.all))
    })?;
    if appended == Appended::Void {
        return Err(Error::new(ErrorKind::Contended, "key", "keys were changed by somebody else at the same moment")
            .with_hint("nothing was changed by this command; run it again"));
    }
    (repo.slot, repo.kek, repo.keyring_key) = (own, kek, keyring_key);
    repo.hold_keyring(stored.keyring);
    let undeleted = removal::delete_retired(repo, &superseded);
    let kept = kept.iter().map(|(id, slot)| info(repo, *id, slot)).collect();
    Ok(Revocation { revoked: plan.revoked, kept, dropped: plan.dropped, generation: Some(generation), undeleted })
}

/// Every slot and keyring in force until now.
fn superseded(repo: &Repository, slots: &BTreeSet<SlotId>) -> Vec<ObjectName> {
    let keys = |name: &ObjectName| matches!(name, ObjectName::Keyring(_) | ObjectName::KeyringCopy(_));
    let state = repo.state();
    let keyrings = state.objects().map(|(name, _)| name).filter(keys);
    slots.iter().map(|id| ObjectName::KeySlot(*id)).chain(keyrings).collect()
}
