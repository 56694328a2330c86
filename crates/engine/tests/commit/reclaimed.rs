//! Space reclaimed and packs condemned while a backup runs: what it publishes can always be restored.

use crate::common::records::{append, forget, packs};
use crate::common::source::Interrupting;
use crate::common::{Harness, noise, series, small_packs, source_of};
use decube_backup_core::Timestamp;
use decube_backup_core::monitor::Silent;
use decube_backup_core::world::Entropy;
use decube_backup_engine::options::{BackupOptions, BackupReport};
use decube_backup_engine::{Environment, Repository, backup};
use decube_backup_format::ids::{PackName, pack_key};
use decube_backup_format::log::{ObjectName, Payload};
use decube_backup_testkit::StepClock;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Takes packs out of force, as a collector does before it deletes them.
fn reclaim(harness: &Harness, packs: &BTreeSet<PackName>) {
    append(&harness.repository(), Payload::Reclaim, packs.iter().map(|p| ObjectName::Pack(*p)).collect());
}

/// Deletes the objects of every pack ever reclaimed.
fn sweep(harness: &Harness) {
    for name in harness.repository().state().reclaimed_packs() {
        // Idempotent, as for a collector that is run again.
        let _ = harness.memory.remove(&pack_key(name).expect("a name"));
    }
}

struct Tree(tempfile::TempDir);

impl Tree {
    /// Two files; the second is where a backup is interrupted, after the first was read.
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().expect("temp"));
        tree.write("a", 1, 600_000);
        tree.write("z", 2, 600_000);
        tree
    }
    fn write(&self, name: &str, seed: u64, len: usize) {
        std::fs::write(self.0.path().join(name), noise(seed, len)).expect("file");
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Backs `tree` up; when its file `z` is opened, `act` happens elsewhere.
fn backup_while(
    harness: &Harness,
    tree: &Tree,
    options: BackupOptions,
    act: impl FnOnce(&Harness) + Send + 'static,
) -> BackupReport {
    let other = harness.somebody_else();
    let source = Interrupting::new(source_of(tree.path()), "z", move || act(&other));
    let report = backup::backup(&harness.repository(), &source, &options, &Silent).expect("backup");
    assert!(source.done(), "nothing interfered");
    report
}

fn assert_survives(harness: &Harness, report: &BackupReport, tree: &Tree, context: &str) {
    sweep(harness);
    let fresh = harness.somebody_else();
    fresh.assert_sound(context);
    fresh.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), context);
}

/// A repository whose only snapshot holds the content of `tree` and is forgotten: packs nobody needs.
fn with_garbage(tree: &Tree) -> Harness {
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "gone").snapshot.expect("a snapshot");
    forget(&harness, id);
    harness
}

#[test]
fn chunks_deduplicated_against_packs_reclaimed_meanwhile_are_stored_again() {
    let tree = Tree::new();
    let harness = with_garbage(&tree);
    let report = backup_while(&harness, &tree, series("kept"), |other| reclaim(other, &packs(other)));
    assert!(report.chunks_new > 0, "nothing of the reclaimed packs may be relied on");
    assert_survives(&harness, &report, &tree, "deps reclaimed");
}

#[test]
fn without_a_reclaim_nothing_is_stored_twice() {
    let tree = Tree::new();
    let harness = with_garbage(&tree);
    let report = backup_while(&harness, &tree, series("kept"), |other| {
        append(&other.repository(), Payload::Note { text: "hello".into() }, Vec::new());
    });
    assert_eq!(report.chunks_new, 0);
    assert_survives(&harness, &report, &tree, "a note");
}

#[test]
fn a_reclaim_of_packs_the_backup_does_not_rely_on_costs_nothing() {
    let (tree, unrelated) = (Tree::new(), Tree::new());
    unrelated.write("a", 21, 500_000);
    unrelated.write("z", 22, 500_000);
    let harness = Harness::with_repository(&small_packs());
    harness.backup(tree.path(), "kept");
    let needed = packs(&harness);
    let id = harness.backup(unrelated.path(), "gone").snapshot.expect("a snapshot");
    forget(&harness, id);
    let report = backup_while(&harness, &tree, series("other name"), move |other| {
        let garbage = packs(other).difference(&needed).copied().collect();
        reclaim(other, &garbage);
    });
    assert_eq!(report.chunks_new, 0);
    assert_survives(&harness, &report, &tree, "unrelated packs reclaimed");
}

#[test]
fn condemned_packs_are_not_relied_on() {
    let tree = Tree::new();
    let harness = with_garbage(&tree);
    let condemned = packs(&harness);
    let payload = Payload::Condemn { packs: condemned.iter().copied().collect(), released: Vec::new() };
    append(&harness.repository(), payload, Vec::new());
    let report = harness.backup(tree.path(), "kept");
    assert!(report.chunks_new > 0, "a condemned pack was reused");
    reclaim(&harness, &condemned);
    assert_survives(&harness, &report, &tree, "condemned before");
}

#[test]
fn released_packs_are_relied_on_again() {
    let tree = Tree::new();
    let harness = with_garbage(&tree);
    let all: Vec<PackName> = packs(&harness).into_iter().collect();
    append(&harness.repository(), Payload::Condemn { packs: all.clone(), released: Vec::new() }, Vec::new());
    append(&harness.repository(), Payload::Condemn { packs: Vec::new(), released: all }, Vec::new());
    let report = harness.backup(tree.path(), "kept");
    assert_eq!(report.chunks_new, 0);
    assert_survives(&harness, &report, &tree, "released");
}

