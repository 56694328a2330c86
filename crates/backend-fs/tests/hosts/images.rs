//! File systems in files.
#![allow(dead_code)]

use crate::mounts;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::{NamedTempFile, TempDir};

/// A file system in a file, sparse and no larger than its kind needs; unmounted when dropped.
pub struct InImage {
    dir: TempDir,
    image: NamedTempFile,
    /// Options of `mount`.
    words: [String; 4],
}

impl InImage {
    /// Made by the program and arguments `mkfs`, mounted as `kind` with `options`.
    ///
    /// # Errors
    /// It cannot be made here, or not be mounted.
    pub fn made_by(mkfs: &[&str], kind: &str, options: &str) -> io::Result<Self> {
        let image = NamedTempFile::new()?;
        let mib = match kind {
            "btrfs" => 128,
            "ext4" => 64,
            "xfs" => 320,
            _ => 16,
        };
        image.as_file().set_len(mib << 20)?;
        let (program, args) = mkfs.split_first().ok_or_else(|| io::Error::other("no program"))?;
        let mut command = Command::new(program);
        let made = command.args(args).arg(image.path()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !made.success() {
            return Err(io::Error::other("mkfs failed"));
        }
        let words = ["-t", kind, "-o", options].map(str::to_owned);
        let mounted = Self { dir: tempfile::tempdir()?, image, words };
        mounted.mount()?;
        Ok(mounted)
    }

    fn mount(&self) -> io::Result<()> {
        let image = self.image.path().to_string_lossy();
        let words: Vec<&str> = self.words.iter().map(String::as_str).chain([&*image]).collect();
        mounts::mount(&words, self.dir.path())
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// As after a power cut: without what has not got to the disk yet.
    ///
    /// # Errors
    /// There is no `xfs_io`, or the file system cannot be cut off or mounted again.
    pub fn after_a_power_cut(self) -> io::Result<Self> {
        let done = Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(self.path()).output()?;
        if !done.status.success() || !done.stderr.is_empty() {
            return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()));
        }
        mounts::unmount(self.dir.path());
        self.mount()?;
        Ok(self)
    }
}

impl Drop for InImage {
    fn drop(&mut self) {
        mounts::unmount(self.dir.path());
    }
}
