//! Names of one inode that changed, or is another file's by now, when its next name is met.

use crate::common::source::Counting;
use crate::common::{Harness, noise, small_packs, source_of};
use async_trait::async_trait;
use decube_backup_backend_fs::source::FsSource;
use decube_backup_core::Result;
use decube_backup_core::entry::{Entry, Identity};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::source::{Content, Scan, ScanItem, Scanned, Source, SourceInfo};
use rustix::fs::XattrFlags;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

/// A source that says of the file named `late` that it has the inode of the one named `first`, and that it changed since.
struct Reused {
    inner: FsSource,
    /// What is true of it.
    late: Mutex<Option<Identity>>,
}

fn named(item: &mut ScanItem, name: &str) -> Option<Scanned> {
    match item {
        ScanItem::Entry(scanned) if scanned.entry.path.name() == name.as_bytes() => Some(scanned.clone()),
        _ => None,
    }
}

impl Source for Reused {
    fn describe(&self) -> SourceInfo {
        self.inner.describe()
    }

    fn scan(&self) -> Result<Box<dyn Scan>> {
        let (mut scan, mut items) = (self.inner.scan()?, Vec::new());
        while let Some(batch) = futures::executor::block_on(scan.next())? {
            items.extend(batch);
        }
        let first = items.iter_mut().find_map(|item| named(item, "first")).and_then(|first| first.identity);
        for item in &mut items {
            if let ScanItem::Entry(scanned) = item
                && scanned.entry.path.name() == b"late"
            {
                *self.late.lock().expect("lock") = scanned.identity;
                scanned.identity = first.map(|first| Identity { ctime_ns: first.ctime_ns + 1, ..first });
            }
        }
        Ok(Box::new(Listed(Some(items))))
    }

    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        self.inner.detail(entry)
    }

    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        let mut scanned = scanned.clone();
        if scanned.entry.path.name() == b"late" {
            scanned.identity = *self.late.lock().expect("lock");
        }
        self.inner.open(&scanned)
    }
}

struct Listed(Option<Vec<ScanItem>>);

#[async_trait]
impl Scan for Listed {
    async fn next(&mut self) -> Result<Option<Vec<ScanItem>>> {
        Ok(self.0.take())
    }
}

/// Two files of two names each.
fn plant(tree: &Path, late: &[u8], first: &[u8]) {
    for (folder, name, content) in [("a", "first", first), ("z", "late", late)] {
        std::fs::create_dir(tree.join(folder)).expect("directory");
        std::fs::write(tree.join(folder).join(name), content).expect("file");
        std::fs::hard_link(tree.join(folder).join(name), tree.join(folder).join("other")).expect("link");
    }
}

#[test]
fn an_inode_number_that_is_given_again_gives_no_content_away() {
    for len in [20, 5000, 3_000_000] {
        let (tree, harness) = (tempfile::tempdir().expect("temp"), Harness::with_repository(&small_packs()));
        plant(tree.path(), &noise(2, len), &noise(1, len));
        let source = Reused { inner: source_of(tree.path()), late: Mutex::default() };
        let report = harness.backup_source(&source, "tree").expect("backup");
        assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Changed, 1)]), "{len}: {report:?}");
        let (to, _) = harness.restore(&report.snapshot.expect("a snapshot"), tree.path());
        for name in ["a/first", "a/other", "z/late", "z/other"] {
            let read = |root: &Path| std::fs::read(root.join(name)).expect(name);
            assert!(read(to.path()) == read(tree.path()), "{len}: {name}");
        }
        // What was stored is what the next backup relies on.
        let next = harness.backup(tree.path(), "tree");
        assert!(next.problems.is_empty(), "{len}: {next:?}");
        harness.assert_restores(&next.snapshot.expect("a snapshot"), tree.path(), "next");
    }
}

#[test]
fn a_file_whose_ctime_alone_changed_stays_one() {
    for len in [20, 5000, 3_000_000] {
        let (tree, harness) = (tempfile::tempdir().expect("temp"), Harness::with_repository(&small_packs()));
        std::fs::write(tree.path().join("first"), noise(1, len)).expect("file");
        for name in ["late", "later"] {
            std::fs::hard_link(tree.path().join("first"), tree.path().join(name)).expect("link");
        }
        let source = Counting::new(Reused { inner: source_of(tree.path()), late: Mutex::default() });
        let report = harness.backup_source(&source, "tree").expect("backup");
        assert!(report.problems.is_empty(), "{len}: {report:?}");
        assert_eq!(source.take_opened().len(), 2, "{len}: `later` is as `late` was");
        let id = report.snapshot.expect("a snapshot");
        harness.assert_restores(&id, tree.path(), "ctime");
        let (to, _) = harness.restore(&id, tree.path());
        assert_eq!(std::fs::metadata(to.path().join("later")).expect("there").nlink(), 3, "{len}");
    }
}

