//! A repository's storage that gives no content: what a restore says of it, and when it ends.

use crate::common::bad_sectors::BadSectors;
use crate::common::nowhere::{Into, Nowhere};
use crate::common::{Harness, noise};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind};
use decube_backup_core::{ErrorKind, Result};
use decube_backup_engine::options::{InitOptions, Overwrite, RestoreOptions, RestoreReport};
use decube_backup_engine::restore;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Files in the snapshot, all in one segment or two.
const FILES: u64 = 20;

struct Anything;

impl Nowhere for Anything {}

/// Remembers what it was told, and asks to stop after the first problem, if it is to.
#[derive(Default)]
struct Listener {
    stops: bool,
    stopped: AtomicBool,
    problems: Mutex<Vec<Problem>>,
}

impl Monitor for Listener {
    fn problem(&self, problem: &Problem) {
        self.problems.lock().expect("lock").push(problem.clone());
        self.stopped.store(self.stops, Ordering::SeqCst);
    }
    fn stop_requested(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Restores files where reading what is below `prefix` fails with `kind`.
fn restored(kind: ErrorKind, prefix: &'static str, monitor: &Listener) -> Result<RestoreReport> {
    restored_over(Overwrite::default(), kind, prefix, monitor)
}

fn restored_over(
    overwrite: Overwrite,
    kind: ErrorKind,
    prefix: &'static str,
    monitor: &Listener,
) -> Result<RestoreReport> {
    let tree = tempfile::tempdir().expect("temp");
    for n in 0..FILES {
        std::fs::write(tree.path().join(format!("{n:02}")), noise(n, 20_000)).expect("file");
    }
    let harness = Harness::with_repository(&InitOptions::default());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let broken = BadSectors::in_objects(harness.sink.clone(), kind, move |key| key.as_str().starts_with(prefix));
    let broken = harness.somebody_else().through(Arc::new(broken));
    let target = Into(Arc::new(Anything));
    let options = RestoreOptions { overwrite, ..RestoreOptions::default() };
    restore::restore(&broken.repository(), &broken.snapshot(&id), &options, &target, monitor)
}

#[test]
fn a_storage_that_does_not_answer_ends_the_restore_and_is_not_called_damage() {
    for prefix in ["packs/", "packs/d/"] {
        let listener = Listener::default();
        let error = restored(ErrorKind::Unavailable, prefix, &listener).expect_err("ended");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("run the same command again")), "{error:?}");
        assert_eq!(*listener.problems.lock().expect("lock"), [], "{prefix}");
    }
}

#[test]
fn who_overwrites_nothing_is_told_that_unfinished_files_stay() {
    for (overwrite, told) in [(Overwrite::Never, true), (Overwrite::IfNewer, false), (Overwrite::IfChanged, false)] {
        let ended = restored_over(overwrite, ErrorKind::Unavailable, "packs/d/", &Listener::default());
        let stopped =
            restored_over(overwrite, ErrorKind::Corrupt, "packs/d/", &Listener { stops: true, ..Listener::default() });
        for error in [ended, stopped].map(|done| done.expect_err("ended")) {
            let hint = error.hint().expect("a hint");
            assert_eq!(hint.contains("leaves files that were begun and not finished"), told, "{overwrite:?}: {hint}");
        }
    }
}

#[test]
fn only_what_is_damaged_is_called_so() {
    for (kind, told) in [
        (ErrorKind::PermissionDenied, ProblemKind::Unreadable),
        (ErrorKind::Io, ProblemKind::Damaged),
        (ErrorKind::Corrupt, ProblemKind::Damaged),
    ] {
        let report = restored(kind, "packs/d/", &Listener::default()).expect("the rest is restored");
        assert_eq!(report.problems, BTreeMap::from([(told, FILES)]), "{kind:?}");
    }
}

#[test]
fn a_stop_is_heard_while_other_copies_are_looked_for() {
    let listener = Listener { stops: true, ..Listener::default() };
    let error = restored(ErrorKind::Corrupt, "packs/d/", &listener).expect_err("stopped");
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error:?}");
    // What other workers were at was told of too.
    let told = listener.problems.lock().expect("lock").len() as u64;
    assert!(told < FILES / 2, "{told}");
}
