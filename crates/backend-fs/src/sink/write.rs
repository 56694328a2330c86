//! `put` and `delete`: temporary file, sync, one step to the final name, sync of the folders.

use super::{Store, fault};
use crate::kinds::Kind;
use crate::page_cache::not_needed;
use crate::pwrite::pwrite_all;
use decube_backup_core::sink::{PutMode, PutOutcome, Rope};
use decube_backup_core::world::{Entropy, SystemEntropy};
use decube_backup_core::{Error, ErrorKind, Key, Result, Retry};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Unfinished objects; a leading dot is no legal part of a key.
const TMP: &str = ".tmp";
/// Leftovers last written longer ago than this are removed.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a folder may vanish under a `put` (a `delete` elsewhere removes empty ones) before it
/// gives up.
const FOLDER_ATTEMPTS_MAX: u32 = 100;

/// How a name is taken so that one of several wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Naming {
    /// `link(2)`, until it turns out to be missing.
    Link = 0,
    /// `renameat2(RENAME_NOREPLACE)`: file systems without hard links.
    Rename = 1,
    /// This file system has no way.
    Neither = 2,
}

/// What is written of an object goes to the disk while the next so many bytes are written, instead of all with the sync at its
/// end. Numbers: docs/adr/0019.
const WRITEBACK_BYTES: usize = 4 << 20;

impl Store {
    pub(super) fn naming(&self) -> Naming {
        match self.naming.load(Ordering::Relaxed) {
            0 => Naming::Link,
            1 => Naming::Rename,
            _ => Naming::Neither,
        }
    }

    pub(super) fn put(&self, key: &Key, bytes: &Rope, mode: PutMode) -> Result<PutOutcome> {
        let path = self.path(key);
        // A loser that can be told early need not write its object first.
        let outcome = if mode == PutMode::CreateNew && self.stat(key)?.is_some() {
            PutOutcome::AlreadyExists
        } else {
            let mut unfinished = self.write_unfinished(bytes)?;
            self.give_name(&mut unfinished, key, &path, mode)?
        };
        self.sync_folders(key)?;
        Ok(outcome)
    }

