//! A file while it is written.

use crate::kinds::Kind;
use crate::pwrite::pwrite_all;
use decube_backup_core::target::TargetFile;
use decube_backup_core::{EntryPath, Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
}

/// Zeros are given their blocks in multiples of this, bytes: no page or block is larger on the machines that we know, so that
/// nothing of one that is being written is in them. docs/adr/0033.
const ALLOCATED_ALIGN: u64 = 64 << 10;

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
        }
    }

    /// Waits for what was written to be there, where closing or waiting may tell of errors that writing did not.
    ///
    /// # Errors
    /// It is not: no space, over quota, a server or a disk that fails.
    pub(super) fn flush(&self) -> Result<()> {
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

    /// The part of `zeros` that was given its blocks and reads as zeros; an empty one at the end if none was. It ends before
    /// their last byte, and the length stays: one that is given, not written, may reach the disk before the content does.
    fn allocate(&self, zeros: &Range<u64>) -> Range<u64> {
        let start = zeros.start.next_multiple_of(ALLOCATED_ALIGN);
        let last = zeros.end.saturating_sub(1);
        let end = last - last % ALLOCATED_ALIGN;
        let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        // Whatever is wrong with that, writing says it.
        if self.kind.allocates_zeros()
            && start < end
            && rustix::fs::fallocate(&self.fd, mode, start, end - start).is_ok()
        {
            start..end
        } else {
            zeros.end..zeros.end
        }
    }

    fn pwrite(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        pwrite_all(&self.fd, bytes, offset).map_err(|(e, at)| self.error("cannot write", e).with("offset", at))
    }

    /// Writes zeros.
    fn fill(&self, mut range: Range<u64>) -> Result<()> {
        let zeros = [0; 64 << 10];
        while range.start < range.end {
            let step = (zeros.len() as u64).min(range.end - range.start);
            self.pwrite(range.start, zeros.get(..step as usize).unwrap_or_default())?;
            range.start += step;
        }
        Ok(())
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
        self.pwrite(offset, bytes)
    }

    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        let zeros = offset..offset.saturating_add(len);
        self.lock_if_long(zeros.end)?;
        let allocated = self.allocate(&zeros);
        self.fill(zeros.start..allocated.start)?;
        self.fill(allocated.end..zeros.end)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
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
        let failed = |e| self.error("cannot set the length", e).with("length", len);
        let now = u64::try_from(rustix::fs::fstat(&self.fd).map_err(failed)?.st_size).unwrap_or_default();
        // Set all the same, it would reach the disk before what was written: after a power cut the file would be as long as a
        // whole one.
        if now == len {
            return Ok(());
        }
        self.lock_if_long(len)?;
        rustix::fs::ftruncate(&self.fd, len).map_err(failed)?;
        self.lengthened.fetch_or((1..len).contains(&now), Ordering::Relaxed);
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.fd, mode, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(e) => return Err(self.error("cannot punch a hole", e).with("offset", offset)),
        }
        // The bytes come first: a file system without holes gets zeros, as far as the file goes.
        let end = rustix::fs::fstat(&self.fd).map_err(|e| self.error("cannot stat", e))?.st_size;
        let there = u64::try_from(end).unwrap_or_default().saturating_sub(offset);
        self.write_zeros(offset, len.min(there))
    }
}
