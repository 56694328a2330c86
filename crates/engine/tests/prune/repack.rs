//! Copying what is needed of packs that go: less is stored, everything comes back.

use crate::common::records::{append, forget, packs};
use crate::common::{Harness, noise, small_packs};
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::{Monitor, Progress, Silent};
use decube_backup_engine::backup;
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions, PruneReport, PruneSummary};
use decube_backup_engine::options::{BackupOptions, ChangeDetection};
use decube_backup_format::ids::{PackKind, SnapshotId, pack_key};
use decube_backup_format::log::Payload;
use decube_backup_testkit::{Op, RecordingSink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn everything() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), orphan_age: Duration::ZERO, ..PruneOptions::default() }
}

fn prune_with(
    harness: &Harness,
    options: &PruneOptions,
    monitor: &dyn Monitor,
) -> decube_backup_core::Result<(PruneSummary, PruneReport)> {
    let repo = harness.open()?;
    let plan = gc::plan(&repo, options, monitor)?;
    let summary = *plan.summary();
    Ok((summary, plan.run(monitor)?))
}

fn prune(harness: &Harness) -> (PruneSummary, PruneReport) {
    prune_with(harness, &everything(), &Silent).expect("prune")
}

/// Bytes of the packs in the store.
fn stored(harness: &Harness) -> usize {
    let objects = harness.memory.objects();
    objects.iter().filter(|(name, _)| name.as_str().starts_with("packs/")).map(|(_, object)| object.len()).sum()
}

fn tree_of(files: impl IntoIterator<Item = u64>) -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("temp");
    for n in files {
        std::fs::write(tree.path().join(format!("f{n:03}")), noise(n, 250_000)).expect("file");
        std::fs::write(tree.path().join(format!("t{n:03}")), format!("{n} lines of text\n").repeat(20_000))
            .expect("file");
    }
    tree
}

fn back_up(harness: &Harness, tree: &Path, name: &str) -> SnapshotId {
    harness.backup(tree, name).snapshot.expect("a snapshot")
}

/// All that is live restores, and another prune finds nothing to do.
fn assert_settled(harness: &Harness, expected: &[(SnapshotId, &Path)], context: &str) {
    for user in [harness.somebody_else(), harness.through(harness.sink.clone())] {
        user.assert_sound(context);
        for (id, tree) in expected {
            user.assert_restores(id, tree, context);
        }
    }
    let repo = harness.repository();
    let plan = gc::plan(&repo, &everything(), &Silent).expect("plan");
    assert!(plan.summary().is_nothing(), "{context}: {:?}", plan.summary());
}

/// Every second file of a forgotten snapshot lives on in another.
fn half_needed(seed: u64) -> (Harness, SnapshotId, tempfile::TempDir) {
    let (all, half) = (tree_of(seed..seed + 12), tree_of((seed..seed + 12).step_by(2)));
    let harness = Harness::with_repository(&small_packs());
    let gone = back_up(&harness, all.path(), "all");
    let kept = back_up(&harness, half.path(), "half");
    forget(&harness, gone);
    (harness, kept, half)
}

#[test]
fn what_is_needed_of_half_empty_packs_is_copied_and_they_go() {
    let (harness, kept, half) = half_needed(100);
    let (before, old) = (stored(&harness), packs(&harness));
    let (summary, report) = prune(&harness);
    assert!(summary.packs_sparse.count > 0 && summary.bytes_copied > 6 * 250_000, "{summary:?}");
    assert!(report.packs_written > 0 && report.packs_spared == 0, "{report:?}");
    assert!(stored(&harness) < before * 6 / 10, "{} of {before} left", stored(&harness));
    assert!(packs(&harness).iter().any(|pack| !old.contains(pack)));
    assert_settled(&harness, &[(kept, half.path())], "half needed");
    // What the plan said is what came of it, padding aside.
    let freed = (before - stored(&harness)) as i64;
    assert!((freed - summary.bytes_freed as i64).abs() < before as i64 / 10, "{freed} of {}", summary.bytes_freed);
}

