//! Extents in file order → content.

use super::node::{ListChild, encode_extents};
use crate::hash::{ContentHasher, Key32};
use crate::tree::content::{Content, Extent, FILE_BYTES_MAX, LEAF_EXTENTS_MAX};
use crate::tree::levels::{Gauge, Levels, internal};
use crate::tree::node::{Cutter, LIST_ITEMS_MIN, NodeWriter};
use decube_backup_core::Result;

/// Builds the content of one file; holds at most one unfinished node per level. One builder serves any
/// number of files, one after the other: [`Self::finish`] makes it new again.
pub struct ListBuilder {
    hasher: ContentHasher,
    cut_key: Key32,
    cutter: Cutter,
    pending: Vec<Extent>,
    gauge: Gauge,
    /// From the first full node on.
    levels: Option<Levels<ListChild>>,
    len: u64,
}

impl ListBuilder {
    /// A builder whose node ids come from `hasher` and whose cuts from `cut_key`.
    pub fn new(hasher: ContentHasher, cut_key: &Key32) -> Self {
        Self {
            hasher,
            cut_key: cut_key.clone(),
            cutter: Cutter::new(cut_key, b"list"),
            pending: Vec::new(),
            gauge: Gauge::new(LIST_ITEMS_MIN),
            levels: None,
            len: 0,
        }
    }

    /// Bytes covered so far.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the next extent.
    ///
    /// # Errors
    /// `Internal` if it is empty or the file grows beyond [`FILE_BYTES_MAX`]; what `writer` yields.
    pub fn push(&mut self, extent: Extent, writer: &mut dyn NodeWriter) -> Result<()> {
        let len = self.len.checked_add(extent.len()).filter(|&len| len <= FILE_BYTES_MAX && len > self.len);
        self.len = len.ok_or_else(|| internal("extent is empty or too long"))?;
        let cut = self.gauge.cuts_after(0, || extent.chunk().is_some_and(|id| self.cutter.hits(&id.0)));
        self.pending.push(extent);
        if cut { self.flush(writer) } else { Ok(()) }
    }

    /// The content of everything pushed since the last `finish`: nothing, a short list, or a root.
    ///
    /// # Errors
    /// What `writer` yields.
    pub fn finish(&mut self, writer: &mut dyn NodeWriter) -> Result<Content> {
        let len = std::mem::take(&mut self.len);
        self.gauge = Gauge::new(LIST_ITEMS_MIN);
        if self.levels.is_none() && self.pending.len() <= LEAF_EXTENTS_MAX {
            let extents = std::mem::take(&mut self.pending);
            return Ok(if extents.is_empty() { Content::None } else { Content::Extents(extents) });
        }
        if !self.pending.is_empty() {
            self.flush(writer)?;
        }
        let levels = self.levels.take().ok_or_else(|| internal("list has no root"))?;
        let (root, height) = levels.finish(writer)?;
        Ok(Content::List { root: root.id, len, height })
    }

    fn flush(&mut self, writer: &mut dyn NodeWriter) -> Result<()> {
        let levels = self.levels.get_or_insert_with(|| {
            Levels::new(self.hasher.clone(), Cutter::new(&self.cut_key, b"list inner"), LIST_ITEMS_MIN)
        });
        let id = levels.put(writer, |out| encode_extents(&self.pending, out))?;
        let len = self.pending.iter().map(Extent::len).sum();
        self.pending.clear();
        levels.push(ListChild { id, len }, writer)
    }
}
