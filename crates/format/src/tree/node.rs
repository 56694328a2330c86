//! What all nodes share: reading and writing them, their limits, and where a level is cut.

use crate::hash::Key32;
use crate::ids::ChunkId;
use bytes::Bytes;
use decube_backup_core::Result;
use serde::{Deserialize, Serialize};

/// First byte of a tree leaf.
pub(super) const TAG_LEAF: u8 = 1;
/// First byte of an inner tree node.
pub(super) const TAG_INNER: u8 = 2;
/// First byte of a list leaf.
pub(super) const TAG_LIST_LEAF: u8 = 3;
/// First byte of an inner list node.
pub(super) const TAG_LIST_INNER: u8 = 4;

/// Most items in one node.
pub const NODE_ITEMS_MAX: usize = 1024;
/// Fewest items before a tree node is cut by hash.
pub const TREE_ITEMS_MIN: usize = 32;
/// Fewest items before a list node is cut by hash.
pub const LIST_ITEMS_MIN: usize = 64;
/// A node is cut once its items weigh this much, bytes.
pub const NODE_WEIGHT_MAX: usize = 256 << 10;
/// Heaviest single entry, bytes; one is always taken, so a leaf weighs less than the sum of both.
pub const ENTRY_WEIGHT_MAX: usize = 4 << 20;
/// Highest root; leaves are 0.
pub const HEIGHT_MAX: u8 = 16;

/// Takes the nodes of a tree or list as they are finished, children before parents.
pub trait NodeWriter {
    /// Stores `bytes` under `id`. The same id may come again, with the same bytes.
    ///
    /// # Errors
    /// Whatever storing yields; it ends the build.
    fn put_node(&mut self, id: ChunkId, bytes: &[u8]) -> Result<()>;
}

/// Gives the nodes of a tree or list.
pub trait NodeReader {
    /// The bytes of node `id`, already checked against it.
    ///
    /// # Errors
    /// `Corrupt` if missing or damaged; otherwise what reading yields.
    fn node(&self, id: &ChunkId) -> Result<Bytes>;
}

impl<R: NodeReader + ?Sized> NodeReader for &R {
    fn node(&self, id: &ChunkId) -> Result<Bytes> {
        (**self).node(id)
    }
}

/// A finished tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TreeRoot {
    /// The root node: equal for equal trees.
    pub id: ChunkId,
    /// 0 if the root is a leaf.
    pub height: u8,
    /// Number of entries.
    pub entries: u64,
    /// Sum of all file sizes, bytes, saturating; each member of a hard-link group counts.
    pub bytes: u64,
}

/// Decides by a keyed hash where a level may be cut: one item in 256, the same ones in every tree that
/// has them, unpredictable without the key.
pub(super) struct Cutter(Key32);

impl Cutter {
    pub(super) fn new(cut_key: &Key32, level: &[u8]) -> Self {
        Self(cut_key.derive("decube-backup 2026 v1 tree cut", level))
    }
    pub(super) fn hits(&self, item: &[u8]) -> bool {
        blake3::keyed_hash(&self.0.0, item).as_bytes().first() == Some(&0)
    }
}
