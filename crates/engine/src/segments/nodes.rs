//! Reading tree and list nodes, with the last few segments kept decoded.

use super::{Absent, KeptPacks, Scratch, SegmentReader, locked};
use crate::index::Location;
use crate::repository::Repository;
use bytes::Bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Domain;
use decube_backup_format::header::Access;
use decube_backup_format::ids::{ChunkId, PackName};
use decube_backup_format::tree::NodeReader;
use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Decoded metadata segments kept at most; each is up to 1 MiB.
const NODE_SEGMENTS_MAX: usize = 8;

/// Reads tree and list nodes, with the last few metadata segments kept decoded.
pub struct Nodes<'a> {
    repo: &'a Repository,
    segments: SegmentReader<'a>,
    cache: Mutex<VecDeque<(PackName, u32, Bytes)>>,
    scratch: Mutex<Scratch>,
    seen: Option<Mutex<HashSet<ChunkId>>>,
    /// A node could not be read.
    lost: AtomicBool,
}

impl<'a> Nodes<'a> {
    /// A reader of `repo`'s nodes.
    ///
    /// # Errors
    /// The index cannot be read; `WrongKey` for a write-only key.
    pub fn new(repo: &'a Repository) -> Result<Self> {
        Self::through(repo, None)
    }

    /// The same for who only looks: what the cache keeps is taken from there.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn to_look(repo: &'a Repository) -> Result<Self> {
        Self::through(repo, KeptPacks::of(repo, Absent::Pass))
    }

    /// The same, which takes what is kept from the cache.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn through(repo: &'a Repository, kept: Option<KeptPacks>) -> Result<Self> {
        repo.check_reader(Access::Read)?;
        repo.index()?;
        Ok(Self {
            repo,
            segments: SegmentReader::through(repo, kept),
            cache: Mutex::default(),
            scratch: Mutex::new(Scratch::new()?),
            seen: None,
            lost: AtomicBool::new(false),
        })
    }

    /// Also remembers which nodes were read, for [`Self::has_seen`].
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.seen = Some(Mutex::default());
        self
    }

    /// Whether the node was read through this reader, so a live pack has it.
    pub fn has_seen(&self, id: &ChunkId) -> bool {
        self.seen.as_ref().is_some_and(|seen| locked(seen).contains(id))
    }

    /// Whether a node that was asked for could not be read, whatever the reason: others may be lost as well.
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The node `id` as stored at `location`, checked.
    fn read_at(&self, id: &ChunkId, location: &Location) -> Result<Bytes> {
        let segment = self.segment(location)?;
        let (from, to) = (location.offset as usize, (location.offset + location.len) as usize);
        let node = (to <= segment.len()).then(|| segment.slice(from..to));
        node.filter(|node| self.repo.hasher.id(Domain::Node, node) == *id).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "node", "tree node does not match its id")
                .with("node", id)
                .with("pack", location.pack.id)
        })
    }

    fn segment(&self, location: &Location) -> Result<Bytes> {
        let hit = |c: &VecDeque<(PackName, u32, Bytes)>| {
            c.iter().find(|(p, n, _)| *p == location.pack && *n == location.segment).map(|(_, _, b)| b.clone())
        };
        if let Some(bytes) = hit(&locked(&self.cache)) {
            return Ok(bytes);
        }
        let mut scratch = locked(&self.scratch);
        self.segments.read(&location.pack, location.segment, &location.entry, &mut scratch)?;
        let bytes = Bytes::from(std::mem::take(&mut scratch.raw));
        let mut cache = locked(&self.cache);
        if cache.len() >= NODE_SEGMENTS_MAX {
            cache.pop_front();
        }
        cache.push_back((location.pack, location.segment, bytes.clone()));
        Ok(bytes)
    }
}

impl NodeReader for Nodes<'_> {
    fn node(&self, id: &ChunkId) -> Result<Bytes> {
        // Not one index for good: a prune may move nodes while a tree is read.
        let read = self.segments.read_any_copy(&*self.repo.index()?, id, |at| self.read_at(id, at));
        // A tree whose pack is gone is damaged like one whose pack is not whole; it is not that nobody asked for it.
        let node = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::Corrupt, "node", "a pack is missing").with_source(error),
            _ => error,
        });
        let node = node.inspect_err(|_| self.lost.store(true, Ordering::Release))?;
        if let Some(seen) = &self.seen {
            locked(seen).insert(*id);
        }
        Ok(node)
    }
}
