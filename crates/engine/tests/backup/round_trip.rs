//! What goes in comes out, and what did not change is not read again.

use crate::common::source::Counting;
use crate::common::{Harness, Scratch, assert_same, inside, noise, plant, series, small_packs, source_of};
use decube_backup_backend_fs::source::exclude::Pattern;
use decube_backup_backend_fs::source::{FsSource, SourceOptions};
use decube_backup_backend_fs::torture::{self, Scale};
use decube_backup_core::monitor::{Monitor, Silent};
use decube_backup_core::source::Source;
use decube_backup_engine::backup;
use decube_backup_engine::options::{
    BackupOptions, ChangeDetection, Effect, Extraneous, InitOptions, Overwrite, RestoreOptions, Sparse,
};
use decube_backup_testkit::RecordingSink;
use decube_backup_testkit::recording::Op;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

#[test]
fn a_small_tree_comes_back_and_the_second_backup_reads_nothing() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 1);
    let harness = Harness::with_repository(&small_packs());
    let source = Counting::new(source_of(tree.path()));
    let first = harness.backup_source(&source, "tree").expect("first backup");
    assert!(!source.take_opened().is_empty());
    harness.assert_restores(&first.snapshot.expect("a snapshot"), tree.path(), "first");
    harness.assert_sound("first");
    let second = harness.backup_source(&source, "tree").expect("second backup");
    assert_eq!(source.take_opened(), [] as [String; 0]);
    assert_eq!((second.files_new, second.files_changed, second.bytes_read), (0, 0, 0));
    harness.assert_restores(&second.snapshot.expect("a snapshot"), tree.path(), "second");
}

#[test]
fn everything_a_file_system_can_hold_comes_back() {
    let tree = Scratch::new();
    let built = torture::build(tree.path(), Scale::FULL).expect("built");
    assert!(built.entries > Scale::FULL.wide_entries + Scale::FULL.depth);
    let harness = Harness::with_repository(&InitOptions::default());
    let source = Counting::new(source_of(tree.path()));
    let first = harness.backup_source(&source, "torture").expect("backup");
    let counting: Vec<_> = first.problem_list.iter().filter(|p| p.kind.counts()).collect();
    assert!(counting.is_empty(), "{counting:?}");
    assert!(first.bytes > Scale::FULL.sparse_bytes && first.bytes_new < 64 << 20, "holes are not content: {first:?}");
    let to = Scratch::new();
    let options = RestoreOptions { subtree: inside(tree.path()), ..RestoreOptions::default() };
    let report = harness.restore_to(&first.snapshot.expect("a snapshot"), &options, to.path());
    assert!(report.problems.is_empty(), "{:?}", report.problem_list);
    assert_same(tree.path(), to.path(), "torture");
    harness.assert_sound("torture");
    source.take_opened();
    let second = harness.backup_source(&source, "torture").expect("backup");
    assert_eq!(source.take_opened(), [] as [String; 0]);
    assert_eq!((second.files_new, second.files_changed, second.entries), (0, 0, first.entries));
    // Restoring over what is there changes nothing.
    let again = harness.restore_to(&second.snapshot.expect("a snapshot"), &options, to.path());
    assert!(again.problems.is_empty(), "{:?}", again.problem_list);
    assert_eq!(again.bytes_written, 0);
    assert_same(tree.path(), to.path(), "torture again");
}

/// The call counts of a backup after one of the same tree.
fn unchanged(tree: &Path) -> Arc<RecordingSink> {
    let harness = Harness::with_repository(&small_packs());
    harness.backup(tree, "tree");
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    harness.through(recording.clone()).backup(tree, "tree");
    recording
}

#[test]
fn an_unchanged_backup_uploads_a_record_and_nothing_else() {
    // Folders above the tree are entries too, and other tests make and remove theirs in the usual place, perhaps in this one.
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temp");
    plant(tree.path(), 2);
    let above = || -> Vec<_> {
        let changed = |path: &Path| fs::metadata(path).map(|meta| (meta.ctime(), meta.ctime_nsec())).expect("folder");
        tree.path().ancestors().skip(1).map(changed).collect()
    };
    let recording = (0..50).find_map(|_| {
        let before = above();
        Some(unchanged(tree.path())).filter(|_| above() == before)
    });
    let recording = recording.expect("folders above that hold still for once");
    assert_eq!(recording.tally(Op::Put, "packs/").calls, 0, "{:?}", recording.calls());
    assert_eq!(recording.tally(Op::Put, "index/").calls, 0);
    assert_eq!(recording.tally(Op::Put, "").calls, 1, "{:?}", recording.calls());
    assert_eq!(recording.tally(Op::Get, "packs/d/").calls, 0);
    assert_eq!(recording.tally(Op::Delete, "").calls, 0);
    assert!(recording.calls().len() < 30, "{:?}", recording.calls());
}

