//! Where a file's bytes are: nowhere, in the leaf itself, in a short list of extents, or in list nodes.

use crate::ids::ChunkId;

/// Longest content kept in a leaf, bytes.
pub const INLINE_BYTES_MAX: usize = 256;
/// Most extents kept in a leaf; a longer list goes to list nodes.
pub const LEAF_EXTENTS_MAX: usize = 32;
/// Longest file, bytes: what a signed 64-bit offset can reach.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// A stretch of a file, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// `len` bytes that are the chunk `id`.
    Chunk {
        /// The chunk.
        id: ChunkId,
        /// Its length, bytes, at least 1.
        len: u32,
    },
    /// `len` zero bytes that no block backs.
    Hole {
        /// Its length, bytes, at least 1.
        len: u64,
    },
}

impl Extent {
    /// Length in the file, bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Chunk { len, .. } => u64::from(*len),
            Self::Hole { len } => *len,
        }
    }
    /// Whether it covers nothing: never in a valid tree.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The chunk it needs; `None` for a hole.
    pub fn chunk(&self) -> Option<&ChunkId> {
        match self {
            Self::Chunk { id, .. } => Some(id),
            Self::Hole { .. } => None,
        }
    }
}

/// The content of one entry. Its length is the entry's size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Content {
    /// Nothing: not a file, or an empty one.
    #[default]
    None,
    /// The bytes themselves, `1..=INLINE_BYTES_MAX`.
    Inline(Vec<u8>),
    /// `1..=LEAF_EXTENTS_MAX` extents in file order without gaps.
    Extents(Vec<Extent>),
    /// More extents than a leaf takes, in list nodes.
    List {
        /// The list's root node.
        root: ChunkId,
        /// Sum of all extents, bytes.
        len: u64,
        /// 0 if the root holds the extents themselves.
        height: u8,
    },
}

impl Content {
    /// Length, bytes; `None` beyond [`FILE_BYTES_MAX`].
    pub fn len(&self) -> Option<u64> {
        let len = match self {
            Self::None => 0,
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Extents(extents) => extents.iter().try_fold(0u64, |sum, e| sum.checked_add(e.len()))?,
            Self::List { len, .. } => *len,
        };
        (len <= FILE_BYTES_MAX).then_some(len)
    }
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}