    pub(super) fn delete(&self, key: &Key) -> Result<()> {
        let path = self.path(key);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            // A folder is no object.
            Err(e) if fault::is_absent(&e) || e.kind() == io::ErrorKind::IsADirectory => return Ok(()),
            Err(e) => return Err(fault::error("delete", "cannot remove object", &path, e)),
        }
        let mut folder = folder_of(key);
        while let Some(empty) = folder.filter(|name| std::fs::remove_dir(self.root.join(name)).is_ok()) {
            folder = parent(empty);
        }
        let remaining = folder.map_or_else(|| self.root.clone(), |name| self.root.join(name));
        match sync_folder(&remaining) {
            Err(e) if !fault::is_absent(&e) => Err(fault::error("delete", "cannot sync directory", &remaining, e)),
            _ => Ok(()),
        }
    }

    /// A new file in `.tmp` that holds `bytes`, synced.
    fn write_unfinished(&self, bytes: &Rope) -> Result<Unfinished> {
        let unfinished = self.create_unfinished()?;
        let failed = |what, path: &Path, e| fault::error("put", what, path, e);
        // Through the page cache it would be copied into pages that have to be found, and go to the disk page by page.
        let direct = bytes.len() >= WRITEBACK_BYTES && Kind::of(&unfinished.file).writes_directly();
        let written = if direct { self.buffers.write(&unfinished.file, bytes) } else { 0 };
        write_pieces(&unfinished.file, bytes, written)
            .map_err(|e| failed("cannot write object", &unfinished.path, e.into()))?;
        unfinished.file.sync_data().map_err(|e| failed("cannot sync object", &unfinished.path, e))?;
        if bytes.len() >= WRITEBACK_BYTES {
            // Of what went through the page cache: the next object is written into the pages this one gives back.
            not_needed(&unfinished.file, 0..bytes.len() as u64);
        }
        Ok(unfinished)
    }

    fn create_unfinished(&self) -> Result<Unfinished> {
        let mut random = [0; 8];
        for _ in 0..FOLDER_ATTEMPTS_MAX {
            let fresh = !self.prepared.load(Ordering::Acquire);
            if fresh {
                self.make_root()?;
            }
            SystemEntropy.fill(&mut random)?;
            let name = format!("{}-{:016x}", std::process::id(), u64::from_le_bytes(random));
            let path = self.root.join(TMP).join(name);
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    let unfinished = Unfinished { path, file, named: true };
                    if fresh {
                        self.remove_leftovers(&unfinished);
                        self.prepared.store(true, Ordering::Release);
                    }
                    return Ok(unfinished);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                // Someone took the whole directory away: begin anew.
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.prepared.store(false, Ordering::Release),
                Err(e) => return Err(fault::error("put", "cannot create object", &path, e)),
            }
        }
        Err(self.keeps_vanishing(&self.root))
    }

    /// Gives the file its final name in one step.
    fn give_name(&self, file: &mut Unfinished, key: &Key, path: &Path, mode: PutMode) -> Result<PutOutcome> {
        for _ in 0..FOLDER_ATTEMPTS_MAX {
            let given = match mode {
                PutMode::Overwrite => file.rename(path, RenameFlags::empty()),
                PutMode::CreateNew => self.take_name(file, path),
            };
            match given {
                Ok(()) => return Ok(PutOutcome::Created),
                Err(Errno::EXIST) => {
                    return match self.stat(key)? {
                        Some(_) => Ok(PutOutcome::AlreadyExists),
                        None if path.is_dir() => Err(fault::not_an_object(ErrorKind::Invalid, "put", path)),
                        // Lost to an object that has been deleted since.
                        None => Ok(PutOutcome::AlreadyExists),
                    };
                }
                Err(Errno::ISDIR) => return Err(fault::not_an_object(ErrorKind::Invalid, "put", path)),
                Err(Errno::NOENT) => self.make_folders(key)?,
                Err(Errno::OPNOTSUPP) if mode == PutMode::CreateNew => {
                    return Err(Error::new(ErrorKind::Unsupported, "put", "file system cannot create exclusively")
                        .with("path", path.display())
                        .with_hint("it has neither hard links nor renameat2: keep the repository on another one"));
                }
                Err(e) => return Err(fault::error("put", "cannot name object", path, e)),
            }
        }
        Err(self.keeps_vanishing(path))
    }

    /// `EXIST` if the name is taken, `OPNOTSUPP` if this file system knows no way to tell.
    fn take_name(&self, file: &mut Unfinished, path: &Path) -> rustix::io::Result<()> {
        if self.naming() == Naming::Link {
            match rustix::fs::link(&file.path, path) {
                Ok(()) => return Ok(()),
                // NFS repeats a request whose answer was lost: then the link that is there is ours.
                Err(Errno::EXIST) if file.file.metadata().is_ok_and(|metadata| metadata.nlink() > 1) => return Ok(()),
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(e) => return Err(e),
            }
        }
        match file.rename(path, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                self.naming.store(Naming::Neither as u8, Ordering::Relaxed);
                Err(Errno::OPNOTSUPP)
            }
            answer => {
                // Only what is known to work is remembered: EPERM may have had another cause.
                if matches!(answer, Ok(()) | Err(Errno::EXIST)) {
                    self.naming.store(Naming::Rename as u8, Ordering::Relaxed);
                }
                answer
            }
        }
    }

    fn make_root(&self) -> Result<()> {
        let failed = |path: &Path, e| fault::error("put", "cannot make repository directory", path, e);
        let missing = self.root.ancestors().take_while(|folder| !folder.exists());
        let made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        for folder in made.iter().rev() {
            make_folder(folder).map_err(|e| failed(folder, e))?;
        }
        for above in made.iter().filter_map(|folder| folder.parent()) {
            sync_folder(above).map_err(|e| failed(above, e))?;
        }
        if let (true, Some(above)) = (made.is_empty(), self.root.parent()) {
            // Another process may have made ROOT this moment. Whoever may not read the folder above
            // has not made it either, hence no error.
            let _best_effort = sync_folder(above);
        }
        let tmp = self.root.join(TMP);
        make_folder(&tmp).map_err(|e| failed(&tmp, e))
    }

    fn make_folders(&self, key: &Key) -> Result<()> {
        let name = key.as_str();
        for folder in name.match_indices('/').filter_map(|(at, _)| name.get(..at)) {
            let path = self.root.join(folder);
            match make_folder(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(fault::not_an_object(ErrorKind::Invalid, "put", &path));
                }
                // Removed by a `delete` elsewhere between two steps: the caller comes round again.
                Err(e) if e.kind() == io::ErrorKind::NotFound && self.root.exists() => return Ok(()),
                Err(e) => return Err(fault::error("put", "cannot make directory", &path, e)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Makes the name of `key` durable: the folder that holds it and all above up to ROOT.
    fn sync_folders(&self, key: &Key) -> Result<()> {
        let mut folder = folder_of(key);
        loop {
            let path = folder.map_or_else(|| self.root.clone(), |name| self.root.join(name));
            match sync_folder(&path) {
                Ok(()) => {}
                // The object was deleted meanwhile, and its folder with it.
                Err(e) if fault::is_absent(&e) => {}
                Err(e) => return Err(fault::error("put", "cannot sync directory", &path, e)),
            }
            let Some(name) = folder else { return Ok(()) };
            folder = parent(name);
        }
    }

    /// Removes what writers killed long ago left in `.tmp`; `now` is a file just made there, so that
    /// the ages are told by one clock.
    fn remove_leftovers(&self, now: &Unfinished) {
        let tmp = self.root.join(TMP);
        let now = now.file.metadata().and_then(|metadata| metadata.modified());
        let (Ok(now), Ok(entries)) = (now, std::fs::read_dir(&tmp)) else { return };
        for entry in entries.flatten() {
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            let age = written.ok().and_then(|written| now.duration_since(written).ok());
            if age.is_some_and(|age| age > LEFTOVER_AGE) && std::fs::remove_file(entry.path()).is_ok() {
                tracing::info!(backend = "fs", key = %entry.path().display(), "removed an unfinished object");
            }
        }
    }

    fn keeps_vanishing(&self, path: &Path) -> Error {
        Error::new(ErrorKind::Contended, "put", "directory keeps vanishing")
            .with("path", path.display())
            .with_retry(Retry::Now)
    }
}

/// Writes what follows the first `offset` bytes.
fn write_pieces(file: &File, bytes: &Rope, mut offset: u64) -> rustix::io::Result<()> {
    let mut written = offset as usize;
    for piece in bytes.pieces() {
        let rest = piece.get(written.min(piece.len())..).unwrap_or_default();
        written -= piece.len() - rest.len();
        for part in rest.chunks(WRITEBACK_BYTES) {
            pwrite_all(file, part, offset).map_err(|(errno, _)| errno)?;
            if part.len() == WRITEBACK_BYTES {
                // Before a sync next to nothing of it is clean: this starts writing it back.
                not_needed(file, offset..offset + part.len() as u64);
            }
            offset += part.len() as u64;
        }
    }
    Ok(())
}

/// A file in `.tmp`; removed when dropped unless it was renamed away.
struct Unfinished {
    path: PathBuf,
    file: File,
    named: bool,
}

impl Unfinished {
    fn rename(&mut self, to: &Path, flags: RenameFlags) -> rustix::io::Result<()> {
        if flags.is_empty() {
            rustix::fs::rename(&self.path, to)?;
        } else {
            rustix::fs::renameat_with(CWD, &self.path, CWD, to, flags)?;
        }
        self.named = false;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.named {
            // What cannot be removed now is removed as a leftover later.
            let _leftover = std::fs::remove_file(&self.path);
        }
    }
}

/// The folder part of a key, `None` for ROOT itself.
fn folder_of(key: &Key) -> Option<&str> {
    parent(key.as_str())
}

fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(folder, _)| folder)
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        answer => answer,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems (FUSE, CIFS) have nothing to sync in a directory and say so.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn what_follows_is_written_from_any_offset() {
        let content: Vec<u8> = (0..WRITEBACK_BYTES as u32 * 2 + 77).map(|i| (i ^ (i >> 8)) as u8).collect();
        let mut rope = Rope::new();
        content.chunks(WRITEBACK_BYTES + 4096).for_each(|piece| rope.push(Bytes::copy_from_slice(piece)));
        for offset in [0, 4096, WRITEBACK_BYTES, WRITEBACK_BYTES + 4096, WRITEBACK_BYTES + 8192, content.len()] {
            let mut file = tempfile::NamedTempFile::new().expect("file");
            io::Write::write_all(&mut file, &content[..offset]).expect("written before");
            write_pieces(file.as_file(), &rope, offset as u64).expect("written");
            assert!(std::fs::read(file.path()).expect("read") == content, "{offset}");
        }
    }
}