#[test]
fn a_changed_backup_uploads_what_changed() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 3);
    let harness = Harness::with_repository(&small_packs());
    harness.backup(tree.path(), "tree");
    fs::write(tree.path().join("b/new"), noise(99, 10_000)).expect("file");
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    let source = Counting::new(source_of(tree.path()));
    let report = harness.through(recording.clone()).backup_source(&source, "tree").expect("backup");
    assert_eq!(source.take_opened().len(), 1);
    assert_eq!((report.files_new, report.files_changed, report.bytes_new), (1, 0, 10_000));
    assert_eq!(recording.tally(Op::Put, "packs/d/").calls, 1);
    assert!(recording.tally(Op::Put, "").amount < 60_000, "{:?}", recording.calls());
    assert!(recording.tally(Op::Put, "").calls <= 4, "one pack of each kind, index, record");
    harness.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "changed");
}

#[test]
fn a_directory_or_one_file_comes_back_alone() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 4);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let part = tree.path().join("a/deep");
    let (to, report) = harness.restore(&id, &part);
    assert!(report.problems.is_empty(), "{report:?}");
    assert_same(&part, to.path(), "directory");
    let options =
        RestoreOptions { subtree: inside(tree.path()).join(b"inline").expect("path"), ..RestoreOptions::default() };
    let (to, report) = harness.restore_with(&id, &options);
    assert_eq!((report.files_restored, report.directories), (1, 0));
    assert_eq!(fs::read(to.path().join("inline")).expect("file"), b"a few bytes");
    assert_eq!(fs::read_dir(to.path()).expect("dir").count(), 1);
}

#[test]
fn existing_files_are_treated_as_asked() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 5);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let base = RestoreOptions { subtree: inside(tree.path()), ..RestoreOptions::default() };
    let (to, _) = harness.restore_with(&id, &base);
    let large = to.path().join("a/deep/er/large");
    let spoil = || {
        let mut bytes = fs::read(&large).expect("file");
        bytes[1_000_000] ^= 1;
        fs::write(&large, &bytes).expect("file");
        fs::write(to.path().join("extra"), b"extra").expect("file");
    };
    spoil();
    let kept = harness.restore_to(&id, &RestoreOptions { overwrite: Overwrite::Never, ..base.clone() }, to.path());
    assert_eq!((kept.files_restored, kept.bytes_written), (0, 0));
    let dry = RestoreOptions { effect: Effect::DryRun, extraneous: Extraneous::Delete, ..base.clone() };
    assert_eq!(harness.restore_to(&id, &dry, to.path()).files_restored, 1);
    assert!(to.path().join("extra").exists(), "a dry run deletes nothing");
    let changed = RestoreOptions { extraneous: Extraneous::Delete, ..base.clone() };
    let report = harness.restore_to(&id, &changed, to.path());
    assert_eq!((report.files_restored, report.deleted), (1, 1));
    assert!(report.bytes_written < 600_000, "only the spoiled chunks are written: {}", report.bytes_written);
    assert_same(tree.path(), to.path(), "if changed");
    spoil();
    let inode = fs::metadata(&large).expect("there").ino();
    let always = RestoreOptions { overwrite: Overwrite::Always, extraneous: Extraneous::Delete, ..base.clone() };
    harness.restore_to(&id, &always, to.path());
    assert_eq!(fs::metadata(&large).expect("there").ino(), inode, "rewritten in place");
    assert_same(tree.path(), to.path(), "always");
}

