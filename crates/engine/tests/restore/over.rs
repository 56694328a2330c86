//! Restores over what stands there already: nothing is lost that the snapshot cannot give back.

use crate::common::{Harness, inside, noise, plant, small_packs};
use decube_backup_backend_fs::target::{FsTarget, TargetOptions};
use decube_backup_core::entry::Entry;
use decube_backup_core::monitor::{Monitor, ProblemKind, Progress};
use decube_backup_core::{ErrorKind, Key};
use decube_backup_engine::options::{
    Effect, EntryFilter, Extraneous, InitOptions, Overwrite, RestoreOptions, RestoreReport,
};
use decube_backup_engine::restore;
use decube_backup_format::chunker::ChunkerParams;
use decube_backup_format::ids::SnapshotId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

fn deleting(tree: &Path) -> RestoreOptions {
    RestoreOptions { subtree: inside(tree), extraneous: Extraneous::Delete, ..RestoreOptions::default() }
}

/// A tree with a snapshot of it, and a file that was added later.
fn world() -> (Harness, tempfile::TempDir, SnapshotId) {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 6);
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    (harness, tree, id)
}

fn write(root: &Path, name: &str) {
    fs::write(root.join(name), name).expect("file");
}

#[test]
fn above_what_was_backed_up_nothing_is_deleted() {
    let (harness, tree, id) = world();
    let to = tempfile::tempdir().expect("temp");
    let whole = RestoreOptions { extraneous: Extraneous::Delete, ..RestoreOptions::default() };
    harness.restore_to(&id, &whole, to.path());
    let restored = to.path().join(tree.path().strip_prefix("/").expect("absolute"));
    write(restored.parent().expect("a directory"), "beside the source");
    write(to.path(), "at the top");
    write(&restored, "in the source");
    let report = harness.restore_to(&id, &whole, to.path());
    assert_eq!((report.deleted, report.problems.len()), (1, 0), "{:?}", report.problem_list);
    assert!(!restored.join("in the source").exists());
    assert!(restored.parent().expect("a directory").join("beside the source").exists());
    assert!(to.path().join("at the top").exists());
}

#[test]
fn what_the_filter_does_not_want_is_not_deleted() {
    let (harness, tree, id) = world();
    let (to, _) = harness.restore(&id, tree.path());
    fs::create_dir(to.path().join("a/new")).expect("directory");
    for name in ["a/extra", "b/extra", "a/new/extra", "a/new/spared"] {
        write(to.path(), name);
    }
    let within = inside(tree.path()).join(b"a").expect("path");
    let wanted = move |entry: &Entry| {
        (entry.path.is_within(&within) || within.is_within(&entry.path)) && entry.path.name() != b"spared"
    };
    let filter: Option<EntryFilter> = Some(Arc::new(wanted));
    let report = harness.restore_to(&id, &RestoreOptions { filter, ..deleting(tree.path()) }, to.path());
    assert_eq!((report.deleted, report.problems.len()), (2, 0), "{:?}", report.problem_list);
    assert!(to.path().join("b/extra").exists() && to.path().join("a/new/spared").exists());
    assert!(!to.path().join("a/extra").exists() && !to.path().join("a/new/extra").exists());
}

#[test]
fn what_the_backup_could_not_read_is_not_deleted() {
    let harness = Harness::with_repository(&InitOptions::default());
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 7);
    // A socket is a problem of the kind that is only noted; it stands for all that is listed and not stored.
    let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("a/socket")).expect("socket");
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    write(tree.path(), "a/extra");
    let report = harness.restore_to(&id, &deleting(tree.path()), tree.path());
    assert_eq!((report.deleted, report.problems.len()), (1, 0), "{:?}", report.problem_list);
    assert!(tree.path().join("a/socket").exists() && !tree.path().join("a/extra").exists());
}

#[test]
fn from_a_damaged_place_on_nothing_is_deleted() {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    for n in 0..5000 {
        write(tree.path(), &format!("file {n:05}"));
    }
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let objects = harness.memory.objects();
    let meta = |key: &&Key| key.as_str().starts_with("packs/m/");
    let damaged = objects.keys().find(meta).expect("a metadata pack").clone();
    let mut bytes = objects[&damaged].to_vec();
    bytes[300] ^= 1;
    let mut objects: BTreeMap<_, _> = objects;
    objects.insert(damaged, bytes.into());
    let report = harness.on_image(objects).restore_to(&id, &deleting(tree.path()), tree.path());
    assert!(report.problems[&ProblemKind::Damaged] > 0, "{report:?}");
    assert_eq!(report.deleted, 0);
    assert!(report.problem_list.iter().any(|p| p.message.contains("nothing more is deleted")), "{report:?}");
    assert_eq!(fs::read_dir(tree.path()).expect("directory").count(), 5000);
}

