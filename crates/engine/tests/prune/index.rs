//! Merging index segments, dropping checkpoints and leftovers: what is derived is tidied, and nobody notices.

use crate::common::records::{append, forget};
use crate::common::{Harness, key, noise, small_packs};
use decube_backup_core::PutMode;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions, PruneReport, PruneSummary};
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::log::Payload;
use std::time::Duration;

fn only_dead() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Unlimited, orphan_age: Duration::ZERO, ..PruneOptions::default() }
}

fn prune_with(harness: &Harness, options: &PruneOptions) -> (PruneSummary, PruneReport) {
    let repo = harness.repository();
    let plan = gc::plan(&repo, options, &Silent).expect("plan");
    let summary = *plan.summary();
    (summary, plan.run(&Silent).expect("prune"))
}

fn names(harness: &Harness, prefix: &str) -> Vec<String> {
    let objects = harness.memory.objects();
    objects.keys().filter(|name| name.as_str().starts_with(prefix)).map(ToString::to_string).collect()
}

fn put(harness: &Harness, name: &str) {
    let name = key(name);
    let stored = harness.sink.put(&name, bytes::Bytes::from_static(b"left").into(), PutMode::CreateNew);
    harness.runtime.block_on(stored).expect("stored");
}

/// So many snapshots of one file each, each with packs and an index segment of its own.
fn many(harness: &Harness, count: u64) -> Vec<(SnapshotId, tempfile::TempDir)> {
    let back_up = |n: u64| {
        let tree = tempfile::tempdir().expect("temp");
        std::fs::write(tree.path().join("file"), noise(n, 600_000)).expect("file");
        (harness.backup(tree.path(), &format!("s{n}")).snapshot.expect("a snapshot"), tree)
    };
    (0..count).map(back_up).collect()
}

fn assert_restore(harness: &Harness, snapshots: &[(SnapshotId, tempfile::TempDir)], context: &str) {
    for (id, tree) in snapshots {
        harness.assert_restores(id, tree.path(), context);
    }
}

#[test]
fn many_small_index_segments_become_one() {
    let harness = Harness::with_repository(&small_packs());
    let snapshots = many(&harness, 16);
    let old_client = harness.somebody_else();
    let old_handle = old_client.repository();
    old_handle.index().expect("index");
    let listed_before = harness.somebody_else();
    let stale = listed_before.repository();
    assert_eq!(names(&harness, "index/").len(), 16);
    // Not the small packs: of what was moved nothing is asked here.
    let options = PruneOptions { repack_bytes_max: Some(0), ..only_dead() };
    let (summary, report) = prune_with(&harness, &options);
    assert_eq!((summary.indexes_merged, report.indexes_merged), (16, 16));
    assert!(names(&harness, "index/").iter().all(|name| name.starts_with("index/1/")));
    assert_eq!(names(&harness, "index/").len(), 1);
    let (summary, _) = prune_with(&harness, &options);
    assert!(summary.is_nothing(), "{summary:?}");
    // Whoever had the old ones, whoever is about to read them, and whoever comes now.
    assert!(!old_handle.index().expect("index").is_empty());
    assert_eq!(stale.index().expect("the merged one").len(), old_handle.index().expect("index").len());
    for user in [&old_client, &listed_before, &harness.somebody_else()] {
        user.assert_sound("merged");
        assert_restore(user, &snapshots[..3], "merged");
        let again = user.backup(snapshots[5].1.path(), "other name");
        assert_eq!(again.chunks_new, 0);
    }
}

#[test]
fn an_index_mostly_of_packs_that_are_gone_is_made_anew() {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    let mut last = None;
    for round in 0..10u64 {
        for n in 0..600u64 {
            std::fs::write(tree.path().join(format!("{n:04}")), noise(10_000 * round + n, 400)).expect("file");
        }
        let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
        if let Some(before) = last.replace(id) {
            forget(&harness, before);
        }
    }
    let (summary, report) = prune_with(&harness, &only_dead());
    assert!(summary.indexes_merged == 10 && report.indexes_merged == 10, "{summary:?}");
    let left: usize =
        harness.memory.objects().iter().filter(|(k, _)| k.as_str().starts_with("index/")).map(|(_, o)| o.len()).sum();
    assert!(left < 650 * 24, "{left}");
    harness.assert_sound("made anew");
    harness.assert_restores(&last.expect("a snapshot"), tree.path(), "made anew");
}