#[test]
fn a_parent_forgotten_and_reclaimed_meanwhile_is_read_again() {
    let tree = Tree::new();
    let harness = Harness::with_repository(&small_packs());
    let parent = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    // Same length: only its time tells.
    tree.write("z", 3, 600_000);
    let report = backup_while(&harness, &tree, series("tree"), move |other| {
        forget(other, parent);
        reclaim(other, &packs(other));
    });
    assert_eq!(report.parent, None, "the second pass has no parent left");
    assert_survives(&harness, &report, &tree, "parent reclaimed");
}

#[test]
fn a_chosen_parent_forgotten_and_reclaimed_meanwhile_is_done_without() {
    let tree = Tree::new();
    let harness = Harness::with_repository(&small_packs());
    let parent = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    tree.write("z", 3, 600_000);
    let options = BackupOptions { parent: Some(parent), ..series("another") };
    let report = backup_while(&harness, &tree, options, move |other| {
        forget(other, parent);
        reclaim(other, &packs(other));
    });
    assert_eq!(report.parent, None);
    assert_survives(&harness, &report, &tree, "chosen parent reclaimed");
}

#[test]
fn a_parent_only_forgotten_meanwhile_still_serves() {
    let tree = Tree::new();
    let harness = Harness::with_repository(&small_packs());
    let parent = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    tree.write("z", 3, 600_000);
    let report = backup_while(&harness, &tree, series("tree"), move |other| forget(other, parent));
    assert_eq!((report.parent, report.files_unchanged), (Some(parent), 1));
    assert_survives(&harness, &report, &tree, "parent forgotten");
}

#[test]
fn a_forgotten_snapshot_is_no_parent() {
    let tree = Tree::new();
    let harness = Harness::with_repository(&small_packs());
    let parent = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    forget(&harness, parent);
    reclaim(&harness, &packs(&harness));
    sweep(&harness);
    let report = harness.backup(tree.path(), "tree");
    assert_eq!((report.parent, report.files_unchanged), (None, 0));
    assert_survives(&harness, &report, &tree, "forgotten before");
    let options = BackupOptions { parent: Some(parent), ..series("tree") };
    let refused = backup::backup(&harness.repository(), &source_of(tree.path()), &options, &Silent);
    assert!(refused.is_err(), "its content may be gone");
}

#[test]
fn packs_recorded_as_progress_and_reclaimed_meanwhile_are_stored_again() {
    let tree = Tree::new();
    for n in 0..8 {
        tree.write(&format!("b{n}"), 40 + n, 1_200_000);
    }
    let harness = Harness::with_repository(&small_packs());
    let options = BackupOptions { progress_bytes: Some(1 << 20), ..series("tree") };
    let report = backup_while(&harness, &tree, options, |other| {
        let recorded = packs(other);
        assert!(!recorded.is_empty(), "no progress was recorded");
        reclaim(other, &recorded);
    });
    assert_survives(&harness, &report, &tree, "progress reclaimed");
}

#[test]
fn a_killed_backup_goes_on_from_its_recorded_progress() {
    let tree = Tree::new();
    // Several times what is read ahead of what is recorded.
    for n in 0..24 {
        tree.write(&format!("b{n}"), 60 + n, 1_200_000);
    }
    let harness = Harness::with_repository(&small_packs());
    let options = BackupOptions { progress_bytes: Some(1 << 20), ..series("tree") };
    let killed = harness.somebody_else();
    let image = std::sync::Arc::new(std::sync::Mutex::new(None));
    let taken = image.clone();
    backup_while(&killed, &tree, options, move |other| {
        *taken.lock().expect("lock") = Some(other.memory.objects());
    });
    let image = image.lock().expect("lock").take().expect("an image");
    let resumed = harness.on_image(image);
    let report = resumed.backup(tree.path(), "tree");
    assert!(report.bytes_new < report.bytes / 2, "{} of {} stored again", report.bytes_new, report.bytes);
    resumed.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "resumed");
    resumed.assert_sound("resumed");
}

#[test]
fn progress_is_recorded_every_ten_minutes_however_little_it_is() {
    let tree = Tree::new();
    for n in 0..8 {
        tree.write(&format!("b{n}"), 90 + n, 1_200_000);
    }
    let records = |step: u64| {
        let harness = Harness::with_repository(&small_packs());
        let start = Timestamp { seconds: 2_000_000_000, nanoseconds: 0 };
        let clock = Arc::new(StepClock::stepping(start, Duration::from_millis(step)));
        let repo =
            Repository::open(Environment { clock, ..harness.environment() }, &harness.credentials).expect("opens");
        let before = repo.state().next_seq();
        let report = backup::backup(&repo, &source_of(tree.path()), &series("tree"), &Silent).expect("backup");
        harness.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "slow");
        harness.repository().state().next_seq() - before
    };
    // The snapshot's own; with minutes between any two looks at the clock, one for nearly every file.
    assert_eq!(records(1), 1);
    assert!(records(300_000) > 3);
}

/// Runs out of fresh names only if randomness is not random: two harnesses never share one.
#[test]
fn two_users_draw_different_names() {
    let harness = Harness::new();
    let (mut a, mut b) = ([0; 16], [0; 16]);
    harness.entropy.fill(&mut a).expect("entropy");
    harness.somebody_else().entropy.fill(&mut b).expect("entropy");
    assert_ne!(a, b);
}
