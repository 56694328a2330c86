//! Walks nodes rather than entries: marking, copying, checking.

use super::entry::TreeEntry;
use super::load::{Frame, Gap, Node};
use super::node::{NodeReader, TreeRoot};
use crate::ids::ChunkId;
use decube_backup_core::{Error, Result};

/// Whether a node is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Read it and go on below it.
    Enter,
    /// Leave it and all below unread: seen before.
    Skip,
}

/// Is told of every node, parents before children, in path order.
pub trait NodeVisitor {
    /// A node of `height` (0 for a leaf) comes next, not yet read.
    ///
    /// # Errors
    /// Ends the walk.
    fn node(&mut self, id: &ChunkId, height: u8) -> Result<Visit>;

    /// The entries of a leaf that was entered.
    ///
    /// # Errors
    /// Ends the walk.
    fn leaf(&mut self, entries: Vec<TreeEntry>) -> Result<()>;

    /// A node that was entered cannot be read; `Ok` goes on with its next sibling.
    ///
    /// # Errors
    /// Ends the walk; by default always.
    fn damaged(&mut self, gap: Gap, error: Error) -> Result<()> {
        let _ = gap;
        Err(error)
    }
}

/// Shows every node of the tree to `visitor`.
///
/// # Errors
/// What `visitor` yields.
pub fn visit_nodes<R: NodeReader + ?Sized>(reader: &R, root: &TreeRoot, visitor: &mut dyn NodeVisitor) -> Result<()> {
    let mut frames = vec![Frame::above(root)];
    while let Some(frame) = frames.last_mut() {
        let Some(child) = frame.child() else {
            frames.pop();
            continue;
        };
        if visitor.node(&child.id, frame.height)? == Visit::Skip {
            frame.skip();
            continue;
        }
        match frame.load(reader) {
            Ok(Node::Leaf(entries)) => visitor.leaf(entries)?,
            Ok(Node::Inner(inner)) => frames.push(inner),
            Err((error, gap)) => visitor.damaged(gap, error)?,
        }
    }
    Ok(())
}
