//! Where a restore writes.
//!
//! # Contract
//! 1. **Confined.** No call leaves the target's root, whatever the paths and links in it say.
//! 2. **Nothing goes before what takes its place is there.** What stands at a path makes way for what was made, never for what
//!    was to be made; and a file that is not finished is known as such ([`Existing::is_unfinished`]), whoever was killed meanwhile.
//! 3. **Never wider.** Until `finish_*` returns, nothing created is readable by anyone whom its final
//!    mode would not let read it.
//! 4. **Said, not dropped.** What a target cannot express comes back as a [`Problem`].
//! 5. **Several writers.** One file may be written at different offsets by several threads at once.
//! 6. Blocking; called from the engine's own threads.

use crate::entry::{Entry, EntryKind, EntryPath, Timestamp};
use crate::error::Result;
use crate::monitor::Problem;

/// What already stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Its kind, with size or link target.
    pub kind: EntryKind,
    /// Its modification time.
    pub mtime: Timestamp,
    /// What times are multiples of there, as far as the target knows; nanoseconds, 1 where they are exact.
    pub mtime_step_ns: u64,
    /// Names it has: of one with more, others may be none of this restore's business.
    pub links: u64,
    /// What tells it from everything else on this machine: device and inode number.
    pub inode: (u64, u64),
    /// A file that a restore began and did not finish. Its time says nothing.
    pub is_unfinished: bool,
}

impl Existing {
    /// What `time` is where this stands.
    #[must_use]
    pub fn time_there(&self, time: Timestamp) -> Timestamp {
        time.cut_to(self.mtime_step_ns)
    }
}

/// What is said of a directory that cannot make way for something else.
pub const DIRECTORY_IN_THE_WAY: &str = "a directory with content is in the way; move it away, or restore with --delete, which deletes what the snapshot does not have";

/// How a file is opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// Nothing stands there. Where something does, it is treated as by [`FileMode::Beside`].
    New,
    /// A new file beside whatever stands there. That stays as it is until [`Target::finish_file`] puts the new
    /// file in its place, or [`Target::discard_file`] gives it up; a target that is dropped gives up all.
    Beside,
    /// An existing regular file is kept and rewritten in place (chunk-level delta). What cannot be rewritten is treated as by
    /// [`FileMode::Beside`].
    /// What was written is durable before the file gets its attributes: its old time would vouch for it.
    InPlace,
    /// A file that this restore began with [`FileMode::New`] or [`FileMode::Beside`] and set aside ([`Target::set_aside`]). It is
    /// opened as it is, or not at all: what has its name by now may be somebody else's.
    Continue,
    /// A file that this restore began with [`FileMode::InPlace`]. It is opened as it is, or not at all, and is made durable
    /// as one is that was never closed.
    ContinueInPlace,
}

/// An open file of a target. `Any`, so that [`Target::finish_file`] finds its own type again.
pub trait TargetFile: std::any::Any + Send + Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Writes `len` zeros at `offset`: no hole, they have the room that they take.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn write_zeros(&self, offset: u64, len: u64) -> Result<()>;

    /// Reads up to `buf.len()` bytes at `offset` (for the in-place delta); 0 at the end.
    ///
    /// # Errors
    /// `Io`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Whether what stands at its path stays there until the file is finished, as with [`FileMode::Beside`].
    fn is_beside(&self) -> bool {
        false
    }

    /// Sets the length; growing leaves a hole.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Makes `len` bytes at `offset` a hole that reads as zeros.
    ///
    /// # Errors
    /// `Io`.
    fn punch(&self, offset: u64, len: u64) -> Result<()>;
}

/// Where a restore writes. See the module docs for the numbered contract. Paths are relative to its root.
pub trait Target: Send + Sync + 'static {
    /// What stands at `path`, not following a final link.
    ///
    /// # Errors
    /// It could not be told.
    fn existing(&self, path: &EntryPath) -> Result<Option<Existing>>;

    /// Names in the directory `path`, raw, unsorted; for `--delete`.
    ///
    /// # Errors
    /// It is not a readable directory.
    fn children(&self, path: &EntryPath) -> Result<Vec<Vec<u8>>>;

    /// Removes `path` and, for a directory, all below it.
    ///
    /// # Errors
    /// Something stayed.
    fn remove(&self, path: &EntryPath) -> Result<()>;

    /// `directory` may go, with all that is in it, for what is made at its path: once that has all its attributes. Until then, and
    /// if it or the removal fails, the directory stands there.
    fn gives_way(&self, directory: &EntryPath);

    /// Makes the directory `path`, mode 0700 until [`Target::finish_directory`]; keeps an existing one.
    ///
    /// # Errors
    /// A non-directory that cannot be replaced is in the way.
    fn create_directory(&self, path: &EntryPath) -> Result<()>;

    /// Takes from a directory that stood there what others would have of it only until [`Target::finish_directory`]: what comes
    /// into it is never for more people than in the end. It stays its owner's to work in.
    ///
    /// # Errors
    /// They cannot be kept out.
    fn narrow_directory(&self, entry: &Entry) -> Result<()>;

    /// Opens `path` for writing, for its owner alone until [`Target::finish_file`]. Of `flags`, the entry's inode flags, a new file
    /// gets those that only an empty one takes.
    ///
    /// # Errors
    /// `NoSpace`, `PermissionDenied`, `Io`.
    fn create_file(&self, path: &EntryPath, mode: FileMode, flags: u32) -> Result<Box<dyn TargetFile>>;

    /// How many files a restore may keep open at once; what is more is set aside.
    fn open_files_max(&self) -> usize {
        256
    }

    /// Closes an open file that is gone on with later, with [`FileMode::Continue`] or [`FileMode::ContinueInPlace`].
    ///
    /// # Errors
    /// What was written before did not get there.
    fn set_aside(&self, file: Box<dyn TargetFile>) -> Result<()>;

    /// Gives up the file begun for `path` with [`FileMode::Beside`], open or not; what stands there stays.
    ///
    /// # Errors
    /// It could not be removed.
    fn discard_file(&self, path: &EntryPath) -> Result<()>;

    /// Sets owner, extended attributes, mode, flags and times of a written file. Consumes nothing of
    /// the content.
    fn finish_file(&self, file: Box<dyn TargetFile>, entry: &Entry) -> Vec<Problem>;

    /// Makes a symlink, FIFO or device with its attributes, replacing a non-directory or an empty directory.
    ///
    /// # Errors
    /// It could not be made at all; what stands there stays.
    fn create_special(&self, entry: &Entry) -> Result<Vec<Problem>>;

    /// Makes `path` another name of `original`, replacing a non-directory or an empty directory.
    ///
    /// # Errors
    /// The two ends cannot be linked; what stands there stays.
    fn link(&self, original: &EntryPath, path: &EntryPath) -> Result<()>;

    /// Whether what stands at the entry's path has every attribute that [`Target::finish_existing`] would set.
    fn is_finished(&self, entry: &Entry) -> bool;

    /// Sets the attributes of any existing entry again by path (existing files that need no content).
    fn finish_existing(&self, entry: &Entry) -> Vec<Problem>;

    /// Sets a directory's attributes; called after everything below it is done.
    fn finish_directory(&self, entry: &Entry) -> Vec<Problem>;
}
