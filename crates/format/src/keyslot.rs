//! Key slots: the objects `keys/<slot>`, each wrapping the keyring key for one password or key file.
//!
//! A slot is plain parameters, the keyring key sealed under the key-encryption key (KEK) with those parameters
//! as additional data, and a closing BLAKE3. Checked in this order: the checksum (damage is `Corrupt`), the
//! key commitment (another password is `WrongKey`), the seal (forgery is `Corrupt`). The parameters come from
//! an untrusted store, so their cost is bounded before any work is done.

use crate::hash::Key32;
use crate::header::{checked_body, unsupported_version};
use crate::ids::{RepositoryId, SlotId};
use crate::seal::Cipher;
use crate::sealed;
use crate::wire::{Reader, Writer, corrupt};
use argon2::{Algorithm, Argon2, Params, Version};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"DECUBEKS";
const VERSION: u16 = 1;
/// Longest slot label, bytes.
pub const LABEL_BYTES_MAX: usize = 255;
/// Most Argon2 memory accepted from a slot, KiB: 1 GiB.
pub const KDF_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Most Argon2 passes accepted from a slot.
pub const KDF_PASSES_MAX: u32 = 16;
/// Most Argon2 lanes accepted from a slot.
pub const KDF_LANES_MAX: u32 = 16;

/// Cost of an Argon2id derivation (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfCost {
    /// Memory, KiB.
    pub m_kib: u32,
    /// Passes over it.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

/// Cost of new password slots: 19 MiB, 2 passes, 1 lane.
///
/// The first choice of the OWASP Password Storage Cheat Sheet (2023). More would be better against a weak password,
/// but every command pays it: this is 26 ms where the second recommendation of RFC 9106 §4 (64 MiB, 3 passes) is
/// 152 ms (docs/adr/0013). A slot records its own cost, so it can be raised at any time.
pub const KDF_DEFAULT: KdfCost = KdfCost { m_kib: 19 << 10, t: 2, p: 1 };

impl KdfCost {
    fn in_bounds(self) -> bool {
        (1..=KDF_PASSES_MAX).contains(&self.t)
            && (1..=KDF_LANES_MAX).contains(&self.p)
            && (8 * self.p..=KDF_MEMORY_KIB_MAX).contains(&self.m_kib)
    }
}

/// How a slot's KEK comes from the user's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    // Ids 3 (public-key recipient) and 4 (key management service) are reserved: `Unsupported` for now.
}

/// The secret a user presents.
#[derive(Clone, Copy)]
pub enum SlotSecret<'a> {
    /// A password, as the bytes typed.
    Password(&'a [u8]),
    /// The key of a key file.
    KeyFile(&'a KeyFile),
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
    wrapped: Vec<u8>,
}

impl KeySlot {
    /// Wraps `keyring_key` for `secret`; `cost` applies to passwords.
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
    ) -> Result<Self> {
        if !cost.in_bounds() || label.len() > LABEL_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "key", "key derivation cost or label length out of bounds"));
        }
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        let kdf = match secret {
            SlotSecret::Password(_) => SlotKdf::Argon2id { cost, salt },
            SlotSecret::KeyFile(_) => SlotKdf::KeyFile { salt },
        };
        let mut slot = Self { repository, kdf, created, label: label.to_owned(), wrapped: Vec::new() };
        let kek = slot.kek(secret)?;
        slot.wrapped = sealed::seal(Cipher::Aes256Gcm, &kek, &slot.parameters(), &keyring_key.0, entropy)?;
        Ok(slot)
    }

    /// The keyring key. Costs one key derivation.
    ///
    /// # Errors
    /// `WrongKey` if `secret` is not this slot's; `Corrupt` if the slot is damaged, forged or another repository's.
    pub fn open(&self, secret: SlotSecret<'_>, repository: &RepositoryId) -> Result<Key32> {
        if self.repository != *repository {
            return Err(corrupt("key slot").with("reason", "it belongs to another repository"));
        }
        let kek = self.kek(secret)?;
        if !sealed::commits_to(&kek, &self.wrapped)? {
            return Err(wrong_key("the password or key file does not open this key slot").with("label", &self.label));
        }
        let plain = Zeroizing::new(sealed::open(&kek, &self.parameters(), &self.wrapped)?);
        let bytes = plain.as_slice().try_into().map_err(|_| corrupt("key slot"))?;
        Ok(Key32(bytes))
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
        let repository = RepositoryId(reader.array()?);
        let cost = KdfCost { m_kib: reader.u32()?, t: reader.u32()?, p: reader.u32()? };
        let salt = reader.array()?;
        let kdf = match kind {
            1 if cost.in_bounds() => SlotKdf::Argon2id { cost, salt },
            1 => return Err(corrupt("key slot").with("reason", "key derivation cost out of bounds")),
            2 => SlotKdf::KeyFile { salt },
            _ => {
                return Err(Error::new(ErrorKind::Unsupported, "open", "key slot of an unknown kind")
                    .with("kind", kind)
                    .with_hint("use a newer decube-backup, or another key slot"));
            }
        };
        let created = Timestamp { seconds: reader.u64()? as i64, nanoseconds: reader.u32()? };
        let label = String::from_utf8(reader.bytes(LABEL_BYTES_MAX)?.to_vec()).map_err(|_| corrupt("key slot"))?;
        let wrapped = reader.take(32 + sealed::OVERHEAD_BYTES)?.to_vec();
        reader.finish()?;
        let slot = Self { repository, kdf, created, label, wrapped };
        if created.nanoseconds < 1_000_000_000 && slot.encode() == bytes { Ok(slot) } else { Err(corrupt("key slot")) }
    }

    /// Everything before the wrapped key: the seal's additional data.
    fn parameters(&self) -> Vec<u8> {
        let (kind, cost, salt) = match &self.kdf {
            SlotKdf::Argon2id { cost, salt } => (1, *cost, salt),
            SlotKdf::KeyFile { salt } => (2, KdfCost { m_kib: 0, t: 0, p: 0 }, salt),
        };
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(MAGIC);
        out.write_u16(VERSION);
        out.write_u8(kind);
        out.extend_from_slice(&self.repository.0);
        out.write_u32(cost.m_kib);
        out.write_u32(cost.t);
        out.write_u32(cost.p);
        out.extend_from_slice(salt);
        out.write_u64(self.created.seconds as u64);
        out.write_u32(self.created.nanoseconds);
        out.write_bytes(self.label.as_bytes());
        out
    }

    fn kek(&self, secret: SlotSecret<'_>) -> Result<Key32> {
        match (&self.kdf, secret) {
            (SlotKdf::Argon2id { cost, salt }, SlotSecret::Password(password)) => argon2id(*cost, salt, password),
            (SlotKdf::KeyFile { salt }, SlotSecret::KeyFile(file)) => {
                Ok(file.0.derive("decube-backup 2026 v1 key file KEK", salt))
            }
            (SlotKdf::Argon2id { .. }, SlotSecret::KeyFile(_)) => Err(wrong_key("this key slot takes a password")),
            (SlotKdf::KeyFile { .. }, SlotSecret::Password(_)) => Err(wrong_key("this key slot takes a key file")),
        }
    }
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

