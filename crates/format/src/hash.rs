//! Key derivation and keyed content ids.
//!
//! One random 32-byte secret per purpose sits in the keyring; everything else derives from them with
//! BLAKE3 `derive_key`, whose context strings are globally unique and never change.

use crate::ids::{ChunkId, PackId};
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
}

impl ContentHasher {
    /// From the keyring's `id_key`.
    pub fn new(id_key: &Key32) -> Self {
        Self {
            content: id_key.derive("decube-backup 2026 v1 content id", &[]),
            node: id_key.derive("decube-backup 2026 v1 node id", &[]),
        }
    }

    /// Keyed BLAKE3 of `bytes` in `domain`.
    pub fn id(&self, domain: Domain, bytes: &[u8]) -> ChunkId {
        let key = match domain {
            Domain::Content => &self.content,
            Domain::Node => &self.node,
        };
        ChunkId(*blake3::keyed_hash(&key.0, bytes).as_bytes())
    }
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
}
