//! A destination that is not there yet.

use decube_backup_core::entry::{Entry, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::{Existing, FileMode, Target, TargetFile};
use decube_backup_core::{Error, ErrorKind, Result};

/// What a dry run compares with where nothing stands: holds nothing and takes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Absent;

fn refused(path: &EntryPath) -> Error {
    Error::new(ErrorKind::Unsupported, "restore", "the target is only compared with").with("path", path)
}

fn unset(entry: &Entry) -> Vec<Problem> {
    vec![Problem::from_error(ProblemKind::Attribute, entry.path.as_bytes(), &refused(&entry.path))]
}

impl Target for Absent {
    fn existing(&self, _: &EntryPath) -> Result<Option<Existing>> {
        Ok(None)
    }
    fn children(&self, _: &EntryPath) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    fn remove(&self, path: &EntryPath) -> Result<()> {
        Err(refused(path))
    }
    fn gives_way(&self, _: &EntryPath) {}
    fn create_directory(&self, path: &EntryPath) -> Result<()> {
        Err(refused(path))
    }
    fn narrow_directory(&self, entry: &Entry) -> Result<()> {
        Err(refused(&entry.path))
    }
    fn create_file(&self, path: &EntryPath, _: FileMode, _: u32) -> Result<Box<dyn TargetFile>> {
        Err(refused(path))
    }
    fn set_aside(&self, _: Box<dyn TargetFile>) -> Result<()> {
        Ok(())
    }
    fn discard_file(&self, path: &EntryPath) -> Result<()> {
        Err(refused(path))
    }
    fn finish_file(&self, _: Box<dyn TargetFile>, entry: &Entry) -> Vec<Problem> {
        unset(entry)
    }
    fn create_special(&self, entry: &Entry) -> Result<Vec<Problem>> {
        Err(refused(&entry.path))
    }
    fn link(&self, _: &EntryPath, path: &EntryPath) -> Result<()> {
        Err(refused(path))
    }
    fn is_finished(&self, _: &Entry) -> bool {
        false
    }
    fn finish_existing(&self, entry: &Entry) -> Vec<Problem> {
        unset(entry)
    }
    fn finish_directory(&self, entry: &Entry) -> Vec<Problem> {
        unset(entry)
    }
}
