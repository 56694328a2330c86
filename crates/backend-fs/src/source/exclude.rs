//! Which entries stay out of a backup, and why.
//!
//! Patterns have git's meaning ([`gitignore`], crate `ignore`): the last matching line wins, `!` takes back, a
//! trailing `/` means directories only, a `/` inside anchors. What lies below an excluded directory
//! cannot be taken back. Lines given by option or file count as a `.gitignore` in every root and win
//! over the ignore files found in the tree, the deepest of which comes first. A line that begins with
//! a root's own absolute path is anchored there: `--exclude /home/u/cache` means what it says.

use decube_backup_core::display::display_bytes;
use decube_backup_core::gitignore::{self, Line};
use decube_backup_core::monitor::Problem;
use decube_backup_core::{Error, ErrorKind, Result};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a pattern was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Given directly, by option or configuration.
    Option,
    /// A line of a file; lines count from 1.
    File {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
    },
}

/// Whether a pattern's letters match the other case too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Case {
    /// Only as written.
    #[default]
    Sensitive,
    /// Upper and lower case are the same.
    Insensitive,
}

/// One pattern line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The line, git's syntax.
    pub text: String,
    /// Where it was written.
    pub origin: Origin,
    /// How letters match.
    pub case: Case,
}

impl Pattern {
    /// A case-sensitive pattern given by option.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), origin: Origin::Option, case: Case::Sensitive }
    }
}

/// What to do with directories marked by a `CACHEDIR.TAG` (<https://bford.info/cachedir/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheDirectories {
    /// Back them up.
    #[default]
    Keep,
    /// Keep the directory and the tag, leave out the rest.
    Exclude,
}

/// What to do with entries that carry the *no dump* inode flag (`chattr +d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NoDumpFlag {
    /// Back them up.
    #[default]
    Ignore,
    /// Leave them out.
    Honour,
}

/// What stays out.
#[derive(Clone, Debug, Default)]
pub struct ExcludeOptions {
    /// Pattern lines in order; later ones win.
    pub patterns: Vec<Pattern>,
    /// Files of pattern lines, read when the source is made; they come after `patterns`.
    pub files: Vec<PathBuf>,
    /// Names of per-directory ignore files to honour, such as `.gitignore`; later names win.
    pub ignore_files: Vec<OsString>,
    /// Directories marked as caches.
    pub caches: CacheDirectories,
    /// Names whose presence in a directory leaves out all but the directory and that name.
    pub if_present: Vec<OsString>,
    /// Files of more bytes are left out.
    pub larger_than_bytes: Option<u64>,
    /// Entries flagged *no dump*.
    pub nodump: NoDumpFlag,
}

/// Why an entry stays out, or stays in against another rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A pattern line.
    Pattern(Pattern),
    /// Its directory holds a `CACHEDIR.TAG`.
    CacheDirectory,
    /// Its directory holds this name.
    Present(OsString),
    /// It lies on a file system no root is on.
    OtherFileSystem,
    /// It carries the *no dump* flag.
    NoDump,
    /// It has more bytes than this.
    LargerThan(u64),
    /// It is a socket: nothing of it can be given back.
    Socket,
}

/// What happens to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is backed up.
    Included,
    /// It is left out.
    Excluded,
    /// It is below no root.
    OutsideRoots,
}

