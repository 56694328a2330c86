//! The keyring: every secret of a repository, sealed under the keyring key as `keyring/<generation>`.
//!
//! Objects are immutable: a change of keys writes the next generation and a `Keyring` record. Old pack keys stay
//! as long as packs under them do; new packs use the newest of each kind. The other four keys never change: every
//! record, tree and index segment of the repository needs them.

use crate::hash::Key32;
use crate::ids::{PackKind, RepositoryId};
use crate::reading::ReadingPublic;
use crate::seal::Cipher;
use crate::sealed;
use crate::wire::{Reader, Writer};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
/// With reading keys; a keyring without any is of version 1.
const VERSION_WITH_READING_KEYS: u8 = 2;
/// Most versions of one pack key a keyring may hold.
pub const PACK_KEYS_MAX: usize = 4096;

/// One version of the key that pack keys derive from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedKey {
    /// Stands in pack headers.
    pub version: u32,
    /// The secret.
    pub key: Key32,
}

/// Every secret of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// Which keyring object this is.
    pub generation: u32,
    /// Seals new packs and small objects.
    pub cipher: Cipher,
    /// Makes content ids.
    pub id_key: Key32,
    /// Makes the chunker's cut points.
    pub chunker_key: Key32,
    /// Seals index segments.
    pub index_key: Key32,
    /// Seals record payloads and checkpoints; the writer's signing key derives from it.
    pub log_key: Key32,
    /// For metadata packs, ascending versions, never empty.
    pub meta_keys: Vec<VersionedKey>,
    /// For data packs, ascending versions, never empty.
    pub data_keys: Vec<VersionedKey>,
    /// Private halves of the keys to which hosts with write-only keys seal, ascending versions; empty before the first
    /// of those was made.
    pub reading_keys: Vec<VersionedKey>,
}

impl Keyring {
    /// Fresh secrets, generation 0.
    ///
    /// # Errors
    /// No entropy.
    pub fn generate(cipher: Cipher, entropy: &dyn Entropy) -> Result<Self> {
        let fresh = || {
            let mut key = Key32::default();
            entropy.fill(&mut key.0).map(|()| key)
        };
        Ok(Self {
            generation: 0,
            cipher,
            id_key: fresh()?,
            chunker_key: fresh()?,
            index_key: fresh()?,
            log_key: fresh()?,
            meta_keys: vec![VersionedKey { version: 0, key: fresh()? }],
            data_keys: vec![VersionedKey { version: 0, key: fresh()? }],
            reading_keys: Vec::new(),
        })
    }

    /// The same secrets with one more pack key of each kind, which new packs use from then on.
    ///
    /// The new keys' version is `generation`: two attempts to rotate never give one version two meanings.
    ///
    /// # Errors
    /// `Invalid` unless `generation` is later than this one, or for more than [`PACK_KEYS_MAX`] keys; no entropy.
    pub fn rotated(&self, generation: u32, entropy: &dyn Entropy) -> Result<Self> {
        let mut next = Self { generation, ..self.clone() };
        for keys in [&mut next.meta_keys, &mut next.data_keys] {
            let mut key = Key32::default();
            entropy.fill(&mut key.0)?;
            keys.push(VersionedKey { version: generation, key });
        }
        if generation <= self.generation || !in_order(&next.meta_keys) || !in_order(&next.data_keys) {
            return Err(Error::new(ErrorKind::Invalid, "keyring", "no further pack key fits into the keyring")
                .with("generation", generation));
        }
        Ok(next)
    }

    /// As [`Self::rotated`], with one more reading key, of the same version.
    ///
    /// # Errors
    /// As there.
    pub fn with_reading_key(&self, generation: u32, entropy: &dyn Entropy) -> Result<Self> {
        let mut next = self.rotated(generation, entropy)?;
        let mut key = Key32::default();
        entropy.fill(&mut key.0)?;
        next.reading_keys.push(VersionedKey { version: generation, key });
        Ok(next)
    }

    /// The public half of the newest reading key.
    pub fn reader(&self) -> Option<ReadingPublic> {
        self.reading_keys.last().map(|newest| ReadingPublic::of(newest.version, &newest.key))
    }

    /// The private half of that version.
    pub fn reading_key(&self, version: u32) -> Option<&Key32> {
        self.reading_keys.iter().find(|key| key.version == version).map(|found| &found.key)
    }

    /// Whether both hold the secrets that every record, tree and index segment of one repository needs.
    pub fn same_repository(&self, other: &Self) -> bool {
        let fixed = |keyring: &Self| {
            [&keyring.id_key, &keyring.chunker_key, &keyring.index_key, &keyring.log_key].map(Key32::clone)
        };
        self.cipher == other.cipher && fixed(self) == fixed(other)
    }

