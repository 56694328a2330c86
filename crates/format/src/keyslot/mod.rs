//! Key slots: the objects `keys/<slot>`, each wrapping the keyring key for one password, key file, recovery sheet
//! or public key.
//!
//! A slot is plain parameters, the keyring key sealed under the key-encryption key (KEK) with those parameters
//! as additional data, and a closing BLAKE3. Checked in this order: the checksum (damage is `Corrupt`), the
//! key commitment (another password is `WrongKey`), the seal (forgery is `Corrupt`). The parameters come from
//! an untrusted store, so their cost is bounded before any work is done.
//!
//! A slot for a public key holds an envelope that only the private key opens; in it is a random secret, from which the
//! KEK derives as from a key file's. This crate treats the envelope as bytes: who makes and opens it is the engine.

mod cost;
mod key_file;
mod recovery;

pub use cost::{KDF_DEFAULT, KDF_LANES_MAX, KDF_MEMORY_KIB_MAX, KDF_PASSES_MAX, KdfCost};
pub use key_file::KeyFile;
pub use recovery::{RECOVERY_LINES, RecoveryKey};

use crate::hash::Key32;
use crate::header::{checked_body, unsupported_version};
use crate::host::{HostRing, RING_BYTES_MAX};
use crate::ids::{RepositoryId, SlotId};
use crate::seal::Cipher;
use crate::sealed;
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"DECUBEKS";
const VERSION: u16 = 1;
/// Added to the kind of a slot that holds a host's ring.
const WRITE_ONLY: u8 = 0x40;
const WRITE_ONLY_PASSWORD: u8 = WRITE_ONLY + 1;
const WRITE_ONLY_KEY_FILE: u8 = WRITE_ONLY + 2;
/// Longest public key accepted from a slot, bytes: an RSA key of 16384 bits.
const RECIPIENT_BYTES_MAX: usize = 4096;
/// Longest envelope accepted from a slot, bytes.
const ENVELOPE_BYTES_MAX: usize = 8192;
/// Longest slot label, bytes.
pub const LABEL_BYTES_MAX: usize = 255;
/// How a slot's KEK comes from the user's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotKdf {
    /// Id 1: Argon2id version 0x13 of a password.
    Argon2id {
        /// Memory, passes, lanes.
        cost: KdfCost,
        /// Random salt.
        salt: [u8; 16],
    },
    /// Id 2: BLAKE3 derivation from a key file's 32 random bytes.
    KeyFile {
        /// Random salt.
        salt: [u8; 16],
    },
    /// Id 3: BLAKE3 derivation from the 32 random bytes in an envelope.
    Recipient {
        /// Random salt.
        salt: [u8; 16],
        /// For whom.
        envelope: Envelope,
    },
    // Id 4 (key management service) is reserved: `Unsupported` for now.
    /// Id 5: BLAKE3 derivation from the 20 random bytes of a recovery sheet.
    Recovery {
        /// Random salt.
        salt: [u8; 16],
    },
}

impl SlotKdf {
    /// For a new slot of `secret`, with a fresh salt.
    fn of(secret: SlotSecret<'_>, cost: KdfCost, entropy: &dyn Entropy) -> Result<Self> {
        if !cost.in_bounds() {
            return Err(Error::new(ErrorKind::Invalid, "key", "key derivation cost out of bounds"));
        }
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        match secret {
            SlotSecret::Password(_) => Ok(Self::Argon2id { cost, salt }),
            SlotSecret::KeyFile(_) => Ok(Self::KeyFile { salt }),
            SlotSecret::Recovery(_) => Ok(Self::Recovery { salt }),
            SlotSecret::Enveloped(_) => {
                Err(Error::new(ErrorKind::Invalid, "key", "this kind of secret needs an envelope"))
            }
        }
    }
}

/// A secret that one public key's owner can take out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The public key as its owner gives it: `age1…` or `ssh-…`, at most 4096 bytes.
    pub recipient: String,
    /// The secret, encrypted to it; at most 8192 bytes.
    pub sealed: Vec<u8>,
}

