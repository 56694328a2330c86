//! Saying so when data would not come back.
//!
//! | level | reads | finds |
//! |---|---|---|
//! | structure | log, keys, index, all tree nodes; sizes of packs | missing, truncated or forged objects; chunks no index knows |
//! | scrub | every pack's bytes, no keys | any changed bit |
//! | data | every pack, decoded | the same, and content that does not match its id |
//!
//! Damage is named by object and by the files it hits; a file is not hit as long as each of its chunks has a copy in
//! some pack that is whole as far as was looked. Verification never repairs and never deletes.

mod objects;
mod packs;
mod pass;
mod trees;

use crate::options::{Damage, Subset, VerifyDepth, VerifyReport};
use crate::repository::Repository;
use decube_backup_core::Result;
use decube_backup_core::monitor::Monitor;
use decube_backup_format::ids::{PackName, ShortId, SnapshotId};
use std::collections::{HashMap, HashSet};

pub use objects::scrub;

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
struct Findings {
    report: VerifyReport,
    /// Packs that are missing or cannot be opened at all.
    lost_packs: HashSet<PackName>,
    /// Packs of another length than recorded: lost unless their bytes are looked at.
    resized_packs: HashSet<PackName>,
    /// Chunks whose stored copy in these packs is damaged.
    lost_chunks: HashMap<ShortId, Vec<PackName>>,
}

impl Findings {
    /// Whether the copy of `chunk` in `pack` is known to be damaged.
    fn is_lost(&self, pack: &PackName, chunk: &ShortId) -> bool {
        self.lost_packs.contains(pack) || self.lost_chunks.get(chunk).is_some_and(|packs| packs.contains(pack))
    }

    fn damage(&mut self, object: impl std::fmt::Display, what: impl Into<String>) {
        self.report.damages.push(Damage { object: object.to_string(), what: what.into() });
    }
}

/// Verifies the repository.
///
/// # Errors
/// The store cannot be read at all, or the user stopped it; damage is in the report.
pub fn verify(repo: &Repository, options: &VerifyOptions, monitor: &dyn Monitor) -> Result<VerifyReport> {
    let begun = repo.env.clock.monotonic();
    repo.refresh()?;
    let mut findings = Findings::default();
    objects::check_log(repo, &mut findings)?;
    objects::check_presence(repo, &mut findings, monitor)?;
    match options.depth {
        VerifyDepth::Structure => findings.lost_packs.extend(&findings.resized_packs),
        VerifyDepth::Scrub => packs::read(repo, Subset::All, packs::Mode::Scrub, &mut findings, monitor)?,
        VerifyDepth::Data(subset) => packs::read(repo, subset, packs::Mode::Decode, &mut findings, monitor)?,
    }
    trees::check(repo, options.snapshots.as_deref(), &mut findings, monitor)?;
    let mut report = findings.report;
    report.damages.sort_by(|a, b| (&a.object, &a.what).cmp(&(&b.object, &b.what)));
    report.damages.dedup();
    report.seconds = (repo.env.clock.monotonic() - begun).as_secs_f64();
    Ok(report)
}
