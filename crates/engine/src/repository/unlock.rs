//! From a password, key file, recovery sheet or private key to a keyring.
//!
//! Which generation counts only the log says, and the log opens under a key that every generation holds: so any one
//! generation is a way in.

use super::copies::{self, Found};
use super::no_log;
use crate::environment::Credentials;
use crate::store::Store;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Key32;
use decube_backup_format::host::HostRing;
use decube_backup_format::ids::{RepositoryId, SlotId, slot_key};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::keyslot::{KeySlot, OpenedSlot, SlotKdf, SlotScope, SlotSecret};

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

/// Tries `credentials` on every slot of their kind that `eligible` accepts.
///
/// # Errors
/// `WrongKey` if none opens, `Corrupt` if one is damaged or all are gone, `NotFound` if an init did not get as far as a slot.
pub(super) fn unlock(
    store: &Store,
    repository: &RepositoryId,
    credentials: &Credentials,
    eligible: &dyn Fn(&SlotId) -> bool,
) -> Result<Way> {
    let (mut damaged, mut host) = (None, None);
    let (mut slots, mut tried) = (0, 0);
    for object in store.list("keys/")? {
        let Some(slot_id) = object.key.as_str().strip_prefix("keys/").and_then(|n| SlotId::from_hex(n).ok()) else {
            continue;
        };
        slots += 1;
        if !eligible(&slot_id) {
            continue;
        }
        let Some(bytes) = store.get(&object.key)? else { continue };
        tried += 1;
        let slot = match KeySlot::decode(&bytes) {
            Ok(slot) => slot,
            Err(error) => {
                damaged = Some(error.with("slot", slot_id));
                continue;
            }
        };
        if slot.scope == SlotScope::WriteOnly {
            match credentials.open_ring(&slot, repository) {
                // A slot that opens everything goes before.
                Ok(Some(ring)) => host = Some(Way::Host(Box::new(ring), slot_id)),
                Ok(None) => {}
                Err(error) => damaged = Some(error.with("slot", slot_id)),
            }
            continue;
        }
        match credentials.open(&slot, repository) {
            Ok(Some(OpenedSlot { keyring_key, kek })) => match any_keyring(store, repository, &keyring_key) {
                Ok(keyring) => {
                    return Ok(Way::Everything(Box::new(Unlocked { keyring, keyring_key, kek, slot: slot_id })));
                }
                Err(error) => damaged = Some(error),
            },
            Ok(None) => {}
            Err(error) => damaged = Some(error.with("slot", slot_id)),
        }
    }
    if let Some(host) = host {
        return Ok(host);
    }
    match damaged {
        Some(error) if error.hint().is_some() => Err(error),
        Some(error) => Err(error.with_hint(
            "a key slot, or the keyring with its copy, is damaged; try another password or key file, \
             or put them back from a replica of this repository",
        )),
        None if slots == 0 => Err(no_log::no_slots(store)?),
        None => Err(Error::new(ErrorKind::WrongKey, "open", "no key slot opens with this password or key")
            .with("slots_tried", tried)
            .with_hint("check the password source; `decube-backup key list` shows the slots to who can open one")),
    }
}

/// Where every repository starts, or after a revocation the generation that the key belongs to.
fn any_keyring(store: &Store, repository: &RepositoryId, key: &Key32) -> Result<Found<Keyring>> {
    copies::keyring(store, repository, key, 0, None).or_else(|first| match first.kind() {
        ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Io => {
            copies::newest_keyring(store, repository, key)?.ok_or(first)
        }
        _ => Err(first),
    })
}
