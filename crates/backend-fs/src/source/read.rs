//! Reading one directory: names, one `statx` each, exclusion.

use crate::at::open_quietly;
use crate::attributes::STAT_MASK;
use crate::source::describe::{self, Names};
use crate::source::exclude::{CacheDirectories, NoDumpFlag, Rule, Scope, Verdict, lines_of};
use crate::source::names::{DirectoryNames, DirectoryReader};
use crate::source::schedule::{Directory, Rest, Slice};
use crate::source::{Shared, absolute};
use decube_backup_core::limits::BATCH_ENTRIES_MAX;
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::source::ScanItem;
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxAttributes};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How a cache directory tag begins. Source: <https://bford.info/cachedir/>.
const CACHE_TAG_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";
/// Largest ignore file that is read, bytes.
const IGNORE_FILE_BYTES_MAX: usize = 1 << 20;
/// Lines of it and of those in the directories above together; anybody may have written them, and each takes up to a KiB of
/// memory.
const IGNORE_LINES_MAX: usize = 50_000;
/// Bytes of those lines that are no plain names; each takes up to 600 bytes while they are made into a matcher.
const WILDCARD_BYTES_MAX: usize = 64 << 10;

/// Reads directories one after the other on one thread.
pub(crate) struct Reader<'a> {
    shared: &'a Shared,
    names: Names,
    directory_reader: DirectoryReader,
    // The names of the last directory that was read to its end, kept for their buffers.
    spare: DirectoryNames,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(shared: &'a Shared, names: Names) -> Self {
        Self { shared, names, directory_reader: DirectoryReader::default(), spare: DirectoryNames::default() }
    }

    /// Reads at most one batch of `directory`, from the start or on from `rest`.
    pub(crate) fn read(&mut self, directory: &Directory, rest: Option<Rest>, stopped: &dyn Fn() -> bool) -> Slice {
        let mut slice = Slice::default();
        let fd = match self.shared.open_directory(&directory.path) {
            Ok(fd) => fd,
            Err(e) => {
                slice.items.push(problem(directory.path.as_bytes(), "cannot open directory", e));
                return slice;
            }
        };
        let mut rest = match rest {
            Some(rest) => rest,
            None => self.begin(directory, &fd, &mut slice),
        };
        slice.items.reserve(rest.names.len().saturating_sub(rest.next).min(BATCH_ENTRIES_MAX));
        let parent = directory.path.as_bytes();
        let mut path = absolute(parent);
        if !parent.is_empty() {
            path.push(b'/');
        }
        let prefix = path.len();
        while let Some((name, kind)) = rest.names.at(rest.next) {
            if slice.items.len() >= BATCH_ENTRIES_MAX || (rest.next % 128 == 127 && stopped()) {
                slice.rest = Some(rest);
                return slice;
            }
            rest.next += 1;
            if rest.only.as_deref().is_none_or(|only| only == name.to_bytes()) {
                path.truncate(prefix);
                path.extend_from_slice(name.to_bytes());
                self.visit(&fd, name, kind, &path, &rest.scope, &mut slice);
            }
        }
        self.spare = rest.names;
        slice
    }

    fn begin(&mut self, directory: &Directory, fd: &OwnedFd, slice: &mut Slice) -> Rest {
        let mut names = std::mem::take(&mut self.spare);
        if let Err(e) = self.directory_reader.read(fd, &mut names) {
            slice.items.push(problem(directory.path.as_bytes(), "cannot list directory", e));
        }
        let only = self.shared.marked(fd, &names).map(|(name, _)| name);
        let (scope, unusable) = self.shared.scope_in(directory, fd, &names);
        slice.items.extend(unusable.into_iter().map(ScanItem::Problem));
        Rest { names, next: 0, scope, only }
    }

    fn visit(&mut self, fd: &OwnedFd, name: &CStr, kind: FileType, path: &[u8], scope: &Scope, slice: &mut Slice) {
        let excluded = |directory| {
            let path = Path::new(OsStr::from_bytes(path));
            matches!(scope.matched(path, directory), Some((Verdict::Excluded, _)))
        };
        let known = kind != FileType::Unknown;
        if known && !scope.is_empty() && excluded(kind == FileType::Directory) {
            return;
        }
        let relative = path.get(1..).unwrap_or_default();
        let stat = match rustix::fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK) {
            Ok(stat) => stat,
            Err(e) => return slice.items.push(problem(relative, "cannot stat", e)),
        };
        let directory = describe::file_type(&stat) == FileType::Directory;
        if (!known && !scope.is_empty() && excluded(directory)) || self.shared.excluded_by(&stat).is_some() {
            return;
        }
        let entry_path = match EntryPath::new(relative) {
            Ok(path) => path,
            Err(e) => {
                let problem = Problem::from_error(ProblemKind::Unreadable, relative, &e);
                return slice.items.push(ScanItem::Problem(problem));
            }
        };
        let link = || rustix::fs::readlinkat(fd, name, Vec::new()).map(|target| target.into_bytes());
        let kind = match describe::kind(&stat, link) {
            Ok(Some(kind)) => kind,
            Ok(None) => {
                let problem = Problem::new(ProblemKind::Skipped, relative, "sockets are not backed up");
                return slice.items.push(ScanItem::Problem(problem));
            }
            Err(e) => return slice.items.push(problem(relative, "cannot read symlink", e)),
        };
        if directory && self.shared.descends(&stat) {
            let child = Directory { path: entry_path.clone(), scope: scope.clone() };
            slice.children.push((slice.items.len(), child));
        }
        slice.items.push(ScanItem::Entry(describe::scanned(entry_path, kind, &stat, &mut self.names)));
    }
}

