//! File systems of their own.
#![allow(dead_code)]

use std::io::{self, Error};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Whether this process may mount.
pub fn can_mount() -> Result<(), &'static str> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root may mount");
    }
    Mounted::tmpfs("size=64k").map(drop).map_err(|_| "this root may not mount")
}

/// A small file system of its own, unmounted when dropped.
pub struct Mounted {
    dir: tempfile::TempDir,
}

impl Mounted {
    pub fn tmpfs(options: &str) -> io::Result<Self> {
        Self::of_kind("tmpfs", options)
    }
    pub fn of_kind(kind: &str, options: &str) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        mount(&["-t", kind, "-o", options, kind], dir.path())?;
        Ok(Self { dir })
    }
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(self.dir.path());
    }
}

/// Another test that starts a program has, between fork and exec, this one's files open too: it is busy then, not for long.
/// Nothing stays mounted: who removes `dir` then would remove what is in it.
pub fn unmount(dir: &Path) {
    for _ in 0..100 {
        let done = Command::new("umount").arg(dir).stderr(Stdio::null()).status();
        if done.is_ok_and(|status| status.success()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = Command::new("umount").arg("--lazy").arg(dir).stderr(Stdio::null()).status();
}

pub fn mount(args: &[&str], on: &Path) -> io::Result<()> {
    let done = Command::new("mount").args(args).arg(on).stderr(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(Error::other("mount failed")) }
}
