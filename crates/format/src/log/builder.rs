//! Making records.

use super::envelope::{EnvelopeFields, TRAILER_BYTES, signature_digest};
use super::{AddedObject, ObjectName, Payload, RecordHash, Stamp, WriterId};
use crate::hash::Key32;
use crate::host::{HostAdmission, HostRing};
use crate::ids::RepositoryId;
use crate::keyring::Keyring;
use crate::reading::RunKeys;
use crate::seal::Cipher;
use crate::sealed;
use decube_backup_core::limits::OBJECT_BYTES_MAX;
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// A writer's signing key.
pub struct WriterKey(Ed25519KeyPair);

impl WriterKey {
    /// The repository-wide writer: everyone who holds the log key can sign as it.
    ///
    /// # Errors
    /// `Internal` if the key is refused.
    pub fn derive(log_key: &Key32) -> Result<Self> {
        Self::from_seed(&log_key.derive("decube-backup 2026 v1 writer signing key", &[]))
    }

    /// The writer whose key has that seed.
    ///
    /// # Errors
    /// `Internal` if the key is refused.
    pub fn from_seed(seed: &Key32) -> Result<Self> {
        Ed25519KeyPair::from_seed_unchecked(&seed.0)
            .map(Self)
            .map_err(|_| Error::new(ErrorKind::Internal, "log", "signing key refused"))
    }

    /// The public key.
    pub fn id(&self) -> WriterId {
        let mut id = [0; 32];
        let public = self.0.public_key().as_ref();
        id.iter_mut().zip(public).for_each(|(to, from)| *to = *from);
        id
    }
}

impl std::fmt::Debug for WriterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WriterKey").field(&crate::ids::hex(&self.id())).finish()
    }
}

/// What it takes to write to a repository's log.
#[derive(Debug)]
pub struct LogKeys {
    cipher: Cipher,
    log_key: Key32,
    writer: WriterKey,
    /// Of a host: the keys that payloads are sealed with instead of `log_key`.
    run: Option<RunKeys>,
}

impl LogKeys {
    /// From the current keyring.
    ///
    /// # Errors
    /// `Internal` if the signing key is refused.
    pub fn new(keyring: &Keyring) -> Result<Self> {
        let writer = WriterKey::derive(&keyring.log_key)?;
        Ok(Self { cipher: keyring.cipher, log_key: keyring.log_key.clone(), writer, run: None })
    }

    /// Those of a host, which opens no payload: they are sealed in a run of their own to whoever reads. What is its own
    /// alone, a state in its cache, it seals under its cache key.
    ///
    /// # Errors
    /// `Internal` if the signing key is refused; `Invalid` for an unsound reading key; no entropy.
    pub fn of_host(ring: &HostRing, repository: &RepositoryId, entropy: &dyn Entropy) -> Result<Self> {
        let run = Some(RunKeys::begin(&ring.reader, repository, entropy)?);
        let log_key = ring.cache_key.derive("decube-backup 2026 v1 host cache", b"state");
        Ok(Self { cipher: ring.cipher, log_key, writer: WriterKey::from_seed(&ring.signing_seed)?, run })
    }

    fn seal(&self, envelope: &[u8], payload: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        match &self.run {
            Some(run) => run.seal(self.cipher, envelope, payload, entropy),
            None => sealed::seal(self.cipher, &self.log_key, envelope, payload, entropy),
        }
    }

    fn overhead_bytes(&self) -> usize {
        if self.run.is_some() { crate::reading::OVERHEAD_BYTES } else { sealed::OVERHEAD_BYTES }
    }

    /// Who signs.
    pub fn writer(&self) -> WriterId {
        self.writer.id()
    }

    /// What new payloads and checkpoints are sealed with.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Opens payloads and checkpoints; of a host, only states it sealed itself.
    pub fn log_key(&self) -> &Key32 {
        &self.log_key
    }
}

/// A record ready for its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltRecord {
    /// The object's bytes.
    pub bytes: Vec<u8>,
    /// Their hash: `prev` of the next record.
    pub hash: RecordHash,
}

/// Makes one record, for as many slots as it takes.
///
/// The payload is encoded once; [`Self::build`] seals and signs it for a slot. The builder's nonce is the same in every
/// attempt: a record with it in the log is ours, whatever the store answered.
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    repository: RepositoryId,
    nonce: [u8; 16],
    admits: Vec<WriterId>,
    hosts: Vec<HostAdmission>,
    added: Vec<AddedObject>,
    reclaimed: Vec<ObjectName>,
    payload: Vec<u8>,
}

impl RecordBuilder {
    /// A record of `payload` that adds and reclaims the given objects.
    ///
    /// # Errors
    /// `Invalid` for texts or lists too long; `Internal` if `payload` may not reclaim these objects; no entropy.
    pub fn new(
        repository: RepositoryId,
        stamp: &Stamp,
        payload: &Payload,
        added: Vec<AddedObject>,
        reclaimed: Vec<ObjectName>,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        payload.check_against(&reclaimed).map_err(|_| {
            Error::new(ErrorKind::Internal, "log", "this kind of record may not reclaim that")
                .with("record", payload.word())
        })?;
        let payload = payload.encode(stamp)?;
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce)?;
        Ok(Self { repository, nonce, admits: Vec::new(), hosts: Vec::new(), added, reclaimed, payload })
    }

    /// Also admits `writer` to the log; the first record must admit its own.
    #[must_use]
    pub fn admitting(mut self, writer: WriterId) -> Self {
        self.admits.push(writer);
        self
    }

    /// Also admits a host.
    #[must_use]
    pub fn admitting_host(mut self, host: HostAdmission) -> Self {
        self.hosts.push(host);
        self
    }

    /// Stands in the envelope of every record this builder makes.
    pub fn nonce(&self) -> [u8; 16] {
        self.nonce
    }

    /// The record for slot `seq` after the record whose hash is `prev`.
    ///
    /// # Errors
    /// `Invalid` if it exceeds an object's bound; no entropy.
    pub fn build(&self, seq: u64, prev: &RecordHash, keys: &LogKeys, entropy: &dyn Entropy) -> Result<BuiltRecord> {
        let too_long = || Error::new(ErrorKind::Invalid, "log", "record too long").with("added", self.added.len());
        let sealed_bytes = self.payload.len() + keys.overhead_bytes();
        let fields = EnvelopeFields {
            repository: &self.repository,
            seq,
            prev,
            nonce: &self.nonce,
            admits: &self.admits,
            hosts: &self.hosts,
            added: &self.added,
            reclaimed: &self.reclaimed,
            sealed_bytes: u32::try_from(sealed_bytes).map_err(|_| too_long())?,
        };
        let mut bytes = fields.encode();
        if bytes.len() + sealed_bytes + TRAILER_BYTES > OBJECT_BYTES_MAX {
            return Err(too_long());
        }
        let sealed = keys.seal(&bytes, &self.payload, entropy)?;
        bytes.extend_from_slice(&sealed);
        let writer = keys.writer.id();
        let signature = keys.writer.0.sign(&signature_digest(&bytes, &writer));
        bytes.extend_from_slice(&writer);
        bytes.extend_from_slice(signature.as_ref());
        let hash = *blake3::hash(&bytes).as_bytes();
        Ok(BuiltRecord { bytes, hash })
    }
}
