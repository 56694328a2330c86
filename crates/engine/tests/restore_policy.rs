//! What `--overwrite` leaves as it stands, and what is said of it.

mod common;

use common::{Harness, inside};
use decube_backup_core::entry::{Entry, EntryKind};
use decube_backup_core::monitor::ProblemKind;
use decube_backup_engine::options::{EntryFilter, InitOptions, Overwrite, RestoreOptions};
use decube_backup_format::ids::SnapshotId;
use std::collections::BTreeMap;
use std::fs;
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
