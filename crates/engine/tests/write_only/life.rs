//! From the key to the restored tree, and back again.

use super::{HOST, World, back_up, copy_of, live, open_host, tree_of, world};
use crate::common::damage::put;
use crate::common::records::{forget, packs};
use crate::common::{Harness, key, noise, series, source_of};
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{BackupOptions, ChangeDetection};
use decube_backup_engine::{backup, keys, tags};
use decube_backup_format::checkpoint::Pin;
use decube_backup_format::ids::{PackKind, pack_key};
use decube_backup_format::pack::PackHeader;
use decube_backup_testkit::RecordingSink;
use decube_backup_testkit::recording::Op;
use std::sync::Arc;

fn prune(harness: &Harness) {
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    let repo = harness.repository();
    gc::plan(&repo, &options, &Silent).expect("planned").run(&Silent).expect("pruned");
}

#[test]
fn what_a_host_adds_the_administrator_restores() {
    let world = world();
    let id = world.back_up();
    world.admin.assert_restores(&id, world.tree.path(), "first");
    world.admin.assert_sound("first");
    world.admin.somebody_else().assert_sound("by who knows nothing yet");
    let snapshot = world.admin.snapshot(&id);
    assert_eq!((snapshot.manifest.host.as_str(), snapshot.manifest.name.as_str()), (HOST, "tree"));
}

#[test]
fn an_unchanged_tree_is_neither_read_nor_uploaded_again() {
    let world = world();
    let source = world.source();
    back_up(&world.host, &source, "tree").expect("first backup");
    assert!(!source.take_opened().is_empty());
    let recording = Arc::new(RecordingSink::new(world.host.sink.clone()));
    let host = world.host.through(recording.clone());
    let second = back_up(&host, &source, "tree").expect("second backup");
    assert_eq!(source.take_opened(), [] as [String; 0]);
    assert_eq!((second.files_new, second.files_changed, second.bytes_read, second.bytes_new), (0, 0, 0, 0));
    // The record; a few nodes with their index segment, if a directory above the tree has changed; nothing comes down.
    assert!(recording.tally(Op::Put, "").calls <= 3, "{:?}", recording.calls());
    assert_eq!(recording.tally(Op::Put, "packs/d/").calls, 0);
    assert_eq!(recording.tally(Op::Get, "packs/").calls, 0);
    world.admin.assert_restores(&second.snapshot.expect("a snapshot"), world.tree.path(), "second");
}

#[test]
fn a_changed_file_uploads_what_is_new_in_it() {
    let world = world();
    let source = world.source();
    let first = world.back_up();
    let before = copy_of(world.tree.path());
    world.write("b/new", &noise(77, 200_000));
    let report = back_up(&world.host, &source, "tree").expect("backup");
    assert_eq!(source.take_opened().len(), 1);
    assert_eq!((report.files_new, report.bytes_new), (1, 200_000));
    world.admin.assert_restores(&report.snapshot.expect("a snapshot"), world.tree.path(), "second");
    let (restored, problems) = world.admin.restore(&first, world.tree.path());
    assert!(problems.problems.is_empty(), "{problems:?}");
    assert!(!restored.path().join("b/new").exists() && before.path().join("b/007").exists());
}

#[test]
fn a_lost_cache_costs_reading_and_no_upload() {
    let world = world();
    world.back_up();
    let source = world.source();
    // Another cache, nothing in it.
    let host = Harness {
        cache: Some(Arc::new(tempfile::tempdir().expect("temp"))),
        ..world.host.through(world.host.sink.clone())
    };
    let report = back_up(&host, &source, "tree").expect("backup");
    assert!(!source.take_opened().is_empty());
    assert_eq!((report.bytes_new, report.chunks_new), (0, 0));
    assert!(report.chunks_reused > 0);
    world.admin.assert_restores(&report.snapshot.expect("a snapshot"), world.tree.path(), "second");
    // And without any cache.
    let host = Harness { cache: None, ..world.host.through(world.host.sink.clone()) };
    let report = back_up(&host, &source, "tree").expect("backup");
    assert_eq!((report.bytes_new, report.chunks_new), (0, 0));
    world.admin.assert_sound("without caches");
}

