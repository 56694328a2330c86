//! A file while it is written.

use super::kinds::Kind;
use crate::pwrite::pwrite_all;
use decube_backup_core::target::TargetFile;
use decube_backup_core::zeros::is_zero;
use decube_backup_core::{EntryPath, Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where a file is while it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At its path, marked as unfinished.
    Own,
    /// Beside what stands at its path.
    Beside,
    /// As if it were beside something: its name is the mark that the file system does not keep.
    Unmarked,
}

/// An open file of [`crate::target::FsTarget`]; several threads may write it at once.
#[derive(Debug)]
pub(crate) struct FsFile {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) path: EntryPath,
    /// What it lies on.
    pub(super) kind: Kind,
    /// Whether it may carry attributes that nobody set: it existed before, or its directory hands some down.
    pub(crate) attributes_before: bool,
    /// Whether it held something before it was opened.
    pub(crate) content_before: bool,
    pub(super) place: Place,
    /// Whether it is long enough for another restore to rewrite it in place, and locked against that.
    pub(super) locked: AtomicBool,
    /// Whether its length may reach the disk before what was written to it.
    pub(super) lengthened: AtomicBool,
    /// How far it reaches at least, by zeros that have their blocks and were not written: [`FsFile::reach`].
    pub(super) zeros_end: AtomicU64,
}

/// Zeros from this length on are not written but given their blocks, bytes: docs/adr/0033.
const ALLOCATED_ZEROS_MIN: usize = 64 << 10;

/// From this length on a file may be rewritten in place by others; bytes.
const LOCKED_BYTES_MIN: u64 = 1 << 20;

impl FsFile {
    /// Just made, empty.
    pub(crate) fn new(fd: OwnedFd, kind: Kind, path: EntryPath, place: Place) -> Self {
        let locked = AtomicBool::new(false);
        Self {
            fd: Arc::new(fd),
            kind,
            path,
            attributes_before: false,
            content_before: false,
            place,
            locked,
            lengthened: AtomicBool::default(),
            zeros_end: AtomicU64::default(),
        }
    }

    /// One that holds something, or may.
    pub(crate) fn existing(fd: Arc<OwnedFd>, kind: Kind, path: EntryPath, place: Place) -> Self {
        let locked = AtomicBool::new(true);
        Self {
            fd,
            kind,
            path,
            attributes_before: true,
            content_before: true,
            place,
            locked,
            lengthened: AtomicBool::default(),
            zeros_end: AtomicU64::default(),
        }
    }

    /// Waits for what was written to be there, where closing or waiting may tell of errors that writing did not.
    ///
    /// # Errors
    /// It is not: no space, over quota, a server or a disk that fails.
    pub(super) fn flush(&self) -> Result<()> {
        self.reach()?;
        if self.lengthened.swap(false, Ordering::Relaxed) {
            rustix::fs::fdatasync(&self.fd).map_err(|e| self.error("cannot be made durable", e))?;
        }
        if self.kind.is_plain() {
            return Ok(());
        }
        let failed = |e| self.error("cannot write what was taken before", e);
        let another = rustix::io::dup(&*self.fd).map_err(failed)?;
        nix::unistd::close(another).map_err(|e| failed(Errno::from_raw_os_error(e as i32)))?;
        match rustix::fs::fsync(&self.fd) {
            // There is no such thing there.
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Whether `bytes` are so many zeros that they were given their blocks instead of being written. Beyond the end the length
    /// stays: a length that is given, not written, may reach the disk before the content does.
    fn allocates_zeros(&self, offset: u64, bytes: &[u8]) -> bool {
        // Others may take the call for another one, or do what it says elsewhere, and later.
        if bytes.len() < ALLOCATED_ZEROS_MIN || !self.kind.is_plain() || !is_zero(bytes) {
            return false;
        }
        let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        // Whatever is wrong with that, writing says it.
        let allocated = rustix::fs::fallocate(&self.fd, mode, offset, bytes.len() as u64).is_ok();
        if allocated {
            self.zeros_end.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        }
        allocated
    }

    /// Makes the file as long as the zeros that were given their blocks reach, by writing the last of them.
    fn reach(&self) -> Result<()> {
        let end = self.zeros_end.swap(0, Ordering::Relaxed);
        if end == 0 || self.len()? >= end {
            return Ok(());
        }
        let last = end - 1;
        pwrite_all(&self.fd, &[0], last).map_err(|(e, at)| self.error("cannot write", e).with("offset", at))
    }

    fn len(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| self.error("cannot stat", e))?;
        Ok(u64::try_from(stat.st_size).unwrap_or_default())
    }

    /// Before it is `len` long. Others rewrite only what is long: short files save the call.
    fn lock_if_long(&self, len: u64) -> Result<()> {
        if len < LOCKED_BYTES_MIN || self.locked.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.lock().inspect_err(|_| self.locked.store(false, Ordering::Relaxed))
    }

    fn error(&self, message: &str, errno: Errno) -> Error {
        Error::io("restore", message, errno.into()).with("path", &self.path)
    }
}

impl TargetFile for FsFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.lock_if_long(offset.saturating_add(bytes.len() as u64))?;
        if self.allocates_zeros(offset, bytes) {
            return Ok(());
        }
        pwrite_all(&self.fd, bytes, offset).map_err(|(e, at)| self.error("cannot write", e).with("offset", at))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.reach()?;
        loop {
            match rustix::io::pread(&self.fd, &mut *buf, offset) {
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.error("cannot read back", e).with("offset", offset)),
                Ok(n) => return Ok(n),
            }
        }
    }

    fn is_beside(&self) -> bool {
        self.place == Place::Beside
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.reach()?;
        let now = self.len()?;
        // Set all the same, it would reach the disk before what was written: after a power cut the file would be as long as a
        // whole one.
        if now == len {
            return Ok(());
        }
        self.lock_if_long(len)?;
        rustix::fs::ftruncate(&self.fd, len).map_err(|e| self.error("cannot set the length", e).with("length", len))?;
        self.lengthened.fetch_or((1..len).contains(&now), Ordering::Relaxed);
        Ok(())
    }

    fn punch(&self, mut offset: u64, mut len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.reach()?;
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.fd, mode, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(e) => return Err(self.error("cannot punch a hole", e).with("offset", offset)),
        }
        // The bytes come first: a file system without holes gets zeros, as far as the file goes.
        let zeros = [0; 64 << 10];
        len = len.min(self.len()?.saturating_sub(offset));
        while len > 0 {
            let step = zeros.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            self.write_at(offset, zeros.get(..step).unwrap_or_default())?;
            offset += step as u64;
            len -= step as u64;
        }
        Ok(())
    }
}
