//! What everyday commands ask of the store, counted: requests are what remote storage takes time and money for.

mod common;

use common::{Harness, noise, plant, small_packs};
use decube_backup_testkit::{Op, RecordingSink};
use std::path::Path;
use std::sync::Arc;

/// Backs up as a new process with a warm cache; says what it asked for.
fn backup(harness: &Harness, tree: &Path) -> Arc<RecordingSink> {
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    harness.through(recording.clone()).backup(tree, "tree");
    recording
}

#[test]
fn an_unchanged_or_tiny_backup_with_a_warm_cache_asks_for_next_to_nothing() {
    // Folders above the tree are entries too, and other tests make and remove theirs in the usual place.
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temp");
    plant(tree.path(), 2);
    let harness = Harness::with_repository(&small_packs());
    harness.backup(tree.path(), "tree");
    backup(&harness, tree.path());
    // A small file in the tree, one of its own, one of several chunks.
    for change in [None, Some(40), Some(10_000), Some(300_000)] {
        if let Some(len) = change {
            std::fs::write(tree.path().join("b/new"), noise(len as u64, len)).expect("file");
        }
        let recording = backup(&harness, tree.path());
        let calls = |op| recording.tally(op, "").calls;
        let context = format!("{change:?}: {:?}", recording.calls());
        assert!(calls(Op::Put) <= if change.is_some() { 4 } else { 1 }, "{context}");
        assert!(calls(Op::Get) <= 8, "{context}");
        // What the last run stored is in the cache.
        assert_eq!(recording.tally(Op::Get, "index/").calls, 0, "{context}");
        assert_eq!((calls(Op::List), calls(Op::Delete)), (0, 0), "{context}");
        // Whether the log has a gap.
        assert_eq!(calls(Op::Stat), 1, "{context}");
        assert_eq!(recording.tally(Op::Get, "packs/d/").calls, 0, "{context}");
    }
}

#[test]
fn a_cold_cache_costs_requests_and_changes_nothing() {
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temp");
    plant(tree.path(), 3);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let stranger = harness.somebody_else();
    let recording = backup(&stranger, tree.path());
    assert!(recording.tally(Op::Get, "").calls > 8, "{:?}", recording.calls());
    assert_eq!((recording.tally(Op::Put, "").calls, recording.tally(Op::Get, "packs/d/").calls), (1, 0));
    // A cache that lies is no better than none: what the log says of an index segment decides.
    let cache = harness.cache.as_ref().expect("a cache").path().to_owned();
    let mut damaged = 0;
    let mut folders = vec![cache];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false => {
                    std::fs::write(entry, "0123456789abcdef").expect("overwritten");
                    damaged += 1;
                }
            }
        }
    }
    assert!(damaged >= 3, "state, index segments, slot: {damaged}");
    harness.assert_restores(&id, tree.path(), "a cache that lies");
    assert_eq!(harness.backup(tree.path(), "tree").chunks_new, 0);
}
