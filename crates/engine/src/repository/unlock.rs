//! From a password, key file, recovery sheet or private key to a keyring.
//!
//! Which generation counts only the log says, and the log opens under a key that every generation holds: so any one
//! generation is a way in.

use super::copies::{self, Found};
use super::no_log;
use super::plain::{fold_plain, goes_on_behind};
use crate::environment::Credentials;
use crate::store::{Store, is_unreadable};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::hash::Key32;
use decube_backup_format::host::HostRing;
use decube_backup_format::ids::{RepositoryId, SlotId, slot_key};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::keyslot::{KDF_DEFAULT, KeySlot, OpenedSlot, SlotKdf, SlotScope, SlotSecret};
use decube_backup_format::log::ObjectName;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub(super) struct Unlocked {
    pub keyring: Found<Keyring>,
    pub keyring_key: Key32,
    /// Of that slot.
    pub kek: Key32,
    pub slot: SlotId,
}

/// What a secret turned out to open.
pub(super) enum Way {
    /// Everything.
    Everything(Box<Unlocked>),
    /// A write-only key.
    Host(Box<HostRing>, SlotId),
}

impl Way {
    /// Everything, or nothing.
    ///
    /// # Errors
    /// `WrongKey` for a write-only key.
    pub(super) fn everything(self) -> Result<Unlocked> {
        match self {
            Self::Everything(unlocked) => Ok(*unlocked),
            Self::Host(..) => Err(write_only()),
        }
    }
}

/// Said of a write-only key where something has to be read.
pub(crate) fn write_only() -> Error {
    Error::new(ErrorKind::WrongKey, "open", "this key is write-only: it adds snapshots, and cannot read or change any")
        .with_hint("`decube-backup backup` works with it; for everything else open the repository with another key")
}

impl Credentials {
    /// As the format takes it for a new slot.
    ///
    /// # Errors
    /// `Invalid` for private keys: a slot for them takes the public key.
    pub(crate) fn secret(&self) -> Result<SlotSecret<'_>> {
        match self {
            Self::Password(password) => Ok(SlotSecret::Password(password.expose().as_bytes())),
            Self::KeyFile(file) => Ok(SlotSecret::KeyFile(file)),
            Self::Recovery(key) => Ok(SlotSecret::Recovery(key)),
            Self::Identities(_) => Err(Error::new(ErrorKind::Invalid, "key", "a new key cannot be a private key")
                .with_hint("open or create the repository with a password or key file; add the public key with `key add --recipient`")),
        }
    }

    /// Whether `slot` is of the kind that such a secret opens.
    fn fits(&self, slot: &KeySlot) -> bool {
        matches!(
            (self, &slot.kdf),
            (Self::Password(_), SlotKdf::Argon2id { .. })
                | (Self::KeyFile(_), SlotKdf::KeyFile { .. })
                | (Self::Recovery(_), SlotKdf::Recovery { .. })
                | (Self::Identities(_), SlotKdf::Recipient { .. })
        )
    }

    /// What `slot` wraps, `None` if it is of another kind or another secret's.
    fn open(&self, slot: &KeySlot, repository: &RepositoryId) -> Result<Option<OpenedSlot>> {
        let opened = match (self, &slot.kdf) {
            (Self::Password(password), SlotKdf::Argon2id { .. }) => {
                slot.open(SlotSecret::Password(password.expose().as_bytes()), repository)
            }
            (Self::KeyFile(file), SlotKdf::KeyFile { .. }) => slot.open(SlotSecret::KeyFile(file), repository),
            (Self::Recovery(key), SlotKdf::Recovery { .. }) => slot.open(SlotSecret::Recovery(key), repository),
            (Self::Identities(identities), SlotKdf::Recipient { envelope, .. }) => {
                let Some(secret) = identities.take_out(envelope)? else { return Ok(None) };
                slot.open(SlotSecret::Enveloped(&secret), repository)
            }
            _ => return Ok(None),
        };
        unless_wrong(opened)
    }

    /// What the write-only `slot` holds, `None` if it is of another kind or another secret's.
    fn open_ring(&self, slot: &KeySlot, repository: &RepositoryId) -> Result<Option<HostRing>> {
        let opened = match (self, &slot.kdf) {
            (Self::Password(password), SlotKdf::Argon2id { .. }) => {
                slot.open_ring(SlotSecret::Password(password.expose().as_bytes()), repository)
            }
            (Self::KeyFile(file), SlotKdf::KeyFile { .. }) => slot.open_ring(SlotSecret::KeyFile(file), repository),
            _ => return Ok(None),
        };
        unless_wrong(opened)
    }
}

fn unless_wrong<T>(opened: Result<T>) -> Result<Option<T>> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == ErrorKind::WrongKey => Ok(None),
        Err(error) => Err(error),
    }
}

