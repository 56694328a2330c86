//! Change detection: the scan merged with the parent tree.
//!
//! Runs on a thread of its own. Hands out work in path order: what is unchanged passes straight on,
//! small files travel to the readers in batches, large ones as streams.

use super::emptied::{Emptied, Known, Root};
use super::heal::Health;
use super::read::ReadJob;
use super::stat_cache::StatCacheReader;
use super::stream::{BLOCKS_WAITING, StreamMessage};
use crossbeam_channel::{Receiver, Sender, bounded};
use decube_backup_core::entry::{EntryKind, EntryPath, Identity};
use decube_backup_core::monitor::{Monitor, Problem, Progress, check_stop};
use decube_backup_core::source::{Scan, ScanItem, Scanned};
use decube_backup_core::world::Clock;
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::tree::{NodeReader, TreeCursor, TreeEntry};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Content read together by one job, bytes.
pub(super) const BATCH_BYTES: u64 = 1 << 20;
/// Items of one job.
const BATCH_ITEMS: usize = 1024;

/// How an entry relates to the parent snapshot.
pub(super) enum Relation {
    New,
    /// In the parent like this. Nothing says that it is still so: it is read, and then it is the same or has changed.
    Known(Box<TreeEntry>),
    /// As in the parent, but part of its stored content is damaged: read to be stored again.
    Healed,
}

/// One entry on its way to the builder.
pub(super) enum Item {
    /// As in the parent, unread; another name of an inode seen before under the given path, if it has several.
    Same(Box<TreeEntry>, Identity, Option<EntryPath>),
    /// Attributes and content have to be read.
    Read(Box<Scanned>, Relation),
    /// Another name of an inode seen before under the given path.
    Link(Box<Scanned>, Relation, EntryPath),
    Problem(Problem),
}

/// Work in path order; the builder takes it in this order.
pub(super) enum Work {
    Ready(Vec<Item>, Timestamp),
    Batch(Receiver<super::read::BatchResult>, Timestamp),
    Stream(Relation, Receiver<StreamMessage>, Timestamp),
}

/// The parent snapshot's entries with what the stat cache knows of them.
pub(super) struct Parent<'a> {
    cursor: TreeCursor<'a, dyn NodeReader + Sync + 'a>,
    stat: Option<StatCacheReader>,
    current: Option<(TreeEntry, Option<Identity>)>,
    /// It could not be read on.
    damaged: bool,
}

impl<'a> Parent<'a> {
    pub(super) fn new(cursor: TreeCursor<'a, dyn NodeReader + Sync + 'a>, stat: Option<StatCacheReader>) -> Self {
        let mut parent = Self { cursor, stat, current: None, damaged: false };
        parent.step();
        parent
    }

    fn step(&mut self) {
        self.current = match self.cursor.next() {
            Ok(entry) => entry.map(|e| (e, self.stat.as_mut().and_then(StatCacheReader::record))),
            // A damaged parent only costs reading: records no longer line up, so forget them too.
            Err(error) => {
                tracing::warn!(error = %error.chain(), "part of the parent snapshot cannot be read; its files are read again, and `verify` says what else is damaged");
                (self.stat, self.damaged) = (None, true);
                None
            }
        };
    }

    /// Whether there is an entry at `path`, skipping what was removed.
    fn holds(&mut self, path: &EntryPath) -> bool {
        while let Some((before, _)) = self.current.as_ref().filter(|(before, _)| before.entry.path <= *path) {
            if before.entry.path == *path {
                return true;
            }
            self.step();
        }
        false
    }

    /// The parent's entry at `path`, skipping what was removed.
    fn take(&mut self, path: &EntryPath) -> Option<(TreeEntry, Option<Identity>)> {
        if !self.holds(path) {
            return None;
        }
        let found = self.current.take();
        self.step();
        found
    }

    /// Whether what comes next lies in `folder`.
    fn is_in(&self, folder: &EntryPath) -> Known {
        match &self.current {
            Some((next, _)) if next.entry.path.is_within(folder) => Known::Yes,
            None if self.damaged => Known::Lost,
            _ => Known::No,
        }
    }
}

pub(super) struct Planner<'a> {
    pub(super) parent: Option<Parent<'a>>,
    /// Asked before a file is taken over unread; `None` while the parent may be relied on as it is.
    pub(super) health: Option<Health<'a>>,
    pub(super) jobs: Sender<ReadJob>,
    pub(super) order: Sender<Work>,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) clock: &'a dyn Clock,
    pub(super) runtime: &'a tokio::runtime::Handle,
    pub(super) emptied: Emptied,
    items: Vec<Item>,
    bytes: u64,
    to_read: usize,
    /// First name of every inode with several names.
    links: HashMap<(u64, u64), EntryPath>,
    seen: Timestamp,
}

fn is_as_before(scanned: &Scanned, before: &TreeEntry, known: &Identity) -> bool {
    scanned.identity == Some(*known)
        && before.entry.kind == scanned.entry.kind
        && before.entry.meta.mtime == scanned.entry.meta.mtime
}

/// Why planning ended early: the builder is gone and has its own error.
pub(super) struct Closed;

