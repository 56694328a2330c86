//! Taking packs out of force, and deleting what is out of force.
//!
//! *Invariant*: the `Reclaim` record stands at the very slot it takes: nothing lives there that was not marked, and every
//! live chunk has a place outside what is reclaimed. Whoever is overtaken marks what is new, looks at all places again
//! and tries the next slot. Only then is anything deleted; a crash in between leaves work that any later prune finishes.

use super::leftovers::{is_orphan, may_delete};
use super::mark::Marks;
use super::prove::Proof;
use super::tally::spare;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use crate::rules::{self, Ledger};
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::PackName;
use decube_backup_format::log::{ObjectName, Payload, Stamp};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// How often a record may turn out void before giving up.
const ATTEMPTS_MAX: u32 = 20;
/// Most names in one record: 18 bytes each.
pub(super) const RECORD_NAMES_MAX: usize = 1 << 18;
/// Deletes in flight.
const DELETES_MAX: usize = 8;

/// The log as it is now with the index that belongs to it.
///
/// # Errors
/// As [`Repository::refresh`] and [`Repository::index`].
pub(super) fn view(
    repo: &Repository,
    load: impl Fn(&Repository) -> Result<Arc<crate::index::LocalIndex>>,
) -> Result<(Arc<crate::index::LocalIndex>, Arc<State>)> {
    repo.refresh()?;
    loop {
        let state = repo.state();
        let index = load(repo)?;
        // Another thread of this handle may have read on in between.
        if repo.state().next_seq() == state.next_seq() {
            return Ok((index, state));
        }
    }
}

/// Brings `marks` up to what the log says now.
///
/// # Errors
/// A live snapshot cannot be read completely; `Interrupted`.
pub(super) fn caught_up(repo: &Repository, marks: Marks, monitor: &dyn Monitor) -> Result<Marks> {
    repo.refresh()?;
    if repo.state().next_seq() == marks.state.next_seq() {
        return Ok(marks);
    }
    let (index, state) = view(repo, Repository::index)?;
    let mut marks = marks.moved_to(index, state)?;
    marks.add_live(repo, monitor, &|_| false)?;
    Ok(marks)
}

/// Reclaims `candidates` as far as no live chunk has its last place in them, and `orphans` as far as no record names them
/// by now; says what was reclaimed.
///
/// # Errors
/// `Contended` after being overtaken again and again; a live snapshot cannot be read completely.
pub(super) fn reclaim(
    repo: &Repository,
    mut marks: Marks,
    mut candidates: BTreeSet<PackName>,
    mut orphans: Vec<ObjectName>,
    proof: &mut Proof<'_>,
    stamp: &dyn Fn() -> Stamp,
    monitor: &dyn Monitor,
) -> Result<Vec<ObjectName>> {
    let (mut done, mut void) = (Vec::new(), 0);
    while void < ATTEMPTS_MAX {
        check_stop(monitor)?;
        marks = caught_up(repo, marks, monitor)?;
        candidates.retain(|pack| marks.state.is_in_force(pack));
        spare(&marks, &mut candidates)?;
        if !proof.spare(&marks, &mut candidates)? {
            void += 1;
            continue;
        }
        orphans.retain(|name| is_orphan(&marks.state, name) && !may_delete(&marks.state, name));
        let names = candidates.iter().map(|pack| ObjectName::Pack(*pack)).chain(orphans.iter().copied());
        let names: Vec<ObjectName> = names.take(RECORD_NAMES_MAX).collect();
        if names.is_empty() {
            return Ok(done);
        }
        let (orphaned, marked) = (orphans.clone(), marks.marked());
        let mut validate = |state: &State| {
            let stands = rules::reclaim_stands(state, &marked) && orphaned.iter().all(|name| is_orphan(state, name));
            Ok(Verdict::of(stands))
        };
        let record =
            NewRecord { payload: Payload::Reclaim, added: Vec::new(), reclaimed: names.clone(), stamp: stamp() };
        match repo.append(record, &mut validate)? {
            Appended::At(_) => {
                // Those that went are not in force any more, and not without a record.
                let state = repo.state();
                candidates.retain(|pack| state.is_in_force(pack));
                orphans.retain(|name| is_orphan(&state, name) && !may_delete(&state, name));
                done.extend(names);
                if candidates.is_empty() && orphans.is_empty() {
                    return Ok(done);
                }
            }
            Appended::Void => void += 1,
        }
    }
    Err(Error::new(ErrorKind::Contended, "prune", "others changed the repository again and again while this prune ran")
        .with_hint("nothing is lost, and what was copied is not copied again; run prune again when less is going on"))
}

/// What deleting came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    pub packs: u64,
    pub others: u64,
}

/// Deletes the objects of `names`, all of which the log says are out of force.
///
/// # Errors
/// The first that failed, after all others were tried; the next prune tries again. `Interrupted`.
pub(super) fn delete(repo: &Repository, names: &[ObjectName], monitor: &dyn Monitor) -> Result<Deleted> {
    let state = repo.state();
    let mut deleted = Deleted::default();
    let mut keys = Vec::with_capacity(names.len());
    for name in names.iter().filter(|name| may_delete(&state, name)) {
        match name {
            ObjectName::Pack(_) => deleted.packs += 1,
            _ => deleted.others += 1,
        }
        keys.push(name.key()?);
    }
    delete_keys(repo, keys, monitor)?;
    Ok(deleted)
}

/// Deletes objects, several at once.
///
/// # Errors
/// As [`delete`].
pub(super) fn delete_keys(repo: &Repository, keys: Vec<Key>, monitor: &dyn Monitor) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let count = keys.len() as u64;
    monitor.phase("delete", None, Some(count));
    let (mut flight, mut failed, mut failures) = (VecDeque::new(), None, 0u64);
    let mut keys = keys.into_iter();
    loop {
        let stop = check_stop(monitor);
        let next = if stop.is_ok() { keys.next() } else { None };
        let is_last = next.is_none();
        flight.extend(next.map(|key| repo.store.start_delete(key)));
        while flight.len() >= DELETES_MAX || is_last {
            let Some(task) = flight.pop_front() else { break };
            match repo.store.wait(task) {
                Ok(()) => monitor.advance(Progress::Objects, 1),
                Err(error) => {
                    failures += 1;
                    failed.get_or_insert(error);
                }
            }
        }
        if is_last {
            stop?;
            break;
        }
    }
    match failed {
        None => Ok(()),
        Some(error) => Err(Error::new(error.kind(), "prune", "objects nobody needs any more could not be deleted")
            .with("failed", failures)
            .with("of", count)
            .with_retry(error.retry())
            .with_hint("no snapshot needs them, and the next prune tries again; the storage must allow deleting")
            .with_source(error)),
    }
}
