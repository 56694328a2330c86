//! A live directory against a snapshot of it: what changed since, and what changed without a trace.
//!
//! No content is fetched: live bytes are hashed and compared with the chunk ids in the tree. A file whose
//! content differs although size and time do not was changed behind the file system's back.

use crate::browse;
use crate::options::Snapshot;
use crate::repository::Repository;
use crate::segments::Nodes;
use decube_backup_core::entry::{EntryKind, EntryPath};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress, check_stop};
use decube_backup_core::source::{Content as LiveContent, Piece, ScanItem, Scanned, Source, Stability};
use decube_backup_core::{Error, Result};
use decube_backup_format::hash::Domain;
use decube_backup_format::tree::{Content, Extent, ListCursor, TreeCursor, TreeEntry};
use std::collections::BTreeMap;

/// Bytes of a hole compared at once.
const HOLE_STEP: u64 = 1 << 20;

/// How a live entry differs from the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deviation {
    /// Only in the snapshot.
    Missing,
    /// Only in the live directory.
    New,
    /// Another kind, size, time, link target, mode or owner.
    Changed,
    /// Other content under the same size and time.
    Corrupted,
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct LiveReport {
    /// Entries of the snapshot that were looked for.
    pub entries: u64,
    /// Content bytes compared, holes included.
    pub bytes_read: u64,
    /// Deviations by kind.
    pub deviations: BTreeMap<Deviation, u64>,
    /// What could not be compared, by kind.
    pub problems: BTreeMap<ProblemKind, u64>,
}

/// Calls `visit` for every deviation of what `source` yields from what `snapshot` holds at and below `subtree`.
///
/// # Errors
/// `NotFound` if the live directory is not there; the snapshot's tree cannot be read; what `visit` yields. What cannot
/// be read of single entries is told to `monitor` and counted.
pub fn compare(
    repo: &Repository,
    snapshot: &Snapshot,
    subtree: &EntryPath,
    source: &dyn Source,
    monitor: &dyn Monitor,
    visit: &mut dyn FnMut(&EntryPath, Deviation) -> Result<()>,
) -> Result<LiveReport> {
    let nodes = Nodes::new(repo)?;
    let tree = browse::root(snapshot);
    monitor.phase("compare", None, None);
    let mut comparison = Comparison { repo, nodes: &nodes, source, monitor, visit, report: LiveReport::default() };
    let mut recorded = Recorded { cursor: TreeCursor::within(&nodes, &tree, subtree)?, subtree, next: None };
    recorded.step()?;
    // What lies below a directory that cannot be listed may well be there.
    let mut unlisted: Option<EntryPath> = None;
    let mut scan = source.scan()?;
    while let Some(batch) = repo.env.runtime.block_on(scan.next())? {
        check_stop(monitor)?;
        for item in batch {
            let now = match item {
                ScanItem::Entry(now) if now.entry.path.is_within(subtree) => now,
                ScanItem::Entry(_) => continue,
                ScanItem::Problem(problem) => {
                    unlisted = EntryPath::new(problem.path.clone()).ok().or(unlisted);
                    comparison.problem(problem);
                    continue;
                }
            };
            while let Some(old) = recorded.take_if(|old| old < &now.entry.path)? {
                comparison.gone(&old, unlisted.as_ref())?;
            }
            match recorded.take_if(|old| *old == now.entry.path)? {
                Some(old) => comparison.both(&old, &now)?,
                None => comparison.deviates(&now.entry.path, Deviation::New)?,
            }
        }
    }
    while let Some(old) = recorded.take_if(|_| true)? {
        comparison.gone(&old, unlisted.as_ref())?;
    }
    Ok(comparison.report)
}

/// The entries of the snapshot, one ahead.
struct Recorded<'a> {
    cursor: TreeCursor<'a, Nodes<'a>>,
    subtree: &'a EntryPath,
    next: Option<TreeEntry>,
}

impl Recorded<'_> {
    fn step(&mut self) -> Result<()> {
        loop {
            self.next = self.cursor.next()?;
            if self.next.as_ref().is_none_or(|entry| entry.entry.path.is_within(self.subtree)) {
                return Ok(());
            }
        }
    }

    fn take_if(&mut self, wanted: impl Fn(&EntryPath) -> bool) -> Result<Option<TreeEntry>> {
        let taken = self.next.take_if(|entry| wanted(&entry.entry.path));
        if taken.is_some() {
            self.step()?;
        }
        Ok(taken)
    }
}

struct Comparison<'a> {
    repo: &'a Repository,
    nodes: &'a Nodes<'a>,
    source: &'a dyn Source,
    monitor: &'a dyn Monitor,
    visit: &'a mut dyn FnMut(&EntryPath, Deviation) -> Result<()>,
    report: LiveReport,
}

