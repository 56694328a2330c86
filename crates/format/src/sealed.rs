//! Sealing of small objects: keyring, key slots, record payloads, index segments, checkpoints.
//!
//! `cipher u8 | nonce 12 | commitment 32 | ciphertext | tag 16`. The cipher key derives from the given key and
//! the cipher id, so no key is used by two algorithms. The commitment ties the bytes to one key: a ciphertext
//! cannot be made to open under two (AES-GCM and ChaCha20-Poly1305 alone do not promise that; Albertini et al.,
//! "How to Abuse and Fix Authenticated Encryption Without Key Commitment", USENIX Security 2022), and a wrong
//! key is told from damaged bytes. Nonces are random: 2^32 objects under one key keep the risk of a repeat
//! below 2^-32 (NIST SP 800-38D §8.3). Packs have their own scheme with counted nonces.

use crate::hash::{Key32, commitment};
use crate::ids::RepositoryId;
use crate::seal::{Cipher, SealingKey, TAG_BYTES};
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::Result;
use decube_backup_core::world::Entropy;

const NONCE_BYTES: usize = 12;
const COMMITMENT_BYTES: usize = 32;
const PREFIX_BYTES: usize = 1 + NONCE_BYTES + COMMITMENT_BYTES;

/// How much longer than its plaintext a sealed object is, bytes.
pub const OVERHEAD_BYTES: usize = PREFIX_BYTES + TAG_BYTES;

/// Additional data that binds a sealed object to its use: `purpose`, repository and object name.
pub fn aad(purpose: &str, repository: &RepositoryId, name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(purpose.len() + name.len() + RepositoryId::LEN + 4);
    out.write_bytes(purpose.as_bytes());
    out.extend_from_slice(&repository.0);
    out.write_bytes(name.as_bytes());
    out
}

/// Seals `plaintext` under `key`, bound to `aad`.
///
/// # Errors
/// No entropy.
pub fn seal(cipher: Cipher, key: &Key32, aad: &[u8], plaintext: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut nonce)?;
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
    out.write_u8(cipher.id());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&commitment_for(key, cipher.id(), &nonce));
    out.extend_from_slice(plaintext);
    sealing_key(cipher, key).seal(nonce, aad, &mut out, PREFIX_BYTES)?;
    Ok(out)
}

/// Opens what [`seal`] made under the same `key` and `aad`.
///
/// # Errors
/// `Corrupt` if bytes, key or additional data are not the ones sealed; `Unsupported` for an unknown cipher.
pub fn open(key: &Key32, aad: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    let parts = Parts::split(bytes)?;
    if !parts.commits_to(key) {
        return Err(corrupt("sealed object").with("reason", "sealed under another key, or damaged"));
    }
    let mut body = parts.body.to_vec();
    let plain_len = sealing_key(parts.cipher, key).open(parts.nonce, aad, &mut body)?.len();
    body.truncate(plain_len);
    Ok(body)
}

/// Whether `bytes` were sealed under `key`: tells a wrong key from damage before [`open`].
///
/// # Errors
/// `Corrupt` if `bytes` are too short, `Unsupported` for an unknown cipher.
pub fn commits_to(key: &Key32, bytes: &[u8]) -> Result<bool> {
    Ok(Parts::split(bytes)?.commits_to(key))
}

struct Parts<'a> {
    cipher: Cipher,
    nonce: [u8; NONCE_BYTES],
    commitment: [u8; COMMITMENT_BYTES],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() < OVERHEAD_BYTES {
            return Err(corrupt("sealed object"));
        }
        let mut reader = Reader::new(bytes, "sealed object");
        let cipher = Cipher::from_id(reader.u8()?)?;
        let nonce = reader.array()?;
        let commitment = reader.array()?;
        let body = reader.take(reader.remaining())?;
        Ok(Self { cipher, nonce, commitment, body })
    }

    fn commits_to(&self, key: &Key32) -> bool {
        self.commitment == commitment_for(key, self.cipher.id(), &self.nonce)
    }
}

fn sealing_key(cipher: Cipher, key: &Key32) -> SealingKey {
    cipher.key(&key.derive("decube-backup 2026 v1 sealed object", &[cipher.id()]))
}

fn commitment_for(key: &Key32, cipher: u8, nonce: &[u8; NONCE_BYTES]) -> [u8; COMMITMENT_BYTES] {
    let mut purpose = b"sealed object".to_vec();
    purpose.push(cipher);
    purpose.extend_from_slice(nonce);
    commitment(key, &purpose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use decube_backup_core::ErrorKind;
    use decube_backup_core::world::SystemEntropy;

    const KEY: Key32 = Key32([7; 32]);

    #[test]
    fn both_ciphers_round_trip_and_bind_key_and_additional_data() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let sealed = seal(cipher, &KEY, b"aad", b"plain", &SystemEntropy).expect("sealed");
            assert_eq!(sealed.len(), 5 + OVERHEAD_BYTES);
            assert_eq!(open(&KEY, b"aad", &sealed).expect("opens"), b"plain");
            assert_eq!(open(&KEY, b"other", &sealed).expect_err("aad").kind(), ErrorKind::Corrupt);
            assert_eq!(open(&Key32([8; 32]), b"aad", &sealed).expect_err("key").kind(), ErrorKind::Corrupt);
            assert!(commits_to(&KEY, &sealed).expect("whole"));
            assert!(!commits_to(&Key32([8; 32]), &sealed).expect("whole"));
        }
    }

    #[test]
    fn every_flipped_or_missing_byte_is_refused() {
        let sealed = seal(Cipher::Aes256Gcm, &KEY, b"", b"plain text", &SystemEntropy).expect("sealed");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&KEY, b"", &bad).is_err(), "byte {at}");
            assert!(open(&KEY, b"", &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
