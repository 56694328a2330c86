//! The reading key: what is sealed to its public half opens with its private half, and not for who sealed it.
//!
//! For each run a host makes an ephemeral X25519 key, agrees with the reading key's public half, and derives the keys of
//! the run from that; its objects carry the ephemeral public half. When the run is over the ephemeral secret is
//! forgotten, and only the reading key's private half gives the run's keys again. As in the base mode of HPKE, both
//! public halves go into the derivation, so that neither can be exchanged (RFC 9180 §4.1, §9.1.1); the derivation is
//! BLAKE3's instead of HKDF, and the ciphers are those of all other objects.
//!
//! *Deliberately absent*: a proof of who sealed. Whoever has the public half can seal; records are signed.

use crate::hash::Key32;
use crate::ids::{PackKind, RepositoryId};
use crate::seal::Cipher;
use crate::sealed;
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use x25519_dalek::{PublicKey, StaticSecret};

/// What an object sealed to a reading key begins with; the numbers below are ciphers.
const TO_READER: u8 = 0x80;
/// What an object for a reader and one host begins with.
const SHARED: u8 = 0x81;
/// How much longer than a sealed object one sealed to a reading key is, bytes.
const PREFIX_BYTES: usize = 1 + 4 + 32;

/// How much longer than its plaintext an object sealed to a reading key is, bytes.
pub const OVERHEAD_BYTES: usize = PREFIX_BYTES + sealed::OVERHEAD_BYTES;

/// The public half of a reading key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingPublic {
    /// Which of the repository's reading keys: the keyring generation that brought it.
    pub version: u32,
    /// The X25519 public key.
    pub key: [u8; 32],
}

impl ReadingPublic {
    /// Of the private half `secret`, 32 random bytes.
    pub fn of(version: u32, secret: &Key32) -> Self {
        Self { version, key: PublicKey::from(&StaticSecret::from(secret.0)).to_bytes() }
    }
}

/// Names the keys of one run: in each of its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTag {
    /// Version of the reading key.
    pub version: u32,
    /// The run's ephemeral public key.
    pub ephemeral: [u8; 32],
}

/// The keys of one run of a host.
#[derive(Debug)]
pub struct RunKeys {
    tag: RunTag,
    secret: Key32,
}

impl RunKeys {
    /// Those of a new run, which only the owner of `reader`'s private half can make again.
    ///
    /// # Errors
    /// `Invalid` for a public key that agrees with everything; no entropy.
    pub fn begin(reader: &ReadingPublic, repository: &RepositoryId, entropy: &dyn Entropy) -> Result<Self> {
        let mut secret = Key32::default();
        entropy.fill(&mut secret.0)?;
        let ephemeral = StaticSecret::from(secret.0);
        let tag = RunTag { version: reader.version, ephemeral: PublicKey::from(&ephemeral).to_bytes() };
        let secret = agree(&ephemeral, &reader.key, &tag, &reader.key, repository)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "seal", "the reading key is not a sound public key"))?;
        Ok(Self { tag, secret })
    }

    /// Those of the run that `tag` names, for who has the private half `reading_key` of that version.
    ///
    /// # Errors
    /// `Corrupt` for a tag nobody's run has. A wrong private half gives wrong keys.
    pub fn open(reading_key: &Key32, tag: &RunTag, repository: &RepositoryId) -> Result<Self> {
        let private = StaticSecret::from(reading_key.0);
        let public = PublicKey::from(&private).to_bytes();
        let secret =
            agree(&private, &tag.ephemeral, tag, &public, repository).ok_or_else(|| corrupt("ephemeral key"))?;
        Ok(Self { tag: *tag, secret })
    }

    /// What its objects carry.
    pub fn tag(&self) -> &RunTag {
        &self.tag
    }

    /// What the keys of its packs of `kind` derive from.
    pub fn pack_family(&self, kind: PackKind) -> Key32 {
        self.derive(match kind {
            PackKind::Data => b"data",
            PackKind::Meta => b"meta",
        })
    }

    /// Seals a small object, bound to `aad`.
    ///
    /// # Errors
    /// No entropy.
    pub fn seal(&self, cipher: Cipher, aad: &[u8], plaintext: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
        out.write_u8(TO_READER);
        out.write_u32(self.tag.version);
        out.extend_from_slice(&self.tag.ephemeral);
        out.extend_from_slice(&sealed::seal(cipher, &self.derive(b"object"), aad, plaintext, entropy)?);
        Ok(out)
    }

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for an unknown cipher.
    pub fn open_object(&self, aad: &[u8], object: &SealedToReader<'_>) -> Result<Vec<u8>> {
        sealed::open(&self.derive(b"object"), aad, object.body)
    }

    fn derive(&self, purpose: &[u8]) -> Key32 {
        self.secret.derive("decube-backup 2026 v1 run key", purpose)
    }
}