#[test]
fn limits_leave_something_for_the_next_prune() {
    let (harness, kept, half) = half_needed(200);
    let limited = PruneOptions { repack_bytes_max: Some(700_000), ..everything() };
    let mut rounds = 0;
    loop {
        let (summary, _) = prune_with(&harness, &limited, &Silent).expect("prune");
        assert!(summary.bytes_copied <= 700_000, "{summary:?}");
        if summary.bytes_copied == 0 {
            break;
        }
        rounds += 1;
        harness.assert_restores(&kept, half.path(), "on the way");
    }
    assert!(rounds > 1, "{rounds}");
    prune(&harness);
    assert_settled(&harness, &[(kept, half.path())], "in parts");
    let unlimited = PruneOptions { max_unused: MaxUnused::Unlimited, ..everything() };
    let (harness, kept, half) = half_needed(250);
    let (summary, report) = prune_with(&harness, &unlimited, &Silent).expect("prune");
    assert_eq!((summary.bytes_copied, report.packs_written), (0, 0));
    harness.assert_restores(&kept, half.path(), "nothing copied");
}

#[test]
fn many_small_packs_become_few() {
    let harness = Harness::with_repository(&small_packs());
    let trees: Vec<_> = (0..12)
        .map(|n| {
            let tree = tempfile::tempdir().expect("temp");
            std::fs::write(tree.path().join("small"), noise(300 + n, 9_000)).expect("file");
            tree
        })
        .collect();
    let ids: Vec<SnapshotId> =
        (0..).zip(&trees).map(|(n, tree)| back_up(&harness, tree.path(), &format!("s{n}"))).collect();
    let many = packs(&harness).len();
    let (summary, report) = prune(&harness);
    assert_eq!((many, summary.packs_small.count), (24, 24));
    assert_eq!((report.packs_written, packs(&harness).len()), (2, 2));
    let expected: Vec<(SnapshotId, &Path)> = ids.iter().zip(&trees).map(|(id, tree)| (*id, tree.path())).collect();
    assert_settled(&harness, &expected, "small packs");
    let again = harness.backup(trees[3].path(), "s3");
    assert_eq!((again.chunks_new, again.files_unchanged), (0, 1));
}

#[test]
fn what_is_stored_twice_is_kept_once() {
    let tree = tree_of(400..408);
    let harness = Harness::with_repository(&small_packs());
    let first = back_up(&harness, tree.path(), "one");
    let once = stored(&harness);
    let old: Vec<_> = packs(&harness).into_iter().collect();
    append(&harness.repository(), Payload::Condemn { packs: old.clone(), released: Vec::new() }, Vec::new());
    let second = back_up(&harness, tree.path(), "two");
    append(&harness.repository(), Payload::Condemn { packs: Vec::new(), released: old }, Vec::new());
    assert!(stored(&harness) > once * 19 / 10);
    let (summary, _) = prune(&harness);
    assert_eq!(summary.bytes_copied, 0, "one of two equal packs is simply dropped: {summary:?}");
    assert!(stored(&harness) < once * 11 / 10, "{} of {once}", stored(&harness));
    assert_settled(&harness, &[(first, tree.path()), (second, tree.path())], "stored twice");
}

#[test]
fn of_two_copies_the_whole_one_stays() {
    for victim in 0..2 {
        let tree = tree_of(450..456);
        let harness = Harness::with_repository(&small_packs());
        let first = back_up(&harness, tree.path(), "one");
        let old: Vec<_> = packs(&harness).into_iter().collect();
        append(&harness.repository(), Payload::Condemn { packs: old.clone(), released: Vec::new() }, Vec::new());
        back_up(&harness, tree.path(), "two");
        append(&harness.repository(), Payload::Condemn { packs: Vec::new(), released: old.clone() }, Vec::new());
        let new: Vec<_> = packs(&harness).into_iter().filter(|pack| !old.contains(pack)).collect();
        for pack in [&old, &new][victim].iter().filter(|pack| pack.kind == PackKind::Data) {
            let key = pack_key(pack).expect("a name");
            for offset in (2_000..harness.memory.objects()[&key].len().saturating_sub(4_000)).step_by(20_000) {
                harness.memory.flip_byte(&key, offset).expect("there");
            }
        }
        prune(&harness);
        prune(&harness);
        let fresh = harness.somebody_else();
        let (to, report) = fresh.restore(&first, tree.path());
        assert!(report.problems.is_empty(), "{victim}: {:?}", report.problem_list);
        crate::common::assert_same(tree.path(), to.path(), "one copy is whole");
    }
}

