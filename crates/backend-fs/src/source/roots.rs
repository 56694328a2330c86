//! The roots of a scan and the directories above them.

use crate::at::split;
use crate::attributes::STAT_MASK;
use crate::source::describe::{self, Names};
use crate::source::exclude::{Pattern, Scope, Verdict};
use crate::source::read::problem;
use crate::source::schedule::{Directory, Slice};
use crate::source::{MissingRoots, Shared};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::source::ScanItem;
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// `path` made absolute at `cwd`, without `.`, `..` resolved as the file system means it: symlinks on
/// the way are followed, a symlink at the end is itself the root.
pub(crate) fn resolve(cwd: &Path, path: &Path) -> PathBuf {
    let joined = cwd.join(path);
    match joined.components().next_back() {
        Some(Component::Normal(name)) => {
            let parent = joined.parent().unwrap_or(Path::new("/"));
            parent.canonicalize().unwrap_or_else(|_| lexical(parent)).join(name)
        }
        // It ends in `..` or is `/`: it names a directory.
        _ => joined.canonicalize().unwrap_or_else(|_| lexical(&joined)),
    }
}

/// `.` and `..` taken away by name, for what does not exist.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// The entry path of an absolute one.
pub(crate) fn entry_path(path: &Path) -> Result<EntryPath> {
    let bytes = path.as_os_str().as_bytes();
    EntryPath::new(bytes.strip_prefix(b"/").unwrap_or(bytes))
}

/// The roots in path order, each once, and apart from them those that lie in another one.
pub(crate) fn outermost(mut roots: Vec<EntryPath>) -> (Vec<EntryPath>, Vec<EntryPath>) {
    roots.sort();
    roots.dedup();
    let (mut kept, mut inner): (Vec<EntryPath>, Vec<EntryPath>) = (Vec::new(), Vec::new());
    for root in roots {
        // Path order puts a root's subtree right behind it.
        let is_inner = kept.last().is_some_and(|last| root.is_within(last));
        if is_inner { &mut inner } else { &mut kept }.push(root);
    }
    (kept, inner)
}

impl Shared {
    /// One entry without following it.
    pub(crate) fn stat(&self, path: &EntryPath) -> rustix::io::Result<Statx> {
        let (parent, name) = self.root.open_parent(path.as_bytes())?;
        if name.is_empty() {
            return rustix::fs::statx(&parent, "", AtFlags::EMPTY_PATH, STAT_MASK);
        }
        rustix::fs::statx(&parent, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK)
    }

    /// The first slice: every root and every directory above one, in path order.
    pub(crate) fn roots_slice(&self) -> Result<Slice> {
        let mut listed: BTreeMap<EntryPath, bool> = BTreeMap::new();
        for root in &self.roots {
            listed.insert(root.clone(), true);
            let mut above = root.parent();
            while let Some(path) = above.filter(|p| !p.is_root()) {
                above = path.parent();
                listed.entry(path).or_insert(false);
            }
        }
        let mut slice = Slice::default();
        let mut names = Names::default();
        for (path, is_root) in listed {
            let (child, item) = self.root_item(&path, is_root, &mut names)?;
            slice.children.extend(child.map(|child| (slice.items.len(), child)));
            slice.items.extend(item);
            if is_root {
                for inner in self.inner_roots.iter().filter(|inner| inner.is_within(&path)) {
                    slice.items.extend(self.not_walked(inner)?);
                }
            }
        }
        Ok(slice)
    }

    /// Why the walk of the root above it does not come to the root `inner`, if so.
    fn not_walked(&self, inner: &EntryPath) -> Result<Option<ScanItem>> {
        if let Err(e) = self.stat(inner) {
            return self.missing(inner, e).map(Some);
        }
        // What cannot be told here the walk reports itself.
        let why = self.explain(inner).ok().filter(|explanation| explanation.verdict == Verdict::Excluded);
        Ok(why.map(|why| {
            let message = format!("this source lies in another one, where it is {why}");
            ScanItem::Problem(Problem::new(ProblemKind::MissingSource, inner.as_bytes(), message))
        }))
    }