#[test]
fn everything_comes_back_after_a_prune_and_the_host_goes_on_relying_on_it() {
    let world = world();
    let first = world.back_up();
    // A large one, and a small one that is in a segment with others: so of one pack at least only a part is needed.
    for gone in ["a/deep/er/large", "b/020"] {
        std::fs::remove_file(world.tree.path().join(gone)).expect("removed");
    }
    world.write("b/new", &noise(78, 100_000));
    let second = world.back_up();
    forget(&world.admin, first);
    prune(&world.admin);
    let state = world.admin.repository().state();
    let copied: Vec<_> = packs(&world.admin).into_iter().filter(|pack| !state.is_hosted(pack)).collect();
    assert!(!copied.is_empty(), "what was needed of sparse packs");
    world.admin.assert_restores(&second, world.tree.path(), "pruned");
    world.admin.assert_sound("pruned");
    // What a prune copied is still the host's to rely on, with its cache and without.
    let source = world.source();
    let third = back_up(&world.host, &source, "tree").expect("backup");
    assert_eq!((source.take_opened(), third.bytes_new), (vec![], 0));
    let fourth = back_up(&world.host.somebody_else(), &source, "tree").expect("backup");
    assert_eq!((fourth.bytes_new, fourth.chunks_new), (0, 0));
    source.take_opened();
    // And somebody who could read has read it: so others rely on it too.
    assert!(copied.iter().any(|pack| pack.kind == PackKind::Data), "{copied:?}");
    let copy = copy_of(world.tree.path());
    let by_admin = world.admin.backup(copy.path(), "admin");
    assert!(by_admin.chunks_reused > 0, "{by_admin:?}");
    prune(&world.admin);
    for id in [second, third.snapshot.expect("a snapshot"), fourth.snapshot.expect("a snapshot")] {
        world.admin.assert_restores(&id, world.tree.path(), "pruned again");
    }
    world.admin.assert_restores(&by_admin.snapshot.expect("a snapshot"), copy.path(), "the administrator's");
    world.admin.assert_sound("pruned again");
    let fifth = back_up(&world.host, &source, "tree").expect("backup");
    assert_eq!((source.take_opened(), fifth.bytes_new), (vec![], 0));
}

#[test]
fn a_host_keeps_its_copies_until_its_key_is_removed() {
    let world = world();
    let shared = noise(5, 400_000);
    let tree = tree_of(&[("shared", shared.clone())]);
    let by_admin = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    world.write("shared", &shared);
    let by_host = world.back_up();
    let bytes = || {
        world
            .admin
            .memory
            .objects()
            .iter()
            .filter(|(key, _)| key.as_str().starts_with("packs/d/"))
            .map(|(_, b)| b.len())
            .sum::<usize>()
    };
    prune(&world.admin);
    let source = world.source();
    assert_eq!(back_up(&world.host, &source, "tree").expect("backup").bytes_new, 0);
    let both = bytes();
    keys::remove(&world.admin.repository(), &world.slot).expect("removed");
    prune(&world.admin);
    assert!(bytes() + 300_000 < both, "{} of {both}", bytes());
    world.admin.assert_restores(&by_admin, tree.path(), "admin");
    let (_, report) = world.admin.restore(&by_host, world.tree.path());
    assert!(report.problems.is_empty(), "{report:?}");
    world.admin.assert_sound("one copy");
}

#[test]
fn merged_index_segments_still_open_for_the_host() {
    let world = world();
    for n in 0..20 {
        world.write("changing", &noise(200 + n, 20_000));
        world.back_up();
    }
    let indexes = || world.admin.repository().state().indexes().len();
    let before = indexes();
    prune(&world.admin);
    assert!(indexes() < before / 2, "{} of {before}", indexes());
    let report = back_up(&world.host.somebody_else(), &world.source(), "tree").expect("backup");
    assert_eq!((report.bytes_new, report.chunks_new), (0, 0));
    world.admin.assert_sound("merged");
}

#[test]
fn hosts_and_holders_of_all_keys_share_a_repository() {
    let world = world();
    let shared = noise(5, 400_000);
    let tree = tree_of(&[("shared", shared.clone()), ("own", noise(6, 50_000))]);
    let by_admin = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    world.write("shared", &shared);
    let by_host = world.back_up();
    // The other way round, and a second host.
    let tree_2 = tree_of(&[("large", std::fs::read(world.tree.path().join("a/deep/er/large")).expect("file"))]);
    let again = world.admin.backup(tree_2.path(), "admin 2");
    keys::add_write_only(&world.admin.repository(), &crate::common::key_file(3), "beta", "").expect("added");
    let beta = Harness { credentials: crate::common::key_file(3), ..world.admin.somebody_else() };
    let options = BackupOptions { host: "beta".into(), ..series("tree") };
    let by_beta = backup::backup(&open_host(&beta).expect("open"), &source_of(tree_2.path()), &options, &Silent);
    let by_beta = by_beta.expect("backup").snapshot.expect("a snapshot");
    let check = |context: &str| {
        world.admin.assert_restores(&by_admin, tree.path(), context);
        world.admin.assert_restores(&by_host, world.tree.path(), context);
        world.admin.assert_restores(&again.snapshot.expect("a snapshot"), tree_2.path(), context);
        world.admin.assert_restores(&by_beta, tree_2.path(), context);
        world.admin.assert_sound(context);
    };
    check("mixed");
    prune(&world.admin);
    check("pruned");
    assert_eq!(live(&world.admin).len(), 4);
}

