//! Content → extents in file order, from any offset on, past damage.

use super::node::{ListChild, ListNode, decode_list};
use crate::ids::ChunkId;
use crate::tree::content::{Content, Extent};
use crate::tree::node::NodeReader;
use crate::tree::visit::Visit;
use crate::wire::corrupt;
use decube_backup_core::{Error, Result};

/// A stretch of a file whose extents could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListGap {
    /// The node.
    pub id: ChunkId,
    /// Where its stretch begins in the file, bytes.
    pub offset: u64,
    /// How long it is, bytes.
    pub len: u64,
}

/// A position in a file's extents: before the first one at first. Inline and absent content has none.
///
/// An unreadable node is one `Err`; [`Self::gap`] then says which bytes are lost, and the next call
/// goes on behind them.
pub struct ListCursor<'r, R: NodeReader + ?Sized> {
    reader: &'r R,
    root: Option<(ListChild, u8)>,
    frames: Vec<Frame>,
    extents: std::vec::IntoIter<Extent>,
    offset: u64,
    gap: Option<ListGap>,
}

struct Frame {
    /// Height of the children.
    height: u8,
    children: std::vec::IntoIter<ListChild>,
}

impl<'r, R: NodeReader + ?Sized> ListCursor<'r, R> {
    /// A cursor over `content`. Reads nothing yet.
    pub fn new(reader: &'r R, content: &Content) -> Self {
        let (root, extents) = match content {
            Content::None | Content::Inline(_) => (None, Vec::new()),
            Content::Extents(extents) => (None, extents.clone()),
            Content::List { root, len, height } => (Some((ListChild { id: *root, len: *len }, *height)), Vec::new()),
        };
        let mut cursor = Self { reader, root, frames: Vec::new(), extents: extents.into_iter(), offset: 0, gap: None };
        cursor.rewind_nodes();
        cursor
    }

    fn rewind_nodes(&mut self) {
        self.frames.clear();
        self.frames.extend(self.root.map(|(child, height)| Frame { height, children: vec![child].into_iter() }));
    }

    /// The next extent and where it begins in the file; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt`, or what the reader yields, once per unreadable node. The next call continues after it.
    #[allow(clippy::should_implement_trait, reason = "fails per item and goes on: not what an iterator promises")]
    pub fn next(&mut self) -> Result<Option<(u64, Extent)>> {
        self.gap = None;
        loop {
            if let Some(extent) = self.extents.next() {
                let at = self.offset;
                self.offset += extent.len();
                return Ok(Some((at, extent)));
            }
            let Some(frame) = self.frames.last_mut() else { return Ok(None) };
            let height = frame.height;
            match frame.children.next() {
                Some(child) => self.enter(child, height)?,
                None => {
                    self.frames.pop();
                }
            }
        }
    }

    /// Moves forward to the extent that holds `offset`, reading only nodes on the way there.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn seek(&mut self, offset: u64) -> Result<()> {
        self.gap = None;
        loop {
            let held = self.extents.as_slice().first().map(Extent::len);
            match held {
                Some(len) if offset.saturating_sub(self.offset) < len => return Ok(()),
                Some(len) => {
                    self.offset += len;
                    self.extents.next();
                }
                None => {
                    let Some(frame) = self.frames.last_mut() else { return Ok(()) };
                    let height = frame.height;
                    match frame.children.next() {
                        Some(child) if offset.saturating_sub(self.offset) >= child.len => self.offset += child.len,
                        Some(child) => self.enter(child, height)?,
                        None => {
                            self.frames.pop();
                        }
                    }
                }
            }
        }
    }

    /// What the last error lost; `None` if the last call succeeded.
    pub fn gap(&self) -> Option<ListGap> {
        self.gap
    }

    fn enter(&mut self, child: ListChild, height: u8) -> Result<()> {
        match load(self.reader, &child, height) {
            Ok(ListNode::Leaf(extents)) => self.extents = extents.into_iter(),
            Ok(ListNode::Inner { height, children }) => {
                self.frames.push(Frame { height: height - 1, children: children.into_iter() });
            }
            Err(error) => {
                let (offset, len) = (self.offset, child.len);
                self.gap = Some(ListGap { id: child.id, offset, len });
                self.offset += len;
                return Err(error.with("node", child.id).with("offset", offset).with("len", len));
            }
        }
        Ok(())
    }
}

/// Reads a node and holds it against what its parent says of it. An inner node's height is at least 1.
fn load<R: NodeReader + ?Sized>(reader: &R, child: &ListChild, height: u8) -> Result<ListNode> {
    let node = decode_list(&reader.node(&child.id)?)?;
    if node.height() == height && node.len() == Some(child.len) { Ok(node) } else { Err(mismatch()) }
}

fn mismatch() -> Error {
    corrupt("list node against its parent")
}

/// Calls `each` with every extent and its offset, in file order.
///
/// # Errors
/// What `each` yields; `Corrupt`, or what `reader` yields, at the first unreadable node.
pub fn for_each_extent<R: NodeReader + ?Sized>(
    reader: &R,
    content: &Content,
    mut each: impl FnMut(u64, &Extent) -> Result<()>,
) -> Result<()> {
    if let Content::Extents(extents) = content {
        let mut offset = 0;
        for extent in extents {
            each(offset, extent)?;
            offset += extent.len();
        }
        return Ok(());
    }
    let mut cursor = ListCursor::new(reader, content);
    while let Some((offset, extent)) = cursor.next()? {
        each(offset, &extent)?;
    }
    Ok(())
}

/// The extent that holds byte `offset` and where it begins; `None` beyond the end and for content
/// without extents. Reads one node per level.
///
/// # Errors
/// `Corrupt`, or what `reader` yields.
pub fn extent_at<R: NodeReader + ?Sized>(reader: &R, content: &Content, offset: u64) -> Result<Option<(u64, Extent)>> {
    let mut cursor = ListCursor::new(reader, content);
    cursor.seek(offset)?;
    cursor.next()
}

/// Calls `node` for every list node of `content` and its height, parents first, and `leaf` with the extents of each
/// leaf entered. Extents kept in the tree leaf itself are not shown. A node may come again and again: six nodes can
/// name 1024^6 extents, so whoever enters all of them enters each once.
///
/// # Errors
/// What the callbacks yield; `Corrupt`, or what `reader` yields, at the first unreadable node.
pub fn visit_list_nodes<R: NodeReader + ?Sized>(
    reader: &R,
    content: &Content,
    mut node: impl FnMut(&ListChild, u8) -> Result<Visit>,
    mut leaf: impl FnMut(&[Extent]) -> Result<()>,
) -> Result<()> {
    let Content::List { root, len, height } = content else { return Ok(()) };
    let root = ListChild { id: *root, len: *len };
    let mut frames = vec![Frame { height: *height, children: vec![root].into_iter() }];
    while let Some(frame) = frames.last_mut() {
        let height = frame.height;
        let Some(child) = frame.children.next() else {
            frames.pop();
            continue;
        };
        if node(&child, height)? == Visit::Skip {
            continue;
        }
        match load(reader, &child, height)? {
            ListNode::Leaf(extents) => leaf(&extents)?,
            ListNode::Inner { height, children } => {
                frames.push(Frame { height: height - 1, children: children.into_iter() });
            }
        }
    }
    Ok(())
}
