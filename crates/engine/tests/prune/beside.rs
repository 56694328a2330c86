//! Prunes beside backups, restores and other prunes: whoever is overtaken notices.

use crate::common::moment::At;
use crate::common::records::{append, forget, packs, show_again};
use crate::common::source::Interrupting;
use crate::common::{Harness, inside, noise, series, small_packs, source_of};
use decube_backup_core::monitor::{Monitor, Progress, Silent};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{BackupReport, RestoreOptions};
use decube_backup_engine::{backup, restore};
use decube_backup_format::ids::{PackKind, PackName, SnapshotId};
use decube_backup_format::log::Payload;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

fn everything() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), orphan_age: Duration::ZERO, ..PruneOptions::default() }
}

fn prune(harness: &Harness) {
    gc::plan(&harness.repository(), &everything(), &Silent).and_then(|plan| plan.run(&Silent)).expect("prune");
}

fn write(tree: &Path, name: &str, seed: u64, len: usize) {
    std::fs::write(tree.join(name), noise(seed, len)).expect("file");
}

/// Files before and behind `z`, where a backup is interrupted.
fn tree(seed: u64) -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("temp");
    for n in 0..6 {
        write(tree.path(), &format!("a{n}"), seed + n, 200_000);
        write(tree.path(), &format!("zz{n}"), seed + 10 + n, 200_000);
    }
    write(tree.path(), "z", seed + 20, 200_000);
    tree
}

/// Backs `tree` up; when its file `z` is opened, `act` happens elsewhere.
fn backup_while(
    harness: &Harness,
    tree: &Path,
    name: &str,
    act: impl FnOnce(&Harness) + Send + 'static,
) -> BackupReport {
    let other = harness.somebody_else();
    let source = Interrupting::new(source_of(tree), "z", move || act(&other));
    let report = backup::backup(&harness.repository(), &source, &series(name), &Silent).expect("backup");
    assert!(source.done(), "nothing interfered");
    report
}

fn assert_whole(harness: &Harness, expected: &[(SnapshotId, &Path)], context: &str) {
    prune(&harness.somebody_else());
    let fresh = harness.somebody_else();
    fresh.assert_sound(context);
    for (id, tree) in expected {
        fresh.assert_restores(id, tree, context);
    }
}

#[test]
fn a_backup_whose_uploads_are_taken_for_leftovers_stores_them_again() {
    let tree = tree(100);
    let harness = Harness::with_repository(&small_packs());
    let report = backup_while(&harness, tree.path(), "tree", prune);
    assert_whole(&harness, &[(report.snapshot.expect("a snapshot"), tree.path())], "uploads reclaimed");
}

#[test]
fn a_backup_that_relies_on_what_is_pruned_meanwhile_stores_it_again() {
    let tree = tree(200);
    let harness = Harness::with_repository(&small_packs());
    let gone = harness.backup(tree.path(), "gone").snapshot.expect("a snapshot");
    forget(&harness, gone);
    let report = backup_while(&harness, tree.path(), "kept", prune);
    assert!(report.chunks_new > 0);
    assert_whole(&harness, &[(report.snapshot.expect("a snapshot"), tree.path())], "deps reclaimed");
}

#[test]
fn a_backup_goes_on_when_its_parent_is_moved_to_other_packs() {
    let tree = tempfile::tempdir().expect("temp");
    // Many leaves, so that some of the parent's are read before and some after.
    for n in 0..1_500 {
        std::fs::write(tree.path().join(format!("{n:05}")), format!("{n}")).expect("file");
    }
    write(tree.path(), "01000z", 1, 200_000);
    std::fs::create_dir(tree.path().join("00700d")).expect("folder");
    write(&tree.path().join("00700d"), "z", 2, 200_000);
    let harness = Harness::with_repository(&small_packs());
    let first = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let other = self::tree(250);
    let gone = harness.backup(other.path(), "gone").snapshot.expect("a snapshot");
    forget(&harness, gone);
    // Enough small packs to be copied together, the parent's nodes among them.
    for n in 0..8 {
        write(other.path(), "a0", 900 + n, 5_000);
        harness.backup(other.path(), "small");
    }
    write(&tree.path().join("00700d"), "z", 3, 200_000);
    let before = packs(&harness);
    let report = backup_while(&harness, tree.path(), "tree", prune);
    assert!(before.iter().any(|pack| !packs(&harness).contains(pack)), "nothing was moved");
    assert_eq!(report.parent, Some(first));
    prune(&harness.somebody_else());
    let fresh = harness.somebody_else();
    fresh.assert_sound("parent moved");
    fresh.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "parent moved");
}

/// Calls `act` when the first content was written.
struct Once<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Monitor for Once<F> {
    fn advance(&self, what: Progress, _count: u64) {
        if what == Progress::Bytes
            && let Some(act) = self.0.lock().expect("lock").take()
        {
            act();
        }
    }
}

