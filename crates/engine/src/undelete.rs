//! Giving back forgotten snapshots, as long as their content is there.
//!
//! *Invariant*: a `RestoreForgotten` owes the same proof as a commit: every chunk of the snapshot is in a pack in force. Nothing
//! was ever reclaimed: then no record took anything. Otherwise the tree is walked, distinct nodes once, and each chunk looked
//! up; no data pack is read. A `Reclaim` that comes in between voids the answer ([`rules::undelete_stands`]), and it is found anew.
//!
//! Damage is no reason to leave a snapshot to the next prune, but it is said: one listing tells which packs are not there with
//! their lengths, and the log which are known to be damaged. Only if there are any is a tree walked for their sake.

use crate::index::LocalIndex;
use crate::odd_packs::odd_packs;
use crate::options::Effect;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use crate::rules::{self, Ledger};
use crate::segments::{Nodes, is_damage};
use decube_backup_core::display::display_bytes;
use decube_backup_core::monitor::{Monitor, check_stop};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{SnapshotEntry, State, Visibility};
use decube_backup_format::header::Access;
use decube_backup_format::ids::{ChunkId, PackName, SnapshotId};
use decube_backup_format::log::Payload;
use decube_backup_format::tree::{Content, Extent, Gap, NodeVisitor, TreeEntry, Visit, visit_list_nodes, visit_nodes};
use hashbrown::HashSet;
use std::cell::Cell;

/// Most times the content is looked for anew because space was reclaimed meanwhile.
const LOOKS_MAX: u32 = 8;
/// Missing files named in an error or a report.
const NAMED_MAX: usize = 3;
/// Most snapshots of one call: they go into one record.
const SNAPSHOTS_MAX: usize = 100_000;

/// What was given back.
#[derive(Clone, Debug, Default)]
pub struct GivenBack {
    /// Snapshots that were hidden and are shown again; on a dry run, that would be.
    pub shown: Vec<SnapshotId>,
    /// Those of them that may not come back whole.
    pub damaged: Vec<DamagedContent>,
}

/// A snapshot that needs packs which are missing, of another length than recorded, or known to be damaged.
#[derive(Clone, Debug)]
pub struct DamagedContent {
    /// Which.
    pub snapshot: SnapshotId,
    /// Files with content in such packs and nowhere else.
    pub files: u64,
    /// Nodes of its tree that are in no readable pack; what is below them is not counted.
    pub directory_parts: u64,
    /// The first of the files.
    pub first: Vec<String>,
}

/// Shows forgotten `snapshots` again, all of them or none, with one record; on a dry run only finds out whether it can. Says which of
/// them were hidden, and which are known to be damaged.
///
/// # Errors
/// `NotFound` for an unknown snapshot, or if content of one was reclaimed: it says what is missing; what reading a
/// tree yields if space was reclaimed and it cannot be read to tell; `Contended` if space is reclaimed all the time; what reading and appending yield.
pub fn undelete(
    repo: &Repository,
    snapshots: &[SnapshotId],
    effect: Effect,
    (host, username): (&str, &str),
    monitor: &dyn Monitor,
) -> Result<GivenBack> {
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
        let ids: Vec<SnapshotId> = hidden.iter().map(|s| s.id).collect();
        if ids.is_empty() {
            return Ok(GivenBack::default());
        }
        let suspects = Suspects::of(repo, &state)?;
        let damaged = match seen > 0 || !suspects.is_empty() {
            true => look(repo, &state, &suspects, &hidden, monitor)?,
            false => Vec::new(),
        };
        if effect == Effect::DryRun {
            repo.refresh()?;
            if rules::undelete_stands(repo.state().as_ref(), seen) {
                return Ok(GivenBack { shown: ids, damaged });
            }
            continue;
        }
        let record = NewRecord {
            payload: Payload::RestoreForgotten { snapshots: ids.clone() },
            added: Vec::new(),
            reclaimed: Vec::new(),
            stamp: repo.stamp(host, username),
        };
        let appended = repo.append(record, &mut |state| Ok(Verdict::of(rules::undelete_stands(state, seen))))?;
        if let Appended::At(_) = appended {
            return Ok(GivenBack { shown: ids, damaged });
        }
    }
    Err(Error::new(ErrorKind::Contended, "undelete", "space was reclaimed all the time")
        .with_hint("nothing was changed; run the same command again when no prune runs"))
}

/// Packs in force on which nobody should count.
#[derive(Default)]
struct Suspects {
    /// Not there, or of another length than recorded.
    odd: HashSet<PackName>,
    /// Recorded as damaged; some of what is in them may be whole.
    recorded: HashSet<PackName>,
}

impl Suspects {
    /// As [`odd_packs`] finds them, and as the log has them.
    fn of(repo: &Repository, state: &State) -> Result<Self> {
        let recorded = state.damaged_packs().map(|(pack, _)| *pack).collect();
        Ok(Self { odd: odd_packs(repo, state)?, recorded })
    }

