//! The builder: decides what is new, feeds the pipeline, builds the tree. One thread, in path order.

use super::commit::Stored;
use super::dedup::Dedup;
use super::plan::{BATCH_BYTES, Item, Relation, Work};
use super::read::{BatchResult, RawExtent, ReadContext, ReadEntry, ReadOutcome, Ready};
use super::stat_cache::StatCacheWriter;
use super::stream::{BLOCKS_WAITING, Block, HashJob, Outlets, StreamMessage};
use crate::options::BackupReport;
use crate::pipeline::AddedPack;
use crossbeam_channel::{Receiver, Sender, bounded};
use decube_backup_core::entry::{Entry, EntryKind, EntryPath, Identity, Metadata, is_within_path_bytes};
use decube_backup_core::limits::MANIFEST_PROBLEMS_MAX;
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, check_stop};
use decube_backup_core::source::Scanned;
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use decube_backup_format::ids::PackName;
use decube_backup_format::tree::{Content, Extent, ListBuilder, TreeBuilder, TreeEntry, TreeRoot};
use std::collections::{HashMap, HashSet};

/// A group of hard links: what the name of it that was read last held.
struct LinkGroup {
    kind: EntryKind,
    content: Content,
    meta: Metadata,
    identity: Option<Identity>,
    /// Whether the next backup may take it over unread.
    whole: bool,
    /// When it was looked at: what is known of all names is from then.
    seen: Timestamp,
}

impl LinkGroup {
    /// Whether what was read, of `kind`, `content` and `meta`, is one file with it.
    fn is(&self, kind: &EntryKind, content: &Content, meta: &Metadata) -> bool {
        let in_group = Metadata { link_group: self.meta.link_group.clone(), ..meta.clone() };
        self.kind == *kind && self.content == *content && self.meta == in_group
    }

    /// Another name of it, `path`, what the next backup knows it by, and when it was looked at.
    fn under(&self, path: EntryPath) -> (TreeEntry, Option<Identity>, Timestamp) {
        let entry = Entry { path, kind: self.kind.clone(), meta: self.meta.clone() };
        (TreeEntry { entry, content: self.content.clone() }, self.identity.filter(|_| self.whole), self.seen)
    }
}

/// What a builder leaves behind.
pub(super) struct Built {
    pub report: BackupReport,
    pub root: TreeRoot,
    /// In no record yet.
    pub added: Vec<AddedPack>,
    /// Packs whose chunks were taken as known.
    pub deps: hashbrown::HashSet<PackName>,
    pub stat: Option<StatCacheWriter>,
    /// New chunks.
    pub stored: Stored,
}

