//! Keys that are no secret, and the wrappings that bytes need to get past a checksum, a seal or a signature.

use decube_backup_core::Result;
use decube_backup_core::world::Entropy;
use decube_backup_format::hash::{Key32, pack_key};
use decube_backup_format::ids::{PackId, PackKind, PackName, RepositoryId};
use decube_backup_format::pack::PackHeader;
use decube_backup_format::seal::{Cipher, counter_nonce};
use decube_backup_format::sealed;
use decube_backup_format::wire::Writer;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// Every key of the fuzzed repository.
pub const KEY: Key32 = Key32([7; 32]);
/// The fuzzed repository.
pub const REPOSITORY: RepositoryId = RepositoryId([1; 16]);
/// Its only pack.
pub const PACK: PackName = PackName { kind: PackKind::Data, id: PackId([3; 16]) };

const RECORD_MAGIC: &[u8; 8] = b"DECUBELG";
const FOOTER_COUNTER: u32 = u32::MAX;
const TRAILER_COUNTER: u32 = u32::MAX - 1;

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

/// `plain` sealed as the object `name` of the fuzzed repository.
pub fn sealed_as(purpose: &str, name: &str, plain: &[u8]) -> Vec<u8> {
    let aad = sealed::aad(purpose, &REPOSITORY, name);
    sealed::seal(Cipher::Aes256Gcm, &KEY, &aad, plain, &NoEntropy).expect("sealed")
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

/// The header of [`PACK`].
pub fn pack_header() -> PackHeader {
    PackHeader::new(REPOSITORY, PACK, Cipher::Aes256Gcm, 0, &pack_key(&KEY, &PACK.id))
}

/// `plain` sealed as that segment of [`PACK`].
pub fn sealed_segment(number: u32, raw_len: u32, codec: u8, plain: &[u8]) -> Vec<u8> {
    let mut associated = pack_header().encode();
    associated.write_u32(number);
    associated.write_u32(raw_len);
    associated.write_u8(codec);
    seal_in_pack(number, &associated, plain)
}

/// A pack of no segments with this footer, `padding` zeros before it and this trailer; the hash holds.
pub fn pack_with(footer: &[u8], padding: usize, trailer: &[u8; 8]) -> Vec<u8> {
    let header = pack_header().encode();
    let mut bytes = header.clone();
    bytes.resize(bytes.len() + padding, 0);
    bytes.extend_from_slice(&seal_in_pack(FOOTER_COUNTER, &header, footer));
    bytes.extend_from_slice(&seal_in_pack(TRAILER_COUNTER, &header, trailer));
    with_checksum(&bytes, &[])
}

fn seal_in_pack(counter: u32, associated: &[u8], plain: &[u8]) -> Vec<u8> {
    let key = Cipher::Aes256Gcm.key(&pack_key(&KEY, &PACK.id));
    let mut bytes = plain.to_vec();
    key.seal(counter_nonce(counter), associated, &mut bytes, 0).expect("sealed");
    bytes
}
