//! Files of this machine as source and target (feature `fs`). Without the feature the same calls say
//! that this program was built without it.

use crate::args::ExcludeArgs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Paths to back up, and what of them stays out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    /// These must exist.
    pub(crate) required: Vec<PathBuf>,
    /// These are reported if they do not.
    pub(crate) optional: Vec<PathBuf>,
    /// Where relative paths begin.
    pub(crate) directory: PathBuf,
    /// What stays out.
    pub(crate) exclude: ExcludeArgs,
}

impl Paths {
    /// Takes a link to a directory for what it points to if it is written with a slash at its end, as `LINK/`; of others
    /// `warn` is told that only the link itself is backed up.
    pub(crate) fn follow_links(&mut self, warn: &dyn Fn(String)) {
        for path in self.required.iter_mut().chain(&mut self.optional) {
            let full = self.directory.join(&*path);
            // Without the slash, which would ask about what it points to.
            let link: PathBuf = full.components().collect();
            let Ok(real) = full.canonicalize() else { continue };
            if !link.is_symlink() || !real.is_dir() {
                continue;
            }
            if path.as_os_str().as_bytes().ends_with(b"/") {
                *path = real;
                continue;
            }
            warn(format!(
                "{} is a symbolic link to a directory: only the link itself is backed up. Write {0}/ for what it points to, {}",
                path.display(),
                real.display()
            ));
        }
    }

    /// The exclude rules as lines, for the snapshot's manifest.
    pub(crate) fn rules(&self) -> Vec<String> {
        let exclude = &self.exclude;
        let mut lines = exclude.exclude.clone();
        lines.extend(exclude.iexclude.iter().map(|pattern| format!("(any case) {pattern}")));
        lines.extend(exclude.exclude_file.iter().map(|file| format!("(file) {}", file.display())));
        lines.extend(exclude.ignore_file.iter().map(|name| format!("(ignore files) {name}")));
        lines.extend(exclude.exclude_if_present.iter().map(|name| format!("(if present) {name}")));
        lines.extend(exclude.exclude_larger_than.map(|bytes| format!("(larger than) {bytes}")));
        for (on, line) in [
            (exclude.exclude_caches, "(caches)"),
            (exclude.exclude_nodump, "(no dump)"),
            (exclude.one_file_system, "(other file systems)"),
        ] {
            lines.extend(on.then(|| line.to_owned()));
        }
        lines
    }
}

#[cfg(feature = "fs")]
pub(crate) use present::{
    explain, missing_directories, place_in, refuse_foreign, register, remove_made, source, target,
};

#[cfg(not(feature = "fs"))]
pub(crate) use absent::{
    explain, missing_directories, place_in, refuse_foreign, register, remove_made, source, target,
};

/// What is restored to the target's own directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Top {
    /// A directory, whose attributes it gets if it is made.
    Directory,
    /// What goes into it.
    Entries,
}

/// Who owns what is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// The recorded numbers.
    Ids,
    /// The recorded names where this system knows them, else the numbers.
    Names,
    /// Whoever runs the restore.
    Keep,
}

#[cfg(feature = "fs")]
#[path = "local_fs.rs"]
mod present;

#[cfg(not(feature = "fs"))]
mod absent {
    use super::{Owners, Paths, Top};
    use decube_backup_core::{Error, ErrorKind, Registry, Result, Source, Target};
    use std::path::{Path, PathBuf};

    pub(crate) fn register(_: &mut Registry) -> Result<()> {
        Ok(())
    }

    pub(crate) fn source(paths: &Paths) -> Result<Box<dyn Source>> {
        let first = paths.required.iter().chain(&paths.optional).next();
        Err(unsupported(&paths.directory.join(first.unwrap_or(&PathBuf::new()))))
    }

    pub(crate) fn target(path: &Path, _: Owners, _: Top) -> Result<Box<dyn Target>> {
        Err(unsupported(path))
    }

    pub(crate) fn explain(paths: &Paths, asked: &[PathBuf]) -> Result<Vec<super::Explained>> {
        asked.iter().map(|path| Err(unsupported(&paths.directory.join(path)))).collect()
    }

    pub(crate) fn place_in(_: &Path, _: &Path) -> Option<PathBuf> {
        None
    }

    pub(crate) fn missing_directories(_: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    pub(crate) fn refuse_foreign(_: &Path) -> Result<()> {
        Ok(())
    }

    pub(crate) fn remove_made(_: &[PathBuf]) {}

    fn unsupported(path: &Path) -> Error {
        let message = "this program was built without files of this machine (feature fs)";
        Error::new(ErrorKind::Unsupported, "start", message).with("path", path.display())
    }
}

/// Whether a path is backed up, and why.
#[derive(Clone, Debug)]
pub(crate) struct Explained {
    /// The path as given.
    pub(crate) path: PathBuf,
    /// `included`, `excluded`, `outside` or `missing`.
    pub(crate) verdict: &'static str,
    /// In words.
    pub(crate) reason: String,
}
