//! Reading segments and nodes back: fetch, open, decompress, check.
//!
//! | module | holds |
//! |---|---|
//! | `ahead` | bytes on their way before somebody has time for them |
//! | `copies` | looking for a copy that is whole, whatever the index says |
//! | `kept` | metadata packs in the cache, byte for byte |
//! | `nodes` | tree and list nodes, the last few segments kept decoded |

mod ahead;
mod copies;
mod kept;
mod nodes;

pub(crate) use ahead::Fetch;
pub(crate) use copies::Copies;
pub(crate) use kept::{Absent, KeptPacks};
pub use nodes::Nodes;

use crate::index::{LocalIndex, Location};
use crate::parity::Shelf;
use crate::repository::Repository;
use crate::store::is_unreadable;
use bytes::Bytes;
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::codec::{Codec, Decompressor};
use decube_backup_format::hash::Domain;
use decube_backup_format::ids::{self, ChunkId, PackKind, PackName};
use decube_backup_format::pack::{ChunkEntry, Footer, PackHeader, PackReader, SegmentEntry};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Opened packs kept at most.
const PACKS_MAX: usize = 512;
/// A segment that ends this near to its pack's begin is read with the header in front of it, bytes.
const NEAR_BYTES: u64 = 128 << 10;
/// Read from the end of a pack in one go, bytes: holds most footers.
const TAIL_BYTES: u64 = 64 << 10;

/// What the mutex guards, also after a panic elsewhere.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Buffers of one decoding thread.
pub struct Scratch {
    decompressor: Decompressor,
    sealed: Vec<u8>,
    /// The decoded segment.
    pub raw: Vec<u8>,
}

impl Scratch {
    /// Empty buffers.
    ///
    /// # Errors
    /// `Internal` if zstd refuses its bounds.
    pub fn new() -> Result<Self> {
        Ok(Self { decompressor: Decompressor::new()?, sealed: Vec::new(), raw: Vec::new() })
    }

    /// Where a sealed segment goes for [`Self::open`].
    pub(crate) fn sealed_mut(&mut self) -> &mut Vec<u8> {
        &mut self.sealed
    }

    /// Puts a sealed segment where [`Self::open`] looks for it.
    pub(crate) fn load(&mut self, sealed: &[u8]) {
        // What is stored as it is changes buffers when it is opened. The longer one is for what becomes longer.
        if self.sealed.capacity() > self.raw.capacity() {
            std::mem::swap(&mut self.sealed, &mut self.raw);
        }
        self.sealed.clear();
        self.sealed.extend_from_slice(sealed);
    }

    /// The segment just decoded as it is in its pack, encoded by `codec`; the buffer is given away.
    pub(crate) fn take_body(&mut self, codec: Codec) -> Vec<u8> {
        if codec == Codec::Stored {
            // It needed no decoding: it is in the buffer it was sealed in.
            std::mem::swap(&mut self.raw, &mut self.sealed);
        }
        std::mem::take(&mut self.sealed)
    }

    /// Decodes the sealed segment into `raw`; its bytes are overwritten.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn open(&mut self, pack: &PackReader, number: u32, entry: &SegmentEntry) -> Result<()> {
        pack.segment(number, entry, &mut self.sealed, &mut self.decompressor, &mut self.raw)
    }
}

/// Decodes segments of any pack; shared by threads.
pub struct SegmentReader<'a> {
    repo: &'a Repository,
    packs: Mutex<HashMap<PackName, Arc<PackReader>>>,
    /// Packs whose headers are on their way, or were.
    asked: Mutex<HashSet<PackName>>,
    /// Damaged packs that were told of.
    damaged: Mutex<HashSet<PackName>>,
    /// Damaged packs that were brought back by their parity.
    shelf: Shelf,
    /// Metadata packs that need not be asked for.
    kept: Option<KeptPacks>,
}

impl<'a> SegmentReader<'a> {
    /// A reader of `repo`'s packs.
    pub fn new(repo: &'a Repository) -> Self {
        let (packs, asked, damaged) = Default::default();
        Self { repo, packs, asked, damaged, shelf: Shelf::default(), kept: None }
    }

    /// The same, which takes what is kept from the cache.
    pub(crate) fn through(repo: &'a Repository, kept: Option<KeptPacks>) -> Self {
        Self { kept, ..Self::new(repo) }
    }

    /// The opened header of `pack`.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt`.
    pub fn pack(&self, name: &PackName) -> Result<Arc<PackReader>> {
        if let Some(reader) = locked(&self.packs).get(name) {
            return Ok(reader.clone());
        }
        let bytes = self.fetch(name, 0, PackHeader::BYTES as u64)?;
        self.keep(name, &bytes)
    }

    /// Opens a pack from its first bytes, for all who ask later.
    fn keep(&self, name: &PackName, header: &[u8]) -> Result<Arc<PackReader>> {
        let reader = Arc::new(self.open_header(name, header)?);
        let mut packs = locked(&self.packs);
        if packs.len() >= PACKS_MAX {
            packs.clear();
            locked(&self.asked).clear();
        }
        // One that came late may have been damaged, and brought back since.
        Ok(packs.entry(*name).or_insert(reader).clone())
    }

