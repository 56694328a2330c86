//! File systems to which `a` and `A` are one name.
//!
//! *Invariant*: what this restore put there under one name never goes for an entry of another name. The second is a
//! problem, the first stays. The names put there are remembered only in directories that may fold, up to
//! [`CLAIMS_MAX`], and looked at only where something stands in the way.

use super::FsTarget;
use super::parents::Parent;
use super::remove::names;
use crate::at::split;
use crate::attributes::STAT_MASK;
use crate::kinds::Kind;
use crate::source;
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, IFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// Names remembered at most: some 30 MiB of them. Beyond, only what is called so to the byte is replaced.
const CLAIMS_MAX: usize = 1 << 18;

/// `FS_CASEFOLD_FL`: names in this directory are compared without case. Source: Linux, `include/uapi/linux/fs.h`.
const CASEFOLD: IFlags = IFlags::from_bits_retain(0x4000_0000);

/// What this restore put into directories that may fold names: paths by their folded form.
#[derive(Debug, Default)]
pub(super) struct Claims {
    paths: Mutex<HashMap<u64, EntryPath>>,
    hashing: RandomState,
}

impl Claims {
    /// Before it is made or kept, and for whoever is first: two threads may be at two spellings of one name.
    fn claim(&self, path: &EntryPath) {
        let folded = self.hashing.hash_one(folded(path.as_bytes()));
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let len = paths.len();
        if let Entry::Vacant(free) = paths.entry(folded)
            && len < CLAIMS_MAX
        {
            free.insert(path.clone());
        }
    }

    /// Who has the name of `path` already, under another spelling.
    fn holder(&self, path: &EntryPath) -> Option<EntryPath> {
        let folded = self.hashing.hash_one(folded(path.as_bytes()));
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.get(&folded).filter(|holder| *holder != path).cloned()
    }

    fn are_complete(&self) -> bool {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).len() < CLAIMS_MAX
    }
}

impl FsTarget {
    /// Notes that `path` is this restore's from here on.
    pub(super) fn claim(&self, parent: &Parent, path: &EntryPath) {
        if parent.may_fold(|| may_fold(parent)) {
            self.claims.claim(path);
        }
    }

    /// Whether what stands at `name` of `parent` is what this restore put there for another entry.
    pub(super) fn is_taken(&self, parent: &Parent, name: &[u8], path: &EntryPath) -> rustix::io::Result<bool> {
        if !parent.may_fold(|| may_fold(parent)) {
            return Ok(false);
        }
        let Some(holder) = self.claims.holder(path) else { return Ok(false) };
        let inode = |name: &[u8]| match rustix::fs::statx(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK) {
            Ok(stat) => Ok(Some((source::device(&stat), stat.stx_ino))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        };
        let there = inode(name)?;
        if there.is_none() || there != inode(split(holder.as_bytes()).1)? {
            return Ok(false);
        }
        // Two names of one file are both listed, one name in two spellings is listed once.
        let folded = folded(name);
        Ok(names(&open(&parent.fd)?)?.iter().filter(|(there, _)| self::folded(there) == folded).count() < 2)
    }

    /// Nothing if what stands at `name` of `parent` may make way for `path`.
    ///
    /// # Errors
    /// `AlreadyExists` if it is this restore's own under another name, or may be; the directory cannot be read.
    pub(super) fn check_told_apart(&self, parent: &Parent, name: &[u8], path: &EntryPath) -> Result<()> {
        if !parent.may_fold(|| may_fold(parent)) {
            return Ok(());
        }
        let failed = |e| self.error("cannot list directory", path, e);
        if !self.is_taken(parent, name, path).map_err(failed)? {
            let complete = self.claims.are_complete();
            let folded = folded(name);
            let same = |there: &[u8]| there == name || complete && self::folded(there) == folded;
            // Of a directory with many files, each of them would list it.
            if parent.listed(name) {
                return Ok(());
            }
            // A file system may fold in ways that are not known here.
            let names = names(&open(&parent.fd).map_err(failed)?).map_err(failed)?;
            parent.note_listed(names.iter().map(|(there, _)| there.as_slice()));
            if names.iter().any(|(there, _)| same(there)) {
                return Ok(());
            }
        }
        Err(self.not_told_apart(path))
    }

    pub(super) fn not_told_apart(&self, path: &EntryPath) -> Error {
        let message = "the file system does not tell this name from another one that is there";
        let error = Error::new(ErrorKind::AlreadyExists, "restore", message).with("path", path);
        error.with_hint("what stands there stays; restore this entry to another directory")
    }
}

fn open(parent: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether names in `parent` may be compared without case. Unknown file systems may, and those of servers.
fn may_fold(parent: &Parent) -> bool {
    match parent.kind {
        Kind::BTRFS => false,
        Kind::EXT4 | Kind::TMPFS | Kind::F2FS => {
            open(&parent.fd).and_then(rustix::fs::ioctl_getflags).is_ok_and(|flags| flags.intersects(CASEFOLD))
        }
        // XFS too may be made so that it folds ASCII, and does not show it.
        _ => true,
    }
}

/// What names that may be one have in common. Too much does no harm: the inode decides.
fn folded(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let text = text.trim_end_matches(['.', ' ']);
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_fold_to_one() {
        let same =
            [("a", "A"), ("GR\u{dc}SSE", "gr\u{fc}sse"), ("Stra\u{df}e", "STRASSE"), ("kg", "\u{212a}g"), ("a. ", "A")];
        for (one, other) in same {
            assert_eq!(folded(one.as_bytes()), folded(other.as_bytes()), "{one}");
        }
        for (one, other) in [("a", "b"), ("a", "aa"), ("a", ".a")] {
            assert_ne!(folded(one.as_bytes()), folded(other.as_bytes()), "{one}");
        }
    }

    #[test]
    fn the_first_spelling_holds_the_name_and_the_number_is_bounded() {
        let claims = Claims::default();
        let path = |text: &str| EntryPath::new(text.as_bytes()).unwrap();
        claims.claim(&path("d/A"));
        claims.claim(&path("d/a"));
        assert_eq!((claims.holder(&path("d/A")), claims.holder(&path("d/a"))), (None, Some(path("d/A"))));
        (0..=CLAIMS_MAX).for_each(|n| claims.claim(&path(&n.to_string())));
        assert!(!claims.are_complete());
        assert_eq!(claims.paths.lock().unwrap().len(), CLAIMS_MAX);
    }
}