/// The secret a user presents.
#[derive(Clone, Copy)]
pub enum SlotSecret<'a> {
    /// A password, as the bytes typed.
    Password(&'a [u8]),
    /// The key of a key file.
    KeyFile(&'a KeyFile),
    /// What a slot's envelope holds.
    Enveloped(&'a Key32),
    /// The key on a recovery sheet.
    Recovery(&'a RecoveryKey),
}

/// What an opened slot yields.
#[derive(Clone, Debug)]
pub struct OpenedSlot {
    /// Opens the keyring.
    pub keyring_key: Key32,
    /// Seals another keyring key in this slot, without its secret: see [`KeySlot::rewrap`].
    pub kek: Key32,
}

/// A decoded slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// How its KEK is derived.
    pub kdf: SlotKdf,
    /// When it was made.
    pub created: Timestamp,
    /// What a person calls it.
    pub label: String,
    /// What it opens.
    pub scope: SlotScope,
    wrapped: Vec<u8>,
}

/// What a slot's secret is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotScope {
    /// It wraps the keyring key: everything.
    Everything,
    /// It wraps a [`HostRing`]: adding snapshots, and reading none.
    WriteOnly,
}

impl KeySlot {
    /// Wraps `keyring_key` for `secret`; `cost` applies to passwords. Also yields the slot's KEK.
    ///
    /// # Errors
    /// `Invalid` for a label or cost out of bounds; no entropy; `NoSpace` without memory for the derivation.
    pub fn seal(
        repository: RepositoryId,
        secret: SlotSecret<'_>,
        cost: KdfCost,
        label: &str,
        created: Timestamp,
        keyring_key: &Key32,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Key32)> {
        let kdf = SlotKdf::of(secret, cost, entropy)?;
        let label = label.to_owned();
        Self { repository, kdf, created, label, scope: SlotScope::Everything, wrapped: Vec::new() }.wrap(
            secret,
            &keyring_key.0,
            entropy,
        )
    }

    /// Wraps `ring` for `secret`, a password or key file, whose owner can add snapshots and read none.
    ///
    /// # Errors
    /// As [`Self::seal`]; `Invalid` for other kinds of secrets.
    pub fn seal_ring(
        repository: RepositoryId,
        secret: SlotSecret<'_>,
        cost: KdfCost,
        label: &str,
        created: Timestamp,
        ring: &HostRing,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        if !matches!(secret, SlotSecret::Password(_) | SlotSecret::KeyFile(_)) {
            return Err(Error::new(ErrorKind::Invalid, "key", "a write-only key is a password or a key file"));
        }
        let (kdf, label) = (SlotKdf::of(secret, cost, entropy)?, label.to_owned());
        let slot = Self { repository, kdf, created, label, scope: SlotScope::WriteOnly, wrapped: Vec::new() };
        slot.wrap(secret, &ring.encode()?, entropy).map(|(slot, _)| slot)
    }

    /// Wraps `keyring_key` for whoever takes `secret` out of `envelope`. Also yields the slot's KEK.
    ///
    /// # Errors
    /// `Invalid` for a label, public key or envelope too long; no entropy.
    pub fn seal_in(
        repository: RepositoryId,
        envelope: Envelope,
        secret: &Key32,
        label: &str,
        created: Timestamp,
        keyring_key: &Key32,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Key32)> {
        if envelope.recipient.len() > RECIPIENT_BYTES_MAX || envelope.sealed.len() > ENVELOPE_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "key", "public key too long"));
        }
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        let (kdf, label) = (SlotKdf::Recipient { salt, envelope }, label.to_owned());
        Self { repository, kdf, created, label, scope: SlotScope::Everything, wrapped: Vec::new() }.wrap(
            SlotSecret::Enveloped(secret),
            &keyring_key.0,
            entropy,
        )
    }

    /// The same slot around another keyring key: whoever opens this one opens that.
    ///
    /// `kek` is what opening this one yielded.
    ///
    /// # Errors
    /// `WrongKey` if `kek` is not this slot's; no entropy.
    pub fn rewrap(&self, kek: &Key32, keyring_key: &Key32, entropy: &dyn Entropy) -> Result<Self> {
        if !sealed::commits_to(kek, &self.wrapped)? {
            return Err(wrong_key("the key does not open this key slot"));
        }
        let wrapped = sealed::seal(Cipher::Aes256Gcm, kek, &self.parameters(), &keyring_key.0, entropy)?;
        Ok(Self { wrapped, ..self.clone() })
    }

    fn wrap(mut self, secret: SlotSecret<'_>, content: &[u8], entropy: &dyn Entropy) -> Result<(Self, Key32)> {
        if self.label.len() > LABEL_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "key", "label too long").with("bytes_max", LABEL_BYTES_MAX));
        }
        let kek = self.kek(secret)?;
        self.wrapped = sealed::seal(Cipher::Aes256Gcm, &kek, &self.parameters(), content, entropy)?;
        Ok((self, kek))
    }

    /// The keyring key. Costs one key derivation.
    ///
    /// # Errors
    /// `WrongKey` if `secret` is not this slot's, or the slot is write-only; `Corrupt` if the slot is damaged, forged or
    /// another repository's.
    pub fn open(&self, secret: SlotSecret<'_>, repository: &RepositoryId) -> Result<OpenedSlot> {
        if self.scope != SlotScope::Everything {
            return Err(wrong_key("this key slot is write-only").with("label", &self.label));
        }
        let (kek, plain) = self.unwrap_by(secret, repository)?;
        let bytes = plain.as_slice().try_into().map_err(|_| corrupt("key slot"))?;
        Ok(OpenedSlot { keyring_key: Key32(bytes), kek })
    }

    /// What a write-only slot holds. Costs one key derivation.
    ///
    /// # Errors
    /// As [`Self::open`]; `WrongKey` if the slot opens everything.
    pub fn open_ring(&self, secret: SlotSecret<'_>, repository: &RepositoryId) -> Result<HostRing> {
        if self.scope != SlotScope::WriteOnly {
            return Err(wrong_key("this key slot is not write-only").with("label", &self.label));
        }
        HostRing::decode(&self.unwrap_by(secret, repository)?.1)
    }

    fn unwrap_by(&self, secret: SlotSecret<'_>, repository: &RepositoryId) -> Result<(Key32, Zeroizing<Vec<u8>>)> {
        if self.repository != *repository {
            return Err(corrupt("key slot").with("reason", "it belongs to another repository"));
        }
        let kek = self.kek(secret)?;
        if !sealed::commits_to(&kek, &self.wrapped)? {
            return Err(wrong_key("the password or key file does not open this key slot").with("label", &self.label));
        }
        let plain = Zeroizing::new(sealed::open(&kek, &self.parameters(), &self.wrapped)?);
        Ok((kek, plain))
    }

    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.parameters();
        out.extend_from_slice(&self.wrapped);
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    /// Reads the object's bytes.
    ///
    /// # Errors
    /// `Corrupt`, also for a key derivation cost out of bounds; `Unsupported` for another version or kind of slot.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(checked_body(bytes, MAGIC, "key slot")?, "key slot");
        let version = reader.u16()?;
        if version != VERSION {
            return Err(unsupported_version("key slot", version));
        }
        let kind = reader.u8()?;
        let (kind, scope) = match kind {
            WRITE_ONLY_PASSWORD | WRITE_ONLY_KEY_FILE => (kind - WRITE_ONLY, SlotScope::WriteOnly),
            _ => (kind, SlotScope::Everything),
        };
        let repository = RepositoryId(reader.array()?);
        let cost = KdfCost { m_kib: reader.u32()?, t: reader.u32()?, p: reader.u32()? };
        let salt = reader.array()?;
        let created = Timestamp { seconds: reader.u64()? as i64, nanoseconds: reader.u32()? };
        let label = text(&mut reader, LABEL_BYTES_MAX)?;
        let kdf = match kind {
            1 if cost.in_bounds() => SlotKdf::Argon2id { cost, salt },
            1 => return Err(corrupt("key slot").with("reason", "key derivation cost out of bounds")),
            2 => SlotKdf::KeyFile { salt },
            3 => {
                let recipient = text(&mut reader, RECIPIENT_BYTES_MAX)?;
                let sealed = reader.bytes(ENVELOPE_BYTES_MAX)?.to_vec();
                SlotKdf::Recipient { salt, envelope: Envelope { recipient, sealed } }
            }
            5 => SlotKdf::Recovery { salt },
            _ => {
                return Err(Error::new(ErrorKind::Unsupported, "open", "key slot of an unknown kind")
                    .with("kind", kind)
                    .with_hint("use a newer decube-backup, or another key slot"));
            }
        };
        let wrapped_bytes = match scope {
            SlotScope::Everything => 32 + sealed::OVERHEAD_BYTES,
            SlotScope::WriteOnly => reader.remaining().min(RING_BYTES_MAX + sealed::OVERHEAD_BYTES),
        };
        let wrapped = reader.take(wrapped_bytes)?.to_vec();
        reader.finish()?;
        let slot = Self { repository, kdf, created, label, scope, wrapped };
        if created.nanoseconds < 1_000_000_000 && slot.encode() == bytes { Ok(slot) } else { Err(corrupt("key slot")) }
    }

    /// Everything before the wrapped key: the seal's additional data.
    fn parameters(&self) -> Vec<u8> {
        const NO_COST: KdfCost = KdfCost { m_kib: 0, t: 0, p: 0 };
        let (kind, cost, salt, envelope) = match &self.kdf {
            SlotKdf::Argon2id { cost, salt } => (1, *cost, salt, None),
            SlotKdf::KeyFile { salt } => (2, NO_COST, salt, None),
            SlotKdf::Recipient { salt, envelope } => (3, NO_COST, salt, Some(envelope)),
            SlotKdf::Recovery { salt } => (5, NO_COST, salt, None),
        };
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(MAGIC);
        out.write_u16(VERSION);
        out.write_u8(if self.scope == SlotScope::WriteOnly { kind + WRITE_ONLY } else { kind });
        out.extend_from_slice(&self.repository.0);
        out.write_u32(cost.m_kib);
        out.write_u32(cost.t);
        out.write_u32(cost.p);
        out.extend_from_slice(salt);
        out.write_u64(self.created.seconds as u64);
        out.write_u32(self.created.nanoseconds);
        out.write_bytes(self.label.as_bytes());
        if let Some(envelope) = envelope {
            out.write_bytes(envelope.recipient.as_bytes());
            out.write_bytes(&envelope.sealed);
        }
        out
    }

    fn kek(&self, secret: SlotSecret<'_>) -> Result<Key32> {
        match (&self.kdf, secret) {
            (SlotKdf::Argon2id { cost, salt }, SlotSecret::Password(password)) => cost.derive(salt, password),
            (SlotKdf::KeyFile { salt }, SlotSecret::KeyFile(file)) => {
                Ok(file.0.derive("decube-backup 2026 v1 key file KEK", salt))
            }
            (SlotKdf::Recipient { salt, .. }, SlotSecret::Enveloped(secret)) => {
                Ok(secret.derive("decube-backup 2026 v1 recipient KEK", salt))
            }
            (SlotKdf::Recovery { salt }, SlotSecret::Recovery(key)) => Ok(key.kek(salt)),
            (SlotKdf::Argon2id { .. }, _) => Err(wrong_key("this key slot takes a password")),
            (SlotKdf::KeyFile { .. }, _) => Err(wrong_key("this key slot takes a key file")),
            (SlotKdf::Recipient { .. }, _) => Err(wrong_key("this key slot takes a private key")),
            (SlotKdf::Recovery { .. }, _) => Err(wrong_key("this key slot takes a recovery sheet")),
        }
    }
}

fn text(reader: &mut Reader<'_>, bytes_max: usize) -> Result<String> {
    String::from_utf8(reader.bytes(bytes_max)?.to_vec()).map_err(|_| corrupt("key slot"))
}

/// A new random slot name.
///
/// # Errors
/// No entropy.
pub fn random_slot_id(entropy: &dyn Entropy) -> Result<SlotId> {
    let mut id = [0; SlotId::LEN];
    entropy.fill(&mut id)?;
    Ok(SlotId(id))
}

fn wrong_key(message: &'static str) -> Error {
    Error::new(ErrorKind::WrongKey, "open", message)
}