    fn missing(&self, root: &EntryPath, errno: Errno) -> Result<ScanItem> {
        if self.options.missing_roots == MissingRoots::Fail {
            return Err(Error::io("scan", "cannot find the source", errno.into())
                .with("path", format_args!("/{root}"))
                .with_hint("check the path, or declare the source optional"));
        }
        let message = format!("source is missing: {errno}");
        Ok(ScanItem::Problem(Problem::new(ProblemKind::MissingSource, root.as_bytes(), message)))
    }

    /// A root, or a directory above one, and what is to be read below it.
    fn root_item(
        &self,
        path: &EntryPath,
        is_root: bool,
        names: &mut Names,
    ) -> Result<(Option<Directory>, Option<ScanItem>)> {
        let shown = path.as_bytes();
        let stat = match self.stat(path) {
            Ok(stat) => stat,
            Err(e) if is_root => return Ok((None, Some(self.missing(path, e)?))),
            // The roots below it are missing, and say so.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok((None, None)),
            Err(e) => return Ok((None, Some(problem(shown, "cannot stat", e)))),
        };
        let link = || {
            let (parent, name) = self.root.open_parent(shown)?;
            rustix::fs::readlinkat(parent.as_fd(), name, Vec::new()).map(|target| target.into_bytes())
        };
        let kind = match describe::kind(&stat, link) {
            Ok(Some(kind)) => kind,
            Ok(None) => {
                let skipped = Problem::new(ProblemKind::Skipped, shown, "sockets are not backed up");
                return Ok((None, Some(ScanItem::Problem(skipped))));
            }
            Err(e) => return Ok((None, Some(problem(shown, "cannot read symlink", e)))),
        };
        let child = if is_root && describe::file_type(&stat) == FileType::Directory {
            Some(Directory { path: path.clone(), scope: self.scope_of_root(path)? })
        } else {
            None
        };
        Ok((child, Some(ScanItem::Entry(describe::scanned(path.clone(), kind, &stat, names)))))
    }

    /// The scope at a root.
    pub(crate) fn scope_of_root(&self, root: &EntryPath) -> Result<Scope> {
        let base = PathBuf::from(std::ffi::OsString::from_vec(super::absolute(root.as_bytes())));
        Scope::new(&base, &self.patterns)
    }

    /// The root `path` lies in.
    pub(crate) fn root_of(&self, path: &EntryPath) -> Option<&EntryPath> {
        self.roots.iter().find(|root| path.is_within(root))
    }
}

/// Reads the pattern files of the options.
pub(crate) fn read_patterns(cwd: &Path, given: &[Pattern], files: &[PathBuf]) -> Result<Vec<Pattern>> {
    let mut patterns = given.to_vec();
    for file in files {
        let file = cwd.join(file);
        let content = read_all(&file)
            .map_err(|e| Error::io("exclude", "cannot read exclude file", e.into()).with("file", file.display()))?;
        patterns.extend(super::exclude::lines_of(&file, &content)?);
    }
    Ok(patterns)
}

fn read_all(file: &Path) -> rustix::io::Result<Vec<u8>> {
    let fd = rustix::fs::openat(CWD, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut content = Vec::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match rustix::io::read(&fd, piece.as_mut_slice())? {
            0 => return Ok(content),
            n => content.extend_from_slice(piece.get(..n).unwrap_or_default()),
        }
    }
}

/// The last component of an absolute path, for messages about it.
pub(crate) fn name_of(path: &EntryPath) -> &OsStr {
    OsStr::from_bytes(split(path.as_bytes()).1)
}

/// Fails where the options make no sense together.
pub(crate) fn check(roots: &[PathBuf]) -> Result<()> {
    if roots.is_empty() {
        let error = Error::new(ErrorKind::Invalid, "source", "no path to back up is given");
        return Err(error.with_hint("name at least one file or directory"));
    }
    Ok(())
}
