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
//! | `opened` | files on their way, and that they are the same when they are opened again |
//! | `beside` | what has not taken its place yet |
//! | `file` | a file while it is written |
//! | `folding` | names that a file system does not tell apart |
//! | `settle` | the end of what was made: attributes, place |
//! | `finish` | owner, extended attributes, times, mode, flags, in that order |
//! | `proofs` | what file systems have shown to keep |
//! | `owner` | who owns what is restored |
//! | `link` | further names of a file |
//! | `swap` | a directory that goes for something else |
//! | `remove` | taking away what stands in the way |
//! | `locks` | flags that forbid what a restore does |

mod beside;
mod file;
mod finish;
mod folding;
mod link;
mod locks;
mod open;
mod opened;
mod owner;
mod parents;
mod proofs;
mod remove;
mod settle;
mod swap;

use crate::at::{Root, split};
use crate::attributes::{Handle, STAT_MASK};
use crate::kinds::Kind;
use crate::source;
use beside::Begun;
use decube_backup_core::entry::{Entry, EntryKind};
use decube_backup_core::monitor::Problem;
use decube_backup_core::target::{Existing, FileMode, Target, TargetFile};
use decube_backup_core::{EntryPath, Error, ErrorKind, Result, acl};
use file::FsFile;
use finish::Before;
use folding::Claims;
use locks::Unlocked;
use opened::Opened;
use owner::Owners;
pub use owner::Ownership;
use parents::{Parent, Parents};
use proofs::Proofs;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx};
use rustix::io::Errno;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

/// Unfinished files kept open at most, where the process may open so many.
const OPEN_FILES_MAX: usize = 256;

/// What becomes of the attributes of a target's own directory that was there before.
///
/// One that a restore made and did not finish was not: its mode is 01700, as that of a file is 01600.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingRoot {
    /// It gets those of the directory that is restored to it.
    #[default]
    AsRecorded,
    /// It keeps its own.
    Kept,
}

/// How a target restores.
#[derive(Clone, Debug, Default)]
pub struct TargetOptions {
    /// Who owns what is restored.
    pub ownership: Ownership,
    /// What becomes of the directory itself, if it was there.
    pub existing_root: ExistingRoot,
}

/// A directory that entries are restored into.
#[derive(Debug)]
pub struct FsTarget {
    root: Root,
    parents: Parents,
    owners: Owners,
    claims: Claims,
    begun: Begun,
    opened: Opened,
    unlocked: Unlocked,
    keeps_root: bool,
    proofs: Proofs,
}

impl FsTarget {
    /// The directory `path`, made for its owner alone if it is not there, with the directories above it.
    ///
    /// # Errors
    /// It cannot be made or opened, or is not a directory.
    pub fn create(path: &Path, options: TargetOptions) -> Result<Self> {
        let failed = |e| Error::io("restore", "cannot make the target directory", e).with("path", path.display());
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above).map_err(failed)?;
        }
        let mode = if options.existing_root == ExistingRoot::Kept { open::UNFINISHED_ROOT } else { 0o700 };
        match std::fs::DirBuilder::new().mode(mode).create(path) {
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
        let keeps_root = options.existing_root == ExistingRoot::Kept && !open::is_unfinished_root(&fd);
        Ok(Self {
            root: Root::new(fd),
            parents: Parents::new(open::share_of_descriptors()),
            owners: Owners::new(options.ownership),
            claims: Claims::default(),
            begun: Begun::default(),
            opened: Opened::default(),
            unlocked: Unlocked::default(),
            keeps_root,
            proofs: Proofs::default(),
        })
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

    /// Gives the directory `name` a mode its owner can work with.
    fn open_up(&self, parent: &Parent, name: &[u8], path: &EntryPath, mode: u32) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |e| self.error("cannot open up the directory", path, e);
        let fd = rustix::fs::openat(&parent.fd, name, flags, Mode::empty()).map_err(failed)?;
        let chmod = || Handle::Path(fd.as_fd()).chmod(mode);
        match chmod() {
            Err(Errno::PERM) if self.unlock_directory(path.as_bytes(), &fd) => chmod(),
            opened => opened,
        }
        .map_err(failed)
    }

    /// Whether the file `path` of that mode was not finished. An ACL changes the mode before the mark is taken off.
    fn is_unfinished(&self, path: &EntryPath, mode: u32) -> bool {
        let has_acl = || {
            let (parent, name) = self.parent(path).ok()?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&parent.fd, name, flags, Mode::empty()).ok()?;
            Handle::Path(fd.as_fd()).xattr(acl::ACCESS).ok()?
        };
        open::is_unfinished(mode) || mode & open::MARK != 0 && has_acl().is_some()
    }

    fn stat(&self, path: &EntryPath) -> rustix::io::Result<(Statx, EntryKind, Kind)> {
        let (parent, name) = split(path.as_bytes());
        let parent = self.parents.open(&self.root, parent)?;
        if self.is_taken(&parent, name, path)? {
            return Err(Errno::NOENT);
        }
        let flags = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = rustix::fs::statx(&parent.fd, name, flags, STAT_MASK)?;
        let link = || rustix::fs::readlinkat(&parent.fd, name, Vec::new()).map(|target| target.into_bytes());
        // A socket is in the way like any other thing of no use: like a device that no entry names.
        let kind = source::kind(&stat, link)?.unwrap_or(EntryKind::CharDevice { major: u32::MAX, minor: u32::MAX });
        Ok((stat, kind, parent.kind))
    }
}

