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
        Self::mounted(image, kind, options)
    }

    fn mounted(image: NamedTempFile, kind: &str, options: &str) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        mounts::mount(&["-t", kind, "-o", options, &image.path().to_string_lossy()], dir.path())?;
        Ok(Self { dir, image })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What is on the disk now, without what has not got there yet, mounted as after a power cut.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn after_a_power_cut(self, kind: &str, options: &str) -> io::Result<Self> {
        let copy = NamedTempFile::new()?;
        let copied = Command::new("cp").arg("--sparse=always").arg(self.image.path()).arg(copy.path()).status()?;
        if !copied.success() {
            return Err(io::Error::other("cp failed"));
        }
        drop(self);
        Self::mounted(copy, kind, options)
    }
}

impl Drop for InImage {
    fn drop(&mut self) {
        mounts::unmount(self.dir.path());
    }
}