/// What `slot` leads to, if it is there and `credentials` open it. Asked before all slots are listed: whatever is wrong,
/// [`unlock`] says what.
pub(super) fn unlock_by(
    store: &Store,
    repository: &RepositoryId,
    credentials: &Credentials,
    slot: SlotId,
) -> Option<Way> {
    let bytes = store.get(&slot_key(&slot.to_hex()).ok()?).ok()??;
    let OpenedSlot { keyring_key, kek } = credentials.open(&KeySlot::decode(&bytes).ok()?, repository).ok()??;
    let keyring = any_keyring(store, repository, &keyring_key).ok()?;
    Some(Way::Everything(Box::new(Unlocked { keyring, keyring_key, kek, slot })))
}

/// What the slots said that did not open.
#[derive(Default)]
struct Refusals {
    /// Slots there are.
    slots: u64,
    /// Sound ones of the kind of the secret that it does not open.
    wrong: u64,
    /// Those that cannot be read.
    damaged: Vec<(SlotId, Error)>,
    /// Those that were not tried, as the log does not name them.
    passed_over: usize,
    /// Of one that opened, why no keyring did.
    keyring: Option<Error>,
    /// One that opened, and that leads to no keyring there is.
    stray: Option<SlotId>,
}

impl Refusals {
    /// The error that says most. A secret that sound slots of its kind refuse is taken for a wrong one, though it may be
    /// the right one of a slot that is damaged: then that is said as well.
    fn told(self, store: &Store) -> Result<Error> {
        let wrong = |message| Error::new(ErrorKind::WrongKey, "open", message);
        let Self { slots, wrong: refused, damaged, passed_over, keyring, stray } = self;
        if slots == 0 {
            return no_log::no_slots(store);
        }
        if let Some(error) = keyring {
            return Ok(hinted(error));
        }
        if let Some(slot) = stray {
            return Ok(wrong("this opens a key slot that is not of this repository's keyring: an init or `key add` that failed left it")
                .with("slot", slot)
                .with_hint("use the password or key file that the repository was made with, or one that was added since"));
        }
        let names: Vec<String> = damaged.iter().map(|(slot, _)| slot.to_string()).collect();
        match damaged.into_iter().next() {
            Some((slot, error)) if refused == 0 && passed_over == 0 => Ok(hinted(error.with("slot", slot))),
            damaged => {
                let error = wrong("no key slot opens with this password or key").with("slots_tried", refused);
                let error = if passed_over == 0 { error } else { error.with("slots_not_of_this_log", passed_over) };
                Ok(match damaged {
                    Some(_) => error.with("slots_damaged", names.join(", ")).with_hint(
                        "check the password source; if it is right, its slot is a damaged or unreadable one: open with another key, or \
                         put the slot back from a replica of this repository",
                    ),
                    None => error.with_hint(
                        "check the password source; if it opened before, its slot was removed or lost: `decube-backup key list` \
                         shows the slots, and `verify` a lost one, to who can open another",
                    ),
                })
            }
        }
    }
}

fn hinted(damage: Error) -> Error {
    if damage.hint().is_some() {
        return damage;
    }
    if damage.kind() == ErrorKind::PermissionDenied {
        return damage.with_hint(
            "give this user access to the repository's files, all of `keys/` among them, or try another key",
        );
    }
    damage.with_hint(
        "a key slot, or the keyring with its copy, is damaged; try another password or key file, or put them back from a \
         replica of this repository",
    )
}

/// Slots of at most the default cost that a password is tried on before the log is asked which slots are its own: under two
/// seconds of work.
const UNASKED_MAX: usize = 64;

/// Tries `credentials` on the slots of their kind that `eligible` accepts.
///
/// Who may write stores slots of any cost and number without knowing a secret. So a password is tried on no more than
/// [`UNASKED_MAX`] slots, and on none that costs more than a new one, but on those that a record of the log names as added.
/// Only if the log is not whole are the others tried too, when all else failed.
///
/// # Errors
/// `WrongKey` if none opens, `Corrupt` or `Io` if the keyring or all slots of that kind are damaged or all slots are gone, `NotFound` if
/// an init did not get as far as a slot.
pub(super) fn unlock(
    store: &Store,
    repository: &RepositoryId,
    credentials: &Credentials,
    eligible: &dyn Fn(&SlotId) -> bool,
) -> Result<Way> {
    let mut trial = Trial { store, repository, credentials, refusals: Refusals::default(), host: None };
    let (mut unasked, mut doubtful) = (0, Vec::new());
    for object in store.list("keys/")? {
        let Some(id) = object.key.as_str().strip_prefix("keys/").and_then(|n| SlotId::from_hex(n).ok()) else {
            continue;
        };
        trial.refusals.slots += 1;
        if !eligible(&id) {
            continue;
        }
        let read = store.get(&object.key).and_then(|bytes| {
            let Some(bytes) = bytes else { return Ok(None) };
            Ok(Some((KeySlot::decode(&bytes)?, *blake3::hash(&bytes).as_bytes())))
        });
        let (slot, hash) = match read {
            Ok(Some(slot)) => slot,
            Ok(None) => continue,
            // What another user added may not be readable for this one.
            Err(error) if is_unreadable(&error) || error.kind() == ErrorKind::PermissionDenied => {
                trial.refusals.damaged.push((id, error));
                continue;
            }
            Err(error) => return Err(error),
        };
        if !credentials.fits(&slot) {
            continue;
        }
        if let SlotKdf::Argon2id { cost, .. } = slot.kdf {
            if unasked == UNASKED_MAX || !cost.is_within(KDF_DEFAULT) {
                doubtful.push(Doubtful { id, slot, hash, work: cost.work() });
                continue;
            }
            unasked += 1;
        }
        if let Some(unlocked) = trial.open(id, &slot)? {
            return Ok(unlocked);
        }
    }
    let opened = match trial.host.take() {
        None if !doubtful.is_empty() => trial.open_doubtful(doubtful)?,
        host => host,
    };
    opened.map_or_else(|| Err(trial.refusals.told(store)?), Ok)
}

