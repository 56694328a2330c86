//! What forgetting some snapshots would free, or what some paths of them alone keep.
//!
//! Everything else that is live is marked; what is then met for the first time is what would go. Reads trees and the
//! index, no content.

use super::Size;
use super::mark::Marks;
use super::reach::{self, Need};
use super::reclaim::view;
use crate::options::Snapshot;
use crate::repository::Repository;
use crate::segments::Nodes;
use decube_backup_core::Result;
use decube_backup_core::entry::EntryPath;
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_format::ids::{ChunkId, SnapshotId};
use decube_backup_format::tree::{TreeCursor, Visit};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// What only `targets` together need: snapshots, or entries of them with all that is below.
///
/// Whole snapshots count with their tree nodes, as forgetting and pruning them would free them; paths count with their
/// content alone.
///
/// # Errors
/// A tree cannot be read completely; `Interrupted`.
pub fn freed(repo: &Repository, targets: &[(Snapshot, EntryPath)], monitor: &dyn Monitor) -> Result<Size> {
    let (index, state) = view(repo, Repository::index)?;
    let mut marks = Marks::new(index, state);
    let mut by_snapshot: BTreeMap<SnapshotId, (&Snapshot, BTreeSet<&EntryPath>)> = BTreeMap::new();
    for (snapshot, path) in targets {
        by_snapshot.entry(snapshot.id).or_insert((snapshot, BTreeSet::new())).1.insert(path);
    }
    marks.add_live(repo, monitor, &|id| by_snapshot.contains_key(id))?;
    let nodes = Nodes::new(repo)?;
    monitor.phase("freed", None, Some(by_snapshot.len() as u64));
    // First all that stays of any of them, then what goes.
    for is_going in [false, true] {
        let size = Cell::new(Size::default());
        let see = |id: &ChunkId, need: Need| {
            if need == Need::Node {
                check_stop(monitor)?;
            }
            let seen = marks.see(id)?;
            if is_going && seen == Visit::Enter {
                size.set(plus(size.get(), measure(&marks, id)?));
            }
            Ok(seen)
        };
        for (snapshot, paths) in by_snapshot.values() {
            let tree = &snapshot.manifest.tree;
            let is_whole = paths.iter().any(|path| path.is_root());
            match (is_whole, is_going) {
                (true, false) => {}
                (true, true) => reach::tree(&nodes, tree, &see)?,
                (false, _) => {
                    let mut cursor = TreeCursor::new(&nodes, tree);
                    while let Some(entry) = cursor.next()? {
                        check_stop(monitor)?;
                        if paths.iter().any(|path| entry.entry.path.is_within(path)) == is_going {
                            reach::content(&nodes, &entry, &see)?;
                        }
                    }
                }
            }
            monitor.advance(Progress::Objects, u64::from(is_going));
        }
        if is_going {
            return Ok(size.get());
        }
    }
    Ok(Size::default())
}

/// The size of one chunk or node.
pub(super) fn measure(marks: &Marks, id: &ChunkId) -> Result<Size> {
    let state = &marks.state;
    let found = marks.index.find(&id.short(), &|pack| state.pack(pack).is_none())?;
    Ok(found.map_or_else(Size::default, |at| {
        let (len, stored, raw) = (u64::from(at.len), u64::from(at.entry.stored_len), u64::from(at.entry.raw_len));
        Size { chunks: 1, bytes_raw: len, bytes_stored: (len * stored).div_ceil(raw.max(1)) }
    }))
}

pub(super) fn plus(a: Size, b: Size) -> Size {
    Size {
        chunks: a.chunks + b.chunks,
        bytes_raw: a.bytes_raw + b.bytes_raw,
        bytes_stored: a.bytes_stored + b.bytes_stored,
    }
}
