//! Files on their way, so that who goes on with one has the same as before.
//!
//! *Invariant*: nothing is written to a file that this restore did not begin, whoever renamed what to its path meanwhile, and
//! one file is written by one restore at a time.

use super::file::{FsFile, Place};
use super::open::is_unfinished;
use super::{FsTarget, inode};
use crate::attributes::{Handle, STAT_MASK};
use crate::kinds::Kind;
use decube_backup_core::target::TargetFile;
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Statx};
use rustix::io::Errno;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Files that were opened and are not finished, as far as somebody may ask for them again.
#[derive(Debug, Default)]
pub(super) struct Opened(Mutex<HashMap<EntryPath, Known>>);

#[derive(Debug)]
enum Known {
    /// Shared, not opened again: its lock would forbid it.
    Open(Weak<OwnedFd>, Kind, Place),
    /// Closed for now: device and inode number.
    Aside((u64, u64), Place),
}

impl Opened {
    fn all(&self) -> MutexGuard<'_, HashMap<EntryPath, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `file` may be asked for again while it is open.
    pub(super) fn note(&self, file: &FsFile) {
        self.all().insert(file.path.clone(), Known::Open(Arc::downgrade(&file.fd), file.kind, file.place));
    }

    /// `path` is finished or given up.
    pub(super) fn forget(&self, path: &EntryPath) {
        self.all().remove(path);
    }
}

impl FsTarget {
    /// Closes `file` for now. Another thread that has it too keeps it open.
    pub(super) fn close_for_now(&self, file: Box<dyn TargetFile>) -> Result<()> {
        let file: Box<dyn Any> = file;
        let Ok(file) = file.downcast::<FsFile>() else {
            return Err(Error::new(ErrorKind::Internal, "restore", "the file was opened by another target"));
        };
        let flushed = file.flush();
        let mut all = self.opened.all();
        let FsFile { fd, path, place, .. } = *file;
        let Some(fd) = Arc::into_inner(fd) else { return flushed };
        let stat = Handle::Open(fd.as_fd()).stat().map_err(|e| self.error("cannot stat", &path, e))?;
        all.insert(path, Known::Aside(inode(&stat), place));
        flushed
    }

    /// The file of this restore to go on with: what stands there otherwise is somebody else's.
    pub(super) fn open_again(&self, path: &EntryPath) -> Result<FsFile> {
        let own = self.begun.of(path);
        let before = match self.opened.all().get(path) {
            Some(Known::Open(fd, kind, place)) => match fd.upgrade() {
                Some(fd) => return Ok(FsFile::existing(fd, *kind, path.clone(), *place)),
                None => None,
            },
            Some(Known::Aside(inode, place)) => Some((*inode, *place)),
            None => None,
        };
        let failed = |e| self.error("cannot open the file again to go on with it", path, e);
        let (file, stat) = self.open_existing(own.as_ref().unwrap_or(path))?.map_err(failed)?;
        let place = match before {
            // What is not at its path has its name for a mark.
            Some((same, place))
                if same == inode(&stat) && (place != Place::Own || is_unfinished(stat.stx_mode.into())) =>
            {
                place
            }
            _ => return Err(replaced(path)),
        };
        let file = FsFile { path: path.clone(), place, ..file };
        file.lock()?;
        self.opened.note(&file);
        Ok(file)
    }

    /// Nothing if what has the name of `file` is the open file, whose `stat` is given.
    pub(super) fn check_still_there(&self, file: &FsFile, stat: &Statx) -> Result<()> {
        let own = self.begun.of(&file.path);
        let (parent, name) = self.parent(own.as_ref().unwrap_or(&file.path))?;
        match rustix::fs::statx(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK) {
            Ok(there) if inode(&there) == inode(stat) => Ok(()),
            Ok(_) | Err(Errno::NOENT) => Err(replaced(&file.path)),
            Err(e) => Err(self.error("cannot stat", &file.path, e)),
        }
    }
}

impl FsFile {
    /// Keeps other restores from writing it too, until it is closed.
    ///
    /// # Errors
    /// `Contended` if one is at it.
    pub(super) fn lock(&self) -> Result<()> {
        match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let error = Error::new(ErrorKind::Contended, "restore", "another restore is writing this file");
                Err(error.with("path", &self.path))
            }
            // Without locks there, nobody is kept out.
            _ => Ok(()),
        }
    }
}

fn replaced(path: &EntryPath) -> Error {
    Error::new(ErrorKind::Contended, "restore", "the file was replaced while it was restored").with("path", path)
}
