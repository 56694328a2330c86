//! A process killed right before and right after each step that changes the store: what was there is there, and the
//! next process goes on.
//!
//! The test starts this very program again as its own child, which does a job on a file system store and is sent
//! `SIGKILL` — what `kill -9` sends: no destructor runs, nothing is flushed — at the n-th put or delete. Then n + 1,
//! until the job is done.

use crate::common::jobs::{JOBS, Job, Start, child as start, is_done, on};
use decube_backup_core::{Key, Sink};
use decube_backup_testkit::{HookedSink, Moment};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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

/// The child: nothing to do unless it is told step, side and folder.
#[test]
fn child() {
    let Some((job, words)) = Job::ordered() else { return };
    let (step, folder) = (words[1].parse().expect("a number"), Path::new(&words[3]));
    let side = if words[2] == "after" { Moment::After } else { Moment::Before };
    let harness = on(folder);
    let sink = deadly(harness.sink.clone(), step, side);
    job.run(&harness.through(Arc::new(sink)), folder).expect("the job, unless it is killed");
}

/// Kills `job` at every step, each time on a copy of the same start.
#[allow(clippy::print_stdout)] // how many there were
fn check(job: Job, steps_min: u64) {
    let begun = Start::new(job);
    for step in 0.. {
        for side in ["before", "after"] {
            let (_scratch, folder) = begun.copy();
            let context = format!("{job:?} killed {side} step {step}");
            let words = format!("{step} {side} {}", folder.display());
            let status = start(job, &words).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("started");
            let done = is_done(status, &context);
            begun.assert_goes_on(&on(&folder), &folder, &context);
            if done {
                println!("{job:?}: killed on both sides of each of {step} steps");
                return assert!(step >= steps_min, "{job:?} has {step} steps");
            }
        }
    }
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
fn changing_tags_and_adding_a_key_may_be_killed_at_every_step() {
    check(Job::Tag, 1);
    check(Job::AddKey, 2);
}

#[test]
fn forgetting_and_taking_it_back_may_be_killed_at_every_step() {
    check(Job::Forget, 1);
    check(Job::Undelete, 1);
}

#[test]
fn a_prune_may_be_killed_at_every_step() {
    check(Job::Prune, 4);
}

#[test]
fn a_rotation_of_keys_may_be_killed_at_every_step() {
    check(Job::Rotate, 3);
}

#[test]
fn a_revocation_may_be_killed_at_every_step() {
    check(Job::Revoke, 6);
}

#[test]
fn repairs_of_what_can_be_derived_may_be_killed_at_every_step() {
    check(Job::RepairIndex, 2);
    check(Job::RepairCheckpoints, 2);
}

#[test]
fn repairs_of_content_may_be_killed_at_every_step() {
    check(Job::RepairPacks, 3);
    check(Job::RepairSnapshots, 2);
}

#[test]
fn a_healing_backup_may_be_killed_at_every_step() {
    check(Job::Heal, 4);
}

#[test]
fn a_backup_with_parity_may_be_killed_at_every_step() {
    check(Job::ParityBackup, 6);
}

#[test]
fn repairs_by_parity_and_of_it_may_be_killed_at_every_step() {
    check(Job::RepairParity, 2);
    check(Job::VerifyRepair, 5);
}

#[test]
fn making_a_write_only_key_may_be_killed_at_every_step() {
    check(Job::AddHostKey, 5);
}

#[test]
fn a_hosts_backup_may_be_killed_at_every_step() {
    check(Job::HostBackup, 4);
}

#[test]
fn no_job_is_left_out() {
    // The list is what the child finds its job in; the tests above name each.
    let here = include_str!("killed.rs");
    for job in JOBS {
        assert!(here.contains(&format!("Job::{job:?}, ")), "{job:?} is never killed");
    }
}
