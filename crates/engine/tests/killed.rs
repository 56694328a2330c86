//! A process killed right before and right after each step that changes the store: what was there is there, and the
//! next process goes on.
//!
//! The test starts this very program again as its own child, which does a job on a file system store and is sent
//! `SIGKILL` — what `kill -9` sends: no destructor runs, nothing is flushed — at the n-th put or delete. Then n + 1,
//! until the job is done.

mod common;

use common::{Harness, key_file, noise, series, small_packs, source_of};
use decube_backup_backend_fs::sink::FsSink;
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Key, Result, Sink};
use decube_backup_engine::forget::{ForgetOptions, Wanted};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{BackupOptions, Snapshot, SnapshotFilter, TagChange};
use decube_backup_engine::retention::GuardLimits;
use decube_backup_engine::{Repository, backup, keys, tags};
use decube_backup_testkit::{HookedSink, Moment};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What the child is told: job, step, side, folder.
const ORDER: &str = "DECUBE_BACKUP_TEST_KILL";

/// What can be killed. A new command that changes a repository is one more line here and in [`Job::run`].
const JOBS: [Job; 8] =
    [Job::Init, Job::Backup, Job::LongBackup, Job::Tag, Job::AddKey, Job::Forget, Job::Prune, Job::Rotate];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Init,
    Backup,
    /// Records its progress now and then.
    LongBackup,
    Tag,
    AddKey,
    /// Hides the snapshots named `gone`.
    Forget,
    /// Frees what those needed that are forgotten.
    Prune,
    Rotate,
}

impl Job {
    fn run(self, harness: &Harness, folder: &Path) -> Result<()> {
        let tree = source_of(&folder.join("tree"));
        match self {
            Self::Init => harness.init(&small_packs()).map(drop),
            Self::Backup => backup::backup(&harness.open()?, &tree, &series("tree"), &Silent).map(drop),
            Self::LongBackup => {
                let options = BackupOptions { progress_bytes: Some(250_000), ..series("tree") };
                backup::backup(&harness.open()?, &tree, &options, &Silent).map(drop)
            }
            Self::Tag => {
                let repo = harness.open()?;
                let ids: Vec<_> = live(harness).iter().map(|s| s.id).collect();
                tags::change(&repo, &ids, &TagChange { add: vec!["kept".into()], ..TagChange::default() })
            }
            Self::AddKey => keys::add(&harness.open()?, &key_file(7), "second").map(drop),
            Self::Forget => forget_gone(&harness.open()?),
            Self::Prune => {
                let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
                gc::plan(&harness.open()?, &options, &Silent)?.run(&Silent).map(drop)
            }
            Self::Rotate => keys::rotate(&harness.open()?).map(drop),
        }
    }
}

/// Hides the snapshots named `gone`, of which each is the only one.
fn forget_gone(repo: &Repository) -> Result<()> {
    let filter = SnapshotFilter { name: Some("gone".into()), ..SnapshotFilter::default() };
    let limits = GuardLimits { allow_empty_group: true, share_percent_max: None };
    let options = ForgetOptions { limits, ..ForgetOptions::new(Wanted::Matching(filter)) };
    decube_backup_engine::forget::forget(repo, &options).map(drop)
}

/// Dies at the put or delete number `step`, before or after its effect.
fn deadly(inner: Arc<dyn Sink>, step: u64, side: Moment) -> impl Sink {
    let begun = AtomicU64::new(0);
    // The call whose effect is awaited: others may be under way beside it.
    let fatal = Mutex::new(None);
    HookedSink::new(inner, move |moment, op, key: &Key| {
        let mut fatal = fatal.lock().expect("lock");
        if moment == Moment::Before && begun.fetch_add(1, Ordering::SeqCst) == step {
            *fatal = Some((op, key.clone()));
        }
        if moment == side && *fatal == Some((op, key.clone())) {
            die();
        }
        Ok(())
    })
}

/// By what nothing can be said about any more.
fn die() -> ! {
    let _gone = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

fn on(folder: &Path) -> Harness {
    Harness::new().through(Arc::new(FsSink::open(folder.join("repo")).expect("sink")))
}

fn live(harness: &Harness) -> Vec<Snapshot> {
    harness.repository().snapshots(&SnapshotFilter::default())
}

/// The child: nothing to do unless it is told.
#[test]
#[allow(clippy::disallowed_methods)] // the parent talks to it through the environment
fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let [job, step, after, folder] = order.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let job = JOBS.into_iter().find(|j| format!("{j:?}") == job).expect("a job");
    let folder = Path::new(folder);
    let harness = on(folder);
    let side = if after == "after" { Moment::After } else { Moment::Before };
    let sink = deadly(harness.sink.clone(), step.parse().expect("a number"), side);
    job.run(&harness.through(Arc::new(sink)), folder).expect("the job, unless it is killed");
}

