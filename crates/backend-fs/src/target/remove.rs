//! Taking away what stands in the way.

use crate::at::split;
use crate::attributes::Handle;
use crate::target::FsTarget;
use crate::target::locks::{again, unlock};
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, StatxAttributes, StatxFlags};
use rustix::io::Errno;

impl FsTarget {
    /// Removes `path` and all below it, but nothing from where something else is mounted below the root: a snapshot that
    /// stayed on one file system knows nothing of it. Directories are opened anew on the way back instead of kept
    /// open: depth costs no descriptors.
    pub(crate) fn remove_tree(&self, path: &EntryPath) -> Result<()> {
        self.parents.forget(path.as_bytes());
        let mut stack = vec![path.as_bytes().to_vec()];
        if !path.is_root() {
            let (parent, name) = match self.root.open_parent(path.as_bytes()) {
                Ok(found) => found,
                Err(Errno::NOENT) => return Ok(()),
                Err(e) => return Err(self.error("cannot remove", path, e)),
            };
            let above = path.parent().unwrap_or_default();
            if !above.is_root() && is_mount_point(&parent).map_err(|e| self.error("cannot remove", path, e))? {
                return Err(mounted(above.as_bytes()));
            }
            match self.unlink(above.as_bytes(), &parent, name) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::ISDIR) => {}
                Err(e) => return Err(self.error("cannot remove", path, e)),
            }
        }
        while let Some(directory) = stack.last().cloned() {
            let below = match self.empty(&directory) {
                Err(Errno::XDEV) => return Err(mounted(&directory)),
                emptied => emptied.map_err(|e| self.error("cannot empty directory", path, e))?,
            };
            if !below.is_empty() {
                stack.extend(below);
                continue;
            }
            stack.pop();
            if !directory.is_empty() {
                let (parent, name) =
                    self.root.open_parent(&directory).map_err(|e| self.error("cannot remove", path, e))?;
                self.rmdir(split(&directory).0, &parent, name)
                    .map_err(|e| self.error("cannot remove directory", path, e))?;
            }
        }
        Ok(())
    }

    /// Unlinks all but the directories in `path`; returns those. `XDEV` if something else is mounted there.
    fn empty(&self, path: &[u8]) -> rustix::io::Result<Vec<Vec<u8>>> {
        let open = || self.root.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        let fd = match open() {
            Err(Errno::ACCESS) => {
                let fd = self.root.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
                Handle::Path(fd.as_fd()).chmod(0o700)?;
                open()?
            }
            opened => opened?,
        };
        if !path.is_empty() && is_mount_point(&fd)? {
            return Err(Errno::XDEV);
        }
        let handle = Handle::Open(fd.as_fd());
        if handle.stat().is_ok_and(|stat| stat.stx_mode & 0o700 != 0o700) {
            // Where it is not allowed, it is not needed, or the removal says so.
            let _ = handle.chmod(0o700);
        }
        let mut directories = Vec::new();
        for (name, kind) in names(&fd)? {
            let removed = if kind == FileType::Directory { Err(Errno::ISDIR) } else { self.unlink(path, &fd, &name) };
            match removed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => directories.push([path, &name].join(&b"/"[..path.len().min(1)])),
                Err(e) => return Err(e),
            }
        }
        Ok(directories)
    }

    /// Unlinks `name` of the open directory `path`, whatever flags are in the way.
    pub(super) fn unlink(&self, path: &[u8], parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
        self.unlinking(path, parent, name, AtFlags::empty())
    }

    /// As [`Self::unlink`], of an empty directory.
    pub(super) fn rmdir(&self, path: &[u8], parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
        self.unlinking(path, parent, name, AtFlags::REMOVEDIR)
    }

    fn unlinking(&self, path: &[u8], parent: &OwnedFd, name: &[u8], what: AtFlags) -> rustix::io::Result<()> {
        let unlink = || rustix::fs::unlinkat(parent, name, what);
        match unlink() {
            Err(Errno::PERM) => match (unlock(parent, name), self.unlock_directory(path, parent)) {
                (None, false) => Err(Errno::PERM),
                (lock, _) => again(lock, unlink),
            },
            result => result,
        }
    }
}

/// Whether something is mounted on the open directory: what is in it is not what the directory below has.
pub(crate) fn is_mount_point(fd: &OwnedFd) -> rustix::io::Result<bool> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

pub(crate) fn mounted(directory: &[u8]) -> Error {
    Error::new(ErrorKind::Unsupported, "restore", "something is mounted here; nothing in it was deleted")
        .with("path", format_args!("{:?}", String::from_utf8_lossy(directory)))
        .with_hint("unmount it, or delete by hand")
}

/// The names in an open directory, unsorted, with their types where it tells them.
pub(crate) fn names(fd: &OwnedFd) -> rustix::io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut raw = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(dirent) = raw.next() {
        let dirent = dirent?;
        let name = dirent.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), dirent.file_type()));
        }
    }
    Ok(names)
}