#[test]
fn a_dry_run_says_what_it_would_delete_and_make() {
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);
    impl Monitor for Notes {
        fn note(&self, line: &str) {
            self.0.lock().expect("unpoisoned").push(line.to_owned());
        }
    }
    let harness = Harness::with_repository(&InitOptions::default());
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 8);
    fs::hard_link(tree.path().join("inline"), tree.path().join("second name")).expect("link");
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let (to, _) = harness.restore(&id, tree.path());
    for name in ["second name", "link"] {
        fs::remove_file(to.path().join(name)).expect("there");
    }
    fs::remove_dir_all(to.path().join("a/deep")).expect("there");
    write(to.path(), "b/extra");
    let options = RestoreOptions { effect: Effect::DryRun, ..deleting(tree.path()) };
    let (notes, target) = (Notes::default(), FsTarget::create(to.path(), TargetOptions::default()).expect("target"));
    let report = restore::restore(&harness.repository(), &harness.snapshot(&id), &options, &target, &notes);
    assert_eq!(report.expect("dry run").deleted, 1);
    let notes = notes.0.into_inner().expect("unpoisoned");
    for line in [
        "would restore a/deep",
        "would restore a/deep/noise",
        "would restore link",
        "would restore second name",
        "would delete b/extra",
    ] {
        assert!(notes.iter().any(|note| note == line), "{line}: {notes:?}");
    }
    assert_eq!(notes.len(), 7, "{notes:?}");
    assert!(to.path().join("b/extra").exists());
}

/// The report of a restore from a store whose first data pack is damaged.
fn restore_damaged(harness: &Harness, id: &SnapshotId, options: &RestoreOptions, to: &Path) -> RestoreReport {
    let mut objects = harness.memory.objects();
    for (_, bytes) in objects.iter_mut().filter(|(key, _)| key.as_str().starts_with("packs/d/")) {
        let mut damaged = bytes.to_vec();
        damaged[5000] ^= 1;
        *bytes = damaged.into();
    }
    harness.on_image(objects).restore_to(id, options, to)
}

#[test]
fn a_file_that_did_not_come_back_whole_is_not_taken_for_the_same_later() {
    let (harness, tree, id) = world();
    let to = tempfile::tempdir().expect("temp");
    for overwrite in [Overwrite::IfChanged, Overwrite::IfNewer] {
        let options = RestoreOptions { subtree: inside(tree.path()), overwrite, ..RestoreOptions::default() };
        let report = restore_damaged(&harness, &id, &options, to.path());
        let lost = report.problems[&ProblemKind::Damaged];
        assert!(lost > 0 && report.files_restored > 0, "{report:?}");
        let report = harness.restore_to(&id, &options, to.path());
        assert!(report.problems.is_empty(), "{report:?}");
        assert!(report.files_restored >= lost, "{overwrite:?}: {report:?}");
        crate::common::assert_same(tree.path(), to.path(), "restored again");
        fs::remove_dir_all(to.path().join("a")).expect("there");
        fs::remove_dir_all(to.path().join("b")).expect("there");
    }
}

#[test]
fn what_stands_there_outlives_what_the_snapshot_cannot_give() {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    let root = tree.path();
    fs::write(root.join("small"), noise(1, 100_000)).expect("file");
    fs::write(root.join("long"), noise(2, 3_000_000)).expect("file");
    fs::write(root.join("linked"), noise(3, 50_000)).expect("file");
    fs::hard_link(root.join("linked"), root.join("linked too")).expect("link");
    write(root, "in the tree");
    let id = harness.backup(root, "tree").snapshot.expect("a snapshot");
    let to = tempfile::tempdir().expect("temp");
    let live = [
        ("small", noise(4, 90_000)),
        ("long", noise(5, 4_000_000)),
        ("linked", noise(6, 70_000)),
        ("linked too", noise(7, 80_000)),
    ];
    for (name, content) in &live {
        fs::write(to.path().join(name), content).expect("file");
    }
    write(to.path(), "in the tree");
    let mut objects = harness.memory.objects();
    objects.retain(|key, _| !key.as_str().starts_with("packs/d/"));
    let options = RestoreOptions { subtree: inside(root), overwrite: Overwrite::Always, ..RestoreOptions::default() };
    let report = harness.on_image(objects).restore_to(&id, &options, to.path());
    assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Damaged, 4)]), "{report:?}");
    assert_eq!(report.files_restored, 1, "{report:?}");
    for (name, content) in &live {
        assert!(fs::read(to.path().join(name)).expect("there") == *content, "{name}");
    }
    let names: BTreeSet<_> = fs::read_dir(to.path()).expect("there").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(names.len(), 5, "nothing else is left: {names:?}");
    // What can be given back still replaces what stands there.
    let report = harness.restore_to(&id, &options, to.path());
    assert!(report.problems.is_empty(), "{report:?}");
    crate::common::assert_same(root, to.path(), "whole again");
}

