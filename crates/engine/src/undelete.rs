//! Giving back forgotten snapshots, as long as their content is there.
//!
//! *Invariant*: a `RestoreForgotten` owes the same proof as a commit: every chunk of the snapshot is in a pack in force. Nothing
//! was ever reclaimed: then nothing can be missing. Otherwise the tree is walked, distinct nodes once, and each chunk looked
//! up; no data pack is read. A `Reclaim` that comes in between voids the answer ([`rules::undelete_stands`]), and it is found anew.

use crate::index::LocalIndex;
use crate::options::Effect;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use crate::rules::{self, Ledger};
use crate::segments::Nodes;
use decube_backup_core::entry::display_bytes;
use decube_backup_core::monitor::{Monitor, check_stop};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{SnapshotEntry, State, Visibility};
use decube_backup_format::header::Access;
use decube_backup_format::ids::{ChunkId, SnapshotId};
use decube_backup_format::log::Payload;
use decube_backup_format::tree::{Content, Extent, Gap, NodeVisitor, TreeEntry, Visit, visit_list_nodes, visit_nodes};
use std::collections::HashSet;

/// Most times the content is looked for anew because space was reclaimed meanwhile.
const LOOKS_MAX: u32 = 8;
/// Missing files named in an error.
const NAMED_MAX: usize = 3;
/// Most snapshots of one call: they go into one record.
const SNAPSHOTS_MAX: usize = 100_000;

/// Shows forgotten `snapshots` again, all of them or none, with one record; on a dry run only finds out whether it can. Says which of
/// them were hidden.
///
/// # Errors
/// `NotFound` for an unknown snapshot, or if content of one was reclaimed: it says what is missing; `Contended` if space is reclaimed all
/// the time; what reading and appending yield.
pub fn undelete(
    repo: &Repository,
    snapshots: &[SnapshotId],
    effect: Effect,
    (host, username): (&str, &str),
    monitor: &dyn Monitor,
) -> Result<Vec<SnapshotId>> {
    if effect == Effect::Real {
        repo.check_reader(Access::Write)?;
    }
    if snapshots.len() > SNAPSHOTS_MAX {
        return Err(
            Error::new(ErrorKind::Invalid, "undelete", "too many snapshots at once").with("most", SNAPSHOTS_MAX)
        );
    }
    for _ in 0..LOOKS_MAX {
        repo.refresh()?;
        let state = repo.state();
        let seen = state.reclaimed_count();
        let hidden = hidden(&state, snapshots)?;
        if seen > 0 {
            whole(repo, &state, &hidden, monitor)?;
        }
        let ids: Vec<SnapshotId> = hidden.iter().map(|s| s.id).collect();
        if ids.is_empty() || effect == Effect::DryRun {
            return Ok(ids);
        }
        let record = NewRecord {
            payload: Payload::RestoreForgotten { snapshots: ids.clone() },
            added: Vec::new(),
            reclaimed: Vec::new(),
            stamp: repo.stamp(host, username),
        };
        let appended = repo.append(record, &mut |state| Ok(Verdict::of(rules::undelete_stands(state, seen))))?;
        if let Appended::At(_) = appended {
            return Ok(ids);
        }
    }
    Err(Error::new(ErrorKind::Contended, "undelete", "space was reclaimed all the time")
        .with_hint("nothing was changed; run the same command again when no prune runs"))
}

/// Those of `snapshots` that are hidden.
fn hidden<'s>(state: &'s State, snapshots: &[SnapshotId]) -> Result<Vec<&'s SnapshotEntry>> {
    let mut found: Vec<&SnapshotEntry> = Vec::new();
    for id in snapshots {
        let entry = state.snapshot(id).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "undelete", "no such snapshot").with("snapshot", id.to_hex())
        })?;
        if matches!(entry.visibility, Visibility::Forgotten { .. }) && !found.iter().any(|s| s.id == *id) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Checks that every chunk of `snapshots` is in a pack in force in `state`.
