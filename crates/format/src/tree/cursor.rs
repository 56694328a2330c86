//! Reads a tree in path order, from any path on, past damage.

use super::entry::TreeEntry;
use super::inner::Child;
use super::load::{Frame, Gap, Node};
use super::node::{NodeReader, TreeRoot};
use decube_backup_core::{EntryPath, Result};
use std::cmp::Ordering;

/// A position in a tree: before its first entry at first. Reads a node when it is needed, keeps one
/// decoded node per level.
///
/// An unreadable node is one `Err`; [`Self::gap`] then says what is lost, and the next call goes on
/// behind it.
pub struct TreeCursor<'r, R: NodeReader + ?Sized> {
    reader: &'r R,
    root: TreeRoot,
    /// From the root down; the last one holds the current leaf.
    frames: Vec<Frame>,
    leaf: std::vec::IntoIter<TreeEntry>,
    scope: EntryPath,
    gap: Option<Gap>,
}

/// What a cursor stands before.
pub(super) enum Head<'a> {
    Entry(&'a TreeEntry),
    /// An unread node and its height.
    Node(&'a Child, u8),
}

impl<'r, R: NodeReader + ?Sized> TreeCursor<'r, R> {
    /// A cursor over the whole tree. Reads nothing yet.
    pub fn new(reader: &'r R, root: &TreeRoot) -> Self {
        let (frames, leaf) = (vec![Frame::above(root)], Vec::new().into_iter());
        Self { reader, root: *root, frames, leaf, scope: EntryPath::root(), gap: None }
    }

    /// A cursor over `scope` and everything below it.
    ///
    /// # Errors
    /// What reading the nodes down to `scope` yields; continue with [`Self::new`] to learn the gap.
    pub fn within(reader: &'r R, root: &TreeRoot, scope: &EntryPath) -> Result<Self> {
        let mut cursor = Self::scoped(reader, root, scope);
        cursor.seek(scope)?;
        Ok(cursor)
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt`, or what the reader yields, once per unreadable node. The next call continues after it.
    #[allow(clippy::should_implement_trait, reason = "fails per item and goes on: not what an iterator promises")]
    pub fn next(&mut self) -> Result<Option<TreeEntry>> {
        self.settle()?;
        Ok(self.leaf.next())
    }

    /// The next entry without going past it.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn peek(&mut self) -> Result<Option<&TreeEntry>> {
        self.settle()?;
        Ok(self.leaf.as_slice().first())
    }

    /// Moves to the first entry at or after `path`, forward or back; reads only nodes on the way there.
    ///
    /// # Errors
    /// As [`Self::next`]; the next call continues behind the gap.
    pub fn seek(&mut self, path: &EntryPath) -> Result<()> {
        let path = path.max(&self.scope).clone();
        let leaf_reaches = self.frames.last().and_then(Frame::reached).is_none_or(|until| path < *until);
        let ahead = self.leaf.as_slice().first().is_some_and(|e| e.entry.path <= path);
        if !(ahead && leaf_reaches) {
            self.descend(&path)?;
        }
        let behind = self.leaf.as_slice().partition_point(|e| e.entry.path < path);
        if behind > 0 {
            self.leaf.nth(behind - 1);
        }
        Ok(())
    }

    /// The entry at `path`; leaves the cursor behind where it is or would be.
    ///
    /// # Errors
    /// As [`Self::seek`].
    pub fn lookup(&mut self, path: &EntryPath) -> Result<Option<TreeEntry>> {
        self.seek(path)?;
        let found = self.leaf.as_slice().first().is_some_and(|e| e.entry.path == *path);
        Ok(if found { self.leaf.next() } else { None })
    }

    /// What the last error lost; `None` if the last call succeeded.
    pub fn gap(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    /// A cursor limited to `scope` that still stands at the tree's start.
    pub(super) fn scoped(reader: &'r R, root: &TreeRoot, scope: &EntryPath) -> Self {
        Self { scope: scope.clone(), ..Self::new(reader, root) }
    }

    /// What comes next, reading nothing.
    pub(super) fn head(&mut self) -> Option<Head<'_>> {
        if self.leaf.as_slice().is_empty() {
            while self.frames.last().is_some_and(|f| f.child().is_none()) {
                self.frames.pop();
            }
            let frame = self.frames.last()?;
            return frame.child().map(|child| Head::Node(child, frame.height));
        }
        self.leaf.as_slice().first().map(Head::Entry)
    }

    /// Takes the entry at the head.
    pub(super) fn take(&mut self) -> Option<TreeEntry> {
        self.leaf.next()
    }

    /// Goes past the unread node at the head.
    pub(super) fn skip_node(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.skip();
        }
    }

    /// Reads the node at the head and stands before its first item.
    pub(super) fn expand(&mut self) -> Result<()> {
        self.gap = None;
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        match frame.load(self.reader) {
            Ok(Node::Leaf(entries)) => self.leaf = entries.into_iter(),
            Ok(Node::Inner(frame)) => self.frames.push(frame),
            Err((error, gap)) => {
                self.gap = Some(gap);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads until an entry or the end is next.
    fn settle(&mut self) -> Result<()> {
        self.gap = None;
        loop {
            let scope = self.scope.clone();
            match self.head() {
                None => return Ok(()),
                Some(Head::Entry(entry)) if !ends(&scope, &entry.entry.path) => return Ok(()),
                Some(Head::Node(child, _)) if !ends(&scope, &child.first) => self.expand()?,
                Some(_) => {
                    self.frames.clear();
                    self.leaf = Vec::new().into_iter();
                }
            }
        }
    }

    /// Reads down to the leaf that holds `path` or the place for it.
    fn descend(&mut self, path: &EntryPath) -> Result<()> {
        self.leaf = Vec::new().into_iter();
        while self.frames.len() > 1 && !self.frames.last().is_some_and(|f| f.holds(path)) {
            self.frames.pop();
        }
        if self.frames.is_empty() {
            self.frames.push(Frame::above(&self.root));
        }
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(()) };
            frame.aim(path);
            let is_leaf = frame.height == 0;
            self.expand()?;
            if is_leaf {
                return Ok(());
            }
        }
    }
}

/// Whether `path` comes after everything within `scope`.
fn ends(scope: &EntryPath, path: &EntryPath) -> bool {
    !scope.is_root() && path.cmp(scope) == Ordering::Greater && !path.is_within(scope)
}
