//! File systems of their own.

use std::io::{self, Error};
use std::path::Path;
use std::process::{Command, Stdio};

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
        let _unmounted = Command::new("umount").arg(self.dir.path()).status();
    }
}

pub fn mount(args: &[&str], on: &Path) -> io::Result<()> {
    let done = Command::new("mount").args(args).arg(on).stderr(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(Error::other("mount failed")) }
}