#[test]
fn a_file_in_place_that_was_longer_shorter_or_holey_ends_up_right() {
    let tree = tempfile::tempdir().expect("temp");
    fs::write(tree.path().join("longer"), noise(1, 1_500_000)).expect("file");
    fs::write(tree.path().join("shorter"), noise(2, 3_000_000)).expect("file");
    let holey = fs::File::create(tree.path().join("holey")).expect("file");
    holey.set_len(8 << 20).expect("length");
    std::os::unix::fs::FileExt::write_all_at(&holey, &noise(3, 100_000), 4 << 20).expect("island");
    drop(holey);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    for sparse in [Sparse::AsRecorded, Sparse::Zeros] {
        let to = tempfile::tempdir().expect("temp");
        fs::write(to.path().join("longer"), noise(7, 4_000_000)).expect("file");
        fs::write(to.path().join("shorter"), noise(2, 1_200_000)).expect("file");
        fs::write(to.path().join("holey"), noise(8, 9 << 20)).expect("file");
        let options = RestoreOptions { subtree: inside(tree.path()), sparse, ..RestoreOptions::default() };
        let report = harness.restore_to(&id, &options, to.path());
        assert!(report.problems.is_empty(), "{report:?}");
        assert_same(tree.path(), to.path(), &format!("{sparse:?}"));
    }
}

#[test]
fn a_long_file_with_holes_and_an_odd_end_comes_back_and_keeps_its_holes() {
    let tree = tempfile::tempdir().expect("temp");
    let long = tree.path().join("long");
    let file = fs::File::create(&long).expect("file");
    let (noise, text) = (noise(4, 15_000_001), b"a line that repeats, and its number: 12345\n".repeat(300_000));
    // Noise and text land in segments of different kinds: runs of all lengths, from two workers.
    let mut at = 1234;
    for (noise, text) in noise.chunks(1_700_003).zip(text.chunks(1_100_009)) {
        for part in [noise, text] {
            std::os::unix::fs::FileExt::write_all_at(&file, part, at).expect("part");
            at += part.len() as u64;
        }
        at += 500_000;
    }
    std::os::unix::fs::FileExt::write_all_at(&file, &noise, 30 << 20).expect("the same noise again");
    file.set_len((48 << 20) + 77).expect("length");
    drop(file);
    fs::hard_link(&long, tree.path().join("same")).expect("link");
    let harness = Harness::with_repository(&InitOptions::default());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    for sparse in [Sparse::AsRecorded, Sparse::Zeros] {
        let options = RestoreOptions { subtree: inside(tree.path()), sparse, ..RestoreOptions::default() };
        let (to, report) = harness.restore_with(&id, &options);
        assert!(report.problems.is_empty(), "{report:?}");
        assert_same(tree.path(), to.path(), &format!("{sparse:?}"));
        let used = |path: &std::path::Path| fs::metadata(path).expect("there").blocks() * 512;
        assert!(used(&to.path().join("long")) <= used(&long) + (1 << 20), "holes stay holes: {sparse:?}");
        // Over a file of the same length that differs here and there.
        let file = fs::File::options().write(true).open(to.path().join("long")).expect("file");
        std::os::unix::fs::FileExt::write_all_at(&file, &noise[..300_000], 7_777_777).expect("damage");
        harness.restore_to(&id, &RestoreOptions { overwrite: Overwrite::Always, ..options }, to.path());
        assert_same(tree.path(), to.path(), &format!("{sparse:?}, again"));
    }
}

#[test]
fn what_is_excluded_is_not_in_the_snapshot() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 6);
    let harness = Harness::with_repository(&small_packs());
    let mut options = SourceOptions::new(vec![tree.path().to_owned()], "/");
    options.exclude.patterns = ["b/", "*.tmp"].map(Pattern::new).into();
    fs::write(tree.path().join("a/x.tmp"), b"x").expect("file");
    let source = FsSource::new(options).expect("source");
    let id = harness.backup_source(&source, "tree").expect("backup").snapshot.expect("a snapshot");
    let (to, _) = harness.restore(&id, tree.path());
    assert!(!to.path().join("b").exists() && !to.path().join("a/x.tmp").exists());
    assert!(to.path().join("a/text").exists());
}

#[test]
fn reading_everything_again_finds_a_change_no_attribute_shows() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 7);
    let harness = Harness::with_repository(&small_packs());
    let source = Counting::new(source_of(tree.path()));
    harness.backup_source(&source, "tree").expect("backup");
    let first = source.take_opened().len();
    let options = BackupOptions { detection: ChangeDetection::ReadAll, ..series("tree") };
    let report = backup::backup(&harness.repository(), &source, &options, &Silent).expect("backup");
    assert_eq!((source.take_opened().len(), report.bytes_new), (first, 0));
    assert_eq!((report.files_new, report.files_changed), (0, 0), "read again is not changed");
    assert!(report.files_unchanged > 0);
    // The same time and length, another content.
    let file = tree.path().join("a/text");
    let (before, times) = (fs::read(&file).expect("file"), fs::metadata(&file).expect("file"));
    fs::write(&file, vec![b'x'; before.len()]).expect("file");
    fs::File::open(&file).and_then(|f| f.set_modified(times.modified()?)).expect("time");
    let report = backup::backup(&harness.repository(), &source, &options, &Silent).expect("backup");
    assert_eq!((report.files_new, report.files_changed, report.bytes_new), (0, 1, before.len() as u64));
}