#[test]
fn a_host_relies_on_what_it_uploaded_before_it_was_stopped() {
    let world = world();
    let options = BackupOptions { progress_bytes: Some(200_000), ..series("tree") };
    let report = backup::backup(&open_host(&world.host).expect("open"), &world.source(), &options, &Silent);
    let id = report.expect("backup").snapshot.expect("a snapshot");
    world.admin.assert_restores(&id, world.tree.path(), "with progress");
    world.admin.assert_sound("with progress");
}

#[test]
fn a_host_adds_snapshots_of_its_own_host_only() {
    let world = world();
    let repo = open_host(&world.host).expect("open");
    assert_eq!(repo.write_only_host(), Some(HOST));
    let other = BackupOptions { host: "other".into(), ..series("tree") };
    let error = backup::backup(&repo, &world.source(), &other, &Silent).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.hint().is_some_and(|hint| hint.contains("--host host")));
}

#[test]
fn the_last_full_key_stays_although_there_are_write_only_ones() {
    let World { admin, slot, .. } = world();
    let full = keys::list(&admin.repository()).expect("listed").into_iter().find(|key| key.kind == "key-file");
    let error = keys::remove(&admin.repository(), &full.expect("the first key").slot).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let listed = keys::list(&admin.repository()).expect("listed");
    let host = listed.iter().find(|key| key.slot == slot).expect("listed");
    assert_eq!((host.kind, host.host.as_deref(), host.label.as_str()), ("write-only", Some(HOST), "the host"));
}

#[test]
fn reading_everything_again_stores_nothing_again() {
    let world = world();
    world.back_up();
    let options = BackupOptions { detection: ChangeDetection::ReadAll, ..series("tree") };
    let report = backup::backup(&open_host(&world.host).expect("open"), &world.source(), &options, &Silent);
    let report = report.expect("backup");
    assert_eq!((report.bytes_new, report.chunks_new), (0, 0));
    assert!(report.bytes_read > 0);
}

#[test]
fn a_hosts_packs_come_back_by_the_parity_that_came_with_them() {
    let world = world();
    world.admin.backup(world.tree.path(), "admin");
    let host = world.host.somebody_else().with_parity(20);
    let tree = tree_of(&[("file", noise(7, 300_000))]);
    let id = back_up(&host, &source_of(tree.path()), "file").expect("backup").snapshot.expect("a snapshot");
    let state = world.admin.repository().state();
    let hosted: Vec<_> = state.parities().map(|(parity, _)| parity.pack).collect();
    assert!(hosted.len() > 1 && hosted.iter().all(|pack| state.is_hosted(pack)), "{hosted:?}");
    // In a segment, and in the key of the run: such a header opens, and yields another key.
    for at in [PackHeader::BYTES + 1, PackHeader::BYTES - 10] {
        let mut objects = world.admin.memory.objects();
        for pack in &hosted {
            let object = objects.get_mut(&pack_key(pack).expect("key")).expect("stored");
            let mut bytes = object.to_vec();
            bytes[at] ^= 1;
            *object = bytes.into();
        }
        world.admin.on_image(objects).assert_restores(&id, tree.path(), &format!("damaged at {at}"));
    }
}

/// Hosts store no checkpoints: whoever can read makes up for it with the next record.
#[test]
fn a_log_that_hosts_filled_gets_its_checkpoint_from_the_next_who_can_read() {
    let world = world();
    let checkpoints = || world.admin.memory.objects().keys().filter(|key| key.as_str().starts_with("ckpt/")).count();
    let appended = || world.admin.repository().state().next_seq();
    let first = world.admin.backup(world.tree.path(), "admin").snapshot.expect("a snapshot");
    while appended() < 40 {
        let tree = tree_of(&[("file", noise(appended(), 1000))]);
        back_up(&world.host, &source_of(tree.path()), "file").expect("backup");
    }
    assert_eq!(checkpoints(), 0);
    tags::pin(&world.admin.repository(), &[first], Pin::Forever).expect("pinned");
    assert_eq!(checkpoints(), 1);
    tags::pin(&world.admin.repository(), &[first], Pin::None).expect("unpinned");
    assert_eq!(checkpoints(), 1);
    // Whoever may create objects can put one there that is none.
    put(&world.admin, &key("ckpt/ffffffffffffffff"), bytes::Bytes::from_static(b"rubbish"));
    let newcomer = world.admin.somebody_else();
    let recording = Arc::new(RecordingSink::new(newcomer.sink.clone()));
    let newcomer = newcomer.through(recording.clone());
    assert_eq!(newcomer.repository().state().live_snapshots().count(), live(&world.admin).len());
    let records = recording.calls().iter().filter(|c| c.op == Op::Get && c.key.starts_with("log/")).count();
    assert!(records <= 3, "{records}");
}
