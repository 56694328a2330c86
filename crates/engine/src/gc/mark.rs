//! Marking: what live snapshots need, as one bit for each entry of the index.
//!
//! *Invariant*: marks are complete or there are none. A node of a live snapshot that cannot be read, or a chunk that no
//! pack in force has, ends the run: nothing is ever reclaimed on an incomplete mark.
//!
//! Nodes that several snapshots share are read once: the bit of a node says that all below it is marked.

use super::reach::{self, Need};
use crate::index::LocalIndex;
use crate::index::bitmap::Bitmap;
use crate::index::scan::Entry;
use crate::repository::Repository;
use crate::rules::{Ledger, Marked};
use crate::segments::{Nodes, is_damage};
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{SnapshotEntry, State};
use decube_backup_format::ids::{ChunkId, PackName, SnapshotId};
use decube_backup_format::tree::Visit;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What some snapshots need.
pub(super) struct Marks {
    pub(super) index: Arc<LocalIndex>,
    pub(super) state: Arc<State>,
    bits: Bitmap,
    snapshots: BTreeSet<SnapshotId>,
}

impl Marks {
    /// Nothing marked yet of what `index` has, which was loaded when the log said `state`.
    pub(super) fn new(index: Arc<LocalIndex>, state: Arc<State>) -> Self {
        Self { bits: Bitmap::new(index.len()), index, state, snapshots: BTreeSet::new() }
    }

    /// What the rules ask of a collector that knows this.
    pub(super) fn marked(&self) -> Marked<SnapshotId> {
        Marked { snapshots: self.snapshots.clone(), reclaimed: self.state.reclaimed_count() }
    }

    /// Whether one of the entries of a chunk is marked.
    pub(super) fn has_any(&self, entries: &[Entry]) -> bool {
        entries.iter().any(|entry| self.bits.has(entry.ordinal))
    }

    /// Marks what live snapshots need that are not marked yet, but those that `skip` names.
    ///
    /// # Errors
    /// A snapshot cannot be read completely; `Interrupted`.
    pub(super) fn add_live(
        &mut self,
        repo: &Repository,
        monitor: &dyn Monitor,
        skip: &dyn Fn(&SnapshotId) -> bool,
    ) -> Result<()> {
        let state = self.state.clone();
        let missing: Vec<&SnapshotEntry> =
            state.live_snapshots().filter(|s| !self.snapshots.contains(&s.id) && !skip(&s.id)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        monitor.phase("mark", None, Some(missing.len() as u64));
        let nodes = Nodes::new(repo)?;
        for snapshot in missing {
            check_stop(monitor)?;
            let see = |id: &ChunkId, need: Need| {
                if need == Need::Node {
                    check_stop(monitor)?;
                }
                self.see(id)
            };
            reach::tree(&nodes, &snapshot.manifest.tree, &see).map_err(|error| incomplete(snapshot, error))?;
            self.snapshots.insert(snapshot.id);
            monitor.advance(Progress::Objects, 1);
        }
        Ok(())
    }

    /// Marks one chunk or node; whether what is below it is to be looked at.
    pub(super) fn see(&self, id: &ChunkId) -> Result<Visit> {
        let at = ordinal(&self.index, &self.state, id)?;
        Ok(if self.bits.set(at) { Visit::Enter } else { Visit::Skip })
    }

    /// The same marks on another index, loaded when the log said `state`; chunks are found again by their ids.
    ///
    /// # Errors
    /// A marked chunk is in no pack in force any more; a local index cannot be read.
    pub(super) fn moved_to(self, index: Arc<LocalIndex>, state: Arc<State>) -> Result<Self> {
        let bits = Bitmap::new(index.len());
        let (mut old, mut new) = (self.index.chunks()?, index.chunks()?);
        let in_force = in_force(new.packs(), &state);
        let mut wanted = None;
        loop {
            if wanted.is_none() {
                let Some(group) = old.next()? else { break };
                wanted = group.first().filter(|_| self.has_any(group)).map(|entry| entry.id);
                continue;
            }
            let Some(group) = new.next()? else { break };
            let id = group.first().map(|entry| entry.id);
            if id == wanted {
                let found = group.iter().find(|e| in_force.get(e.pack as usize).is_some_and(|known| *known));
                bits.set(found.ok_or_else(|| unlocated("a chunk")).map(|e| e.ordinal)?);
                wanted = None;
            } else if id > wanted {
                break;
            }
        }
        match wanted {
            Some(id) => Err(unlocated(id)),
            None => {
                drop((old, new));
                Ok(Self { index, state, bits, snapshots: self.snapshots })
            }
        }
    }
}

/// For each of `packs` whether it is in force.
pub(super) fn in_force(packs: &[PackName], state: &State) -> Vec<bool> {
    packs.iter().map(|pack| state.is_in_force(pack)).collect()
}

/// Ordinal of the entry that stands for `id`: the first in a pack in force.
pub(super) fn ordinal(index: &LocalIndex, state: &State, id: &ChunkId) -> Result<u64> {
    let found = index.find_entry(&id.short(), &|pack| !state.is_in_force(pack))?;
    found.map(|(at, _)| at).ok_or_else(|| unlocated(id))
}

fn unlocated(chunk: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, "prune", "no pack holds a chunk that a live snapshot needs").with("chunk", chunk)
}

fn incomplete(snapshot: &SnapshotEntry, error: Error) -> Error {
    if error.kind() == ErrorKind::Interrupted {
        return error;
    }
    let hint = if is_damage(&error) {
        let id = snapshot.id.to_hex();
        format!(
            "nothing was reclaimed; `decube-backup verify` says what is damaged: put it back from a replica, or forget \
             snapshot {}, then prune again",
            id.get(..8).unwrap_or_default()
        )
    } else {
        // It may be whole.
        let next = error.hint().unwrap_or("run it again when the store answers");
        format!("nothing was reclaimed; {next}")
    };
    Error::new(error.kind(), "prune", "a live snapshot cannot be read completely, so nobody knows what it needs")
        .with("snapshot", snapshot.id)
        .with("name", &snapshot.manifest.name)
        .with_hint(hint)
        .with_source(error)
}
