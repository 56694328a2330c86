//! Backups that end early: no snapshot pretends to be whole.

use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::{Harness, path, series, small_packs, two_trees};
use decube_backup_core::entry::Entry;
use decube_backup_core::monitor::{Monitor, Problem, Progress, Silent};
use decube_backup_core::source::{Content, Scan, ScanItem, Scanned, Source, SourceInfo};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::backup;
use decube_backup_engine::options::{Effect, SnapshotFilter};
use decube_backup_engine::repair::{self, RepairOptions, SnapshotsOptions};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn files(count: u64, len: u64) -> MadeUp {
    let file = |seed| MadeUpFile { path: path(&format!("f{seed:06}")), seed, len, behaviour: Behaviour::Fine };
    MadeUp::new((0..count).map(file).collect())
}

/// At the end of the scan the source is gone.
struct Vanishing(MadeUp);

struct VanishingScan(Box<dyn Scan>);

#[async_trait::async_trait]
impl Scan for VanishingScan {
    async fn next(&mut self) -> Result<Option<Vec<ScanItem>>> {
        let batch = self.0.next().await?;
        batch.map(Some).ok_or_else(|| Error::new(ErrorKind::Io, "scan", "the disk was pulled out"))
    }
}

impl Source for Vanishing {
    fn describe(&self) -> SourceInfo {
        self.0.describe()
    }
    fn scan(&self) -> Result<Box<dyn Scan>> {
        Ok(Box::new(VanishingScan(self.0.scan()?)))
    }
    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        self.0.detail(entry)
    }
    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        self.0.open(scanned)
    }
}

/// Asks to stop once this many packs are stored.
struct StopAfter {
    packs: u64,
    stored: AtomicU64,
}

impl Monitor for StopAfter {
    fn advance(&self, what: Progress, _: u64) {
        if what == Progress::BytesStored {
            self.stored.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn stop_requested(&self) -> bool {
        self.stored.load(Ordering::SeqCst) >= self.packs
    }
}

#[test]
fn an_interrupted_backup_keeps_its_full_packs_and_says_so() {
    let harness = Harness::with_repository(&small_packs());
    let source = files(40, 700_000);
    let stop = StopAfter { packs: 3, stored: AtomicU64::new(0) };
    let error = backup::backup(&harness.repository(), &source, &series("tree"), &stop).expect_err("interrupted");
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("MiB in full packs are kept")), "{:?}", error.hint());
    assert!(harness.repository().snapshots(&SnapshotFilter::default()).is_empty());

    let kept: u64 = harness.repository().state().live_packs().map(|(_, info)| u64::from(info.len)).sum();
    assert!(kept >= 3 << 19, "{kept} bytes are recorded");
    let report = harness.somebody_else().backup_source(&source, "tree").expect("backup");
    assert!(report.bytes_new < report.bytes - kept * 9 / 10, "{} of {} again", report.bytes_new, report.bytes);
    harness.assert_sound("taken up again");
}

#[test]
fn a_backup_interrupted_before_a_pack_was_full_says_that_nothing_is_kept() {
    let harness = Harness::with_repository(&small_packs());
    let before = harness.memory.objects();
    let stop = StopAfter { packs: 0, stored: AtomicU64::new(0) };
    let error = backup::backup(&harness.repository(), &files(3, 1000), &series("tree"), &stop).expect_err("stopped");
    assert!(error.hint().is_some_and(|hint| hint.contains("begins anew")), "{:?}", error.hint());
    assert!(harness.memory.objects() == before, "something was written");
}

#[test]
fn a_scan_that_fails_at_its_end_makes_no_snapshot() {
    let harness = Harness::with_repository(&small_packs());
    let source = Vanishing(files(3, 1000));
    let error = backup::backup(&harness.repository(), &source, &series("gone"), &Silent).expect_err("no snapshot");
    assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
    assert!(harness.repository().snapshots(&SnapshotFilter::default()).is_empty());
}

/// Asks to stop once one item of this phase is done.
struct StopIn {
    phase: &'static str,
    begun: AtomicBool,
    stop: AtomicBool,
}

impl Monitor for StopIn {
    fn phase(&self, name: &str, _: Option<u64>, _: Option<u64>) {
        self.begun.store(name == self.phase, Ordering::SeqCst);
    }
    fn advance(&self, what: Progress, count: u64) {
        if what == Progress::Objects && count > 0 && self.begun.load(Ordering::SeqCst) {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

#[test]
fn an_interrupted_repair_says_that_what_it_made_stays_and_the_next_does_the_rest() {
    let stop = |phase| StopIn { phase, begun: AtomicBool::new(false), stop: AtomicBool::new(false) };
    let check = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("stays") && hint.contains("the rest")), "{error:?}");
    };
    let harness = Harness::with_repository(&small_packs());
    two_trees(&harness);
    let options = RepairOptions { effect: Effect::Real, ..RepairOptions::default() };
    let with_parity = harness.somebody_else().with_parity(10);
    check(repair::parity(&with_parity.repository(), &options, &stop("parity")).expect_err("stopped"));
    assert_eq!(harness.repository().state().parities().len(), 1, "what was made is recorded");
    let report = repair::parity(&with_parity.repository(), &options, &Silent).expect("the rest");
    assert_eq!(report.written + 1, report.packs);

    let objects = harness.memory.objects();
    let lost: Vec<_> = objects.keys().filter(|key| key.as_str().starts_with("packs/d/")).collect();
    lost.iter().for_each(|key| harness.memory.remove(key).expect("there"));
    let parity = objects.keys().filter(|key| key.as_str().starts_with("parity/"));
    parity.for_each(|key| harness.memory.remove(key).expect("there"));
    let copies = || harness.repository().snapshots(&SnapshotFilter::default()).len() - 2;
    let choice = SnapshotsOptions::default();
    let repo = harness.somebody_else().repository();
    check(repair::snapshots(&repo, &options, &choice, &stop("snapshots")).expect_err("stopped"));
    assert_eq!(copies(), 1);
    repair::snapshots(&harness.somebody_else().repository(), &options, &choice, &Silent).expect("the rest");
    assert_eq!(copies(), 2);
}
