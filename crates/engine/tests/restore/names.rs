//! Restores over trees whose files have several names, and over what a restore did not finish.

use crate::common::{Harness, inside, noise, small_packs};
use decube_backup_backend_fs::target::{FsTarget, TargetOptions};
use decube_backup_core::entry::{Entry, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind, Silent};
use decube_backup_core::target::{Existing, FileMode, Target, TargetFile};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::options::{Extraneous, Overwrite, RestoreOptions, RestoreReport};
use decube_backup_engine::restore;
use decube_backup_format::ids::SnapshotId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of the tree that `plant` makes.
fn world(plant: impl FnOnce(&Path)) -> (Harness, tempfile::TempDir, SnapshotId) {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    (harness, tree, id)
}

fn of(tree: &Path) -> RestoreOptions {
    RestoreOptions { subtree: inside(tree), ..RestoreOptions::default() }
}

/// Another name of the file `name` in `root`, somewhere else.
fn linked_outside(root: &Path, name: &str) -> tempfile::TempDir {
    let outside = tempfile::tempdir().expect("temp");
    fs::hard_link(root.join(name), outside.path().join("other")).expect("link");
    outside
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("mode");
}

#[test]
fn a_file_that_was_not_finished_is_restored_however_new_it_is() {
    for len in [100_000, 3_000_000] {
        let (harness, tree, id) = world(|root| fs::write(root.join("file"), noise(1, len)).expect("file"));
        for overwrite in [Overwrite::IfNewer, Overwrite::IfChanged, Overwrite::Always, Overwrite::Never] {
            let context = format!("{len} {overwrite:?}");
            let to = tempfile::tempdir().expect("temp");
            fs::write(to.path().join("file"), noise(2, len / 2)).expect("file");
            set_mode(&to.path().join("file"), 0o1600);
            let report = harness.restore_to(&id, &RestoreOptions { overwrite, ..of(tree.path()) }, to.path());
            if overwrite == Overwrite::Never {
                assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Unwritable, 1)]), "{context}");
                continue;
            }
            assert!(report.problems.is_empty(), "{context}: {report:?}");
            crate::common::assert_same(tree.path(), to.path(), &context);
        }
    }
}

#[test]
fn a_file_that_has_other_names_elsewhere_is_not_changed_under_them() {
    let (harness, tree, id) = world(|root| {
        fs::write(root.join("file"), "content").expect("file");
        set_mode(&root.join("file"), 0o644);
    });
    let (to, _) = harness.restore(&id, tree.path());
    let outside = linked_outside(to.path(), "file");
    set_mode(&to.path().join("file"), 0o600);
    let report = harness.restore_to(&id, &of(tree.path()), to.path());
    assert_eq!((report.files_restored, report.problems.len()), (1, 0), "{report:?}");
    crate::common::assert_same(tree.path(), to.path(), "restored");
    assert_eq!(fs::metadata(outside.path().join("other")).expect("there").mode() & 0o7777, 0o600);
}

#[test]
fn two_files_that_are_one_there_become_two() {
    let (harness, tree, id) = world(|root| {
        for (name, mode) in [("private", 0o600), ("public", 0o644)] {
            fs::write(root.join(name), name.repeat(7).get(..30).expect("long")).expect("file");
            set_mode(&root.join(name), mode);
        }
        let time = fs::metadata(root.join("private")).expect("there").modified().expect("time");
        fs::File::options().write(true).open(root.join("public")).and_then(|f| f.set_modified(time)).expect("time");
    });
    let (to, _) = harness.restore(&id, tree.path());
    fs::remove_file(to.path().join("public")).expect("removed");
    fs::hard_link(to.path().join("private"), to.path().join("public")).expect("link");
    let report = harness.restore_to(&id, &of(tree.path()), to.path());
    assert!(report.problems.is_empty(), "{report:?}");
    crate::common::assert_same(tree.path(), to.path(), "told apart");
}

