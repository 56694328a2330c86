//! Reading one file's content.
//!
//! A small file costs one open, one stat, one read, its detail and one stat: its end is known from its size,
//! growth shows in the second stat. Holes are looked for only where fewer blocks than bytes are allocated. Where the
//! size is given as 0 it says nothing (`/proc`, file systems in user space): the file is asked itself.

use crate::at::{Root, open_quietly};
use crate::attributes::{Handle, STAT_MASK};
use crate::page_cache::{any_cached, not_needed};
use crate::source::{describe, detail};
use decube_backup_core::entry::{Entry, Identity, Timestamp};
use decube_backup_core::source::{Content, ContentEnd, Piece, Scanned, Stability};
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Advice, AtFlags, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

/// From this size on the kernel is told that reading is sequential, bytes.
const SEQUENTIAL_BYTES_MIN: u64 = 1 << 20;
/// From this size on pages that were not cached before are given back, bytes.
const UNCACHED_BYTES_MIN: u64 = 4 << 20;
/// How much is read before such pages are given back, bytes.
const UNCACHED_STEP_BYTES: u64 = 8 << 20;
/// Smaller files are read whole: a hole in them saves nothing.
const SPARSE_BYTES_MIN: u64 = 4096;

#[derive(PartialEq, Eq)]
struct State {
    size: u64,
    mtime: Timestamp,
    identity: Identity,
}

/// An open file.
pub(crate) struct FileContent {
    fd: OwnedFd,
    path: EntryPath,
    scanned: State,
    size: u64,
    position: u64,
    /// Data is known up to here; equals `size` for a file without holes.
    extent_end: u64,
    /// Where the pages to give back begin; `None` leaves the cache alone.
    uncached_from: Option<u64>,
}

impl FileContent {
    pub(crate) fn open(root: &Root, scanned: &Scanned) -> Result<Self> {
        let entry = &scanned.entry;
        let path = &entry.path;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let fd = open_quietly(|flags| root.open(path.as_bytes(), flags, Mode::empty()), flags)
            .map_err(|e| open_error(path, e))?;
        let stat = Handle::Open(fd.as_fd()).stat().map_err(|e| error(path, "cannot stat the open file", e))?;
        let identity = describe::identity(&stat);
        let same = scanned.identity.is_none_or(|i| (i.dev, i.inode) == (identity.dev, identity.inode));
        if describe::file_type(&stat) != FileType::RegularFile || !same {
            let message = "was replaced by something else after it was listed";
            return Err(Error::new(ErrorKind::NotFound, "open", message).with("path", path));
        }
        let size = stat.stx_size;
        let sparse = size >= SPARSE_BYTES_MIN && stat.stx_blocks.saturating_mul(512) < size;
        let cold = size >= UNCACHED_BYTES_MIN && !any_cached(&fd, &(0..size));
        if size >= SEQUENTIAL_BYTES_MIN {
            // Advice only: reading works without.
            let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Sequential);
        }
        Ok(Self {
            path: path.clone(),
            scanned: State {
                size: entry.kind.size(),
                mtime: entry.meta.mtime,
                identity: scanned.identity.unwrap_or(identity),
            },
            size,
            position: 0,
            extent_end: if sparse { 0 } else { size },
            uncached_from: cold.then_some(0),
            fd,
        })
    }

    /// Moves over a hole at the position: its length, 0 if there is data. Sets `extent_end`.
    fn skip_hole(&mut self) -> Result<u64> {
        let data = match rustix::fs::seek(&self.fd, SeekFrom::Data(self.position)) {
            Ok(at) => at.clamp(self.position, self.size),
            Err(Errno::NXIO) => self.size,
            // A file system without holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                self.extent_end = self.size;
                return Ok(0);
            }
            Err(e) => return Err(error(&self.path, "cannot look for data", e)),
        };
        let hole = data - self.position;
        self.position = data;
        if data < self.size {
            let end = rustix::fs::seek(&self.fd, SeekFrom::Hole(data));
            let end = end.map_err(|e| error(&self.path, "cannot look for holes", e))?;
            self.extent_end = if end > data { end.min(self.size) } else { self.size };
        }
        Ok(hole)
    }

    /// Reads on in a file whose size is given as 0.
    fn read_unsized(&mut self, buf: &mut [u8]) -> Result<Piece> {
        loop {
            match rustix::io::pread(&self.fd, &mut *buf, self.position) {
                Ok(0) => return Ok(Piece::End),
                Ok(n) => {
                    self.position += n as u64;
                    return Ok(Piece::Data(n));
                }
                Err(Errno::INTR) => {}
                // One that waits for content (`/proc/kmsg`) would be waited for without end.
                Err(e) => return Err(error(&self.path, "cannot read", e).with("offset", self.position)),
            }
        }
    }

    fn give_back(&mut self, at_least: u64) {
        if let Some(from) = self.uncached_from
            && self.position - from >= at_least
        {
            not_needed(&self.fd, from..self.position);
            self.uncached_from = Some(self.position);
        }
    }
}

impl Content for FileContent {
    fn read(&mut self, buf: &mut [u8]) -> Result<Piece> {
        if buf.is_empty() {
            return Err(Error::new(ErrorKind::Internal, "read", "empty buffer"));
        }
        if self.scanned.size == 0 && self.size == 0 {
            return self.read_unsized(buf);
        }
        if self.position >= self.extent_end && self.position < self.size {
            let hole = self.skip_hole()?;
            if hole > 0 {
                return Ok(Piece::Hole(hole));
            }
        }
        if self.position >= self.size {
            return Ok(Piece::End);
        }
        let left = usize::try_from(self.extent_end - self.position).unwrap_or(usize::MAX);
        let want = left.min(buf.len());
        let mut filled = 0;
        while filled < want {
            let rest = buf.get_mut(filled..want).unwrap_or_default();
            match rustix::io::pread(&self.fd, rest, self.position) {
                // It shrank: what was there is read, `finish` says so.
                Ok(0) => {
                    self.size = self.position;
                    break;
                }
                Ok(n) => {
                    filled += n;
                    self.position += n as u64;
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(e) => return Err(error(&self.path, "cannot read", e).with("offset", self.position)),
            }
        }
        self.give_back(UNCACHED_STEP_BYTES);
        Ok(if filled == 0 { Piece::End } else { Piece::Data(filled) })
    }

    fn finish(mut self: Box<Self>, entry: &mut Entry) -> Result<ContentEnd> {
        self.give_back(1);
        let problems = detail::fill(Handle::Open(self.fd.as_fd()), entry);
        let stat = rustix::fs::statx(&self.fd, "", AtFlags::EMPTY_PATH, STAT_MASK)
            .map_err(|e| error(&self.path, "cannot stat the file after reading", e))?;
        let identity = describe::identity(&stat);
        let now = State { size: stat.stx_size, mtime: describe::timestamp(&stat.stx_mtime), identity };
        let stable = if now == self.scanned { Stability::Unchanged } else { Stability::Changed };
        Ok(ContentEnd { stable, identity: Some(identity), problems })
    }
}

fn open_error(path: &EntryPath, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO => {
            let message = "vanished or was replaced after it was listed";
            Error::new(ErrorKind::NotFound, "open", message).with("path", path).with_source(std::io::Error::from(errno))
        }
        errno => error(path, "cannot open", errno),
    }
}

fn error(path: &EntryPath, message: &str, errno: Errno) -> Error {
    Error::io("read", message, errno.into()).with("path", path)
}