#[test]
fn two_merges_at_once_lose_no_entry() {
    let harness = Harness::with_repository(&small_packs());
    let snapshots = many(&harness, 17);
    let options = PruneOptions { repack_bytes_max: Some(0), ..only_dead() };
    let other = harness.somebody_else();
    let (one, two) = (harness.repository(), other.repository());
    let (plan_one, plan_two) =
        (gc::plan(&one, &options, &Silent).expect("plan"), gc::plan(&two, &options, &Silent).expect("plan"));
    let first = plan_one.run(&Silent).expect("prune");
    // Somebody adds a segment in between.
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), noise(99, 600_000)).expect("file");
    let added = harness.somebody_else().backup(tree.path(), "between").snapshot.expect("a snapshot");
    plan_two.run(&Silent).expect("prune");
    assert_eq!(first.indexes_merged, 17);
    prune_with(&harness, &options);
    let fresh = harness.somebody_else();
    fresh.assert_sound("two merges");
    assert_restore(&fresh, &snapshots[..2], "two merges");
    fresh.assert_restores(&added, tree.path(), "two merges");
    assert_eq!(names(&harness, "index/").len(), harness.repository().state().indexes().len(), "no leftovers");
}

#[test]
fn leftovers_go_when_they_are_old_and_what_is_unknown_stays() {
    let harness = Harness::with_repository(&small_packs());
    let snapshots = many(&harness, 1);
    let orphans = ["packs/d/00/00112233445566778899aabbccddeeff", "index/0/00112233445566778899aabbccddeeff"];
    let strange =
        ["packs/d/00/readme", "index/0/readme", "somebody/elses", "packs/x/00/00112233445566778899aabbccddeeff"];
    for name in orphans.iter().chain(&strange) {
        put(&harness, name);
    }
    // The store in memory tells no times.
    let (summary, _) =
        prune_with(&harness, &PruneOptions { max_unused: MaxUnused::Unlimited, ..PruneOptions::default() });
    assert!(summary.is_nothing() && summary.orphans_young == 2, "{summary:?}");
    let (summary, report) = prune_with(&harness, &only_dead());
    assert_eq!((summary.orphans.count, report.packs_deleted, report.others_deleted), (2, 1, 1));
    let left = names(&harness, "");
    assert!(orphans.iter().all(|name| !left.iter().any(|l| l == name)), "{left:?}");
    assert!(strange.iter().all(|name| left.iter().any(|l| l == name)), "{left:?}");
    // A late upload under a name that is out of force is nobody's, and goes.
    put(&harness, orphans[0]);
    let (summary, report) = prune_with(&harness, &PruneOptions::default());
    assert_eq!((summary.unfinished.count, report.packs_deleted), (1, 1));
    harness.assert_sound("leftovers");
    assert_restore(&harness, &snapshots, "leftovers");
}

#[test]
fn superseded_checkpoints_go_and_the_newest_stay() {
    let harness = Harness::with_repository(&small_packs());
    let snapshots = many(&harness, 1);
    let repo = harness.repository();
    for _ in 0..130 {
        append(&repo, Payload::Note { text: "again".into() }, Vec::new());
    }
    let before = names(&harness, "ckpt/");
    assert_eq!(before.len(), 4);
    let (summary, _) = prune_with(&harness, &PruneOptions::default());
    assert_eq!(summary.checkpoints.count, 2);
    assert_eq!(names(&harness, "ckpt/"), before[2..]);
    assert_restore(&harness.somebody_else(), &snapshots, "checkpoints dropped");
    // Vanished while somebody looks: the log says the same.
    for name in names(&harness, "ckpt/") {
        harness.memory.remove(&key(&name)).expect("there");
    }
    assert_restore(&harness.somebody_else(), &snapshots, "no checkpoint at all");
}