/// A file `name` under two names below `tree`.
fn two_names(tree: &Path, name: &str, other: &str, content: &str) {
    for path in [name, other] {
        std::fs::create_dir_all(tree.join(path).parent().expect("below the tree")).expect("directory");
    }
    std::fs::write(tree.join(name), content).expect("file");
    std::fs::hard_link(tree.join(name), tree.join(other)).expect("link");
}

/// Backs `tree` up; nothing may be told, and it comes back as it is. Returns the files that were opened.
fn backed_up(harness: &Harness, tree: &Path) -> usize {
    let source = Counting::new(source_of(tree));
    let report = harness.backup_source(&source, "tree").expect("backup");
    assert!(report.problems.is_empty(), "{report:?}");
    harness.assert_restores(&report.snapshot.expect("a snapshot"), tree, "links");
    source.take_opened().len()
}

#[test]
fn files_that_moved_share_nothing_with_those_that_took_their_place() {
    for (folders, other) in [(["daily.0", "daily.1", "daily.2"], "daily.0/g"), (["a", "b", "c"], "z")] {
        let (tree, harness) = (tempfile::tempdir().expect("temp"), Harness::with_repository(&small_packs()));
        let folder = |at: usize| tree.path().join(folders[at]);
        let name = |at: usize| format!("{}/f", folders[at]);
        two_names(tree.path(), &name(0), &name(1), "old");
        two_names(tree.path(), "unmoved/a", "unmoved/b", "unmoved");
        assert_eq!(backed_up(&harness, tree.path()), 2);
        // As backups by rotation do it: the directories move, the files in them are what they were.
        for at in [1, 0] {
            std::fs::rename(folder(at), folder(at + 1)).expect("renamed");
        }
        two_names(tree.path(), &name(0), other, "new");
        // The name that the parent did not have is no more than another name.
        assert_eq!(backed_up(&harness, tree.path()), 1);
        assert_eq!(backed_up(&harness, tree.path()), 0);
    }
}

#[test]
fn a_name_that_stayed_is_not_one_with_what_came_to_the_first_name_of_its_file() {
    let (tree, harness) = (tempfile::tempdir().expect("temp"), Harness::with_repository(&small_packs()));
    let outside = tempfile::tempdir().expect("temp");
    two_names(tree.path(), "a/x", "b", "only copy");
    backed_up(&harness, tree.path());
    std::fs::rename(tree.path().join("a"), outside.path().join("a")).expect("moved away");
    two_names(tree.path(), "a/x", "a/y", "another");
    assert_eq!(backed_up(&harness, tree.path()), 1);
    assert_eq!(backed_up(&harness, tree.path()), 0);
}

/// A source that reads no extended attributes.
struct Shy(FsSource);

impl Source for Shy {
    fn describe(&self) -> SourceInfo {
        self.0.describe()
    }

    fn scan(&self) -> Result<Box<dyn Scan>> {
        self.0.scan()
    }

    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        entry.meta.xattrs.clear();
        vec![Problem::new(ProblemKind::Attribute, entry.path.as_bytes(), "cannot list extended attributes")]
    }

    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        self.0.open(scanned)
    }
}

#[test]
fn attributes_that_could_not_be_read_are_read_by_the_next_backup() {
    let tree = tempfile::tempdir().expect("temp");
    let (folder, file) = (tree.path().join("folder"), tree.path().join("folder/file"));
    std::fs::create_dir(&folder).expect("folder");
    std::os::unix::fs::symlink("folder/file", tree.path().join("link")).expect("symlink");
    std::fs::write(&file, b"").expect("file");
    std::fs::hard_link(&file, tree.path().join("other name")).expect("hard link");
    for path in [&folder, &file] {
        rustix::fs::setxattr(path, "user.a", b"value", XattrFlags::empty()).expect("set");
    }
    let harness = Harness::with_repository(&small_packs());
    let shy = harness.backup_source(&Shy(source_of(tree.path())), "tree").expect("backup");
    assert!(shy.problems[&ProblemKind::Attribute] >= 4, "{:?}", shy.problems);
    let second = harness.backup(tree.path(), "tree");
    assert_eq!(second.problems, BTreeMap::new());
    harness.assert_restores(&second.snapshot.expect("a snapshot"), tree.path(), "all attributes");
}
