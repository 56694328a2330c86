//! Which snapshot is the twin of which, and where twins stand among all.

use super::{DRY, REAL, bare, keys, options};
use crate::common::dated::{DatedSink, dated_repository};
use crate::common::{Harness, noise, series, small_packs, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Key, Timestamp};
use decube_backup_engine::backup;
use decube_backup_engine::clocks::Clocks;
use decube_backup_engine::forget::{ForgetOptions, Wanted, forget};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{BackupOptions, BackupReport, Effect, SnapshotFilter};
use decube_backup_engine::repair::{self, Content, Damaged, Outcome, REPAIRED_TAG, SnapshotsOptions, SnapshotsReport};
use decube_backup_engine::retention::{ClockTrust, Limit, Period, Policy};
use decube_backup_format::ids::SnapshotId;
use std::collections::BTreeSet;
use std::sync::Arc;

const DAY: i64 = 86_400;
/// 2024-01-01, noon.
const START: i64 = 1_704_110_400;

/// A store with a clock, and a tree each of whose files went into a data pack of its own.
struct World {
    harness: Harness,
    store: Arc<DatedSink>,
    tree: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (harness, store) = dated_repository(&small_packs());
        Self { harness, store, tree: tempfile::tempdir().expect("temp") }
    }

    /// Backs up on day `day`, after `name` was written; the data pack it went into.
    fn add(&self, name: &str, day: i64) -> (SnapshotId, Key) {
        let before: BTreeSet<Key> = keys(&self.harness, "packs/d/").into_iter().collect();
        std::fs::write(self.tree.path().join(name), noise(name.len() as u64, 50_000)).expect("file");
        let id = self.backup(day, BackupOptions::default().tags).snapshot.expect("a snapshot");
        let new = keys(&self.harness, "packs/d/").into_iter().find(|key| !before.contains(key));
        (id, new.expect("a data pack"))
    }

    fn backup(&self, day: i64, tags: Vec<String>) -> BackupReport {
        self.store.set_time(START + day * DAY);
        let time = Some(Timestamp { seconds: START + day * DAY - 30, nanoseconds: 0 });
        let options = BackupOptions { time, tags, ..series("tree") };
        backup::backup(&self.harness.repository(), &source_of(self.tree.path()), &options, &Silent).expect("backup")
    }

    fn repair(&self, effect: Effect, damaged: Damaged, only: Option<Vec<SnapshotId>>) -> SnapshotsReport {
        repair_on(&self.harness, effect, &SnapshotsOptions { only, damaged })
    }

    fn select(&self, selector: &str) -> SnapshotId {
        self.harness.repository().select(selector, None).expect("named").0.id
    }

    fn live(&self) -> Vec<SnapshotId> {
        self.harness.repository().snapshots(&SnapshotFilter::default()).iter().map(|s| s.id).collect()
    }

    /// What a policy would leave, whatever the guard says.
    fn kept(&self, policy: Policy) -> BTreeSet<SnapshotId> {
        let wanted = Wanted::Policy(SnapshotFilter::default(), Box::new(policy));
        let options = ForgetOptions { effect: DRY, ..ForgetOptions::new(wanted) };
        let report = forget(&self.harness.repository(), &options).expect("decided");
        let dropped: BTreeSet<SnapshotId> = report.dropped().map(|d| d.subject.id).collect();
        self.live().into_iter().filter(|id| !dropped.contains(id)).collect()
    }

    fn hide(&self, ids: &[SnapshotId]) {
        let options = ForgetOptions::new(Wanted::Named(ids.to_vec()));
        assert_eq!(forget(&self.harness.repository(), &options).expect("done").forgotten, ids);
    }
}

fn repair_on(harness: &Harness, effect: Effect, choice: &SnapshotsOptions) -> SnapshotsReport {
    repair::snapshots(&bare(harness), &options(effect, Content::Structure), choice, &Silent).expect("repair")
}

fn made(report: &SnapshotsReport, original: SnapshotId) -> SnapshotId {
    let outcome = report.damaged.iter().find(|damaged| damaged.id == original).expect("damaged").outcome;
    let twin = if let Outcome::Made(twin) = outcome { Some(twin) } else { None };
    twin.expect("a twin was made")
}

fn last(n: u32) -> Policy {
    Policy { last: Limit::Newest(n), ..Policy::default() }
}

