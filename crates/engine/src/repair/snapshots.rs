//! Salvaging damaged snapshots.
//!
//! A snapshot never changes. One that cannot be given back whole gets a twin: same name, host, labels and time, tagged
//! [`REPAIRED_TAG`], its parent the original, holding every entry that can be given back whole. What cannot is left out,
//! and named in the twin's own list of problems: a file that is restored is a whole file. The original stays unless asked
//! otherwise: a pack put back from a replica makes it whole again. Where a twin stands among all: [`crate::twins`].
//!
//! *Invariant*: no snapshot is forgotten but for a live twin that holds everything that can be read of it now. One made when other
//! packs were missing does not, and what anybody tagged `repaired` need not: only a twin counts whose tree is the one
//! that would be built now, and whose nodes are whole.

use super::{RepairOptions, overtaken, with_writer};
use crate::options::Effect;
use crate::publish;
use crate::repository::{Appended, Repository, Verdict, read_record};
use crate::rules::{self, Ledger};
use crate::segments::{Nodes, is_damage};
use crate::twins::Twins;
use crate::verify::{self, Findings, Hit, Walk};
use decube_backup_core::limits::MANIFEST_PROBLEMS_MAX;
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress, Silent, check_stop};
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::checkpoint::{Pin, SnapshotEntry, State};
use decube_backup_format::ids::{ChunkId, PackName, SnapshotId};
use decube_backup_format::log::Payload;
use decube_backup_format::manifest::SnapshotManifest;
use decube_backup_format::tree::{NodeWriter, TreeBuilder, TreeCursor, TreeRoot};

/// Tag of a snapshot that holds what was left of another.
pub const REPAIRED_TAG: &str = "repaired";

/// Choices beyond those of every repair.
#[derive(Clone, Debug, Default)]
pub struct SnapshotsOptions {
    /// Only these; `None` for all live ones.
    pub only: Option<Vec<SnapshotId>>,
    /// What becomes of a damaged snapshot that has a twin.
    pub damaged: Damaged,
}

/// What becomes of damaged snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Damaged {
    /// They stay.
    #[default]
    Keep,
    /// They are forgotten once they have a twin, unless they are pinned.
    Forget,
}

/// What became of one damaged snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A dry run: a twin would be made.
    Planned,
    /// This twin was made.
    Made(SnapshotId),
    /// It has this one from another repair, and nothing can be added to it.
    Known(SnapshotId),
    /// Nothing of it can be read.
    Nothing,
}

/// One snapshot that cannot be given back whole.
#[derive(Clone, Debug)]
pub struct DamagedSnapshot {
    /// Which.
    pub id: SnapshotId,
    /// Its name.
    pub name: String,
    /// Its time.
    pub time: Timestamp,
    /// Entries that can be given back whole.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that cannot.
    pub lost: u64,
    /// The first of them; all went to the monitor.
    pub problems: Vec<Problem>,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it was forgotten.
    pub forgotten: bool,
    /// Whether a run that writes would change anything; false after one.
    pub to_do: bool,
}

/// What a repair of snapshots found and did.
#[derive(Clone, Debug, Default)]
pub struct SnapshotsReport {
    /// Snapshots looked at.
    pub checked: u64,
    /// Those that cannot be given back whole, oldest first.
    pub damaged: Vec<DamagedSnapshot>,
}

/// Makes a twin of every live snapshot that cannot be given back whole.
///
/// # Errors
/// The store does not answer; the log is damaged and there is something to write; `Contended`.
pub fn snapshots(
    repo: &Repository,
    options: &RepairOptions,
    choice: &SnapshotsOptions,
    monitor: &dyn Monitor,
) -> Result<SnapshotsReport> {
    options.explained(repaired(repo, options, choice, monitor))
}

