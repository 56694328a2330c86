//! One file on its way.

use super::Lacking;
use decube_backup_core::Result;
use decube_backup_core::entry::{Entry, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::{FileMode, TargetFile};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

/// How much earlier than recorded the time of a file is that is not whole, seconds: told apart by every file system, and still
/// older than the snapshot's.
const FAILED_SECONDS_EARLIER: i64 = 4;

/// Of a file the last so many bytes, from a multiple of as many on, are its last block. No block of ext4 is larger on most machines;
/// where it is, and its beginning has blocks already, the length reaches the disk with the write.
const BLOCK_BYTES: u64 = 4096;

/// Whether writing all pieces gives the file its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    ByContent,
    /// It may be longer before, or ends with a hole.
    Set,
}

/// One file being restored.
pub(super) struct FileJob {
    pub path: EntryPath,
    pub entry: Entry,
    pub mode: FileMode,
    pub length: Length,
    /// Pieces still to come, and one while they are being planned.
    pub remaining: AtomicU64,
    /// Whether it was opened before: later opens keep what is there.
    pub opened: AtomicBool,
    pub failed: AtomicBool,
    /// Why the repository does not give all of its content, if it failed for that.
    pub lost: OnceLock<ProblemKind>,
    /// Whether it failed for lack of space.
    pub no_space: AtomicBool,
    /// Whether a directory stands in its place, which goes with all that is in it once the file is whole.
    pub over_directory: bool,
    /// Whether what no piece writes is more than nothing.
    pub has_holes: AtomicBool,
    /// What there is of its last block, by offset: [`Self::held_from`].
    pub last_block: Mutex<BTreeMap<u64, Vec<u8>>>,
    /// Writers share it; who opens or closes has it alone.
    pub handle: RwLock<Option<Box<dyn TargetFile>>>,
}

impl FileJob {
    /// A file of one piece, or one that is being planned.
    pub(super) fn new(path: EntryPath, entry: Entry, mode: FileMode, length: Length) -> Self {
        Self {
            path,
            entry,
            mode,
            length,
            remaining: AtomicU64::new(1),
            opened: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            lost: OnceLock::new(),
            no_space: AtomicBool::new(false),
            over_directory: false,
            has_holes: AtomicBool::new(false),
            last_block: Mutex::default(),
            handle: RwLock::default(),
        }
    }

    /// How it is opened next.
    pub(super) fn next_mode(&self) -> FileMode {
        match self.mode {
            _ if !self.opened.load(Ordering::Relaxed) => self.mode,
            FileMode::InPlace | FileMode::ContinueInPlace => FileMode::ContinueInPlace,
            FileMode::New | FileMode::Beside | FileMode::Continue => FileMode::Continue,
        }
    }

    /// Notes that it is not whole; whether that is news.
    pub(super) fn fail(&self, kind: ProblemKind) -> bool {
        if kind != ProblemKind::Unwritable {
            // The first reason is the one that is told.
            let _ = self.lost.set(kind);
        }
        !self.failed.swap(true, Ordering::Relaxed)
    }

    /// What its other names have to know if none of it is in its place.
    pub(super) fn nothing(&self) -> Lacking {
        match self.lost.get() {
            Some(why) => Lacking::Everything(*why),
            None if self.no_space.load(Ordering::Relaxed) => Lacking::Space,
            None => Lacking::Place,
        }
    }

    /// What they have to know if some of it is.
    pub(super) fn parts(&self) -> Lacking {
        // Where the repository gave everything, it is the destination that did not take it.
        Lacking::Parts(self.lost.get().copied().unwrap_or(ProblemKind::Unwritable))
    }

    /// What is said of it if it is not whole.
    pub(super) fn problem(&self, kind: ProblemKind, why: &str) -> Problem {
        let rest = match self.mode {
            FileMode::Beside => "; what stood there was left as it was",
            FileMode::InPlace => "; what stood there was left in its place",
            _ => "",
        };
        Problem::new(kind, self.path.as_bytes(), format!("{why}{rest}"))
    }

    /// Whether the last byte written is the last byte of the file.
    fn is_as_long_as_written(&self) -> bool {
        let falls_short = self.has_holes.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed);
        self.length == Length::ByContent && !falls_short
    }

    /// From where on a piece from `start` to `end` is held back: the last block of a file of several pieces is written when all
    /// others are on their way, so that what is on the disk is not as long as a whole file before; what that leaves open: docs/adr/0030.
    pub(super) fn held_from(&self, start: u64, end: u64) -> Option<u64> {
        let size = self.entry.kind.size();
        let last_block = size.saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
        let is_all = start == 0 && end == size;
        let reaches = (last_block + 1..=size).contains(&end);
        (reaches && !is_all && self.mode != FileMode::InPlace).then(|| start.max(last_block))
    }

    /// Writes what was held back: how much it is, and what became of it.
    pub(super) fn write_held(&self, handle: &dyn TargetFile) -> (usize, Result<()>) {
        let held = std::mem::take(&mut *self.last_block.lock().unwrap_or_else(PoisonError::into_inner));
        let written = held.iter().try_for_each(|(offset, bytes)| handle.write_at(*offset, bytes));
        (held.values().map(Vec::len).sum(), written)
    }

    /// Gives the file its length. One that is rewritten in place and lacks content keeps what it has beyond.
    pub(super) fn settle(&self, handle: &dyn TargetFile) -> Result<()> {
        let keeps_more = self.failed.load(Ordering::Relaxed) && self.mode == FileMode::InPlace;
        if keeps_more || self.is_as_long_as_written() { Ok(()) } else { handle.set_len(self.entry.kind.size()) }
    }

    /// What is set in the end. A file that is not whole gets a time of its own: by the recorded one, whoever restores it again
    /// would take it for the same.
    pub(super) fn attributes(&self) -> Cow<'_, Entry> {
        if !self.failed.load(Ordering::Relaxed) {
            return Cow::Borrowed(&self.entry);
        }
        let mut entry = self.entry.clone();
        entry.meta.mtime.seconds = entry.meta.mtime.seconds.saturating_sub(FAILED_SECONDS_EARLIER);
        Cow::Owned(entry)
    }
}
