//! How a file is opened for writing.

use super::FsTarget;
use super::beside::beside;
use super::file::FsFile;
use super::remove::unlock;
use crate::attributes::Handle;
use crate::source;
use decube_backup_core::{EntryPath, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, IFlags, Mode, OFlags, Statx};
use rustix::io::Errno;

impl FsTarget {
    /// A new file; what is in the way makes way.
    pub(super) fn create_empty(&self, path: &EntryPath, flags: u32) -> Result<FsFile> {
        let (fd, parent) = self.replacing(path, "cannot create file", |dir, name| new_file(dir, name, flags))?;
        let attributes_before = parent.inherits;
        Ok(FsFile { fd, path: path.clone(), attributes_before, content_before: false, is_beside: false })
    }

    /// The existing file at `path` and what is known of it.
    fn open_existing(&self, path: &EntryPath) -> Result<rustix::io::Result<(FsFile, Statx)>> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent.fd, name, flags, Mode::empty()).and_then(|fd| {
            let stat = Handle::Open(fd.as_fd()).stat()?;
            let file =
                FsFile { fd, path: path.clone(), attributes_before: true, content_before: true, is_beside: false };
            if source::file_type(&stat) == FileType::RegularFile { Ok((file, stat)) } else { Err(Errno::ISDIR) }
        }))
    }

    /// The file of this restore to go on with: what stands there otherwise is somebody else's.
    pub(super) fn open_again(&self, path: &EntryPath) -> Result<FsFile> {
        let own = beside(path)?;
        let is_beside = self.begun.has(&own);
        match self.open_existing(if is_beside { &own } else { path })? {
            Ok((file, _)) => Ok(FsFile { path: path.clone(), is_beside, ..file }),
            Err(e) => Err(self.error("cannot open the file again to go on with it", path, e)),
        }
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
        let handle = Handle::Open(file.fd.as_fd());
        let own = rustix::process::geteuid().as_raw();
        let closed = if stat.stx_uid == own { Ok(()) } else { handle.chown(Some(own), None) };
        if closed.and_then(|()| handle.chmod(0o600)).is_err() {
            return Ok(None);
        }
        Ok(Some(file))
    }
}

/// A new empty file, of which only the owner may know anything. Of `flags` it gets those that only an empty file takes.
pub(super) fn new_file(dir: &OwnedFd, name: &[u8], flags: u32) -> rustix::io::Result<OwnedFd> {
    let how = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(dir, name, how, Mode::RUSR | Mode::WUSR);
    let fd = match open() {
        // Nothing is made in an immutable directory. It gets its flags when it is finished.
        Err(Errno::PERM) if unlock(dir, name) => open()?,
        opened => opened?,
    };
    let early = IFlags::from_bits_retain(flags) & IFlags::NOCOW;
    if !early.is_empty() {
        // What could not be set shows when the file is finished.
        let handle = Handle::Open(fd.as_fd());
        let _ = handle.flags().and_then(|now| handle.set_flags(now | early));
    }
    Ok(fd)
}