fn repaired(
    repo: &Repository,
    options: &RepairOptions,
    choice: &SnapshotsOptions,
    monitor: &dyn Monitor,
) -> Result<SnapshotsReport> {
    options.check(repo)?;
    let findings = verify::examine(repo, options.content.depth(), monitor)?;
    let state = repo.state();
    let nodes = Nodes::new(repo)?;
    let mut walk = Walk::new(repo, repo.index()?, &nodes, monitor)?;
    let mut report = SnapshotsReport::default();
    let wanted = |s: &&SnapshotEntry| choice.only.as_ref().is_none_or(|ids| ids.contains(&s.id));
    monitor.phase("snapshots", None, Some(state.live_snapshots().filter(wanted).count() as u64));
    for snapshot in state.live_snapshots().filter(wanted) {
        check_stop(monitor)?;
        report.checked += 1;
        let is_sound = walk.is_whole(&snapshot.manifest.tree, &findings, is_given_back)?;
        // Somebody else may have repaired and forgotten it since this began.
        if !is_sound && repo.state().is_live(&snapshot.id) {
            let mut salvage = Salvage { repo, walk: &mut walk, nodes: &nodes, findings: &findings, snapshot, monitor };
            let mut damaged = salvage.run(options)?;
            let may_go = choice.damaged == Damaged::Forget && snapshot.pin == Pin::None;
            match (damaged.outcome, options.effect) {
                (Outcome::Made(twin) | Outcome::Known(twin), Effect::Real) if may_go => {
                    damaged.forgotten = forget(repo, options, &snapshot.id, &twin)?;
                }
                (Outcome::Planned, Effect::DryRun) => damaged.to_do = true,
                (Outcome::Known(_), Effect::DryRun) => damaged.to_do = may_go,
                _ => {}
            }
            report.damaged.push(damaged);
        }
        monitor.advance(Progress::Objects, 1);
    }
    Ok(report)
}

fn is_given_back(hit: &Hit) -> bool {
    !matches!(hit, Hit::Lost(_))
}

/// Hides `damaged` if its `twin` is still there and nobody pinned it meanwhile; says whether it is hidden.
fn forget(repo: &Repository, options: &RepairOptions, damaged: &SnapshotId, twin: &SnapshotId) -> Result<bool> {
    let record = options.record(repo, Payload::Forget { snapshots: vec![*damaged] }, Vec::new(), Vec::new());
    repo.append(record, &mut |state| {
        let is_free = state.snapshot(damaged).is_some_and(|s| s.pin == Pin::None);
        Ok(Verdict::of(is_free && rules::forget_stands(state, [damaged], [twin])))
    })?;
    Ok(!repo.state().is_live(damaged))
}

struct Salvage<'a, 'r> {
    repo: &'a Repository,
    walk: &'a mut Walk<'r>,
    nodes: &'a Nodes<'a>,
    findings: &'a Findings,
    snapshot: &'a SnapshotEntry,
    monitor: &'a dyn Monitor,
}

/// What is left of a snapshot, and what is not.
struct Left {
    root: TreeRoot,
    lost: u64,
    problems: Vec<Problem>,
}

impl Salvage<'_, '_> {
    fn run(&mut self, options: &RepairOptions) -> Result<DamagedSnapshot> {
        let left = self.build(&mut Nowhere, self.monitor)?;
        let same = self.twins(&self.repo.state(), &left.root);
        let known = self.first_whole(&same)?;
        let (left, outcome) = match known {
            _ if left.root.entries == 0 => (left, Outcome::Nothing),
            Some(twin) => (left, Outcome::Known(twin)),
            None if options.effect == Effect::DryRun => (left, Outcome::Planned),
            None => self.make(&same, options)?,
        };
        let manifest = &self.snapshot.manifest;
        Ok(DamagedSnapshot {
            id: self.snapshot.id,
            name: manifest.name.clone(),
            time: manifest.begun,
            entries: left.root.entries,
            bytes: left.root.bytes,
            lost: left.lost,
            problems: left.problems,
            outcome,
            forgotten: false,
            to_do: false,
        })
    }

    /// Live copies of the same backup that hold exactly what `root` does, in log order.
    fn twins(&self, state: &State, root: &TreeRoot) -> Vec<SnapshotId> {
        let twins = Twins::of(state);
        let is_twin = |s: &&SnapshotEntry| {
            s.id != self.snapshot.id && s.manifest.tree == *root && twins.are_kin(&s.id, &self.snapshot.id)
        };
        state.live_snapshots().filter(is_twin).map(|s| s.id).collect()
    }

    fn first_whole(&mut self, twins: &[SnapshotId]) -> Result<Option<SnapshotId>> {
        let state = self.repo.state();
        for twin in twins.iter().filter_map(|id| state.snapshot(id)) {
            if self.walk.is_whole(&twin.manifest.tree, self.findings, is_given_back)? {
                return Ok(Some(twin.id));
            }
        }
        Ok(None)
    }

