//! A directory as a [`Target`].
//!
//! *Invariant*: no call leaves the root. Directories are opened below it without following symlinks
//! (`crate::at`), entries are made by one name below an open directory, and attributes are set
//! through a descriptor of the inode that was made or checked.
//!
//! | module | holds |
//! |---|---|
//! | `parents` | a few open directories |
//! | `open` | how a file is opened for writing |
//! | `beside` | a new file that has not taken its place yet |
//! | `file` | a file while it is written |
//! | `folding` | names that a file system does not tell apart |
//! | `finish` | owner, extended attributes, mode, times, flags, in that order |
//! | `owner` | who owns what is restored |
//! | `remove` | taking away what stands in the way |

mod beside;
mod file;
mod finish;
mod folding;
mod open;
mod owner;
mod parents;
mod remove;

use crate::at::{Root, split};
use crate::attributes::{Handle, STAT_MASK};
use crate::source;
use beside::Begun;
use decube_backup_core::entry::{Entry, EntryKind};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::{Existing, FileMode, Target, TargetFile};
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use file::FsFile;
use finish::Before;
use folding::Claims;
use owner::Owners;
pub use owner::Ownership;
use parents::{Parent, Parents};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx};
use rustix::io::Errno;
use std::any::Any;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

/// How a target restores.
#[derive(Clone, Debug, Default)]
pub struct TargetOptions {
    /// Who owns what is restored.
    pub ownership: Ownership,
}

/// A directory that entries are restored into.
#[derive(Debug)]
pub struct FsTarget {
    root: Root,
    parents: Parents,
    owners: Owners,
    claims: Claims,
    begun: Begun,
}

impl FsTarget {
    /// The directory `path`, made with mode 0700 if it is not there, with the directories above it.
    ///
    /// # Errors
    /// It cannot be made or opened, or is not a directory.
    pub fn create(path: &Path, options: TargetOptions) -> Result<Self> {
        let failed = |e| Error::io("restore", "cannot make the target directory", e).with("path", path.display());
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above).map_err(failed)?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(e)),
            _ => Self::open(path, options),
        }
    }

    /// The existing directory `path`.
    ///
    /// # Errors
    /// It cannot be opened or is not a directory.
    pub fn open(path: &Path, options: TargetOptions) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| {
            Error::io("restore", "cannot open the target directory", e.into()).with("path", path.display())
        })?;
        let (parents, owners) = (Parents::default(), Owners::new(options.ownership));
        Ok(Self { root: Root::new(fd), parents, owners, claims: Claims::default(), begun: Begun::default() })
    }

    fn error(&self, message: &str, path: &EntryPath, errno: Errno) -> Error {
        Error::io("restore", message, errno.into()).with("path", path)
    }

    /// The open directory `path` lies in, and its name there.
    fn parent<'p>(&self, path: &'p EntryPath) -> Result<(Arc<Parent>, &'p [u8])> {
        let (parent, name) = split(path.as_bytes());
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "restore", "the target itself cannot be replaced"));
        }
        let parent = self.parents.open(&self.root, parent);
        Ok((parent.map_err(|e| self.error("cannot open the directory", path, e))?, name))
    }

    /// Does `make` and, if something is in the way, once more after removing it.
    fn replacing<T>(
        &self,
        path: &EntryPath,
        message: &str,
        make: impl Fn(&OwnedFd, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<(T, Arc<Parent>)> {
        let (parent, name) = self.parent(path)?;
        self.claim(&parent, path);
        let mut made = make(&parent.fd, name);
        if matches!(made, Err(Errno::EXIST)) {
            self.clear_the_way(&parent, name, path)?;
            made = make(&parent.fd, name);
        }
        Ok((made.map_err(|e| self.error(message, path, e))?, parent))
    }

    /// Gives the directory `name` a mode its owner can work with.
    fn open_up(&self, parent: &Parent, name: &[u8], path: &EntryPath, mode: u32) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent.fd, name, flags, Mode::empty());
        let opened = fd.and_then(|fd| Handle::Path(fd.as_fd()).chmod(mode));
        opened.map_err(|e| self.error("cannot open up the directory", path, e))
    }

    /// Finishes what stands at the entry's path, if it is of the entry's kind.
    fn finish_path(&self, entry: &Entry, before: Before) -> Vec<Problem> {
        let opened = self.open_to_finish(entry);
        match opened {
            Ok((fd, Opened::Readable)) => self.finish(Handle::Open(fd.as_fd()), entry, before),
            Ok((fd, Opened::PathOnly)) => self.finish(Handle::Path(fd.as_fd()), entry, before),
            Err(e) => {
                let message = format!("cannot open to set attributes: {e}");
                vec![Problem::new(ProblemKind::Attribute, entry.path.as_bytes(), message)]
            }
        }
    }

    fn finish(&self, handle: Handle<'_>, entry: &Entry, before: Before) -> Vec<Problem> {
        finish::finish(handle, entry, self.owners.of(&entry.meta), before)
    }

    fn open_to_finish(&self, entry: &Entry) -> rustix::io::Result<(OwnedFd, Opened)> {
        let wanted = match entry.kind {
            EntryKind::File { .. } => FileType::RegularFile,
            EntryKind::Directory => FileType::Directory,
            EntryKind::Symlink { .. } => FileType::Symlink,
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::CharDevice { .. } => FileType::CharacterDevice,
            EntryKind::BlockDevice { .. } => FileType::BlockDevice,
        };
        let (parent, name) = split(entry.path.as_bytes());
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
        let (fd, opened) = match readable {
            Err(Errno::ACCESS | Errno::PERM) => (open(OFlags::PATH)?, Opened::PathOnly),
            fd => (fd?, Opened::Readable),
        };
        // What was swapped in by somebody else is theirs.
        let stat = Handle::Path(fd.as_fd()).stat()?;
        if source::file_type(&stat) == wanted { Ok((fd, opened)) } else { Err(Errno::STALE) }
    }

    fn stat(&self, path: &EntryPath) -> rustix::io::Result<(Statx, EntryKind)> {
        let (parent, name) = split(path.as_bytes());
        let parent = self.parents.open(&self.root, parent)?;
        if self.is_taken(&parent, name, path)? {
            return Err(Errno::NOENT);
        }
        let flags = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = rustix::fs::statx(&parent.fd, name, flags, STAT_MASK)?;
        let link = || rustix::fs::readlinkat(&parent.fd, name, Vec::new()).map(|target| target.into_bytes());
        // A socket is in the way like any other thing of no use.
        let kind = source::kind(&stat, link)?.unwrap_or(EntryKind::Fifo);
        Ok((stat, kind))
    }
}

