//! The file system backend behind [`super`].

use super::{Explained, Owners, Paths, Top};
use decube_backup_backend_fs::source::exclude::{CacheDirectories, Case, NoDumpFlag, Pattern, Verdict};
use decube_backup_backend_fs::source::{ExcludeOptions, FileSystems, FsSource, MissingRoots, SourceOptions};
use decube_backup_backend_fs::target::{ExistingRoot, FsTarget, Ownership, TargetOptions};
use decube_backup_core::{Error, ErrorKind, Registry, Result, Source, Target};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a repository has at its top, `.tmp` for what is being written; and what a file system has at its.
const AT_THE_TOP: [&str; 12] =
    ["format", "keys", "keyring", "packs", "index", "log", "ckpt", "copy", "parity", "hint", ".tmp", "lost+found"];

/// Adds the storage of this machine.
///
/// # Errors
/// `Invalid` if its scheme is taken.
pub(crate) fn register(registry: &mut Registry) -> Result<()> {
    decube_backup_backend_fs::sink::register(registry)
}

/// The source of `paths`.
///
/// # Errors
/// `NotFound` for a missing required path, `Invalid` for a bad pattern.
pub(crate) fn source(paths: &Paths) -> Result<Box<dyn Source>> {
    for path in &paths.required {
        let full = paths.directory.join(path);
        std::fs::symlink_metadata(&full).map_err(|e| {
            Error::io("backup", "cannot back up a path", e)
                .with("path", full.display())
                .with_hint("nothing was backed up; a path that may be missing is an --optional-source")
        })?;
    }
    Ok(Box::new(FsSource::new(options(paths))?))
}

/// The directory `path` as a restore's target, made if it is missing.
///
/// # Errors
/// It cannot be made.
pub(crate) fn target(path: &Path, owners: Owners, top: Top) -> Result<Box<dyn Target>> {
    let ownership = match owners {
        Owners::Ids => Ownership::Numeric,
        Owners::Names => Ownership::ByName,
        Owners::Keep => Ownership::Keep,
    };
    let existing_root = match top {
        Top::Directory => ExistingRoot::Kept,
        Top::Entries => ExistingRoot::default(),
    };
    Ok(Box::new(FsTarget::create(path, TargetOptions { ownership, existing_root })?))
}

/// Says of each path whether it is backed up, and why.
///
/// # Errors
/// `Invalid` for a bad pattern, `Io` if directories on the way cannot be read.
pub(crate) fn explain(paths: &Paths, asked: &[PathBuf]) -> Result<Vec<Explained>> {
    let source = FsSource::new(options(paths))?;
    let explain = |path: &PathBuf| {
        let found = source.explain(path)?;
        if path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            let reason = format!("there is no such path; if there were a file: {found}");
            return Ok(explained(path, "missing", reason));
        }
        let verdict = match found.verdict {
            Verdict::Included => "included",
            Verdict::Excluded => "excluded",
            Verdict::OutsideRoots => "outside",
        };
        Ok(explained(path, verdict, found.to_string()))
    };
    asked.iter().map(explain).collect()
}

fn explained(path: &Path, verdict: &'static str, reason: String) -> Explained {
    Explained { path: path.to_owned(), verdict, reason }
}

/// Where `place` is in `directory`, relative to it and empty if they are one; `None` if it is elsewhere or not there. However
/// they are spelled, linked or mounted: inodes decide.
pub(crate) fn place_in(place: &Path, directory: &Path) -> Option<PathBuf> {
    let inode = |path: &Path| path.metadata().map(|there| (there.dev(), there.ino())).ok();
    let (place, wanted) = (place.canonicalize().ok()?, inode(directory)?);
    let above = place.ancestors().find(|above| inode(above) == Some(wanted))?;
    place.strip_prefix(above).ok().map(Path::to_path_buf)
}

/// The directories from `directory` upwards that are not there, deepest first.
pub(crate) fn missing_directories(directory: &Path) -> Vec<PathBuf> {
    let Ok(path) = std::path::absolute(directory) else { return Vec::new() };
    path.ancestors().take_while(|directory| !directory.exists()).map(Path::to_path_buf).collect()
}

/// Refuses a folder for a new repository that holds what is no repository's: among the files of others, which may be gone
/// tomorrow, nobody looks for one.
///
/// # Errors
/// `Invalid`, naming one of them.
pub(crate) fn refuse_foreign(folder: &Path) -> Result<()> {
    // What cannot be listed the backend tells of.
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let Some(foreign) = names.filter(|name| !AT_THE_TOP.iter().any(|own| name == own)).min() else { return Ok(()) };
    Err(Error::new(ErrorKind::Invalid, "init", "the folder holds other files, and a repository needs one of its own")
        .with("repository", folder.display())
        .with("file", foreign.display())
        .with_hint("nothing was changed; name an empty folder, or a new one, which is made"))
}

/// Removes what was made in `directories`, deepest first, as far as it is empty.
pub(crate) fn remove_made(directories: &[PathBuf]) {
    if let Some(deepest) = directories.first() {
        remove_empty_below(deepest);
    }
    for directory in directories {
        // What is not empty stays: it was not made for nothing.
        let _ = std::fs::remove_dir(directory);
    }
}

fn remove_empty_below(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty_below(&entry.path());
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

fn options(paths: &Paths) -> SourceOptions {
    let given = &paths.exclude;
    let mut options = SourceOptions::new([&paths.required[..], &paths.optional[..]].concat(), paths.directory.clone());
    if !paths.optional.is_empty() {
        options.missing_roots = MissingRoots::Report;
    }
    if given.one_file_system {
        options.file_systems = FileSystems::OfRoots;
    }
    let any_case = |text: &String| Pattern { case: Case::Insensitive, ..Pattern::new(text.clone()) };
    options.exclude = ExcludeOptions {
        patterns: given.exclude.iter().map(Pattern::new).chain(given.iexclude.iter().map(any_case)).collect(),
        files: given.exclude_file.clone(),
        ignore_files: given.ignore_file.iter().map(Into::into).collect(),
        caches: if given.exclude_caches { CacheDirectories::Exclude } else { CacheDirectories::Keep },
        if_present: given.exclude_if_present.iter().map(Into::into).collect(),
        larger_than_bytes: given.exclude_larger_than,
        nodump: if given.exclude_nodump { NoDumpFlag::Honour } else { NoDumpFlag::Ignore },
    };
    options
}