#[test]
fn a_twin_made_when_other_packs_were_missing_is_no_reason_to_forget() {
    let world = World::new();
    let (_, pack_a) = world.add("a", 0);
    let (both, pack_b) = world.add("bb", 1);
    let a = world.harness.memory.objects()[&pack_a].clone();
    world.harness.memory.remove(&pack_a).expect("there");
    let without_a = made(&world.repair(REAL, Damaged::Keep, Some(vec![both])), both);
    crate::common::damage::put(&world.harness, &pack_a, a);
    world.harness.memory.remove(&pack_b).expect("there");

    let planned = world.repair(DRY, Damaged::Forget, Some(vec![both]));
    assert_eq!((planned.damaged[0].outcome, planned.damaged[0].to_do), (Outcome::Planned, true));
    let report = world.repair(REAL, Damaged::Forget, Some(vec![both]));
    let without_b = made(&report, both);
    assert!(without_b != without_a && report.damaged[0].forgotten && !report.damaged[0].to_do);
    assert!(!world.live().contains(&both));
    // The first snapshot has it too; only what the twin keeps is of interest here.
    world.hide(&[world.live()[0]]);
    let prune = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    gc::plan(&world.harness.repository(), &prune, &Silent).expect("planned").run(&Silent).expect("pruned");
    let (to, restored) = world.harness.restore(&without_b, world.tree.path());
    assert!(restored.problems.is_empty(), "{:?}", restored.problem_list);
    assert_eq!(std::fs::read(to.path().join("a")).expect("restored"), noise(1, 50_000));
}

#[test]
fn a_twin_that_lacks_what_was_put_back_since_is_no_reason_to_forget() {
    let world = World::new();
    let (_, pack_a) = world.add("a", 0);
    let (both, pack_b) = world.add("bb", 1);
    let a = world.harness.memory.objects()[&pack_a].clone();
    for pack in [&pack_a, &pack_b] {
        world.harness.memory.remove(pack).expect("there");
    }
    let without_both = made(&world.repair(REAL, Damaged::Keep, Some(vec![both])), both);
    crate::common::damage::put(&world.harness, &pack_a, a);
    let without_b = made(&world.repair(REAL, Damaged::Forget, Some(vec![both])), both);
    assert!(world.live().contains(&without_both), "it is whole, and nobody asked for it to go");
    let (to, _) = world.harness.restore(&without_b, world.tree.path());
    assert_eq!(std::fs::read(to.path().join("a")).expect("restored"), noise(1, 50_000));
}

#[test]
fn a_backup_that_is_called_repaired_is_no_twin() {
    let world = World::new();
    let (_, pack_a) = world.add("a", 0);
    let (both, _) = world.add("bb", 1);
    std::fs::remove_file(world.tree.path().join("bb")).expect("removed");
    let later = world.backup(2, vec![REPAIRED_TAG.to_owned()]);
    assert_eq!(later.parent, Some(both));
    world.harness.memory.remove(&pack_a).expect("there");
    let report = world.repair(REAL, Damaged::Forget, Some(vec![both]));
    assert!(Some(made(&report, both)) != later.snapshot);
    assert_eq!(world.select("tree"), later.snapshot.expect("a snapshot"), "it stands where it was made");
}

