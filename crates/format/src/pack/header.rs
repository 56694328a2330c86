//! The plain bytes in front of a pack. They are part of every segment's associated data.

use crate::hash::{Key32, commitment};
use crate::ids::{PackId, PackKind, PackName, RepositoryId};
use crate::reading::RunTag;
use crate::seal::Cipher;
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::{Error, ErrorKind, Result};

const MAGIC: &[u8; 4] = b"DCPK";
const VERSION: u8 = 1;
const VERSION_OF_RUN: u8 = 2;

/// Header of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackHeader {
    /// Repository it was written for.
    pub repository: RepositoryId,
    /// Its own name.
    pub name: PackName,
    /// What seals it.
    pub cipher: Cipher,
    /// Which version of the data or meta key its key derives from; of a pack that a host sealed, of the reading key.
    pub key_version: u32,
    /// What else tells its key.
    pub proof: KeyProof,
}

/// What a header says of the pack's key besides the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProof {
    /// Version 1: a commitment to it.
    Commitment([u8; 32]),
    /// Version 2, by a host that cannot read: the ephemeral public key of its run. The pack's key is a function of this
    /// and the reading key, so a header never stands for two keys, and no commitment is needed.
    Ephemeral([u8; 32]),
}

impl PackHeader {
    /// Encoded length, bytes.
    pub const BYTES: usize = 76;

    /// A header for a new pack sealed under `pack_key`.
    pub fn new(repository: RepositoryId, name: PackName, cipher: Cipher, key_version: u32, pack_key: &Key32) -> Self {
        Self { repository, name, cipher, key_version, proof: KeyProof::Commitment(commitment(pack_key, &name.id.0)) }
    }

    /// A header for a new pack of the run `tag`.
    pub fn of_run(repository: RepositoryId, name: PackName, cipher: Cipher, tag: &RunTag) -> Self {
        Self { repository, name, cipher, key_version: tag.version, proof: KeyProof::Ephemeral(tag.ephemeral) }
    }

    /// The run that sealed it; `None` if the keyring's pack keys did.
    pub fn run(&self) -> Option<RunTag> {
        match self.proof {
            KeyProof::Commitment(_) => None,
            KeyProof::Ephemeral(ephemeral) => Some(RunTag { version: self.key_version, ephemeral }),
        }
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        out.extend_from_slice(MAGIC);
        let (version, proof) = match &self.proof {
            KeyProof::Commitment(commitment) => (VERSION, commitment),
            KeyProof::Ephemeral(ephemeral) => (VERSION_OF_RUN, ephemeral),
        };
        out.write_u8(version);
        out.write_u8(match self.name.kind {
            PackKind::Data => 0,
            PackKind::Meta => 1,
        });
        out.write_u8(self.cipher.id());
        out.write_u8(0);
        out.write_u32(self.key_version);
        out.extend_from_slice(&self.repository.0);
        out.extend_from_slice(&self.name.id.0);
        out.extend_from_slice(proof);
        out
    }

    /// From the first [`Self::BYTES`] of a pack.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for a newer version or unknown cipher.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes.get(..Self::BYTES).ok_or_else(|| corrupt("pack header"))?, "pack header");
        if reader.take(4)? != MAGIC {
            return Err(reader.corrupt());
        }
        let version = reader.u8()?;
        if version != VERSION && version != VERSION_OF_RUN {
            return Err(Error::new(ErrorKind::Unsupported, "decode", "pack is of another version")
                .with("version", version)
                .with_hint("a newer program wrote it: use that program"));
        }
        let kind = match reader.u8()? {
            0 => PackKind::Data,
            1 => PackKind::Meta,
            _ => return Err(reader.corrupt()),
        };
        let cipher = Cipher::from_id(reader.u8()?)?;
        if reader.u8()? != 0 {
            return Err(reader.corrupt());
        }
        let key_version = reader.u32()?;
        let repository = RepositoryId(reader.array()?);
        let name = PackName { kind, id: PackId(reader.array()?) };
        let proof = if version == VERSION { KeyProof::Commitment } else { KeyProof::Ephemeral };
        Ok(Self { repository, name, cipher, key_version, proof: proof(reader.array()?) })
    }

    /// Checks that `pack_key` is the key this header commits to, if it does.
    ///
    /// # Errors
    /// `Corrupt` if not.
    pub fn check_key(&self, pack_key: &Key32) -> Result<()> {
        match &self.proof {
            KeyProof::Commitment(expected) if commitment(pack_key, &self.name.id.0) != *expected => {
                Err(corrupt("pack key commitment"))
            }
            _ => Ok(()),
        }
    }
}