#[test]
fn what_was_left_by_a_prune_that_died_is_deleted_by_the_next() {
    let harness = Harness::with_repository(&small_packs());
    let snapshots = many(&harness, 2);
    let kept = harness.memory.objects();
    forget(&harness, snapshots[1].0);
    prune_with(&harness, &only_dead());
    // As if no delete had come through.
    for (name, bytes) in kept {
        let put = harness.sink.put(&name, bytes.into(), PutMode::CreateNew);
        harness.runtime.block_on(put).expect("stored");
    }
    let (summary, report) = prune_with(&harness.somebody_else(), &only_dead());
    assert!(summary.unfinished.count > 0 && report.packs_deleted > 0, "{summary:?}");
    assert_eq!(names(&harness, "packs/").len(), harness.repository().state().live_pack_count());
    assert_restore(&harness, &snapshots[..1], "finished by another");
}

#[test]
fn what_a_snapshot_alone_needs_is_what_forgetting_it_frees() {
    use decube_backup_core::entry::EntryPath;
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    let write = |name: &str, seed: u64| std::fs::write(tree.path().join(name), noise(seed, 300_000)).expect("file");
    for n in 0..6 {
        write(&format!("shared{n}"), n);
    }
    std::fs::create_dir(tree.path().join("log")).expect("folder");
    let mut ids = Vec::new();
    for round in 0..3u64 {
        write("own", 100 + round);
        write("log/today", 200 + round);
        write("log/copy of own", 100 + round);
        ids.push(harness.backup(tree.path(), "tree").snapshot.expect("a snapshot"));
    }
    let recording = std::sync::Arc::new(decube_backup_testkit::RecordingSink::new(harness.sink.clone()));
    let repo = harness.through(recording.clone()).repository();
    let sizes = gc::unique(&repo, &Silent).expect("unique");
    assert_eq!(sizes.iter().map(|s| s.snapshot).collect::<Vec<_>>(), ids);
    let snapshot = |id: &SnapshotId| harness.snapshot(id);
    let folder = |name: &str| {
        let path = tree.path().canonicalize().expect("tree").join(name);
        EntryPath::new(path.to_str().expect("UTF-8").trim_start_matches('/').as_bytes()).expect("legal path")
    };
    for (id, unique) in ids.iter().zip(&sizes) {
        let freed = gc::freed(&repo, &[(snapshot(id), EntryPath::root())], &Silent).expect("freed");
        assert_eq!(freed, unique.size);
        assert!((600_000..680_000).contains(&freed.bytes_raw), "{freed:?}");
        // The copy keeps what is in the folder and outside.
        let log = gc::freed(&repo, &[(snapshot(id), folder("log"))], &Silent).expect("freed");
        assert_eq!(log.bytes_raw, 300_000);
        let both = [(snapshot(id), folder("log")), (snapshot(id), folder("own"))];
        assert_eq!(gc::freed(&repo, &both, &Silent).expect("freed").bytes_raw, 600_000);
    }
    let all: Vec<_> = ids.iter().map(|id| (snapshot(id), EntryPath::root())).collect();
    let freed = gc::freed(&repo, &all, &Silent).expect("freed");
    assert!(freed.bytes_raw > (6 + 6) * 300_000, "{freed:?}");
    assert_eq!(recording.tally(decube_backup_testkit::Op::Get, "packs/d/").calls, 0);
    // And so it comes.
    let stored = |harness: &Harness| {
        harness
            .memory
            .objects()
            .iter()
            .filter(|(k, _)| k.as_str().starts_with("packs/"))
            .map(|(_, o)| o.len() as u64)
            .sum::<u64>()
    };
    let before = stored(&harness);
    forget(&harness, ids[0]);
    prune_with(&harness, &PruneOptions { max_unused: MaxUnused::Bytes(0), ..only_dead() });
    let (gone, said) = (before - stored(&harness), sizes[0].size.bytes_stored);
    assert!(gone.abs_diff(said) < said / 5, "{gone} freed, {said} promised");
}
