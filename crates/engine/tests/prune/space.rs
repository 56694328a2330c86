//! Freeing space: what nobody needs goes, everything else comes back exactly.

use crate::common::bad_sectors::BadSectors;
use crate::common::records::{forget, packs, show_again};
use crate::common::{Harness, noise, small_packs};
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::Repository;
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions, PruneReport, PruneSummary};
use decube_backup_format::ids::SnapshotId;
use decube_backup_testkit::{Op, RecordingSink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Only packs of which nothing is needed go, whatever is left over.
fn only_dead() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Unlimited, orphan_age: Duration::ZERO, ..PruneOptions::default() }
}

fn prune(harness: &Harness, options: &PruneOptions) -> (PruneSummary, PruneReport) {
    let repo = harness.repository();
    let plan = gc::plan(&repo, options, &Silent).expect("plan");
    let summary = *plan.summary();
    (summary, plan.run(&Silent).expect("prune"))
}

fn plan<'a>(repo: &'a Repository, options: &PruneOptions) -> gc::PrunePlan<'a> {
    gc::plan(repo, options, &Silent).expect("plan")
}

/// Number of objects under `prefix` and their bytes.
fn stored(harness: &Harness, prefix: &str) -> (u64, u64) {
    let objects = harness.memory.objects();
    let wanted = objects.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
    wanted.fold((0, 0), |(count, bytes), (_, object)| (count + 1, bytes + object.len() as u64))
}

struct Tree(tempfile::TempDir);