fn start_child(job: Job, step: u64, side: &str, folder: &Path) -> ExitStatus {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "child"]).env(ORDER, format!("{job:?} {step} {side} {}", folder.display()));
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("started")
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp");
    assert!(status.success());
}

/// Kills `job` at every step on a copy of `start`; says how many steps there are.
fn kill_everywhere(job: Job, start: &Path, earlier: &[(Snapshot, &Path)]) -> u64 {
    for step in 0.. {
        for side in ["before", "after"] {
            let scratch = tempfile::tempdir().expect("temp");
            let folder = scratch.path().join("copy");
            copy(start, &folder);
            let done = start_child(job, step, side, &folder).success();
            let context = format!("{job:?} killed {side} step {step}");
            let harness = on(&folder);
            if job != Job::Init {
                assert_all_there(&harness, earlier, &context);
            }
            if done {
                return step;
            }
            let again = job.run(&harness, &folder);
            let whole = job == Job::Init && harness.open().is_ok();
            again.map_or_else(|error| assert!(whole, "{context}: {error:?}"), |()| ());
            assert_all_there(&harness, earlier, &context);
            let report = harness.backup(&folder.join("tree"), "next");
            harness.assert_restores(&report.snapshot.expect("a snapshot"), &folder.join("tree"), &context);
        }
    }
    unreachable!("steps are finite")
}

fn assert_all_there(harness: &Harness, earlier: &[(Snapshot, &Path)], context: &str) {
    harness.assert_sound(context);
    for (snapshot, tree) in earlier {
        let (to, report) = harness.restore(&snapshot.id, tree);
        assert!(report.problems.is_empty(), "{context}: {:?}", report.problem_list);
        common::assert_same(tree, to.path(), context);
    }
}

/// A few files: each kill copies, verifies and restores them all.
fn plant_little(root: &Path, seed: u64) {
    for (name, len) in [("a", 300_000), ("b", 200_000), ("c", 300_000), ("d", 5_000), ("e", 40)] {
        std::fs::write(root.join(name), noise(seed + len as u64, len)).expect("file");
    }
}

/// A folder with a tree, and with a repository that holds an earlier state of another tree unless `job` makes it.
fn check(job: Job, steps_min: u64) {
    let start = tempfile::tempdir().expect("temp");
    let before = tempfile::tempdir().expect("temp");
    plant_little(before.path(), 51);
    let tree = start.path().join("tree");
    std::fs::create_dir(&tree).expect("folder");
    plant_little(&tree, 52);
    let mut earlier = Vec::new();
    if job != Job::Init {
        let harness = on(start.path());
        harness.init(&small_packs()).expect("init");
        if matches!(job, Job::Forget | Job::Prune) {
            // The kept snapshot takes some of its content over, so that a prune has to copy.
            std::fs::write(tree.join("a"), noise(51 + 300_000, 300_000)).expect("file");
            harness.backup(&tree, "gone");
        }
        harness.backup(before.path(), "tree");
        if job == Job::Prune {
            forget_gone(&harness.repository()).expect("forgotten");
        }
        let kept = live(&harness).into_iter().filter(|s| s.manifest.name == "tree");
        earlier = kept.map(|s| (s, before.path())).collect();
    }
    let steps = kill_everywhere(job, start.path(), &earlier);
    assert!(steps >= steps_min, "{job:?} has {steps} steps");
}

#[test]
fn an_init_may_be_killed_at_every_step() {
    check(Job::Init, 5);
}

#[test]
fn a_backup_may_be_killed_at_every_step() {
    check(Job::Backup, 4);
}

#[test]
fn a_backup_that_records_progress_may_be_killed_at_every_step() {
    check(Job::LongBackup, 6);
}

#[test]
fn tagging_may_be_killed_at_every_step() {
    check(Job::Tag, 1);
}

#[test]
fn adding_a_key_may_be_killed_at_every_step() {
    check(Job::AddKey, 2);
}

#[test]
fn forgetting_may_be_killed_at_every_step() {
    check(Job::Forget, 1);
}

#[test]
fn a_prune_may_be_killed_at_every_step() {
    check(Job::Prune, 4);
}

#[test]
fn a_rotation_of_keys_may_be_killed_at_every_step() {
    check(Job::Rotate, 3);
}
