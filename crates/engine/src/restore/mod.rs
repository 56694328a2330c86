//! Giving a snapshot back.
//!
//! ```text
//! tree cursor → plan (what differs from what stands there) → pieces grouped by segment
//!     → fetches on their way → workers: decode, check ids, write at offsets, finish files → links → directories last
//! ```
//! Files are planned in windows, so memory does not grow with the tree. A chunk whose stored copy is
//! damaged is taken from another pack that holds it; one without a whole copy costs the files it
//! belongs to and is reported. Everything else is given back.
//!
//! | module | holds |
//! |---|---|
//! | `plan` | walks the tree, compares with what stands at the destination, groups pieces |
//! | `standing` | what stands there already: whether it stays, is the same, is another name of something, or goes |
//! | `content` | the content of one file, planned |
//! | `window` | wanted chunks grouped by segment, segments into runs fetched together |
//! | `work` | the workers: fetch, decode, check, write |
//! | `file` | one file on its way |
//! | `afterwards` | hard links, then directories |
//! | `extraneous` | deleting what the snapshot does not have |
//! | `absent` | a destination that is not there yet |

pub mod absent;
mod afterwards;
mod content;
mod extraneous;
mod file;
mod plan;
mod standing;
mod window;
mod work;

use crate::options::{Effect, Overwrite, RestoreOptions, RestoreReport, Snapshot};
use crate::repository::Repository;
use decube_backup_core::limits::MANIFEST_PROBLEMS_MAX;
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress, check_stop};
use decube_backup_core::target::Target;
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use file::FileJob;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Tasks waiting for workers, their bytes on the way, at least: so many requests hide a network's latency, and keep a disk busy.
/// Numbers: docs/adr/0029.
const FETCHES_AHEAD_MIN: usize = 8;

/// Counts and problems, shared by planner and workers.
pub(crate) struct Tally<'a> {
    pub monitor: &'a dyn Monitor,
    report: Mutex<RestoreReport>,
    /// Members of hard-link groups that did not come back whole.
    lacking: Mutex<HashMap<EntryPath, Lacking>>,
    /// Why it ends before it is done, if nobody asked for that.
    ended: Mutex<Option<Error>>,
}

/// What a file lacks that could not be restored whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// Some of its content, and for what reason.
    Parts(ProblemKind),
    /// It is not there, or what stood there before is: the repository does not give content, for this reason.
    Everything(ProblemKind),
    /// As [`Self::Everything`], but only because it cannot be written where it belongs.
    Place,
    /// As [`Self::Place`], for lack of space: what it needs its other names would need.
    Space,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(monitor: &'a dyn Monitor) -> Self {
        Self { monitor, report: Mutex::default(), lacking: Mutex::default(), ended: Mutex::default() }
    }

    /// Passes on why something could not be read, unless it ends the restore: a store that does not answer says of no object
    /// that it is damaged, and may take minutes to say it of each.
    ///
    /// # Errors
    /// `Interrupted` once the restore ends.
    fn answered(&self, error: Error) -> Result<Error> {
        if error.kind() == ErrorKind::Unavailable {
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            return Err(stopped());
        }
        Ok(error)
    }

    /// As [`check_stop`]; also once the store does not answer.
    ///
    /// # Errors
    /// `Interrupted`.
    fn check(&self) -> Result<()> {
        check_stop(self.monitor)?;
        match *self.ended.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(_) => Err(stopped()),
            None => Ok(()),
        }
    }

    /// What ends the restore, after `done` of it.
    fn outcome<T>(&self, done: Result<T>, overwrite: Overwrite) -> Result<T> {
        let went_on = match overwrite {
            Overwrite::Never => {
                "what was restored stays; run the same command again: it goes on with what is missing, but leaves files that were \
                 begun and not finished, and names them: remove those, and run it once more"
            }
            _ => "what was restored stays; run the same command again: it goes on with what is missing",
        };
        let stopped = check_stop(self.monitor).map_err(|error| error.with_hint(went_on));
        if let Some(error) = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let hint = error.hint().map_or_else(|| went_on.to_owned(), |hint| format!("{hint}; {went_on}"));
            return stopped.and(Err(error.with_hint(hint)));
        }
        stopped.and(done)
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut RestoreReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts `len` bytes of content as dealt with, and as written if they are.
    fn written(&self, len: usize, result: &Result<()>) {
        self.monitor.advance(Progress::Bytes, len as u64);
        if result.is_ok() {
            self.update(|r| r.bytes_written += len as u64);
        }
    }

    /// Counts `path` as deleted, or as what would be.
    fn deleted(&self, path: &EntryPath, effect: Effect) {
        let what = if effect == Effect::Real { "deleted" } else { "would delete" };
        self.monitor.note(&format!("{what} {path}"));
        self.update(|r| r.deleted += 1);
    }

    /// Remembers that `file` did not come back whole, for its other names.
    fn lack(&self, file: &FileJob, what: Lacking) {
        if file.entry.meta.link_group.is_some() {
            self.lack_at(&file.path, what);
        }
    }

    fn lack_at(&self, path: &EntryPath, what: Lacking) {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), what);
    }

    fn lacking(&self, path: &EntryPath) -> Option<Lacking> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied()
    }

    pub(crate) fn problems(&self, problems: Vec<Problem>) {
        for problem in problems {
            self.problem(problem);
        }
    }

    pub(crate) fn problem(&self, problem: Problem) {
        self.monitor.problem(&problem);
        self.update(|report| {
            *report.problems.entry(problem.kind).or_default() += 1;
            if report.problem_list.len() < MANIFEST_PROBLEMS_MAX {
                report.problem_list.push(problem);
            }
        });
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "restore", "the repository's storage does not answer")
}

/// Restores `snapshot` into `target`.
///
/// # Errors
/// The destination as a whole cannot be written, the snapshot's root cannot be read, the store does not answer, or the user
/// stopped it. Problems with single entries are in the report.
pub fn restore(
    repo: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    target: &dyn Target,
    monitor: &dyn Monitor,
) -> Result<RestoreReport> {
    let begun = repo.env.clock.monotonic();
    let tree = crate::browse::root(snapshot);
    monitor.phase("restore", Some(tree.bytes), Some(tree.entries));
    let tally = Tally::new(monitor);
    let context = work::WorkContext {
        repo,
        target,
        tally: &tally,
        options,
        index: repo.index()?,
        segments: crate::segments::SegmentReader::new(repo),
        open_files: Default::default(),
        open_files_max: target.open_files_max(),
    };
    let pass = |plan: &dyn Fn(plan::Planner<'_>) -> Result<afterwards::Afterwards>| {
        let (tasks, queue) = crossbeam_channel::bounded(repo.env.workers().max(FETCHES_AHEAD_MIN));
        let after = std::thread::scope(|scope| {
            for _ in 0..repo.env.workers() {
                let (queue, context) = (queue.clone(), &context);
                scope.spawn(move || work::run(context, &queue));
            }
            drop(queue);
            plan(plan::Planner::new(&context, snapshot, tasks)?)
        });
        // Workers that were told to stop left the rest undone.
        tally.outcome(after, options.overwrite)
    };
    let mut after = pass(&|planner| planner.run())?;
    if options.effect == Effect::Real {
        loop {
            let alone = after.link(target, &tally);
            if alone.is_empty() {
                break;
            }
            after.links = pass(&|planner| planner.run_alone(&alone))?.links;
        }
        after.finish_directories(target, &tally);
    }
    let mut report = tally.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.seconds = (repo.env.clock.monotonic() - begun).as_secs_f64();
    Ok(report)
}
