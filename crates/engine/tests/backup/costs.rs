//! What everyday commands ask of the store, counted: requests are what remote storage takes time and money for.

use crate::common::{Harness, noise, plant, small_packs};
use decube_backup_core::entry::EntryPath;
use decube_backup_engine::browse::{Depth, list};
use decube_backup_engine::options::SnapshotFilter;
use decube_backup_testkit::{Op, RecordingSink};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
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
        assert_eq!(calls(Op::Delete), 0, "{context}");
        // Whether the log has a gap: at the next name, and among the 256 around it; and whether a checkpoint knows of more.
        assert_eq!((calls(Op::Stat), calls(Op::List)), (1, 2), "{context}");
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

/// A repository with twelve snapshots of a tree, each with a change elsewhere: the last one has nodes in packs of
/// all of them.
fn twelve_days(tree: &Path) -> Harness {
    for n in 0..4000 {
        let folder = tree.join(format!("{:02}", n / 100));
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join(format!("{n:05}")), noise(n, 300)).expect("file");
    }
    let harness = Harness::with_repository(&small_packs());
    for round in 0..12 {
        change(tree, round);
        harness.backup(tree, "tree");
    }
    let packs = harness.memory.objects().keys().filter(|key| key.as_str().starts_with("packs/m/")).count();
    assert!(packs > 10, "{packs} metadata packs: the bar is about trees in many");
    harness
}

fn change(tree: &Path, round: u64) {
    std::fs::write(tree.join(format!("{:02}/new", round * 3)), noise(round, 300)).expect("file");
}

#[test]
fn a_tree_in_many_packs_is_not_read_back() {
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temp");
    let harness = twelve_days(tree.path());
    for round in [None, Some(12)] {
        round.into_iter().for_each(|round| change(tree.path(), round));
        let recording = backup(&harness, tree.path());
        let context = format!("{round:?}: {:?}", recording.calls());
        assert!(recording.tally(Op::Put, "").calls <= 4 && recording.tally(Op::Get, "").calls <= 8, "{context}");
        assert_eq!(recording.tally(Op::Get, "packs/").calls, 0, "{context}");
    }
    // Looking costs nothing either.
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    let id = harness.repository().snapshots(&SnapshotFilter::default()).last().expect("a snapshot").id;
    let through = harness.through(recording.clone());
    let (repo, snapshot) = (through.repository(), through.snapshot(&id));
    let mut seen = 0;
    let mut count = |_: &_| {
        seen += 1;
        Ok(())
    };
    list(&repo, &snapshot, &EntryPath::root(), Depth::Recursive, &mut count).expect("list");
    assert!(seen > 4000 && recording.tally(Op::Get, "packs/").calls == 0, "{seen}: {:?}", recording.calls());
}

#[test]
fn who_meets_a_tree_for_the_first_time_fetches_each_pack_once() {
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temp");
    let harness = twelve_days(tree.path());
    let stranger = harness.somebody_else();
    let gets = |recording: &RecordingSink| {
        let gets = recording.calls().into_iter().filter(|call| call.op == Op::Get && call.key.starts_with("packs/m/"));
        gets.map(|call| call.key).collect::<Vec<_>>()
    };
    let fetched = gets(&backup(&stranger, tree.path()));
    let distinct: BTreeSet<_> = fetched.iter().collect();
    assert!(fetched.len() > 3 && distinct.len() == fetched.len(), "{fetched:?}");
    assert_eq!(gets(&backup(&stranger, tree.path())), Vec::<String>::new());
}

#[test]
fn kept_packs_that_are_damaged_are_read_from_the_repository_and_those_that_are_gone_are_removed() {
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temp");
    let harness = twelve_days(tree.path());
    let folder = kept_folder(&harness);
    let kept = || std::fs::read_dir(&folder).expect("a folder").flatten().map(|file| file.path()).collect::<Vec<_>>();
    assert!(kept().len() > 10);
    for (n, path) in kept().into_iter().enumerate() {
        let mut bytes = std::fs::read(&path).expect("a kept pack");
        let at = [0, bytes.len() / 3, bytes.len() / 2][n % 3];
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).expect("overwritten");
    }
    let report = harness.backup(tree.path(), "tree");
    assert_eq!((report.chunks_new, report.files_new, report.files_changed), (0, 0, 0));
    harness.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "a cache that lies");
    std::fs::write(folder.join("0123456789abcdef"), "no pack at all").expect("written");
    harness.backup(tree.path(), "tree");
    let names: BTreeSet<_> = harness.memory.objects().into_keys().map(|key| key.as_str().to_owned()).collect();
    for path in kept() {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(names.iter().any(|key| key.ends_with(&name)), "{name} is in no repository");
    }
}

/// Where the cache of `harness` keeps metadata packs.
fn kept_folder(harness: &Harness) -> PathBuf {
    let cache = harness.cache.as_ref().expect("a cache").path();
    let of_repository = std::fs::read_dir(cache).expect("a folder").flatten().map(|entry| entry.path().join("packs.d"));
    of_repository.into_iter().find(|folder| folder.is_dir()).expect("kept packs")
}