/// A slot that a password is not tried on but if the log names it.
struct Doubtful {
    id: SlotId,
    slot: KeySlot,
    /// BLAKE3 of its object.
    hash: [u8; 32],
    /// As [`decube_backup_format::keyslot::KdfCost::work`].
    work: u64,
}

/// Credentials being tried on one slot after the other.
struct Trial<'a> {
    store: &'a Store,
    repository: &'a RepositoryId,
    credentials: &'a Credentials,
    refusals: Refusals,
    /// What a write-only slot opened to: a slot that opens everything goes before.
    host: Option<Way>,
}

impl Trial<'_> {
    /// Everything, if `slot` opens to that.
    fn open(&mut self, id: SlotId, slot: &KeySlot) -> Result<Option<Way>> {
        let Self { store, repository, credentials, refusals, host } = self;
        if slot.scope == SlotScope::WriteOnly {
            match credentials.open_ring(slot, repository) {
                Ok(Some(ring)) => *host = Some(Way::Host(Box::new(ring), id)),
                Ok(None) => refusals.wrong += 1,
                Err(error) => refusals.damaged.push((id, error)),
            }
            return Ok(None);
        }
        match credentials.open(slot, repository) {
            Ok(Some(OpenedSlot { keyring_key, kek })) => match any_keyring(store, repository, &keyring_key) {
                Ok(keyring) => {
                    return Ok(Some(Way::Everything(Box::new(Unlocked { keyring, keyring_key, kek, slot: id }))));
                }
                Err(_) if copies::keyrings_are_anothers(store, &keyring_key)? => refusals.stray = Some(id),
                Err(error) => refusals.keyring = Some(error),
            },
            Ok(None) => refusals.wrong += 1,
            Err(error) => refusals.damaged.push((id, error)),
        }
        Ok(None)
    }

    /// Whatever the first of `slots` opens to that the log names, in the order of its records; the others are tried, cheapest
    /// first, only if the log cannot tell that they are none of its own.
    fn open_doubtful(&mut self, slots: Vec<Doubtful>) -> Result<Option<Way>> {
        let mut left: BTreeMap<SlotId, Doubtful> = slots.into_iter().map(|slot| (slot.id, slot)).collect();
        let (store, mut state, mut opened) = (self.store, State::new(*self.repository), None);
        let broken = fold_plain(store, &mut state, &mut |envelope| {
            for added in &envelope.added {
                let ObjectName::KeySlot(id) = added.name else { continue };
                if left.get(&id).is_some_and(|slot| slot.hash == added.hash)
                    && let Some(slot) = left.remove(&id)
                {
                    opened = self.open(id, &slot.slot)?.or(self.host.take());
                }
                if opened.is_some() || left.is_empty() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if opened.is_some() || left.is_empty() {
            return Ok(opened);
        }
        if broken.is_none() && state.next_seq() > 0 && !goes_on_behind(store, &state)? {
            tracing::warn!(
                slots = left.len(),
                "key slots that no record of the log names were not tried: it would take long"
            );
            self.refusals.passed_over = left.len();
            return Ok(None);
        }
        let mut left: Vec<Doubtful> = left.into_values().collect();
        left.sort_by_key(|slot| slot.work);
        for Doubtful { id, slot, .. } in left {
            if let Some(way) = self.open(id, &slot)?.or(self.host.take()) {
                return Ok(Some(way));
            }
        }
        Ok(None)
    }
}

/// Where every repository starts, or after a revocation the generation that the key belongs to.
fn any_keyring(store: &Store, repository: &RepositoryId, key: &Key32) -> Result<Found<Keyring>> {
    copies::keyring(store, repository, key, 0, None).or_else(|first| match is_unreadable(&first) {
        true => copies::newest_keyring(store, repository, key)?.ok_or(first),
        false => Err(first),
    })
}
