//! Unchanged files that may not be taken over unread: each chunk and list node of theirs is looked up once, and a file
//! that has one without a location to rely on is read. Its chunks are then new by the ordinary rule.
//!
//! That is so while packs are known to be damaged. A normal backup takes unchanged files over from the parent without
//! looking their chunks up, which would carry damage on for ever. Nothing is deduplicated against a damaged pack; and since
//! a chunk's id says what is in it, every older snapshot that shares it is whole again too.
//!
//! And it is so for a host with a write-only key: it cannot know whether the parent is still live, so it relies on each
//! pack by itself, and a prune may have put what it stored elsewhere.

use super::kept_tree::Keeper;
use crate::index::LocalIndex;
use bytes::Bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::ids::{ChunkId, PackName, ShortId};
use decube_backup_format::tree::{Content, Extent, ListCursor, NodeReader};
use hashbrown::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Tells which stored content may be relied on.
pub(super) struct Health<'a> {
    /// The parent's nodes.
    pub nodes: &'a (dyn NodeReader + Sync),
    pub index: Arc<LocalIndex>,
    /// Packs that may not be relied on.
    pub excluded: &'a (dyn Fn(&PackName) -> bool + Sync),
    /// Whether content that may not be relied on is damaged; else it is only not known to be there.
    pub heals: bool,
    /// Packs relied on, if they must be named.
    pub deps: Option<&'a Mutex<HashSet<PackName>>>,
    /// Keeps the list nodes of what is taken over.
    pub keeper: Option<&'a Keeper<'a>>,
}

impl Health<'_> {
    /// Whether every chunk and list node of `content` has a location to rely on.
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
        let Ok(Some(found)) = self.index.find(id, self.excluded) else { return false };
        if let Some(deps) = self.deps {
            deps.lock().unwrap_or_else(PoisonError::into_inner).insert(found.pack);
        }
        true
    }
}

impl NodeReader for Health<'_> {
    fn node(&self, id: &ChunkId) -> Result<Bytes> {
        if !self.is_sound(&id.short()) {
            return Err(Error::new(ErrorKind::Corrupt, "node", "the node is in no pack to rely on").with("node", id));
        }
        let node = self.nodes.node(id)?;
        if let Some(keeper) = self.keeper {
            keeper.keep(id, &node);
        }
        Ok(node)
    }
}
