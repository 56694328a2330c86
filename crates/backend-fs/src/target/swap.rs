//! A directory that goes for something else, with all that is in it.
//!
//! *Invariant*: it goes by one rename, when what takes its place has all its attributes, and is emptied under the odd name that
//! was the other's. Whatever fails, it stands where it stood.

use super::FsTarget;
use super::parents::Parent;
use decube_backup_core::{EntryPath, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

impl FsTarget {
    /// Puts `own`, which was begun for `path`, in the place of the directory there, and removes that with all that is in it.
    pub(super) fn replace_directory(&self, parent: &Parent, path: &EntryPath, own: &EntryPath) -> Result<()> {
        let failed = |e| self.error("cannot replace the directory that stands there", path, e);
        let name = path.name();
        let swap = || self.swap(&parent.fd, own, name);
        self.parents.forget(path.as_bytes());
        let swapped = match self.doing(parent, swap) {
            Err(Errno::PERM) if self.unlock_named(parent, name, path) => swap(),
            swapped => swapped,
        };
        swapped.map_err(failed)?;
        if let Err(error) = self.remove_tree(own) {
            self.parents.forget(own.as_bytes());
            swap().map_err(failed)?;
            return Err(error.with("of", path));
        }
        Ok(())
    }

    /// Takes the locking flags off the directory `path`; whether it had any. It has them again in the end, if it stays.
    fn unlock_named(&self, parent: &Parent, name: &[u8], path: &EntryPath) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&parent.fd, name, flags, Mode::empty());
        opened.is_ok_and(|fd| self.unlock_directory(path.as_bytes(), &fd))
    }

    /// Gives `own` and `name`, both in `dir`, each other's name.
    pub(super) fn swap(&self, dir: &OwnedFd, own: &EntryPath, name: &[u8]) -> rustix::io::Result<()> {
        match renameat_with(dir, own.name(), dir, name, RenameFlags::EXCHANGE) {
            // What this file system does not know.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            swapped => return swapped,
        }
        let aside = self.begun.aside(own).map_err(|_| Errno::NAMETOOLONG)?;
        let swapped = swap_by_renames(dir, own.name(), name, aside.name());
        self.begun.end(&aside);
        swapped
    }
}

/// As an exchange, by way of the name `aside`; what failed is undone.
fn swap_by_renames(dir: &OwnedFd, own: &[u8], name: &[u8], aside: &[u8]) -> rustix::io::Result<()> {
    renameat(dir, name, dir, aside)?;
    let undo = |from: &[u8], to: &[u8]| _ = renameat(dir, from, dir, to);
    let placed = renameat(dir, own, dir, name);
    let swapped = placed.and_then(|()| renameat(dir, aside, dir, own).inspect_err(|_| undo(name, own)));
    swapped.inspect_err(|_| undo(aside, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn without_an_exchange_names_are_swapped_or_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("directory/live"), "live").unwrap();
        fs::write(at("own"), "new").unwrap();
        let dir = OwnedFd::from(fs::File::open(scratch.path()).unwrap());
        assert_eq!(swap_by_renames(&dir, b"missing", b"directory", b"aside"), Err(Errno::NOENT));
        assert!(at("directory/live").exists() && !at("aside").exists());
        swap_by_renames(&dir, b"own", b"directory", b"aside").unwrap();
        assert_eq!(fs::read(at("directory")).unwrap(), b"new");
        assert!(at("own/live").exists() && !at("aside").exists());
    }
}