    /// Opens a pack from its first bytes.
    ///
    /// # Errors
    /// `Corrupt` if they are another pack's or damaged.
    pub fn open_header(&self, name: &PackName, bytes: &[u8]) -> Result<PackReader> {
        let header = PackHeader::decode(bytes)?;
        if header.name != *name || header.repository != self.repo.id() {
            return Err(Error::new(ErrorKind::Corrupt, "pack", "object is another pack than its name says"));
        }
        let family = self.repo.pack_family(&header)?;
        PackReader::new(header, &family)
    }

    /// The footer of a pack whose object has `len` bytes, by one read of its tail, or two if it is long.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt`.
    pub(crate) fn footer(&self, pack: &PackReader, len: u64) -> Result<Footer> {
        let name = &pack.header().name;
        let last = self.fetch(name, len.saturating_sub(TAIL_BYTES), len.min(TAIL_BYTES))?;
        let tail = pack.tail(&last, len)?;
        let start = last.len().checked_sub((len - tail.footer_offset) as usize);
        match start.and_then(|start| last.get(start..start + tail.footer_len as usize)) {
            Some(sealed) => pack.footer(sealed, &tail),
            None => {
                let sealed = self.fetch(name, tail.footer_offset, u64::from(tail.footer_len))?;
                pack.footer(&sealed, &tail)
            }
        }
    }

    /// The table of contents of a pack whose object has `len` bytes; by its parity if it is damaged.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt`.
    pub(crate) fn table(&self, name: &PackName, len: u64) -> Result<Footer> {
        let read = || self.footer(&*self.pack(name)?, len);
        match read() {
            Err(error) if is_damage(&error) => match self.bring_back(name)? {
                Some(_at_hand) => read(),
                None => Err(error),
            },
            done => done,
        }
    }

    /// Exactly `len` bytes of a pack from `offset`; as its parity gives them back, if it was brought back and is at hand.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt`.
    pub(crate) fn fetch(&self, pack: &PackName, offset: u64, len: u64) -> Result<Bytes> {
        let Some(rebuilt) = self.shelf.get(pack) else {
            if let Some(kept) = &self.kept
                && let Some(bytes) = kept.read(self.repo, pack, offset, len)?
            {
                return Ok(bytes);
            }
            return self.repo.store.get_exactly(&ids::pack_key(pack)?, offset, len);
        };
        let bytes = rebuilt.get(offset as usize..offset.saturating_add(len) as usize);
        bytes.map(Bytes::copy_from_slice).ok_or_else(|| Error::new(ErrorKind::Corrupt, "pack", "the pack is shorter"))
    }

