//! Key derivation and keyed content ids.
//!
//! One random 32-byte secret per purpose sits in the keyring; everything else derives from them with
//! BLAKE3 `derive_key`, whose context strings are globally unique and never change.

use crate::ids::{ChunkId, PackId};
use decube_backup_core::zeros::is_zero;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 32-byte secret, wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Default)]
pub struct Key32(pub [u8; 32]);

impl std::fmt::Debug for Key32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Key32 {
    /// Derives the key for `context` and `material` from this one.
    pub fn derive(&self, context: &'static str, material: &[u8]) -> Key32 {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0).update(material);
        Key32(*hasher.finalize().as_bytes())
    }
}

/// What a content id is made of; file content and nodes never share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A chunk of file content.
    Content,
    /// A tree or list node.
    Node,
}

/// Makes content ids under a repository's id key.
#[derive(Clone)]
pub struct ContentHasher {
    content: Key32,
    node: Key32,
    /// Length and id of a content of zeros that is met often.
    zeros: (usize, ChunkId),
}

impl ContentHasher {
    /// From the keyring's `id_key`.
    pub fn new(id_key: &Key32) -> Self {
        let content = id_key.derive("decube-backup 2026 v1 content id", &[]);
        let node = id_key.derive("decube-backup 2026 v1 node id", &[]);
        let zeros = (0, keyed(&content, &[]));
        Self { content, node, zeros }
    }

    /// The same, which hashes `len` zeros only once: what a chunker makes of any number of them.
    #[must_use]
    pub fn knowing_zeros(self, len: usize) -> Self {
        let zeros = (len, keyed(&self.content, &vec![0; len]));
        Self { zeros, ..self }
    }

    /// Keyed BLAKE3 of `bytes` in `domain`.
    pub fn id(&self, domain: Domain, bytes: &[u8]) -> ChunkId {
        match domain {
            Domain::Content if bytes.len() == self.zeros.0 && is_zero(bytes) => self.zeros.1,
            Domain::Content => keyed(&self.content, bytes),
            Domain::Node => keyed(&self.node, bytes),
        }
    }
}

fn keyed(key: &Key32, bytes: &[u8]) -> ChunkId {
    ChunkId(*blake3::keyed_hash(&key.0, bytes).as_bytes())
}

/// The key of one pack: used for its segments and footer and for nothing else.
pub fn pack_key(data_or_meta_key: &Key32, pack: &PackId) -> Key32 {
    data_or_meta_key.derive("decube-backup 2026 v1 pack key", &pack.0)
}

/// A value that commits to `key` without revealing it: stored beside what the key seals, so that a
/// ciphertext cannot be made to open under two keys.
pub fn commitment(key: &Key32, purpose: &[u8]) -> [u8; 32] {
    key.derive("decube-backup 2026 v1 key commitment", purpose).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_nodes_never_share_an_id() {
        let hasher = ContentHasher::new(&Key32([1; 32]));
        assert_ne!(hasher.id(Domain::Content, b"x"), hasher.id(Domain::Node, b"x"));
        assert_ne!(hasher.id(Domain::Content, b"x"), ContentHasher::new(&Key32([2; 32])).id(Domain::Content, b"x"));
        assert_eq!(format!("{:?}", Key32([7; 32])), "***");
    }

    #[test]
    fn zeros_known_before_have_the_id_that_hashing_gives() {
        let plain = ContentHasher::new(&Key32([1; 32]));
        let knowing = plain.clone().knowing_zeros(5000);
        let mut bytes = vec![0; 5001];
        for len in [0, 4999, 5000, 5001] {
            for domain in [Domain::Content, Domain::Node] {
                assert_eq!(knowing.id(domain, &bytes[..len]), plain.id(domain, &bytes[..len]), "{len}");
            }
        }
        bytes[4999] = 1;
        assert_eq!(knowing.id(Domain::Content, &bytes[..5000]), plain.id(Domain::Content, &bytes[..5000]));
    }
}
