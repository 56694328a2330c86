//! List nodes ↔ bytes.

use crate::ids::ChunkId;
use crate::tree::columns::decode_id;
use crate::tree::content::{Extent, FILE_BYTES_MAX};
use crate::tree::levels::Item;
use crate::tree::node::{HEIGHT_MAX, NODE_ITEMS_MAX, TAG_LIST_INNER, TAG_LIST_LEAF};
use crate::wire::{Reader, Writer};
use decube_backup_core::Result;

/// One child of an inner list node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListChild {
    /// The node.
    pub id: ChunkId,
    /// File bytes it covers, at least 1.
    pub len: u64,
}

/// A decoded list node; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListNode {
    /// Extents in file order.
    Leaf(Vec<Extent>),
    /// Children in file order.
    Inner {
        /// At least 1; every child's is one less.
        height: u8,
        /// The children.
        children: Vec<ListChild>,
    },
}

impl ListNode {
    /// Height; 0 for a leaf.
    pub fn height(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { height, .. } => *height,
        }
    }
    /// File bytes covered; `None` beyond [`FILE_BYTES_MAX`].
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Leaf(extents) => sum(extents.iter().map(Extent::len)),
            Self::Inner { children, .. } => sum(children.iter().map(|c| c.len)),
        }
    }
    /// Never, once decoded.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

fn sum(mut lens: impl Iterator<Item = u64>) -> Option<u64> {
    lens.try_fold(0u64, |sum, len| sum.checked_add(len)).filter(|&sum| sum <= FILE_BYTES_MAX)
}

/// Encodes a list node.
pub fn encode_list(node: &ListNode) -> Vec<u8> {
    let mut out = Vec::new();
    match node {
        ListNode::Leaf(extents) => encode_extents(extents, &mut out),
        ListNode::Inner { height, children } => ListChild::encode(*height, children, &mut out),
    }
    out
}

pub(super) fn encode_extents(extents: &[Extent], out: &mut Vec<u8>) {
    out.write_u8(TAG_LIST_LEAF);
    out.write_varint(extents.len() as u64);
    for extent in extents {
        out.write_varint(extent.len() << 1 | u64::from(extent.chunk().is_none()));
    }
    for id in extents.iter().filter_map(Extent::chunk) {
        out.extend_from_slice(&id.0);
    }
}

/// Decodes a list node.
///
/// # Errors
/// `Corrupt` on any bytes [`encode_list`] does not yield for a legal node.
pub fn decode_list(bytes: &[u8]) -> Result<ListNode> {
    let mut reader = Reader::new(bytes, "list node");
    let node = match reader.u8()? {
        TAG_LIST_LEAF => ListNode::Leaf(decode_extents(&mut reader)?),
        TAG_LIST_INNER => {
            let height = reader.u8()?;
            let n = reader.count(1 + ChunkId::LEN)?;
            if !(1..=HEIGHT_MAX).contains(&height) || !(1..=NODE_ITEMS_MAX).contains(&n) {
                return Err(reader.corrupt());
            }
            let mut children = Vec::with_capacity(n);
            for _ in 0..n {
                let len = reader.varint()?;
                if len == 0 {
                    return Err(reader.corrupt());
                }
                children.push(ListChild { id: ChunkId::default(), len });
            }
            for child in &mut children {
                child.id = decode_id(&mut reader)?;
            }
            ListNode::Inner { height, children }
        }
        _ => return Err(reader.corrupt()),
    };
    if node.len().is_none() {
        return Err(reader.corrupt());
    }
    reader.finish()?;
    Ok(node)
}

fn decode_extents(reader: &mut Reader<'_>) -> Result<Vec<Extent>> {
    let n = reader.count(1)?;
    if !(1..=NODE_ITEMS_MAX).contains(&n) {
        return Err(reader.corrupt());
    }
    let mut extents = Vec::with_capacity(n);
    for _ in 0..n {
        let word = reader.varint()?;
        let len = word >> 1;
        if len == 0 {
            return Err(reader.corrupt());
        }
        extents.push(match word & 1 {
            1 => Extent::Hole { len },
            _ => Extent::Chunk { id: ChunkId::default(), len: u32::try_from(len).map_err(|_| reader.corrupt())? },
        });
    }
    for extent in &mut extents {
        if let Extent::Chunk { id, .. } = extent {
            *id = decode_id(reader)?;
        }
    }
    Ok(extents)
}

impl Item for ListChild {
    fn id(&self) -> &ChunkId {
        &self.id
    }
    fn weight(&self) -> usize {
        // 1024 of them stay below any byte limit: only the count cuts.
        0
    }
    fn encode(height: u8, items: &[Self], out: &mut Vec<u8>) {
        out.write_u8(TAG_LIST_INNER);
        out.write_u8(height);
        out.write_varint(items.len() as u64);
        items.iter().for_each(|c| out.write_varint(c.len));
        items.iter().for_each(|c| out.extend_from_slice(&c.id.0));
    }
    fn parent(id: ChunkId, items: &[Self]) -> Self {
        Self { id, len: items.iter().fold(0, |sum, c| sum.saturating_add(c.len)) }
    }
}