/// The answer to "why is this path (not) backed up?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What happens to the path.
    pub verdict: Verdict,
    /// Where it was decided: the path itself or the ancestor that is left out.
    pub decided_at: PathBuf,
    /// The rule that decided; `None` if none speaks about the path.
    pub rule: Option<Rule>,
    /// The ignore files on the way whose lines are not applied, and why.
    pub unusable: Vec<Problem>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(Pattern { text, origin: Origin::Option, .. }) => {
                write!(f, "pattern {text:?} given by option")
            }
            Self::Pattern(Pattern { text, origin: Origin::File { file, line }, .. }) => {
                write!(f, "pattern {text:?} in {}:{line}", file.display())
            }
            Self::CacheDirectory => write!(f, "its directory is marked by a CACHEDIR.TAG"),
            Self::Present(name) => write!(f, "its directory holds {}", name.display()),
            Self::OtherFileSystem => write!(f, "it lies on another file system"),
            Self::NoDump => write!(f, "it has the no-dump flag"),
            Self::Socket => write!(f, "it is a socket, of which nothing can be given back"),
            Self::LargerThan(bytes) => write!(f, "it is larger than {bytes} bytes"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = display_bytes(self.decided_at.as_os_str().as_bytes());
        match (self.verdict, &self.rule) {
            (Verdict::OutsideRoots, _) => write!(f, "not backed up: {at} is below none of the sources"),
            (Verdict::Excluded, Some(rule)) => write!(f, "excluded at {at}: {rule}"),
            (Verdict::Excluded, None) => write!(f, "excluded at {at}"),
            (Verdict::Included, Some(rule)) => write!(f, "included at {at}: {rule}"),
            (Verdict::Included, None) => write!(f, "included: no rule excludes {at}"),
        }?;
        self.unusable
            .iter()
            .try_for_each(|problem| write!(f, "; of /{}: {}", display_bytes(&problem.path), problem.message))
    }
}

/// What becomes of a line that is most likely a mistake, such as `[z-a]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubtful {
    /// It is refused: whoever wrote it is there to be told.
    Refused,
    /// It means what git takes it for: one line of a file found in the tree does not cost the others.
    AsGit,
}

/// Compiled lines that share a base directory.
#[derive(Debug)]
pub(crate) struct Lines {
    matcher: Gitignore,
    patterns: Vec<Pattern>,
}

impl Lines {
    fn compile(base: &Path, patterns: &[Pattern], doubtful: Doubtful) -> Result<Self> {
        let mut builder = GitignoreBuilder::new(base);
        for (index, pattern) in patterns.iter().enumerate() {
            let text = match gitignore::line(&anchored_below(base, &pattern.text)) {
                Line::Backwards(_) if doubtful == Doubtful::Refused => return Err(backwards(pattern)),
                Line::Pattern(text) | Line::Backwards(text) => text,
                Line::Nothing => continue,
            };
            let case = builder.case_insensitive(pattern.case == Case::Insensitive).map(|_| ());
            // The "file" the library is told is the line's place in `patterns`: a match leads back to it.
            let added = case.and_then(|()| builder.add_line(Some(PathBuf::from(index.to_string())), &text).map(|_| ()));
            added.map_err(|e| invalid(pattern, e))?;
        }
        let matcher = builder.build().map_err(|e| {
            Error::new(ErrorKind::Invalid, "exclude", "cannot combine the exclude patterns").with_source(e)
        })?;
        Ok(Self { matcher, patterns: patterns.to_vec() })
    }

    fn matched(&self, path: &Path, directory: bool) -> Option<(Verdict, &Pattern)> {
        if self.patterns.is_empty() {
            return None;
        }
        let (verdict, glob) = match self.matcher.matched(path, directory) {
            Match::None => return None,
            Match::Ignore(glob) => (Verdict::Excluded, glob),
            Match::Whitelist(glob) => (Verdict::Included, glob),
        };
        let index: usize = glob.from()?.to_str()?.parse().ok()?;
        Some((verdict, self.patterns.get(index)?))
    }
}

/// The lines that hold in one directory: the root's, and those of ignore files from here upwards.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    given: Arc<Lines>,
    found: Option<Arc<Found>>,
}

#[derive(Debug)]
struct Found {
    lines: Lines,
    /// Of these lines and the outer ones.
    weight: Weight,
    outer: Option<Arc<Found>>,
}

/// What lines of ignore files take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    pub lines: usize,
    /// Bytes of lines that are no plain names.
    pub wildcard_bytes: usize,
}

