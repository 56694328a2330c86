//! Forgetting by policy and by name, pins, clocks that are off by years, and giving back.

mod races;
mod undelete;

use crate::common::dated::{DatedSink, dated_repository};
use crate::common::{Harness, noise, series, small_packs, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, Timestamp};
use decube_backup_engine::clocks::Clocks;
use decube_backup_engine::forget::{ForgetOptions, ForgetReport, Wanted, forget};
use decube_backup_engine::options::{BackupOptions, Effect, SnapshotFilter};
use decube_backup_engine::repository::{NewRecord, Repository, Verdict};
use decube_backup_engine::retention::{ClockTrust, Limit, Period, Policy, Refusal};
use decube_backup_engine::{backup, tags};
use decube_backup_format::checkpoint::Pin;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::log::{ObjectName, Payload, Stamp};
use decube_backup_testkit::{Op, RecordingSink};
use std::sync::Arc;

const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;
/// 2024-01-01, noon: past, whatever the host's clock says.
const START: i64 = 1_704_110_400;

/// A repository on a store with a clock, and a tree.
struct World {
    harness: Harness,
    store: Arc<DatedSink>,
    tree: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (harness, store) = dated_repository(&small_packs());
        let world = Self { harness, store, tree: tempfile::tempdir().expect("temp") };
        world.write("a", 1);
        world
    }

    fn write(&self, name: &str, seed: u64) {
        std::fs::write(self.tree.path().join(name), noise(seed, 50_000)).expect("file");
    }

    /// A backup at noon of day `day` by the store's clock; the client's is `skew` seconds ahead.
    fn backup(&self, day: i64, skew: i64) -> SnapshotId {
        self.backup_as("tree", day, skew)
    }

    fn backup_as(&self, name: &str, day: i64, skew: i64) -> SnapshotId {
        let now = START + day * DAY;
        self.store.set_time(now);
        let time = Some(Timestamp { seconds: now - 30 + skew, nanoseconds: 0 });
        let options = BackupOptions { time, ..series(name) };
        let repo = self.harness.repository();
        let report = backup::backup(&repo, &source_of(self.tree.path()), &options, &Silent).expect("backup");
        report.snapshot.expect("a snapshot")
    }

    fn days(&self, days: std::ops::Range<i64>) -> Vec<SnapshotId> {
        days.map(|day| self.backup(day, 0)).collect()
    }

    fn live(&self) -> Vec<SnapshotId> {
        self.harness.repository().snapshots(&SnapshotFilter::default()).iter().map(|s| s.id).collect()
    }

    fn forget(&self, wanted: Wanted) -> ForgetReport {
        forget(&self.harness.repository(), &ForgetOptions::new(wanted)).expect("decided")
    }

    fn forget_by(&self, policy: Policy) -> ForgetReport {
        self.forget(Wanted::Policy(SnapshotFilter::default(), Box::new(policy)))
    }

    /// What somebody else could do at the same time.
    fn other(&self) -> Harness {
        self.harness.somebody_else()
    }
}

fn daily(n: u32) -> Policy {
    Policy::default().keeping(Period::Day, Limit::Newest(n))
}

fn named(ids: &[SnapshotId]) -> Wanted {
    Wanted::Named(ids.to_vec())
}

fn hide(harness: &Harness, ids: &[SnapshotId]) {
    append(&harness.repository(), Payload::Forget { snapshots: ids.to_vec() }, Vec::new());
}

fn append(repo: &Repository, payload: Payload, reclaimed: Vec<ObjectName>) {
    let record = NewRecord { payload, added: Vec::new(), reclaimed, stamp: Stamp::default() };
    repo.append(record, &mut |_| Ok(Verdict::Stands)).expect("appended");
}

#[test]
fn a_policy_hides_what_it_does_not_keep_with_one_record_and_then_nothing_more() {
    let world = World::new();
    let all = world.days(0..8);
    let records = world.harness.repository().state().next_seq();
    let dry = forget(
        &world.harness.repository(),
        &ForgetOptions {
            effect: Effect::DryRun,
            ..ForgetOptions::new(Wanted::Policy(SnapshotFilter::default(), Box::new(daily(5))))
        },
    );
    assert_eq!(dry.expect("decided").dropped().count(), 3);
    assert_eq!(world.live(), all, "a dry run writes nothing");
    let report = world.forget_by(daily(5));
    assert_eq!((report.forgotten.as_slice(), report.records.as_slice()), (&all[..3], &[records][..]));
    assert_eq!((report.decisions.len(), report.live), (8, 8));
    assert_eq!(world.live(), &all[3..]);
    let again = world.forget_by(daily(5));
    assert!(again.forgotten.is_empty() && again.records.is_empty());
    assert_eq!(world.harness.repository().state().next_seq(), records + 1);
    world.harness.assert_sound("forgotten by policy");
    let forgotten = world.harness.repository().forgotten(&SnapshotFilter::default());
    assert_eq!(forgotten.iter().map(|s| s.id).collect::<Vec<_>>(), &all[..3]);
}