#[test]
fn a_damaged_pack_that_was_to_be_copied_stays_as_it_is() {
    let (harness, kept, half) = half_needed(500);
    let state = harness.repository().state();
    let content = state.live_packs().filter(|(name, _)| name.kind == PackKind::Data);
    let damaged = content.max_by_key(|(_, info)| info.len).expect("a pack").0;
    let key = pack_key(&damaged).expect("a name");
    for offset in (2_000..harness.memory.objects()[&key].len() - 4_000).step_by(20_000) {
        harness.memory.flip_byte(&key, offset).expect("there");
    }
    let (_, report) = prune(&harness);
    assert!(report.packs_deleted > 0 && report.packs_damaged == 1, "{report:?}");
    assert!(packs(&harness).contains(&damaged), "its live chunks have no other place");
    let report = harness.verify(crate::common::ALL_DATA);
    assert!(report.damages.iter().all(|damage| damage.object == key.as_str()), "{:?}", report.damages);
    let (to, restored) = harness.restore(&kept, half.path());
    assert!(restored.files_restored > 6, "{restored:?}");
    drop(to);
}

/// Asks to stop once so many bytes are stored.
struct StopAfter(AtomicU64);

impl Monitor for StopAfter {
    fn advance(&self, what: Progress, count: u64) {
        if what == Progress::BytesStored {
            let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(count)));
        }
    }
    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn a_prune_that_is_stopped_copies_nothing_twice() {
    let (all, half) = (tree_of(600..640), tree_of((600..640).step_by(2)));
    let harness = Harness::with_repository(&small_packs());
    let gone = back_up(&harness, all.path(), "all");
    let kept = back_up(&harness, half.path(), "half");
    forget(&harness, gone);
    let stopped = prune_with(&harness, &everything(), &StopAfter(AtomicU64::new(1_500_000)));
    let error = stopped.expect_err("stopped");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.hint().is_some_and(|hint| hint.contains("goes on from there")), "{error:?}");
    harness.assert_sound("stopped");
    harness.assert_restores(&kept, half.path(), "stopped");
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    let (summary, _) = prune(&harness.through(recording.clone()));
    let written = recording.tally(Op::Put, "packs/").amount;
    assert!(summary.bytes_copied < 20 * 250_000 - 1_000_000, "{summary:?}");
    assert!(written < 20 * 250_000, "{written}");
    assert_settled(&harness, &[(kept, half.path())], "stopped and run again");
}

/// Content that is stored again, because its packs are missing, short or damaged, stays where it is whole.
#[test]
fn what_is_kept_of_two_copies_is_the_one_that_is_there() {
    for (what, is_recorded) in [("missing", false), ("short", false), ("damaged", true)] {
        let tree = tree_of(900..924);
        let harness = Harness::with_repository(&small_packs());
        let first = back_up(&harness, tree.path(), "tree");
        let lost: Vec<_> = packs(&harness).into_iter().filter(|pack| pack.kind == PackKind::Data).collect();
        for pack in &lost {
            let key = pack_key(pack).expect("key");
            match what {
                "missing" => harness.memory.remove(&key),
                "short" => harness.memory.truncate(&key, 1000),
                _ => harness.memory.flip_byte(&key, 1000),
            }
            .expect("there");
        }
        if is_recorded {
            append(&harness.repository(), Payload::Damaged { packs: lost.clone(), healed: Vec::new() }, Vec::new());
        }
        let options = BackupOptions { detection: ChangeDetection::ReadAll, ..crate::common::series("tree") };
        let again = backup::backup(&harness.repository(), &crate::common::source_of(tree.path()), &options, &Silent);
        let again = again.expect("backup").snapshot.expect("a snapshot");
        let new: Vec<_> = packs(&harness).into_iter().filter(|pack| pack.kind == PackKind::Data).collect();
        assert_eq!(new.len(), 2 * lost.len(), "{what}");
        let (summary, report) = prune(&harness);
        assert_eq!(
            (summary.packs_dead.count, summary.packs_sparse.count),
            (lost.len() as u64, 0),
            "{what}: {summary:?}"
        );
        assert_eq!((report.packs_damaged, report.packs_spared), (0, 0), "{what}: {report:?}");
        assert!(packs(&harness).iter().all(|pack| !lost.contains(pack)), "{what}");
        assert_settled(&harness, &[(first, tree.path()), (again, tree.path())], what);
    }
}
