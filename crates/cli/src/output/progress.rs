//! The engine's monitor as bars on a terminal or status lines for a program.
//!
//! Counting is a relaxed addition; drawing is done by one thread ten times a second, and only if
//! somebody looks.

use crate::output::{Console, Format, Volume, problem_json, problem_text};
use crate::signals::StopFlag;
use crate::units;
use decube_backup_core::display::{display_bytes, display_line};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress};
use decube_backup_core::world::Clock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two drawings.
const TICK: Duration = Duration::from_millis(100);
/// Problems of one kind that people are told of one by one, unless they ask for all: who restores a million files of others as
/// an ordinary user need not read that a million owners could not be set.
const TOLD_MAX: u64 = 200;
/// No total is known.
const UNKNOWN: u64 = u64::MAX;

/// All of the current phase, but for problems and `bytes_stored`.
#[derive(Default)]
struct Counts {
    entries: AtomicU64,
    bytes: AtomicU64,
    bytes_unchanged: AtomicU64,
    bytes_stored: AtomicU64,
    /// Bytes that were stored before this phase began.
    bytes_stored_before: AtomicU64,
    objects: AtomicU64,
    total_bytes: AtomicU64,
    total_items: AtomicU64,
    problems: AtomicU64,
    told: Mutex<BTreeMap<ProblemKind, u64>>,
    /// That a stop was asked for was said.
    stopping: AtomicBool,
    at: Mutex<Vec<u8>>,
    phase: Mutex<String>,
    /// Phases begun.
    phases: AtomicU64,
}

/// How far a phase is.
#[derive(Clone, Copy)]
enum Course {
    /// So many bytes, nobody knows of how many.
    Open(u64),
    Bytes {
        done: u64,
        total: u64,
    },
    Items {
        done: u64,
        total: u64,
    },
}

impl Course {
    /// What is done, and the total.
    fn position(self) -> (u64, Option<u64>) {
        match self {
            Self::Open(bytes) => (bytes, None),
            Self::Bytes { done, total } | Self::Items { done, total } => (done, Some(total)),
        }
    }
    /// Part of the phase that is done, 0 to 1.
    fn share(self) -> Option<f64> {
        match self.position() {
            (_, None) => None,
            (_, Some(0)) => Some(1.0),
            (done, Some(total)) => Some((done as f64 / total as f64).min(1.0)),
        }
    }
    /// Two lines of less than 80 columns: numbers, then what is being worked on.
    fn template(self) -> &'static str {
        match self {
            Self::Open(_) => "{prefix} {elapsed_precise}  {binary_bytes}  {binary_bytes_per_sec}\n{wide_msg}",
            Self::Items { .. } => "{prefix} [{bar:20}] {percent}%  ETA {eta}\n{wide_msg}",
            Self::Bytes { .. } => {
                "{prefix} [{bar:20}] {percent}%  {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}\n{wide_msg}"
            }
        }
    }
}

/// Shows progress and problems of one command; ends with [`Reporter::finish`] or when dropped.
pub struct Reporter {
    console: Arc<Console>,
    counts: Arc<Counts>,
    stop: StopFlag,
    during: &'static str,
    painter: Mutex<Option<Painter>>,
    clock: Arc<dyn Clock>,
    bar: Bar,
}

/// Whether a reporter shows how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// As a bar or as status lines, as the console has it.
    Shown,
    /// Not at all: stdout is somebody else's.
    Hidden,
}

struct Painter {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Reporter {
    /// A reporter for the command `during`.
    pub fn new(console: Arc<Console>, stop: StopFlag, clock: Arc<dyn Clock>, during: &'static str, bar: Bar) -> Self {
        let counts = Counts { total_bytes: UNKNOWN.into(), total_items: UNKNOWN.into(), ..Counts::default() };
        Self { console, counts: Arc::new(counts), stop, during, painter: Mutex::default(), clock, bar }
    }

    /// Takes the bar away; what is printed from now on stays.
    pub fn finish(&self) {
        let painter = self.painter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Painter { end, thread }) = painter {
            drop(end);
            // A painter that died has drawn all it could.
            let _ = thread.join();
        }
    }

