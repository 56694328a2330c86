//! Open directories entries are made in.
//!
//! Restores come in path order, so a few descriptors save opening the same directories again for every
//! entry. They are opened without following symlinks; the last step uses one name below them, so a
//! path that was confined when its directory was opened stays confined.

use crate::at::Root;
use crate::attributes::{Handle, SETTABLE};
use crate::kinds::Kind;
use decube_backup_core::acl;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Directories kept open at most, where the process may open so many.
const PARENTS_MAX: usize = 32;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) path: Vec<u8>,
    pub(crate) fd: OwnedFd,
    pub(super) kind: Kind,
    /// Whether new entries take attributes over from it: a default ACL or inode flags.
    pub(crate) inherits: bool,
    folds: OnceLock<bool>,
    /// Whether a file made in it showed the mode it was made with.
    marks: OnceLock<bool>,
    listed: Listed,
}

/// Names that a directory had when it was last listed, hashed.
#[derive(Debug, Default)]
struct Listed {
    names: Mutex<HashSet<u64>>,
    hashing: RandomState,
}

/// The most recently used directories, latest last.
#[derive(Debug)]
pub(crate) struct Parents {
    open: Mutex<Vec<Arc<Parent>>>,
    max: usize,
}

impl Parents {
    /// None yet, and never more than `max`.
    pub(super) fn new(max: usize) -> Self {
        Self { open: Mutex::default(), max: max.clamp(1, PARENTS_MAX) }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Parent>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory `path`, opened if it is not open.
    pub(crate) fn open(&self, root: &Root, path: &[u8]) -> Result<Arc<Parent>> {
        {
            let mut open = self.all();
            if let Some(at) = open.iter().rposition(|p| p.path == path) {
                let parent = open.remove(at);
                open.push(parent.clone());
                return Ok(parent);
            }
        }
        let opened = match Parent::open(root, path) {
            Err(Errno::MFILE | Errno::NFILE) => {
                // What is kept only saves time.
                self.all().clear();
                Parent::open(root, path)
            }
            opened => opened,
        };
        let parent = Arc::new(opened?);
        let mut open = self.all();
        if open.len() >= self.max {
            open.remove(0);
        }
        open.push(parent.clone());
        Ok(parent)
    }

    /// Forgets `path` and all below it: it is removed or replaced, or what it hands down changes.
    pub(crate) fn forget(&self, path: &[u8]) {
        self.all().retain(|p| {
            let rest = p.path.strip_prefix(path);
            !rest.is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
        });
    }
}

impl Parent {
    /// Whether it may take two names for one; `look` is asked once.
    pub(crate) fn may_fold(&self, look: impl FnOnce() -> bool) -> bool {
        *self.folds.get_or_init(look)
    }

    /// Whether `name` was in it, to the byte, when it was last listed.
    pub(super) fn listed(&self, name: &[u8]) -> bool {
        let names = self.listed.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.contains(&self.listed.hashing.hash_one(name))
    }

    /// Notes what is in it.
    pub(super) fn note_listed<'n>(&self, names: impl Iterator<Item = &'n [u8]>) {
        let names = names.map(|name| self.listed.hashing.hash_one(name)).collect();
        *self.listed.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Whether files made in it are known to show that they are not finished.
    pub(super) fn keeps_marks(&self) -> bool {
        self.kind.is_plain() || self.marks.get().is_some_and(|keeps| *keeps)
    }

    /// The first file made in it says.
    pub(super) fn learn_marks(&self, keeps: bool) {
        self.marks.get_or_init(|| keeps);
    }

    fn open(root: &Root, path: &[u8]) -> Result<Self> {
        let (fd, inherits) = match root.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => {
                let handle = Handle::Open(fd.as_fd());
                let flags = handle.flags().is_ok_and(|flags| flags.intersects(SETTABLE));
                let acl = !matches!(handle.xattr(acl::DEFAULT), Ok(None));
                (fd, flags || acl)
            }
            // Not readable, yet entries can be made in it.
            Err(Errno::ACCESS) => (root.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, true),
            Err(e) => return Err(e),
        };
        Ok(Self {
            path: path.to_vec(),
            kind: Kind::of(&fd),
            fd,
            inherits,
            folds: OnceLock::new(),
            marks: OnceLock::new(),
            listed: Listed::default(),
        })
    }
}