fn whole(repo: &Repository, state: &State, snapshots: &[&SnapshotEntry], monitor: &dyn Monitor) -> Result<()> {
    let index = repo.index()?;
    let nodes = Nodes::new(repo)?;
    let mut search =
        Search { state, index: &index, nodes: &nodes, monitor, sound: HashSet::new(), missing: Missing::default() };
    for snapshot in snapshots {
        search.missing = Missing::default();
        visit_nodes(&nodes, &snapshot.manifest.tree, &mut search)?;
        if let Some(error) = search.missing.error(&snapshot.id) {
            return Err(error);
        }
    }
    Ok(())
}

/// What of a snapshot is gone.
#[derive(Default)]
struct Missing {
    /// Tree nodes; what they held is unknown.
    nodes: u64,
    files: u64,
    named: Vec<String>,
}

impl Missing {
    fn error(&self, snapshot: &SnapshotId) -> Option<Error> {
        if self.nodes == 0 && self.files == 0 {
            return None;
        }
        let mut error = Error::new(
            ErrorKind::NotFound,
            "undelete",
            "content of the snapshot was reclaimed; it cannot be given back",
        )
        .with("snapshot", snapshot.to_hex());
        if self.files > 0 {
            error = error.with("files_without_content", self.files).with("first", self.named.join(", "));
        }
        if self.nodes > 0 {
            error = error.with("lost_directory_parts", self.nodes);
        }
        Some(error.with_hint("nothing was changed; a replica that was not pruned may still hold it"))
    }
}

/// Looks for what a tree needs. Nodes already found whole with all below them are not read again.
struct Search<'a> {
    state: &'a State,
    index: &'a LocalIndex,
    nodes: &'a Nodes<'a>,
    monitor: &'a dyn Monitor,
    sound: HashSet<ChunkId>,
    missing: Missing,
}

impl Search<'_> {
    fn is_there(&self, id: &ChunkId) -> Result<bool> {
        Ok(self.index.find(&id.short(), &|pack| !self.state.is_in_force(pack))?.is_some())
    }

    fn all_there(&self, extents: &[Extent]) -> Result<bool> {
        for id in extents.iter().filter_map(Extent::chunk) {
            if !self.is_there(id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn file_is_whole(&self, content: &Content) -> Result<bool> {
        if let Content::Extents(extents) = content {
            return self.all_there(extents);
        }
        let mut whole = true;
        let gone = std::cell::Cell::new(false);
        let mut entered = HashSet::new();
        visit_list_nodes(
            self.nodes,
            content,
            |child, _| {
                check_stop(self.monitor)?;
                if gone.get() || !self.is_there(&child.id)? {
                    gone.set(true);
                    return Ok(Visit::Skip);
                }
                Ok(if entered.insert(child.id) { Visit::Enter } else { Visit::Skip })
            },
            |extents| {
                whole = whole && self.all_there(extents)?;
                Ok(())
            },
        )?;
        Ok(whole && !gone.get())
    }
}

impl NodeVisitor for Search<'_> {
    fn node(&mut self, id: &ChunkId, _height: u8) -> Result<Visit> {
        check_stop(self.monitor)?;
        // Once something is missing there is no second snapshot: what was seen before need not be whole.
        if !self.sound.insert(*id) {
            return Ok(Visit::Skip);
        }
        if self.is_there(id)? {
            return Ok(Visit::Enter);
        }
        self.missing.nodes += 1;
        Ok(Visit::Skip)
    }

    fn leaf(&mut self, entries: Vec<TreeEntry>) -> Result<()> {
        for entry in entries {
            if !self.file_is_whole(&entry.content)? {
                self.missing.files += 1;
                if self.missing.named.len() < NAMED_MAX {
                    self.missing.named.push(format!("/{}", display_bytes(entry.entry.path.as_bytes())));
                }
            }
        }
        Ok(())
    }

    fn damaged(&mut self, _gap: Gap, error: Error) -> Result<()> {
        Err(error.with_hint(
            "the snapshot stays forgotten: not all of it can be read; `decube-backup verify` says what is damaged",
        ))
    }
}
