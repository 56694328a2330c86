//! Saying so when data would not come back.
//!
//! | level | reads | finds |
//! |---|---|---|
//! | structure | log, keys, index, all tree nodes; sizes of packs | missing, truncated or forged objects; chunks no index knows |
//! | scrub | every pack's bytes, no keys | any changed bit |
//! | data | every pack, decoded | the same, and content that does not match its id |
//!
//! Damage is named by object and by the files it hits; a file is not hit as long as each of its chunks has a copy in
//! some pack that is whole as far as was looked. Verification never repairs and never deletes; asked to, it records
//! what it found.
//!
//! | module | holds |
//! |---|---|
//! | [`objects`] | log chain, presence, scrub without keys |
//! | [`checkpoints`] | stored checkpoints against the log |
//! | [`packs`] | reading packs |
//! | [`claims`] | what is said of hosts' packs against what is in them |
//! | [`parity`] | damaged packs that parity brings back |
//! | [`trees`] | which files are hit |
//! | [`policy`] | every byte within so much time |
//! | [`record`] | what was found, in the log |

mod checkpoints;
mod claims;
mod objects;
mod packs;
mod parity;
mod pass;
mod policy;
mod record;
mod trees;

use crate::options::{Damage, Subset, VerifyDepth, VerifyReport};
use crate::repository::Repository;
use claims::Claims;
use decube_backup_core::monitor::Monitor;
use decube_backup_core::{ErrorKind, Result};
use decube_backup_format::header::Access;
use decube_backup_format::ids::{PackName, ShortId, SnapshotId};
use record::Recorder;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

pub(crate) use checkpoints::{Fault, stored_checkpoints};
pub use objects::scrub;
pub(crate) use parity::check as parity_damage;
pub use policy::{Budget, Freshness, Overdue, Policy, freshness, overdue};
pub(crate) use record::record_damage;
pub use record::{Recorded, Recording};
pub(crate) use trees::{Hit, Walk};

/// What to verify.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// How much is read.
    pub depth: VerifyDepth,
    /// Only these snapshots' trees; `None` for all live ones.
    pub snapshots: Option<Vec<SnapshotId>>,
}

/// Damage found so far.
#[derive(Default)]
pub(crate) struct Findings {
    /// What there is to tell.
    pub(crate) report: VerifyReport,
    /// Packs with anything wrong at all.
    pub(crate) bad_packs: BTreeSet<PackName>,
    /// Packs that are missing or cannot be opened at all.
    lost_packs: HashSet<PackName>,
    /// Packs of another length than recorded: lost unless their bytes are looked at.
    resized_packs: HashSet<PackName>,
    /// Chunks whose stored copy in these packs is damaged.
    lost_chunks: HashMap<ShortId, Vec<PackName>>,
    /// Chunks that an index segment says are in these packs, and are not.
    absent_chunks: HashMap<ShortId, Vec<PackName>>,
}

impl Findings {
    /// Whether the copy of `chunk` in `pack` is known to be damaged, or not to be there.
    pub(crate) fn is_lost(&self, pack: &PackName, chunk: &ShortId) -> bool {
        let among =
            |chunks: &HashMap<ShortId, Vec<PackName>>| chunks.get(chunk).is_some_and(|packs| packs.contains(pack));
        self.lost_packs.contains(pack) || among(&self.lost_chunks) || among(&self.absent_chunks)
    }

    /// Whether no copy of anything is lost.
    fn is_nothing_lost(&self) -> bool {
        self.lost_packs.is_empty() && self.lost_chunks.is_empty() && self.absent_chunks.is_empty()
    }

    /// Takes over what was found in `pack`, whose object is called `object`.
    fn content(&mut self, pack: &PackName, object: &str, found: packs::PackResult) {
        if found.lost {
            self.lost_packs.insert(*pack);
        }
        for chunk in found.lost_chunks {
            self.lost_chunks.entry(chunk).or_default().push(*pack);
        }
        for chunk in found.absent_chunks {
            self.absent_chunks.entry(chunk).or_default().push(*pack);
        }
        self.report.damages.extend(found.others);
        found.damages.into_iter().for_each(|what| self.damage(object, what));
    }

