//! Unchanged files while packs are known to be damaged: what lies in those is read from the source and stored again.
//!
//! A normal backup takes unchanged files over from the parent without looking their chunks up. That would carry damage
//! on for ever, so while any pack in force is recorded as damaged each chunk and list node of an unchanged file is
//! looked up once, and a file that has one without a sound location is read. Its chunks are then new by the ordinary
//! rule, because nothing is deduplicated against a damaged pack; and since a chunk's id says what is in it, every older
//! snapshot that shares it is whole again too.

use crate::index::LocalIndex;
use crate::repository::Repository;
use crate::segments::Nodes;
use bytes::Bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{ChunkId, ShortId};
use decube_backup_format::tree::{Content, Extent, ListCursor, NodeReader};
use std::sync::Arc;

/// Tells which stored content may still be relied on, as of when it was made.
pub(super) struct Health<'a> {
    nodes: &'a Nodes<'a>,
    index: Arc<LocalIndex>,
    state: Arc<State>,
}

impl<'a> Health<'a> {
    /// Over the parent's nodes.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(super) fn new(repo: &'a Repository, nodes: &'a Nodes<'a>) -> Result<Self> {
        Ok(Self { nodes, index: repo.index()?, state: repo.state() })
    }

    /// Whether every chunk and list node of `content` has a location in a pack not known to be damaged.
    pub(super) fn is_whole(&self, content: &Content) -> bool {
        let mut list = ListCursor::new(self, content);
        loop {
            match list.next() {
                Ok(None) => return true,
                Ok(Some((_, Extent::Hole { .. }))) => {}
                Ok(Some((_, Extent::Chunk { id, .. }))) if self.is_sound(&id.short()) => {}
                // What cannot be looked up is read: that costs time only.
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    }

    fn is_sound(&self, id: &ShortId) -> bool {
        let found = self.index.find(id, &|pack| self.state.is_reclaimed(pack) || self.state.is_damaged(pack));
        matches!(found, Ok(Some(_)))
    }
}

impl NodeReader for Health<'_> {
    fn node(&self, id: &ChunkId) -> Result<Bytes> {
        match self.is_sound(&id.short()) {
            true => self.nodes.node(id),
            false => Err(Error::new(ErrorKind::Corrupt, "node", "the node is in no sound pack").with("node", id)),
        }
    }
}
