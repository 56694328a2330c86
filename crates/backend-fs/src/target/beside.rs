//! What was made beside what stands at its path.
//!
//! What stands there goes only once the new thing is whole. Until then that has a name of its own, random, so that it is
//! neither an entry's nor another restore's. What a restore that ends early has begun is removed with its target; whoever
//! is killed leaves it behind.

use super::FsTarget;
use super::file::{FsFile, Place};
use super::locks::{again, unlock};
use super::open::new_file;
use super::parents::Parent;
use crate::attributes::STAT_MASK;
use crate::source;
use decube_backup_core::target::DIRECTORY_IN_THE_WAY;
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How names begin that something has until it takes its place.
const PREFIX: &[u8] = b".decube-restore-";

/// What is said of a directory that takes no new file, whoever may write those in it.
const NOT_BESIDE: &str = "cannot create a file beside what stands there, which would be lost if writing it failed half-way; \
                          restore to another directory with -t, or as who may write to this one";

/// What has not taken its place yet: where it is, by where it goes.
#[derive(Debug, Default)]
pub(super) struct Begun {
    paths: Mutex<HashMap<EntryPath, EntryPath>>,
    /// Directories that go, with all that is in them, for what is begun for their place.
    giving_way: Mutex<HashSet<EntryPath>>,
    names: AtomicU64,
    hashing: RandomState,
}

impl Begun {
    fn all(&self) -> MutexGuard<'_, HashMap<EntryPath, EntryPath>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where something for `path` is to be made. Noted first: nobody takes it for something else.
    fn begin(&self, path: &EntryPath) -> Result<EntryPath> {
        let own = self.odd_name_beside(path)?;
        self.all().insert(path.clone(), own.clone());
        Ok(own)
    }

    /// A name for a moment, beside `path`.
    pub(super) fn aside(&self, path: &EntryPath) -> Result<EntryPath> {
        let aside = self.odd_name_beside(path)?;
        self.all().insert(aside.clone(), aside.clone());
        Ok(aside)
    }

    fn odd_name_beside(&self, path: &EntryPath) -> Result<EntryPath> {
        let random = self.hashing.hash_one(self.names.fetch_add(1, Ordering::Relaxed));
        let name = [PREFIX, format!("{random:016x}").as_bytes()].concat();
        path.parent().unwrap_or_default().join(&name)
    }

    fn giving_way(&self) -> MutexGuard<'_, HashSet<EntryPath>> {
        self.giving_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory `path` goes once something takes its place.
    pub(super) fn gives_way(&self, path: &EntryPath) {
        self.giving_way().insert(path.clone());
    }

    pub(super) fn end(&self, path: &EntryPath) -> Option<EntryPath> {
        self.all().remove(path)
    }

    /// Where what was begun for `path` is.
    pub(super) fn of(&self, path: &EntryPath) -> Option<EntryPath> {
        self.all().get(path).cloned()
    }

    /// Whether `name` of `directory` is something begun.
    pub(super) fn is_in(&self, directory: &EntryPath, name: &[u8]) -> bool {
        let is_it = |own: &EntryPath| own.name() == name && own.parent().is_some_and(|above| above == *directory);
        name.starts_with(PREFIX) && self.all().values().any(is_it)
    }
}