    /// The key for new packs of `kind`.
    ///
    /// # Errors
    /// `Internal` for a keyring without one, which [`Self::open`] never returns.
    pub fn current_pack_key(&self, kind: PackKind) -> Result<&VersionedKey> {
        let missing = || Error::new(ErrorKind::Internal, "keyring", "keyring holds no pack key");
        self.pack_keys(kind).last().ok_or_else(missing)
    }

    /// The key of that version, for reading packs of `kind`.
    ///
    /// # Errors
    /// `Corrupt` if this keyring has none: a damaged pack header, or an old keyring.
    pub fn pack_key(&self, kind: PackKind, version: u32) -> Result<&Key32> {
        let keys = self.pack_keys(kind);
        match keys.binary_search_by_key(&version, |key| key.version).ok().and_then(|at| keys.get(at)) {
            Some(found) => Ok(&found.key),
            None => {
                Err(Error::new(ErrorKind::Corrupt, "keyring", "no pack key of that version").with("version", version))
            }
        }
    }

    fn pack_keys(&self, kind: PackKind) -> &[VersionedKey] {
        match kind {
            PackKind::Data => &self.data_keys,
            PackKind::Meta => &self.meta_keys,
        }
    }

    /// The object's bytes.
    ///
    /// # Errors
    /// `Internal` for pack keys that are none, too many or out of order; no entropy.
    pub fn seal(&self, keyring_key: &Key32, repository: &RepositoryId, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        if !in_order(&self.meta_keys) || !in_order(&self.data_keys) || !may_be_empty(&self.reading_keys) {
            return Err(Error::new(ErrorKind::Internal, "keyring", "pack keys missing or out of order"));
        }
        let keys = self.meta_keys.len() + self.data_keys.len() + self.reading_keys.len();
        // Sized up front: a growing buffer would leave copies of the keys behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(32 + 4 * 32 + keys * 36 + 30));
        plain.write_u8(if self.reading_keys.is_empty() { VERSION } else { VERSION_WITH_READING_KEYS });
        plain.write_u32(self.generation);
        plain.write_u8(self.cipher.id());
        for key in [&self.id_key, &self.chunker_key, &self.index_key, &self.log_key] {
            plain.extend_from_slice(&key.0);
        }
        let reading = Some(&self.reading_keys).filter(|keys| !keys.is_empty());
        for keys in [&self.meta_keys, &self.data_keys].into_iter().chain(reading) {
            plain.write_varint(keys.len() as u64);
            for key in keys {
                plain.write_u32(key.version);
                plain.extend_from_slice(&key.key.0);
            }
        }
        sealed::seal(self.cipher, keyring_key, &aad(repository, self.generation), &plain, entropy)
    }

    /// Opens the object `keyring/<generation>`.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for another version.
    pub fn open(keyring_key: &Key32, repository: &RepositoryId, generation: u32, bytes: &[u8]) -> Result<Self> {
        let plain = Zeroizing::new(sealed::open(keyring_key, &aad(repository, generation), bytes)?);
        let mut reader = Reader::new(&plain, "keyring");
        let version = reader.u8()?;
        if version != VERSION && version != VERSION_WITH_READING_KEYS {
            return Err(crate::header::unsupported_version("keyring", version.into()));
        }
        let stored_generation = reader.u32()?;
        let cipher = Cipher::from_id(reader.u8()?)?;
        let [id_key, chunker_key, index_key, log_key] =
            [reader.array()?, reader.array()?, reader.array()?, reader.array()?].map(Key32);
        let (meta_keys, data_keys) = (read_keys(&mut reader)?, read_keys(&mut reader)?);
        let reading_keys = if version == VERSION { Vec::new() } else { read_keys(&mut reader)? };
        let consistent = stored_generation == generation
            && in_order(&meta_keys)
            && in_order(&data_keys)
            && (version == VERSION || in_order(&reading_keys));
        if !consistent {
            return Err(reader.corrupt());
        }
        reader.finish()?;
        Ok(Self { generation, cipher, id_key, chunker_key, index_key, log_key, meta_keys, data_keys, reading_keys })
    }
}

fn aad(repository: &RepositoryId, generation: u32) -> Vec<u8> {
    sealed::aad("keyring", repository, &format!("{generation:08x}"))
}

fn read_keys(reader: &mut Reader<'_>) -> Result<Vec<VersionedKey>> {
    let count = reader.count(36)?;
    (0..count).map(|_| Ok(VersionedKey { version: reader.u32()?, key: Key32(reader.array()?) })).collect()
}

fn may_be_empty(keys: &[VersionedKey]) -> bool {
    keys.is_empty() || in_order(keys)
}

fn in_order(keys: &[VersionedKey]) -> bool {
    !keys.is_empty() && keys.len() <= PACK_KEYS_MAX && keys.is_sorted_by(|a, b| a.version < b.version)
}
