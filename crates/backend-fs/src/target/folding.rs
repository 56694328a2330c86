//! File systems to which `a` and `A` are one name.
//!
//! What stands there under the other name may be what this restore made a moment ago: it must not go for the next entry.

use super::FsTarget;
use super::remove::names;
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{IFlags, Mode, OFlags};

/// `FS_CASEFOLD_FL`: names in this directory are compared without case. Source: Linux, `include/uapi/linux/fs.h`.
const CASEFOLD: IFlags = IFlags::from_bits_retain(0x4000_0000);

// Numbers of file systems. Source: Linux, `include/uapi/linux/magic.h`.
const BTRFS: u64 = 0x9123_683e;
const XFS: u64 = 0x5846_5342;
const NFS: u64 = 0x6969;
const EXT4: u64 = 0xef53;
const TMPFS: u64 = 0x0102_1994;
const F2FS: u64 = 0xf2f5_2010;

impl FsTarget {
    /// Nothing if what stands at `name` of `parent` is called so, to the byte.
    ///
    /// # Errors
    /// `AlreadyExists` if it is called otherwise; the directory cannot be read.
    pub(super) fn check_told_apart(&self, parent: &OwnedFd, name: &[u8], path: &EntryPath) -> Result<()> {
        if !may_fold(parent) {
            return Ok(());
        }
        let there = open(parent).and_then(|fd| names(&fd)).map_err(|e| self.error("cannot list directory", path, e))?;
        if there.iter().any(|(there, _)| there == name) {
            return Ok(());
        }
        let message = "the file system does not tell this name from another one that is there";
        let error = Error::new(ErrorKind::AlreadyExists, "restore", message).with("path", path);
        Err(error.with_hint("what stands there stays; restore this entry to another directory"))
    }
}

fn open(parent: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether names in `parent` may be compared without case. Unknown file systems may.
fn may_fold(parent: &OwnedFd) -> bool {
    match rustix::fs::fstatfs(parent).map(|stat| stat.f_type as u64) {
        Ok(BTRFS | XFS | NFS) => false,
        Ok(EXT4 | TMPFS | F2FS) => {
            open(parent).and_then(rustix::fs::ioctl_getflags).is_ok_and(|flags| flags.intersects(CASEFOLD))
        }
        _ => true,
    }
}
