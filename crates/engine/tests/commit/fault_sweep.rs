//! Every sink call fails once, before its effect and after it: what was there stays, what was asked can be asked again.

use crate::common::faults::{copy_of, sweep};
use crate::common::{Harness, key_file, plant, series, small_packs, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, PutMode, Result};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::keys::Others;
use decube_backup_engine::options::{SnapshotFilter, TagChange};
use decube_backup_engine::{Credentials, Repository, backup, keys, tags};
use decube_backup_testkit::MemorySink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn backup_of(tree: &Path) -> impl Fn(&Harness) -> Result<()> + '_ {
    move |harness| {
        let report = backup::backup(&harness.open()?, &source_of(tree), &series("tree"), &Silent)?;
        assert!(report.snapshot.is_some() && report.problems.is_empty(), "{report:?}");
        Ok(())
    }
}

fn live(harness: &Harness) -> Vec<decube_backup_engine::options::Snapshot> {
    harness.repository().snapshots(&SnapshotFilter::default())
}

#[test]
fn init_survives_every_single_fault() {
    let init = |harness: &Harness| harness.init(&small_packs()).map(drop);
    sweep(&Harness::new(), init, |harness, outcome, context| {
        if outcome.is_ok() {
            harness.assert_sound(context);
            return;
        }
        match init(harness) {
            Ok(()) => {}
            // The first one did finish, its last answer was lost.
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{context}: {error:?}"),
        }
        harness.assert_sound(context);
        let tree = tempfile::tempdir().expect("temp");
        std::fs::write(tree.path().join("file"), crate::common::noise(1, 5000)).expect("file");
        let report = harness.backup(tree.path(), "after");
        harness.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), context);
    });
}

#[test]
fn the_first_backup_survives_every_single_fault() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 2);
    let harness = Harness::with_repository(&small_packs()).with_parity(10);
    sweep(&harness, backup_of(tree.path()), |harness, outcome, context| {
        assert!(live(harness).len() == 1 || (outcome.is_err() && live(harness).is_empty()), "{context}");
        harness.assert_sound(context);
        backup_of(tree.path())(harness).expect(context);
        for snapshot in live(harness) {
            harness.assert_restores(&snapshot.id, tree.path(), context);
        }
    });
}

#[test]
fn the_second_backup_survives_every_single_fault() {
    let (before, tree) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    plant(before.path(), 3);
    plant(tree.path(), 3);
    std::fs::write(tree.path().join("b/007"), crate::common::noise(77, 300_000)).expect("file");
    std::fs::remove_file(tree.path().join("b/008")).expect("file");
    let harness = Harness::with_repository(&small_packs());
    let earlier = harness.backup(before.path(), "tree").snapshot.expect("a snapshot");
    sweep(&harness, backup_of(tree.path()), |harness, outcome, context| {
        let snapshots = live(harness);
        assert!(snapshots.len() == 2 || (outcome.is_err() && snapshots.len() == 1), "{context}");
        harness.assert_restores(&earlier, before.path(), context);
        harness.assert_sound(context);
        backup_of(tree.path())(harness).expect(context);
        for snapshot in live(harness).into_iter().filter(|s| s.id != earlier) {
            harness.assert_restores(&snapshot.id, tree.path(), context);
        }
    });
}

#[test]
fn tagging_survives_every_single_fault() {
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), crate::common::noise(4, 5000)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let tag = move |harness: &Harness| {
        tags::change(&harness.open()?, &[id], &TagChange { add: vec!["kept".into()], ..TagChange::default() })
    };
    sweep(&harness, tag, |harness, outcome, context| {
        let tagged = || live(harness)[0].manifest.tags == ["kept"];
        assert!(outcome.is_err() || tagged(), "{context}");
        harness.assert_sound(context);
        tag(harness).expect(context);
        assert!(tagged(), "{context}");
        harness.assert_restores(&id, tree.path(), context);
    });
}

#[test]
fn pruning_survives_every_single_fault() {
    let (all, half) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    for n in 0..8 {
        std::fs::write(all.path().join(format!("f{n}")), crate::common::noise(50 + n, 150_000)).expect("file");
        if n % 2 == 0 {
            std::fs::write(half.path().join(format!("f{n}")), crate::common::noise(50 + n, 150_000)).expect("file");
        }
    }
    let harness = Harness::with_repository(&small_packs()).with_parity(10);
    let gone = harness.backup(all.path(), "all").snapshot.expect("a snapshot");
    let kept = harness.backup(half.path(), "half").snapshot.expect("a snapshot");
    crate::common::records::forget(&harness, gone);
    // Left by a crash.
    let orphan = crate::common::key("packs/d/00/00112233445566778899aabbccddeeff");
    let put = harness.sink.put(&orphan, bytes::Bytes::from_static(b"half a pack").into(), PutMode::CreateNew);
    harness.runtime.block_on(put).expect("stored");
    let options =
        PruneOptions { max_unused: MaxUnused::Bytes(0), orphan_age: Duration::ZERO, ..PruneOptions::default() };
    let prune = |harness: &Harness| gc::plan(&harness.open()?, &options, &Silent)?.run(&Silent).map(drop);
    sweep(&harness, prune, |harness, _, context| {
        harness.assert_sound(context);
        harness.assert_restores(&kept, half.path(), context);
        prune(harness).expect(context);
        harness.assert_restores(&kept, half.path(), context);
        // What the fault left, of whatever kind, is gone but for what a second look would free.
        prune(harness).expect(context);
        let repo = harness.repository();
        let again = gc::plan(&repo, &options, &Silent).expect(context);
        assert!(again.summary().is_nothing(), "{context}: {:?}", again.summary());
        let packs = harness.memory.objects().keys().filter(|key| key.as_str().starts_with("packs/")).count();
        assert_eq!(packs, repo.state().live_pack_count(), "{context}");
        let parity = harness.memory.objects().keys().filter(|key| key.as_str().starts_with("parity/")).count();
        assert_eq!((parity, repo.state().parities().len()), (packs, packs), "{context}");
        harness.assert_sound(context);
    });
}