impl Tree {
    /// `files` files of 300 kB that nobody else has.
    fn new(seed: u64, files: u64) -> Self {
        let tree = Self(tempfile::tempdir().expect("temp"));
        for n in 0..files {
            tree.write(&format!("f{n:02}"), seed * 1000 + n);
        }
        tree
    }
    fn write(&self, name: &str, seed: u64) {
        std::fs::write(self.0.path().join(name), noise(seed, 300_000)).expect("file");
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn back_up(harness: &Harness, tree: &Tree, name: &str) -> SnapshotId {
    harness.backup(tree.path(), name).snapshot.expect("a snapshot")
}

/// Everything that is live restores, for who never saw the repository before and for who did.
fn assert_whole(harness: &Harness, expected: &[(SnapshotId, &Tree)], context: &str) {
    for user in [harness.somebody_else(), harness.through(harness.sink.clone())] {
        user.assert_sound(context);
        for (id, tree) in expected {
            user.assert_restores(id, tree.path(), context);
        }
    }
    let live = harness.repository().state().live_snapshots().count();
    assert_eq!(live, expected.len(), "{context}");
}

#[test]
fn what_only_a_forgotten_snapshot_needs_goes_and_the_rest_stays() {
    let (kept, gone) = (Tree::new(1, 4), Tree::new(2, 8));
    let harness = Harness::with_repository(&small_packs());
    let first = back_up(&harness, &kept, "kept");
    let needed = packs(&harness);
    let second = back_up(&harness, &gone, "gone");
    let before = stored(&harness, "");
    forget(&harness, second);
    let (summary, report) = prune(&harness, &only_dead());
    assert_eq!((summary.snapshots, summary.packs_kept.count), (1, needed.len() as u64));
    assert!(summary.bytes_freed > 8 * 300_000, "{summary:?}");
    assert_eq!(report.packs_deleted, summary.packs_dead.count);
    assert_eq!(packs(&harness), needed);
    assert_eq!(stored(&harness, "packs/").0, needed.len() as u64);
    assert!(before.1 - stored(&harness, "").1 > 8 * 300_000);
    assert_whole(&harness, &[(first, &kept)], "one of two forgotten");
}

#[test]
fn a_plan_writes_nothing() {
    let tree = Tree::new(3, 4);
    let harness = Harness::with_repository(&small_packs());
    let id = back_up(&harness, &tree, "tree");
    forget(&harness, id);
    let before = harness.memory.objects();
    let repo = harness.repository();
    let planned = *plan(&repo, &PruneOptions::default()).summary();
    assert!(planned.packs_dead.count > 0 && planned.requests.deletes > 0, "{planned:?}");
    assert_eq!(harness.memory.objects(), before);
}

#[test]
fn a_prune_of_nothing_reads_no_content_and_writes_nothing() {
    let tree = Tree::new(4, 6);
    let harness = Harness::with_repository(&small_packs());
    let id = back_up(&harness, &tree, "tree");
    let before = harness.memory.objects();
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    let repo = harness.through(recording.clone()).repository();
    recording.reset();
    let plan = plan(&repo, &PruneOptions::default());
    assert!(plan.summary().is_nothing(), "{:?}", plan.summary());
    assert_eq!(plan.run(&Silent).expect("prune"), PruneReport::default());
    assert_eq!(recording.tally(Op::Get, "packs/d/").calls, 0, "{:?}", recording.calls());
    assert_eq!((recording.tally(Op::Put, "").calls, recording.tally(Op::Delete, "").calls), (0, 0));
    // Records, packs, index segments, key slots, checkpoints.
    assert_eq!(recording.tally(Op::List, "").calls, 5);
    assert_eq!(harness.memory.objects(), before);
    assert_whole(&harness, &[(id, &tree)], "nothing to do");
}

#[test]
fn a_snapshot_committed_between_mark_and_reclaim_keeps_what_it_needs() {
    let (tree, other) = (Tree::new(5, 4), Tree::new(6, 4));
    let harness = Harness::with_repository(&small_packs());
    let gone = back_up(&harness, &tree, "gone");
    let also_gone = back_up(&harness, &other, "also gone");
    forget(&harness, gone);
    forget(&harness, also_gone);
    let repo = harness.repository();
    let plan = plan(&repo, &only_dead());
    // It finds all its content in the packs that are about to go.
    let report = harness.somebody_else().backup(tree.path(), "new");
    assert_eq!(report.chunks_new, 0);
    let report_of_prune = plan.run(&Silent).expect("prune");
    assert!(report_of_prune.packs_deleted > 0 && report_of_prune.packs_spared > 0, "{report_of_prune:?}");
    assert_whole(&harness, &[(report.snapshot.expect("a snapshot"), &tree)], "committed meanwhile");
}

#[test]
fn a_snapshot_undeleted_between_mark_and_reclaim_stays() {
    let tree = Tree::new(7, 4);
    let harness = Harness::with_repository(&small_packs());
    let id = back_up(&harness, &tree, "tree");
    forget(&harness, id);
    let repo = harness.repository();
    let plan = plan(&repo, &only_dead());
    show_again(&harness, id);
    let report = plan.run(&Silent).expect("prune");
    assert_eq!(report.packs_deleted, 0);
    assert_whole(&harness, &[(id, &tree)], "undeleted meanwhile");
}

#[test]
fn two_prunes_at_once_free_the_same_once() {
    let (kept, gone) = (Tree::new(8, 3), Tree::new(9, 6));
    let harness = Harness::with_repository(&small_packs());
    let first = back_up(&harness, &kept, "kept");
    let second = back_up(&harness, &gone, "gone");
    forget(&harness, second);
    let other = harness.somebody_else();
    let (one, two) = (harness.repository(), other.repository());
    let (plan_one, plan_two) = (plan(&one, &only_dead()), plan(&two, &only_dead()));
    let freed = plan_one.run(&Silent).expect("prune").packs_deleted;
    let again = plan_two.run(&Silent).expect("prune");
    assert!(freed > 0 && again.packs_deleted == 0, "{again:?}");
    assert_whole(&harness, &[(first, &kept)], "two prunes");
}

#[test]
fn grace_condemns_first_and_frees_later() {
    let tree = Tree::new(10, 4);
    let harness = Harness::with_repository(&small_packs());
    let id = back_up(&harness, &tree, "tree");
    forget(&harness, id);
    let hour = PruneOptions { grace: Duration::from_secs(3600), ..only_dead() };
    let condemned = packs(&harness);
    for round in 0..2 {
        let (summary, report) = prune(&harness, &hour);
        assert_eq!((summary.packs_waiting.count, report.packs_deleted), (condemned.len() as u64, 0), "{round}");
        let repo = harness.repository();
        assert!(condemned.iter().all(|pack| !repo.state().may_reuse(pack)), "{round}");
    }
    assert_eq!(harness.repository().state().condemned_packs().map(|(_, seq)| seq).max(), Some(3), "condemned once");
    // Needed again, they stay; or what is in them does.
    show_again(&harness, id);
    let (_, report) = prune(&harness, &only_dead());
    assert_eq!((report.packs_deleted, packs(&harness)), (0, condemned.clone()));
    assert_whole(&harness, &[(id, &tree)], "needed again");
    let (_, report) = prune(&harness, &PruneOptions { max_unused: MaxUnused::default(), ..only_dead() });
    assert_eq!(report.packs_deleted, condemned.len() as u64);
    assert!(packs(&harness).is_disjoint(&condemned));
    assert_whole(&harness, &[(id, &tree)], "moved");
    forget(&harness, id);
    prune(&harness, &only_dead());
    assert_eq!(packs(&harness).len(), 0);
}

#[test]
fn a_live_snapshot_that_cannot_be_read_stops_everything() {
    let (tree, gone) = (Tree::new(11, 3), Tree::new(12, 3));
    let harness = Harness::with_repository(&small_packs());
    back_up(&harness, &tree, "tree");
    let id = back_up(&harness, &gone, "gone");
    forget(&harness, id);
    for name in harness.memory.objects().keys().filter(|name| name.as_str().starts_with("packs/m/")) {
        harness.memory.flip_byte(name, 100).expect("there");
    }
    let before = harness.memory.objects();
    let repo = harness.repository();
    let refused = gc::plan(&repo, &only_dead(), &Silent).map(drop).expect_err("nobody knows what it needs");
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("name=tree"), "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("nothing was reclaimed")), "{refused:?}");
    assert_eq!(harness.memory.objects(), before);
}

#[test]
fn what_may_not_be_read_is_not_called_damaged() {
    let harness = Harness::with_repository(&small_packs());
    let tree = Tree::new(1, 2);
    harness.backup(tree.0.path(), "tree");
    let hint = |kind| {
        let refusing = BadSectors::in_objects(harness.sink.clone(), kind, |key| key.as_str().starts_with("packs/m/"));
        let repo = harness.somebody_else().through(Arc::new(refusing)).repository();
        let error = gc::plan(&repo, &PruneOptions::default(), &Silent).map(drop).expect_err("nobody knows");
        assert_eq!(error.kind(), kind);
        error.hint().unwrap_or_default().to_owned()
    };
    assert!(hint(ErrorKind::Io).contains("or forget snapshot"));
    for kind in [ErrorKind::PermissionDenied, ErrorKind::Unavailable] {
        let hint = hint(kind);
        assert!(hint.starts_with("nothing was reclaimed; ") && !hint.contains("forget"), "{kind:?}: {hint}");
    }
}
