//! From a password or key file to the keyring.

use super::copies::{self, Found};
use crate::environment::Credentials;
use crate::store::Store;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Key32;
use decube_backup_format::ids::{RepositoryId, SlotId};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::keyslot::{KeySlot, SlotKdf, SlotSecret};

pub(super) struct Unlocked {
    pub keyring: Found<Keyring>,
    pub keyring_key: Key32,
    pub slot: SlotId,
}

impl Credentials {
    /// As the format takes it.
    pub(crate) fn secret(&self) -> SlotSecret<'_> {
        match self {
            Self::Password(password) => SlotSecret::Password(password.expose().as_bytes()),
            Self::KeyFile(file) => SlotSecret::KeyFile(file),
        }
    }

    fn fits(&self, kdf: &SlotKdf) -> bool {
        matches!(
            (self, kdf),
            (Self::Password(_), SlotKdf::Argon2id { .. }) | (Self::KeyFile(_), SlotKdf::KeyFile { .. })
        )
    }
}

/// Tries `credentials` on every slot of their kind that `eligible` accepts.
pub(super) fn unlock(
    store: &Store,
    repository: &RepositoryId,
    credentials: &Credentials,
    eligible: &dyn Fn(&SlotId) -> bool,
) -> Result<Unlocked> {
    let mut damaged = None;
    let mut tried = 0;
    for object in store.list("keys/")? {
        let Some(slot_id) = object.key.as_str().strip_prefix("keys/").and_then(|n| SlotId::from_hex(n).ok()) else {
            continue;
        };
        if !eligible(&slot_id) {
            continue;
        }
        let Some(bytes) = store.get(&object.key)? else { continue };
        let opened = KeySlot::decode(&bytes).and_then(|slot| {
            if !credentials.fits(&slot.kdf) {
                return Ok(None);
            }
            tried += 1;
            match slot.open(credentials.secret(), repository) {
                Ok(key) => Ok(Some(key)),
                Err(error) if error.kind() == ErrorKind::WrongKey => Ok(None),
                Err(error) => Err(error),
            }
        });
        match opened {
            Ok(Some(key)) => match copies::keyring(store, repository, &key) {
                Ok(keyring) => return Ok(Unlocked { keyring, keyring_key: key, slot: slot_id }),
                Err(error) => damaged = Some(error),
            },
            Ok(None) => {}
            Err(error) => damaged = Some(error.with("slot", slot_id)),
        }
    }
    match damaged {
        Some(error) if error.hint().is_some() => Err(error),
        Some(error) => Err(error.with_hint(
            "a key slot, or the keyring with its copy, is damaged; try another password or key file, \
             or put them back from a replica of this repository",
        )),
        None => Err(Error::new(ErrorKind::WrongKey, "open", "no key slot opens with this password or key file")
            .with("slots_tried", tried)
            .with_hint("check the password source; `decube-backup key list` shows the slots to who can open one")),
    }
}
