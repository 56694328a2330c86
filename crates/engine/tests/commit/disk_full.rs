//! The store has no more room at any one write, then again: nothing is lost, and it is said.

use crate::common::{Harness, plant, series, small_packs, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Error, ErrorKind, Key, Result, Sink};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{BackupOptions, SnapshotFilter};
use decube_backup_engine::{backup, keys};
use decube_backup_testkit::{HookedSink, Moment, Op};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes so many writes, then has no room. Reading and deleting go on.
fn filling(inner: Arc<dyn Sink>, room: u64) -> impl Sink {
    let left = AtomicU64::new(room);
    HookedSink::new(inner, move |moment, op, key: &Key| {
        if (moment, op) != (Moment::Before, Op::Put) {
            return Ok(());
        }
        let took = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let full = |_| Error::new(ErrorKind::NoSpace, "put", "no space left on device").with("key", key);
        took.map(drop).map_err(full)
    })
}

/// Runs `job` with room for 0, 1, 2 … writes until it succeeds; after each failure `check`.
fn fill(start: &Harness, job: impl Fn(&Harness) -> Result<()>, check: impl Fn(&Harness, &str)) {
    for room in 0.. {
        let copy = start.on_image(start.memory.objects());
        let outcome = job(&copy.through(Arc::new(filling(copy.sink.clone(), room))));
        let context = format!("room for {room} writes");
        check(&copy, &context);
        match outcome {
            Ok(()) => return assert!(room > 0, "it wrote nothing"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{context}: {error:?}"),
        }
        let again = job(&copy);
        assert!(again.is_ok(), "{context}, then room again: {again:?}");
        check(&copy, &context);
    }
}

fn with_a_snapshot() -> (Harness, tempfile::TempDir, decube_backup_format::ids::SnapshotId) {
    let before = tempfile::tempdir().expect("temp");
    plant(before.path(), 31);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(before.path(), "tree").snapshot.expect("a snapshot");
    (harness, before, id)
}

#[test]
fn a_backup_that_fills_the_disk_at_any_write_harms_nothing() {
    let (harness, before, earlier) = with_a_snapshot();
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 32);
    let options = BackupOptions { progress_bytes: Some(1 << 20), ..series("tree") };
    let job =
        |harness: &Harness| backup::backup(&harness.open()?, &source_of(tree.path()), &options, &Silent).map(drop);
    fill(&harness, job, |harness, context| {
        let fresh = harness.somebody_else();
        fresh.assert_sound(context);
        fresh.assert_restores(&earlier, before.path(), context);
        for snapshot in fresh.repository().snapshots(&SnapshotFilter::default()).iter().filter(|s| s.id != earlier) {
            fresh.assert_restores(&snapshot.id, tree.path(), context);
        }
    });
}

#[test]
fn a_key_that_finds_the_disk_full_leaves_the_others_as_they_were() {
    let (harness, before, earlier) = with_a_snapshot();
    let job = |harness: &Harness| keys::add(&harness.open()?, &crate::common::key_file(9), "second").map(drop);
    fill(&harness, job, |harness, context| {
        let fresh = harness.somebody_else();
        fresh.assert_sound(context);
        fresh.assert_restores(&earlier, before.path(), context);
    });
}

#[test]
fn a_prune_that_fills_the_disk_while_it_copies_harms_nothing() {
    let (harness, before, earlier) = with_a_snapshot();
    let other = tempfile::tempdir().expect("temp");
    plant(other.path(), 33);
    let gone = harness.backup(other.path(), "gone").snapshot.expect("a snapshot");
    crate::common::records::forget(&harness, gone);
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    let job = |harness: &Harness| gc::plan(&harness.open()?, &options, &Silent)?.run(&Silent).map(drop);
    fill(&harness, job, |harness, context| {
        let fresh = harness.somebody_else();
        fresh.assert_sound(context);
        fresh.assert_restores(&earlier, before.path(), context);
    });
}

