//! Authenticated encryption of segments by ring.
//!
//! Each pack has its own key, so a counter is a safe nonce: segment number, little-endian, zero
//! padded. Footer and trailer use the two highest counters.

use crate::hash::Key32;
use crate::wire::corrupt;
use decube_backup_core::transform::{SegmentContext, Transform};
use decube_backup_core::{Error, ErrorKind, Result};
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

/// Bytes a seal adds.
pub const TAG_BYTES: usize = 16;

/// Which AEAD seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cipher {
    /// AES-256-GCM: fastest wherever the CPU has AES instructions.
    Aes256Gcm,
    /// ChaCha20-Poly1305: fastest elsewhere.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Its stable number.
    pub fn id(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }
    /// From its number.
    ///
    /// # Errors
    /// `Unsupported` if unknown.
    pub fn from_id(id: u8) -> Result<Self> {
        match id {
            1 => Ok(Self::Aes256Gcm),
            2 => Ok(Self::ChaCha20Poly1305),
            _ => Err(Error::new(ErrorKind::Unsupported, "decode", "unknown cipher").with("cipher", id)),
        }
    }
    /// A key ready for use.
    pub fn key(self, key: &Key32) -> SealingKey {
        let algorithm = match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        // 32 bytes fit both algorithms, so this cannot fail; a failure would make every open fail.
        SealingKey(UnboundKey::new(algorithm, &key.0).ok().map(LessSafeKey::new))
    }
}

/// An expanded key; seals and opens in place.
pub struct SealingKey(Option<LessSafeKey>);

/// The 12-byte nonce of a counter.
pub fn counter_nonce(counter: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&counter.to_le_bytes());
    nonce
}

impl SealingKey {
    /// Encrypts `bytes[from..]` in place and appends the tag.
    ///
    /// # Errors
    /// `Internal` for input beyond the cipher's bound (64 GiB).
    pub fn seal(&self, nonce: [u8; 12], associated: &[u8], bytes: &mut Vec<u8>, from: usize) -> Result<()> {
        let internal = || Error::new(ErrorKind::Internal, "seal", "cipher refused");
        let key = self.0.as_ref().ok_or_else(internal)?;
        let body = bytes.get_mut(from..).ok_or_else(internal)?;
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), body)
            .map_err(|_| internal())?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts `bytes` in place; the plaintext is the returned front part.
    ///
    /// # Errors
    /// `Corrupt` if the tag does not match.
    pub fn open<'a>(&self, nonce: [u8; 12], associated: &[u8], bytes: &'a mut [u8]) -> Result<&'a mut [u8]> {
        let key = self.0.as_ref().ok_or_else(|| corrupt("sealed bytes"))?;
        key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), bytes)
            .map_err(|_| corrupt("sealed bytes"))
    }
}

impl Transform for Cipher {
    fn name(&self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
    fn apply(&self, context: &SegmentContext<'_>, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        let from = output.len();
        output.extend_from_slice(input);
        self.key(&Key32(*context.key)).seal(counter_nonce(context.segment), context.associated, output, from)
    }
    fn invert(&self, context: &SegmentContext<'_>, input: &[u8], len_max: usize, output: &mut Vec<u8>) -> Result<()> {
        if input.len().saturating_sub(TAG_BYTES) > len_max {
            return Err(corrupt("sealed bytes"));
        }
        let mut bytes = input.to_vec();
        let plain =
            self.key(&Key32(*context.key)).open(counter_nonce(context.segment), context.associated, &mut bytes)?;
        output.extend_from_slice(plain);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_anywhere_is_refused() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let key = [5; 32];
            let context = SegmentContext { key: &key, segment: 7, associated: b"header" };
            let mut sealed = Vec::new();
            cipher.apply(&context, b"plaintext", &mut sealed).expect("seals");
            for bit in 0..sealed.len() * 8 {
                let mut bad = sealed.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(cipher.invert(&context, &bad, 100, &mut Vec::new()).is_err());
            }
            let other = SegmentContext { segment: 8, ..context };
            assert!(cipher.invert(&other, &sealed, 100, &mut Vec::new()).is_err());
            let mut out = Vec::new();
            cipher.invert(&context, &sealed, 100, &mut out).expect("opens");
            assert_eq!(out, b"plaintext");
        }
    }
}
