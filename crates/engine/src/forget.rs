//! Forgetting: snapshots are hidden by one record, and can be given back until their space is reclaimed.
//!
//! *Invariant*: what a `Forget` hides was decided with everything else that it counted on still there. Before every attempt at a
//! slot [`rules::forget_stands`] asks the log again; if another run took what was to stay, or somebody pinned what was to
//! go, all is decided anew. So two runs at once never leave less than each of them alone would have.

use crate::clocks::Clocks;
use crate::options::{Effect, SnapshotFilter};
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use crate::retention::decide::Why;
use crate::retention::{
    Decision, Fate, GroupBy, GroupKey, GuardLimits, Policy, Refusal, Sources, Subject, decide, guard,
};
use crate::rules;
use crate::twins::Twins;
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{SnapshotEntry, State};
use decube_backup_format::header::Access;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::log::Payload;
use decube_backup_format::manifest::SnapshotManifest;
use std::collections::BTreeSet;

/// Most ids in one record: 3 MiB, a tenth of what one may hold.
const RECORD_IDS_MAX: usize = 100_000;
/// Most times that all is decided anew because others changed what it rested on.
const PLANS_MAX: u32 = 32;

/// What shall be forgotten.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// These.
    Named(Vec<SnapshotId>),
    /// All that match.
    Matching(SnapshotFilter),
    /// Of those that match, what the policy does not keep.
    Policy(SnapshotFilter, Box<Policy>),
}

/// Choices of one run.
#[derive(Clone, Debug)]
pub struct ForgetOptions {
    /// What shall go.
    pub wanted: Wanted,
    /// What is compared with what, and what the guard sees as one group.
    pub group_by: GroupBy,
    /// How much may go. For [`Wanted::Named`] the share is not asked.
    pub limits: GuardLimits,
    /// Host recorded.
    pub host: String,
    /// User recorded.
    pub username: String,
    /// Really write.
    pub effect: Effect,
}

impl ForgetOptions {
    /// `wanted`, with everything else at its default.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            group_by: GroupBy::default(),
            limits: GuardLimits::default(),
            host: String::new(),
            username: String::new(),
            effect: Effect::default(),
        }
    }
}

/// What was decided and done.
#[derive(Clone, Debug, Default)]
pub struct ForgetReport {
    /// Of every snapshot that was looked at, in log order.
    pub decisions: Vec<Decision>,
    /// Snapshots that were hidden; empty on a dry run and after a refusal.
    pub forgotten: Vec<SnapshotId>,
    /// The records that say so.
    pub records: Vec<u64>,
    /// Why nothing was written, although something was to go.
    pub refusal: Option<Refusal>,
    /// Live snapshots of the repository before.
    pub live: usize,
}

impl ForgetReport {
    /// What is to go, or is gone.
    pub fn dropped(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|d| d.fate() == Fate::Drop)
    }

    /// The refusal as an error.
    ///
    /// # Errors
    /// `Refused`, if there is one.
    pub fn check(&self) -> Result<()> {
        match &self.refusal {
            Some(refusal) => {
                Err(Error::new(ErrorKind::Refused, "forget", refusal.to_string()).with_hint(refusal.hint()))
            }
            None => Ok(()),
        }
    }
}

/// Decides what goes and, unless it is a dry run or the guard refuses, records it. One listing of `log/`, one record.
///
/// Interrupted between two records (only beyond 100 000 snapshots) the first stands; running it again does the rest.
///
/// # Errors
/// `NotFound` for a named snapshot that never was, `Contended` if others changed the snapshots all the time; what reading and
/// appending yield.
pub fn forget(repo: &Repository, options: &ForgetOptions) -> Result<ForgetReport> {
    if options.effect == Effect::Real {
        repo.check_reader(Access::Write)?;
    }
    let mut report = ForgetReport::default();
    for _ in 0..PLANS_MAX {
        repo.refresh()?;
        let clocks = Clocks::read(repo)?;
        let plan = Plan::new(&repo.state(), &clocks, options)?;
        report.take(&plan);
        if options.effect == Effect::DryRun || plan.refusal.is_some() || plan.dropped.is_empty() {
            return Ok(report);
        }
        if plan.record(repo, &clocks, options, &mut report)? {
            return Ok(report);
        }
    }
    Err(Error::new(ErrorKind::Contended, "forget", "others changed the snapshots all the time")
        .with("forgotten", report.forgotten.len())
        .with_hint("run the same command again"))
}

impl ForgetReport {
    fn take(&mut self, plan: &Plan) {
        let done: BTreeSet<SnapshotId> = self.forgotten.iter().copied().collect();
        self.decisions.retain(|d| done.contains(&d.subject.id));
        self.decisions.extend(plan.decisions.iter().cloned());
        self.refusal.clone_from(&plan.refusal);
        if done.is_empty() {
            self.live = plan.dropped.len() + plan.kept.len();
        }
    }
}

/// What one look at the log leads to.
struct Plan {
    decisions: Vec<Decision>,
    dropped: Vec<SnapshotId>,
    /// All other live snapshots.
    kept: Vec<SnapshotId>,
    refusal: Option<Refusal>,
}

