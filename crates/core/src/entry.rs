//! Entries: what one name in a backed-up tree is, without its content.
//!
//! Order is *path order*: component by component, bytes unsigned, a directory directly before its
//! subtree. It equals the byte order of the path with every `/` read as 0, which no name can hold.

use crate::display::display_bytes;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// A relative path of raw bytes: non-empty components joined by `/`, none of them `.` or `..`, no
/// NUL. The empty path is the root itself.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Longest path, bytes.
    pub const LEN_MAX: usize = 64 * 1024 - 1;

    /// Validates `bytes`; see the type.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        let legal = bytes.len() <= Self::LEN_MAX
            && (bytes.is_empty()
                || bytes.split(|&b| b == b'/').all(|c| !c.is_empty() && c != b"." && c != b".." && !c.contains(&0)));
        if legal {
            Ok(Self(bytes))
        } else {
            let shown = display_bytes(&bytes).to_string();
            Err(Error::new(ErrorKind::Invalid, "path", "not a legal entry path").with("path", shown))
        }
    }

    /// The root: the empty path.
    pub fn root() -> Self {
        Self::default()
    }
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// The raw bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }
    /// The path without its last component; `None` for the root.
    pub fn parent(&self) -> Option<EntryPath> {
        if self.0.is_empty() {
            return None;
        }
        let cut = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0.get(..cut).unwrap_or_default().to_vec()))
    }
    /// This path followed by `name`.
    ///
    /// # Errors
    /// `Invalid` if `name` is not one legal component.
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        if !self.0.is_empty() {
            bytes.extend_from_slice(&self.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }
    /// Whether `self` is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &EntryPath) -> bool {
        is_within_path_bytes(&self.0, &ancestor.0)
    }
    /// What is left of `self` below `ancestor`; `None` outside it.
    pub fn strip(&self, ancestor: &EntryPath) -> Option<EntryPath> {
        if !self.is_within(ancestor) {
            return None;
        }
        let rest = self.0.strip_prefix(ancestor.0.as_slice())?;
        Some(Self(rest.strip_prefix(b"/").unwrap_or(rest).to_vec()))
    }
    /// This path, relative to `ancestor`, from the root: what [`Self::strip`] made shorter.
    ///
    /// # Errors
    /// `Invalid` if both together are too long.
    pub fn below(&self, ancestor: &EntryPath) -> Result<Self> {
        match (ancestor.0.as_slice(), self.0.as_slice()) {
            ([], path) | (path, []) => Self::new(path),
            (above, below) => Self::new([above, below].join(&b'/')),
        }
    }
    /// Number of components; 0 for the root.
    pub fn depth(&self) -> usize {
        if self.0.is_empty() { 0 } else { 1 + self.0.iter().filter(|&&b| b == b'/').count() }
    }
}

/// Compares two raw paths in path order.
pub fn cmp_path_bytes(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let rank = |p: &[u8]| p.get(common).map_or(-1, |&c| if c == b'/' { 0 } else { i32::from(c) });
    rank(a).cmp(&rank(b))
}

/// [`EntryPath::is_within`] of raw paths.
pub fn is_within_path_bytes(path: &[u8], ancestor: &[u8]) -> bool {
    match path.strip_prefix(ancestor) {
        Some([]) => true,
        Some(rest) => ancestor.is_empty() || rest.first() == Some(&b'/'),
        None => false,
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_path_bytes(&self.0, &other.0)
    }
}
impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl TryFrom<Vec<u8>> for EntryPath {
    type Error = Error;
    fn try_from(bytes: Vec<u8>) -> Result<Self> {
        Self::new(bytes)
    }
}
impl From<EntryPath> for Vec<u8> {
    fn from(path: EntryPath) -> Self {
        path.0
    }
}
impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", display_bytes(&self.0))
    }
}
impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", display_bytes(&self.0))
    }
}

