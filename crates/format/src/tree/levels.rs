//! The levels above the leaves, for trees and extent lists alike.
//!
//! Items go into level 1; a full level becomes one item of the next. Where a level is cut depends only
//! on the items since its last cut, so the result is a function of the sequence, and after a local
//! change the cuts soon fall on the same items again.

use super::node::{Cutter, HEIGHT_MAX, NODE_ITEMS_MAX, NODE_WEIGHT_MAX, NodeWriter};
use crate::hash::{ContentHasher, Domain};
use crate::ids::ChunkId;
use decube_backup_core::{Error, ErrorKind, Result};

/// A child as its parent node holds it.
pub(super) trait Item: Sized {
    fn id(&self) -> &ChunkId;
    fn weight(&self) -> usize;
    /// Appends the node of `height` that holds `items`.
    fn encode(height: u8, items: &[Self], out: &mut Vec<u8>);
    /// The item that stands for that node.
    fn parent(id: ChunkId, items: &[Self]) -> Self;
}

/// Where one level stands: a cut may come after an item the hash picks, never before `min` items, and
/// comes at the latest with the item that fills the node.
pub(super) struct Gauge {
    min: usize,
    items: usize,
    weight: usize,
}

impl Gauge {
    pub(super) fn new(min: usize) -> Self {
        Self { min, items: 0, weight: 0 }
    }
    /// Counts an item; whether the node ends with it.
    pub(super) fn cuts_after(&mut self, weight: usize, hits: impl FnOnce() -> bool) -> bool {
        self.items += 1;
        self.weight += weight;
        let full = self.items >= NODE_ITEMS_MAX || self.weight >= NODE_WEIGHT_MAX;
        let cut = full || (self.items >= self.min && hits());
        if cut {
            (self.items, self.weight) = (0, 0);
        }
        cut
    }
}

struct Level<T> {
    items: Vec<T>,
    gauge: Gauge,
    has_parent: bool,
}

pub(super) struct Levels<T> {
    levels: Vec<Level<T>>,
    items_min: usize,
    cutter: Cutter,
    hasher: ContentHasher,
    buffer: Vec<u8>,
}

impl<T: Item> Levels<T> {
    pub(super) fn new(hasher: ContentHasher, cutter: Cutter, items_min: usize) -> Self {
        Self { levels: Vec::new(), items_min, cutter, hasher, buffer: Vec::new() }
    }

    /// Stores a node that `encode` appends to the buffer; returns its id.
    pub(super) fn put(&mut self, writer: &mut dyn NodeWriter, encode: impl FnOnce(&mut Vec<u8>)) -> Result<ChunkId> {
        self.buffer.clear();
        encode(&mut self.buffer);
        let id = self.hasher.id(Domain::Node, &self.buffer);
        writer.put_node(id, &self.buffer)?;
        Ok(id)
    }

    /// Adds the next finished leaf.
    pub(super) fn push(&mut self, leaf: T, writer: &mut dyn NodeWriter) -> Result<()> {
        self.push_at(0, leaf, writer)
    }

    /// Ends all levels; returns the root and its height. Fails if nothing was pushed.
    pub(super) fn finish(mut self, writer: &mut dyn NodeWriter) -> Result<(T, u8)> {
        let mut at = 0;
        loop {
            let level = self.levels.get_mut(at).ok_or_else(|| internal("tree has no root"))?;
            // A level that never got a parent and holds one item is no level: that item is the root.
            if !level.has_parent && level.items.len() == 1 {
                let root = level.items.pop().ok_or_else(|| internal("tree has no root"))?;
                return Ok((root, at as u8));
            }
            if !level.items.is_empty() {
                let parent = self.flush(at, writer)?;
                self.push_at(at + 1, parent, writer)?;
            }
            at += 1;
        }
    }

    fn push_at(&mut self, mut at: usize, mut item: T, writer: &mut dyn NodeWriter) -> Result<()> {
        loop {
            if at == self.levels.len() {
                let gauge = Gauge::new(self.items_min);
                self.levels.push(Level { items: Vec::new(), gauge, has_parent: false });
            }
            let level = self.levels.get_mut(at).ok_or_else(|| internal("tree level is missing"))?;
            let cut = level.gauge.cuts_after(item.weight(), || self.cutter.hits(&item.id().0));
            level.items.push(item);
            if !cut {
                return Ok(());
            }
            item = self.flush(at, writer)?;
            at += 1;
        }
    }

    fn flush(&mut self, at: usize, writer: &mut dyn NodeWriter) -> Result<T> {
        let height = at as u8 + 1;
        if height > HEIGHT_MAX {
            return Err(internal("tree is too high"));
        }
        let level = self.levels.get_mut(at).ok_or_else(|| internal("tree level is missing"))?;
        level.has_parent = true;
        let mut items = std::mem::take(&mut level.items);
        let id = self.put(writer, |out| T::encode(height, &items, out))?;
        let parent = T::parent(id, &items);
        items.clear();
        if let Some(level) = self.levels.get_mut(at) {
            level.items = items;
        }
        Ok(parent)
    }
}

pub(super) fn internal(message: &'static str) -> Error {
    Error::new(ErrorKind::Internal, "tree", message)
}