impl<'a> Planner<'a> {
    pub(super) fn new(
        parent: Option<Parent<'a>>,
        health: Option<Health<'a>>,
        jobs: Sender<ReadJob>,
        order: Sender<Work>,
        monitor: &'a dyn Monitor,
        clock: &'a dyn Clock,
        runtime: &'a tokio::runtime::Handle,
    ) -> Self {
        let seen = clock.now();
        Self {
            parent,
            health,
            jobs,
            order,
            monitor,
            clock,
            runtime,
            emptied: Emptied::default(),
            items: Vec::new(),
            bytes: 0,
            to_read: 0,
            links: HashMap::new(),
            seen,
        }
    }

    /// Plans the whole scan.
    pub(super) fn run(mut self, scan: &mut dyn Scan) -> Result<()> {
        while let Some(batch) = self.runtime.block_on(scan.next())? {
            check_stop(self.monitor)?;
            self.seen = self.clock.now();
            self.monitor.advance(Progress::Entries, batch.len() as u64);
            for item in batch {
                self.tell_if_emptied(Some(&item));
                let planned = match item {
                    ScanItem::Entry(scanned) => self.entry_or_root(scanned),
                    ScanItem::Problem(problem) => {
                        self.items.push(Item::Problem(problem));
                        Ok(())
                    }
                };
                if planned.is_err() {
                    return Ok(());
                }
            }
            if self.flush().is_err() {
                return Ok(());
            }
        }
        self.tell_if_emptied(None);
        let _ = self.flush();
        Ok(())
    }

    fn tell_if_emptied(&mut self, next: Option<&ScanItem>) {
        self.items.extend(self.emptied.followed_by(next).map(Item::Problem));
    }

    fn entry_or_root(&mut self, scanned: Scanned) -> Result<(), Closed> {
        let path = &scanned.entry.path;
        let Some(parent) = self.parent.as_mut().filter(|_| self.emptied.is_root(path)) else {
            return self.entry(scanned);
        };
        let (path, is_directory) = (path.clone(), scanned.entry.kind == EntryKind::Directory);
        let was_there = parent.holds(&path);
        self.entry(scanned)?;
        if let Some(parent) = &self.parent {
            let had_entries = parent.is_in(&path);
            self.emptied.met(path, Root { is_directory, was_there, had_entries });
        }
        Ok(())
    }

    fn entry(&mut self, scanned: Scanned) -> Result<(), Closed> {
        let before = self.parent.as_mut().and_then(|p| p.take(&scanned.entry.path));
        let relation = match before {
            None => Relation::New,
            Some((before, Some(known))) if is_as_before(&scanned, &before, &known) => {
                match self.health.as_ref().filter(|health| !health.is_whole(&before.content)) {
                    None => return self.unchanged(scanned, before, known),
                    Some(health) if health.heals => Relation::Healed,
                    Some(_) => Relation::Known(Box::new(before)),
                }
            }
            Some((before, _)) => Relation::Known(Box::new(before)),
        };
        // A directory's number of links counts what is in it.
        if let Some(identity) = scanned.identity.filter(|i| i.links > 1 && scanned.entry.kind != EntryKind::Directory)
            && let Some(first) = self.first_name(&identity, &scanned.entry.path)
        {
            self.items.push(Item::Link(Box::new(scanned), relation, first));
            return self.flush_if_full();
        }
        let EntryKind::File { size } = scanned.entry.kind else {
            self.to_read += 1;
            self.items.push(Item::Read(Box::new(scanned), relation));
            return self.flush_if_full();
        };
        if size > BATCH_BYTES {
            self.flush()?;
            let (blocks, result) = bounded(BLOCKS_WAITING);
            let job = ReadJob::Stream { scanned, blocks };
            self.order.send(Work::Stream(relation, result, self.seen)).map_err(|_| Closed)?;
            return self.jobs.send(job).map_err(|_| Closed);
        }
        if self.bytes + size > BATCH_BYTES {
            self.flush()?;
        }
        self.to_read += 1;
        self.bytes += size;
        self.items.push(Item::Read(Box::new(scanned), relation));
        self.flush_if_full()
    }

    fn unchanged(&mut self, scanned: Scanned, before: TreeEntry, known: Identity) -> Result<(), Closed> {
        self.monitor.advance(Progress::BytesUnchanged, scanned.entry.kind.size());
        let has_names = before.entry.meta.link_group.is_some();
        let first = if has_names { self.first_name(&known, &scanned.entry.path) } else { None };
        self.items.push(Item::Same(Box::new(before), known, first));
        self.flush_if_full()
    }

    /// The name under which this inode was seen before; `None` if `path` is the first.
    fn first_name(&mut self, identity: &Identity, path: &EntryPath) -> Option<EntryPath> {
        match self.links.entry((identity.dev, identity.inode)) {
            Entry::Occupied(seen) => Some(seen.get().clone()),
            Entry::Vacant(place) => {
                place.insert(path.clone());
                None
            }
        }
    }

    fn flush_if_full(&mut self) -> Result<(), Closed> {
        if self.items.len() >= BATCH_ITEMS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Closed> {
        if self.items.is_empty() {
            return Ok(());
        }
        let items = std::mem::take(&mut self.items);
        self.bytes = 0;
        if std::mem::take(&mut self.to_read) == 0 {
            return self.order.send(Work::Ready(items, self.seen)).map_err(|_| Closed);
        }
        let (done, result) = bounded(1);
        self.order.send(Work::Batch(result, self.seen)).map_err(|_| Closed)?;
        self.jobs.send(ReadJob::Batch { items, done }).map_err(|_| Closed)
    }
}
