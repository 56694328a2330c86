//! What happens to a record between its validation and its slot.

use crate::common::meddling::after_put;
use crate::common::{Harness, noise, series, small_packs, source_of};
use decube_backup_core::Key;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::options::BackupOptions;
use decube_backup_engine::repository::{Appended, NewRecord, Verdict};
use decube_backup_engine::{Repository, backup};
use decube_backup_format::ids::IndexId;
use decube_backup_format::log::{ObjectName, Payload, Stamp};
use std::sync::atomic::{AtomicBool, Ordering};

fn record(payload: Payload, reclaimed: Vec<ObjectName>) -> NewRecord {
    NewRecord { payload, added: Vec::new(), reclaimed, stamp: Stamp::default() }
}

fn note(repo: &Repository, text: &str) {
    let payload = Payload::Note { text: text.into() };
    let appended = repo.append(record(payload, Vec::new()), &mut |_| Ok(Verdict::Stands)).expect("appended");
    assert!(matches!(appended, Appended::At(_)));
}

#[test]
fn a_record_takes_the_slot_it_was_validated_for_whatever_other_threads_of_the_handle_read() {
    let harness = Harness::with_repository(&small_packs());
    let (repo, other) = (harness.repository(), harness.somebody_else().repository());
    let mut seen = Vec::new();
    let mut validate = |state: &decube_backup_format::checkpoint::State| {
        if seen.is_empty() {
            note(&other, "in between");
            // As another thread that uses the same handle does at any time.
            repo.refresh().expect("readable");
        }
        seen.push(state.next_seq());
        Ok(Verdict::Stands)
    };
    let payload = Payload::Note { text: "validated".into() };
    let appended = repo.append(record(payload, Vec::new()), &mut validate).expect("appended");
    assert_eq!(appended, Appended::At(seen[seen.len() - 1]), "validated for {seen:?}");
    assert_eq!(seen.len(), 2, "the record in between was never looked at");
}

#[test]
fn threads_that_read_the_log_disturb_nobody_who_appends_through_the_same_handle() {
    let harness = Harness::with_repository(&small_packs());
    let (repo, stop) = (harness.repository(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    repo.refresh().expect("readable");
                }
            });
        }
        let appending = (0..100).try_for_each(|n| {
            let payload = Payload::Note { text: format!("note {n}") };
            repo.append(record(payload, Vec::new()), &mut |_| Ok(Verdict::Stands)).map(drop)
        });
        stop.store(true, Ordering::SeqCst);
        appending.expect("appended");
    });
    assert_eq!(harness.somebody_else().repository().state().next_seq(), repo.state().next_seq());
}

/// As a collector that takes it for what a crashed upload left behind: out of force, then gone.
fn collect_index(harness: &Harness, key: &Key) {
    let id = key.as_str().rsplit('/').next().expect("a name");
    let bytes: Vec<u8> = (0..16).map(|n| u8::from_str_radix(&id[2 * n..2 * n + 2], 16).expect("hex")).collect();
    let name = ObjectName::Index { level: 0, id: IndexId(bytes.try_into().expect("16 bytes")) };
    let repo = harness.repository();
    let appended = repo.append(record(Payload::Reclaim, vec![name]), &mut |_| Ok(Verdict::Stands)).expect("appended");
    assert!(matches!(appended, Appended::At(_)));
    harness.memory.remove(key).expect("there");
}

/// Backs up while the first index segment stored is collected before a record names it.
fn backup_with_a_collected_index(options: &BackupOptions, sizes: &[usize]) {
    let tree = tempfile::tempdir().expect("temp");
    for (n, len) in sizes.iter().enumerate() {
        std::fs::write(tree.path().join(format!("f{n}")), noise(n as u64, *len)).expect("file");
    }
    let harness = Harness::with_repository(&small_packs());
    let other = harness.somebody_else();
    let (meddling, done) = after_put(harness.sink.clone(), "index/", move |key| collect_index(&other, key));
    let writer = harness.through(meddling);
    let report = backup::backup(&writer.repository(), &source_of(tree.path()), options, &Silent).expect("backup");
    assert!(done.load(Ordering::SeqCst), "nothing was collected");
    let fresh = harness.somebody_else();
    fresh.assert_sound("index collected");
    fresh.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "index collected");
}

#[test]
fn an_index_segment_collected_before_the_commit_is_stored_again() {
    backup_with_a_collected_index(&series("tree"), &[600_000, 600_000]);
}

#[test]
fn an_index_segment_collected_before_progress_is_recorded_is_stored_again() {
    let options = BackupOptions { progress_bytes: Some(1 << 20), ..series("tree") };
    backup_with_a_collected_index(&options, &[1_200_000; 6]);
}
