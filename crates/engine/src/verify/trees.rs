//! Walking the trees: every node readable, every chunk known and not lost; which files are hit, and
//! which are not because another copy of what is damaged is whole.

use super::Findings;
use crate::index::LocalIndex;
use crate::options::AffectedEntry;
use crate::repository::Repository;
use crate::segments::{Copies, Nodes, is_damage};
use decube_backup_core::Result;
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress, check_stop};
use decube_backup_format::checkpoint::{SnapshotEntry, Visibility};
use decube_backup_format::ids::{ChunkId, PackName, ShortId, SnapshotId};
use decube_backup_format::tree::{
    Content, Extent, NodeVisitor, TreeCursor, TreeEntry, TreeRoot, Visit, visit_list_nodes, visit_nodes,
};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Affected and spared entries listed by path.
const LISTED_MAX: usize = 1000;

/// What the damage found does to an entry.
pub(crate) enum Hit {
    /// Nothing.
    None,
    /// A stored copy of its content is damaged, another one is not.
    Spared,
    /// Its content cannot be given back whole, and why.
    Lost(String),
}

pub(super) fn check(
    repo: &Repository,
    only: Option<&[SnapshotId]>,
    findings: &mut Findings,
    monitor: &dyn Monitor,
) -> Result<()> {
    let index = match repo.index() {
        Ok(index) => index,
        Err(error) if !is_damage(&error) => return Err(error),
        Err(error) => {
            findings.damage("index", format!("the index cannot be loaded: {}", error.chain()));
            return Ok(());
        }
    };
    let state = repo.state();
    let nodes = Nodes::new(repo)?;
    let mut walk = Walk::new(repo, index, &nodes, monitor)?;
    let wanted = |s: &&SnapshotEntry| only.is_none_or(|ids| ids.contains(&s.id));
    monitor.phase("trees", None, Some(state.live_snapshots().filter(wanted).count() as u64));
    for snapshot in state.live_snapshots().filter(wanted) {
        check_stop(monitor)?;
        findings.report.snapshots += 1;
        walk.snapshot(snapshot, findings, monitor)?;
        monitor.advance(Progress::Objects, 1);
    }
    Ok(())
}

/// Asks what damage does to entries.
pub(crate) struct Walk<'a> {
    repo: &'a Repository,
    /// The newest one asked for.
    index: RefCell<Arc<LocalIndex>>,
    nodes: &'a Nodes<'a>,
    /// Subtrees found sound: snapshots share most of them.
    sound: HashSet<ChunkId>,
    /// List nodes found sound, with their height and the file bytes they cover.
    sound_lists: RefCell<HashSet<(ChunkId, u8, u64)>>,
    monitor: &'a dyn Monitor,
    copies: RefCell<Copies<'a>>,
    /// Whether what only hosts say they have is there, as far as it was asked for.
    read: RefCell<HashMap<ShortId, bool>>,
}

/// Whether everything below the nodes not yet known to be sound is sound.
struct Quick<'w, 'a> {
    walk: &'w mut Walk<'a>,
    findings: &'w Findings,
    is_fine: fn(&Hit) -> bool,
    entered: Vec<ChunkId>,
    broken: bool,
}

impl NodeVisitor for Quick<'_, '_> {
    fn node(&mut self, id: &ChunkId, _height: u8) -> Result<Visit> {
        check_stop(self.walk.monitor)?;
        if self.broken || self.walk.sound.contains(id) {
            return Ok(Visit::Skip);
        }
        self.entered.push(*id);
        Ok(Visit::Enter)
    }

    fn leaf(&mut self, entries: Vec<TreeEntry>) -> Result<()> {
        for entry in &entries {
            if !(self.is_fine)(&self.walk.hit(entry, self.findings)?) {
                self.broken = true;
                break;
            }
        }
        Ok(())
    }
}

impl<'a> Walk<'a> {
    /// Over the trees of `repo`; `nodes` reads them.
    ///
    /// # Errors
    /// `Internal` if zstd refuses its bounds.
    pub(crate) fn new(
        repo: &'a Repository,
        index: Arc<LocalIndex>,
        nodes: &'a Nodes<'a>,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        Ok(Self {
            repo,
            index: RefCell::new(index),
            nodes,
            sound: HashSet::new(),
            sound_lists: RefCell::default(),
            monitor,
            copies: RefCell::new(Copies::new(repo)?),
            read: RefCell::default(),
        })
    }

