//! How a file is opened for writing.

use super::FsTarget;
use super::file::{FsFile, Place};
use super::parents::Parent;
use crate::attributes::{Handle, STAT_MASK};
use crate::kinds::Kind;
use crate::source;
use decube_backup_core::{EntryPath, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags, Statx};
use rustix::io::Errno;
use std::sync::Arc;

/// A quarter of the descriptors that the process may have: so many for files, so many for directories, and the rest for all else.
pub(super) fn share_of_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit / 4).unwrap_or(usize::MAX))
}

impl FsTarget {
    /// A new file where nothing stands; beside what does.
    pub(super) fn create_new(&self, path: &EntryPath, flags: u32) -> Result<FsFile> {
        let (parent, name) = self.parent(path)?;
        self.claim(&parent, path);
        let stands = || rustix::fs::statx(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK);
        if !parent.keeps_marks() && matches!(stands(), Err(Errno::NOENT)) {
            return Ok(FsFile { place: Place::Unmarked, ..self.create_beside(path, flags)? });
        }
        match self.doing(&parent, || new_file(&parent, name, flags)) {
            Ok(fd) => {
                let attributes_before = parent.inherits;
                Ok(FsFile { attributes_before, ..FsFile::new(fd, parent.kind, path.clone(), Place::Own) })
            }
            Err(Errno::EXIST) => {
                self.check_told_apart(&parent, name, path)?;
                self.create_beside(path, flags)
            }
            Err(e) => Err(self.error("cannot create file", path, e)),
        }
    }

    /// The existing file at `path` and what is known of it.
    pub(super) fn open_existing(&self, path: &EntryPath) -> Result<rustix::io::Result<(FsFile, Statx)>> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent.fd, name, flags, Mode::empty()).and_then(|fd| {
            let stat = Handle::Open(fd.as_fd()).stat()?;
            let file = FsFile::existing(Arc::new(fd), parent.kind, path.clone(), Place::Own);
            if source::file_type(&stat) == FileType::RegularFile { Ok((file, stat)) } else { Err(Errno::ISDIR) }
        }))
    }

    /// The existing file to rewrite, closed to everyone else; `None` if it has to be replaced.
    pub(super) fn open_in_place(&self, path: &EntryPath) -> Result<Option<FsFile>> {
        let (file, stat) = match self.open_existing(path)? {
            Ok(opened) => opened,
            // Nothing there, something else, or nothing that may be written as it is.
            Err(
                Errno::NOENT | Errno::ISDIR | Errno::LOOP | Errno::NXIO | Errno::ACCESS | Errno::PERM | Errno::TXTBSY,
            ) => {
                return Ok(None);
            }
            Err(e) => return Err(self.error("cannot open the file to rewrite it", path, e)),
        };
        let (parent, name) = self.parent(path)?;
        self.claim(&parent, path);
        if self.is_taken(&parent, name, path).map_err(|e| self.error("cannot stat", path, e))? {
            return Err(self.not_told_apart(path));
        }
        // Other names of the file may be outside the target: they must not see the new content.
        if stat.stx_nlink != 1 {
            return Ok(None);
        }
        file.lock()?;
        let handle = Handle::Open(file.fd.as_fd());
        let own = rustix::process::geteuid().as_raw();
        let closed = if stat.stx_uid == own { Ok(()) } else { handle.chown(Some(own), None) };
        if closed.and_then(|()| mark(handle, parent.kind)).is_err() {
            return Ok(None);
        }
        Ok(Some(file))
    }
}

/// Mode of a file until it is finished: its owner's alone, and by the sticky bit, which means nothing of a file on Linux, known
/// for what it is, whoever was killed meanwhile.
const UNFINISHED: u32 = 0o1600;
/// What of it is the mark.
pub(super) const MARK: u32 = 0o1000;

/// Whether a mode is that of a file that was not finished.
pub(super) fn is_unfinished(mode: u32) -> bool {
    mode & 0o7777 == UNFINISHED
}

/// Gives a file the mark, where that can be told from what it shows.
fn mark(handle: Handle<'_>, kind: Kind) -> rustix::io::Result<()> {
    handle.chmod(UNFINISHED)?;
    // Some take a mode and do not keep it.
    if kind.is_plain() || is_unfinished(handle.stat()?.stx_mode.into()) { Ok(()) } else { Err(Errno::OPNOTSUPP) }
}

/// As [`UNFINISHED`], of the target's own directory, if it is to be told from one that was there.
pub(super) const UNFINISHED_ROOT: u32 = 0o1700;

/// Whether the target's own directory was made by a restore of ours that did not finish it.
pub(super) fn is_unfinished_root(fd: &OwnedFd) -> bool {
    let stat = Handle::Open(fd.as_fd()).stat();
    let own = rustix::process::geteuid().as_raw();
    stat.is_ok_and(|stat| u32::from(stat.stx_mode) & 0o7777 == UNFINISHED_ROOT && stat.stx_uid == own)
}

/// A new empty file, of which only the owner may know anything. Of `flags` it gets those that only an empty file takes.
pub(super) fn new_file(parent: &Parent, name: &[u8], flags: u32) -> rustix::io::Result<OwnedFd> {
    let how = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&parent.fd, name, how, Mode::from_raw_mode(UNFINISHED))?;
    let handle = Handle::Open(fd.as_fd());
    if parent.inherits || !parent.kind.is_plain() {
        // A default ACL may have taken rights from the owner.
        let marked =
            handle.stat().is_ok_and(|stat| is_unfinished(stat.stx_mode.into())) || mark(handle, parent.kind).is_ok();
        parent.learn_marks(marked);
    }
    let early = IFlags::from_bits_retain(flags) & IFlags::NOCOW;
    if !early.is_empty() {
        // What could not be set shows when the file is finished.
        let _ = handle.flags().and_then(|now| handle.set_flags(now | early));
    }
    Ok(fd)
}