#[test]
fn clocks_that_are_years_off_are_flagged_and_make_no_real_snapshot_go() {
    let world = World::new();
    let real = world.days(0..6);
    let mut bent = Vec::new();
    for n in 0..12 {
        let years = if n % 2 == 0 { n + 1 } else { -n };
        bent.push(world.backup(6, years * YEAR));
    }
    let repo = world.harness.repository();
    let clocks = Clocks::read(&repo).expect("judged");
    assert!(bent.iter().all(|id| clocks.moment(id).clock == ClockTrust::Flagged));
    assert!(real.iter().all(|id| clocks.moment(id).clock == ClockTrust::Believed));
    assert!(bent.iter().all(|id| clocks.moment(id).time.seconds == START + 6 * DAY));
    for policy in [daily(6), Policy { last: Limit::Newest(6), ..Policy::default() }] {
        let mut dry = ForgetOptions::new(Wanted::Policy(SnapshotFilter::default(), Box::new(policy)));
        dry.effect = Effect::DryRun;
        let report = forget(&repo, &dry).expect("decided");
        assert!(report.dropped().count() > 5);
        assert!(report.dropped().all(|d| bent.contains(&d.subject.id)), "{:?}", report.decisions);
    }
    // Honest ones push them out as they would each other.
    let later = world.days(7..9);
    let mut options = ForgetOptions::new(Wanted::Policy(SnapshotFilter::default(), Box::new(daily(2))));
    options.limits.share_percent_max = Some(100);
    forget(&repo, &options).expect("done");
    assert_eq!(world.live(), later);
}

#[test]
fn one_clock_years_ahead_is_not_the_latest_for_years() {
    let world = World::new();
    let before = world.days(0..2);
    let ahead = world.backup(2, 5 * YEAR);
    let latest = |selector: &str| world.harness.repository().select(selector, None).expect("named").0.id;
    assert_eq!(latest("latest"), ahead, "nothing was recorded since");
    let after = world.days(3..5);
    assert_eq!((latest("latest"), latest("tree~1"), latest("tree~2")), (after[1], after[0], ahead));
    let at = |day: i64| Some(Timestamp { seconds: START + day * DAY, nanoseconds: 0 });
    let as_of = |day| world.harness.repository().select("tree", at(day)).expect("named").0.id;
    assert_eq!((as_of(1), as_of(3)), (before[1], after[0]));
    // Brought in later, of a time long ago: it stays there.
    let old = world.backup(6, -YEAR);
    assert_eq!((latest("latest"), latest("tree~5")), (after[1], old));
}

#[test]
fn a_log_copied_without_times_is_not_one_day() {
    let world = World::new();
    let all = world.days(0..6);
    world.store.set_time(START + 500 * DAY);
    world.store.copy_without_times();
    let report = world.forget_by(daily(4));
    assert_eq!(report.forgotten, &all[..2]);
}

#[test]
fn the_guard_refuses_and_nothing_is_written() {
    let world = World::new();
    let tree = world.days(0..5);
    let lone = world.backup_as("lone", 5, 0);
    let before = world.harness.memory.objects();
    let all_of = |name: &str| Wanted::Matching(SnapshotFilter { name: Some(name.into()), ..SnapshotFilter::default() });
    for (wanted, empties) in [
        (Wanted::Policy(SnapshotFilter::default(), Box::new(daily(1))), false),
        (all_of("lone"), true),
        (all_of("tree"), true),
        (named(&[lone]), true),
        (named(&tree), true),
        (Wanted::Matching(SnapshotFilter::default()), true),
    ] {
        let report = world.forget(wanted.clone());
        let refusal = report.refusal.as_ref().expect("refused");
        assert_eq!(matches!(refusal, Refusal::EmptyGroups(_)), empties, "{wanted:?}: {refusal}");
        assert_eq!(report.check().expect_err("refused").kind(), ErrorKind::Refused);
        assert!(report.forgotten.is_empty() && report.records.is_empty());
    }
    assert_eq!(world.harness.memory.objects(), before);
    // Named one by one they may be any share, as long as one is left.
    assert_eq!(world.forget(named(&tree[1..])).forgotten, &tree[1..]);
    let mut options = ForgetOptions::new(named(&[lone]));
    options.limits.allow_empty_group = true;
    assert_eq!(forget(&world.harness.repository(), &options).expect("told").forgotten, [lone]);
    assert_eq!(world.live(), [tree[0]]);
}