#[test]
fn names_of_one_file_are_the_same_already_when_nothing_differs() {
    let (harness, tree, id) = world(|root| {
        fs::write(root.join("a"), "content").expect("file");
        ["b", "c"].iter().for_each(|name| fs::hard_link(root.join("a"), root.join(name)).expect("link"));
    });
    let (to, _) = harness.restore(&id, tree.path());
    let inode = || fs::metadata(to.path().join("a")).expect("there").ino();
    let before = inode();
    let report = harness.restore_to(&id, &of(tree.path()), to.path());
    assert_eq!((report.files_unchanged, inode()), (3, before), "{report:?}");
    crate::common::assert_same(tree.path(), to.path(), "the same");
}

/// A target that refuses some things.
struct Refusing {
    inner: FsTarget,
    /// No file can be made there.
    no_file: Option<&'static [u8]>,
    /// Nothing can be linked to anything.
    no_links: bool,
    /// Neither pipes nor devices can be made.
    no_specials: bool,
    /// No file has more names.
    names_max: u64,
    no_space: bool,
    /// How often a file was begun, and a link tried.
    begun: AtomicU64,
    tried: AtomicU64,
}

impl Refusing {
    /// Refuses nothing.
    fn into(to: &Path) -> Self {
        let inner = FsTarget::create(to, TargetOptions::default()).expect("target");
        let (begun, tried) = Default::default();
        Self {
            inner,
            no_file: None,
            no_links: false,
            no_specials: false,
            names_max: u64::MAX,
            no_space: false,
            begun,
            tried,
        }
    }

    fn refused<T>(&self) -> Result<T> {
        Err(Error::new(ErrorKind::PermissionDenied, "test", "refused"))
    }
}

impl Target for Refusing {
    fn existing(&self, path: &EntryPath) -> Result<Option<Existing>> {
        self.inner.existing(path)
    }
    fn children(&self, path: &EntryPath) -> Result<Vec<Vec<u8>>> {
        self.inner.children(path)
    }
    fn remove(&self, path: &EntryPath) -> Result<()> {
        self.inner.remove(path)
    }
    fn gives_way(&self, directory: &EntryPath) {
        self.inner.gives_way(directory);
    }
    fn create_directory(&self, path: &EntryPath) -> Result<()> {
        self.inner.create_directory(path)
    }
    fn narrow_directory(&self, entry: &Entry) -> Result<()> {
        self.inner.narrow_directory(entry)
    }
    fn create_file(&self, path: &EntryPath, mode: FileMode, flags: u32) -> Result<Box<dyn TargetFile>> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if self.no_space {
            return Err(Error::new(ErrorKind::NoSpace, "test", "full"));
        }
        if self.no_file == Some(path.as_bytes()) { self.refused() } else { self.inner.create_file(path, mode, flags) }
    }
    fn set_aside(&self, file: Box<dyn TargetFile>) -> Result<()> {
        self.inner.set_aside(file)
    }
    fn discard_file(&self, path: &EntryPath) -> Result<()> {
        self.inner.discard_file(path)
    }
    fn finish_file(&self, file: Box<dyn TargetFile>, entry: &Entry) -> Vec<Problem> {
        self.inner.finish_file(file, entry)
    }
    fn create_special(&self, entry: &Entry) -> Result<Vec<Problem>> {
        if self.no_specials { self.refused() } else { self.inner.create_special(entry) }
    }
    fn link(&self, original: &EntryPath, path: &EntryPath) -> Result<()> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        let full = self.inner.existing(original)?.is_some_and(|first| first.links >= self.names_max);
        if self.no_links || full { self.refused() } else { self.inner.link(original, path) }
    }
    fn is_finished(&self, entry: &Entry) -> bool {
        self.inner.is_finished(entry)
    }
    fn finish_existing(&self, entry: &Entry) -> Vec<Problem> {
        self.inner.finish_existing(entry)
    }
    fn finish_directory(&self, entry: &Entry) -> Vec<Problem> {
        self.inner.finish_directory(entry)
    }
}