impl Comparison<'_> {
    fn problem(&mut self, problem: Problem) {
        self.monitor.problem(&problem);
        *self.report.problems.entry(problem.kind).or_default() += 1;
    }

    fn deviates(&mut self, path: &EntryPath, deviation: Deviation) -> Result<()> {
        *self.report.deviations.entry(deviation).or_default() += 1;
        (self.visit)(path, deviation)
    }

    fn gone(&mut self, old: &TreeEntry, unlisted: Option<&EntryPath>) -> Result<()> {
        self.report.entries += 1;
        match unlisted {
            Some(folder) if old.entry.path.is_within(folder) => Ok(()),
            _ => self.deviates(&old.entry.path, Deviation::Missing),
        }
    }

    fn both(&mut self, old: &TreeEntry, now: &Scanned) -> Result<()> {
        self.report.entries += 1;
        self.monitor.advance(Progress::Entries, 1);
        let (path, then, meta) = (&now.entry.path, &old.entry.meta, &now.entry.meta);
        let is_file = matches!(now.entry.kind, EntryKind::File { .. });
        if old.entry.kind != now.entry.kind || (is_file && then.mtime != meta.mtime) {
            return self.deviates(path, Deviation::Changed);
        }
        if is_file {
            match self.content(old, now) {
                Ok(None) => {}
                Ok(Some(deviation)) => return self.deviates(path, deviation),
                Err((kind, error)) => self.problem(Problem::from_error(kind, path.as_bytes().to_vec(), &error)),
            }
        }
        match (then.mode, then.uid, then.gid) == (meta.mode, meta.uid, meta.gid) {
            true => Ok(()),
            false => self.deviates(path, Deviation::Changed),
        }
    }

    /// Reads a file whose size and time are as recorded.
    fn content(&mut self, old: &TreeEntry, now: &Scanned) -> Result<Option<Deviation>, (ProblemKind, Error)> {
        let unreadable = |error| (ProblemKind::Unreadable, error);
        self.monitor.at(now.entry.path.as_bytes());
        let mut live = Live { content: self.source.open(now).map_err(unreadable)?, hole: 0 };
        let mut buffer = Vec::new();
        let mut same = true;
        if let Content::Inline(bytes) = &old.content {
            same = live.next(&mut buffer, bytes.len() as u64).map_err(unreadable)? == &bytes[..];
        }
        let mut list = ListCursor::new(self.nodes, &old.content);
        while let Some((_, extent)) = list.next().map_err(|error| (ProblemKind::Damaged, error))? {
            match extent {
                Extent::Chunk { id, len } => {
                    let bytes = live.next(&mut buffer, u64::from(len)).map_err(unreadable)?;
                    same &= self.repo.hasher.id(Domain::Content, bytes) == id;
                }
                Extent::Hole { mut len } => {
                    while len > 0 && same {
                        let step = len.min(HOLE_STEP);
                        let bytes = live.next(&mut buffer, step).map_err(unreadable)?;
                        same = bytes.len() as u64 == step && bytes.iter().all(|byte| *byte == 0);
                        len -= step;
                    }
                }
            }
            if !same {
                break;
            }
        }
        let size = old.entry.kind.size();
        self.report.bytes_read = self.report.bytes_read.saturating_add(size);
        self.monitor.advance(Progress::Bytes, size);
        let end = live.content.finish(&mut now.entry.clone()).map_err(unreadable)?;
        Ok(match (same, end.stable) {
            (true, _) => None,
            (false, Stability::Changed) => Some(Deviation::Changed),
            (false, Stability::Unchanged) => Some(Deviation::Corrupted),
        })
    }
}

/// A live content in pieces of given lengths.
struct Live {
    content: Box<dyn LiveContent>,
    /// Zeros of a hole not given out yet.
    hole: u64,
}

impl Live {
    /// The next `len` bytes; fewer at the end.
    fn next<'b>(&mut self, buffer: &'b mut Vec<u8>, len: u64) -> Result<&'b [u8]> {
        buffer.clear();
        buffer.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        let mut have = 0;
        while have < buffer.len() {
            let rest = buffer.get_mut(have..).unwrap_or_default();
            if self.hole > 0 {
                let zeros = self.hole.min(rest.len() as u64);
                rest.iter_mut().take(zeros as usize).for_each(|byte| *byte = 0);
                self.hole -= zeros;
                have += zeros as usize;
                continue;
            }
            match self.content.read(rest)? {
                Piece::Data(n) => have += n,
                Piece::Hole(zeros) => self.hole = zeros,
                Piece::End => break,
            }
        }
        Ok(buffer.get(..have).unwrap_or_default())
    }
}
