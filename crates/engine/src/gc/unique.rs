//! What each snapshot alone needs: what forgetting only it would free.
//!
//! Two bits for each entry of the index: met in some snapshot, met in a second one. Nodes are entered at most twice: what is
//! below a node that two snapshots share, they share. A second pass over each snapshot enters only what is its own.

use super::Size;
use super::freed::{measure, plus};
use super::mark::{Marks, ordinal};
use super::reach;
use super::reclaim::view;
use crate::index::bitmap::Bitmap;
use crate::repository::Repository;
use crate::segments::Nodes;
use decube_backup_core::Result;
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_format::ids::{ChunkId, SnapshotId};
use decube_backup_format::tree::Visit;
use std::cell::Cell;

/// What one snapshot alone needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueSize {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What no other live snapshot needs.
    pub size: Size,
}

/// What each live snapshot needs that no other live one does, in log order. Reads trees and the index, no content.
///
/// # Errors
/// A tree cannot be read completely; `Interrupted`.
pub fn unique(repo: &Repository, monitor: &dyn Monitor) -> Result<Vec<UniqueSize>> {
    let (index, state) = view(repo, Repository::index)?;
    let (once, twice) = (Bitmap::new(index.len()), Bitmap::new(index.len()));
    let mut mine = Bitmap::new(index.len());
    let marks = Marks::new(index, state.clone());
    let nodes = Nodes::new(repo)?;
    monitor.phase("unique", None, Some(2 * state.live_snapshots().count() as u64));
    for snapshot in state.live_snapshots() {
        mine.clear();
        let see = |id: &ChunkId, _| {
            check_stop(monitor)?;
            let at = ordinal(&marks.index, &state, id)?;
            if twice.has(at) || !mine.set(at) {
                return Ok(Visit::Skip);
            }
            if !once.set(at) {
                twice.set(at);
            }
            Ok(Visit::Enter)
        };
        reach::tree(&nodes, &snapshot.manifest.tree, &see)?;
        monitor.advance(Progress::Objects, 1);
    }
    let mut sizes = Vec::new();
    for snapshot in state.live_snapshots() {
        mine.clear();
        let size = Cell::new(Size::default());
        let see = |id: &ChunkId, _| {
            check_stop(monitor)?;
            let at = ordinal(&marks.index, &state, id)?;
            if twice.has(at) || !mine.set(at) {
                return Ok(Visit::Skip);
            }
            size.set(plus(size.get(), measure(&marks, id)?));
            Ok(Visit::Enter)
        };
        reach::tree(&nodes, &snapshot.manifest.tree, &see)?;
        monitor.advance(Progress::Objects, 1);
        sizes.push(UniqueSize { snapshot: snapshot.id, size: size.get() });
    }
    Ok(sizes)
}
