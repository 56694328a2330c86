//! Verification as a policy: every byte within so much time, whoever reads it, in parts, interrupted or not.

use crate::common::{Harness, noise, small_packs};
use decube_backup_core::monitor::{Monitor, Progress, Silent};
use decube_backup_core::{ErrorKind, Timestamp};
use decube_backup_engine::options::{Subset, VerifyDepth, VerifyReport};
use decube_backup_engine::repository::{NewRecord, Verdict};
use decube_backup_engine::verify::{Budget, Policy, Recording, VerifyOptions, overdue, verify_and_record};
use decube_backup_engine::{Environment, Repository};
use decube_backup_format::ids::PackName;
use decube_backup_format::log::{Payload, Stamp};
use decube_backup_testkit::StepClock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DAY_S: u64 = 86_400;
const START: Timestamp = Timestamp { seconds: 1_900_000_000, nanoseconds: 0 };

/// A repository of several packs.
fn world() -> Harness {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    for n in 0..6 {
        std::fs::write(tree.path().join(n.to_string()), noise(n, 1_100_000)).expect("file");
    }
    harness.backup(tree.path(), "tree");
    harness
}

struct Host {
    repo: Repository,
    clock: Arc<StepClock>,
}

impl Host {
    fn new(harness: &Harness, clock: StepClock) -> Self {
        let clock = Arc::new(clock);
        let env = Environment { clock: clock.clone(), threads: 1, ..harness.environment() };
        Self { repo: Repository::open(env, &harness.credentials).expect("open"), clock }
    }

    fn run(&self, budget: Budget, monitor: &dyn Monitor) -> decube_backup_core::Result<VerifyReport> {
        let policy = Policy { within_s: 30 * DAY_S, budget };
        let options = VerifyOptions { depth: VerifyDepth::Data(Subset::Due(policy)), ..VerifyOptions::default() };
        verify_and_record(&self.repo, &options, &Recording::default(), monitor)
    }

    fn verified(&self) -> BTreeMap<PackName, i64> {
        self.repo.refresh().expect("readable");
        let state = self.repo.state();
        state.live_packs().filter_map(|(name, _)| Some((name, state.verified(&name)?))).collect()
    }

    fn packs(&self) -> usize {
        self.repo.state().live_pack_count()
    }
}

const ONE_PACK: Budget = Budget { seconds: None, bytes: Some(1), percent: None };

#[test]
fn small_budgets_add_up_to_everything_and_the_longest_unread_comes_first() {
    let harness = world();
    let host = Host::new(&harness, StepClock::fixed(START));
    let packs = host.packs();
    assert!(packs > 5, "{packs}");
    for run in 1..=packs {
        let report = host.run(ONE_PACK, &Silent).expect("verify");
        assert_eq!((report.packs_read, report.recorded.verified), (1, 1), "run {run}");
        assert_eq!(report.freshness.verified_packs as usize, run);
        assert_eq!(report.freshness.unverified_packs as usize, packs - run);
        assert_eq!(report.freshness.oldest_verified, Some(START), "run {run}");
        host.clock.advance(Duration::from_secs(DAY_S));
    }
    let first_round = host.verified();
    let later = |days: usize| Timestamp { seconds: START.seconds + (days as u64 * DAY_S) as i64, nanoseconds: 0 };
    let unread = |within| {
        let overdue = overdue(&host.repo.state(), &[], within, later(packs)).expect("counted");
        assert_eq!(overdue.damaged, 0);
        overdue.unread as usize
    };
    assert_eq!(unread(30 * DAY_S), 0);
    assert_eq!(unread(DAY_S), packs - 1, "all but the last one");
    assert_eq!(host.run(ONE_PACK, &Silent).expect("verify").packs_read, 0, "nothing is due");
    // Nine tenths of thirty days after the first reading the first pack is due, and no other.
    host.clock.advance(Duration::from_secs(27 * DAY_S - packs as u64 * DAY_S));
    let report = host.run(Budget::default(), &Silent).expect("verify");
    assert_eq!(report.packs_read, 1, "only the oldest");
    let second_round = host.verified();
    let again: Vec<_> = first_round.iter().filter(|(name, time)| second_round[name] != **time).collect();
    assert_eq!(again.iter().map(|(_, time)| **time).collect::<Vec<_>>(), [START.seconds]);
    host.clock.advance(Duration::from_secs(30 * DAY_S));
    assert_eq!(host.run(Budget::default(), &Silent).expect("verify").packs_read as usize, packs);
}

