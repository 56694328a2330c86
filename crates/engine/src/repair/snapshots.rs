//! Salvaging damaged snapshots.
//!
//! A snapshot never changes. One that cannot be given back whole gets a twin: same name, host, labels and time, tagged
//! [`REPAIRED_TAG`], its parent the original, holding every entry that can be given back whole. What cannot is left out,
//! and named in the twin's own list of problems: a file that is restored is a whole file. The original stays unless asked
//! otherwise: a pack put back from a replica makes it whole again.

use super::{RepairOptions, overtaken, with_writer};
use crate::options::Effect;
use crate::publish;
use crate::repository::{Appended, Repository, Verdict, read_record};
use crate::rules;
use crate::segments::{Nodes, is_damage};
use crate::verify::{self, Findings, Hit, Walk};
use decube_backup_core::limits::MANIFEST_PROBLEMS_MAX;
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress, check_stop};
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A dry run: a twin would be made.
    Planned,
    /// This twin was made.
    Made(SnapshotId),
    /// It has this one from an earlier repair.
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
        if !walk.is_whole(&snapshot.manifest.tree, &findings, |hit| !matches!(hit, Hit::Lost(_)))? {
            let mut salvage = Salvage { repo, walk: &walk, nodes: &nodes, findings: &findings, snapshot, monitor };
            let mut damaged = salvage.run(&state, options)?;
            let has_twin = matches!(damaged.outcome, Outcome::Made(_) | Outcome::Known(_));
            if choice.damaged == Damaged::Forget
                && has_twin
                && snapshot.pin == Pin::None
                && options.effect == Effect::Real
            {
                options.append(repo, Payload::Forget { snapshots: vec![snapshot.id] })?;
                damaged.forgotten = true;
            }
            report.damaged.push(damaged);
        }
        monitor.advance(Progress::Objects, 1);
    }
    Ok(report)
}

struct Salvage<'a, 'r> {
    repo: &'a Repository,
    walk: &'a Walk<'r>,
    nodes: &'a Nodes<'a>,
    findings: &'a Findings,
    snapshot: &'a SnapshotEntry,
    monitor: &'a dyn Monitor,
}

impl Salvage<'_, '_> {
    fn run(&mut self, state: &State, options: &RepairOptions) -> Result<DamagedSnapshot> {
        let manifest = &self.snapshot.manifest;
        let mut damaged = DamagedSnapshot {
            id: self.snapshot.id,
            name: manifest.name.clone(),
            time: manifest.begun,
            entries: 0,
            bytes: 0,
            lost: 0,
            problems: Vec::new(),
            outcome: Outcome::Planned,
            forgotten: false,
        };
        let twin_of = |s: &&SnapshotEntry| {
            s.manifest.parent == Some(self.snapshot.id) && s.manifest.tags.iter().any(|tag| tag == REPAIRED_TAG)
        };
        let twin = state.live_snapshots().find(twin_of).map(|s| s.id);
        if options.effect == Effect::DryRun || twin.is_some() {
            let root = self.build(&mut damaged, &mut Nowhere)?;
            damaged.outcome = match twin {
                Some(twin) => Outcome::Known(twin),
                None if root.entries == 0 => Outcome::Nothing,
                None => Outcome::Planned,
            };
            return Ok(damaged);
        }
        let reclaimed = state.reclaimed_packs().len();
        let bad = |pack: &PackName| self.findings.bad_packs.contains(pack);
        let index = self.repo.index()?;
        let (root, added, deps) =
            with_writer(self.repo, &index, &bad, self.monitor, |dedup| self.build(&mut damaged, dedup))?;
        if root.entries == 0 {
            damaged.outcome = Outcome::Nothing;
            return Ok(damaged);
        }
        let manifest = self.manifest(root, &damaged)?.encode()?;
        let id = manifest.id();
        let record =
            options.record(self.repo, Payload::Commit { manifest }, publish::objects(self.repo, &added)?, Vec::new());
        let mut validate = |state: &State| {
            let packs = added.iter().map(|p| &p.name).chain(&deps);
            Ok(Verdict::of(rules::commit_stands(state, reclaimed, packs, Some(&self.snapshot.id))))
        };
        match self.repo.append(record, &mut validate)? {
            Appended::At(_) => damaged.outcome = Outcome::Made(id),
            Appended::Void => return Err(overtaken()),
        }
        Ok(damaged)
    }

    /// The tree of everything whole; tells of the rest.
    fn build(&self, damaged: &mut DamagedSnapshot, writer: &mut dyn NodeWriter) -> Result<TreeRoot> {
        let mut cursor = TreeCursor::new(self.nodes, &self.snapshot.manifest.tree);
        let mut tree = TreeBuilder::new(self.repo.hasher.clone(), &self.repo.cut_key);
        loop {
            check_stop(self.monitor)?;
            match cursor.next() {
                Ok(None) => break,
                Ok(Some(entry)) => match self.walk.hit(&entry, self.findings)? {
                    Hit::None | Hit::Spared => tree.push(entry, writer)?,
                    Hit::Lost(why) => self.lose(damaged, entry.entry.path.as_bytes(), 1, why),
                },
                // Nothing is left out of a twin because the store did not answer.
                Err(error) if !is_damage(&error) => return Err(error),
                Err(error) => {
                    let gap = cursor.gap().map(|gap| (gap.from.as_bytes().to_vec(), gap.entries));
                    let (from, entries) = gap.unwrap_or_default();
                    let why = format!("{entries} entries from here on cannot be read: {}", error.chain());
                    self.lose(damaged, &from, entries.max(1), why);
                }
            }
        }
        let root = tree.finish(writer)?;
        (damaged.entries, damaged.bytes) = (root.entries, root.bytes);
        Ok(root)
    }

    fn lose(&self, damaged: &mut DamagedSnapshot, path: &[u8], entries: u64, why: String) {
        let problem = Problem::new(ProblemKind::Damaged, path.to_vec(), why);
        self.monitor.problem(&problem);
        damaged.lost = damaged.lost.saturating_add(entries);
        if damaged.problems.len() < MANIFEST_PROBLEMS_MAX {
            damaged.problems.push(problem);
        }
    }

    fn manifest(&self, root: TreeRoot, damaged: &DamagedSnapshot) -> Result<SnapshotManifest> {
        let mut manifest = self.snapshot.manifest.clone();
        self.repo.env.entropy.fill(&mut manifest.run)?;
        manifest.tree = root;
        manifest.parent = Some(self.snapshot.id);
        if !manifest.tags.iter().any(|tag| tag == REPAIRED_TAG) {
            manifest.tags.push(REPAIRED_TAG.to_owned());
        }
        let before = std::mem::take(&mut manifest.problems_total);
        for problem in &damaged.problems {
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
        *total = total.saturating_add(damaged.lost);
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
