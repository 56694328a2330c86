//! What `--overwrite` leaves as it stands, and what is said of it.

use crate::common::{Harness, inside};
use decube_backup_core::entry::{Entry, EntryKind};
use decube_backup_core::monitor::ProblemKind;
use decube_backup_engine::options::{Effect, EntryFilter, InitOptions, Overwrite, RestoreOptions};
use decube_backup_format::ids::SnapshotId;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// A snapshot of the tree that `plant` makes.
fn world(plant: impl FnOnce(&Path)) -> (Harness, tempfile::TempDir, SnapshotId) {
    let harness = Harness::with_repository(&InitOptions::default());
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    (harness, tree, id)
}

fn with(tree: &Path, overwrite: Overwrite) -> RestoreOptions {
    RestoreOptions { subtree: inside(tree), overwrite, ..RestoreOptions::default() }
}

#[test]
fn what_stands_where_a_directory_of_unknown_time_belongs_stays() {
    let (harness, tree, id) = world(|root| {
        fs::create_dir_all(root.join("live/deep")).expect("directory");
        for name in ["live/a", "live/deep/b", "other"] {
            fs::write(root.join(name), name).expect("file");
        }
    });
    // No entry of a directory reaches the plan, as if they lay in nodes that cannot be read.
    let filter: EntryFilter = Arc::new(|entry: &Entry| entry.kind != EntryKind::Directory);
    for overwrite in [Overwrite::Never, Overwrite::IfNewer, Overwrite::IfChanged] {
        let to = tempfile::tempdir().expect("temp");
        fs::write(to.path().join("live"), "the user's").expect("file");
        let options = RestoreOptions { filter: Some(filter.clone()), ..with(tree.path(), overwrite) };
        let report = harness.restore_to(&id, &options, to.path());
        assert_eq!(fs::read_to_string(to.path().join("other")).expect("restored"), "other");
        if overwrite == Overwrite::IfChanged {
            assert!(report.problems.is_empty() && to.path().join("live/deep/b").exists(), "{report:?}");
            continue;
        }
        assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Unwritable, 1)]), "{overwrite:?} {report:?}");
        assert_eq!((report.problem_list[0].path.as_slice(), report.files_skipped), (b"live".as_slice(), 2));
        assert_eq!(fs::read_to_string(to.path().join("live")).expect("there"), "the user's", "{overwrite:?}");
    }
}

/// A file of five names.
fn five(root: &Path) {
    fs::write(root.join("1"), "content").expect("file");
    ["2", "3", "4", "5"].iter().for_each(|name| fs::hard_link(root.join("1"), root.join(name)).expect("link"));
}

#[test]
fn missing_names_become_those_of_a_kept_file_that_is_the_snapshots() {
    let (harness, tree, id) = world(five);
    for overwrite in [Overwrite::Never, Overwrite::IfNewer, Overwrite::IfChanged] {
        let (to, _) = harness.restore(&id, tree.path());
        let inode = |name: &str| fs::metadata(to.path().join(name)).expect("there").ino();
        let first = inode("1");
        for name in ["2", "4", "5"] {
            fs::remove_file(to.path().join(name)).expect("removed");
        }
        let report = harness.restore_to(&id, &with(tree.path(), overwrite), to.path());
        assert_eq!((report.files_restored, report.problems.len()), (3, 0), "{overwrite:?} {report:?}");
        assert!(["1", "2", "3", "4", "5"].iter().all(|name| inode(name) == first), "{overwrite:?}");
        crate::common::assert_same(tree.path(), to.path(), "one again");
        // What was restored before them is another file; what stands there stays, and is named.
        fs::remove_file(to.path().join("1")).expect("removed");
        fs::remove_file(to.path().join("5")).expect("removed");
        let report = harness.restore_to(&id, &with(tree.path(), overwrite), to.path());
        let told = if overwrite == Overwrite::IfChanged { 0 } else { 3 };
        assert_eq!(report.problems.values().sum::<u64>(), told, "{overwrite:?} {report:?}");
        assert_eq!((inode("5"), inode("2") == inode("1")), (inode("1"), told == 0), "{overwrite:?}");
    }
}

#[test]
fn missing_names_become_those_of_kept_links_and_pipes() {
    let (harness, tree, id) = world(|root| {
        std::os::unix::fs::symlink("nowhere", root.join("link1")).expect("link");
        let mode = rustix::fs::Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe1"), rustix::fs::FileType::Fifo, mode, 0).expect("pipe");
        for kind in ["link", "pipe"] {
            let name = |number: u8| root.join(format!("{kind}{number}"));
            [2, 3].iter().for_each(|further| fs::hard_link(name(1), name(*further)).expect("one more name"));
        }
    });
    for overwrite in [Overwrite::Never, Overwrite::IfNewer, Overwrite::IfChanged] {
        let (to, _) = harness.restore(&id, tree.path());
        let inode = |name: &str| fs::symlink_metadata(to.path().join(name)).expect("there").ino();
        for kind in ["link", "pipe"] {
            [2, 3].iter().for_each(|n| fs::remove_file(to.path().join(format!("{kind}{n}"))).expect("removed"));
        }
        let (link, pipe) = (inode("link1"), inode("pipe1"));
        let report = harness.restore_to(&id, &with(tree.path(), overwrite), to.path());
        assert!(report.problems.is_empty(), "{overwrite:?} {report:?}");
        assert_eq!(["link1", "link2", "link3"].map(inode), [link; 3], "{overwrite:?}");
        assert_eq!(["pipe1", "pipe2", "pipe3"].map(inode), [pipe; 3], "{overwrite:?}");
        crate::common::assert_same(tree.path(), to.path(), "one again");
        // What was restored before them is another; what stands there stays, and is named.
        for kind in ["link", "pipe"] {
            fs::remove_file(to.path().join(format!("{kind}1"))).expect("removed");
        }
        let report = harness.restore_to(&id, &with(tree.path(), overwrite), to.path());
        let told = if overwrite == Overwrite::IfChanged { 0 } else { 4 };
        assert_eq!(report.problems.values().sum::<u64>(), told, "{overwrite:?} {report:?}");
    }
}

#[test]
fn a_dry_run_calls_names_of_one_file_the_same() {
    let (harness, tree, id) = world(five);
    let (to, _) = harness.restore(&id, tree.path());
    for (removed, counts) in [(None, (5, 0)), (Some("3"), (4, 1)), (Some("1"), (0, 5))] {
        if let Some(name) = removed {
            fs::remove_file(to.path().join(name)).expect("removed");
        }
        for effect in [Effect::DryRun, Effect::Real] {
            let options = RestoreOptions { effect, ..with(tree.path(), Overwrite::IfChanged) };
            let report = harness.restore_to(&id, &options, to.path());
            assert_eq!((report.files_unchanged, report.files_restored), counts, "{effect:?} without {removed:?}");
        }
        crate::common::assert_same(tree.path(), to.path(), "one again");
    }
}
