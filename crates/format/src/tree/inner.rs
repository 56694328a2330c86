//! The inner node: the children of one subtree as columns. Bytes: `docs/format/tree.md`.

use super::columns::{Budget, decode_id};
use super::levels::Item;
use super::node::{ENTRY_WEIGHT_MAX, HEIGHT_MAX, NODE_ITEMS_MAX, NODE_WEIGHT_MAX, TAG_INNER};
use super::paths::{decode_paths, encode_paths};
use crate::ids::ChunkId;
use crate::wire::{Reader, Writer};
use decube_backup_core::{EntryPath, Result};

/// One child of an inner node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Path of its first entry.
    pub first: EntryPath,
    /// The node.
    pub id: ChunkId,
    /// Entries below it.
    pub entries: u64,
    /// File bytes below it, saturating.
    pub bytes: u64,
}

/// A decoded inner node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerNode {
    /// Its height, at least 1; every child's is one less.
    pub height: u8,
    /// In path order, at least one.
    pub children: Vec<Child>,
}

/// Encodes an inner node; `children` are in strict path order.
pub fn encode_inner(height: u8, children: &[Child]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_inner_into(height, children, &mut out);
    out
}

fn encode_inner_into(height: u8, children: &[Child], out: &mut Vec<u8>) {
    out.write_u8(TAG_INNER);
    out.write_u8(height);
    out.write_varint(children.len() as u64);
    encode_paths(out, children.iter().map(|c| &c.first));
    children.iter().for_each(|c| out.write_varint(c.entries));
    children.iter().for_each(|c| out.write_varint(c.bytes));
    children.iter().for_each(|c| out.extend_from_slice(&c.id.0));
}

/// Decodes an inner node.
///
/// # Errors
/// `Corrupt` on any bytes [`encode_inner`] does not yield for a legal node.
pub fn decode_inner(bytes: &[u8]) -> Result<InnerNode> {
    let mut reader = Reader::new(bytes, "inner tree node");
    if reader.u8()? != TAG_INNER {
        return Err(reader.corrupt());
    }
    let height = reader.u8()?;
    let n = reader.count(4 + ChunkId::LEN)?;
    if !(1..=HEIGHT_MAX).contains(&height) || !(1..=NODE_ITEMS_MAX).contains(&n) {
        return Err(reader.corrupt());
    }
    let mut budget = Budget(NODE_WEIGHT_MAX + ENTRY_WEIGHT_MAX);
    let paths = decode_paths(&mut reader, n, &mut budget)?;
    let blank = |first| Child { first, id: ChunkId::default(), entries: 0, bytes: 0 };
    let mut children: Vec<Child> = paths.into_iter().map(blank).collect();
    for child in &mut children {
        child.entries = reader.varint()?;
    }
    for child in &mut children {
        child.bytes = reader.varint()?;
    }
    for child in &mut children {
        child.id = decode_id(&mut reader)?;
    }
    let all_but_last = children.split_last().map(|(_, rest)| rest).unwrap_or_default();
    let weight: usize = all_but_last.iter().map(Item::weight).sum();
    let again = encode_inner(height, &children);
    if weight >= NODE_WEIGHT_MAX || children.iter().any(|c| c.entries == 0) || again != bytes {
        return Err(reader.corrupt());
    }
    Ok(InnerNode { height, children })
}

impl Item for Child {
    fn id(&self) -> &ChunkId {
        &self.id
    }
    fn weight(&self) -> usize {
        self.first.as_bytes().len() + ChunkId::LEN + 16
    }
    fn encode(height: u8, items: &[Self], out: &mut Vec<u8>) {
        encode_inner_into(height, items, out);
    }
    fn parent(id: ChunkId, items: &[Self]) -> Self {
        Child {
            first: items.first().map(|c| c.first.clone()).unwrap_or_default(),
            id,
            entries: items.iter().fold(0, |sum, c| sum.saturating_add(c.entries)),
            bytes: items.iter().fold(0, |sum, c| sum.saturating_add(c.bytes)),
        }
    }
}
