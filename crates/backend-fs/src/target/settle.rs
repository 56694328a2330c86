//! The end of what was made or written: it gets its attributes, and its place.

use super::FsTarget;
use super::file::{FsFile, Place};
use super::finish::{self, Before};
use crate::at::split;
use crate::attributes::Handle;
use crate::kinds::Kind;
use crate::source;
use decube_backup_core::entry::{Entry, EntryKind};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::TargetFile;
use decube_backup_core::{EntryPath, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, Statx};
use rustix::io::Errno;
use std::any::Any;

impl FsTarget {
    /// Ends a written file.
    pub(super) fn settle(&self, file: Box<dyn TargetFile>, entry: &Entry) -> Vec<Problem> {
        let file: Box<dyn Any> = file;
        let Ok(file) = file.downcast::<FsFile>() else {
            let message = "the file was opened by another target";
            return vec![Problem::new(ProblemKind::Attribute, entry.path.as_bytes(), message)];
        };
        self.opened.forget(&file.path);
        if let Err(error) = self.keep(&file) {
            let error = if file.place != Place::Own { self.given_up(&file.path, error) } else { error };
            return vec![Problem::from_error(ProblemKind::Unwritable, entry.path.as_bytes(), &error)];
        }
        let before = if file.attributes_before { Before::Attributes } else { Before::Nothing };
        let first = |stat: &Statx| self.check_still_there(&file, stat);
        // An immutable file could not take its place any more.
        let place = || if file.place != Place::Own { self.take_place(&file.path) } else { Ok(()) };
        self.finish(Handle::Open(file.fd.as_fd()), entry, before, first, place)
    }

    /// Sees to it that what was written is there before anything vouches for it.
    fn keep(&self, file: &FsFile) -> Result<()> {
        file.flush()?;
        // Blocks that were there before may reach the disk later than the time that vouches for them, and new ones later than
        // the rename that costs the old file: ext4 and Btrfs only begin to write them when they see it.
        if file.content_before || (file.place == Place::Beside && !file.kind.is_memory()) {
            rustix::fs::fdatasync(&file.fd).map_err(|e| self.error("cannot be made durable", &file.path, e))?;
        }
        Ok(())
    }

    /// Sets the attributes of `entry` on what stands at `path`, if it is of the entry's kind.
    pub(super) fn finish_path(&self, path: &EntryPath, entry: &Entry, before: Before) -> Vec<Problem> {
        self.open_to_finish(path, entry)
            .map(|opened| {
                // One that cannot be opened now may be in the end, and has the flags it had then.
                if entry.kind == EntryKind::Directory {
                    self.unlocked.forget(path.as_bytes());
                }
                self.finish(opened.handle(), entry, before, |_| Ok(()), || Ok(()))
            })
            .unwrap_or_else(|e| {
                let message = format!("cannot open to set attributes: {e}");
                vec![Problem::new(ProblemKind::Attribute, entry.path.as_bytes(), message)]
            })
    }

    fn finish(
        &self,
        handle: Handle<'_>,
        entry: &Entry,
        before: Before,
        first: impl FnOnce(&Statx) -> Result<()>,
        then: impl FnOnce() -> Result<()>,
    ) -> Vec<Problem> {
        let finished = finish::finish(handle, entry, self.owners.of(&entry.meta), before, &self.proofs, first, then);
        finished.unwrap_or_else(|e| vec![Problem::from_error(ProblemKind::Unwritable, entry.path.as_bytes(), &e)])
    }

    pub(super) fn open_to_finish(&self, path: &EntryPath, entry: &Entry) -> rustix::io::Result<Found> {
        let wanted = match entry.kind {
            EntryKind::File { .. } => FileType::RegularFile,
            EntryKind::Directory => FileType::Directory,
            EntryKind::Symlink { .. } => FileType::Symlink,
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::CharDevice { .. } => FileType::CharacterDevice,
            EntryKind::BlockDevice { .. } => FileType::BlockDevice,
        };
        let (parent, name) = split(path.as_bytes());
        let open = |flags: OFlags| {
            if name.is_empty() {
                return self.root.open(b"", flags, Mode::empty());
            }
            let parent = self.parents.open(&self.root, parent)?;
            rustix::fs::openat(&parent.fd, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        };
        let readable = match wanted {
            FileType::RegularFile => open(OFlags::RDONLY | OFlags::NONBLOCK),
            FileType::Directory => open(OFlags::RDONLY | OFlags::DIRECTORY),
            _ => Err(Errno::ACCESS),
        };
        let opened = match readable {
            Err(Errno::ACCESS | Errno::PERM) => Found::PathOnly(open(OFlags::PATH)?),
            fd => Found::Readable(fd?),
        };
        // What was swapped in by somebody else is theirs.
        let stat = opened.handle().stat()?;
        if source::file_type(&stat) == wanted { Ok(opened) } else { Err(Errno::STALE) }
    }
}

pub(super) enum Found {
    Readable(OwnedFd),
    PathOnly(OwnedFd),
}

impl Found {
    pub(super) fn fd(&self) -> &OwnedFd {
        match self {
            Self::Readable(fd) | Self::PathOnly(fd) => fd,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::of(self.fd())
    }

    pub(super) fn handle(&self) -> Handle<'_> {
        match self {
            Self::Readable(fd) => Handle::Open(fd.as_fd()),
            Self::PathOnly(fd) => Handle::Path(fd.as_fd()),
        }
    }
}
