//! Progress, problems and the wish to stop.
//!
//! The engine reports through a [`Monitor`]; only the CLI turns that into bars, lines or JSON.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Something that went wrong with one item while the work went on. Never dropped: it reaches the
/// snapshot, the summary, the JSON output and the exit code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind it is.
    pub kind: ProblemKind,
    /// The path, raw bytes.
    pub path: Vec<u8>,
    /// What happened, one line, lower case.
    pub message: String,
}

/// Kinds of problems, by what a person does about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProblemKind {
    /// Could not be read; it is not in the snapshot (or only its name is).
    Unreadable,
    /// Was listed, then gone.
    Vanished,
    /// Changed while it was read; the stored copy may be torn.
    Changed,
    /// A kind that is not backed up by design (sockets): a note, not a failure.
    Skipped,
    /// A configured root does not exist, or could not be read: what is in it is missing from the snapshot.
    MissingSource,
    /// An attribute could not be read or set.
    Attribute,
    /// Content is missing from the repository or damaged.
    Damaged,
    /// Could not be written at the destination.
    Unwritable,
}

impl ProblemKind {
    /// Whether it makes the exit code 3. Notes do not.
    pub fn counts(self) -> bool {
        self != Self::Skipped
    }
    /// Stable lower-case word for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Vanished => "vanished",
            Self::Changed => "changed",
            Self::Skipped => "skipped",
            Self::MissingSource => "missing_source",
            Self::Attribute => "attribute",
            Self::Damaged => "damaged",
            Self::Unwritable => "unwritable",
        }
    }
}

impl Problem {
    /// A problem with `path`.
    pub fn new(kind: ProblemKind, path: impl Into<Vec<u8>>, message: impl Into<String>) -> Self {
        Self { kind, path: path.into(), message: message.into() }
    }
    /// A problem described by an error and its causes.
    pub fn from_error(kind: ProblemKind, path: impl Into<Vec<u8>>, error: &Error) -> Self {
        Self::new(kind, path, error.chain())
    }
}

/// What kind of thing a progress count counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Entries seen by a scan or restored.
    Entries,
    /// Content bytes processed (read on backup, written on restore, decoded on verify).
    Bytes,
    /// Content bytes that did not have to be read, because nothing changed.
    BytesUnchanged,
    /// Bytes handed to the sink.
    BytesStored,
    /// Objects finished (packs verified).
    Objects,
}

/// Receives progress and problems; called from many threads.
pub trait Monitor: Send + Sync {
    /// A phase began (`backup`, `restore`, `verify`), with the totals known so far. What is counted from now on is this phase's.
    fn phase(&self, _name: &str, _total_bytes: Option<u64>, _total_items: Option<u64>) {}
    /// `count` more of `what` are done.
    fn advance(&self, _what: Progress, _count: u64) {}
    /// A better estimate of the totals.
    fn totals(&self, _bytes: Option<u64>, _items: Option<u64>) {}
    /// Whether totals are worth a search of their own, because somebody watches how far the work is.
    fn wants_totals(&self) -> bool {
        false
    }
    /// One item had a problem.
    fn problem(&self, _problem: &Problem) {}
    /// One path is being worked on; may be sampled.
    fn at(&self, _path: &[u8]) {}
    /// One line of news (an entry removed by `--delete`, a dry run's decision).
    fn note(&self, _line: &str) {}
    /// Whether the work shall stop soon.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Ignores everything.
#[derive(Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// `Err(Interrupted)` once `monitor` asks to stop.
///
/// # Errors
/// `Interrupted`.
pub fn check_stop(monitor: &dyn Monitor) -> Result<()> {
    if monitor.stop_requested() {
        return Err(Error::new(ErrorKind::Interrupted, "stop", "interrupted")
            .with_hint("nothing was published; run the same command again"));
    }
    Ok(())
}