impl FsTarget {
    /// Makes something for `path` beside what stands there; where it is then.
    pub(super) fn make_beside<T>(
        &self,
        parent: &Parent,
        path: &EntryPath,
        make: impl Fn(&OwnedFd, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<rustix::io::Result<(T, EntryPath)>> {
        self.give_up(path)?;
        let own = self.begun.begin(path)?;
        let made = self.doing(parent, || make(&parent.fd, own.name()));
        if made.is_err() {
            self.begun.end(path);
        }
        Ok(made.map(|made| (made, own)))
    }

    /// A new file for `path`, beside what stands there.
    pub(super) fn create_beside(&self, path: &EntryPath, flags: u32) -> Result<FsFile> {
        let (parent, _) = self.parent(path)?;
        self.claim(&parent, path);
        let made = self.make_beside(&parent, path, |_, name| new_file(&parent, name, flags))?;
        let (fd, _) = made.map_err(|e| {
            let message = match e {
                Errno::ACCESS | Errno::PERM | Errno::ROFS => NOT_BESIDE,
                _ => "cannot create file",
            };
            self.error(message, path, e)
        })?;
        let attributes_before = parent.inherits;
        Ok(FsFile { attributes_before, ..FsFile::new(fd, parent.kind, path.clone(), Place::Beside) })
    }

    /// Puts what was begun for `path` in the place of what stands there, or gives it up.
    pub(super) fn take_place(&self, path: &EntryPath) -> Result<()> {
        self.put_in_place(path).map_err(|error| self.given_up(path, error))
    }

    pub(super) fn given_up(&self, path: &EntryPath, error: Error) -> Error {
        match self.give_up(path) {
            Ok(()) => error,
            Err(left) => error.with("left", left.chain()),
        }
    }

    fn put_in_place(&self, path: &EntryPath) -> Result<()> {
        let Some(own) = self.begun.of(path) else { return Ok(()) };
        let (parent, name) = self.parent(path)?;
        let failed = |e| self.error("cannot replace what stands there", path, e);
        match rustix::fs::statx(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK) {
            Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(e)),
            Ok(stat) => {
                self.check_told_apart(&parent, name, path)?;
                if source::file_type(&stat) == FileType::Directory && self.begun.giving_way().remove(path) {
                    self.replace_directory(&parent, path, &own)?;
                    self.begun.end(path);
                    return Ok(());
                }
            }
        }
        let rename = || rustix::fs::renameat(&parent.fd, own.name(), &parent.fd, name);
        match self.doing(&parent, rename) {
            Err(Errno::PERM) => match unlock(&parent.fd, name) {
                None => return Err(failed(Errno::PERM)),
                lock => again(lock, rename).map_err(failed)?,
            },
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => return self.replace(&parent, &own, name, path),
            renamed => renamed.map_err(failed)?,
        }
        self.begun.end(path);
        Ok(())
    }

    /// Puts the directory begun for `path` in the place of what is none, or gives it up.
    pub(super) fn put_directory_in_place(&self, parent: &Parent, name: &[u8], path: &EntryPath) -> Result<()> {
        let Some(own) = self.begun.of(path) else { return Ok(()) };
        self.replace(parent, &own, name, path).map_err(|error| self.given_up(path, error))
    }

    /// Puts `own` in the place of `name`, of which one is a directory and the other none: a rename alone does not. What stood
    /// there has another name first and is removed last. Where anything fails, all is as it was.
    fn replace(&self, parent: &Parent, own: &EntryPath, name: &[u8], path: &EntryPath) -> Result<()> {
        let failed = |e| self.error("cannot replace what stands there", path, e);
        let swap = || self.swap(&parent.fd, own, name);
        self.parents.forget(path.as_bytes());
        self.doing(parent, swap).map_err(failed)?;
        let removed = match self.remove_named(parent, own.name()) {
            Ok(()) => {
                self.begun.end(path);
                return Ok(());
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                Error::new(ErrorKind::AlreadyExists, "restore", DIRECTORY_IN_THE_WAY).with("path", path)
            }
            Err(e) => self.error("cannot remove what is in the way", path, e),
        };
        Err(match swap() {
            Ok(()) => removed,
            Err(e) => {
                // What has that name is not this restore's any more.
                self.begun.end(path);
                removed.with("left", format_args!("what stood there is {own} now, it cannot be put back: {e}"))
            }
        })
    }

    /// Removes what was begun for `path`; what stands there stays.
    pub(super) fn give_up(&self, path: &EntryPath) -> Result<()> {
        self.begun.end(path).map_or(Ok(()), |own| self.remove_begun(&own))
    }

    fn remove_begun(&self, own: &EntryPath) -> Result<()> {
        let (parent, name) = self.parent(own)?;
        self.remove_named(&parent, name).map_err(|e| self.error("cannot remove", own, e))
    }

    /// Unlinks the non-directory or removes the empty directory `name` in `parent`.
    fn remove_named(&self, parent: &Parent, name: &[u8]) -> rustix::io::Result<()> {
        match self.unlink(&parent.path, &parent.fd, name) {
            Err(Errno::ISDIR) => self.rmdir(&parent.path, &parent.fd, name),
            removed => removed,
        }
    }
}

impl Drop for FsTarget {
    fn drop(&mut self) {
        let begun: Vec<EntryPath> = self.begun.all().drain().map(|(_, own)| own).collect();
        for own in begun {
            // What stays is a file of an odd name.
            let _: std::result::Result<(), Error> = self.remove_begun(&own);
        }
        self.lock_again();
    }
}