/// A file with three names, small or long, restored over others under each of them.
fn refused(len: usize, no_file: Option<&'static [u8]>, no_links: bool, check: impl Fn(&Path, &[u8], RestoreReport)) {
    let names = ["a", "b", "c"];
    let (harness, tree, id) = world(|root| {
        fs::write(root.join("a"), noise(1, len)).expect("file");
        names[1..].iter().for_each(|name| fs::hard_link(root.join("a"), root.join(name)).expect("link"));
    });
    let to = tempfile::tempdir().expect("temp");
    names.iter().for_each(|name| fs::write(to.path().join(name), noise(9, len)).expect("file"));
    let target = Refusing { no_file, no_links, ..Refusing::into(to.path()) };
    let (repo, snapshot) = (harness.repository(), harness.snapshot(&id));
    let report = restore::restore(&repo, &snapshot, &of(tree.path()), &target, &Silent).expect("restored");
    drop(target);
    assert_eq!(fs::read_dir(to.path()).expect("there").count(), 3, "nothing else is left");
    check(to.path(), &noise(1, len), report);
}

#[test]
fn names_that_cannot_be_one_have_the_content_each() {
    for len in [1_000, 100_000, 2_000_000] {
        refused(len, None, true, |to, content, report| {
            assert_eq!(report.problems.keys().collect::<Vec<_>>(), [&ProblemKind::Attribute], "{report:?}");
            for name in ["a", "b", "c"] {
                assert!(fs::read(to.join(name)).expect("there") == content, "{len} {name}");
            }
        });
    }
}

#[test]
fn where_the_first_name_cannot_be_written_the_others_come_back() {
    for len in [1_000, 100_000, 2_000_000] {
        refused(len, Some(b"a"), false, |to, content, report| {
            assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Unwritable, 1)]), "{report:?}");
            assert!(fs::read(to.join("a")).expect("there") == noise(9, len), "{len}: what stood there stays");
            for name in ["b", "c"] {
                assert!(fs::read(to.join(name)).expect("there") == content, "{len} {name}");
            }
            let inode = |name: &str| fs::metadata(to.join(name)).expect("there").ino();
            assert_eq!(inode("b"), inode("c"), "{len}");
        });
    }
}

#[test]
fn a_directory_goes_for_a_file_that_is_whole() {
    let (harness, tree, id) = world(|root| {
        fs::write(root.join("file"), noise(1, 100_000)).expect("file");
        fs::write(root.join("other"), noise(1, 1_000)).expect("file");
        fs::hard_link(root.join("other"), root.join("zlink")).expect("link");
    });
    let to = tempfile::tempdir().expect("temp");
    let options = RestoreOptions { extraneous: Extraneous::Delete, ..of(tree.path()) };
    let live = || {
        for name in ["file", "zlink"] {
            let _ = fs::remove_file(to.path().join(name));
            fs::create_dir_all(to.path().join(name)).expect("directory");
            fs::write(to.path().join(name).join("live"), "live").expect("file");
        }
    };
    live();
    let mut objects = harness.memory.objects();
    objects.retain(|key, _| !key.as_str().starts_with("packs/d/"));
    let report = harness.on_image(objects).restore_to(&id, &options, to.path());
    assert!(report.problems.contains_key(&ProblemKind::Damaged), "{report:?}");
    assert_eq!(fs::read(to.path().join("file/live")).expect("there"), b"live");
    live();
    let report = harness.restore_to(&id, &options, to.path());
    assert!(report.problems.is_empty() && report.deleted == 2, "{report:?}");
    crate::common::assert_same(tree.path(), to.path(), "whole");
}

#[test]
fn a_directory_stays_where_what_belongs_there_cannot_be_made() {
    let (harness, tree, id) = world(|root| {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, mode, 0).expect("pipe");
    });
    let to = tempfile::tempdir().expect("temp");
    fs::create_dir(to.path().join("pipe")).expect("directory");
    fs::write(to.path().join("pipe/live"), "live").expect("file");
    let options = RestoreOptions { extraneous: Extraneous::Delete, ..of(tree.path()) };
    for no_specials in [true, false] {
        let target = Refusing { no_specials, ..Refusing::into(to.path()) };
        let (repo, snapshot) = (harness.repository(), harness.snapshot(&id));
        let report = restore::restore(&repo, &snapshot, &options, &target, &Silent).expect("restored");
        drop(target);
        assert_eq!(to.path().join("pipe/live").exists(), no_specials);
        assert_eq!((report.deleted, report.problems.len()), if no_specials { (0, 1) } else { (1, 0) }, "{report:?}");
        assert_eq!(fs::read_dir(to.path()).expect("there").count(), 1, "nothing else is left");
    }
}