#[test]
fn no_policy_and_nobody_forgets_what_is_pinned() {
    let world = World::new();
    let all = world.days(0..4);
    let repo = world.harness.repository();
    tags::pin(&repo, &all[..1], Pin::Forever).expect("pinned");
    let end = Timestamp { seconds: START + 6 * DAY, nanoseconds: 0 };
    tags::pin(&repo, &all[1..2], Pin::Until(end)).expect("pinned");
    let records = repo.state().next_seq();
    tags::pin(&repo, &all[..1], Pin::Forever).expect("pinned already");
    assert_eq!(repo.state().next_seq(), records, "what is so already needs no record");
    assert_eq!(world.forget_by(daily(1)).forgotten, &all[2..3]);
    let refused = world.forget(named(&all[1..2]));
    assert_eq!(refused.refusal, Some(Refusal::Pinned(vec![all[1]])));
    // The clients' clock has passed the end long ago; only the store's counts.
    let clocks = Clocks::read(&world.harness.repository()).expect("judged");
    assert!(clocks.in_force(Pin::Until(end)));
    let last = world.backup(7, 0);
    assert_eq!(world.forget_by(daily(1)).forgotten, [all[1], all[3]]);
    tags::pin(&world.harness.repository(), &all[..1], Pin::None).expect("unpinned");
    assert_eq!(world.forget_by(daily(1)).forgotten, [all[0]]);
    assert_eq!(world.live(), [last]);
    let error = tags::pin(&world.harness.repository(), &all[..1], Pin::Forever).expect_err("forgotten");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn filters_choose_by_host_name_tag_label_and_path() {
    let world = World::new();
    let options = |name: &str, host: &str| BackupOptions {
        host: host.into(),
        tags: vec![format!("{name}-tag")],
        labels: [("of".to_owned(), name.to_owned())].into(),
        pipeline: Some(format!("{name}-pipe")),
        ..series(name)
    };
    let make = |name: &str, host: &str| {
        let repo = world.harness.repository();
        let report = backup::backup(&repo, &source_of(world.tree.path()), &options(name, host), &Silent);
        report.expect("backup").snapshot.expect("a snapshot")
    };
    let ids = [make("x", "one"), make("y", "one"), make("x", "two")];
    let path = world.harness.snapshot(&ids[0]).manifest.paths[0].clone();
    let any = SnapshotFilter::default;
    for (filter, expected) in [
        (SnapshotFilter { host: Some("one".into()), ..any() }, vec![0, 1]),
        (SnapshotFilter { name: Some("x".into()), ..any() }, vec![0, 2]),
        (SnapshotFilter { name: Some("x".into()), host: Some("two".into()), ..any() }, vec![2]),
        (SnapshotFilter { tags: vec!["y-tag".into()], ..any() }, vec![1]),
        (SnapshotFilter { labels: [("of".to_owned(), "x".to_owned())].into(), ..any() }, vec![0, 2]),
        (SnapshotFilter { labels: [("of".to_owned(), "z".to_owned())].into(), ..any() }, vec![]),
        (SnapshotFilter { path: Some(path), ..any() }, vec![0, 1, 2]),
        (SnapshotFilter { path: Some("/elsewhere".into()), ..any() }, vec![]),
        (SnapshotFilter { pipeline: Some("y-pipe".into()), ..any() }, vec![1]),
    ] {
        let mut dry = ForgetOptions::new(Wanted::Matching(filter.clone()));
        dry.effect = Effect::DryRun;
        let report = forget(&world.harness.repository(), &dry).expect("decided");
        let expected: Vec<SnapshotId> = expected.into_iter().map(|n: usize| ids[n]).collect();
        assert_eq!(report.dropped().map(|d| d.subject.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

#[test]
fn a_run_of_a_policy_costs_one_listing_and_one_record() {
    let world = World::new();
    world.days(0..6);
    let recording = Arc::new(RecordingSink::new(world.harness.sink.clone()));
    let repo = world.harness.through(recording.clone()).repository();
    recording.reset();
    let options = ForgetOptions::new(Wanted::Policy(SnapshotFilter::default(), Box::new(daily(4))));
    assert_eq!(forget(&repo, &options).expect("done").forgotten.len(), 2);
    let calls = |op| recording.tally(op, "").calls;
    // Two looks for a next record, and our own read back.
    assert_eq!((calls(Op::List), calls(Op::Put), calls(Op::Delete)), (1, 1, 0));
    assert!(calls(Op::Get) <= 3, "{}", calls(Op::Get));
}
