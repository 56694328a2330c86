//! Flags that forbid what a restore does: immutable and append-only ones.
//!
//! *Invariant*: a directory that lost one has it again in the end: from its entry when it is finished, else as it was.

use super::FsTarget;
use super::parents::Parent;
use crate::attributes::{Handle, LOCKING};
use decube_backup_core::{Error, ErrorKind};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags, StatxFlags};
use rustix::io::{Errno, Result};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Directories that can be worked in for now, with the flags they had.
#[derive(Debug, Default)]
pub(super) struct Unlocked(Mutex<HashMap<Vec<u8>, IFlags>>);

impl Unlocked {
    fn all(&self) -> MutexGuard<'_, HashMap<Vec<u8>, IFlags>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `path` is finished: its flags are those of its entry.
    pub(super) fn forget(&self, path: &[u8]) {
        self.all().remove(path);
    }
}

impl FsTarget {
    /// Does `act` in the directory `parent`, without its locking flags if they forbid it.
    pub(super) fn doing<T>(&self, parent: &Parent, act: impl Fn() -> Result<T>) -> Result<T> {
        match act() {
            Err(Errno::PERM) if self.unlock_directory(&parent.path, &parent.fd) => act(),
            done => done,
        }
    }

    /// Takes the locking flags off the open directory `path`; whether it had any.
    pub(super) fn unlock_directory(&self, path: &[u8], fd: &OwnedFd) -> bool {
        match unlock(fd, b".") {
            Some(lock) => {
                self.unlocked.all().entry(path.to_vec()).or_insert(lock.had);
                true
            }
            // By another thread, meanwhile.
            None => self.unlocked.all().contains_key(path),
        }
    }

    /// Gives directories that nothing finished the flags they had.
    pub(super) fn lock_again(&self) {
        for (path, had) in self.unlocked.all().drain() {
            // One that was removed needs none.
            let Ok(fd) = self.root.open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else { continue };
            let handle = Handle::Open(fd.as_fd());
            let _unchanged = handle.flags().and_then(|now| handle.set_flags(now | had));
        }
    }
}

/// Does `act`, without the locking flags of the file `name` if it is not permitted with them; the file has them again
/// afterwards, or `failed` says why not. Who is killed in between leaves a file that is not finished: its flags differ.
pub(super) fn without_locks(
    parent: &OwnedFd,
    name: &[u8],
    act: impl Fn() -> decube_backup_core::Result<()>,
    failed: impl Fn(Errno) -> Error,
) -> decube_backup_core::Result<()> {
    let refused = match act() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => error,
        done => return done,
    };
    let Some(lock) = unlock(parent, name) else { return Err(refused) };
    act().and(lock.put_back().map_err(failed))
}

/// What lost its locking flags.
pub(super) struct Lock {
    fd: OwnedFd,
    had: IFlags,
}

impl Lock {
    /// Gives them back to what stays after all.
    ///
    /// # Errors
    /// As setting them yields.
    pub(super) fn put_back(&self) -> Result<()> {
        let handle = Handle::Open(self.fd.as_fd());
        handle.flags().and_then(|now| handle.set_flags(now | self.had))
    }
}

/// Takes the locking flags off the file or directory `name`; none if it has none.
pub(super) fn unlock(parent: &OwnedFd, name: &[u8]) -> Option<Lock> {
    // Opening a device may do something; nor do others tell their flags.
    let stat = rustix::fs::statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).ok()?;
    if !matches!(crate::source::file_type(&stat), FileType::RegularFile | FileType::Directory) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).ok()?;
    let handle = Handle::Open(fd.as_fd());
    let now = handle.flags().ok()?;
    let had = now & LOCKING;
    let unlocked = !had.is_empty() && handle.set_flags(now.difference(LOCKING)).is_ok();
    unlocked.then_some(Lock { fd, had })
}

/// Does `act` again without what was in its way; where it fails all the same, that has its flags again.
pub(super) fn again<T>(lock: Option<Lock>, act: impl Fn() -> Result<T>) -> Result<T> {
    // What cannot have them back is said by what failed already.
    act().inspect_err(|_| lock.iter().for_each(|lock| _ = lock.put_back()))
}
