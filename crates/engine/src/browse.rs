//! Looking into snapshots: list, find, diff.

use crate::options::{Difference, Snapshot};
use crate::repository::Repository;
use crate::segments::Nodes;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::tree::{Change, TreeCursor, TreeEntry, TreeRoot, diff as tree_diff};

/// How far below a path a listing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The entry itself and, for a directory, what is directly in it.
    Children,
    /// Everything below.
    Recursive,
}

/// The tree of `snapshot`.
pub(crate) fn root(snapshot: &Snapshot) -> TreeRoot {
    snapshot.manifest.tree
}

/// Calls `visit` for `path` and what is below it, in path order.
///
/// # Errors
/// `NotFound` if there is no such path; `Corrupt` where the tree is damaged; what `visit` yields.
pub fn list(
    repo: &Repository,
    snapshot: &Snapshot,
    path: &EntryPath,
    depth: Depth,
    visit: &mut dyn FnMut(&TreeEntry) -> Result<()>,
) -> Result<()> {
    let nodes = Nodes::to_look(repo)?;
    let mut cursor = TreeCursor::within(&nodes, &root(snapshot), path)?;
    let mut found = path.is_root();
    while let Some(entry) = cursor.next()? {
        let here = &entry.entry.path;
        if !here.is_within(path) {
            break;
        }
        found = true;
        let below = here.depth().saturating_sub(path.depth());
        if depth == Depth::Recursive || below <= 1 {
            visit(&entry)?;
        }
        if depth == Depth::Children && below == 1 && entry.entry.kind == EntryKind::Directory {
            // '0' is '/' + 1: nothing below this directory sorts after it. Skips the whole subtree.
            if let Some(next) = after_subtree(here) {
                cursor.seek(&next)?;
            }
        }
    }
    if found { Ok(()) } else { Err(no_such_path(path)) }
}

/// The first path that sorts after everything below `path`.
///
/// Path order reads `/` as 0, so the lowest byte a sibling can continue with is 1.
fn after_subtree(path: &EntryPath) -> Option<EntryPath> {
    let mut bytes = path.as_bytes().to_vec();
    bytes.push(1);
    EntryPath::new(bytes).ok()
}

/// The entry at `path`.
///
/// # Errors
/// `NotFound` if there is none; `Corrupt` where the tree is damaged.
pub fn entry(repo: &Repository, snapshot: &Snapshot, path: &EntryPath) -> Result<TreeEntry> {
    let nodes = Nodes::to_look(repo)?;
    TreeCursor::new(&nodes, &root(snapshot)).lookup(path)?.ok_or_else(|| no_such_path(path))
}

fn no_such_path(path: &EntryPath) -> Error {
    Error::new(ErrorKind::NotFound, "browse", "no such path in the snapshot")
        .with("path", path)
        .with_hint("list what is there with `decube-backup ls SNAPSHOT`; paths are absolute")
}

/// Calls `visit` for every entry `matcher` accepts.
///
/// # Errors
/// `Corrupt` where the tree is damaged; what `visit` yields.
pub fn find(
    repo: &Repository,
    snapshot: &Snapshot,
    matcher: &dyn Fn(&Entry) -> bool,
    visit: &mut dyn FnMut(&TreeEntry) -> Result<()>,
) -> Result<()> {
    let nodes = Nodes::to_look(repo)?;
    let mut cursor = TreeCursor::new(&nodes, &root(snapshot));
    while let Some(entry) = cursor.next()? {
        if matcher(&entry.entry) {
            visit(&entry)?;
        }
    }
    Ok(())
}

/// Calls `visit` for every difference from `a` to `b`, in path order; cost grows with the changes.
///
/// # Errors
/// `Corrupt` where a tree is damaged; what `visit` yields.
pub fn diff(
    repo: &Repository,
    a: &Snapshot,
    b: &Snapshot,
    visit: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let nodes = Nodes::to_look(repo)?;
    tree_diff(&nodes, &root(a), &root(b), |change| {
        visit(match change {
            Change::Added(entry) => Difference::Added(entry.entry),
            Change::Removed(entry) => Difference::Removed(entry.entry),
            Change::Modified { before, after } => {
                if before.content == after.content && before.entry.kind == after.entry.kind {
                    Difference::Attributes(before.entry, after.entry)
                } else {
                    Difference::Content(before.entry, after.entry)
                }
            }
        })
    })
}