impl Shared {
    /// Opens a directory to list it.
    pub(crate) fn open_directory(&self, path: &EntryPath) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        open_quietly(|flags| self.root.open(path.as_bytes(), flags, Mode::empty()), flags)
    }

    /// The rule about its attributes that leaves an entry out.
    pub(crate) fn excluded_by(&self, stat: &Statx) -> Option<Rule> {
        let exclude = &self.options.exclude;
        if exclude.nodump == NoDumpFlag::Honour && stat.stx_attributes.contains(StatxAttributes::NODUMP) {
            return Some(Rule::NoDump);
        }
        let kind = describe::file_type(stat);
        if let Some(max) = exclude.larger_than_bytes
            && kind == FileType::RegularFile
            && stat.stx_size > max
        {
            return Some(Rule::LargerThan(max));
        }
        // A directory where another file system begins is kept, as the place to mount it on.
        (kind != FileType::Directory && !self.descends(stat)).then_some(Rule::OtherFileSystem)
    }

    /// Whether the file system `stat` is from belongs to the scan.
    pub(crate) fn descends(&self, stat: &Statx) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(&describe::device(stat)))
    }

    /// The name that marks a directory as one of which only that name is kept.
    pub(crate) fn marked(&self, fd: &OwnedFd, names: &DirectoryNames) -> Option<(Vec<u8>, Rule)> {
        let exclude = &self.options.exclude;
        if exclude.caches == CacheDirectories::Exclude && names.contains(CACHE_TAG_NAME) {
            let tag = read_small(fd, CACHE_TAG_NAME, CACHE_TAG_SIGNATURE.len());
            if tag.is_ok_and(|tag| tag == CACHE_TAG_SIGNATURE) {
                return Some((CACHE_TAG_NAME.to_vec(), Rule::CacheDirectory));
            }
        }
        let present = exclude.if_present.iter().find(|name| names.contains(name.as_bytes()))?;
        Some((present.as_bytes().to_vec(), Rule::Present(present.clone())))
    }

    /// The scope inside `directory`: with the ignore files that are in it. Told are those that cannot be used: to ignore
    /// them backs up more, never less. They are problems of their own, and nothing is missing from the snapshot for them.
    pub(crate) fn scope_in(
        &self,
        directory: &Directory,
        fd: &OwnedFd,
        names: &DirectoryNames,
    ) -> (Scope, Vec<Problem>) {
        let base = PathBuf::from(std::ffi::OsString::from_vec(absolute(directory.path.as_bytes())));
        let (mut scope, mut unusable) = (directory.scope.clone(), Vec::new());
        for name in self.options.exclude.ignore_files.iter().filter(|name| names.contains(name.as_bytes())) {
            match with_ignore_file(&scope, &base, fd, name) {
                Ok(with) => scope = with,
                Err(e) => {
                    let message = format!("its lines are not applied: {}", e.chain());
                    let path = [directory.path.as_bytes(), b"/", name.as_bytes()].concat();
                    unusable.push(Problem::new(ProblemKind::Attribute, path, message));
                }
            }
        }
        (scope, unusable)
    }
}

