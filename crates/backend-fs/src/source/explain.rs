//! Why a path is backed up or not: the scan's decisions, taken again on the way down to it.

use crate::source::exclude::{Explanation, Rule, Verdict};
use crate::source::names::{DirectoryNames, DirectoryReader};
use crate::source::schedule::Directory;
use crate::source::{Shared, absolute, describe, roots};
use decube_backup_core::monitor::Problem;
use decube_backup_core::{EntryPath, Error, Result};
use rustix::fs::FileType;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

impl Shared {
    /// See [`crate::source::FsSource::explain`].
    pub(crate) fn explain(&self, path: &EntryPath) -> Result<Explanation> {
        let mut unusable = Vec::new();
        let (verdict, at, rule) = self.decide(path, &mut unusable)?;
        Ok(Explanation { verdict, decided_at: path_of(&at), rule, unusable })
    }

    /// What happens to `path`, where that is decided, and by which rule; the ignore files on the way that cannot be used are
    /// added to `unusable`.
    fn decide(&self, path: &EntryPath, unusable: &mut Vec<Problem>) -> Result<(Verdict, EntryPath, Option<Rule>)> {
        let decided = |verdict, at: &EntryPath, rule| (verdict, at.clone(), rule);
        let Some(root) = self.root_of(path) else {
            let above = self.roots.iter().any(|root| root.is_within(path) && !path.is_root());
            let verdict = if above { Verdict::Included } else { Verdict::OutsideRoots };
            return Ok(decided(verdict, path, None));
        };
        let mut taken_back = None;
        let mut directory = Directory { path: root.clone(), scope: self.scope_of_root(root)? };
        for step in self.steps(root, path)? {
            let (fd, names) = self.listing(&directory.path)?;
            if let Some((only, rule)) = self.marked(&fd, &names)
                && only != roots::name_of(&step).as_bytes()
            {
                return Ok(decided(Verdict::Excluded, &step, Some(rule)));
            }
            let (scope, problems) = self.scope_in(&directory, &fd, &names);
            unusable.extend(problems);
            let stat = self.stat(&step);
            // A path that is not there yet is judged as the file it would be.
            let is_directory = match &stat {
                Ok(stat) => describe::file_type(stat) == FileType::Directory,
                Err(_) => step != *path,
            };
            match scope.matched(&path_of(&step), is_directory) {
                Some((Verdict::Excluded, pattern)) => {
                    return Ok(decided(Verdict::Excluded, &step, Some(Rule::Pattern(pattern.clone()))));
                }
                Some((_, pattern)) => taken_back = Some((step.clone(), Rule::Pattern(pattern.clone()))),
                None => {}
            }
            if let Ok(stat) = &stat {
                if describe::file_type(stat) == FileType::Socket {
                    return Ok(decided(Verdict::Excluded, &step, Some(Rule::Socket)));
                }
                let beyond = is_directory && step != *path && !self.descends(stat);
                if let Some(rule) = self.excluded_by(stat).or(beyond.then_some(Rule::OtherFileSystem)) {
                    return Ok(decided(Verdict::Excluded, &step, Some(rule)));
                }
            }
            directory = Directory { path: step, scope };
        }
        Ok(match taken_back {
            Some((at, rule)) => decided(Verdict::Included, &at, Some(rule)),
            None => decided(Verdict::Included, path, None),
        })
    }

    /// The paths below `root` down to `path`, which comes last.
    fn steps(&self, root: &EntryPath, path: &EntryPath) -> Result<Vec<EntryPath>> {
        let below = path.strip(root).unwrap_or_default();
        let mut steps = Vec::new();
        let mut at = root.clone();
        for name in below.as_bytes().split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            at = at.join(name)?;
            steps.push(at.clone());
        }
        Ok(steps)
    }

    fn listing(&self, path: &EntryPath) -> Result<(rustix::fd::OwnedFd, DirectoryNames)> {
        let failed = |e: rustix::io::Errno| {
            Error::io("explain", "cannot read directory", e.into()).with("path", format_args!("/{path}"))
        };
        let fd = self.open_directory(path).map_err(failed)?;
        let mut names = DirectoryNames::default();
        DirectoryReader::default().read(&fd, &mut names).map_err(failed)?;
        Ok((fd, names))
    }
}

fn path_of(entry_path: &EntryPath) -> PathBuf {
    Path::new(&OsString::from_vec(absolute(entry_path.as_bytes()))).to_path_buf()
}