#[test]
fn a_twin_stands_right_before_its_original_and_never_for_what_came_after() {
    let world = World::new();
    let (first, pack_a) = world.add("a", 0);
    let (second, _) = world.add("bb", 1);
    std::fs::remove_file(world.tree.path().join("a")).expect("removed");
    let (third, _) = world.add("ccc", 2);
    world.harness.memory.remove(&pack_a).expect("there");
    world.store.set_time(START + 3 * DAY);
    let report = world.repair(REAL, Damaged::Keep, None);
    let (of_first, of_second) = (made(&report, first), made(&report, second));

    assert_eq!(world.live(), [of_first, first, of_second, second, third]);
    for (selector, expected) in [
        ("latest", third),
        ("tree", third),
        ("tree~1", second),
        ("tree~2", of_second),
        ("tree@2024-01-02", second),
        ("latest~3", first),
    ] {
        assert_eq!(world.select(selector), expected, "{selector}");
    }
    let newest = SnapshotFilter { latest: Some(1), ..SnapshotFilter::default() };
    assert_eq!(world.harness.repository().snapshots(&newest)[0].id, third);
    let clocks = Clocks::read(&world.harness.repository()).expect("judged");
    for (twin, original) in [(of_first, first), (of_second, second)] {
        assert_eq!(clocks.moment(&twin), clocks.moment(&original));
    }
    assert_eq!(clocks.moment(&third).clock, ClockTrust::Believed);

    let daily = |n| Policy::default().keeping(Period::Day, Limit::Newest(n));
    assert_eq!(world.kept(last(1)), [third].into());
    assert_eq!(world.kept(daily(1)), [third].into());
    // Copies take no place: all three days stay.
    assert!(world.kept(last(3)).is_superset(&[first, second, third].into()));
    assert_eq!(world.kept(daily(2)), [second, third].into());
    assert_eq!(world.backup(4, Vec::new()).parent, Some(third));

    // Where the original is gone, its twin stands for it; and where it is the newest, the copy is what a backup goes on from.
    world.hide(&[third, world.select("latest")]);
    assert_eq!((world.select("latest"), world.select("tree~1")), (second, of_second));
    assert_eq!(world.backup(5, Vec::new()).parent, Some(of_second));
    world.hide(&[second]);
    assert_eq!((world.select("tree~1"), world.select("tree~2")), (of_second, first));
    assert!(world.kept(daily(2)).contains(&of_second));
}

#[test]
fn twins_are_no_witnesses_of_what_time_it_was() {
    let world = World::new();
    let (_, pack_a) = world.add("a", 0);
    for day in 1..6 {
        world.backup(day, Vec::new());
    }
    std::fs::remove_file(world.tree.path().join("a")).expect("removed");
    let (newest, _) = world.add("bb", 6);
    world.harness.memory.remove(&pack_a).expect("there");
    world.store.set_time(START + 7 * DAY);
    // More late records of old times than there are of new ones.
    assert_eq!(world.repair(REAL, Damaged::Keep, None).damaged.len(), 6);
    assert_eq!(world.select("latest"), newest);
    let dated = world.harness.repository().dated_snapshots(&SnapshotFilter::default());
    assert!(dated.iter().all(|(time, snapshot)| *time == snapshot.manifest.begun), "{dated:?}");
    // A copy of the repository that kept no times.
    world.store.copy_without_times();
    assert_eq!(world.kept(last(1)), [newest].into());
}

#[test]
fn two_repairs_at_once_make_one_twin() {
    for damaged in [Damaged::Keep, Damaged::Forget] {
        let world = World::new();
        let (first, pack_a) = world.add("a", 0);
        let (second, _) = world.add("bb", 1);
        world.harness.memory.remove(&pack_a).expect("there");
        let other = world.harness.somebody_else();
        let choice = SnapshotsOptions { damaged, only: None };
        let theirs = choice.clone();
        world.store.before_next_record(move || drop(repair_on(&other, REAL, &theirs)));
        let report = repair_on(&world.harness, REAL, &choice);
        assert!(report.damaged.iter().all(|d| matches!(d.outcome, Outcome::Known(_))), "{report:?}");
        let kept = if damaged == Damaged::Keep { 4 } else { 2 };
        assert_eq!(world.live().len(), kept, "{report:?}");
        assert_eq!(world.live().contains(&first) && world.live().contains(&second), damaged == Damaged::Keep);
        assert_eq!(report.damaged[0].forgotten, damaged == Damaged::Forget);
    }
}

#[test]
fn a_dry_run_says_whether_anything_is_left_to_do() {
    let world = World::new();
    let (first, pack_a) = world.add("a", 0);
    world.add("bb", 1);
    world.harness.memory.remove(&pack_a).expect("there");
    let to_do = |damaged| world.repair(DRY, damaged, Some(vec![first])).damaged[0].to_do;
    assert!(to_do(Damaged::Keep) && to_do(Damaged::Forget));
    world.repair(REAL, Damaged::Keep, Some(vec![first]));
    assert!(!to_do(Damaged::Keep) && to_do(Damaged::Forget));
    decube_backup_engine::tags::pin(
        &world.harness.repository(),
        &[first],
        decube_backup_format::checkpoint::Pin::Forever,
    )
    .expect("pinned");
    assert!(!to_do(Damaged::Forget));
}