    /// Whether anybody sees status lines.
    fn speaks(&self) -> bool {
        self.console.format() == Format::Json && self.console.volume() > Volume::Quiet
    }

    fn start_painting(&self) {
        let draws = self.console.may_draw();
        let mut painter = self.painter.lock().unwrap_or_else(PoisonError::into_inner);
        if painter.is_some() || !self.wants_totals() {
            return;
        }
        let (end, ended) = channel();
        let (console, counts, clock) = (self.console.clone(), self.counts.clone(), self.clock.clone());
        let paint = move || match draws {
            true => paint_bar(&console, &counts, &ended),
            false => paint_json(&console, &counts, &*clock, &ended),
        };
        // Without a thread there is no bar; the work goes on.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(paint);
        *painter = thread.ok().map(|thread| Painter { end, thread });
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Monitor for Reporter {
    fn phase(&self, name: &str, total_bytes: Option<u64>, total_items: Option<u64>) {
        self.counts.begin(name);
        self.totals(total_bytes, total_items);
        self.start_painting();
    }

    fn advance(&self, what: Progress, count: u64) {
        let counter = match what {
            Progress::Entries => &self.counts.entries,
            Progress::Bytes => &self.counts.bytes,
            Progress::BytesUnchanged => &self.counts.bytes_unchanged,
            Progress::BytesStored => &self.counts.bytes_stored,
            Progress::Objects => &self.counts.objects,
        };
        counter.fetch_add(count, Ordering::Relaxed);
    }

    fn totals(&self, bytes: Option<u64>, items: Option<u64>) {
        self.counts.total_bytes.store(bytes.unwrap_or(UNKNOWN), Ordering::Relaxed);
        self.counts.total_items.store(items.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    fn wants_totals(&self) -> bool {
        self.bar == Bar::Shown && (self.console.may_draw() || self.speaks())
    }

    fn problem(&self, problem: &Problem) {
        if problem.kind.counts() {
            self.counts.problems.fetch_add(1, Ordering::Relaxed);
        } else if self.console.volume() < Volume::Verbose {
            return;
        }
        match self.console.format() {
            Format::Text => match self.counts.tell(problem.kind) {
                told if told < TOLD_MAX || self.console.volume() >= Volume::Verbose => {
                    self.console.stderr(problem_text(problem));
                }
                TOLD_MAX => self.console.warn(format_args!(
                    "more that is {} is counted and not listed; -v lists all, and so does --json",
                    problem.kind.word().replace('_', " ")
                )),
                _ => {}
            },
            Format::Json => self.console.json_stderr(&json!({
                "message_type": "error",
                "error": problem_json(problem),
                "during": self.during,
                "item": problem_json(problem)["path"],
            })),
        }
    }

    fn at(&self, path: &[u8]) {
        // Whoever is busy with the path shows another one soon.
        if let Ok(mut at) = self.counts.at.try_lock() {
            at.clear();
            at.extend_from_slice(path);
        }
    }

    fn note(&self, line: &str) {
        match self.console.format() {
            Format::Text => self.console.talk(line),
            Format::Json => self.console.json_stderr(&json!({"message_type": "note", "message": line})),
        }
    }

    fn stop_requested(&self) -> bool {
        let raised = self.stop.is_raised();
        if raised && !self.counts.stopping.swap(true, Ordering::Relaxed) {
            self.console.warn("stopping: what is under way is finished first; once more ends it at once");
        }
        raised
    }
}

impl Counts {
    /// Counts from the start for the phase `name`.
    fn begin(&self, name: &str) {
        for counter in [&self.entries, &self.bytes, &self.bytes_unchanged, &self.objects] {
            counter.store(0, Ordering::Relaxed);
        }
        self.bytes_stored_before.store(self.bytes_stored.load(Ordering::Relaxed), Ordering::Relaxed);
        name.clone_into(&mut self.phase.lock().unwrap_or_else(PoisonError::into_inner));
        self.at.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.phases.fetch_add(1, Ordering::Relaxed);
    }
    /// How many problems of this kind were there before.
    fn tell(&self, kind: ProblemKind) -> u64 {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let count = told.entry(kind).or_default();
        *count += 1;
        *count - 1
    }
    fn bytes_done(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed) + self.bytes_unchanged.load(Ordering::Relaxed)
    }
    /// What moves while the phase runs, and how far it has to go.
    fn course(&self) -> Course {
        match (self.total_bytes(), self.total_items()) {
            (Some(total), _) => Course::Bytes { done: self.bytes_done(), total },
            (None, Some(total)) => Course::Items { done: self.items_done(), total },
            (None, None) => {
                let stored = self.bytes_stored.load(Ordering::Relaxed);
                let stored = stored.saturating_sub(self.bytes_stored_before.load(Ordering::Relaxed));
                // A phase that handles no content may still store something.
                Course::Open(Some(self.bytes_done()).filter(|bytes| *bytes > 0).unwrap_or(stored))
            }
        }
    }
    fn known(total: &AtomicU64) -> Option<u64> {
        Some(total.load(Ordering::Relaxed)).filter(|total| *total != UNKNOWN)
    }
    fn items_done(&self) -> u64 {
        self.entries.load(Ordering::Relaxed).max(self.objects.load(Ordering::Relaxed))
    }
    /// Total bytes, unless it was an estimate that has proved too low.
    fn total_bytes(&self) -> Option<u64> {
        Self::known(&self.total_bytes).filter(|total| *total >= self.bytes_done())
    }
    fn total_items(&self) -> Option<u64> {
        Self::known(&self.total_items).filter(|total| *total >= self.items_done())
    }
    fn path(&self) -> String {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let slash = if at.is_empty() || at.starts_with(b"/") { "" } else { "/" };
        format!("{slash}{}", display_bytes(&at))
    }
    fn phase(&self) -> String {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn wait(ended: &Receiver<()>) -> bool {
    ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout)
}

fn paint_bar(console: &Console, counts: &Counts, ended: &Receiver<()>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    console.set_bar(Some(bar.clone()));
    let (mut phase, mut template) = (0, "");
    while wait(ended) {
        let course = counts.course();
        let (position, total) = course.position();
        let now = (counts.phases.load(Ordering::Relaxed), course.template());
        if now != (phase, template) {
            (phase, template) = now;
            bar.set_style(style(template));
            // Rate and time to go are this phase's.
            bar.reset_eta();
        }
        match total {
            Some(total) => bar.set_length(total),
            None => bar.unset_length(),
        }
        let items = counts.items_done();
        let items = match (items, counts.total_items()) {
            (_, Some(total)) => format!("{items}/{}", units::count(total, "item")),
            (0, None) => String::new(),
            (_, None) => units::count(items, "item"),
        };
        let problems = match counts.problems.load(Ordering::Relaxed) {
            0 => String::new(),
            n => format!("  {}", units::count(n, "problem")),
        };
        bar.set_prefix(display_line(counts.phase()).to_string());
        bar.set_message(format!("{items}{problems}  {}", counts.path()));
        bar.set_position(position);
    }
    console.set_bar(None);
    bar.finish_and_clear();
}

fn paint_json(console: &Console, counts: &Counts, clock: &dyn Clock, ended: &Receiver<()>) {
    let start = clock.monotonic();
    let (mut phase, mut phase_start) = (0, start);
    while wait(ended) {
        let now = clock.monotonic();
        let phases = counts.phases.load(Ordering::Relaxed);
        if phases != phase {
            (phase, phase_start) = (phases, now);
        }
        let seconds = now.saturating_sub(start).as_secs_f64();
        let share = counts.course().share();
        let in_phase = now.saturating_sub(phase_start).as_secs_f64();
        let left = share.filter(|share| *share > 0.0).map(|share| in_phase / share - in_phase);
        let status = json!({
            "message_type": "status",
            "phase": counts.phase(),
            "seconds_elapsed": seconds.round(),
            "seconds_remaining": left.map(f64::round),
            "percent_done": share,
            "total_files": counts.total_items(),
            "files_done": counts.items_done(),
            "total_bytes": counts.total_bytes(),
            "bytes_done": counts.bytes_done(),
            "bytes_stored": counts.bytes_stored.load(Ordering::Relaxed),
            "error_count": counts.problems.load(Ordering::Relaxed),
            "current_files": [counts.path()],
        });
        if console.json(&status).is_err() {
            return;
        }
    }
}