impl Weight {
    /// This and what `patterns` take.
    pub(crate) fn with(self, patterns: &[Pattern]) -> Self {
        let wild = patterns.iter().filter(|line| line.text.contains(['*', '?', '[', '\\', '{', '}']));
        let wildcard_bytes = self.wildcard_bytes + wild.map(|line| line.text.len()).sum::<usize>();
        Self { lines: self.lines + patterns.len(), wildcard_bytes }
    }
}

impl Scope {
    /// The scope of the root `base`.
    pub(crate) fn new(base: &Path, patterns: &[Pattern]) -> Result<Self> {
        Ok(Self { given: Arc::new(Lines::compile(base, patterns, Doubtful::Refused)?), found: None })
    }

    /// Whether no line holds.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.patterns.is_empty() && self.found.is_none()
    }

    /// Of all lines of ignore files that hold.
    pub(crate) fn weight(&self) -> Weight {
        self.found.as_ref().map(|found| found.weight).unwrap_or_default()
    }

    /// This scope with the lines of ignore files in `directory`.
    pub(crate) fn with_found(&self, directory: &Path, patterns: &[Pattern]) -> Result<Self> {
        let lines = Lines::compile(directory, patterns, Doubtful::AsGit)?;
        let found = Found { lines, weight: self.weight().with(patterns), outer: self.found.clone() };
        Ok(Self { given: self.given.clone(), found: Some(Arc::new(found)) })
    }

    /// The line that decides about the absolute `path`, if any.
    pub(crate) fn matched(&self, path: &Path, directory: bool) -> Option<(Verdict, &Pattern)> {
        if let Some(decided) = self.given.matched(path, directory) {
            return Some(decided);
        }
        let mut found = self.found.as_ref();
        while let Some(at) = found {
            if let Some(decided) = at.lines.matched(path, directory) {
                return Some(decided);
            }
            found = at.outer.as_ref();
        }
        None
    }
}

/// Pattern lines of a file's content.
pub(crate) fn lines_of(file: &Path, content: &[u8]) -> Result<Vec<Pattern>> {
    let mut patterns = Vec::new();
    for (index, line) in content.split(|&b| b == b'\n').enumerate() {
        let origin = Origin::File { file: file.to_owned(), line: index + 1 };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if index == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        let text = std::str::from_utf8(line).map_err(|e| {
            let message = "exclude pattern is not UTF-8";
            Error::new(ErrorKind::Invalid, "exclude", message)
                .with("file", file.display())
                .with("line", index + 1)
                .with_source(e)
        })?;
        if !text.is_empty() && !text.starts_with('#') {
            patterns.push(Pattern { text: text.to_owned(), origin, case: Case::Sensitive });
        }
    }
    Ok(patterns)
}

/// `text` with the absolute path of `base` at its start taken off, leaving it anchored.
fn anchored_below(base: &Path, text: &str) -> String {
    let (not, rest) = text.strip_prefix('!').map_or(("", text), |rest| ("!", rest));
    let base = base.to_str().filter(|b| *b != "/").and_then(|b| rest.strip_prefix(b));
    match base {
        Some(below) if below.starts_with('/') => format!("{not}{below}"),
        _ => text.to_owned(),
    }
}

fn invalid(pattern: &Pattern, source: ignore::Error) -> Error {
    refused(pattern, "invalid exclude pattern").with_source(source)
}

fn backwards(pattern: &Pattern) -> Error {
    refused(pattern, "invalid exclude pattern: a range in brackets runs backwards")
}

fn refused(pattern: &Pattern, message: &'static str) -> Error {
    let error = Error::new(ErrorKind::Invalid, "exclude", message).with("pattern", &pattern.text);
    match &pattern.origin {
        Origin::Option => error,
        Origin::File { file, line } => error.with("file", file.display()).with("line", line),
    }
}