impl Target for FsTarget {
    fn existing(&self, path: &EntryPath) -> Result<Option<Existing>> {
        match self.stat(path) {
            Ok((stat, kind, of)) => Ok(Some(Existing {
                mtime_step_ns: self.proofs.step_ns(source::device(&stat), of, &stat),
                mtime: source::timestamp(&stat.stx_mtime),
                links: stat.stx_nlink.into(),
                inode: inode(&stat),
                is_unfinished: matches!(kind, EntryKind::File { .. }) && self.is_unfinished(path, stat.stx_mode.into()),
                kind,
            })),
            // Behind a link there is nothing of this target.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(self.error("cannot stat", path, e)),
        }
    }

    fn children(&self, path: &EntryPath) -> Result<Vec<Vec<u8>>> {
        let failed = |e| self.error("cannot list directory", path, e);
        let fd = self.root.open(path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
        let mut names: Vec<_> = remove::names(&fd).map_err(failed)?.into_iter().map(|(name, _)| name).collect();
        names.retain(|name| !self.begun.is_in(path, name));
        Ok(names)
    }

    fn remove(&self, path: &EntryPath) -> Result<()> {
        self.remove_tree(path)
    }

    fn gives_way(&self, directory: &EntryPath) {
        self.begun.gives_way(directory);
    }

    fn create_directory(&self, path: &EntryPath) -> Result<()> {
        if path.is_root() {
            return Ok(());
        }
        let (parent, name) = self.parent(path)?;
        let make = |dir: &OwnedFd, name: &[u8]| rustix::fs::mkdirat(dir, name, Mode::RWXU);
        let failed = |e| self.error("cannot create directory", path, e);
        let made = || {
            // A default ACL may have taken rights from the owner.
            if parent.inherits { self.open_up(&parent, name, path, 0o700) } else { Ok(()) }
        };
        self.claim(&parent, path);
        match self.doing(&parent, || make(&parent.fd, name)) {
            Ok(()) => return made(),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        self.check_told_apart(&parent, name, path)?;
        let stat = rustix::fs::statx(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK);
        let stat = stat.map_err(|e| self.error("cannot stat", path, e))?;
        if source::file_type(&stat) != FileType::Directory {
            self.make_beside(&parent, path, make)?.map_err(failed)?;
            self.put_directory_in_place(&parent, name, path)?;
            return made();
        }
        let mode = u32::from(stat.stx_mode) & 0o7777;
        if mode & 0o700 != 0o700 && stat.stx_uid == rustix::process::geteuid().as_raw() {
            // Its owner works in it until it is finished; nobody else gains anything.
            self.open_up(&parent, name, path, mode | 0o700)?;
        }
        Ok(())
    }

    fn narrow_directory(&self, entry: &Entry) -> Result<()> {
        let failed = |e| self.error("cannot keep others out of the directory meanwhile", &entry.path, e);
        let opened = self.open_to_finish(&entry.path, entry).map_err(failed)?;
        if entry.path.is_root() && (self.keeps_root || open::is_unfinished_root(opened.fd())) {
            return Ok(());
        }
        let narrow = || finish::narrow(opened.handle(), entry, self.owners.of(&entry.meta));
        match (narrow(), &opened) {
            (Err(Errno::PERM), settle::Found::Readable(fd)) if self.unlock_directory(entry.path.as_bytes(), fd) => {
                narrow().map_err(failed)
            }
            // Not one's own, or not to be had here: what is not set is told in the end.
            (Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL), _) => Ok(()),
            (narrowed, _) => narrowed.map_err(failed),
        }
    }

    fn create_file(&self, path: &EntryPath, mode: FileMode, flags: u32) -> Result<Box<dyn TargetFile>> {
        Ok(Box::new(match mode {
            FileMode::New => self.create_new(path, flags)?,
            FileMode::Beside => self.create_beside(path, flags)?,
            FileMode::InPlace => {
                let file = match self.open_in_place(path)? {
                    Some(file) => file,
                    None => self.create_beside(path, flags)?,
                };
                self.opened.note(&file);
                file
            }
            FileMode::Continue => FsFile { content_before: false, ..self.open_again(path)? },
            FileMode::ContinueInPlace => self.open_again(path)?,
        }))
    }

    fn open_files_max(&self) -> usize {
        open::share_of_descriptors().min(OPEN_FILES_MAX)
    }

    fn set_aside(&self, file: Box<dyn TargetFile>) -> Result<()> {
        self.close_for_now(file)
    }

    fn discard_file(&self, path: &EntryPath) -> Result<()> {
        self.opened.forget(path);
        self.give_up(path)
    }

    fn finish_file(&self, file: Box<dyn TargetFile>, entry: &Entry) -> Vec<Problem> {
        self.settle(file, entry)
    }

    fn create_special(&self, entry: &Entry) -> Result<Vec<Problem>> {
        let path = &entry.path;
        let node = |dir: &OwnedFd, name: &[u8], kind: FileType, (major, minor): (u32, u32)| {
            rustix::fs::mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, rustix::fs::makedev(major, minor))
        };
        let make = |dir: &OwnedFd, name: &[u8]| match &entry.kind {
            EntryKind::Symlink { target } => rustix::fs::symlinkat(target.as_slice(), dir, name),
            EntryKind::Fifo => node(dir, name, FileType::Fifo, (0, 0)),
            EntryKind::CharDevice { major, minor } => node(dir, name, FileType::CharacterDevice, (*major, *minor)),
            EntryKind::BlockDevice { major, minor } => node(dir, name, FileType::BlockDevice, (*major, *minor)),
            EntryKind::File { .. } | EntryKind::Directory => Err(Errno::INVAL),
        };
        let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
        let failed =
            |e| self.error(if is_link { "cannot create symlink" } else { "cannot create special file" }, path, e);
        let (parent, _) = self.parent(path)?;
        let before = if parent.inherits && !is_link { Before::Attributes } else { Before::Nothing };
        self.claim(&parent, path);
        // Also where nothing stands: nothing of what is half made shows that it is.
        let ((), own) = self.make_beside(&parent, path, make)?.map_err(failed)?;
        let problems = self.finish_path(&own, entry, before);
        self.take_place(path)?;
        Ok(problems)
    }

    fn link(&self, original: &EntryPath, path: &EntryPath) -> Result<()> {
        self.link_to(original, path)
    }

    fn is_finished(&self, entry: &Entry) -> bool {
        let Ok(opened) = self.open_to_finish(&entry.path, entry) else { return false };
        let step_ns = |stat: &Statx| self.proofs.step_ns(source::device(stat), opened.kind(), stat);
        finish::is_finished(opened.handle(), entry, self.owners.of(&entry.meta), step_ns)
    }

    fn finish_existing(&self, entry: &Entry) -> Vec<Problem> {
        if let Ok((parent, _)) = self.parent(&entry.path) {
            self.claim(&parent, &entry.path);
        }
        self.finish_path(&entry.path, entry, Before::Attributes)
    }

    fn finish_directory(&self, entry: &Entry) -> Vec<Problem> {
        if entry.path.is_root() && self.keeps_root {
            return Vec::new();
        }
        let problems = self.finish_path(&entry.path, entry, Before::Attributes);
        self.parents.forget(entry.path.as_bytes());
        problems
    }
}

fn inode(stat: &Statx) -> (u64, u64) {
    (source::device(stat), stat.stx_ino)
}