fn agree(
    own: &StaticSecret,
    other: &[u8; 32],
    tag: &RunTag,
    reader: &[u8; 32],
    repository: &RepositoryId,
) -> Option<Key32> {
    let shared = own.diffie_hellman(&PublicKey::from(*other));
    // A point of low order would give a secret that everybody knows.
    if !shared.was_contributory() {
        return None;
    }
    let mut hasher = blake3::Hasher::new_derive_key("decube-backup 2026 v1 sealed run");
    hasher.update(shared.as_bytes()).update(&tag.ephemeral).update(reader);
    hasher.update(&tag.version.to_le_bytes()).update(&repository.0);
    Some(Key32(*hasher.finalize().as_bytes()))
}

/// An object sealed to a reading key, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedToReader<'a> {
    /// Whose run sealed it.
    pub tag: RunTag,
    body: &'a [u8],
}

impl<'a> SealedToReader<'a> {
    /// `None` if `bytes` are of another form.
    ///
    /// # Errors
    /// `Corrupt` if they are too short.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>> {
        if bytes.first() != Some(&TO_READER) {
            return Ok(None);
        }
        let mut reader = Reader::new(bytes, "object sealed to a reading key");
        reader.take(1)?;
        let tag = RunTag { version: reader.u32()?, ephemeral: reader.array()? };
        Ok(Some(Self { tag, body: reader.take(reader.remaining())? }))
    }
}

/// An object that two can open, each by a key of its own: who may read, and one host. A random key seals the content and
/// is itself sealed for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared<'a> {
    /// The content's key as the reader gets it: a sealed object, or one sealed to a reading key.
    pub for_reader: &'a [u8],
    for_host: &'a [u8],
    body: &'a [u8],
}

