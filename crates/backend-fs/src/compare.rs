//! What differs between two trees: every name, every byte, every attribute.
//!
//! Both trees are scanned in path order and merged, so memory does not grow with their size. Used by
//! tests, demonstrations and recovery drills; it proves a restore instead of trusting it.

use crate::source::{FsSource, SourceOptions};
use decube_backup_core::display::display_bytes;
use decube_backup_core::entry::{Entry, EntryKind, Identity};
use decube_backup_core::monitor::Problem;
use decube_backup_core::source::{Content, Piece, Scan, ScanItem, Scanned, Source};
use decube_backup_core::zeros::is_zero;
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// How content is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Holes {
    /// A hole equals zeros.
    #[default]
    AsZeros,
    /// Holes have to be in the same places; both trees must be on file systems that agree on their size.
    Exact,
}

/// Whether numeric owners have to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Owners {
    /// They have to.
    #[default]
    Compare,
    /// A tree restored by an ordinary user belongs to that user.
    Ignore,
}

/// What counts as a difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompareOptions {
    /// Holes in content.
    pub holes: Holes,
    /// User and group.
    pub owners: Owners,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, relative to both roots.
    pub path: EntryPath,
    /// What, with both values: `mode: 0644, 0600`.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Compares the trees below the directories `a` and `b` (absolute), the directories themselves included.
///
/// Compared are type, mode, owner, size, content, link target, device number, modification time,
/// extended attributes, inode flags and which names share an inode. Sockets are not compared. What
/// cannot be read is a difference.
///
/// # Errors
/// `NotFound` if one of the two is not there.
pub fn compare_trees(a: &Path, b: &Path, options: CompareOptions) -> Result<Vec<Difference>> {
    let (mut a, mut b) = (Side::open(a)?, Side::open(b)?);
    let mut found = Found { options, differences: Vec::new(), forward: Inodes::new(), reverse: Inodes::new() };
    loop {
        let order = match (a.peek(&mut found, "first")?, b.peek(&mut found, "second")?) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => x.cmp(&y),
        };
        match order {
            Ordering::Less => found.add(&a.take()?.0, "only in the first tree"),
            Ordering::Greater => found.add(&b.take()?.0, "only in the second tree"),
            Ordering::Equal => {
                let ((path, x), (_, y)) = (a.take()?, b.take()?);
                found.entries(&path, (&a.source, x), (&b.source, y))?;
            }
        }
    }
    Ok(found.differences)
}

struct Side {
    source: FsSource,
    root: EntryPath,
    scan: Box<dyn Scan>,
    batch: std::vec::IntoIter<ScanItem>,
    next: Option<(EntryPath, Scanned)>,
}

impl Side {
    fn open(path: &Path) -> Result<Self> {
        let source = FsSource::new(SourceOptions::new(vec![path.to_owned()], "/"))?;
        let root = source.roots().first().cloned().unwrap_or_default();
        let scan = source.scan()?;
        Ok(Self { source, root, scan, batch: Vec::new().into_iter(), next: None })
    }

    /// The path of the next entry below the root.
    fn peek(&mut self, found: &mut Found, side: &str) -> Result<Option<EntryPath>> {
        while self.next.is_none() {
            match self.batch.next() {
                Some(ScanItem::Entry(scanned)) => {
                    self.next = scanned.entry.path.strip(&self.root).map(|path| (path, scanned));
                }
                Some(ScanItem::Problem(problem)) => found.problem(&self.root, side, problem),
                None => match futures::executor::block_on(self.scan.next())? {
                    Some(batch) => self.batch = batch.into_iter(),
                    None => return Ok(None),
                },
            }
        }
        Ok(self.next.as_ref().map(|(path, _)| path.clone()))
    }

    fn take(&mut self) -> Result<(EntryPath, Scanned)> {
        self.next.take().ok_or_else(|| Error::new(ErrorKind::Internal, "compare", "nothing to take"))
    }
}

type Inodes = HashMap<(u64, u64), (u64, u64)>;

struct Found {
    options: CompareOptions,
    differences: Vec<Difference>,
    /// Which inode of the second tree each inode of the first is, and the reverse, where either has more names.
    forward: Inodes,
    reverse: Inodes,
}

impl Found {
    fn add(&mut self, path: &EntryPath, what: impl Into<String>) {
        self.differences.push(Difference { path: path.clone(), what: what.into() });
    }

    fn problem(&mut self, root: &EntryPath, side: &str, problem: Problem) {
        if problem.kind.counts() {
            let path = EntryPath::new(problem.path).ok().and_then(|p| p.strip(root)).unwrap_or_default();
            self.add(&path, format!("in the {side} tree: {}", problem.message));
        }
    }

    fn differ<T: PartialEq>(&mut self, path: &EntryPath, name: &str, a: T, b: T, show: impl Fn(&T) -> String) {
        if a != b {
            self.add(path, format!("{name}: {}, {}", show(&a), show(&b)));
        }
    }

