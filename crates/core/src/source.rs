//! What is backed up.
//!
//! # Contract
//! 1. **Path order.** A scan yields entries strictly ascending in path order
//!    ([`crate::entry::cmp_path_bytes`]), every parent directory before its children, no path twice.
//! 2. **Batches.** At most [`crate::limits::BATCH_ENTRIES_MAX`] items a batch; async at batch
//!    granularity only.
//! 3. **Problems travel in band.** What cannot be listed or described is a [`ScanItem::Problem`] at
//!    its place in the order; the scan goes on. `Err` ends the scan: the source itself is gone.
//! 4. **Cheap scan, costly detail.** `scan` fills what one `stat` gives. `detail` and `open` are
//!    blocking calls made on the reader pool, only for entries that changed; a file whose content is
//!    read gets its detail from [`Content::finish`], so that it is opened once.
//! 5. **Honest content.** `finish` says whether the content changed between scan and end of reading.
//! 6. **Unknown size.** A file whose length only reading tells has the size [`SIZE_UNKNOWN`]; whoever reads it streams
//!    it and takes what it gives for its size.
//! 7. **Leaves no trace.** Reading changes neither times nor content, and leaves caches as found.

use crate::entry::{Entry, EntryPath, Identity};
use crate::error::Result;
use crate::monitor::Problem;
use async_trait::async_trait;

/// Size of a file whose length only reading tells.
pub const SIZE_UNKNOWN: u64 = u64::MAX;

/// One item of a scan.
#[derive(Debug)]
pub enum ScanItem {
    /// An entry, its detail not yet filled in.
    Entry(Scanned),
    /// Something that could not be listed or described.
    Problem(Problem),
}

/// A scanned entry with what change detection needs.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The entry; extended attributes, inode flags and birth time may still be missing.
    pub entry: Entry,
    /// What tells a later scan it is unchanged; `None` forces a read every time.
    pub identity: Option<Identity>,
}

/// A running scan. Dropping it stops its threads.
#[async_trait]
pub trait Scan: Send {
    /// The next batch, `None` at the end.
    ///
    /// # Errors
    /// The source as a whole cannot be read on; what was yielded stays valid.
    async fn next(&mut self) -> Result<Option<Vec<ScanItem>>>;
}

/// One piece of a content stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// That many bytes of the buffer were filled; at least 1.
    Data(usize),
    /// A hole of that many bytes: zeros that occupy no space; at least 1.
    Hole(u64),
    /// The end of the content.
    End,
}

/// How reading a content ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentEnd {
    /// Whether size, times or identity differ from the scan: what was read may be a mixture.
    pub stable: Stability,
    /// Identity after reading, for the stat cache.
    pub identity: Option<Identity>,
    /// Detail that could not be read; the entry is still usable.
    pub problems: Vec<Problem>,
}

/// Whether content held still while it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Same before and after.
    Unchanged,
    /// It moved: the copy may be torn.
    Changed,
}

/// The content of one file, read once from front to back. Blocking.
pub trait Content: Send {
    /// Fills `buf` from the current position as far as one data extent goes. What a file holds is what is read: one whose
    /// size was given as 0 may have content.
    ///
    /// # Errors
    /// Reading failed; the caller reports the file as unreadable.
    fn read(&mut self, buf: &mut [u8]) -> Result<Piece>;

    /// Ends reading: fills in the detail of `entry`, the one that was opened, as [`Source::detail`]
    /// does, and says whether the file held still.
    ///
    /// # Errors
    /// Its state could not be read again.
    fn finish(self: Box<Self>, entry: &mut Entry) -> Result<ContentEnd>;
}

/// What a source calls itself in a snapshot's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SourceInfo {
    /// Absolute paths or URLs it covers, as a person wrote them.
    pub paths: Vec<String>,
    /// The same as paths of entries, links on the way to them resolved, also those that lie in another; in path order. What
    /// keeps one from being read is no problem of a single entry. Empty if the source does not say.
    pub roots: Vec<EntryPath>,
}

/// Something that can be backed up. See the module docs for the numbered contract.
pub trait Source: Send + Sync + 'static {
    /// What it covers.
    fn describe(&self) -> SourceInfo;

    /// Starts a scan.
    ///
    /// # Errors
    /// `NotFound` if a required root is missing.
    fn scan(&self) -> Result<Box<dyn Scan>>;

    /// Whether a second scan is refused: what is read is gone, as from a pipe.
    fn is_read_once(&self) -> bool {
        false
    }

    /// Fills in what `scan` left out (extended attributes, inode flags, birth time). Blocking.
    ///
    /// For entries without content; files get it from [`Content::finish`].
    ///
    /// Returns what could not be read; the entry is still usable.
    fn detail(&self, entry: &mut Entry) -> Vec<Problem>;

    /// Opens the content of a regular file. Blocking.
    ///
    /// # Errors
    /// `NotFound` if it vanished, `PermissionDenied` or `Io` if it cannot be read.
    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>>;
}
