//! Attributes of one inode, through a descriptor: what `source` reads, `target` writes.
//!
//! A descriptor that could not be opened for reading (a symlink, a device, a mode-000 file of an
//! ordinary user) is an `O_PATH` one; calls that refuse those go through `/proc/self/fd`, which names
//! exactly the inode the descriptor holds and cannot be redirected.

use decube_backup_core::entry::Xattr;
use decube_backup_core::limits::XATTR_VALUE_BYTES_MAX;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, Gid, IFlags, Mode, Statx, StatxFlags, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};

/// The inode flags a user can set (`chattr`); all others describe the file system's own business.
pub(crate) const SETTABLE: IFlags = IFlags::SECURE_REMOVAL
    .union(IFlags::UNRM)
    .union(IFlags::COMPRESSED)
    .union(IFlags::SYNC)
    .union(IFlags::IMMUTABLE)
    .union(IFlags::APPEND)
    .union(IFlags::NODUMP)
    .union(IFlags::NOATIME)
    .union(IFlags::JOURNALING)
    .union(IFlags::NOTAIL)
    .union(IFlags::DIRSYNC)
    .union(IFlags::TOPDIR)
    .union(IFlags::NOCOW);

/// Flags that forbid changing the file.
pub(crate) const LOCKING: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// What one `statx` is asked for: all that an entry records.
pub(crate) const STAT_MASK: StatxFlags = StatxFlags::BASIC_STATS.difference(StatxFlags::ATIME).union(StatxFlags::BTIME);

/// Attributes that exist but could not be read, by name.
pub(crate) type Unread = Vec<(Vec<u8>, Errno)>;

/// One inode.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handle<'fd> {
    /// Opened for reading or writing.
    Open(BorrowedFd<'fd>),
    /// Opened with `O_PATH`.
    Path(BorrowedFd<'fd>),
}

impl<'fd> Handle<'fd> {
    fn fd(self) -> BorrowedFd<'fd> {
        match self {
            Self::Open(fd) | Self::Path(fd) => fd,
        }
    }

    /// The name under which `/proc` shows an `O_PATH` descriptor.
    fn proc_path(self) -> String {
        format!("/proc/self/fd/{}", self.fd().as_raw_fd())
    }

    pub(crate) fn stat(self) -> Result<Statx> {
        rustix::fs::statx(self.fd(), "", AtFlags::EMPTY_PATH, STAT_MASK)
    }

    pub(crate) fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        // The number that means "leave it" names nobody.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Path(fd) => rustix::fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    pub(crate) fn chmod(self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Path(_) => rustix::fs::chmod(self.proc_path(), mode),
        }
    }

    pub(crate) fn set_times(self, times: &Timestamps) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Path(fd) => match rustix::fs::utimensat(fd, "", times, AtFlags::EMPTY_PATH) {
                // Kernels before 5.8 do not know the flag here.
                Err(Errno::INVAL) => rustix::fs::utimensat(rustix::fs::CWD, self.proc_path(), times, AtFlags::empty()),
                set => set,
            },
        }
    }

    /// Inode flags; only an open file or directory tells them.
    pub(crate) fn flags(self) -> Result<IFlags> {
        match self {
            Self::Open(fd) => rustix::fs::ioctl_getflags(fd),
            Self::Path(_) => Err(Errno::BADF),
        }
    }

    pub(crate) fn set_flags(self, flags: IFlags) -> Result<()> {
        rustix::fs::ioctl_setflags(self.fd(), flags)
    }

    /// Names of all extended attributes, unsorted. None where the file system has no such thing.
    pub(crate) fn xattr_names(self) -> Result<Vec<Vec<u8>>> {
        let mut stack = [0; 1024];
        let listed = match self.list_into(&mut stack) {
            Ok(n) => stack.get(..n).unwrap_or_default().to_vec(),
            Err(Errno::RANGE) => {
                // `XATTR_LIST_MAX`: the kernel lists no more.
                let mut heap = vec![0; 65536];
                let n = self.list_into(&mut heap)?;
                heap.truncate(n);
                heap
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        Ok(listed.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn list_into(self, buf: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buf),
            Self::Path(_) => rustix::fs::listxattr(self.proc_path(), buf),
        }
    }

    /// One attribute's value; `None` if it is not there.
    pub(crate) fn xattr(self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut stack = [0; 1024];
        let value = match self.read_into(name, &mut stack) {
            Ok(n) => stack.get(..n).unwrap_or_default().to_vec(),
            Err(Errno::RANGE) => {
                let mut heap = vec![0; XATTR_VALUE_BYTES_MAX];
                let n = self.read_into(name, &mut heap)?;
                heap.truncate(n);
                heap.shrink_to_fit();
                heap
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok(Some(value))
    }

    fn read_into(self, name: &[u8], buf: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, buf),
            Self::Path(_) => rustix::fs::getxattr(self.proc_path(), name, buf),
        }
    }

    pub(crate) fn set_xattr(self, name: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Path(_) => rustix::fs::setxattr(self.proc_path(), name, value, XattrFlags::empty()),
        }
    }

    pub(crate) fn remove_xattr(self, name: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Path(_) => rustix::fs::removexattr(self.proc_path(), name),
        }
    }

    /// All extended attributes sorted by name, and the names of those that exist but cannot be read.
    pub(crate) fn xattrs(self) -> Result<(Vec<Xattr>, Unread)> {
        let (mut read, mut failed) = (Vec::new(), Vec::new());
        for name in self.xattr_names()? {
            match self.xattr(&name) {
                Ok(Some(value)) => read.push(Xattr { name, value }),
                Ok(None) => {}
                Err(e) => failed.push((name, e)),
            }
        }
        read.sort();
        Ok((read, failed))
    }
}
