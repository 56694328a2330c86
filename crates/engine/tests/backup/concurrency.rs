//! Several users at once.

use crate::common::{Harness, plant, small_packs};
use decube_backup_backend_fs::sink::FsSink;
use decube_backup_core::{ErrorKind, Sink};
use decube_backup_engine::options::SnapshotFilter;
use std::sync::{Arc, Barrier};

const WRITERS: u64 = 8;

/// All of them back up at the same moment, each a tree of its own of which a part is common to all.
fn eight_writers(harness: &Harness) {
    let start = Barrier::new(WRITERS as usize);
    let done: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let (start, harness) = (&start, harness.somebody_else());
                scope.spawn(move || {
                    let tree = tempfile::tempdir().expect("temp");
                    plant(tree.path(), 100 + n);
                    std::fs::write(tree.path().join("shared"), crate::common::noise(1, 500_000)).expect("file");
                    start.wait();
                    let report = harness.backup(tree.path(), &format!("tree {n}"));
                    (report.snapshot.expect("a snapshot"), tree)
                })
            })
            .collect();
        writers.into_iter().map(|w| w.join().expect("no panic")).collect()
    });
    let reader = harness.somebody_else();
    assert_eq!(reader.repository().snapshots(&SnapshotFilter::default()).len(), WRITERS as usize);
    reader.assert_sound("eight writers");
    for (id, tree) in &done {
        reader.assert_restores(id, tree.path(), "eight writers");
    }
}

#[test]
fn eight_writers_at_once_all_succeed_in_memory() {
    eight_writers(&Harness::with_repository(&small_packs()));
}

#[test]
fn eight_writers_at_once_all_succeed_on_a_file_system() {
    let root = tempfile::tempdir().expect("temp");
    let sink: Arc<dyn Sink> = Arc::new(FsSink::open(root.path()).expect("sink"));
    let harness = Harness::new().through(sink);
    harness.init(&small_packs()).expect("init");
    eight_writers(&harness);
}

#[test]
fn eight_writers_sharing_one_cache_folder_all_succeed() {
    let harness = Harness::with_repository(&small_packs());
    let trees: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let harness = harness.through(harness.sink.clone());
                scope.spawn(move || {
                    let tree = tempfile::tempdir().expect("temp");
                    plant(tree.path(), 200 + n);
                    let id = harness.backup(tree.path(), "same name").snapshot.expect("a snapshot");
                    (id, tree)
                })
            })
            .collect();
        writers.into_iter().map(|w| w.join().expect("no panic")).collect()
    });
    harness.assert_sound("one cache");
    for (id, tree) in &trees {
        harness.assert_restores(id, tree.path(), "one cache");
    }
}

#[test]
fn one_handle_serves_several_backups_at_once() {
    let harness = Harness::with_repository(&small_packs());
    let repo = harness.repository();
    let trees: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|n| {
                let repo = &repo;
                scope.spawn(move || {
                    let tree = tempfile::tempdir().expect("temp");
                    plant(tree.path(), 300 + n);
                    let options = crate::common::series(&format!("tree {n}"));
                    let silent = decube_backup_core::monitor::Silent;
                    let source = crate::common::source_of(tree.path());
                    let report = decube_backup_engine::backup::backup(repo, &source, &options, &silent);
                    (report.expect("backup").snapshot.expect("a snapshot"), tree)
                })
            })
            .collect();
        writers.into_iter().map(|w| w.join().expect("no panic")).collect()
    });
    harness.somebody_else().assert_sound("one handle");
    for (id, tree) in &trees {
        harness.assert_restores(id, tree.path(), "one handle");
    }
}

#[test]
fn of_two_inits_at_once_one_wins_and_the_other_is_told() {
    for round in 0..20 {
        let store = Harness::new();
        let start = Barrier::new(2);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..2u64)
                .map(|n| {
                    let (start, mut harness) = (&start, store.somebody_else());
                    if round % 2 == 1 {
                        harness.credentials = crate::common::key_file(10 + n);
                    }
                    scope.spawn(move || {
                        start.wait();
                        let outcome = harness.init(&small_packs()).map(drop);
                        (outcome, harness)
                    })
                })
                .collect();
            makers.into_iter().map(|m| m.join().expect("no panic")).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(outcome, _)| outcome.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 1), "round {round}");
        let error = lost[0].0.as_ref().expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "round {round}: {error:?}");
        let winner = &won[0].1;
        winner.assert_sound("after a race");
        let objects = store.memory.objects();
        for name in ["format", "keyring/00000000"] {
            let copy = &objects[&crate::common::key(&format!("copy/{name}"))];
            assert_eq!(copy, &objects[&crate::common::key(name)], "round {round}");
        }
        let tree = tempfile::tempdir().expect("temp");
        std::fs::write(tree.path().join("file"), crate::common::noise(1, 9000)).expect("file");
        let id = winner.backup(tree.path(), "tree").snapshot.expect("a snapshot");
        winner.assert_restores(&id, tree.path(), "after a race");
    }
}