    fn entries(&mut self, path: &EntryPath, a: (&FsSource, Scanned), b: (&FsSource, Scanned)) -> Result<()> {
        let ((source_a, mut a), (source_b, mut b)) = (a, b);
        for (source, entry) in [(source_a, &mut a.entry), (source_b, &mut b.entry)] {
            for problem in source.detail(entry) {
                self.add(path, problem.message);
            }
        }
        self.attributes(path, &a.entry, &b.entry);
        if let (Some(ia), Some(ib)) = (a.identity, b.identity)
            && a.entry.kind != EntryKind::Directory
            && b.entry.kind != EntryKind::Directory
        {
            self.links(path, ia, ib);
        }
        if let (EntryKind::File { size }, EntryKind::File { size: other }) = (&a.entry.kind, &b.entry.kind)
            && size == other
        {
            match (source_a.open(&a), source_b.open(&b)) {
                (Ok(a), Ok(b)) => self.content(path, a, b)?,
                (a, b) => {
                    for error in [a.err(), b.err()].into_iter().flatten() {
                        self.add(path, error.chain());
                    }
                }
            }
        }
        Ok(())
    }

    fn attributes(&mut self, path: &EntryPath, a: &Entry, b: &Entry) {
        self.differ(path, "type and content", &a.kind, &b.kind, |kind| format!("{kind:?}"));
        let (a, b) = (&a.meta, &b.meta);
        self.differ(path, "mode", a.mode, b.mode, |mode| format!("{mode:04o}"));
        if self.options.owners == Owners::Compare {
            self.differ(path, "owner", (a.uid, a.gid), (b.uid, b.gid), |(user, group)| format!("{user}:{group}"));
        }
        self.differ(path, "modification time", a.mtime, b.mtime, ToString::to_string);
        self.differ(path, "inode flags", a.flags, b.flags, |flags| format!("{flags:#x}"));
        self.differ(path, "extended attributes", &a.xattrs, &b.xattrs, |xattrs| {
            let shown = xattrs.iter().map(|x| format!("{}={}", display_bytes(&x.name), display_bytes(&x.value)));
            format!("[{}]", shown.collect::<Vec<_>>().join(" "))
        });
    }

    /// Names that share an inode on one side have to share one on the other.
    fn links(&mut self, path: &EntryPath, a: Identity, b: Identity) {
        if a.links > 1 || b.links > 1 {
            let (a, b) = ((a.dev, a.inode), (b.dev, b.inode));
            let same = *self.forward.entry(a).or_insert(b) == b;
            if *self.reverse.entry(b).or_insert(a) != a || !same {
                self.add(path, "shares its inode with other names than in the other tree");
            }
        }
    }

    fn content(&mut self, path: &EntryPath, a: Box<dyn Content>, b: Box<dyn Content>) -> Result<()> {
        let (mut a, mut b) = (Stream::new(a), Stream::new(b));
        let mut offset = 0;
        loop {
            let (of_a, of_b) = (a.fill(), b.fill());
            let (of_a, of_b) = match (of_a, of_b) {
                (Ok(a), Ok(b)) => (a, b),
                (a, b) => {
                    for error in [a.err(), b.err()].into_iter().flatten() {
                        self.add(path, error.chain());
                    }
                    return Ok(());
                }
            };
            let len = of_a.min(of_b);
            if len == 0 {
                self.differ(path, "length of content", offset + of_a, offset + of_b, u64::to_string);
                return Ok(());
            }
            let same_kind = a.hole == b.hole || self.options.holes == Holes::AsZeros;
            if !same_kind || !a.equals(&b, len) {
                self.add(path, format!("content differs from offset {offset} on, within {len} bytes"));
                return Ok(());
            }
            a.advance(len);
            b.advance(len);
            offset += len;
        }
    }
}

/// A content with what was read of it and not compared yet.
struct Stream {
    content: Box<dyn Content>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    hole: bool,
    hole_left: u64,
}

impl Stream {
    fn new(content: Box<dyn Content>) -> Self {
        Self { content, buffer: vec![0; 128 << 10], start: 0, end: 0, hole: false, hole_left: 0 }
    }

    /// Bytes there are at the position; 0 at the end.
    fn fill(&mut self) -> Result<u64> {
        if self.hole_left == 0 && self.start == self.end {
            (self.start, self.end, self.hole) = (0, 0, false);
            match self.content.read(&mut self.buffer)? {
                Piece::Data(len) => self.end = len,
                Piece::Hole(len) => (self.hole, self.hole_left) = (true, len),
                Piece::End => {}
            }
        }
        Ok(if self.hole { self.hole_left } else { (self.end - self.start) as u64 })
    }

    fn data(&self, len: u64) -> &[u8] {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let data = self.buffer.get(self.start..self.end).unwrap_or_default();
        data.get(..len).unwrap_or(data)
    }

    fn equals(&self, other: &Self, len: u64) -> bool {
        match (self.hole, other.hole) {
            (true, true) => true,
            (false, false) => self.data(len) == other.data(len),
            (true, false) => is_zero(other.data(len)),
            (false, true) => is_zero(self.data(len)),
        }
    }

    fn advance(&mut self, len: u64) {
        if self.hole {
            self.hole_left -= len;
        } else {
            self.start += usize::try_from(len).unwrap_or(usize::MAX);
        }
    }
}
