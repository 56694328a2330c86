//! One regular file whose content is read, once, from a descriptor: a pipe, a terminal, a file.
//!
//! *Invariant*: the scan ends well only after the content was read to its end. How reading ended travels from the content
//! to the scan, which waits for it; a failure ends the scan with an error, and then there is no snapshot. That a writer
//! died in the middle cannot be told from its end: a pipe has no other sign.

use async_trait::async_trait;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath, Metadata};
use decube_backup_core::monitor::Problem;
use decube_backup_core::source::{
    Content, ContentEnd, Piece, SIZE_UNKNOWN, Scan, ScanItem, Scanned, Source, SourceInfo, Stability,
};
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use futures::channel::oneshot::{Receiver, Sender, channel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::sync::{Arc, Mutex, PoisonError};

/// How long reading waits before it asks whether to stop, nanoseconds.
const WAIT_NS: i64 = 100_000_000;

/// Says whether reading shall stop.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// Owner and time of the file, and of the folders above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
}

/// What becomes of an input in which nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyInput {
    /// It ends the scan with an error: a program that died before it wrote anything leaves just that.
    Refused,
    /// It is an empty file.
    Stored,
}

/// A stream as a source of one file, readable by its owner alone. Folders above it are made up.
pub struct StreamSource {
    path: EntryPath,
    attributes: Attributes,
    stop: Stop,
    /// Taken by the scan, then by whoever opens the content.
    end: Mutex<Option<Receiver<Error>>>,
    content: Mutex<Option<StreamContent>>,
}

impl StreamSource {
    /// The content of `input` as the file `path`.
    ///
    /// # Errors
    /// `Invalid` if `path` is the root.
    pub fn new(path: EntryPath, attributes: Attributes, input: OwnedFd, empty: EmptyInput, stop: Stop) -> Result<Self> {
        if path.is_root() {
            return Err(Error::new(ErrorKind::Invalid, "source", "a stream needs a file name"));
        }
        let (failed, end) = channel();
        let content =
            StreamContent { input, failed: Some(failed), refused: empty == EmptyInput::Refused, stop: stop.clone() };
        Ok(Self { path, attributes, stop, end: Mutex::new(Some(end)), content: Mutex::new(Some(content)) })
    }

    fn entry(&self, path: EntryPath, kind: EntryKind) -> ScanItem {
        let Attributes { uid, gid, mtime } = self.attributes;
        let mode = if kind == EntryKind::Directory { 0o755 } else { 0o600 };
        let meta = Metadata { mode, uid, gid, mtime, ..Metadata::default() };
        ScanItem::Entry(Scanned { entry: Entry { path, kind, meta }, identity: None })
    }
}

impl Source for StreamSource {
    fn describe(&self) -> SourceInfo {
        SourceInfo { paths: vec![format!("/{}", self.path)], roots: vec![self.path.clone()] }
    }

    fn scan(&self) -> Result<Box<dyn Scan>> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        let end = end.ok_or_else(|| {
            let message = "a stream cannot be read a second time, and space was reclaimed meanwhile";
            Error::new(ErrorKind::Contended, "scan", message)
                .with("path", &self.path)
                .with_hint("no snapshot was made; run the backup again with its input")
        })?;
        let mut folders: Vec<EntryPath> = std::iter::successors(self.path.parent(), EntryPath::parent).collect();
        folders.reverse();
        let mut items: Vec<ScanItem> =
            folders.into_iter().map(|folder| self.entry(folder, EntryKind::Directory)).collect();
        items.push(self.entry(self.path.clone(), EntryKind::File { size: SIZE_UNKNOWN }));
        Ok(Box::new(StreamScan { items: Some(items), end, stop: self.stop.clone() }))
    }

    fn is_read_once(&self) -> bool {
        true
    }

    fn detail(&self, _: &mut Entry) -> Vec<Problem> {
        Vec::new()
    }

    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || Error::new(ErrorKind::NotFound, "open", "the stream was read already");
        Ok(Box::new(content.ok_or_else(|| gone().with("path", &scanned.entry.path))?))
    }
}

struct StreamScan {
    items: Option<Vec<ScanItem>>,
    end: Receiver<Error>,
    stop: Stop,
}

#[async_trait]
impl Scan for StreamScan {
    async fn next(&mut self) -> Result<Option<Vec<ScanItem>>> {
        if let Some(items) = self.items.take() {
            return Ok(Some(items));
        }
        match (&mut self.end).await {
            Ok(error) => Err(error),
            // The content was dropped without a failure: it is whole, or nobody wants it any more.
            Err(_) if (self.stop)() => Err(interrupted()),
            Err(_) => Ok(None),
        }
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "read", "interrupted")
}

struct StreamContent {
    input: OwnedFd,
    failed: Option<Sender<Error>>,
    /// Whether it is an error if it ends here.
    refused: bool,
    stop: Stop,
}

impl StreamContent {
    /// Waits for bytes; `None` if it was asked to stop.
    fn read_some(&self, buf: &mut [u8]) -> Result<Option<usize>, Errno> {
        loop {
            if (self.stop)() {
                return Ok(None);
            }
            let timeout = Timespec { tv_sec: 0, tv_nsec: WAIT_NS };
            let outcome = match poll(&mut [PollFd::new(&self.input, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => continue,
                Ok(_) => rustix::io::read(&self.input, &mut *buf),
                Err(error) => Err(error),
            };
            match outcome {
                Err(Errno::INTR | Errno::AGAIN) => {}
                outcome => return outcome.map(Some),
            }
        }
    }
}

impl Content for StreamContent {
    fn read(&mut self, buf: &mut [u8]) -> Result<Piece> {
        let error = match self.read_some(buf) {
            Ok(Some(0)) if self.refused => Error::new(ErrorKind::Invalid, "read", "nothing came in").with_hint(
                "no snapshot was made: whatever should have written here failed; --force backs up an empty input",
            ),
            Ok(Some(0)) => return Ok(Piece::End),
            Ok(Some(n)) => {
                self.refused = false;
                return Ok(Piece::Data(n));
            }
            Ok(None) => interrupted(),
            Err(error) => Error::io("read", "cannot read the input to its end", error.into())
                .with_hint("no snapshot was made; run the backup again with its input"),
        };
        if let Some(failed) = self.failed.take() {
            // Nobody waits for it if the scan was dropped: then it failed already.
            let _ = failed.send(error);
        }
        // The scan tells why; said here too, it would be told twice.
        Ok(Piece::End)
    }

    fn finish(self: Box<Self>, _: &mut Entry) -> Result<ContentEnd> {
        Ok(ContentEnd { stable: Stability::Unchanged, identity: None, problems: Vec::new() })
    }
}