/// A phase or better totals: name, bytes, entries.
type Told = (String, Option<u64>, Option<u64>);

/// Wants totals, and keeps what it is told.
#[derive(Default)]
struct Watcher(std::sync::Mutex<Vec<Told>>);

impl Monitor for Watcher {
    fn wants_totals(&self) -> bool {
        true
    }
    fn phase(&self, name: &str, bytes: Option<u64>, entries: Option<u64>) {
        self.0.lock().expect("lock").push((name.into(), bytes, entries));
    }
    fn totals(&self, bytes: Option<u64>, entries: Option<u64>) {
        self.phase("totals", bytes, entries);
    }
}

#[test]
fn who_watches_a_first_backup_is_told_how_much_there_is() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 10);
    let harness = Harness::with_repository(&small_packs());
    let back_up = |watcher: &Watcher| {
        let source = source_of(tree.path());
        let report = backup::backup(&harness.repository(), &source, &series("tree"), watcher).expect("backup");
        (report, watcher.0.lock().expect("lock").clone())
    };
    let (report, told) = back_up(&Watcher::default());
    let all = (Some(report.bytes), Some(report.entries));
    assert_eq!((&told[0], told.last()), (&("backup".into(), None, None), Some(&("store".into(), None, None))));
    // Unless the backup was faster than the search.
    assert!(told[1..told.len() - 1].iter().all(|(name, b, e)| name == "totals" && (*b, *e) == all), "{told:?}");
    assert!(told.len() <= 3, "{told:?}");
    let (_, told) = back_up(&Watcher::default());
    assert_eq!(told, [("backup".into(), all.0, all.1), ("store".into(), None, None)], "the parent's size will do");
}

#[test]
fn a_dry_run_stores_nothing_and_counts_the_same() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 8);
    let harness = Harness::with_repository(&small_packs());
    let before = harness.memory.objects();
    let options = BackupOptions { effect: Effect::DryRun, ..series("tree") };
    let dry = backup::backup(&harness.repository(), &source_of(tree.path()), &options, &Silent).expect("dry run");
    assert_eq!(dry.snapshot, None);
    assert!(harness.memory.objects() == before);
    let real = harness.backup(tree.path(), "tree");
    assert_eq!((dry.files_new, dry.bytes, dry.bytes_new), (real.files_new, real.bytes, real.bytes_new));
}

#[test]
fn a_name_added_to_a_hard_link_group_joins_it() {
    for (old, new) in [("a", "b"), ("b", "a")] {
        let tree = tempfile::tempdir().expect("temp");
        for folder in ["a", "b"] {
            fs::create_dir(tree.path().join(folder)).expect("folder");
        }
        // Both names are there from the start, but the first backup sees one of them only.
        fs::write(tree.path().join(old).join("file"), noise(1, 5000)).expect("file");
        fs::hard_link(tree.path().join(old).join("file"), tree.path().join(new).join("file")).expect("link");
        let harness = Harness::with_repository(&small_packs());
        let mut options = SourceOptions::new(vec![tree.path().to_owned()], "/");
        options.exclude.patterns = vec![Pattern::new(format!("**/{new}/file"))];
        let part = FsSource::new(options).expect("source");
        let report = harness.backup_source(&part, "tree").expect("backup");
        assert_eq!(report.files_new, 1);
        let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
        harness.assert_restores(&id, tree.path(), &format!("{old} first"));
    }
}

#[test]
fn no_files_at_all_make_a_snapshot_too() {
    let tree = tempfile::tempdir().expect("temp");
    let harness = Harness::with_repository(&small_packs());
    let report = harness.backup(tree.path(), "tree");
    assert_eq!((report.files_new, report.bytes), (0, 0));
    harness.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "empty");
    harness.assert_sound("empty");
    assert_eq!(source_of(tree.path()).describe().paths.len(), 1);
}
