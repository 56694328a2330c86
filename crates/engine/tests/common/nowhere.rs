//! Destinations that keep nothing, and say what a restore did to them.

use decube_backup_core::Result;
use decube_backup_core::entry::{Entry, EntryPath};
use decube_backup_core::monitor::Problem;
use decube_backup_core::target::{Existing, FileMode, Target, TargetFile};
use std::ops::Range;
use std::sync::Arc;

/// What a destination has to say.
pub trait Nowhere: Send + Sync + 'static {
    /// Whether it takes an entry of this name.
    fn takes(&self, _: &EntryPath) -> Result<()> {
        Ok(())
    }
    /// Before each opening of a file.
    fn opens(&self, path: &EntryPath, _: FileMode) -> Result<()> {
        self.takes(path)
    }
    /// What stands there already.
    fn existing(&self, _: &EntryPath) -> Option<Existing> {
        None
    }
    /// Before each write of `bytes` of the file at `path`, or of zeros.
    fn writes(&self, _path: &EntryPath, _bytes: Range<u64>, _zeros: bool) {}
    /// Before each write, which it may refuse.
    fn takes_content(&self) -> Result<()> {
        Ok(())
    }
    /// Before a file gets its length.
    fn settles(&self) -> Result<()> {
        Ok(())
    }
    /// What of a finished file could not be set.
    fn finished(&self, _: &EntryPath) -> Vec<Problem> {
        Vec::new()
    }
}

/// A restore's target made of it.
pub struct Into<N>(pub Arc<N>);

struct OpenFile<N>(Arc<N>, EntryPath);

impl<N: Nowhere> OpenFile<N> {
    fn write(&self, offset: u64, len: u64, zeros: bool) -> Result<()> {
        self.0.writes(&self.1, offset..offset + len, zeros);
        self.0.takes_content()
    }
}

impl<N: Nowhere> TargetFile for OpenFile<N> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write(offset, bytes.len() as u64, false)
    }
    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        self.write(offset, len, true)
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<usize> {
        Ok(0)
    }
    fn set_len(&self, _: u64) -> Result<()> {
        self.0.settles()
    }
    fn punch(&self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }
}

impl<N: Nowhere> Target for Into<N> {
    fn existing(&self, path: &EntryPath) -> Result<Option<Existing>> {
        Ok(self.0.existing(path))
    }
    fn children(&self, _: &EntryPath) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    fn remove(&self, _: &EntryPath) -> Result<()> {
        Ok(())
    }
    fn gives_way(&self, _: &EntryPath) {}
    fn create_directory(&self, path: &EntryPath) -> Result<()> {
        self.0.takes(path)
    }
    fn narrow_directory(&self, _: &Entry) -> Result<()> {
        Ok(())
    }
    fn create_file(&self, path: &EntryPath, mode: FileMode, _: u32) -> Result<Box<dyn TargetFile>> {
        self.0.opens(path, mode)?;
        Ok(Box::new(OpenFile(self.0.clone(), path.clone())))
    }
    fn set_aside(&self, _: Box<dyn TargetFile>) -> Result<()> {
        Ok(())
    }
    fn discard_file(&self, _: &EntryPath) -> Result<()> {
        Ok(())
    }
    fn finish_file(&self, _: Box<dyn TargetFile>, entry: &Entry) -> Vec<Problem> {
        self.0.finished(&entry.path)
    }
    fn create_special(&self, entry: &Entry) -> Result<Vec<Problem>> {
        self.0.takes(&entry.path)?;
        Ok(Vec::new())
    }
    fn link(&self, _: &EntryPath, _: &EntryPath) -> Result<()> {
        Ok(())
    }
    fn is_finished(&self, _: &Entry) -> bool {
        false
    }
    fn finish_existing(&self, _: &Entry) -> Vec<Problem> {
        Vec::new()
    }
    fn finish_directory(&self, _: &Entry) -> Vec<Problem> {
        Vec::new()
    }
}
