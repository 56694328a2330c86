//! A new file beside what stands at its path.
//!
//! What stands there goes only once the new content is whole. Until then the new file has a name that follows from the one it
//! will have: whoever was killed leaves one file behind, and the next restore of the same file begins it anew. Those of a
//! restore that ends early are removed with its target.

use super::FsTarget;
use super::file::FsFile;
use super::open::new_file;
use crate::attributes::STAT_MASK;
use decube_backup_core::{EntryPath, Error, Result};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// How names begin that a file has until it takes its place.
const PREFIX: &[u8] = b".decube-restore-";

/// Files that have not taken their place yet, by the paths they have until then.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<HashSet<EntryPath>>);

impl Begun {
    fn begin(&self, path: EntryPath) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
    }
    fn end(&self, path: &EntryPath) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(path)
    }
    /// Whether `path` is the path of one of them.
    pub(super) fn has(&self, path: &EntryPath) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }
    fn all(&self) -> Vec<EntryPath> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Whether a name may be one of a file that has not taken its place.
pub(super) fn is_of_one(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// Where the file for `path` is until it takes its place.
pub(super) fn beside(path: &EntryPath) -> Result<EntryPath> {
    let mut hasher = DefaultHasher::new();
    path.name().hash(&mut hasher);
    let name = [PREFIX, format!("{:016x}", hasher.finish()).as_bytes()].concat();
    path.parent().unwrap_or_default().join(&name)
}

impl FsTarget {
    /// A new file for `path`, beside what stands there.
    pub(super) fn create_beside(&self, path: &EntryPath, flags: u32) -> Result<FsFile> {
        let own = beside(path)?;
        let (parent, _) = self.parent(path)?;
        self.claim(&parent, path);
        let made = match new_file(&parent.fd, own.name(), flags) {
            // Left by a restore that was killed.
            Err(Errno::EXIST) => rustix::fs::unlinkat(&parent.fd, own.name(), AtFlags::empty())
                .and_then(|()| new_file(&parent.fd, own.name(), flags)),
            made => made,
        };
        let fd = made.map_err(|e| self.error("cannot create file", path, e))?;
        self.begun.begin(own);
        let attributes_before = parent.inherits;
        Ok(FsFile { fd, path: path.clone(), attributes_before, content_before: false, is_beside: true })
    }

    /// Puts the file for `path` in the place of what stands there.
    pub(super) fn put_in_place(&self, path: &EntryPath) -> Result<()> {
        let own = beside(path)?;
        let (parent, name) = self.parent(path)?;
        let failed = |e| self.error("cannot replace what stands there", path, e);
        match rustix::fs::statx(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK) {
            Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(e)),
            Ok(_) => self.check_told_apart(&parent, name, path)?,
        }
        let rename = || rustix::fs::renameat(&parent.fd, own.name(), &parent.fd, name);
        match rename() {
            Err(Errno::PERM | Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                self.clear_the_way(&parent, name, path)?;
                rename().map_err(failed)?;
            }
            renamed => renamed.map_err(failed)?,
        }
        self.begun.end(&own);
        Ok(())
    }

    /// Removes the file for `path`; what stands there stays.
    pub(super) fn give_up(&self, path: &EntryPath) -> Result<()> {
        let own = beside(path)?;
        if self.begun.end(&own) { self.remove_begun(&own) } else { Ok(()) }
    }

    fn remove_begun(&self, own: &EntryPath) -> Result<()> {
        let (parent, name) = self.parent(own)?;
        rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty()).map_err(|e| self.error("cannot remove", own, e))
    }
}

impl Drop for FsTarget {
    fn drop(&mut self) {
        for own in self.begun.all() {
            // The next restore of the same file removes what stays.
            let _: std::result::Result<(), Error> = self.remove_begun(&own);
        }
    }
}