impl<'a> Shared<'a> {
    /// Seals `plaintext`; `for_reader` seals the content's key for who may read.
    ///
    /// # Errors
    /// No entropy; what `for_reader` yields.
    pub fn seal(
        cipher: Cipher,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
        host: &Key32,
        for_reader: impl FnOnce(&Key32) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let mut key = Key32::default();
        entropy.fill(&mut key.0)?;
        let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES + 4 * sealed::OVERHEAD_BYTES);
        out.write_u8(SHARED);
        out.write_bytes(&for_reader(&key)?);
        out.write_bytes(&sealed::seal(cipher, host, aad, &key.0, entropy)?);
        out.extend_from_slice(&sealed::seal(cipher, &key, aad, plaintext, entropy)?);
        Ok(out)
    }

    /// `None` if `bytes` are of another form.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>> {
        if bytes.first() != Some(&SHARED) {
            return Ok(None);
        }
        let mut reader = Reader::new(bytes, "shared object");
        reader.take(1)?;
        let for_reader = reader.bytes(32 + OVERHEAD_BYTES)?;
        let for_host = reader.bytes(32 + sealed::OVERHEAD_BYTES)?;
        Ok(Some(Self { for_reader, for_host, body: reader.take(reader.remaining())? }))
    }

    /// Whether a host wrote it, or who else has none of the keys: it speaks for that host then, whatever its name.
    pub fn is_from_host(&self) -> bool {
        self.for_reader.first() == Some(&TO_READER)
    }

    /// Opens it for the host that has `key`.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for an unknown cipher.
    pub fn open_for_host(&self, aad: &[u8], key: &Key32) -> Result<Vec<u8>> {
        self.open(aad, &sealed::open(key, aad, self.for_host)?)
    }

    /// Opens it with the content's key, taken out of [`Self::for_reader`].
    ///
    /// # Errors
    /// As [`Self::open_for_host`].
    pub fn open(&self, aad: &[u8], content_key: &[u8]) -> Result<Vec<u8>> {
        let key = Key32(content_key.try_into().map_err(|_| corrupt("shared object"))?);
        sealed::open(&key, aad, self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decube_backup_core::world::SystemEntropy;

    const REPOSITORY: RepositoryId = RepositoryId([3; 16]);
    const SECRET: Key32 = Key32([0x42; 32]);

    fn begun() -> RunKeys {
        RunKeys::begin(&ReadingPublic::of(5, &SECRET), &REPOSITORY, &SystemEntropy).expect("begun")
    }

    #[test]
    fn public_halves_are_those_of_rfc_7748() {
        let bytes = |text: &str| crate::ids::ChunkId::from_hex(text).expect("hex").0;
        // Section 6.1, Bob.
        let private = Key32(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(ReadingPublic::of(0, &private).key, public);
    }

    #[test]
    fn who_has_the_private_half_gets_the_same_keys_and_nobody_else_does() {
        let run = begun();
        let again = RunKeys::open(&SECRET, run.tag(), &REPOSITORY).expect("opened");
        for kind in [PackKind::Data, PackKind::Meta] {
            assert_eq!(run.pack_family(kind), again.pack_family(kind));
        }
        assert_ne!(run.pack_family(PackKind::Data), run.pack_family(PackKind::Meta));
        let sealed = run.seal(Cipher::Aes256Gcm, b"aad", b"plain", &SystemEntropy).expect("sealed");
        assert_eq!(sealed.len(), 5 + OVERHEAD_BYTES);
        let object = SealedToReader::parse(&sealed).expect("whole").expect("of this form");
        assert_eq!(again.open_object(b"aad", &object).expect("opens"), b"plain");
        assert!(again.open_object(b"other", &object).is_err());
        let other = |secret: &Key32, tag: &RunTag, repository: &RepositoryId| {
            RunKeys::open(secret, tag, repository).expect("keys").open_object(b"aad", &object).is_err()
        };
        assert!(other(&Key32([0x43; 32]), run.tag(), &REPOSITORY));
        assert!(other(&SECRET, &RunTag { version: 6, ..*run.tag() }, &REPOSITORY));
        assert!(other(&SECRET, run.tag(), &RepositoryId([4; 16])));
        assert!(other(&SECRET, begun().tag(), &REPOSITORY));
    }

    #[test]
    fn keys_of_low_order_are_refused() {
        for point in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            let public = ReadingPublic { version: 0, key: point };
            assert!(RunKeys::begin(&public, &REPOSITORY, &SystemEntropy).is_err());
            let tag = RunTag { version: 0, ephemeral: point };
            assert_eq!(RunKeys::open(&SECRET, &tag, &REPOSITORY).expect_err("refused").kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn a_shared_object_opens_for_both_and_for_nobody_else() {
        let (run, host) = (begun(), Key32([8; 32]));
        let cipher = Cipher::ChaCha20Poly1305;
        let sealed = Shared::seal(cipher, b"aad", b"table", &SystemEntropy, &host, |key| {
            run.seal(cipher, b"aad", &key.0, &SystemEntropy)
        })
        .expect("sealed");
        let shared = Shared::parse(&sealed).expect("whole").expect("of this form");
        assert_eq!(shared.open_for_host(b"aad", &host).expect("opens"), b"table");
        assert!(shared.open_for_host(b"aad", &Key32([9; 32])).is_err());
        let wrapped = SealedToReader::parse(shared.for_reader).expect("whole").expect("of this form");
        let key = RunKeys::open(&SECRET, &wrapped.tag, &REPOSITORY).expect("keys").open_object(b"aad", &wrapped);
        assert_eq!(shared.open(b"aad", &key.expect("opens")).expect("opens"), b"table");
        for at in 1..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            let opened = Shared::parse(&bad)
                .and_then(|shared| shared.map_or(Err(corrupt("form")), |shared| shared.open_for_host(b"aad", &host)));
            let parsed = Shared::parse(&bad);
            // What is for the other one is not looked at.
            let in_readers = (3..3 + 32 + OVERHEAD_BYTES).contains(&at);
            assert!(in_readers || opened.is_err() || parsed.is_err(), "byte {at}");
        }
    }
}
