//! Entries in path order → tree nodes.

use super::entry::TreeEntry;
use super::inner::Child;
use super::leaf::encode_leaf_into;
use super::levels::{Gauge, Levels, internal};
use super::node::{Cutter, NodeWriter, TREE_ITEMS_MIN, TreeRoot};
use crate::hash::{ContentHasher, Key32};
use decube_backup_core::Result;

/// Builds a tree in one pass; holds at most one unfinished node per level.
///
/// The root depends on the set of entries and the keys, not on how the set came about.
pub struct TreeBuilder {
    pending: Vec<TreeEntry>,
    /// The leaf in `pending` is complete. It is written when the next entry comes, so that the last
    /// path is still there to compare with.
    complete: bool,
    gauge: Gauge,
    cutter: Cutter,
    levels: Levels<Child>,
}

impl TreeBuilder {
    /// A builder whose node ids come from `hasher` and whose cuts from `cut_key`.
    pub fn new(hasher: ContentHasher, cut_key: &Key32) -> Self {
        Self {
            pending: Vec::new(),
            complete: false,
            gauge: Gauge::new(TREE_ITEMS_MIN),
            cutter: Cutter::new(cut_key, b"leaf"),
            levels: Levels::new(hasher, Cutter::new(cut_key, b"inner"), TREE_ITEMS_MIN),
        }
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// `Internal` if its path does not follow the previous one's; `Invalid` if it fails
    /// [`TreeEntry::check`]; what `writer` yields. After the first two the builder is as before.
    pub fn push(&mut self, entry: TreeEntry, writer: &mut dyn NodeWriter) -> Result<()> {
        entry.check()?;
        if self.pending.last().is_some_and(|last| last.entry.path >= entry.entry.path) {
            return Err(internal("entries are out of order").with("path", format!("{:?}", entry.entry.path)));
        }
        if self.complete {
            self.flush(writer)?;
        }
        self.complete = self.gauge.cuts_after(entry.weight(), || self.cutter.hits(entry.entry.path.as_bytes()));
        self.pending.push(entry);
        Ok(())
    }

    /// Writes what is left and returns the root. A tree without entries is one empty leaf.
    ///
    /// # Errors
    /// What `writer` yields.
    pub fn finish(mut self, writer: &mut dyn NodeWriter) -> Result<TreeRoot> {
        // Never empty after the first push.
        self.flush(writer)?;
        let (root, height) = self.levels.finish(writer)?;
        Ok(TreeRoot { id: root.id, height, entries: root.entries, bytes: root.bytes })
    }

    fn flush(&mut self, writer: &mut dyn NodeWriter) -> Result<()> {
        let id = self.levels.put(writer, |out| encode_leaf_into(&self.pending, out))?;
        let leaf = Child {
            first: self.pending.first().map(|e| e.entry.path.clone()).unwrap_or_default(),
            id,
            entries: self.pending.len() as u64,
            bytes: total_bytes(&self.pending),
        };
        self.pending.clear();
        self.complete = false;
        self.levels.push(leaf, writer)
    }
}

/// Sum of the file sizes, saturating.
pub(super) fn total_bytes(entries: &[TreeEntry]) -> u64 {
    entries.iter().fold(0, |sum, e| sum.saturating_add(e.entry.kind.size()))
}
