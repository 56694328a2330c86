//! Forgetting, undeleting and collecting at their plainest, by the engine's rules: records written by hand, marks made by watching
//! what is read.

use crate::common::Harness;
use crate::{Files, read_whole};
use decube_backup_core::{ErrorKind, Result};
use decube_backup_engine::Repository;
use decube_backup_engine::options::{Snapshot, SnapshotFilter};
use decube_backup_engine::repository::{Appended, NewRecord, Verdict};
use decube_backup_engine::rules::{self, Ledger, Marked};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{PackName, SnapshotId, pack_key};
use decube_backup_format::log::{ObjectName, Payload, Stamp};
use decube_backup_testkit::RecordingSink;
use decube_backup_testkit::recording::Op as Call;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn append(
    repo: &Repository,
    payload: Payload,
    reclaimed: Vec<ObjectName>,
    stands: impl Fn(&State) -> bool,
) -> Result<bool> {
    let record = NewRecord { payload, added: Vec::new(), reclaimed, stamp: Stamp::default() };
    Ok(matches!(repo.append(record, &mut |state| Ok(Verdict::of(stands(state))))?, Appended::At(_)))
}

pub fn forget(repo: &Repository, id: SnapshotId) -> Result<()> {
    append(repo, Payload::Forget { snapshots: vec![id] }, Vec::new(), |_| true).map(drop)
}

/// Shows the snapshot again if all of it can be read; says whether.
pub fn undelete(repo: &Repository, id: SnapshotId, files: &Files) -> Result<bool> {
    repo.refresh()?;
    let state = repo.state();
    let seen = state.reclaimed_count();
    let Some(entry) = state.snapshot(&id) else { return Ok(false) };
    let snapshot = Snapshot { id, seq: entry.seq, manifest: entry.manifest.clone() };
    match read_whole(repo, &snapshot, files) {
        Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
        Err(_) => return Ok(false),
        Ok(()) => {}
    }
    let payload = Payload::RestoreForgotten { snapshots: vec![id] };
    append(repo, payload, Vec::new(), |state| rules::undelete_stands(state, seen))
}

/// Packs that reading all of `live` asks for: a mark by watching.
pub fn packs_read(store: &Harness, live: &BTreeMap<SnapshotId, Files>) -> BTreeSet<String> {
    let recording = Arc::new(RecordingSink::new(store.memory.clone()));
    let repo = Harness { cache: None, ..store.through(recording.clone()) }.repository();
    for snapshot in repo.snapshots(&SnapshotFilter::default()) {
        read_whole(&repo, &snapshot, &live[&snapshot.id]).expect("every live snapshot can be read");
    }
    let calls = recording.calls().into_iter();
    calls.filter(|call| call.op == Call::Get && call.key.starts_with("packs/")).map(|call| call.key).collect()
}

/// Takes packs nobody `needed` out of force, then deletes every object ever taken; says how many it took.
pub fn collect(harness: &Harness, repo: &Repository, needed: &BTreeSet<String>) -> Result<u64> {
    repo.refresh()?;
    let state = repo.state();
    let marked =
        Marked { snapshots: state.live_snapshots().map(|s| s.id).collect(), reclaimed: state.reclaimed_count() };
    let garbage = |pack: &PackName| pack_key(pack).is_ok_and(|key| !needed.contains(key.as_str()));
    let packs: Vec<ObjectName> =
        state.live_packs().map(|(pack, _)| pack).filter(garbage).map(ObjectName::Pack).collect();
    drop(state);
    let taken = packs.len() as u64;
    if taken > 0 {
        append(repo, Payload::Reclaim, packs, |state| rules::reclaim_stands(state, &marked))?;
    }
    let state = repo.state();
    for pack in state.reclaimed_packs() {
        assert!(rules::may_delete(state.as_ref(), pack));
        harness.runtime.block_on(harness.sink.delete(&pack_key(pack)?))?;
    }
    Ok(taken)
}