    /// Whether all nodes of the tree are readable and all its entries are fine; looks at each distinct node once for all
    /// trees, which must all be held to the same.
    ///
    /// # Errors
    /// The store does not answer, or the local index: then nothing can be said.
    pub(crate) fn is_whole(&mut self, root: &TreeRoot, findings: &Findings, is_fine: fn(&Hit) -> bool) -> Result<bool> {
        let nodes = self.nodes;
        let mut quick = Quick { walk: self, findings, is_fine, entered: Vec::new(), broken: false };
        let walked = visit_nodes(nodes, root, &mut quick);
        let (entered, broken) = (std::mem::take(&mut quick.entered), quick.broken || walked.is_err());
        if !broken {
            self.sound.extend(entered);
        }
        match walked {
            Err(error) if !is_damage(&error) => Err(error),
            _ => Ok(!broken),
        }
    }

    /// First quickly by distinct nodes; only a tree with damage is listed entry by entry.
    fn snapshot(&mut self, snapshot: &SnapshotEntry, findings: &mut Findings, monitor: &dyn Monitor) -> Result<()> {
        let root = snapshot.manifest.tree;
        if self.is_whole(&root, findings, |hit| matches!(hit, Hit::None))? || self.is_forgotten(snapshot) {
            return Ok(());
        }
        let mut cursor = TreeCursor::new(self.nodes, &root);
        loop {
            check_stop(monitor)?;
            match cursor.next() {
                Ok(None) => return Ok(()),
                Ok(Some(entry)) => {
                    let path = entry.entry.path.as_bytes();
                    match self.hit(&entry, findings)? {
                        Hit::None => {}
                        Hit::Spared => spared(findings, snapshot, path),
                        Hit::Lost(why) => affected(findings, snapshot, path, 1, &why, monitor),
                    }
                }
                // Somebody forgot it meanwhile, and somebody pruned.
                Err(_) if self.is_forgotten(snapshot) => return Ok(()),
                Err(error) if !is_damage(&error) => return Err(error),
                Err(error) => {
                    let gap = cursor.gap().cloned();
                    let (from, count, id) =
                        gap.map_or((Vec::new(), 0, None), |g| (g.from.as_bytes().to_vec(), g.entries, Some(g.id)));
                    let object = id.map_or_else(|| "tree".to_owned(), |id| format!("node {id}"));
                    findings.damage(
                        object,
                        format!(
                            "{count} entries from /{} on are lost: {}",
                            decube_backup_core::display::display_bytes(&from),
                            error.chain()
                        ),
                    );
                    affected(findings, snapshot, &from, count.max(1), &error.chain(), monitor);
                }
            }
        }
    }

    /// Whether the log, as far as it was read by now, says so: reading what is missing reads it on.
    fn is_forgotten(&self, snapshot: &SnapshotEntry) -> bool {
        let state = self.repo.state();
        state.snapshot(&snapshot.id).is_none_or(|now| now.visibility != Visibility::Live)
    }

    /// Whether an entry's content can be given back whole.
    ///
    /// # Errors
    /// The store does not answer, or the local index; the user stopped it.
    pub(crate) fn hit(&self, entry: &TreeEntry, findings: &Findings) -> Result<Hit> {
        match &entry.content {
            Content::None | Content::Inline(_) => Ok(Hit::None),
            Content::Extents(extents) => self.extents_hit(extents, findings),
            list @ Content::List { .. } => self.list_hit(list, findings),
        }
    }

    fn extents_hit(&self, extents: &[Extent], findings: &Findings) -> Result<Hit> {
        let mut hit = Hit::None;
        for id in extents.iter().filter_map(Extent::chunk) {
            match self.chunk_hit(id, findings)? {
                Hit::None => {}
                Hit::Spared => hit = Hit::Spared,
                lost @ Hit::Lost(_) => return Ok(lost),
            }
        }
        Ok(hit)
    }

