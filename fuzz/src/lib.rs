//! What the targets share: keys that are no secret, and the wrappings that bytes need to get past a checksum, a
//! seal or a signature.

use decube_backup_core::Result;
use decube_backup_core::world::Entropy;
use decube_backup_format::hash::Key32;
use decube_backup_format::ids::RepositoryId;
use decube_backup_format::seal::Cipher;
use decube_backup_format::sealed;
use decube_backup_format::wire::Writer;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// Every key of the fuzzed repository.
pub const KEY: Key32 = Key32([7; 32]);
/// The fuzzed repository.
pub const REPOSITORY: RepositoryId = RepositoryId([1; 16]);

const RECORD_MAGIC: &[u8; 8] = b"DECUBELG";

/// Entropy without surprises: a run has to be repeatable.
pub struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, buf: &mut [u8]) -> Result<()> {
        buf.fill(9);
        Ok(())
    }
}

/// `magic`, `body` and the BLAKE3 of both: an object whose checksum holds.
pub fn with_checksum(magic: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = [magic, body].concat();
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// `body`, a writer's public key and its signature: a record as far as anyone without keys can tell.
pub fn signed(body: &[u8]) -> Vec<u8> {
    let writer = Ed25519KeyPair::from_seed_unchecked(&KEY.0).expect("any seed will do");
    let mut bytes = body.to_vec();
    bytes.extend_from_slice(writer.public_key().as_ref());
    let mut digest = blake3::Hasher::new_derive_key("decube-backup 2026 v1 record signature");
    digest.update(&bytes);
    let signature = writer.sign(digest.finalize().as_bytes());
    bytes.extend_from_slice(signature.as_ref());
    bytes
}

/// Record 0 of the fuzzed repository with this payload, sealed and signed.
pub fn record_with(payload: &[u8]) -> Vec<u8> {
    let mut bytes = RECORD_MAGIC.to_vec();
    bytes.write_u16(1);
    bytes.extend_from_slice(&REPOSITORY.0);
    bytes.write_u64(0);
    bytes.extend_from_slice(&[0; 32 + 16]); // nothing before it; its nonce
    bytes.extend_from_slice(&[0; 3]); // admits, adds, reclaims nothing
    bytes.write_u32((payload.len() + sealed::OVERHEAD_BYTES) as u32);
    let body = sealed::seal(Cipher::Aes256Gcm, &KEY, &bytes, payload, &NoEntropy).expect("sealed");
    bytes.extend_from_slice(&body);
    signed(&bytes)
}
