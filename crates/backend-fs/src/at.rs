//! Opening by path below a fixed directory, never through a symlink.
//!
//! `openat2(RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS)` where the kernel has it, component by
//! component with `O_NOFOLLOW` elsewhere: no path, whatever links stand in the tree, names anything
//! outside it. Paths longer than the kernel takes in one call are walked in pieces.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest path handed to one system call, bytes: Linux `PATH_MAX` without its NUL.
const CALL_BYTES_MAX: usize = 4095;
/// How often the kernel may answer "try again" before there is a pause.
const TRIES_AT_ONCE: u32 = 32;
/// And in all: about a minute. Linux breaks a lease after 45 s (`/proc/sys/fs/lease-break-time`).
const TRIES_MAX: u32 = TRIES_AT_ONCE + 600;
const PAUSE: Duration = Duration::from_millis(100);

/// A directory that paths are opened below.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    component_wise: AtomicBool,
}

impl Root {
    /// Everything below `fd`.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, component_wise: AtomicBool::new(false) }
    }

    /// The whole file system.
    pub(crate) fn file_system() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::new(rustix::fs::open("/", flags, Mode::empty())?))
    }

    /// Opens `path`; the empty path is the root itself. `flags` gain `O_CLOEXEC` and `O_NOFOLLOW`.
    pub(crate) fn open(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut from: Option<OwnedFd> = None;
        let mut rest = path;
        while rest.len() > CALL_BYTES_MAX {
            let piece = rest.get(..=CALL_BYTES_MAX).unwrap_or(rest);
            let cut = piece.iter().rposition(|&b| b == b'/').ok_or(Errno::NAMETOOLONG)?;
            let (head, tail) = rest.split_at(cut);
            let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            from = Some(self.open_piece(start(&from, &self.fd), head, step, Mode::empty())?);
            rest = tail.strip_prefix(b"/").unwrap_or(tail);
        }
        self.open_piece(start(&from, &self.fd), rest, flags, mode)
    }

    /// The directory `path` lies in, as an `O_PATH` descriptor, and its last component.
    pub(crate) fn open_parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8])> {
        let (parent, name) = split(path);
        Ok((self.open(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name))
    }

    /// Uses the fallback for kernels without `openat2` from now on.
    #[cfg(test)]
    pub(crate) fn without_openat2(self) -> Self {
        self.component_wise.store(true, Ordering::Relaxed);
        self
    }

    fn open_piece(&self, from: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        if path.is_empty() {
            return rustix::fs::openat(from, ".", flags, mode);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        while !self.component_wise.load(Ordering::Relaxed) {
            match rustix::fs::openat2(from, path, flags, mode, resolve) {
                Err(Errno::NOSYS) => self.component_wise.store(true, Ordering::Relaxed),
                Err(Errno::INTR) => {}
                // A rename elsewhere that the kernel wants to see the end of, or a lease that its holder has to give up.
                Err(Errno::AGAIN) if tries < TRIES_MAX => {
                    tries += 1;
                    if tries > TRIES_AT_ONCE {
                        std::thread::sleep(PAUSE);
                    }
                }
                opened => return opened,
            }
        }
        let (parent, name) = split(path);
        let mut dir: Option<OwnedFd> = None;
        for component in parent.split(|&b| b == b'/').filter(|c| !c.is_empty()) {
            let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let next = {
                let at = dir.as_ref().map_or(from, AsFd::as_fd);
                rustix::fs::openat(at, legal(component)?, step, Mode::empty())?
            };
            dir = Some(next);
        }
        rustix::fs::openat(dir.as_ref().map_or(from, AsFd::as_fd), legal(name)?, flags, mode)
    }
}

fn start<'a>(from: &'a Option<OwnedFd>, root: &'a OwnedFd) -> BorrowedFd<'a> {
    from.as_ref().unwrap_or(root).as_fd()
}

// `EntryPath` holds neither of them; other callers must not get out through them either.
fn legal(component: &[u8]) -> Result<&[u8]> {
    if component == b".." || component == b"." { Err(Errno::XDEV) } else { Ok(component) }
}

/// `path` as its parent and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(cut) => (path.get(..cut).unwrap_or_default(), path.get(cut + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}

/// Opens to read, without touching the access time where that is allowed.
pub(crate) fn open_quietly(open: impl Fn(OFlags) -> Result<OwnedFd>, flags: OFlags) -> Result<OwnedFd> {
    match open(flags | OFlags::NOATIME) {
        // Only the owner and root may ask for it.
        Err(Errno::PERM) => open(flags),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(root: &Root) {
        let long = vec![b"d".repeat(200); 30].join(&b'/');
        for end in long.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i).chain([long.len()]) {
            let (dir, name) = root.open_parent(&long[..end]).unwrap();
            let _ = rustix::fs::mkdirat(&dir, name, Mode::RWXU);
        }
        assert!(root.open(&long, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).is_ok());
        let (dir, _) = root.open_parent(b"x").unwrap();
        let _ = rustix::fs::symlinkat("/", &dir, "out");
        let _ = rustix::fs::symlinkat("..", &dir, "up");
        for bad in ["out/etc", "up/x", "../x", "out", "up"] {
            assert!(root.open(bad.as_bytes(), OFlags::RDONLY, Mode::empty()).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_outside_the_root_opens_and_long_paths_do() {
        for fallback in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let fd = rustix::fs::open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
            check(&if fallback { Root::new(fd).without_openat2() } else { Root::new(fd) });
        }
    }
}