#[test]
fn a_directory_where_something_else_belongs_goes_if_it_may_be_deleted() {
    let harness = Harness::with_repository(&InitOptions::default());
    let tree = tempfile::tempdir().expect("temp");
    let root = tree.path();
    write(root, "file");
    std::os::unix::fs::symlink("file", root.join("link")).expect("symlink");
    fs::create_dir(root.join("directory")).expect("directory");
    let id = harness.backup(root, "tree").snapshot.expect("a snapshot");
    let to = tempfile::tempdir().expect("temp");
    for name in ["file", "link"] {
        fs::create_dir_all(to.path().join(name).join("full")).expect("directory");
    }
    write(to.path(), "directory");
    let keeping = RestoreOptions { subtree: inside(root), ..RestoreOptions::default() };
    for effect in [Effect::DryRun, Effect::Real] {
        let report = harness.restore_to(&id, &RestoreOptions { effect, ..keeping.clone() }, to.path());
        assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Unwritable, 2)]), "{effect:?} {report:?}");
        assert!(report.problem_list.iter().all(|p| p.message.contains("--delete")), "{report:?}");
        assert!(to.path().join("link/full").is_dir());
    }
    for effect in [Effect::DryRun, Effect::Real] {
        let report = harness.restore_to(&id, &RestoreOptions { effect, ..deleting(root) }, to.path());
        assert!(report.problems.is_empty(), "{effect:?} {report:?}");
        assert_eq!((report.deleted, report.files_restored, report.others), (2, 1, 1), "{effect:?}");
    }
    crate::common::assert_same(root, to.path(), "replaced");
}

#[test]
fn a_restore_that_is_stopped_says_so() {
    struct StopAfter(AtomicU64, AtomicBool);
    impl Monitor for StopAfter {
        fn advance(&self, what: Progress, count: u64) {
            if what == Progress::Bytes && self.0.fetch_add(count, Ordering::SeqCst) > 100_000 {
                self.1.store(true, Ordering::SeqCst);
            }
        }
        fn stop_requested(&self) -> bool {
            self.1.load(Ordering::SeqCst)
        }
    }
    let (harness, tree, id) = world();
    let to = tempfile::tempdir().expect("temp");
    let target = FsTarget::create(to.path(), TargetOptions::default()).expect("target");
    let options = RestoreOptions { subtree: inside(tree.path()), ..RestoreOptions::default() };
    let stop = StopAfter(AtomicU64::new(0), AtomicBool::new(false));
    let stopped = restore::restore(&harness.repository(), &harness.snapshot(&id), &options, &target, &stop);
    let error = stopped.expect_err("interrupted");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.hint().is_some_and(|hint| hint.contains("what was restored stays")), "{error:?}");
    harness.restore_to(&id, &options, to.path());
    crate::common::assert_same(tree.path(), to.path(), "taken up again");
}

#[test]
fn what_has_to_stay_stays_whatever_the_snapshot_has_in_its_place() {
    let harness = Harness::with_repository(&InitOptions::default());
    let tree = tempfile::tempdir().expect("temp");
    let root = tree.path();
    fs::create_dir(root.join("directory")).expect("directory");
    write(root, "directory/below");
    write(root, "first");
    fs::hard_link(root.join("first"), root.join("second")).expect("link");
    fs::hard_link(root.join("first"), root.join("third")).expect("link");
    std::os::unix::fs::symlink("first", root.join("symlink")).expect("symlink");
    let id = harness.backup(root, "tree").snapshot.expect("a snapshot");
    for overwrite in [Overwrite::Never, Overwrite::IfNewer] {
        let to = tempfile::tempdir().expect("temp");
        for name in ["directory", "first", "third", "symlink"] {
            fs::write(to.path().join(name), "newer than the snapshot").expect("file");
        }
        let options = RestoreOptions { subtree: inside(root), overwrite, ..RestoreOptions::default() };
        let report = harness.restore_to(&id, &options, to.path());
        assert!(report.problems.is_empty(), "{overwrite:?}: {report:?}");
        assert_eq!((report.files_restored, report.files_skipped), (1, 5), "{overwrite:?}");
        for name in ["directory", "first", "third", "symlink"] {
            let kept = fs::read_to_string(to.path().join(name)).expect("a file");
            assert_eq!(kept, "newer than the snapshot", "{overwrite:?} {name}");
        }
        assert_eq!(fs::read_to_string(to.path().join("second")).expect("restored"), "first");
        assert_eq!(fs::metadata(to.path().join("second")).expect("there").nlink(), 1);
    }
}

#[test]
fn a_file_of_more_pieces_than_the_plan_holds_comes_back() {
    let options = InitOptions { chunker: ChunkerParams::around(4 << 10), ..InitOptions::default() };
    let harness = Harness::with_repository(&options);
    let tree = tempfile::tempdir().expect("temp");
    // The same megabyte again and again: many pieces, little to store.
    let part = noise(9, 1 << 20);
    fs::write(tree.path().join("large"), part.repeat(320)).expect("file");
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let (to, _) = harness.restore(&id, tree.path());
    crate::common::assert_same(tree.path(), to.path(), "new");
    let large = to.path().join("large");
    let file = fs::OpenOptions::new().write(true).open(&large).expect("open");
    std::os::unix::fs::FileExt::write_all_at(&file, b"spoiled", 200 << 20).expect("write");
    drop(file);
    let in_place = RestoreOptions { subtree: inside(tree.path()), ..RestoreOptions::default() };
    let report = harness.restore_to(&id, &in_place, to.path());
    assert!(report.bytes_written < 100_000, "{report:?}");
    crate::common::assert_same(tree.path(), to.path(), "in place");
}