pub(super) struct Builder<'a> {
    dedup: Dedup<'a>,
    report: BackupReport,
    tree: TreeBuilder,
    stat: Option<StatCacheWriter>,
    monitor: &'a dyn Monitor,
    readers: ReadContext<'a>,
    hashers: Sender<HashJob>,
    /// By the name that the planner met first.
    links: HashMap<EntryPath, LinkGroup>,
    /// The link groups there are in the tree.
    link_groups: HashSet<EntryPath>,
    /// What the planner met first, of a name that is read again.
    again: Option<EntryPath>,
    list: ListBuilder,
    /// What is backed up.
    roots: Vec<EntryPath>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        dedup: Dedup<'a>,
        tree: TreeBuilder,
        stat: Option<StatCacheWriter>,
        readers: ReadContext<'a>,
        hashers: Sender<HashJob>,
        list: ListBuilder,
    ) -> Self {
        let (report, monitor) = (BackupReport::default(), readers.monitor);
        let (links, link_groups) = (HashMap::new(), HashSet::new());
        let roots = readers.source.describe().roots;
        Self { dedup, report, tree, stat, monitor, readers, hashers, links, link_groups, again: None, list, roots }
    }

    /// Takes all work; returns when the planner is done.
    pub(super) fn run(&mut self, order: &Receiver<Work>) -> Result<()> {
        let gone = || Error::new(ErrorKind::Internal, "backup", "a reader ended early");
        for work in order {
            check_stop(self.monitor)?;
            match work {
                Work::Ready(items, seen) => {
                    for item in items {
                        match item {
                            Item::Same(entry, identity, first) => self.same(*entry, identity, first, seen)?,
                            Item::Link(scanned, relation, first) => self.link(*scanned, relation, &first, seen)?,
                            Item::Problem(problem) => self.problem(problem),
                            Item::Read(..) => return Err(gone()),
                        }
                    }
                }
                Work::Batch(parts, seen) => loop {
                    let part = parts.recv().map_err(|_| gone())?;
                    let last = part.last;
                    self.batch(part, seen)?;
                    if last {
                        break;
                    }
                },
                Work::Stream(relation, blocks, seen) => self.stream(relation, &blocks, seen)?,
            }
            self.dedup.checkpoint_if_due()?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: BatchResult, seen: Timestamp) -> Result<()> {
        for item in batch.items {
            match item {
                Ready::Same(entry, identity, first) => self.same(*entry, identity, first, seen)?,
                Ready::Link(scanned, relation, first) => self.link(*scanned, relation, &first, seen)?,
                Ready::Problem(problem) => self.problem(problem),
                Ready::Read(read) => {
                    let content = self.content(&read.extents, &batch.arena)?;
                    self.read(*read, content, seen)?;
                }
            }
        }
        self.reuse(batch.arena);
        Ok(())
    }

    fn reuse(&self, arena: Vec<u8>) {
        let _ = self.readers.arenas.0.send(arena);
    }

    /// Seals the tree, and waits until everything is durable. After an error, `so_far` or a later one, what was uploaded is
    /// recorded if it can be.
    pub(super) fn finish(self, so_far: Result<()>) -> Result<Built> {
        let Self { mut dedup, mut report, tree, stat, monitor, .. } = self;
        let stored = so_far.and_then(|()| {
            // What is read may be far from being stored where the sink is slow.
            monitor.phase("store", None, None);
            let root = tree.finish(&mut dedup)?;
            Ok((root, dedup.finish()?))
        });
        let (root, (added, deps)) = stored.inspect_err(|_| {
            if let Err(error) = dedup.keep_uploaded() {
                tracing::debug!(error = %error.chain(), "what was uploaded could not be recorded");
            }
        })?;
        report.chunks_reused = dedup.chunks_reused;
        let stored = Stored { chunks: dedup.chunks_new, chunk_bytes: dedup.bytes_new, ..Stored::default() };
        Ok(Built { report, root, added, deps, stat, stored })
    }

    fn content(&mut self, extents: &[RawExtent], arena: &[u8]) -> Result<Content> {
        if let [RawExtent::Inline { start, len }] = extents {
            self.report.bytes_read += u64::from(*len);
            let bytes = arena.get(*start as usize..(*start + *len) as usize).unwrap_or_default();
            return Ok(Content::Inline(bytes.to_vec()));
        }
        if extents.is_empty() {
            return Ok(Content::None);
        }
        self.extents(extents, arena)?;
        self.list.finish(&mut self.dedup)
    }

    fn extents(&mut self, extents: &[RawExtent], arena: &[u8]) -> Result<()> {
        for extent in extents {
            let extent = match *extent {
                RawExtent::Hole(len) => Extent::Hole { len },
                RawExtent::Chunk { id, start, len } => {
                    self.report.bytes_read += u64::from(len);
                    let bytes = arena.get(start as usize..(start + len) as usize).unwrap_or_default();
                    self.dedup.content(&id, bytes)?;
                    Extent::Chunk { id, len }
                }
                RawExtent::Inline { .. } => continue,
            };
            self.list.push(extent, &mut self.dedup)?;
        }
        Ok(())
    }

    fn stream(&mut self, relation: Relation, blocks: &Receiver<StreamMessage>, seen: Timestamp) -> Result<()> {
        let ended = || Error::new(ErrorKind::Internal, "backup", "a stream ended early");
        for message in blocks {
            match message {
                StreamMessage::Block(hashed) => {
                    let Block { arena, extents } = hashed.recv().map_err(|_| ended())?;
                    self.extents(&extents, &arena)?;
                    self.reuse(arena);
                    self.dedup.checkpoint_if_due()?;
                    check_stop(self.monitor)?;
                }
                StreamMessage::End(mut read) => {
                    read.relation = relation;
                    let content = self.list.finish(&mut self.dedup)?;
                    return self.read(*read, content, seen);
                }
            }
        }
        Err(ended())
    }

    fn read(&mut self, read: ReadEntry, content: Content, seen: Timestamp) -> Result<()> {
        let ReadEntry { mut scanned, relation, problems, outcome, .. } = read;
        // What could not be read of it is tried again next time, and told again.
        let whole = problems.is_empty();
        for problem in problems {
            self.problem(problem);
        }
        if outcome == ReadOutcome::Lost {
            return Ok(());
        }
        if scanned.entry.kind != EntryKind::Directory && scanned.identity.is_some_and(|identity| identity.links > 1) {
            let (path, kind) = (scanned.entry.path.clone(), scanned.entry.kind.clone());
            let first = self.again.take();
            let before = first.as_ref().and_then(|first| self.links.get(first));
            let joined = before.filter(|group| group.is(&kind, &content, &scanned.entry.meta));
            let group = joined.and_then(|group| group.meta.link_group.clone());
            if let (Some(first), Some(_), None) = (&first, before, joined) {
                let message = format!("was {first} too, and changed after that was read: here they are two files");
                self.problem(Problem::new(ProblemKind::Changed, path.as_bytes(), message));
            }
            scanned.entry.meta.link_group = Some(group.unwrap_or_else(|| self.unshared(path.clone(), &path)));
            let (meta, identity) = (scanned.entry.meta.clone(), scanned.identity);
            let known = LinkGroup { kind, content: content.clone(), meta, identity, whole, seen };
            self.links.insert(first.unwrap_or(path), known);
        }
        let entry = TreeEntry { entry: scanned.entry, content };
        if let Content::Inline(bytes) = &entry.content
            && !matches!(&relation, Relation::Known(before) if before.content == entry.content)
        {
            self.report.bytes_new += bytes.len() as u64;
        }
        self.count_read(&entry, &relation);
        self.push(entry, scanned.identity.filter(|_| whole), seen)
    }

    /// Reads a name of an inode whose names before it could not be read, or were read before it changed. Here and now: its
    /// place in the order has come.
    fn read_link(&mut self, scanned: Scanned, relation: Relation, first: &EntryPath, seen: Timestamp) -> Result<()> {
        self.again = Some(first.clone());
        if scanned.entry.kind.size() > BATCH_BYTES {
            let (readers, hashers) = (self.readers, self.hashers.clone());
            let (blocks, result) = bounded(BLOCKS_WAITING);
            std::thread::scope(|scope| {
                scope.spawn(move || readers.stream(scanned, &Outlets { blocks, hashers: &hashers }));
                let streamed = self.stream(relation, &result, seen);
                // After an error the reader must not wait for somebody to take the next block.
                drop(result);
                streamed
            })?;
        } else {
            let (readers, mut read) = (self.readers, Ok(()));
            readers.batch(vec![Item::Read(Box::new(scanned), relation)], |part| read = self.batch(part, seen));
            read?;
        }
        self.again = None;
        Ok(())
    }

    fn link(&mut self, scanned: Scanned, relation: Relation, first: &EntryPath, seen: Timestamp) -> Result<()> {
        // The same number is the same file only with the same ctime: numbers are given again, and a file changes.
        let Some(group) = self.links.get(first).filter(|group| group.identity == scanned.identity) else {
            return self.read_link(scanned, relation, first, seen);
        };
        let (entry, known, seen) = group.under(scanned.entry.path);
        self.count_read(&entry, &relation);
        self.push(entry, known, seen)
    }

    /// What is as in the parent; another name of what the planner met as `first`.
    fn same(
        &mut self,
        mut entry: TreeEntry,
        identity: Identity,
        first: Option<EntryPath>,
        mut seen: Timestamp,
    ) -> Result<()> {
        let mut known = Some(identity);
        if let Some(wanted) = entry.entry.meta.link_group.take() {
            let first = first.unwrap_or_else(|| entry.entry.path.clone());
            if let Some(group) = self.links.get(&first).filter(|group| group.identity == Some(identity)) {
                (entry, known, seen) = group.under(entry.entry.path);
            } else {
                entry.entry.meta.link_group = Some(self.unshared(wanted, &entry.entry.path));
                let (kind, meta) = (entry.entry.kind.clone(), entry.entry.meta.clone());
                let content = entry.content.clone();
                self.links.insert(first, LinkGroup { kind, content, meta, identity: known, whole: true, seen });
            }
        }
        match entry.entry.kind {
            EntryKind::File { .. } => self.report.files_unchanged += 1,
            EntryKind::Directory => self.report.directories += 1,
            _ => self.report.others += 1,
        }
        self.push(entry, known, seen)
    }

    /// What the names of one more file are to have in common: `wanted`, unless those of another have it. A file that kept it
    /// from the parent may have moved, and another stands where it was.
    fn unshared(&mut self, wanted: EntryPath, path: &EntryPath) -> EntryPath {
        let numbers = (0u64..).filter_map(|n| EntryPath::new(n.to_string().as_bytes()).ok());
        let mut names = [wanted, path.clone()].into_iter().chain(numbers);
        names.find(|name| self.link_groups.insert(name.clone())).unwrap_or_else(|| path.clone())
    }

    fn count_read(&mut self, entry: &TreeEntry, relation: &Relation) {
        let report = &mut self.report;
        let counter = match (&entry.entry.kind, relation) {
            (EntryKind::File { .. }, Relation::New) => &mut report.files_new,
            (EntryKind::File { .. }, Relation::Known(before)) if **before == *entry => &mut report.files_unchanged,
            (EntryKind::File { .. }, Relation::Known(_)) => &mut report.files_changed,
            (EntryKind::File { .. }, Relation::Healed) => &mut report.files_healed,
            (EntryKind::Directory, _) => &mut report.directories,
            _ => &mut report.others,
        };
        *counter += 1;
    }

    /// Puts an entry into the tree, `known` to the next backup so if it may take it over unread. What a tree cannot hold of it is a problem of this entry, not of the backup.
    fn push(&mut self, mut entry: TreeEntry, mut known: Option<Identity>, seen: Timestamp) -> Result<()> {
        if let Err(error) = entry.check() {
            let path = entry.entry.path.as_bytes().to_vec();
            entry.entry.meta.xattrs = Vec::new();
            if entry.check().is_err() {
                self.problem(Problem::from_error(ProblemKind::Unreadable, path, &error));
                return Ok(());
            }
            let message = format!("stored without its extended attributes: {}", error.chain());
            self.problem(Problem::new(ProblemKind::Attribute, path, message));
            known = None;
        }
        self.report.entries += 1;
        self.report.bytes += entry.entry.kind.size();
        if let Some(stat) = &mut self.stat
            && let Err(error) = stat.push(known, seen)
        {
            tracing::warn!(error = %error.chain(), "going on without a stat cache; the next backup reads more");
            self.stat = None;
        }
        self.tree.push(entry, &mut self.dedup)
    }

    /// What keeps a whole root out of the snapshot, itself or on the way to it, is told apart from what keeps a single entry
    /// out.
    fn problem(&mut self, mut problem: Problem) {
        let unread = matches!(problem.kind, ProblemKind::Unreadable | ProblemKind::Vanished);
        if unread && self.roots.iter().any(|root| is_within_path_bytes(root.as_bytes(), &problem.path)) {
            problem.kind = ProblemKind::MissingSource;
        }
        self.monitor.problem(&problem);
        *self.report.problems.entry(problem.kind).or_default() += 1;
        let list = &mut self.report.problem_list;
        if problem.kind == ProblemKind::MissingSource {
            // The next backup has to know of every root, however many other problems there are.
            list.insert(0, problem);
            list.truncate(MANIFEST_PROBLEMS_MAX);
        } else if list.len() < MANIFEST_PROBLEMS_MAX {
            list.push(problem);
        }
    }
}
