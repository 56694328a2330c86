//! Looking into snapshots: list, find, diff.

use crate::options::{Difference, Snapshot};
use crate::repository::Repository;
use crate::segments::{Nodes, is_damage};
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::ids::log_key;
use decube_backup_format::log::{Envelope, Payload};
use decube_backup_format::manifest::SnapshotManifest;
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

/// All that was recorded of `snapshot`: what it was listed with has neither excludes nor problems.
///
/// # Errors
/// `Corrupt` if its record is damaged; what reading yields.
pub fn whole_manifest(repo: &Repository, snapshot: &Snapshot) -> Result<SnapshotManifest> {
    let key = log_key(snapshot.seq)?;
    let lost = |what| Error::new(ErrorKind::Corrupt, "browse", what).with("key", &key);
    let bytes = repo.store.get(&key)?.ok_or_else(|| lost("the snapshot's record is missing"))?;
    match repo.open_record(&repo.state(), &Envelope::decode(&bytes)?, &bytes)? {
        Some((_, Payload::Commit { manifest, .. })) if manifest.id() == snapshot.id => manifest.decode(),
        _ => Err(lost("the snapshot's record says something else")),
    }
}

/// Calls `visit` for `path` and what is below it, in path order.
///
/// # Errors
/// `NotFound` if there is no such path; what reading yields where a part of the tree cannot be read, after everything else was
/// visited; at once what `visit` yields, or that the store does not answer.
pub fn list(
    repo: &Repository,
    snapshot: &Snapshot,
    path: &EntryPath,
    depth: Depth,
    visit: &mut dyn FnMut(&TreeEntry) -> Result<()>,
) -> Result<()> {
    let nodes = Nodes::to_look(repo)?;
    let mut cursor = TreeCursor::within(&nodes, &root(snapshot), path)?;
    let (mut found, mut damage) = (path.is_root(), None);
    while let Some(entry) = next_readable(&mut cursor, &mut damage)? {
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
    match damage {
        Some(error) => Err(error),
        None if found => Ok(()),
        None => Err(no_such_path(path)),
    }
}

/// The next entry that can be read; keeps the first error on the way there that [`costs_a_part`].
fn next_readable(cursor: &mut TreeCursor<'_, Nodes<'_>>, damage: &mut Option<Error>) -> Result<Option<TreeEntry>> {
    loop {
        match cursor.next() {
            Err(error) if costs_a_part(&error) => _ = damage.get_or_insert(error),
            answer => return answer,
        }
    }
}

/// Whether `error` says that a part of a tree cannot be read, and nothing of the rest.
pub fn costs_a_part(error: &Error) -> bool {
    is_damage(error) || error.kind() == ErrorKind::PermissionDenied
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

pub(crate) fn no_such_path(path: &EntryPath) -> Error {
    Error::new(ErrorKind::NotFound, "browse", "no such path in the snapshot")
        .with("path", path)
        .with_hint("list what is there with `decube-backup ls SNAPSHOT`; paths are absolute")
}

/// Calls `visit` for every entry `matcher` accepts.
///
/// # Errors
/// What reading yields where a part of the tree cannot be read, after everything else was visited; at once what `visit` yields, or that
/// the store does not answer.
pub fn find(
    repo: &Repository,
    snapshot: &Snapshot,
    matcher: &dyn Fn(&Entry) -> bool,
    visit: &mut dyn FnMut(&TreeEntry) -> Result<()>,
) -> Result<()> {
    let nodes = Nodes::to_look(repo)?;
    let (mut cursor, mut damage) = (TreeCursor::new(&nodes, &root(snapshot)), None);
    while let Some(entry) = next_readable(&mut cursor, &mut damage)? {
        if matcher(&entry.entry) {
            visit(&entry)?;
        }
    }
    damage.map_or(Ok(()), Err)
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
