//! From new chunks to uploaded packs.
//!
//! ```text
//! push(chunk) → segment being filled → compress (workers) → seal + assemble (one packer, in order) → upload tasks
//! ```
//! Channels between the stages are bounded in segments, so memory is bounded by `(3 × workers + 5) × segment + (uploads + 2) × pack`,
//! of which what waits for its pack is compressed if that pays. Buffers travel back for reuse: a fresh page costs more than
//! compressing what is in it. Parity, if asked for, takes one pack more to compute and is part of what is being uploaded.
//!
//! Nothing here is visible to anyone before a log record names the packs; a crash leaves orphans only.
//!
//! | module | holds |
//! |---|---|
//! | `compress` | the compression stage |
//! | `packer` | seals segments in order, closes packs, makes their parity, uploads both |
//! | `sealer` | beginning packs: under whose keys, and how they are named |
//! | `pool` | buffers of segments, used again |

mod compress;
mod packer;
mod pool;
mod sealer;

use crate::environment::Environment;
use crate::segments::KeptPacks;
use crate::store::Store;
use crossbeam_channel::{Receiver, Sender, bounded};
use decube_backup_core::limits::UPLOADS_IN_FLIGHT_MAX;
use decube_backup_core::sink::Distance;
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::codec::{Codec, Effort};
use decube_backup_format::header::Header;
use decube_backup_format::ids::{PackKind, PackName, RepositoryId, ShortId};
use decube_backup_format::pack::{ChunkEntry, Footer, SegmentEntry};
use decube_backup_format::parity::Overhead;
use pool::{Buffer, Pools};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

pub use packer::AddedPack;
pub use sealer::PackSealer;

/// Segments on their way to the packer, for each worker. While it waits for one that takes long to compress, what comes behind
/// it must not stop: with one, an image of mixed content took 7 % longer to store.
const SEGMENTS_WAITING: usize = 2;

/// Sizes and effort of one writing session.
#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    /// Raw bytes of a full compressed segment.
    pub segment_bytes: usize,
    /// Data pack size aimed at.
    pub data_pack_bytes: usize,
    /// Metadata pack size aimed at.
    pub meta_pack_bytes: usize,
    /// How hard to compress.
    pub effort: Effort,
    /// Compression threads.
    pub workers: usize,
    /// Packs uploaded at once.
    pub uploads: usize,
    /// Parity that each pack gets.
    pub parity: Overhead,
}

impl WriterSettings {
    /// What suits a repository with `header` whose storage is at `distance`, in the world `env`.
    pub(crate) fn new(header: &Header, distance: Distance, env: &Environment, effort: Option<Effort>) -> Self {
        Self {
            segment_bytes: header.segment_bytes as usize,
            data_pack_bytes: header.pack_data_bytes as usize,
            meta_pack_bytes: header.pack_meta_bytes as usize,
            effort: effort.unwrap_or(Effort::Balanced),
            workers: env.workers(),
            uploads: match distance {
                // One pack is durable long before the next is full; a second would only hold memory.
                Distance::Local => 1,
                Distance::Remote => UPLOADS_IN_FLIGHT_MAX,
            },
            parity: env.parity,
        }
    }

    /// Raw bytes at which a segment of `lane` is full.
    pub(crate) fn full_at(&self, lane: Lane) -> usize {
        match lane {
            Lane::Solid => self.segment_bytes,
            Lane::Stored => self.segment_bytes / 4,
            Lane::Meta => self.segment_bytes.min(1 << 20),
        }
    }
}

/// Which stream of segments a chunk joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Content worth compressing, in walk order.
    Solid,
    /// Content that looks random: stored as it is.
    Stored,
    /// Tree and list nodes.
    Meta,
}

/// A segment being filled.
struct Filling {
    lane: Lane,
    full_at: usize,
    raw: Option<Buffer>,
    chunks: Vec<(ShortId, u32)>,
}

/// A segment on its way through the stages.
struct Segment {
    /// Its chunks one after the other, encoded by `codec`.
    body: Buffer,
    /// `Stored` before it is compressed.
    codec: Codec,
    /// Length of its chunks together.
    raw_len: u32,
    /// Id and length of each chunk.
    chunks: Vec<(ShortId, u32)>,
}

/// A segment to compress.
struct Job {
    lane: Lane,
    segment: Segment,
    done: Sender<Segment>,
}

enum Ordered {
    Segment(PackKind, Receiver<Segment>),
    /// Close all packs, wait for all uploads, answer with what was added since the last answer.
    Flush(Sender<Vec<AddedPack>>),
    /// Give up the packs that are not full, wait for all uploads, answer with those that succeeded since the last answer.
    Stop(Sender<Vec<AddedPack>>),
}

/// The first error of any stage.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    pub(crate) fn set(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
    pub(crate) fn try_take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
    pub(crate) fn take(&self, what: &'static str) -> Error {
        self.try_take().unwrap_or_else(|| Error::new(ErrorKind::Internal, what, "a stage of the pipeline ended early"))
    }
}

/// What the stages need of a repository.
#[derive(Clone, Copy)]
pub struct WriterContext<'a> {
    /// Where packs go.
    pub store: &'a Store,
    /// Keys.
    pub sealer: &'a PackSealer,
    /// Pack names.
    pub entropy: &'a dyn Entropy,
    /// Repository.
    pub repository: RepositoryId,
    /// Told about stored bytes.
    pub monitor: &'a dyn decube_backup_core::monitor::Monitor,
    /// Keeps the metadata packs that were stored.
    pub(crate) kept: Option<&'a KeptPacks>,
}

