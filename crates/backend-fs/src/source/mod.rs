//! Directory trees as a [`Source`].
//!
//! Data passes `schedule` (which directory next) → `read` (names, stat, exclusion; several threads)
//! → `scan` (listings put together in path order) → the engine, which asks `detail` and `content`
//! for what changed. Everything is opened below `/` without following symlinks: a link swapped in
//! while a backup runs leads nowhere.
//!
//! | module | holds |
//! |---|---|
//! | `roots` | the roots of a scan and the directories above them |
//! | `schedule` | which directory is read next, and what was read waiting for its turn |
//! | `read` | one directory: names, one `statx` each, exclusion |
//! | `names` | the names in one directory, in order, in one buffer |
//! | `describe` | one `statx` answer as an entry |
//! | `scan` | the consumer's end: listings put together in path order |
//! | `detail` | what a scan leaves out: extended attributes and inode flags |
//! | `content` | one file's content |
//! | `exclude` | which entries stay out, and why |
//! | `explain` | the scan's decisions, taken again on the way down to a path |
//!
//! *Deliberately absent*: hard-link grouping (the engine sees identities), caches of earlier scans.

mod content;
mod describe;
mod detail;
pub mod exclude;
mod explain;
mod names;
mod read;
mod roots;
mod scan;
mod schedule;

use crate::at::Root;
use decube_backup_core::entry::Entry;
use decube_backup_core::monitor::Problem;
use decube_backup_core::source::{Content, Scan, Scanned, Source, SourceInfo};
use decube_backup_core::{EntryPath, Error, Result};
pub(crate) use describe::{device, file_type, kind, timestamp};
use exclude::Pattern;
pub use exclude::{ExcludeOptions, Explanation};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a scan does about a root that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MissingRoots {
    /// The scan fails.
    #[default]
    Fail,
    /// The scan says so in band and goes on with the other roots.
    Report,
}

/// Which file systems a scan enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FileSystems {
    /// All that are mounted below the roots.
    #[default]
    All,
    /// Only those the roots themselves are on; of others the mount point is kept.
    OfRoots,
}

/// What is scanned, and how.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Files and directories to back up; relative ones count from `cwd`. Symlinks above a root are
    /// resolved, a root that is a symlink is backed up as one.
    pub roots: Vec<PathBuf>,
    /// Where relative paths begin; absolute.
    pub cwd: PathBuf,
    /// Roots that are not there.
    pub missing_roots: MissingRoots,
    /// File systems entered.
    pub file_systems: FileSystems,
    /// What stays out.
    pub exclude: ExcludeOptions,
    /// Threads that read directories.
    pub scan_threads: usize,
    /// Entries read ahead of the consumer; bounds memory to about 400 bytes times this.
    pub entries_ahead_max: usize,
}

impl SourceOptions {
    /// All of `roots`, with nothing left out.
    pub fn new(roots: Vec<PathBuf>, cwd: impl Into<PathBuf>) -> Self {
        Self {
            roots,
            cwd: cwd.into(),
            missing_roots: MissingRoots::default(),
            file_systems: FileSystems::default(),
            exclude: ExcludeOptions::default(),
            scan_threads: 2,
            entries_ahead_max: 8 << 10,
        }
    }
}

/// Directory trees of this machine. Entry paths are absolute paths without their leading `/`; the
/// directories above each root are entries too, so that a restore has their attributes.
pub struct FsSource {
    shared: Arc<Shared>,
}

/// What the scan threads share.
pub(crate) struct Shared {
    pub(crate) options: SourceOptions,
    pub(crate) root: Root,
    /// Resolved, those that lie in one of `roots`.
    pub(crate) inner_roots: Vec<EntryPath>,
    /// Resolved, outermost, in path order.
    pub(crate) roots: Vec<EntryPath>,
    pub(crate) patterns: Vec<Pattern>,
    /// File systems to stay on; `None` for all.
    pub(crate) devices: Option<Vec<u64>>,
}

impl FsSource {
    /// Resolves the roots and compiles the exclude patterns; nothing is scanned yet.
    ///
    /// # Errors
    /// `Invalid` for no roots or a bad pattern, `NotFound` or `Io` for an exclude file.
    pub fn new(options: SourceOptions) -> Result<Self> {
        roots::check(&options.roots)?;
        let resolved = options.roots.iter().map(|root| roots::entry_path(&roots::resolve(&options.cwd, root)));
        let resolved = resolved.collect::<Result<Vec<_>>>()?;
        let patterns = roots::read_patterns(&options.cwd, &options.exclude.patterns, &options.exclude.files)?;
        let root = Root::file_system().map_err(|e| Error::io("source", "cannot open the root directory", e.into()))?;
        let mut shared = Shared { options, root, roots: Vec::new(), inner_roots: Vec::new(), patterns, devices: None };
        if shared.options.file_systems == FileSystems::OfRoots {
            let devices = resolved.iter().filter_map(|root| shared.stat(root).ok());
            shared.devices = Some(devices.map(|stat| describe::device(&stat)).collect());
        }
        (shared.roots, shared.inner_roots) = roots::outermost(resolved);
        // Patterns that cannot be compiled are refused here, not in the middle of a scan.
        for root in &shared.roots {
            shared.scope_of_root(root)?;
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The resolved roots in path order, without those that lie in another.
    pub fn roots(&self) -> &[EntryPath] {
        &self.shared.roots
    }

    /// Says whether `path` (relative ones count from the options' `cwd`) is backed up, and which rule says so.
    ///
    /// # Errors
    /// `Io` if the directories on the way cannot be read.
    pub fn explain(&self, path: &Path) -> Result<Explanation> {
        let path = roots::entry_path(&roots::resolve(&self.shared.options.cwd, path))?;
        self.shared.explain(&path)
    }
}

impl Source for FsSource {
    fn describe(&self) -> SourceInfo {
        let cwd = &self.shared.options.cwd;
        let written = self.shared.options.roots.iter().map(|root| cwd.join(root).to_string_lossy().into_owned());
        let mut roots = [self.shared.roots.as_slice(), &self.shared.inner_roots].concat();
        roots.sort();
        SourceInfo { paths: written.collect(), roots }
    }

    fn scan(&self) -> Result<Box<dyn Scan>> {
        let roots = self.shared.roots_slice()?;
        Ok(Box::new(scan::FsScan::start(&self.shared, roots)?))
    }

    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        detail::detail(&self.shared.root, entry)
    }

    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        Ok(Box::new(content::FileContent::open(&self.shared.root, scanned)?))
    }
}

/// The absolute form of an entry path.
pub(crate) fn absolute(entry_path: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(entry_path.len() + 256);
    path.push(b'/');
    path.extend_from_slice(entry_path);
    path
}