    /// Stores a twin, unless somebody else did meanwhile; `not_whole` are those that do not count.
    fn make(&self, not_whole: &[SnapshotId], options: &RepairOptions) -> Result<(Left, Outcome)> {
        let reclaimed = self.repo.state().reclaimed_packs().len();
        let bad = |pack: &PackName| self.findings.bad_packs.contains(pack);
        let index = self.repo.index()?;
        // What is lost was told of when it was found.
        let (left, added, deps) =
            with_writer(self.repo, &index, &bad, self.monitor, |dedup| self.build(dedup, &Silent))?;
        let manifest = self.manifest(&left)?.encode()?;
        let id = manifest.id();
        let record =
            options.record(self.repo, Payload::Commit { manifest }, publish::objects(self.repo, &added)?, Vec::new());
        let mut theirs = None;
        let mut validate = |state: &State| {
            theirs = self.twins(state, &left.root).into_iter().find(|twin| !not_whole.contains(twin));
            let packs = added.iter().map(|p| &p.name).chain(&deps);
            let stands = rules::commit_stands(state, reclaimed, packs, Some(&self.snapshot.id));
            Ok(Verdict::of(theirs.is_none() && stands))
        };
        match (self.repo.append(record, &mut validate)?, theirs) {
            (Appended::At(_), _) => Ok((left, Outcome::Made(id))),
            (Appended::Void, Some(twin)) => Ok((left, Outcome::Known(twin))),
            (Appended::Void, None) => Err(overtaken()),
        }
    }

    /// The tree of everything whole; tells of the rest.
    fn build(&self, writer: &mut dyn NodeWriter, told: &dyn Monitor) -> Result<Left> {
        let mut cursor = TreeCursor::new(self.nodes, &self.snapshot.manifest.tree);
        let mut tree = TreeBuilder::new(self.repo.hasher.clone(), &self.repo.cut_key);
        let (mut lost, mut problems) = (0u64, Vec::new());
        let mut lose = |path: &[u8], entries: u64, why: String| {
            let problem = Problem::new(ProblemKind::Damaged, path.to_vec(), why);
            told.problem(&problem);
            lost = lost.saturating_add(entries);
            if problems.len() < MANIFEST_PROBLEMS_MAX {
                problems.push(problem);
            }
        };
        loop {
            check_stop(self.monitor)?;
            match cursor.next() {
                Ok(None) => break,
                Ok(Some(entry)) => match self.walk.hit(&entry, self.findings)? {
                    Hit::None | Hit::Spared => tree.push(entry, writer)?,
                    Hit::Lost(why) => lose(entry.entry.path.as_bytes(), 1, why),
                },
                // Nothing is left out of a twin because the store did not answer.
                Err(error) if !is_damage(&error) => return Err(error),
                Err(error) => {
                    let gap = cursor.gap().map(|gap| (gap.from.as_bytes().to_vec(), gap.entries));
                    let (from, entries) = gap.unwrap_or_default();
                    let why = format!("{entries} entries from here on cannot be read: {}", error.chain());
                    lose(&from, entries.max(1), why);
                }
            }
        }
        Ok(Left { root: tree.finish(writer)?, lost, problems })
    }

    fn manifest(&self, left: &Left) -> Result<SnapshotManifest> {
        let mut manifest = self.snapshot.manifest.clone();
        self.repo.env.entropy.fill(&mut manifest.run)?;
        manifest.tree = left.root;
        manifest.parent = Some(self.snapshot.id);
        if !manifest.tags.iter().any(|tag| tag == REPAIRED_TAG) {
            manifest.tags.push(REPAIRED_TAG.to_owned());
        }
        let before = std::mem::take(&mut manifest.problems_total);
        for problem in &left.problems {
            manifest.add_problem(problem.clone());
        }
        // What only the record says: excludes, and what had been wrong when the backup was made.
        let recorded = read_record(self.repo, &self.repo.state(), self.snapshot.seq);
        if let Some((_, Some(Payload::Commit { manifest: original }))) = recorded {
            let original = original.decode()?;
            manifest.excludes = original.excludes;
            original.problems.into_iter().for_each(|problem| manifest.add_problem(problem));
        }
        manifest.problems_total = before;
        let total = manifest.problems_total.entry(ProblemKind::Damaged).or_default();
        *total = total.saturating_add(left.lost);
        Ok(manifest)
    }
}

/// Nodes that nobody needs.
struct Nowhere;

impl NodeWriter for Nowhere {
    fn put_node(&mut self, _id: ChunkId, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}