/// Takes new chunks; owned by the one thread that decides what is new.
pub struct ChunkWriter {
    segments: [Filling; 3],
    jobs: Sender<Job>,
    order: Sender<Ordered>,
    pools: Pools,
    failure: Failure,
}

impl ChunkWriter {
    /// Starts the stages in `scope`; they end when the writer is dropped.
    pub fn start<'scope, 'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        context: WriterContext<'env>,
        settings: WriterSettings,
    ) -> Self {
        let (jobs, jobs_out) = bounded::<Job>(0);
        let (order, order_out) = bounded(SEGMENTS_WAITING * settings.workers);
        let (pools, failure) = (Pools::default(), Failure::default());
        for _ in 0..settings.workers {
            let (jobs, pools, failure) = (jobs_out.clone(), pools.clone(), failure.clone());
            scope.spawn(move || compress::run(&jobs, settings, &pools, &failure));
        }
        let packer = packer::Packer::new(context, settings);
        let packer_failure = failure.clone();
        scope.spawn(move || packer.run(&order_out, &packer_failure));
        let filling = |lane| Filling { lane, full_at: settings.full_at(lane), raw: None, chunks: Vec::new() };
        let segments = [Lane::Solid, Lane::Stored, Lane::Meta].map(filling);
        Self { segments, jobs, order, pools, failure }
    }

    /// Adds a new chunk.
    ///
    /// # Errors
    /// The first error of any later stage.
    pub fn push(&mut self, lane: Lane, id: ShortId, bytes: &[u8]) -> Result<()> {
        let at = lane as usize;
        let is_full = |s: &Filling| s.raw.as_ref().is_some_and(|raw| raw.len() + bytes.len() > s.full_at);
        if self.segments.get(at).is_some_and(is_full) {
            self.send(at)?;
        }
        if let Some(segment) = self.segments.get_mut(at) {
            let raw = segment.raw.get_or_insert_with(|| self.pools.raw.take(segment.full_at));
            raw.extend_from_slice(bytes);
            segment.chunks.push((id, bytes.len() as u32));
        }
        Ok(())
    }

    /// Adds a whole segment as another pack had it: its entry there, its chunks, its decrypted `body`. Returns a buffer in
    /// place of the body.
    ///
    /// # Errors
    /// The first error of any later stage.
    pub(crate) fn push_whole(
        &mut self,
        kind: PackKind,
        entry: &SegmentEntry,
        chunks: &[ChunkEntry],
        body: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let len = body.len();
        let body = self.pools.whole.adopt(body);
        let chunks = chunks.iter().map(|chunk| (chunk.id, chunk.len)).collect();
        let (done, result) = bounded(1);
        let _ = done.send(Segment { body, codec: entry.codec, raw_len: entry.raw_len, chunks });
        self.order.send(Ordered::Segment(kind, result)).map_err(|_| self.failure.take("pipeline"))?;
        Ok(self.pools.whole.take(len).keep())
    }

    fn send(&mut self, at: usize) -> Result<()> {
        let Some(segment) = self.segments.get_mut(at) else { return Ok(()) };
        let Some(body) = segment.raw.take() else { return Ok(()) };
        let chunks = std::mem::take(&mut segment.chunks);
        let kind = if segment.lane == Lane::Meta { PackKind::Meta } else { PackKind::Data };
        // The packer takes what comes after a failure and drops it: nothing is read and compressed in vain for long.
        if let Some(error) = self.failure.try_take() {
            return Err(error);
        }
        let (done, result) = bounded(1);
        let raw_len = body.len() as u32;
        let job = Job { lane: segment.lane, segment: Segment { body, codec: Codec::Stored, raw_len, chunks }, done };
        if self.order.send(Ordered::Segment(kind, result)).is_err() || self.jobs.send(job).is_err() {
            return Err(self.failure.take("pipeline"));
        }
        Ok(())
    }

    /// Uploads everything pushed so far and waits until it is durable.
    ///
    /// Returns the packs added since the last flush, in order.
    ///
    /// # Errors
    /// The first error of any stage; uploaded packs stay as orphans.
    pub fn flush(&mut self) -> Result<Vec<AddedPack>> {
        for at in 0..self.segments.len() {
            self.send(at)?;
        }
        let (answer, added) = bounded(1);
        let sent = self.order.send(Ordered::Flush(answer)).is_ok();
        sent.then(|| added.recv().ok()).flatten().ok_or_else(|| self.failure.take("pipeline"))
    }

    /// Gives up what is in no full pack yet and waits for the full ones; returns those that became durable and that no
    /// flush returned. After a failure too.
    pub fn stop(&mut self) -> Vec<AddedPack> {
        let (answer, added) = bounded(1);
        let _ = self.order.send(Ordered::Stop(answer));
        added.recv().unwrap_or_default()
    }
}

/// Name and contents of an added pack, for the index.
pub(crate) fn tables(added: &[AddedPack]) -> impl ExactSizeIterator<Item = (PackName, &Footer)> {
    added.iter().map(|p| (p.name, &p.footer))
}
