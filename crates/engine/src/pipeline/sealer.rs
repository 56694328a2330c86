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
pub enum PackSealer {
    /// A holder of all keys. What it writes in the place of a host's has the end of its name from `given`, so that the host
    /// goes on relying on it.
    Keyring {
        /// Seals.
        keyring: Arc<Keyring>,
        /// Ends names.
        given: Option<HostMark>,
    },
    /// A host, which cannot open its packs once the run is over.
    Run {
        /// Seals.
        run: RunKeys,
        /// With what.
        cipher: Cipher,
        /// Ends names.
        mark: HostMark,
    },
}

impl PackSealer {
    /// An empty pack of `kind` with a fresh random name, in `buffer`.
    ///
    /// # Errors
    /// No entropy.
    pub(super) fn begin(
        &self,
        repository: RepositoryId,
        kind: PackKind,
        entropy: &dyn Entropy,
        buffer: Vec<u8>,
    ) -> Result<PackWriter> {
        let mark = match self {
            Self::Keyring { given, .. } => given.as_ref(),
            Self::Run { mark, .. } => Some(mark),
        };
        let mut id = PackId::default();
        match mark {
            Some(mark) => id = mark.pack(entropy)?,
            None => entropy.fill(&mut id.0)?,
        }
        let name = PackName { kind, id };
        match self {
            Self::Keyring { keyring, .. } => {
                let key = keyring.current_pack_key(kind)?;
                Ok(PackWriter::new(repository, name, keyring.cipher, key.version, &key.key, buffer))
            }
            Self::Run { run, cipher, .. } => Ok(PackWriter::of_run(repository, name, *cipher, run, buffer)),
        }
    }
}
