//! Stored checkpoints: each follows from the log, so a bad one is removed and the newest made again.
//!
//! *Invariant*: nothing is judged by a log that is not whole. A record that is missing looks like the log's end; a checkpoint, a
//! later record, or what this handle was opened with says that it is none. Checkpoints behind it may be all that still knows what
//! that record said.
//!
//! One that cannot be read counts for damaged only if the whole log has the record that its name says it ends with: then it
//! follows from the log, whoever wrote it. It may be a newer program's, as long as no header feature says that one is needed
//! (then nothing gets here); that one loses time, and no more. A flipped byte among the first ten looks the same, and would be
//! told of for ever.

use super::RepairOptions;
use crate::options::{Damage, Effect};
use crate::repository::Repository;
use crate::verify::{Fault, stored_checkpoints};
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Key, PutMode, PutOutcome, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::header::Access;
use decube_backup_format::ids::{checkpoint_key, log_key, parse_seq_key};
use std::collections::BTreeMap;

/// Added to what is said of one that cannot be read and stays.
const LEFT_ALONE: &str = "; it may know of records that the log does not have, or be a newer program's: if you know that it is neither, \
                          delete the object";

/// What a repair of the checkpoints found and did.
#[derive(Clone, Debug, Default)]
pub struct CheckpointsReport {
    /// Objects under `ckpt/`.
    pub checked: u64,
    /// Those that are no checkpoint of this log.
    pub damaged: Vec<Damage>,
    /// Names that no checkpoint has, and those that cannot be read and may know of records the log does not have: left alone.
    pub kept: Vec<Damage>,
    /// Objects removed; 0 on a dry run.
    pub removed: u64,
    /// The record after which a checkpoint was stored instead; `None` on a dry run, or if there is one.
    pub stored: Option<u64>,
}

impl CheckpointsReport {
    /// Whether there is nothing to repair.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.kept.is_empty()
    }
}

/// Folds the log from its first record and holds every checkpoint against it.
///
/// # Errors
/// `Corrupt` if the log is damaged or lacks a record, `Diverged` if a checkpoint knows of lost ones; the store does not answer. Then nothing is judged and nothing removed.
pub fn checkpoints(repo: &Repository, options: &RepairOptions, monitor: &dyn Monitor) -> Result<CheckpointsReport> {
    options.explained(repaired(repo, options, monitor))
}

fn repaired(repo: &Repository, options: &RepairOptions, monitor: &dyn Monitor) -> Result<CheckpointsReport> {
    options.check(repo)?;
    let mut report = CheckpointsReport::default();
    let (mut bad, mut readable, mut unreadable) = (Vec::new(), BTreeMap::new(), Vec::new());
    for checkpoint in stored_checkpoints(repo)? {
        report.checked += 1;
        let found = |what: &str| Damage { object: checkpoint.key.to_string(), what: what.to_owned() };
        match (&checkpoint.fault, checkpoint.seq) {
            (Some(Fault::Beyond(lost)), _) => return Err(lost.to_error("repair")),
            (_, None) => report.kept.push(found("not a name of a checkpoint")),
            (Some(Fault::Unreadable(why)), Some(seq)) => unreadable.push((seq, found(why), checkpoint.key.clone())),
            (Some(Fault::Damaged(why)), _) => {
                report.damaged.push(found(why));
                bad.push(checkpoint.key);
            }
            (None, Some(seq)) => _ = readable.insert(seq, checkpoint.key),
        }
    }
    let known = known_records(repo, &readable)?;
    let state = fold(repo, &readable, &mut report, &mut bad, monitor)?;
    if state.next_seq() < known {
        return Err(Error::new(ErrorKind::Corrupt, "repair", "a log record is missing from the repository")
            .with("key", log_key(state.next_seq())?)
            .with_hint(
                "nothing was changed; put the record back from a replica: checkpoints are all that knows what it said",
            ));
    }
    for (seq, mut damage, key) in unreadable {
        if seq < state.next_seq() && repo.check_reader(Access::Gc).is_ok() {
            report.damaged.push(damage);
            bad.push(key);
        } else {
            damage.what += LEFT_ALONE;
            report.kept.push(damage);
        }
    }
    if options.effect == Effect::DryRun || report.is_sound() {
        return Ok(report);
    }
    for key in &bad {
        repo.store.delete(key)?;
        report.removed += 1;
    }
    if let Some(last) = state.next_seq().checked_sub(1) {
        let bytes = state.encode(&repo.log_keys, repo.env.entropy.as_ref())?;
        // What is there already was judged above, or is another's: both are fine.
        if repo.store.put(&checkpoint_key(last)?, bytes, PutMode::CreateNew)? == PutOutcome::Created {
            report.stored = Some(last);
        }
    }
    Ok(report)
}

/// How many records there were at least, whether all of them are there or not: asked before the log is folded, so that what is
/// appended meanwhile is not missed.
fn known_records(repo: &Repository, readable: &BTreeMap<u64, Key>) -> Result<u64> {
    let listed = repo.store.list("log/")?;
    let last_listed = listed.iter().filter_map(|object| parse_seq_key(&object.key)).max();
    let last = last_listed.max(readable.keys().next_back().copied());
    Ok(repo.state().next_seq().max(last.map_or(0, |last| last.saturating_add(1))))
}

/// The whole log's state, from record 0 and nothing else; on the way, checkpoints that say something else are found.
fn fold(
    repo: &Repository,
    readable: &BTreeMap<u64, Key>,
    report: &mut CheckpointsReport,
    bad: &mut Vec<Key>,
    monitor: &dyn Monitor,
) -> Result<State> {
    let mut state = State::new(repo.id());
    let mut chain = state.chain();
    monitor.phase("log", None, Some(repo.state().next_seq()));
    while let Some(bytes) = repo.store.get(&log_key(state.next_seq())?)? {
        check_stop(monitor)?;
        let seq = state.next_seq();
        let envelope = chain.accept(&bytes)?;
        repo.fold_into(&mut state, &envelope, &bytes)?;
        monitor.advance(Progress::Objects, 1);
        let Some(key) = readable.get(&seq) else { continue };
        let Some(bytes) = repo.store.get(key)? else { continue };
        if !State::decode(&bytes, repo.log_keys.log_key(), &repo.id()).is_ok_and(|stored| stored == state) {
            report.damaged.push(Damage { object: key.to_string(), what: "it does not say what the log says".into() });
            bad.push(key.clone());
        }
    }
    Ok(state)
}
