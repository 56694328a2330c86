//! Further names of a file.

use super::locks::without_locks;
use super::{FsTarget, inode};
use decube_backup_core::{EntryPath, Result};
use rustix::fd::OwnedFd;
use rustix::fs::AtFlags;
use rustix::io::Errno;

impl FsTarget {
    /// Makes `path` another name of `original`, whose flags may forbid that: it has them already, and has them afterwards.
    pub(super) fn link_to(&self, original: &EntryPath, path: &EntryPath) -> Result<()> {
        let (parent, name) = self.parent(original)?;
        let locked_again = |e| self.error("cannot set inode flags again", original, e);
        without_locks(&parent.fd, name, || self.link_as_it_is(original, path), locked_again)
    }

    fn link_as_it_is(&self, original: &EntryPath, path: &EntryPath) -> Result<()> {
        let (from, original_name) = self.parent(original)?;
        let (to, name) = self.parent(path)?;
        if self.is_taken(&from, original_name, original).map_err(|e| self.error("cannot stat", original, e))? {
            return Err(self.not_told_apart(original));
        }
        self.claim(&to, path);
        let make =
            |dir: &OwnedFd, name: &[u8]| rustix::fs::linkat(&from.fd, original_name, dir, name, AtFlags::empty());
        let failed = |e| self.error("cannot link", path, e).with("original", original);
        match self.doing(&to, || make(&to.fd, name)) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        self.check_told_apart(&to, name, path)?;
        let inode = |path| self.stat(path).map(|(stat, ..)| inode(&stat));
        if inode(original).map_err(failed)? == inode(path).map_err(failed)? {
            return Ok(());
        }
        self.make_beside(&to, path, make)?.map_err(failed)?;
        self.take_place(path)
    }
}