#[derive(Clone, Copy)]
enum Opened {
    Readable,
    PathOnly,
}

impl Target for FsTarget {
    fn existing(&self, path: &EntryPath) -> Result<Option<Existing>> {
        match self.stat(path) {
            Ok((stat, kind)) => Ok(Some(Existing { kind, mtime: source::timestamp(&stat.stx_mtime) })),
            // Behind a link there is nothing of this target.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(self.error("cannot stat", path, e)),
        }
    }

    fn children(&self, path: &EntryPath) -> Result<Vec<Vec<u8>>> {
        let failed = |e| self.error("cannot list directory", path, e);
        let fd = self.root.open(path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
        let mut names: Vec<_> = remove::names(&fd).map_err(failed)?.into_iter().map(|(name, _)| name).collect();
        names.retain(|name| !(beside::is_of_one(name) && path.join(name).is_ok_and(|path| self.begun.has(&path))));
        Ok(names)
    }

    fn remove(&self, path: &EntryPath) -> Result<()> {
        self.remove_tree(path)
    }

    fn create_directory(&self, path: &EntryPath) -> Result<()> {
        if path.is_root() {
            return Ok(());
        }
        let (parent, name) = self.parent(path)?;
        let make = || rustix::fs::mkdirat(&parent.fd, name, Mode::RWXU);
        let made = |()| {
            // A default ACL may have taken rights from the owner.
            if parent.inherits { self.open_up(&parent, name, path, 0o700) } else { Ok(()) }
        };
        self.claim(&parent, path);
        match make() {
            Ok(()) => return made(()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(self.error("cannot create directory", path, e)),
        }
        self.check_told_apart(&parent, name, path)?;
        let stat = rustix::fs::statx(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK);
        let stat = stat.map_err(|e| self.error("cannot stat", path, e))?;
        if source::file_type(&stat) != FileType::Directory {
            self.clear_the_way(&parent, name, path)?;
            return make().map_err(|e| self.error("cannot create directory", path, e)).and_then(made);
        }
        let mode = u32::from(stat.stx_mode) & 0o7777;
        if mode & 0o700 != 0o700 && stat.stx_uid == rustix::process::geteuid().as_raw() {
            // Its owner works in it until it is finished; nobody else gains anything.
            self.open_up(&parent, name, path, mode | 0o700)?;
        }
        Ok(())
    }

    fn create_file(&self, path: &EntryPath, mode: FileMode, flags: u32) -> Result<Box<dyn TargetFile>> {
        Ok(Box::new(match mode {
            FileMode::Replace => self.create_empty(path, flags)?,
            FileMode::Beside => self.create_beside(path, flags)?,
            FileMode::InPlace => match self.open_in_place(path)? {
                Some(file) => file,
                None => self.create_beside(path, flags)?,
            },
            FileMode::Continue => FsFile { content_before: false, ..self.open_again(path)? },
            FileMode::ContinueInPlace => self.open_again(path)?,
        }))
    }

    fn discard_file(&self, path: &EntryPath) -> Result<()> {
        self.give_up(path)
    }

    fn finish_file(&self, file: Box<dyn TargetFile>, entry: &Entry) -> Vec<Problem> {
        let file: Box<dyn Any> = file;
        match file.downcast::<FsFile>() {
            Ok(file) => {
                if file.is_beside
                    && let Err(error) = self.put_in_place(&file.path)
                {
                    let kept = self.give_up(&file.path).err().map(|e| e.chain());
                    let message = [Some(error.chain()), kept].into_iter().flatten().collect::<Vec<_>>().join("; ");
                    return vec![Problem::new(ProblemKind::Unwritable, entry.path.as_bytes(), message)];
                }
                // Blocks that were there before may reach the disk later than the time that vouches for them.
                if file.content_before
                    && let Err(e) = rustix::fs::fdatasync(&file.fd)
                {
                    let message = format!("cannot be made durable: {e}");
                    return vec![Problem::new(ProblemKind::Unwritable, entry.path.as_bytes(), message)];
                }
                let before = if file.attributes_before { Before::Attributes } else { Before::Nothing };
                self.finish(Handle::Open(file.fd.as_fd()), entry, before)
            }
            Err(_) => {
                let message = "the file was opened by another target";
                vec![Problem::new(ProblemKind::Attribute, entry.path.as_bytes(), message)]
            }
        }
    }

    fn create_special(&self, entry: &Entry) -> Result<Vec<Problem>> {
        let mode = Mode::RUSR | Mode::WUSR;
        let node = |kind: FileType, major: u32, minor: u32| {
            let device = rustix::fs::makedev(major, minor);
            let make = |dir: &OwnedFd, name: &[u8]| rustix::fs::mknodat(dir, name, kind, mode, device);
            self.replacing(&entry.path, "cannot create special file", make)
        };
        let ((), parent) = match &entry.kind {
            EntryKind::Symlink { target } => {
                let make = |dir: &OwnedFd, name: &[u8]| rustix::fs::symlinkat(target.as_slice(), dir, name);
                self.replacing(&entry.path, "cannot create symlink", make)?
            }
            EntryKind::Fifo => node(FileType::Fifo, 0, 0)?,
            EntryKind::CharDevice { major, minor } => node(FileType::CharacterDevice, *major, *minor)?,
            EntryKind::BlockDevice { major, minor } => node(FileType::BlockDevice, *major, *minor)?,
            EntryKind::File { .. } | EntryKind::Directory => {
                let message = "not a special file";
                return Err(Error::new(ErrorKind::Internal, "restore", message).with("path", &entry.path));
            }
        };
        let inherits = parent.inherits && !matches!(entry.kind, EntryKind::Symlink { .. });
        Ok(self.finish_path(entry, if inherits { Before::Attributes } else { Before::Nothing }))
    }

    fn link(&self, original: &EntryPath, path: &EntryPath) -> Result<()> {
        let (from, original_name) = self.parent(original)?;
        let (to, name) = self.parent(path)?;
        if self.is_taken(&from, original_name, original).map_err(|e| self.error("cannot stat", original, e))? {
            return Err(self.not_told_apart(original));
        }
        self.claim(&to, path);
        let make = || rustix::fs::linkat(&from.fd, original_name, &to.fd, name, AtFlags::empty());
        let failed = |e| self.error("cannot link", path, e).with("original", original);
        match make() {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        self.check_told_apart(&to, name, path)?;
        let inode = |path| self.stat(path).map(|(stat, _)| (source::device(&stat), stat.stx_ino));
        if inode(original).map_err(failed)? == inode(path).map_err(failed)? {
            return Ok(());
        }
        self.clear_the_way(&to, name, path)?;
        make().map_err(failed)
    }

    fn finish_existing(&self, entry: &Entry) -> Vec<Problem> {
        if let Ok((parent, _)) = self.parent(&entry.path) {
            self.claim(&parent, &entry.path);
        }
        self.finish_path(entry, Before::Attributes)
    }

    fn finish_directory(&self, entry: &Entry) -> Vec<Problem> {
        let problems = self.finish_path(entry, Before::Attributes);
        self.parents.forget(entry.path.as_bytes());
        problems
    }
}