fn opens(harness: &Harness, credentials: &Credentials) -> bool {
    let outcome = Repository::open(harness.environment(), credentials).map(drop);
    let refused = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::WrongKey);
    assert!(outcome.is_ok() || refused, "{outcome:?}");
    outcome.is_ok()
}

#[test]
fn adding_a_key_survives_every_single_fault() {
    let harness = Harness::with_repository(&small_packs());
    let add = |harness: &Harness| keys::add(&harness.open()?, &key_file(2), "second").map(drop);
    sweep(&harness, add, |harness, outcome, context| {
        assert!(opens(harness, &harness.credentials), "{context}");
        assert!(outcome.is_err() || opens(harness, &key_file(2)), "{context}");
        harness.assert_sound(context);
        add(harness).expect(context);
        assert!(opens(harness, &key_file(2)), "{context}");
        assert!(!opens(harness, &key_file(3)), "{context}");
        harness.assert_sound(context);
    });
}

#[test]
fn changing_the_key_survives_every_single_fault() {
    let (old, new) = (key_file(4), key_file(5));
    let mut harness = Harness::over(Arc::new(MemorySink::new()));
    harness.credentials = old.clone();
    harness.init(&small_packs()).expect("init");
    let change = {
        let (old, new) = (old.clone(), new.clone());
        move |harness: &Harness| {
            keys::change_password(&mut Repository::open(harness.environment(), &old)?, &new, None).map(drop)
        }
    };
    sweep(&harness, &change, |harness, outcome, context| {
        let (old_opens, new_opens) = (opens(harness, &old), opens(harness, &new));
        assert!(old_opens || new_opens, "{context}");
        assert!(outcome.is_err() || (new_opens && !old_opens), "{context}");
        if old_opens {
            change(harness).expect(context);
        }
        assert!(opens(harness, &new) && !opens(harness, &old), "{context}");
        let anyone = Harness { credentials: new.clone(), ..copy_of(harness) };
        anyone.assert_sound(context);
    });
}

/// What holds of a repository whose pack keys were rotated, or perhaps not.
fn assert_lives_on(harness: &Harness, first: &decube_backup_format::ids::SnapshotId, tree: &Path, context: &str) {
    harness.assert_restores(first, tree, context);
    let more = tempfile::tempdir().expect("temp");
    std::fs::write(more.path().join("more"), crate::common::noise(8, 9000)).expect("file");
    let later = harness.backup(more.path(), "more").snapshot.expect("a snapshot");
    harness.assert_restores(&later, more.path(), context);
    harness.assert_sound(context);
}

#[test]
fn rotating_keys_survives_every_single_fault() {
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), crate::common::noise(4, 5000)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    let first = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let rotate = |harness: &Harness| keys::rotate(&harness.open()?).map(drop);
    sweep(&harness, rotate, |harness, outcome, context| {
        let current = || harness.repository().state().keyring_current();
        let after = current();
        assert!(outcome.is_err() || after > 0, "{context}");
        assert_lives_on(harness, &first, tree.path(), context);
        rotate(harness).expect(context);
        assert!(current() > after, "{context}");
        assert_lives_on(harness, &first, tree.path(), context);
    });
}

#[test]
fn revoking_a_key_survives_every_single_fault() {
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), crate::common::noise(4, 5000)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    let first = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let slot = keys::add(&harness.repository(), &key_file(2), "second").expect("added").slot;
    let revoke = |harness: &Harness| keys::revoke(&mut harness.open()?, &slot, Others::Refuse).map(drop);
    sweep(&harness, revoke, |harness, outcome, context| {
        assert!(opens(harness, &harness.credentials), "{context}");
        assert!(outcome.is_err() || !opens(harness, &key_file(2)), "{context}");
        assert_lives_on(harness, &first, tree.path(), context);
        match revoke(harness) {
            Ok(()) => {}
            // It was in force already, only the deletes were missing.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{context}: {error:?}"),
        }
        assert!(!opens(harness, &key_file(2)) && opens(harness, &harness.credentials), "{context}");
        assert_lives_on(harness, &first, tree.path(), context);
    });
}

#[test]
fn removing_a_key_survives_every_single_fault() {
    let harness = Harness::with_repository(&small_packs());
    let slot = keys::add(&harness.repository(), &key_file(2), "second").expect("added").slot;
    let remove = |harness: &Harness| keys::remove(&harness.open()?, &slot).map(drop);
    sweep(&harness, remove, |harness, outcome, context| {
        assert!(opens(harness, &harness.credentials), "{context}");
        assert!(outcome.is_err() || !opens(harness, &key_file(2)), "{context}");
        harness.assert_sound(context);
        match remove(harness) {
            Ok(()) => {}
            // It is removed already, only the delete was missing.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{context}: {error:?}"),
        }
        assert!(!opens(harness, &key_file(2)) && opens(harness, &harness.credentials), "{context}");
        harness.assert_sound(context);
    });
}
