//! Beginning packs: under whose keys, and how they are named.

use decube_backup_core::Result;
use decube_backup_core::world::Entropy;
use decube_backup_format::host::HostMark;
use decube_backup_format::ids::{PackId, PackKind, PackName, RepositoryId};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::pack::PackWriter;
use decube_backup_format::reading::RunKeys;
use decube_backup_format::seal::Cipher;
use std::sync::Arc;

/// Begins packs under the keys of whoever writes.
pub trait PackSealer: Sync {
    /// An empty pack of `kind` with a fresh random name, in `buffer`.
    ///
    /// # Errors
    /// No entropy.
    fn begin(
        &self,
        repository: RepositoryId,
        kind: PackKind,
        entropy: &dyn Entropy,
        buffer: Vec<u8>,
    ) -> Result<PackWriter>;
}

impl PackSealer for Arc<Keyring> {
    fn begin(
        &self,
        repository: RepositoryId,
        kind: PackKind,
        entropy: &dyn Entropy,
        buffer: Vec<u8>,
    ) -> Result<PackWriter> {
        let mut id = PackId::default();
        entropy.fill(&mut id.0)?;
        under(self, repository, PackName { kind, id }, buffer)
    }
}

/// Packs that a holder of all keys writes in the place of a host's: named as the host's, so that it goes on relying on
/// what is in them.
pub(crate) struct HostPacks {
    /// Seals.
    pub keyring: Arc<Keyring>,
    /// Ends names.
    pub mark: HostMark,
}

impl PackSealer for HostPacks {
    fn begin(
        &self,
        repository: RepositoryId,
        kind: PackKind,
        entropy: &dyn Entropy,
        buffer: Vec<u8>,
    ) -> Result<PackWriter> {
        let id = self.mark.pack(entropy)?;
        under(&self.keyring, repository, PackName { kind, id }, buffer)
    }
}

fn under(keyring: &Keyring, repository: RepositoryId, name: PackName, buffer: Vec<u8>) -> Result<PackWriter> {
    let key = keyring.current_pack_key(name.kind)?;
    Ok(PackWriter::new(repository, name, keyring.cipher, key.version, &key.key, buffer))
}

/// Packs of a host, which it cannot open once the run is over.
pub(crate) struct RunPacks {
    /// Seals.
    pub run: RunKeys,
    /// With what.
    pub cipher: Cipher,
    /// Ends names.
    pub mark: HostMark,
}

impl PackSealer for RunPacks {
    fn begin(
        &self,
        repository: RepositoryId,
        kind: PackKind,
        entropy: &dyn Entropy,
        buffer: Vec<u8>,
    ) -> Result<PackWriter> {
        let name = PackName { kind, id: self.mark.pack(entropy)? };
        Ok(PackWriter::of_run(repository, name, self.cipher, &self.run, buffer))
    }
}