fn argon2id(cost: KdfCost, salt: &[u8; 16], password: &[u8]) -> Result<Key32> {
    let failed = |error: argon2::Error| {
        Error::new(ErrorKind::Invalid, "open", format!("key derivation failed: {error}")).with("m_kib", cost.m_kib)
    };
    let params = Params::new(cost.m_kib, cost.t, cost.p, Some(32)).map_err(failed)?;
    let mut kek = Key32::default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, &mut kek.0)
        .map_err(failed)?;
    Ok(kek)
}

/// A key file: 32 random bytes as text, for machines that unlock without a password.
///
/// Three lines: `decube-backup-key-1`, the key as 64 hex digits, and the first 8 bytes of the BLAKE3 of the two
/// lines before as 16 hex digits, so that a cut or mistyped file is named as such and not as a wrong key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFile(Key32);

const KEY_FILE_MAGIC: &str = "decube-backup-key-1";

impl KeyFile {
    /// Makes a new key.
    ///
    /// # Errors
    /// No entropy.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        let mut key = Key32::default();
        entropy.fill(&mut key.0)?;
        Ok(Self(key))
    }

    /// The file's text.
    pub fn to_text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(crate::ids::hex(&self.0.0));
        let mut text = Zeroizing::new(String::with_capacity(128));
        for part in [KEY_FILE_MAGIC, "\n", key.as_str(), "\n"] {
            text.push_str(part);
        }
        let check = key_file_check(&text);
        text.push_str(&check);
        text.push('\n');
        text
    }

    /// Reads a file's text; line ends may be CR LF and a last one missing.
    ///
    /// # Errors
    /// `Invalid` if it is not a whole key file.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Invalid, "open", "not a whole key file")
                .with_hint("a key file has three lines, the first is decube-backup-key-1")
        };
        let text = std::str::from_utf8(text).map_err(|_| invalid())?;
        let mut lines = text.lines();
        let (Some(KEY_FILE_MAGIC), Some(key), Some(check), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(invalid());
        };
        let file = Self(Key32(crate::ids::ChunkId::from_hex(key).map_err(|_| invalid())?.0));
        let whole = Zeroizing::new(format!("{KEY_FILE_MAGIC}\n{key}\n"));
        if key_file_check(&whole) == check { Ok(file) } else { Err(invalid()) }
    }
}

fn key_file_check(lines: &str) -> String {
    let hash = blake3::hash(lines.as_bytes());
    crate::ids::hex(hash.as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]))
}