#[test]
fn a_prune_without_room_to_copy_frees_what_needs_no_copying() {
    let (harness, before, earlier) = with_a_snapshot();
    let dropped = |seed: u64| {
        let tree = tempfile::tempdir().expect("temp");
        plant(tree.path(), seed);
        // With what the first has: its packs are half needed once that is forgotten.
        let id = harness.backup(tree.path(), "gone").snapshot.expect("a snapshot");
        crate::common::records::forget(&harness, id);
    };
    dropped(33);
    let half = tempfile::tempdir().expect("temp");
    std::fs::create_dir(half.path().join("b")).expect("directory");
    std::fs::copy(before.path().join("b/007"), half.path().join("b/007")).expect("copied");
    let left = harness.backup(half.path(), "half").snapshot.expect("a snapshot");
    crate::common::records::forget(&harness, earlier);

    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    let full = HookedSink::new(harness.sink.clone(), |moment, op, key: &Key| {
        let pack = key.as_str().starts_with("packs/");
        let full = (moment, op, pack) == (Moment::Before, Op::Put, true);
        if full { Err(Error::new(ErrorKind::NoSpace, "put", "no space left on device")) } else { Ok(()) }
    });
    let stored =
        |harness: &Harness| harness.memory.objects().keys().filter(|k| k.as_str().starts_with("packs/")).count();
    let packs = stored(&harness);
    let plan = *gc::plan(&harness.repository(), &options, &Silent).expect("a plan").summary();
    assert!(plan.packs_sparse.count > 0 && plan.packs_dead.count > 0, "{plan:?}");
    let without_room = harness.through(Arc::new(full));
    let error =
        gc::plan(&without_room.repository(), &options, &Silent).expect("a plan").run(&Silent).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("run prune again")), "{error:?}");
    assert_eq!(stored(&harness) as u64, packs as u64 - plan.packs_dead.count);
    harness.somebody_else().assert_restores(&left, half.path(), "full");
    // Nothing more goes without copying.
    let error =
        gc::plan(&without_room.repository(), &options, &Silent).expect("a plan").run(&Silent).expect_err("full");
    assert!(error.hint().is_some_and(|hint| hint.contains("free some space")), "{error:?}");
    gc::plan(&harness.repository(), &options, &Silent).expect("a plan").run(&Silent).expect("there is room");
    harness.somebody_else().assert_restores(&left, half.path(), "pruned");
    harness.somebody_else().assert_sound("pruned");
}

#[test]
fn a_prune_with_room_for_one_pack_at_a_time_gets_done() {
    let (tree, harness) = (tempfile::tempdir().expect("temp"), Harness::with_repository(&small_packs()));
    for n in 0..16 {
        std::fs::write(tree.path().join(format!("{n}")), crate::common::noise(n, 400_000)).expect("file");
    }
    let gone = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    for n in (0..16).step_by(2) {
        std::fs::remove_file(tree.path().join(format!("{n}"))).expect("removed");
    }
    let left = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    crate::common::records::forget(&harness, gone);

    let memory = harness.memory.clone();
    let stored = move || memory.objects().values().map(|bytes| bytes.len()).sum::<usize>();
    let room = stored() + (500 << 10);
    let used = stored.clone();
    let full = HookedSink::new(harness.sink.clone(), move |moment, op, key: &Key| {
        let is_full = (moment, op) == (Moment::Before, Op::Put) && key.as_str().starts_with("packs/") && used() > room;
        if is_full { Err(Error::new(ErrorKind::NoSpace, "put", "no space left on device")) } else { Ok(()) }
    });
    let narrow = harness.through(Arc::new(full));
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    let mut failed = 0;
    loop {
        let before = stored();
        let outcome = gc::plan(&narrow.repository(), &options, &Silent).expect("a plan").run(&Silent);
        harness.somebody_else().assert_sound("after a prune");
        let Err(error) = outcome else { break };
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
        assert!(stored() < before, "{failed}: it got on: {before} bytes before, {} after, {error:?}", stored());
        failed += 1;
    }
    assert!(failed > 0);
    harness.somebody_else().assert_restores(&left, tree.path(), "pruned");
}

#[test]
fn a_backup_without_room_for_its_last_pack_keeps_the_others() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 34);
    let harness = Harness::with_repository(&small_packs());
    let full = HookedSink::new(harness.sink.clone(), {
        let packs = AtomicU64::new(0);
        move |moment, op, key: &Key| {
            let pack = (moment, op) == (Moment::Before, Op::Put) && key.as_str().starts_with("packs/d/");
            // The fourth is the one that is not full: it is stored when everything is read.
            if pack && packs.fetch_add(1, Ordering::SeqCst) == 3 {
                return Err(Error::new(ErrorKind::NoSpace, "put", "no space left on device"));
            }
            Ok(())
        }
    });
    let error = harness.through(Arc::new(full)).backup_source(&source_of(tree.path()), "tree").expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    let known = harness.repository().state().live_pack_count();
    assert_eq!(known, 3, "those that were full are recorded");
    let again = harness.backup(tree.path(), "tree");
    assert!(again.bytes_stored < 1 << 20, "they are not stored again: {again:?}");
    harness.assert_restores(&again.snapshot.expect("a snapshot"), tree.path(), "room again");
}
