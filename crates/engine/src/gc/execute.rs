//! A plan, carried out step by step; each step leaves a sound repository.

use super::PrunePlan;
use super::compact;
use super::leftovers::Leftovers;
use super::prove::Proof;
use super::reclaim::{self, RECORD_NAMES_MAX};
use super::repack::{Copied, Repack};
use crate::repository::{NewRecord, Repository, Verdict};
use crate::rules::Ledger;
use decube_backup_core::monitor::Monitor;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::PackName;
use decube_backup_format::log::{ObjectName, Payload, Stamp};
use std::collections::BTreeMap;

/// What a prune did.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct PruneReport {
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Parity objects, index segments, checkpoints and key slots deleted.
    pub others_deleted: u64,
    /// Bytes the store got back.
    pub bytes_deleted: u64,
    /// Bytes written: packs and index segments.
    pub bytes_written: u64,
    /// New packs written.
    pub packs_written: u64,
    /// Packs that were to go and stay, because something was found to need them meanwhile, or because they are damaged.
    pub packs_spared: u64,
    /// Packs of which something was to be copied or checked and is damaged; they stay.
    pub packs_damaged: u64,
    /// Index segments merged into few, and deleted.
    pub indexes_merged: u64,
    /// Wall time, seconds, planning not included.
    pub seconds: f64,
}

impl PrunePlan<'_> {
    /// Carries the plan out.
    ///
    /// # Errors
    /// `Contended` after being overtaken again and again, `PermissionDenied` if the store does not allow deleting,
    /// `Interrupted`, what storing and deleting yield. Whatever was done by then stays, nothing is lost, and the next prune
    /// goes on from there.
    pub fn run(self, monitor: &dyn Monitor) -> Result<PruneReport> {
        if self.summary.is_nothing() {
            return Ok(PruneReport::default());
        }
        self.check_deletable()?;
        let begun = self.repo.env.clock.monotonic();
        let clock = self.repo.env.clock.clone();
        let mut report = PruneReport::default();
        self.steps(&mut report, monitor).map_err(explain)?;
        report.seconds = (clock.monotonic() - begun).as_secs_f64();
        Ok(report)
    }

    fn steps(self, report: &mut PruneReport, monitor: &dyn Monitor) -> Result<()> {
        let PrunePlan { repo, options, marks, kept, leftovers, sources, mut going, condemn, lens, staying, .. } = self;
        let Leftovers { deletable, orphans, checkpoints, .. } = leftovers;
        let stamp = || repo.stamp(&options.host, &options.username);

        // What an earlier prune did not come to.
        let names: Vec<ObjectName> = deletable.iter().map(|(name, _)| *name).collect();
        let freed: u64 = deletable.iter().map(|(_, len)| len).sum();
        count(report, reclaim::delete(repo, &names, monitor)?, freed);
        advise(repo, &condemn, &stamp)?;

        let planned = going.clone();
        let (mut copied, mut full) = (Copied::default(), None);
        if !sources.is_empty() {
            let repack = Repack { repo, index: &marks.index, kept: &kept, monitor };
            let outcome = repack.run(&sources, &mut copied);
            report.packs_written += copied.packs;
            report.bytes_written += copied.bytes;
            match outcome {
                // What needs no copying goes all the same: that makes room for the next prune.
                Err(error) if error.kind() == ErrorKind::NoSpace => full = Some(error),
                outcome => outcome?,
            }
            going.retain(|name| !copied.damaged.contains(name));
        }
        let orphan_names: Vec<ObjectName> = orphans.iter().map(|(name, _)| *name).collect();
        // Parity goes with its pack, and afterwards no record says what it was called.
        let before = marks.state.clone();
        let mut proof = Proof::new(repo, std::mem::take(&mut copied.written), monitor);
        let reclaimed = reclaim::reclaim(repo, marks, going, orphan_names, &mut proof, &stamp, monitor);
        if reclaimed.as_ref().is_err_and(|error| error.kind() == ErrorKind::NoSpace)
            && let Some(first) = full
        {
            return Err(no_room(first, report.bytes_deleted));
        }
        let gone = reclaimed?;
        let state = repo.state();
        report.packs_spared = planned.iter().filter(|pack| state.is_in_force(pack)).count() as u64;
        report.packs_damaged = copied.damaged.len() as u64 + proof.damaged();
        let orphans: BTreeMap<ObjectName, u64> = orphans.into_iter().collect();
        let len = |name: &ObjectName| {
            let recorded = if let ObjectName::Pack(pack) = name { lens.get(pack) } else { None };
            recorded.map(|len| u64::from(*len)).or_else(|| orphans.get(name).copied())
        };
        let parity: BTreeMap<ObjectName, u64> = gone.iter().filter_map(|name| parity_of(&before, name)).collect();
        let freed = gone.iter().filter_map(len).chain(parity.values().copied()).sum();
        let gone: Vec<ObjectName> = gone.into_iter().chain(parity.into_keys()).collect();
        count(report, reclaim::delete(repo, &gone, monitor)?, freed);

        report.others_deleted += checkpoints.len() as u64;
        report.bytes_deleted += checkpoints.iter().map(|(_, len)| len).sum::<u64>();
        reclaim::delete_keys(repo, checkpoints.into_iter().map(|(key, _)| key).collect(), monitor)?;

        if let Some(error) = full {
            return Err(no_room(error, report.bytes_deleted));
        }
        let due = compact::due(&repo.state(), staying.0, staying.1);
        if !due.is_empty() {
            let compacted = compact::compact(repo, &due, stamp(), monitor)?;
            report.indexes_merged += compacted.merged;
            report.bytes_written += compacted.bytes;
        }
        Ok(())
    }
}

/// The parity object of a pack that has one, with its length.
fn parity_of(state: &State, name: &ObjectName) -> Option<(ObjectName, u64)> {
    let ObjectName::Pack(pack) = name else { return None };
    let (parity, info) = state.parity(pack)?;
    Some((ObjectName::Parity(parity), u64::from(info.len)))
}

fn count(report: &mut PruneReport, deleted: reclaim::Deleted, bytes: u64) {
    report.packs_deleted += deleted.packs;
    report.others_deleted += deleted.others;
    report.bytes_deleted += bytes;
}

/// Tells writers which packs to reuse no more. Advice needs no validation.
fn advise(repo: &Repository, condemn: &[PackName], stamp: &dyn Fn() -> Stamp) -> Result<()> {
    for packs in condemn.chunks(RECORD_NAMES_MAX) {
        let payload = Payload::Condemn { packs: packs.to_vec(), released: Vec::new() };
        let record = NewRecord { payload, added: Vec::new(), reclaimed: Vec::new(), stamp: stamp() };
        repo.append(record, &mut |_| Ok(Verdict::Stands))?;
    }
    Ok(())
}

/// What to do when there is no room to copy; `freed` bytes went without.
fn no_room(error: Error, freed: u64) -> Error {
    let hint = match freed {
        0 => {
            "every snapshot is whole; free some space there, of other files on it too, and run prune again; what stopped runs \
             left, `--leftovers-older-than 0` takes as well"
        }
        _ => {
            "every snapshot is whole, and what needs no copying is deleted; run prune again to go on in the room it left"
        }
    };
    Error::new(
        ErrorKind::NoSpace,
        "prune",
        "the storage is full: what is still needed of half-empty packs cannot be copied",
    )
    .with("bytes_freed", freed)
    .with_hint(hint)
    .with_source(error)
}

fn explain(error: Error) -> Error {
    let hint = "every snapshot is whole; what was done stays, and the next prune goes on from there";
    error.with_hint_if(ErrorKind::Interrupted, hint)
}