/// A file of 100 names, restored over others to a target that is `refusing`.
fn many(refusing: impl FnOnce(&mut Refusing), check: impl FnOnce(&Path, &Refusing, RestoreReport)) {
    let name = |n: u64| format!("{n:03}");
    let (harness, tree, id) = world(|root| {
        fs::write(root.join(name(0)), noise(1, 100_000)).expect("file");
        (1..100).for_each(|n| fs::hard_link(root.join(name(0)), root.join(name(n))).expect("link"));
    });
    let to = tempfile::tempdir().expect("temp");
    (0..100).for_each(|n| fs::write(to.path().join(name(n)), "old").expect("file"));
    let mut target = Refusing::into(to.path());
    refusing(&mut target);
    let (repo, snapshot) = (harness.repository(), harness.snapshot(&id));
    let report = restore::restore(&repo, &snapshot, &of(tree.path()), &target, &Silent).expect("restored");
    check(to.path(), &target, report);
}

/// How many files there are, and how many of them with the content that [`many`] stores.
fn files(to: &Path) -> (usize, usize) {
    let whole = |entry: &fs::DirEntry| fs::read(entry.path()).expect("a file") == noise(1, 100_000);
    let entries: Vec<_> = fs::read_dir(to).expect("there").map(|entry| entry.expect("entry")).collect();
    let inodes: BTreeSet<u64> = entries.iter().map(|entry| entry.metadata().expect("there").ino()).collect();
    (inodes.len(), entries.iter().filter(|entry| whole(entry)).count())
}

#[test]
fn where_nothing_can_be_linked_each_name_is_restored_and_named_once() {
    many(
        |target| target.no_links = true,
        |to, target, report| {
            assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Attribute, 99)]), "{report:?}");
            let names: BTreeSet<_> = report.problem_list.iter().map(|problem| &problem.path).collect();
            assert_eq!((names.len(), files(to)), (99, (100, 100)));
            assert!(target.tried.load(Ordering::Relaxed) < 500, "a few rounds");
            assert_eq!(target.begun.load(Ordering::Relaxed), 100);
        },
    );
}

#[test]
fn names_beyond_what_one_file_may_have_are_another_file() {
    many(
        |target| target.names_max = 40,
        |to, target, report| {
            assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Attribute, 2)]), "{report:?}");
            assert_eq!((files(to), target.begun.load(Ordering::Relaxed)), ((3, 100), 3));
        },
    );
}

#[test]
fn what_there_is_no_space_for_is_not_tried_under_every_name() {
    many(
        |target| target.no_space = true,
        |to, target, report| {
            assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Unwritable, 100)]), "{report:?}");
            assert_eq!(files(to), (100, 0));
            assert!(target.begun.load(Ordering::Relaxed) < 5, "its pieces, and no other name");
        },
    );
}

#[test]
fn locked_files_come_back_with_all_their_names() {
    let lock = |path: &Path, flag| {
        let file = fs::File::open(path).expect("a file");
        rustix::fs::ioctl_getflags(&file).and_then(|flags| rustix::fs::ioctl_setflags(&file, flags | flag))
    };
    let tree = crate::common::Scratch::new();
    fs::write(tree.path().join("a"), "content").expect("file");
    ["b", "c"].iter().for_each(|name| fs::hard_link(tree.path().join("a"), tree.path().join(name)).expect("link"));
    if lock(&tree.path().join("a"), rustix::fs::IFlags::IMMUTABLE).is_err() {
        println!("skipped: no flags here");
        return;
    }
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let to = crate::common::Scratch::new();
    for round in ["new", "again"] {
        let report = harness.restore_to(&id, &of(tree.path()), to.path());
        assert!(report.problems.is_empty(), "{round}: {report:?}");
        crate::common::assert_same(tree.path(), to.path(), round);
    }
}
