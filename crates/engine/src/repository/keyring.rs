//! The keyring in use, and how a handle follows when another generation is recorded.
//!
//! *Invariant*: new packs are sealed under a keyring that the log names, and whoever reads a pack that the log names
//! can find its key. A generation holds every pack key of the one before, and the secrets that never change; so any
//! later one reads all that an earlier one reads, and following may wait until it is needed.

use super::Repository;
use super::copies::{self, Found};
use super::unlock::write_only;
use crate::options::Damage;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Key32;
use decube_backup_format::ids::{PackKind, slot_key};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::pack::PackHeader;
use decube_backup_format::reading::{RunKeys, RunTag, SealedToReader};
use decube_backup_format::sealed;
use std::sync::{Arc, PoisonError};

impl Repository {
    /// The keyring to seal with: of the generation that the records folded so far name.
    ///
    /// If that one cannot be read now, it is the one held: packs under its keys stay readable for everyone.
    ///
    /// # Errors
    /// `WrongKey` for a write-only key.
    pub(crate) fn keyring(&self) -> Result<Arc<Keyring>> {
        if self.host().is_none()
            && let Err(error) = self.follow_keyring()
        {
            tracing::warn!(error = %error.chain(), "the current keyring cannot be opened; going on with the one before");
        }
        self.held_keyring()
    }

    /// The key of that version, for reading packs of `kind`.
    ///
    /// # Errors
    /// `WrongKey` if keys were replaced meanwhile so that this handle's key opens them no more; `Corrupt` if no keyring
    /// has that version, or the one that has it is lost.
    pub(crate) fn pack_key(&self, kind: PackKind, version: u32) -> Result<Key32> {
        if let Ok(key) = self.held_keyring()?.pack_key(kind, version) {
            return Ok(key.clone());
        }
        self.follow_keyring()?;
        let missing = match self.held_keyring()?.pack_key(kind, version) {
            Ok(key) => return Ok(key.clone()),
            Err(error) => error,
        };
        // A lost record may be the one that named the generation.
        if !self.damaged_records().is_empty()
            && let Some(found) = copies::newest_keyring(&self.store, &self.id(), &self.keyring_key)?
            && let Ok(key) = found.value.pack_key(kind, version)
        {
            return Ok(key.clone());
        }
        Err(missing)
    }

    /// Holds the keyring with that reading key, if there is one.
    ///
    /// # Errors
    /// The keyring that the log names cannot be read.
    pub(super) fn follow_reading_key(&self, version: u32) -> Result<()> {
        let held = self.held_keyring()?;
        // While a log is read from its beginning it names older ones, which may be gone and know no key that this one does not.
        if held.reading_key(version).is_none() && held.generation < self.state().keyring_current() {
            self.follow_keyring()?;
        }
        Ok(())
    }

    /// The keys of the run that `tag` names.
    ///
    /// # Errors
    /// `Corrupt` for a tag nobody's run has, and for a reading key that there never was; as [`Self::pack_key`].
    fn run_keys(&self, tag: &RunTag) -> Result<RunKeys> {
        self.follow_reading_key(tag.version)?;
        match self.held_keyring()?.reading_key(tag.version) {
            Some(key) => RunKeys::open(key, tag, &self.id()),
            None => Err(Error::new(ErrorKind::Corrupt, "keyring", "no reading key of that version")
                .with("version", tag.version)),
        }
    }

    /// What the key of the pack with that header derives from.
    ///
    /// # Errors
    /// As [`Self::pack_key`] and [`Self::run_keys`].
    pub(crate) fn pack_family(&self, header: &PackHeader) -> Result<Key32> {
        match header.run() {
            None => self.pack_key(header.name.kind, header.key_version),
            Some(tag) => Ok(self.run_keys(&tag)?.pack_family(header.name.kind)),
        }
    }

    /// Opens what is sealed under `key`, or by a host to a reading key.
    ///
    /// # Errors
    /// `Corrupt`; as [`Self::run_keys`].
    pub(crate) fn open_sealed(&self, key: &Key32, aad: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
        let Some(object) = SealedToReader::parse(bytes)? else { return sealed::open(key, aad, bytes) };
        self.run_keys(&object.tag)?.open_object(aad, &object)
    }

    /// The keyring held, for the secrets that never change.
    ///
    /// # Errors
    /// `WrongKey` for a write-only key.
    pub(crate) fn held_keyring(&self) -> Result<Arc<Keyring>> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(write_only)
    }

    /// Uses `keyring` from now on.
    pub(crate) fn hold_keyring(&self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keyring));
    }

    /// Reads the keyring that the log names, if it is another than the one held; says what is wrong with its original
    /// if it came from its copy.
    ///
    /// # Errors
    /// `WrongKey` if this handle's slot was revoked; `Corrupt` if it is lost or damaged, or not this repository's.
    pub(crate) fn follow_keyring(&self) -> Result<Option<Damage>> {
        let state = self.state();
        let (generation, held) = (state.keyring_current(), self.held_keyring()?);
        let recorded = state.keyrings().find(|(at, _)| *at == generation).map(|(_, info)| info.hash);
        // Where records are lost, a later one than they name may be all there is.
        let later = held.generation > generation && self.lacks_records();
        let (true, Some(recorded)) = (held.generation != generation && !later, recorded) else { return Ok(None) };
        let found = copies::keyring(&self.store, &self.id(), &self.keyring_key, generation, Some(&recorded));
        // While the log is being read on, the record that replaced the keys may still be ahead. Then the keyring is gone
        // because it was replaced, and slots are deleted before keyrings.
        let revoked = match &found {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                !state.has_slot(&self.slot) || self.store.stat(&slot_key(&self.slot.to_hex())?)?.is_none()
            }
            _ => false,
        };
        let Found { value, damage, .. } = found.map_err(|error| match (error.kind(), revoked) {
            (ErrorKind::Corrupt, true) => {
                Error::new(ErrorKind::WrongKey, "keyring", "keys were replaced since the repository was opened")
                    .with("generation", generation)
                    .with_hint("run the command again; if it is refused then, its key was revoked")
                    .with_source(error)
            }
            (ErrorKind::Corrupt, false) => error.with("generation", generation).with_hint(
                "what is under earlier keys can still be read; put the keyring back from a replica of this repository",
            ),
            _ => error,
        })?;
        if !value.same_repository(&held) {
            return Err(Error::new(ErrorKind::Corrupt, "keyring", "a keyring generation changes what never changes")
                .with("generation", generation));
        }
        self.hold_keyring(value);
        Ok(damage)
    }
}