#[test]
fn a_restore_finds_what_is_moved_while_it_runs() {
    let (all, half) = (tree(300), tempfile::tempdir().expect("temp"));
    for n in 0..6 {
        write(half.path(), &format!("a{n}"), 300 + n, 200_000);
    }
    let harness = Harness::with_repository(&small_packs());
    let gone = harness.backup(all.path(), "all").snapshot.expect("a snapshot");
    let kept = harness.backup(half.path(), "half").snapshot.expect("a snapshot");
    forget(&harness, gone);
    // So many small packs that trees are moved too.
    let small = tempfile::tempdir().expect("temp");
    for n in 0..8 {
        write(small.path(), "small", 380 + n, 5_000);
        harness.backup(small.path(), "small");
    }
    let reader = harness.somebody_else();
    let repo = reader.repository();
    // Loaded before the prune, used after it.
    repo.index().expect("index");
    let snapshot = reader.snapshot(&kept);
    let before = packs(&harness);
    prune(&harness);
    let trees = |packs: &BTreeSet<PackName>| packs.iter().filter(|pack| pack.kind == PackKind::Meta).count();
    let left = &before & &packs(&harness);
    assert!(trees(&left) == 0 && left.len() < before.len() - trees(&before), "trees and content were moved: {left:?}");
    let to = tempfile::tempdir().expect("temp");
    let target = decube_backup_backend_fs::target::FsTarget::create(to.path(), Default::default()).expect("target");
    let options = RestoreOptions { subtree: inside(half.path()), ..RestoreOptions::default() };
    let report = restore::restore(&repo, &snapshot, &options, &target, &Silent).expect("restore");
    assert!(report.problems.is_empty(), "{:?}", report.problem_list);
    crate::common::assert_same(half.path(), to.path(), "moved meanwhile");
}

#[test]
fn whatever_happens_while_a_prune_copies_it_reclaims_nothing_that_lives() {
    let (all, half) = (tree(400), tempfile::tempdir().expect("temp"));
    for n in 0..6 {
        write(half.path(), &format!("a{n}"), 400 + n, 200_000);
    }
    for what in ["forget", "undelete", "backup", "prune", "note"] {
        let harness = Harness::with_repository(&small_packs());
        let gone = harness.backup(all.path(), "all").snapshot.expect("a snapshot");
        let kept = harness.backup(half.path(), "half").snapshot.expect("a snapshot");
        forget(&harness, gone);
        let other = harness.somebody_else();
        let (all_path, tx) = (all.path().to_owned(), std::sync::mpsc::channel());
        let act = move || {
            let made = match what {
                "forget" => {
                    forget(&other, kept);
                    None
                }
                "undelete" => {
                    show_again(&other, gone);
                    Some(gone)
                }
                "backup" => other.backup(&all_path, "again").snapshot,
                "prune" => {
                    prune(&other);
                    None
                }
                _ => None,
            };
            tx.0.send(made).expect("heard");
        };
        let repo = harness.repository();
        let monitor = Once(Mutex::new(Some(act)));
        let plan = gc::plan(&repo, &everything(), &Silent).expect("plan");
        assert!(plan.summary().packs_sparse.count > 0, "{what}");
        plan.run(&monitor).expect(what);
        let mut expected: Vec<(SnapshotId, &Path)> =
            tx.1.recv().expect("it happened").map(|id| (id, all.path())).into_iter().collect();
        if what != "forget" {
            expected.push((kept, half.path()));
        }
        let fresh = harness.somebody_else();
        fresh.assert_sound(what);
        assert_eq!(fresh.repository().state().live_snapshots().count(), expected.len(), "{what}");
        assert_whole(&harness, &expected, what);
    }
}

#[test]
fn a_copy_that_another_prune_takes_away_is_not_taken_for_damaged() {
    let tree = tree(500);
    let harness = Harness::with_repository(&small_packs());
    let condemn = |packs: &BTreeSet<PackName>, released: &BTreeSet<PackName>| {
        let (packs, released) = (packs.iter().copied().collect(), released.iter().copied().collect());
        append(&harness.repository(), Payload::Condemn { packs, released }, Vec::new());
    };
    let none = BTreeSet::new();
    let one = harness.backup(tree.path(), "one").snapshot.expect("a snapshot");
    let old = packs(&harness);
    condemn(&old, &none);
    let two = harness.backup(tree.path(), "two").snapshot.expect("a snapshot");
    let new: BTreeSet<PackName> = packs(&harness).difference(&old).copied().collect();
    condemn(&none, &old);
    // Which of two equal copies a prune gives up is its choice: the other prune gives up the other ones.
    let image = harness.on_image(harness.memory.objects());
    prune(&image);
    let staying = if packs(&image).is_disjoint(&old) { &new } else { &old };
    let repo = harness.repository();
    let plan = gc::plan(&repo, &everything(), &Silent).expect("plan");
    let monitor = At::phase("check copies", || {
        condemn(staying, &none);
        prune(&harness.somebody_else());
    });
    let report = plan.run(&monitor).expect("prune");
    assert!(monitor.done(), "no copy was checked");
    assert_eq!(report.packs_damaged, 0, "{report:?}");
    assert!(packs(&harness).is_disjoint(staying), "the other prune took them");
    assert_whole(&harness, &[(one, tree.path()), (two, tree.path())], "copies");
}