#[test]
fn hosts_share_what_was_read() {
    let harness = world();
    let (one, two) = (Host::new(&harness, StepClock::fixed(START)), Host::new(&harness, StepClock::fixed(START)));
    let half = Budget { percent: Some(50.0), ..Budget::default() };
    let first = one.run(half, &Silent).expect("verify").packs_read;
    let second = two.run(Budget::default(), &Silent).expect("verify").packs_read;
    assert!(first > 0 && second > 0, "{first} {second}");
    assert_eq!((first + second) as usize, one.packs());
    assert_eq!(one.run(Budget::default(), &Silent).expect("verify").packs_read, 0);
}

/// Asks to stop once so many objects are read.
struct StopAfter(AtomicU64);

impl Monitor for StopAfter {
    fn advance(&self, what: Progress, count: u64) {
        if what == Progress::Bytes && count > 0 {
            let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        }
    }
    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn an_interrupted_run_keeps_what_it_verified_in_one_record() {
    let harness = world();
    let host = Host::new(&harness, StepClock::fixed(START));
    let records = host.repo.state().next_seq();
    let stopped = host.run(Budget::default(), &StopAfter(AtomicU64::new(3))).expect_err("stopped");
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    assert_eq!(host.verified().len(), 3);
    assert_eq!(host.repo.state().next_seq(), records + 1);
    let rest = host.run(Budget::default(), &Silent).expect("verify");
    assert_eq!(rest.packs_read as usize, host.packs() - 3);
}

#[test]
fn a_time_budget_ends_a_run_after_a_whole_pack() {
    let harness = world();
    // Every look at the clock takes ten seconds.
    let host = Host::new(&harness, StepClock::stepping(START, Duration::from_secs(10)));
    let report = host.run(Budget { seconds: Some(25), ..Budget::default() }, &Silent).expect("verify");
    assert!((1..host.packs() as u64).contains(&report.packs_read), "{}", report.packs_read);
    assert_eq!(report.recorded.verified, report.packs_read);
}

#[test]
fn a_time_in_the_future_proves_nothing() {
    let harness = world();
    let host = Host::new(&harness, StepClock::fixed(START));
    let packs: Vec<PackName> = host.repo.state().live_packs().map(|(name, _)| name).collect();
    let forged = |seconds: i64| NewRecord {
        payload: Payload::Verified { packs: packs.clone(), time: Timestamp { seconds, nanoseconds: 0 } },
        added: Vec::new(),
        reclaimed: Vec::new(),
        stamp: Stamp::default(),
    };
    host.repo.append(forged(START.seconds + 365 * 86_400), &mut |_| Ok(Verdict::Stands)).expect("appended");
    let report = host.run(ONE_PACK, &Silent).expect("verify");
    assert_eq!((report.packs_read, report.freshness.verified_packs), (1, 1));
    // Clocks of hosts differ a little; that is believed.
    host.repo.append(forged(START.seconds + 60), &mut |_| Ok(Verdict::Stands)).expect("appended");
    assert_eq!(host.run(Budget::default(), &Silent).expect("verify").packs_read, 0);
}

#[test]
fn a_plain_verification_writes_nothing() {
    let harness = world();
    let before = harness.memory.objects();
    harness.verify(crate::common::ALL_DATA);
    harness
        .memory
        .flip_byte(&before.keys().find(|k| k.as_str().starts_with("packs/d/")).expect("a pack").clone(), 900)
        .expect("damaged");
    harness.verify(crate::common::ALL_DATA);
    assert!(harness.memory.objects().keys().eq(before.keys()));
}
