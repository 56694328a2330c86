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
        let Self { slots, wrong: refused, damaged, keyring, stray } = self;
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
            Some((slot, error)) if refused == 0 => Ok(hinted(error.with("slot", slot))),
            damaged => {
                let error = wrong("no key slot opens with this password or key").with("slots_tried", refused);
                Ok(match damaged {
                    Some(_) => error.with("slots_damaged", names.join(", ")).with_hint(
                        "check the password source; if it is right, its slot is a damaged one: open with another key, or \
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
    damage.with_hint(
        "a key slot, or the keyring with its copy, is damaged; try another password or key file, or put them back from a \
         replica of this repository",
    )
}

/// Tries `credentials` on every slot of their kind that `eligible` accepts.
///
/// # Errors
/// `WrongKey` if none opens, `Corrupt` if the keyring or all slots of that kind are damaged or all slots are gone, `NotFound` if
/// an init did not get as far as a slot.
pub(super) fn unlock(
    store: &Store,
    repository: &RepositoryId,
    credentials: &Credentials,
    eligible: &dyn Fn(&SlotId) -> bool,
) -> Result<Way> {
    let (mut refusals, mut host) = (Refusals::default(), None);
    for object in store.list("keys/")? {
        let Some(id) = object.key.as_str().strip_prefix("keys/").and_then(|n| SlotId::from_hex(n).ok()) else {
            continue;
        };
        refusals.slots += 1;
        if !eligible(&id) {
            continue;
        }
        let Some(bytes) = store.get(&object.key)? else { continue };
        let slot = match KeySlot::decode(&bytes) {
            Ok(slot) => slot,
            Err(error) => {
                refusals.damaged.push((id, error));
                continue;
            }
        };
        let opened = if slot.scope == SlotScope::WriteOnly {
            // A slot that opens everything goes before.
            let ring = credentials.open_ring(&slot, repository);
            ring.map(|ring| ring.map(|ring| host = Some(Way::Host(Box::new(ring), id))).map(|()| None))
        } else {
            credentials.open(&slot, repository).map(|opened| opened.map(Some))
        };
        match opened {
            Ok(Some(None)) => {}
            Ok(Some(Some(OpenedSlot { keyring_key, kek }))) => match any_keyring(store, repository, &keyring_key) {
                Ok(keyring) => {
                    return Ok(Way::Everything(Box::new(Unlocked { keyring, keyring_key, kek, slot: id })));
                }
                Err(_) if copies::keyrings_are_anothers(store, &keyring_key)? => refusals.stray = Some(id),
                Err(error) => refusals.keyring = Some(error),
            },
            Ok(None) => refusals.wrong += u64::from(credentials.fits(&slot)),
            Err(error) => refusals.damaged.push((id, error)),
        }
    }
    host.map_or_else(|| Err(refusals.told(store)?), Ok)
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
