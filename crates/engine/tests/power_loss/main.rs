//! Power lost at any moment: what was synced is there, of the rest nothing is certain, and nothing is lost.
//!
//! A child process does a job on a file system store while `strace` records what it asks of the kernel. After each call
//! the disk forgets what no `fsync` covered, in every way the module [`disk`] knows, and somebody comes to what is left:
//! every earlier snapshot restores, what was reported as done is done, verify finds nothing, the job can be done again.
//! The same recording with the syncs of files, or of folders, left out must be found losing data.

#![allow(clippy::print_stdout, clippy::panic)] // a test with a harness of its own

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod recorder;

use common::jobs::{JOBS, Job, Start, child, live, on};
use common::{ALL_DATA, Harness};
use disk::{Disk, Image, images};
use libtest_mimic::{Arguments, Trial};
use recorder::{Call, Event, record};
use std::path::Path;
use std::process::ExitCode;

/// What the child says when its job is done.
const REPORTED: &str = "the job is done";

fn main() -> ExitCode {
    if let Some((job, words)) = Job::ordered() {
        let folder = Path::new(&words[1]);
        job.run(&on(folder), folder).expect("the job");
        println!("{REPORTED}");
        return ExitCode::SUCCESS;
    }
    let unusable = recorder::unusable();
    let sound = JOBS.map(|job| (format!("power_lost_during_{job:?}_harms_nothing"), job, Forgotten::Nothing));
    let mutants = [
        (Job::Backup, Forgotten::Files),
        (Job::Backup, Forgotten::Folders),
        (Job::Prune, Forgotten::Folders),
        (Job::Revoke, Forgotten::Files),
    ];
    let mutants =
        mutants.map(|(job, what)| (format!("without_syncs_of_{what:?}_{job:?}_is_found_losing_data"), job, what));
    let trials = sound.into_iter().chain(mutants).map(|(name, job, forgotten)| {
        let trial = Trial::test(name, move || {
            match forgotten {
                Forgotten::Nothing => survives(job),
                _ => is_found_out(job, forgotten),
            }
            Ok(())
        });
        match &unusable {
            Some(why) => trial.with_kind(why).with_ignored_flag(true),
            None => trial,
        }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// Which syncs are left out of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgotten {
    Nothing,
    Files,
    Folders,
}

/// Every image that a crash during `job` may leave, with where it began and the folder it worked in.
fn crash(job: Job, forgotten: Forgotten) -> (Start, tempfile::TempDir, Vec<Image>) {
    let begun = Start::new(job);
    let (scratch, folder) = begun.copy();
    let disk = Disk::new(&folder.join("repo"));
    let mut events: Vec<Event> = record(&child(job, &folder.display().to_string()), &folder);
    assert!(events.iter().any(|event| matches!(event.call, Call::Sync(_))), "nothing was recorded");
    let is_file =
        |path: &Path| events.iter().any(|e| matches!(&e.call, Call::Write { path: other, .. } if other == path));
    let dropped: Vec<bool> = events
        .iter()
        .map(|event| match &event.call {
            Call::Sync(path) if is_file(path) => forgotten == Forgotten::Files,
            Call::Sync(_) => forgotten == Forgotten::Folders,
            _ => false,
        })
        .collect();
    let mut dropped = dropped.into_iter();
    events.retain(|_| !dropped.next().unwrap_or(false));
    let images = images(disk, &events);
    println!("{job:?}: {} calls, {} images", events.len(), images.len());
    (begun, scratch, images)
}

fn survives(job: Job) {
    let (begun, scratch, images) = crash(job, Forgotten::Nothing);
    let folder = scratch.path().join("copy");
    let store = Harness::new();
    for image in images {
        let context = format!("{job:?}: {}", image.context);
        let harness = store.on_image(image.objects);
        if image.reported {
            begun.assert_achieved(&harness, &folder, &context);
        }
        begun.assert_goes_on(&harness, &folder, &context);
    }
}

/// At least one image has lost what was there or what was reported.
fn is_found_out(job: Job, forgotten: Forgotten) {
    let (.., images) = crash(job, forgotten);
    let store = Harness::new();
    let lost = images.into_iter().find(|image| {
        let harness = store.on_image(image.objects.clone());
        let Ok(repo) = harness.open() else { return true };
        let options = decube_backup_engine::verify::VerifyOptions { depth: ALL_DATA, snapshots: None };
        let verified = decube_backup_engine::verify::verify(&repo, &options, &decube_backup_core::monitor::Silent);
        let damaged = verified.map_or(true, |report| !report.damages.is_empty());
        damaged || (image.reported && job == Job::Backup && live(&harness).len() < 2)
    });
    println!("{job:?} without syncs of {forgotten:?}: {:?}", lost.as_ref().map(|image| &image.context));
    assert!(lost.is_some(), "nothing was lost: this test could not fail");
}
