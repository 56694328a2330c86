//! Write-only keys: what a host gets that may add snapshots and read none.
//!
//! A host's ring has what it takes to cut, name and seal as everybody does, and nothing that opens: the *public* half of
//! the reading key, a signing key that the log admits for as long as the host's key slot is in force, and a key for
//! what the host keeps for itself. Names of what a host writes end in its mark, and nobody else's record may add such
//! names in its stead.

use crate::hash::Key32;
use crate::ids::{IndexId, PackId, RepositoryId, SlotId};
use crate::log::WriterId;
use crate::reading::ReadingPublic;
use crate::seal::Cipher;
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
/// Longest host name, bytes.
pub const HOST_NAME_BYTES_MAX: usize = 255;
/// Longest ring, bytes.
pub(crate) const RING_BYTES_MAX: usize = 2 + 4 + 7 * 32 + 2 + HOST_NAME_BYTES_MAX;

/// A host that may write, as the log admits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAdmission {
    /// As long as this slot is in force.
    pub slot: SlotId,
    /// By this signature.
    pub writer: WriterId,
}

/// The end of every name that a host draws, or that is drawn for it: who else uses it is found out by the log, without
/// any key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostMark([u8; Self::BYTES]);

impl HostMark {
    const BYTES: usize = 6;

    /// The mark of the host that signs by `writer`, on what it writes itself.
    pub fn of(writer: &WriterId) -> Self {
        Self::derived("decube-backup 2026 v1 host mark", writer)
    }

    /// The mark on what a holder of all keys writes for that host: no record of the host may add such a name, not even one
    /// that it saw in the store before it was recorded.
    pub fn given(writer: &WriterId) -> Self {
        Self::derived("decube-backup 2026 v1 mark for a host", writer)
    }

    fn derived(context: &str, writer: &WriterId) -> Self {
        Self(blake3::derive_key(context, writer).first_chunk().copied().unwrap_or_default())
    }

    /// Lower-case hex.
    pub fn to_hex(&self) -> String {
        crate::ids::hex(&self.0)
    }

    /// Whether `name` ends in it.
    pub fn is_on(&self, name: &[u8; 16]) -> bool {
        name.ends_with(&self.0)
    }

    /// What would be the mark on `name`, if it is a host's.
    pub fn at_end_of(name: &[u8; 16]) -> Self {
        Self(name.last_chunk().copied().unwrap_or_default())
    }

    fn draw(&self, entropy: &dyn Entropy) -> Result<[u8; 16]> {
        let mut name = [0; 16];
        entropy.fill(&mut name)?;
        name.iter_mut().skip(16 - Self::BYTES).zip(self.0).for_each(|(to, from)| *to = from);
        Ok(name)
    }

    /// A new pack's name: 80 random bits and the mark.
    ///
    /// # Errors
    /// No entropy.
    pub fn pack(&self, entropy: &dyn Entropy) -> Result<PackId> {
        self.draw(entropy).map(PackId)
    }

    /// A new index segment's name, likewise.
    ///
    /// # Errors
    /// No entropy.
    pub fn index(&self, entropy: &dyn Entropy) -> Result<IndexId> {
        self.draw(entropy).map(IndexId)
    }
}

/// What a write-only key slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRing {
    /// Seals new packs and small objects.
    pub cipher: Cipher,
    /// Makes content ids, the same as everybody's.
    pub id_key: Key32,
    /// Makes cut points, the same as everybody's.
    pub chunker_key: Key32,
    /// Whom everything is sealed to.
    pub reader: ReadingPublic,
    /// The seed of the signing key.
    pub signing_seed: Key32,
    /// Opens the host's own index segments.
    pub index_key: Key32,
    /// Seals what the host keeps in its cache.
    pub cache_key: Key32,
    /// Who signs as a holder of all keys: the log must begin with it.
    pub root: WriterId,
    /// Whose snapshots it may add.
    pub host: String,
}

/// The key by which a host opens its own index segments: who holds `log_key` can make it too, and so give the host
/// tables of packs in which its chunks were put since.
pub fn host_index_key(log_key: &Key32, writer: &WriterId) -> Key32 {
    log_key.derive("decube-backup 2026 v1 host index key", writer)
}

impl HostRing {
    /// The bytes to seal.
    ///
    /// # Errors
    /// `Invalid` for a host name too long or empty.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>> {
        if self.host.is_empty() || self.host.len() > HOST_NAME_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "key", "a host's name has between 1 and 255 bytes"));
        }
        // Sized up front: a growing buffer would leave copies of the keys behind.
        let mut out = Zeroizing::new(Vec::with_capacity(RING_BYTES_MAX));
        out.write_u8(VERSION);
        out.write_u8(self.cipher.id());
        out.extend_from_slice(&self.id_key.0);
        out.extend_from_slice(&self.chunker_key.0);
        out.write_u32(self.reader.version);
        out.extend_from_slice(&self.reader.key);
        for key in [&self.signing_seed, &self.index_key, &self.cache_key] {
            out.extend_from_slice(&key.0);
        }
        out.extend_from_slice(&self.root);
        out.write_bytes(self.host.as_bytes());
        Ok(out)
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "host ring");
        let version = reader.u8()?;
        if version != VERSION {
            return Err(crate::header::unsupported_version("host ring", version.into()));
        }
        let cipher = Cipher::from_id(reader.u8()?)?;
        let (id_key, chunker_key) = (Key32(reader.array()?), Key32(reader.array()?));
        let public = ReadingPublic { version: reader.u32()?, key: reader.array()? };
        let [signing_seed, index_key, cache_key] = [reader.array()?, reader.array()?, reader.array()?].map(Key32);
        let root = reader.array()?;
        let host = reader.bytes(HOST_NAME_BYTES_MAX)?.to_vec();
        let host = String::from_utf8(host).map_err(|_| corrupt("host ring"))?;
        reader.finish()?;
        if host.is_empty() {
            return Err(corrupt("host ring"));
        }
        Ok(Self { cipher, id_key, chunker_key, reader: public, signing_seed, index_key, cache_key, root, host })
    }

    /// Admits this host as long as `slot` is in force.
    ///
    /// # Errors
    /// `Internal` if the signing key is refused.
    pub fn admission(&self, slot: SlotId) -> Result<HostAdmission> {
        Ok(HostAdmission { slot, writer: self.writer()? })
    }

    /// Who signs.
    ///
    /// # Errors
    /// `Internal` if the signing key is refused.
    pub fn writer(&self) -> Result<WriterId> {
        Ok(crate::log::WriterKey::from_seed(&self.signing_seed)?.id())
    }

    /// The end of the names it draws.
    ///
    /// # Errors
    /// `Internal` if the signing key is refused.
    pub fn mark(&self) -> Result<HostMark> {
        self.writer().map(|writer| HostMark::of(&writer))
    }

    /// Additional data of what a host keeps of `repository` in its cache.
    pub fn cache_aad(repository: &RepositoryId, what: &str) -> Vec<u8> {
        crate::sealed::aad("host cache", repository, what)
    }
}