    /// Looks at each distinct list node once: they may name each other so often that nobody ever counts the extents to the
    /// end.
    fn list_hit(&self, list: &Content, findings: &Findings) -> Result<Hit> {
        let (mut entered, mut spared) = (HashSet::new(), false);
        let end = RefCell::new(None);
        let walked = visit_list_nodes(
            self.nodes,
            list,
            |child, height| {
                check_stop(self.monitor)?;
                let place = (child.id, height, child.len);
                let is_known = end.borrow().is_some() || self.sound_lists.borrow().contains(&place);
                Ok(if is_known || !entered.insert(place) { Visit::Skip } else { Visit::Enter })
            },
            |extents| {
                match self.extents_hit(extents, findings) {
                    Ok(Hit::None) => {}
                    Ok(Hit::Spared) => spared = true,
                    // An error of the index is none of the node that was read.
                    decided => *end.borrow_mut() = Some(decided),
                }
                Ok(())
            },
        );
        match (end.into_inner(), walked) {
            (Some(decided), _) => decided,
            (None, Err(error)) if is_damage(&error) => Ok(Hit::Lost(error.chain())),
            (None, Err(error)) => Err(error),
            (None, Ok(())) if spared => Ok(Hit::Spared),
            (None, Ok(())) => {
                self.sound_lists.borrow_mut().extend(entered);
                Ok(Hit::None)
            }
        }
    }

    fn chunk_hit(&self, id: &ChunkId, findings: &Findings) -> Result<Hit> {
        let short = id.short();
        loop {
            let (state, index) = (self.repo.state(), self.index.borrow().clone());
            let lost = |pack: &PackName| state.is_reclaimed(pack) || findings.is_lost(pack, &short);
            let found = index.find(&short, &lost)?;
            if found.is_some() && findings.is_nothing_lost() {
                return Ok(Hit::None);
            }
            let damaged = index.find(&short, &|pack| state.is_reclaimed(pack) || !findings.is_lost(pack, &short))?;
            match (found, damaged) {
                (Some(_), None) => return Ok(Hit::None),
                (Some(at), Some(_)) if !state.is_hosted(&at.pack) => return Ok(Hit::Spared),
                // What a host says it has too counts once somebody has read it.
                (Some(_), Some(_)) if self.is_kept(&index, &short, &lost)? => return Ok(Hit::Spared),
                (_, Some(_)) => return Ok(Hit::Lost("every stored copy of a chunk is damaged".into())),
                (None, None) => {}
            }
            // The log was read on since, and says that a prune moved it.
            let fresh = self.repo.index()?;
            if Arc::ptr_eq(&fresh, &index) {
                return Ok(Hit::Lost("a chunk is in no readable pack".into()));
            }
            self.index.replace(fresh);
        }
    }

    /// Whether a copy outside the `lost` packs is in a pack that no host added, or else is whole, read now.
    fn is_kept(&self, index: &LocalIndex, id: &ShortId, lost: &dyn Fn(&PackName) -> bool) -> Result<bool> {
        let state = self.repo.state();
        if index.find(id, &|pack| lost(pack) || state.is_hosted(pack))?.is_some() {
            return Ok(true);
        }
        if let Some(known) = self.read.borrow().get(id) {
            return Ok(*known);
        }
        let is_there = self.copies.borrow_mut().find(index, id, lost)?.is_some();
        self.read.borrow_mut().insert(*id, is_there);
        Ok(is_there)
    }
}

fn spared(findings: &mut Findings, snapshot: &SnapshotEntry, path: &[u8]) {
    findings.report.spared_count += 1;
    if findings.report.spared.len() < LISTED_MAX {
        findings.report.spared.push(AffectedEntry { snapshot: snapshot.id.to_hex(), path: path.to_vec() });
    }
}

fn affected(
    findings: &mut Findings,
    snapshot: &SnapshotEntry,
    path: &[u8],
    count: u64,
    why: &str,
    monitor: &dyn Monitor,
) {
    monitor.problem(&Problem::new(ProblemKind::Damaged, path.to_vec(), why.to_owned()));
    if findings.report.damages.is_empty() {
        findings.damage(format!("snapshot {}", snapshot.id), why.to_owned());
    }
    findings.report.affected_count = findings.report.affected_count.saturating_add(count);
    if findings.report.affected.len() < LISTED_MAX {
        findings.report.affected.push(AffectedEntry { snapshot: snapshot.id.to_hex(), path: path.to_vec() });
    }
}