    fn damage(&mut self, object: impl std::fmt::Display, what: impl Into<String>) {
        self.report.damages.push(Damage { object: object.to_string(), what: what.into() });
    }
}

/// Verifies the repository; writes nothing.
///
/// # Errors
/// The store cannot be read at all, or the user stopped it; damage is in the report.
pub fn verify(repo: &Repository, options: &VerifyOptions, monitor: &dyn Monitor) -> Result<VerifyReport> {
    run(repo, options, None, monitor)
}

/// As [`verify`]; which packs were read and found sound, and which are damaged, is recorded in the log, also if it is
/// stopped half-way. What cannot be recorded is in the report.
///
/// # Errors
/// As [`verify`].
pub fn verify_and_record(
    repo: &Repository,
    options: &VerifyOptions,
    who: &Recording,
    monitor: &dyn Monitor,
) -> Result<VerifyReport> {
    run(repo, options, Some(who), monitor).map_err(|error| {
        let hint = "what was verified by then is recorded; run the same command again for the rest";
        error.with_hint_if(ErrorKind::Interrupted, hint)
    })
}

fn run(
    repo: &Repository,
    options: &VerifyOptions,
    who: Option<&Recording>,
    monitor: &dyn Monitor,
) -> Result<VerifyReport> {
    repo.check_reader(Access::Read)?;
    let begun = repo.env.clock.monotonic();
    repo.refresh()?;
    let mut findings = Findings::default();
    let mut recorder = who.map(|who| Recorder::new(repo, who));
    let looked = look(repo, options.depth, &mut findings, recorder.as_mut(), monitor);
    if let Some(recorder) = recorder {
        findings.report.recorded = recorder.finish(&findings);
    }
    looked?;
    trees::check(repo, options.snapshots.as_deref(), &mut findings, monitor)?;
    let mut report = findings.report;
    report.damages.sort_by(|a, b| (&a.object, &a.what).cmp(&(&b.object, &b.what)));
    report.damages.dedup();
    report.freshness = policy::freshness(&repo.state(), repo.env.clock.now());
    report.seconds = (repo.env.clock.monotonic() - begun).as_secs_f64();
    Ok(report)
}

/// Looks at everything but the trees.
fn look(
    repo: &Repository,
    depth: VerifyDepth,
    findings: &mut Findings,
    recorder: Option<&mut Recorder<'_>>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let begun = repo.env.clock.monotonic();
    objects::check_log(repo, findings)?;
    objects::check_presence(repo, findings, monitor)?;
    checkpoints::check(repo, findings)?;
    let (subset, mode) = match depth {
        VerifyDepth::Structure => {
            findings.lost_packs.extend(&findings.resized_packs);
            (None, packs::Mode::Decode)
        }
        VerifyDepth::Scrub => (Some(Subset::All), packs::Mode::Scrub),
        VerifyDepth::Data(subset) => (Some(subset), packs::Mode::Decode),
    };
    let ends = match subset {
        Some(Subset::Due(policy)) => policy.budget.seconds.map(|seconds| begun + Duration::from_secs(seconds)),
        _ => None,
    };
    let claims = match (subset, mode) {
        (Some(_), packs::Mode::Decode) => Claims::read(repo, monitor)?,
        _ => Claims::default(),
    };
    let reading = packs::Reading { repo, mode, ends, claims, monitor };
    reading.run(subset, findings, recorder)?;
    let contents = |name: &PackName, pack: &[u8]| reading.contents(name, pack);
    parity::judge(&repo.store, &repo.state(), &contents, findings, monitor)
}

/// What can be said of every object, for who repairs it.
///
/// # Errors
/// As [`verify`].
pub(crate) fn examine(repo: &Repository, depth: VerifyDepth, monitor: &dyn Monitor) -> Result<Findings> {
    repo.refresh()?;
    let mut findings = Findings::default();
    look(repo, depth, &mut findings, None, monitor)?;
    Ok(findings)
}
