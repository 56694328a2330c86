//! Reads one node and holds it against what its parent says of it.

use super::builder::total_bytes;
use super::entry::TreeEntry;
use super::inner::{Child, decode_inner};
use super::leaf::decode_leaf;
use super::levels::Item;
use super::node::{HEIGHT_MAX, NodeReader, TreeRoot};
use crate::ids::ChunkId;
use crate::wire::corrupt;
use decube_backup_core::{EntryPath, Error, Result};

/// A stretch of a tree that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The node.
    pub id: ChunkId,
    /// Its height; 0 for a leaf.
    pub height: u8,
    /// Path of its first entry; the root path if the tree's root node is lost.
    pub from: EntryPath,
    /// No lost entry has this path or a later one; `None` if nothing follows.
    pub until: Option<EntryPath>,
    /// Entries lost.
    pub entries: u64,
    /// File bytes lost, saturating.
    pub bytes: u64,
}

/// A read and checked node.
pub(super) enum Node {
    Leaf(Vec<TreeEntry>),
    Inner(Frame),
}

/// Siblings being walked: the children of one inner node, or the root alone.
#[derive(Debug)]
pub(super) struct Frame {
    /// Height of the children.
    pub(super) height: u8,
    children: Vec<Child>,
    next: usize,
    until: Option<EntryPath>,
    is_root: bool,
}

impl Frame {
    /// The frame above the root node, whose first path is not known beforehand.
    pub(super) fn above(root: &TreeRoot) -> Self {
        let child = Child { first: EntryPath::root(), id: root.id, entries: root.entries, bytes: root.bytes };
        Self { height: root.height, children: vec![child], next: 0, until: None, is_root: true }
    }

    /// The child that comes next.
    pub(super) fn child(&self) -> Option<&Child> {
        self.children.get(self.next)
    }
    /// Goes past it.
    pub(super) fn skip(&mut self) {
        self.next += 1;
    }
    /// Where the child that comes next starts, or what follows the last one.
    pub(super) fn reached(&self) -> Option<&EntryPath> {
        self.child().map(|c| &c.first).or(self.until.as_ref())
    }
    /// Whether an entry of `path` would be below this frame.
    pub(super) fn holds(&self, path: &EntryPath) -> bool {
        self.children.first().is_some_and(|c| c.first <= *path) && self.until.as_ref().is_none_or(|u| path < u)
    }
    /// Makes the child that would hold `path` the next one.
    pub(super) fn aim(&mut self, path: &EntryPath) {
        self.next = self.children.partition_point(|c| c.first <= *path).saturating_sub(1);
    }

    fn until_of_child(&self) -> Option<&EntryPath> {
        self.children.get(self.next + 1).map(|c| &c.first).or(self.until.as_ref())
    }

    /// Reads the child that comes next and goes past it, also on an error.
    pub(super) fn load<R: NodeReader + ?Sized>(&mut self, reader: &R) -> Result<Node, (Error, Gap)> {
        let loaded = self.read(reader);
        let gap = loaded.is_err().then(|| self.gap()).flatten();
        self.next += 1;
        loaded.map_err(|error| {
            let gap = gap.unwrap_or_else(Gap::nothing);
            (error.with("node", gap.id).with("from", format!("{:?}", gap.from)), gap)
        })
    }

    fn gap(&self) -> Option<Gap> {
        let Child { first, id, entries, bytes } = self.child()?.clone();
        let until = self.until_of_child().cloned();
        Some(Gap { id, height: self.height, from: first, until, entries, bytes })
    }

    fn read<R: NodeReader + ?Sized>(&self, reader: &R) -> Result<Node> {
        const WHAT: &str = "tree node against its parent";
        let child = self.child().ok_or_else(|| corrupt(WHAT))?;
        let until = self.until_of_child();
        if self.height > HEIGHT_MAX {
            return Err(corrupt(WHAT));
        }
        let in_range = |first: Option<&EntryPath>, last: Option<&EntryPath>| {
            (self.is_root || first == Some(&child.first)) && last.is_none_or(|l| until.is_none_or(|u| l < u))
        };
        let bytes = reader.node(&child.id)?;
        if self.height == 0 {
            let entries = decode_leaf(&bytes)?;
            let (first, last) = (entries.first().map(|e| &e.entry.path), entries.last().map(|e| &e.entry.path));
            let counted = entries.len() as u64 == child.entries && total_bytes(&entries) == child.bytes;
            return if counted && in_range(first, last) { Ok(Node::Leaf(entries)) } else { Err(corrupt(WHAT)) };
        }
        let inner = decode_inner(&bytes)?;
        let sum = Child::parent(child.id, &inner.children);
        let counted = inner.height == self.height && (sum.entries, sum.bytes) == (child.entries, child.bytes);
        if !counted || !in_range(Some(&sum.first), inner.children.last().map(|c| &c.first)) {
            return Err(corrupt(WHAT));
        }
        let until = until.cloned();
        Ok(Node::Inner(Frame { height: self.height - 1, children: inner.children, next: 0, until, is_root: false }))
    }
}

impl Gap {
    fn nothing() -> Self {
        let (id, from) = (ChunkId::default(), EntryPath::root());
        Self { id, height: 0, from, until: None, entries: 0, bytes: 0 }
    }
}