    /// Brings a damaged pack back by its parity, if that suffices; this reader then reads it as it was, as long as what is
    /// returned is held.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) fn bring_back(&self, pack: &PackName) -> Result<Option<Arc<Vec<u8>>>> {
        let found = self.shelf.bring_back(self.repo, pack)?;
        if found.is_some() {
            // A host's header with a flipped byte opens, and yields another key.
            locked(&self.packs).remove(pack);
        }
        Ok(found)
    }

    /// Decodes one segment from its sealed bytes into `scratch.raw`.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt`.
    pub fn decode(
        &self,
        pack: &PackName,
        number: u32,
        entry: &SegmentEntry,
        sealed: &[u8],
        scratch: &mut Scratch,
    ) -> Result<()> {
        scratch.load(sealed);
        scratch.open(&*self.pack(pack)?, number, entry)
    }

    /// Fetches and decodes one segment into `scratch.raw`.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt`.
    pub fn read(&self, pack: &PackName, number: u32, entry: &SegmentEntry, scratch: &mut Scratch) -> Result<()> {
        match self.read_once(pack, number, entry, scratch) {
            Err(error) if is_damage(&error) && self.kept.as_ref().is_some_and(|kept| kept.discard(pack)) => {
                tracing::warn!(pack = %pack.id, "the copy of a pack in the cache is no good; the repository is asked");
                locked(&self.packs).remove(pack);
                self.read_once(pack, number, entry, scratch)
            }
            done => done,
        }
    }

    fn read_once(&self, pack: &PackName, number: u32, entry: &SegmentEntry, scratch: &mut Scratch) -> Result<()> {
        let key = ids::pack_key(pack)?;
        let (from, end) = (u64::from(entry.offset), u64::from(entry.offset) + u64::from(entry.stored_len));
        let sealed = if end <= NEAR_BYTES && !locked(&self.packs).contains_key(pack) {
            // The header too, by the same request.
            let bytes = self.fetch(pack, 0, end)?;
            self.keep(pack, bytes.get(..PackHeader::BYTES).unwrap_or_default())?;
            bytes.slice(entry.offset as usize..)
        } else {
            self.fetch(pack, from, end - from)?
        };
        scratch.sealed = sealed.into();
        scratch.open(&*self.pack(pack)?, number, entry).map_err(|e| e.with("key", &key).with("segment", number))
    }

    /// What `read` makes of a stored copy of `id` that is whole.
    ///
    /// The first copy costs one look-up; others are looked for only if it is damaged.
    ///
    /// # Errors
    /// What the first copy yielded if no other is whole; that the store does not answer.
    pub(crate) fn read_any_copy<T>(
        &self,
        index: &LocalIndex,
        id: &ChunkId,
        mut read: impl FnMut(&Location) -> Result<T>,
    ) -> Result<T> {
        let first = locate(self.repo, index, id)?;
        match read(&first) {
            Err(error) if is_damage(&error) => match self.read_other_copy(index, id, &first.pack, read)? {
                Some(found) => Ok(found),
                None => Err(error),
            },
            done => done,
        }
    }

    /// What `read` makes of a copy of `id` outside the pack `damaged`, or of one that parity brings back; `None` if none is
    /// whole. If `index` knows none, the log is asked whether a prune moved the chunk since it was loaded.
    ///
    /// # Errors
    /// The local index or the log cannot be read, the store does not answer.
    pub(crate) fn read_other_copy<T>(
        &self,
        index: &LocalIndex,
        id: &ChunkId,
        damaged: &PackName,
        mut read: impl FnMut(&Location) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut tried = vec![*damaged];
        if let Some(found) = self.read_untried(index, id, &mut tried, &mut read)? {
            return Ok(Some(found));
        }
        for pack in &tried {
            if let Some(_at_hand) = self.bring_back(pack)?
                && let Some(at) = index.find(&id.short(), &|other| other != pack)?
            {
                match read(&at) {
                    Err(error) if is_damage(&error) => {}
                    done => return done.map(Some),
                }
            }
        }
        self.repo.refresh()?;
        let fresh = self.repo.index()?;
        if std::ptr::eq(&*fresh, index) { Ok(None) } else { self.read_untried(&fresh, id, &mut tried, &mut read) }
    }

    fn read_untried<T>(
        &self,
        index: &LocalIndex,
        id: &ChunkId,
        tried: &mut Vec<PackName>,
        read: &mut impl FnMut(&Location) -> Result<T>,
    ) -> Result<Option<T>> {
        let state = self.repo.state();
        while let Some(at) = index.find(&id.short(), &|pack| state.is_reclaimed(pack) || tried.contains(pack))? {
            match read(&at) {
                Ok(found) => {
                    // A pack that was reclaimed is not damaged, it was pruned.
                    for pack in tried.iter().filter(|pack| !state.is_reclaimed(pack)) {
                        if locked(&self.damaged).insert(*pack) {
                            tracing::warn!(pack = %pack.id, "a pack is damaged; what other packs hold too is taken from there");
                        }
                    }
                    return Ok(Some(found));
                }
                Err(error) if is_damage(&error) => tried.push(at.pack),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// The bytes of `chunk` in a decoded segment of a pack of `kind`, checked against as much of the id as the table has.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn chunk_in<'r>(repo: &Repository, kind: PackKind, raw: &'r [u8], chunk: &ChunkEntry) -> Result<&'r [u8]> {
    let domain = if kind == PackKind::Meta { Domain::Node } else { Domain::Content };
    let bytes = raw.get(chunk.offset as usize..(chunk.offset + chunk.len) as usize);
    bytes
        .filter(|bytes| repo.hasher.id(domain, bytes).short() == chunk.id)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "segment", "chunk does not match its id").with("chunk", chunk.id))
}

/// Where the live copy of `id` is, by `index` or by one loaded since; one in a pack that is known to be damaged only if
/// there is no other.
///
/// # Errors
/// `Corrupt` if no index knows it.
pub fn locate(repo: &Repository, index: &LocalIndex, id: &ChunkId) -> Result<Location> {
    let find = |index: &LocalIndex| {
        let state = repo.state();
        let found = index.find(&id.short(), &|pack| state.is_reclaimed(pack) || state.is_damaged(pack))?;
        if found.is_none() && state.damaged_packs().len() > 0 {
            return index.find(&id.short(), &|pack| state.is_reclaimed(pack));
        }
        Ok(found)
    };
    if let Some(found) = find(index)? {
        return Ok(found);
    }
    // The log was read on since, and says that a prune moved it.
    let fresh = repo.index()?;
    let moved = if std::ptr::eq(&*fresh, index) { None } else { find(&fresh)? };
    moved.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "index", "no index segment knows this chunk")
            .with("chunk", id)
            .with_hint("run `decube-backup verify` to see what is affected")
    })
}

/// Whether `error` says that a stored copy is missing or no good: another one may be.
pub(crate) fn is_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || is_unreadable(error)
}

/// What kind of problem it is that content could not be read.
pub(crate) fn loss(error: &Error) -> ProblemKind {
    if is_damage(error) { ProblemKind::Damaged } else { ProblemKind::Unreadable }
}