impl Plan {
    fn new(state: &State, clocks: &Clocks, options: &ForgetOptions) -> Result<Self> {
        let decisions = decisions(state, clocks, options)?;
        let dropped: Vec<SnapshotId> =
            decisions.iter().filter(|d| d.fate() == Fate::Drop).map(|d| d.subject.id).collect();
        let gone: BTreeSet<SnapshotId> = dropped.iter().copied().collect();
        let groups: Vec<(SnapshotId, GroupKey)> =
            state.live_snapshots().map(|s| (s.id, options.group_by.key(&s.manifest))).collect();
        let (leaving, staying): (Vec<_>, Vec<_>) = groups.iter().partition(|(id, _)| gone.contains(id));
        let of =
            |groups: &[&'_ (SnapshotId, GroupKey)]| groups.iter().map(|(_, group)| group.clone()).collect::<Vec<_>>();
        let (leaving_groups, staying_groups) = (of(&leaving), of(&staying));
        let mut limits = options.limits;
        if matches!(options.wanted, Wanted::Named(_)) {
            limits.share_percent_max = None;
        }
        let pinned = match &options.wanted {
            Wanted::Named(_) => decisions.iter().filter(|d| d.subject.pinned).map(|d| d.subject.id).collect(),
            _ => Vec::new(),
        };
        let refusal = if pinned.is_empty() {
            guard::check(
                &staying_groups.iter().collect::<Vec<_>>(),
                &leaving_groups.iter().collect::<Vec<_>>(),
                &limits,
            )
        } else {
            Some(Refusal::Pinned(pinned))
        };
        let kept = staying.iter().map(|(id, _)| *id).collect();
        Ok(Self { decisions, dropped, kept, refusal })
    }

    /// Whether everything was recorded; `false` if the log has changed what it rests on.
    fn record(
        &self,
        repo: &Repository,
        clocks: &Clocks,
        options: &ForgetOptions,
        report: &mut ForgetReport,
    ) -> Result<bool> {
        for ids in self.dropped.chunks(RECORD_IDS_MAX) {
            let record = NewRecord {
                payload: Payload::Forget { snapshots: ids.to_vec() },
                added: Vec::new(),
                reclaimed: Vec::new(),
                stamp: repo.stamp(&options.host, &options.username),
            };
            let appended = repo.append(record, &mut |state| {
                let pinned = |id: &SnapshotId| state.snapshot(id).is_some_and(|s| clocks.in_force(s.pin));
                Ok(Verdict::of(rules::forget_stands(state, ids, &self.kept) && !ids.iter().any(pinned)))
            })?;
            match appended {
                Appended::At(seq) => {
                    report.records.push(seq);
                    report.forgotten.extend(ids);
                }
                Appended::Void => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn sources_of(manifest: &SnapshotManifest) -> Sources {
    match manifest.problems_total.get(&ProblemKind::MissingSource) {
        Some(1..) => Sources::Missing,
        _ => Sources::Read,
    }
}

fn decisions(state: &State, clocks: &Clocks, options: &ForgetOptions) -> Result<Vec<Decision>> {
    let twins = Twins::of(state);
    let subject = |entry: &SnapshotEntry| {
        let moment = clocks.moment(&entry.id);
        Subject {
            id: entry.id,
            place: twins.place(&entry.id, entry.seq),
            time: moment.time,
            clock: moment.clock,
            sources: sources_of(&entry.manifest),
            pinned: clocks.in_force(entry.pin),
            group: options.group_by.key(&entry.manifest),
            tags: entry.manifest.tags.clone(),
        }
    };
    let matching = |filter: &SnapshotFilter| -> Vec<Subject> {
        state.live_snapshots().filter(|s| filter.matches(&s.manifest)).map(subject).collect()
    };
    match &options.wanted {
        Wanted::Policy(filter, policy) => {
            if policy.is_empty() {
                return Err(Error::new(ErrorKind::Invalid, "forget", "the policy has no rule and would keep nothing"));
            }
            Ok(decide(&matching(filter), policy))
        }
        Wanted::Matching(filter) => {
            let asked = decide(&matching(filter), &Policy::default());
            Ok(asked.into_iter().map(|decision| Decision { against: vec![Why::Matches], ..decision }).collect())
        }
        Wanted::Named(ids) => {
            if let Some(unknown) = ids.iter().find(|id| state.snapshot(id).is_none()) {
                return Err(
                    Error::new(ErrorKind::NotFound, "forget", "no such snapshot").with("snapshot", unknown.to_hex())
                );
            }
            // One that somebody else has forgotten meanwhile is where it was to be.
            let named: BTreeSet<&SnapshotId> = ids.iter().collect();
            let subjects: Vec<Subject> =
                state.live_snapshots().filter(|s| named.contains(&s.id)).map(subject).collect();
            let asked = decide(&subjects, &Policy::default());
            Ok(asked.into_iter().map(|decision| Decision { against: vec![Why::Named], ..decision }).collect())
        }
    }
}