/// `scope` with the lines of the ignore file `name` in the directory `base`, which is open as `fd`. As for git a directory is none,
/// and a link is not followed.
fn with_ignore_file(scope: &Scope, base: &Path, fd: &OwnedFd, name: &OsStr) -> Result<Scope> {
    let unreadable = |e: Errno| Error::io("scan", "cannot read ignore file", e.into());
    let stat = rustix::fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK).map_err(unreadable)?;
    let special = match describe::file_type(&stat) {
        FileType::RegularFile => None,
        FileType::Directory => return Ok(scope.clone()),
        FileType::Symlink => Some("it is a symbolic link"),
        _ => Some("it is no regular file"),
    };
    if let Some(message) = special {
        return Err(Error::new(ErrorKind::Invalid, "scan", message));
    }
    let content = read_small(fd, name.as_bytes(), IGNORE_FILE_BYTES_MAX + 1).map_err(unreadable)?;
    let refused = |message| Error::new(ErrorKind::Invalid, "scan", message);
    // Its last line would be cut, and mean something else.
    if content.len() > IGNORE_FILE_BYTES_MAX {
        return Err(refused("ignore file is too large").with("bytes_max", IGNORE_FILE_BYTES_MAX));
    }
    let too_many = || refused("ignore files have too many lines here").with("lines_max", IGNORE_LINES_MAX);
    // Before they are taken apart.
    let ends = content.iter().filter(|byte| **byte == b'\n').count();
    if scope.weight().lines + ends > IGNORE_LINES_MAX {
        return Err(too_many());
    }
    let lines = lines_of(&base.join(name), &content)?;
    let weight = scope.weight().with(&lines);
    if weight.lines > IGNORE_LINES_MAX {
        return Err(too_many());
    }
    if weight.wildcard_bytes > WILDCARD_BYTES_MAX {
        let error = refused("the lines of ignore files that have wildcards are too long together here");
        return Err(error.with("bytes_max", WILDCARD_BYTES_MAX));
    }
    if lines.is_empty() { Ok(scope.clone()) } else { scope.with_found(base, &lines) }
}

/// The first `max` bytes of a file in an open directory.
fn read_small(dir: &OwnedFd, name: &[u8], max: usize) -> rustix::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = open_quietly(|flags| rustix::fs::openat(dir, name, flags, Mode::empty()), flags)?;
    let mut content = Vec::new();
    let mut piece = [0; 4096];
    while content.len() < max {
        let want = piece.len().min(max - content.len());
        match rustix::io::read(&fd, piece.get_mut(..want).unwrap_or_default())? {
            0 => break,
            n => content.extend_from_slice(piece.get(..n).unwrap_or_default()),
        }
    }
    Ok(content)
}

/// A problem with `path`; what is gone by now vanished.
pub(crate) fn problem(path: &[u8], message: &str, errno: Errno) -> ScanItem {
    ScanItem::Problem(match errno {
        Errno::NOENT => Problem::new(ProblemKind::Vanished, path, "vanished while its directory was read"),
        e => Problem::new(ProblemKind::Unreadable, path, format!("{message}: {e}")),
    })
}