    fn is_empty(&self) -> bool {
        self.odd.is_empty() && self.recorded.is_empty()
    }
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

/// Checks that every chunk of `snapshots` is in a pack in force in `state`; says which need `suspects`.
fn look(
    repo: &Repository,
    state: &State,
    suspects: &Suspects,
    snapshots: &[&SnapshotEntry],
    monitor: &dyn Monitor,
) -> Result<Vec<DamagedContent>> {
    let index = repo.index()?;
    let nodes = Nodes::new(repo)?;
    let (sound, entered) = Default::default();
    let mut search = Search {
        state,
        suspects,
        index: &index,
        nodes: &nodes,
        monitor,
        sound,
        entered,
        gone: Missing::default(),
        hit: Missing::default(),
    };
    let mut damaged = Vec::new();
    for snapshot in snapshots {
        visit_nodes(&nodes, &snapshot.manifest.tree, &mut search)?;
        if let Some(error) = search.gone.error(&snapshot.id) {
            return Err(error);
        }
        let entered = std::mem::take(&mut search.entered);
        let Missing { nodes, files, named } = std::mem::take(&mut search.hit);
        if nodes.is_empty() && files == 0 {
            search.sound.extend(entered);
        } else {
            let directory_parts = nodes.len() as u64;
            damaged.push(DamagedContent { snapshot: snapshot.id, files, directory_parts, first: named });
        }
    }
    Ok(damaged)
}

/// How a chunk is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Chunk {
    /// In a pack that nothing is known against.
    There,
    /// In suspect packs only.
    Hit,
    /// In no pack in force.
    Gone,
}

/// What of a snapshot is gone, or hit.
#[derive(Default)]
struct Missing {
    /// Tree nodes; what they held is unknown.
    nodes: HashSet<ChunkId>,
    files: u64,
    named: Vec<String>,
}

impl Missing {
    fn file(&mut self, entry: &TreeEntry) {
        self.files += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("/{}", display_bytes(entry.entry.path.as_bytes())));
        }
    }

    fn error(&self, snapshot: &SnapshotId) -> Option<Error> {
        if self.nodes.is_empty() && self.files == 0 {
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
        if !self.nodes.is_empty() {
            error = error.with("lost_directory_parts", self.nodes.len());
        }
        Some(error.with_hint("nothing was changed; a replica that was not pruned may still hold it"))
    }
}

/// Looks for what a tree needs. Nodes already found whole with all below them are not read again.
struct Search<'a> {
    state: &'a State,
    suspects: &'a Suspects,
    index: &'a LocalIndex,
    nodes: &'a Nodes<'a>,
    monitor: &'a dyn Monitor,
    sound: HashSet<ChunkId>,
    /// Nodes of this tree that were looked at.
    entered: HashSet<ChunkId>,
    gone: Missing,
    hit: Missing,
}

impl Search<'_> {
    fn find(&self, id: &ChunkId, is_suspect: &dyn Fn(&PackName) -> bool) -> Result<Chunk> {
        let id = id.short();
        Ok(if self.index.find(&id, &|pack| !self.state.is_in_force(pack) || is_suspect(pack))?.is_some() {
            Chunk::There
        } else if self.index.find(&id, &|pack| !self.state.is_in_force(pack))?.is_some() {
            Chunk::Hit
        } else {
            Chunk::Gone
        })
    }

    /// A node that is in a damaged pack, but there, is read: then it shows.
    fn node_is(&self, id: &ChunkId) -> Result<Chunk> {
        self.find(id, &|pack| self.suspects.odd.contains(pack))
    }

    fn all_are(&self, extents: &[Extent]) -> Result<Chunk> {
        let mut worst = Chunk::There;
        for id in extents.iter().filter_map(Extent::chunk) {
            let is_suspect = |pack: &_| self.suspects.odd.contains(pack) || self.suspects.recorded.contains(pack);
            worst = worst.max(self.find(id, &is_suspect)?);
            if worst == Chunk::Gone {
                break;
            }
        }
        Ok(worst)
    }

    fn file_is(&self, content: &Content) -> Result<Chunk> {
        if let Content::Extents(extents) = content {
            return self.all_are(extents);
        }
        let worst = Cell::new(Chunk::There);
        let note = |chunk: Chunk| worst.set(worst.get().max(chunk));
        let mut entered = HashSet::new();
        let walked = visit_list_nodes(
            self.nodes,
            content,
            |child, _| {
                check_stop(self.monitor)?;
                note(self.node_is(&child.id)?);
                let enter = worst.get() != Chunk::Gone && entered.insert(child.id);
                Ok(if enter { Visit::Enter } else { Visit::Skip })
            },
            |extents| {
                note(self.all_are(extents)?);
                Ok(())
            },
        );
        if let Err(error) = walked {
            self.unreadable(error)?;
            note(Chunk::Hit);
        }
        Ok(worst.get())
    }

    /// What cannot be read is damage as long as nothing was ever reclaimed; else nobody can tell what is below it.
    fn unreadable(&self, error: Error) -> Result<()> {
        if is_damage(&error) && self.state.reclaimed_count() == 0 {
            return Ok(());
        }
        Err(error.with_hint(
            "the snapshot stays forgotten: not all of it can be read; `decube-backup verify` says what is damaged",
        ))
    }
}

impl NodeVisitor for Search<'_> {
    fn node(&mut self, id: &ChunkId, _height: u8) -> Result<Visit> {
        check_stop(self.monitor)?;
        if self.sound.contains(id) || !self.entered.insert(*id) {
            return Ok(Visit::Skip);
        }
        match self.node_is(id)? {
            Chunk::There => {}
            // A local copy may still tell what is below it.
            Chunk::Hit => _ = self.hit.nodes.insert(*id),
            Chunk::Gone => {
                self.gone.nodes.insert(*id);
                return Ok(Visit::Skip);
            }
        }
        Ok(Visit::Enter)
    }

    fn leaf(&mut self, entries: Vec<TreeEntry>) -> Result<()> {
        for entry in entries {
            match self.file_is(&entry.content)? {
                Chunk::There => {}
                Chunk::Hit => self.hit.file(&entry),
                Chunk::Gone => self.gone.file(&entry),
            }
        }
        Ok(())
    }

    fn damaged(&mut self, gap: Gap, error: Error) -> Result<()> {
        self.unreadable(error)?;
        self.hit.nodes.insert(gap.id);
        Ok(())
    }
}