/// A moment: seconds and nanoseconds since the Unix epoch; seconds may be negative, nanoseconds are
/// `0..1_000_000_000` and always count forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, floored.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, `0..1_000_000_000`.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// From Unix milliseconds.
    pub fn from_millis(ms: i64) -> Self {
        Self { seconds: ms.div_euclid(1000), nanoseconds: (ms.rem_euclid(1000) * 1_000_000) as u32 }
    }
    /// The last multiple of `step_ns` nanoseconds that is not later; 0 and 1 leave it. Out of range it stays as it is.
    #[must_use]
    pub fn cut_to(self, step_ns: u64) -> Self {
        let nanoseconds = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds);
        let cut = nanoseconds - nanoseconds.rem_euclid(i128::from(step_ns.max(1)));
        match i64::try_from(cut.div_euclid(1_000_000_000)) {
            Ok(seconds) => Self { seconds, nanoseconds: cut.rem_euclid(1_000_000_000) as u32 },
            Err(_) => self,
        }
    }
    /// Unix milliseconds, floored; saturating.
    pub fn as_millis(&self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanoseconds / 1_000_000))
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Self {
        // jiff counts the fraction towards zero, this type forward.
        let fraction = time.subsec_nanosecond();
        let borrow = i32::from(fraction < 0);
        let nanoseconds = (fraction + borrow * 1_000_000_000) as u32;
        Self { seconds: time.as_second() - i64::from(borrow), nanoseconds }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC where representable, `@seconds.nanoseconds` elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::new(self.seconds, self.nanoseconds as i32) {
            Ok(t) => t.fmt(f),
            Err(_) => write!(f, "@{}.{:09}", self.seconds, self.nanoseconds),
        }
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file of `size` bytes.
    File {
        /// Length of the content, bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link holding `target`, raw bytes, never followed.
    Symlink {
        /// What the link holds.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl EntryKind {
    /// One letter as `ls -l` shows it.
    pub fn letter(&self) -> char {
        match self {
            Self::File { .. } => '-',
            Self::Directory => 'd',
            Self::Symlink { .. } => 'l',
            Self::Fifo => 'p',
            Self::CharDevice { .. } => 'c',
            Self::BlockDevice { .. } => 'b',
        }
    }
    /// Length of the content, bytes; 0 for what has none.
    pub fn size(&self) -> u64 {
        if let Self::File { size } = self { *size } else { 0 }
    }
}

/// One extended attribute: name and value, raw bytes. POSIX ACLs are the attributes
/// `system.posix_acl_access` and `system.posix_acl_default`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// Full name with its namespace.
    pub name: Vec<u8>,
    /// Value as the kernel gives it.
    pub value: Vec<u8>,
}

/// The attributes a tree records. Equal trees have equal metadata: nothing here changes by being
/// read, copied to another disk or backed up (no atime, ctime, inode or device number).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Permission bits, set-id and sticky: `mode & 0o7777`.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Owner's name where known; empty otherwise.
    pub user: std::sync::Arc<str>,
    /// Group's name where known; empty otherwise.
    pub group: std::sync::Arc<str>,
    /// Last modification.
    pub mtime: Timestamp,
    /// Birth time where the kernel tells.
    pub birth: Option<Timestamp>,
    /// Inode flags (`FS_IOC_GETFLAGS`), only those a user can set; 0 for none.
    pub flags: u32,
    /// Sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Set on every member of a hard-link group: what they have in common and no other group of the snapshot has. The path of
    /// the group's first member when it was first stored, or, if another group has that, any other.
    pub link_group: Option<EntryPath>,
}

/// What tells a later scan that content is the same without reading it. Kept in a local cache, never in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub inode: u64,
    /// Last inode change, Unix nanoseconds.
    pub ctime_ns: i64,
    /// Number of names this inode has.
    pub links: u32,
}

/// One name in a tree with all its attributes, without content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Its attributes.
    pub meta: Metadata,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::new(text.as_bytes()).expect("legal")
    }

    #[test]
    fn path_order_keeps_a_directory_before_its_subtree_and_the_subtree_together() {
        let mut names = ["a-b", "a/b", "a", "a/b/c", "a!", "b", ""].map(path);
        names.sort();
        assert_eq!(names.map(|p| p.to_string()), ["", "a", "a/b", "a/b/c", "a!", "a-b", "b"]);
    }

    #[test]
    fn illegal_paths_are_refused() {
        for bad in ["/", "/a", "a/", "a//b", ".", "a/../b", "a\0b"] {
            assert!(EntryPath::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn strip_respects_component_borders() {
        assert_eq!(path("a/b/c").strip(&path("a/b")), Some(path("c")));
        assert_eq!(path("a/bc").strip(&path("a/b")), None);
        assert_eq!(path("a/b").strip(&path("")), Some(path("a/b")));
        for (whole, above, below) in [("a/b/c", "a/b", "c"), ("a/b", "", "a/b"), ("a/b", "a/b", ""), ("", "", "")] {
            assert_eq!(path(below).below(&path(above)).expect("short"), path(whole));
            assert_eq!(path(whole).strip(&path(above)), Some(path(below)));
        }
    }

    #[test]
    fn times_before_1970_count_forward() {
        let t = Timestamp::from_millis(-1);
        assert_eq!((t.seconds, t.nanoseconds, t.as_millis()), (-1, 999_000_000, -1));
    }
}
