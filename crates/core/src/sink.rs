//! Repository storage: a flat space of small, whole objects.
//!
//! # Contract
//! 1. **Bounded objects.** No object is larger than [`crate::limits::OBJECT_BYTES_MAX`]; nothing
//!    streams, and multipart upload is a backend's private matter. `put` takes a rope of [`Bytes`],
//!    so nothing is copied together on the way.
//! 2. **Durable and whole.** When `put` resolves `Ok`, the object survives a crash of this process,
//!    of the machine and of the store, and every later `get` by anyone sees all of it.
//! 3. **One winner.** `PutMode::CreateNew` is linearizable: of concurrent callers exactly one gets
//!    [`PutOutcome::Created`], the others [`PutOutcome::AlreadyExists`]. After an error it is
//!    unknown whether the object exists; the caller must look.
//! 4. **Absent is not an error.** `get` and `stat` of an absent key are `Ok(None)`; `Err` means
//!    "could not tell".
//! 5. **Listings are hints.** `list` may be stale, but it is never silently truncated: the stream
//!    ends complete or with an error. No listing alone ever authorises a delete.
//! 6. **No retries inside.** Errors carry `kind` and [`crate::Retry`]; one layer decides.
//! 7. **Droppable.** Dropping any future mid-way leaves no torn object visible.
//! 8. **Never blocks the executor.** A backend with blocking calls hands them to a blocking pool.
//!
//! The conformance suite in `decube-backup-testkit` checks each number.

use crate::error::Result;
use crate::key::Key;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;

/// Bytes of one object in pieces, in order; so that an assembled object is never copied together.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Rope {
    /// An empty rope.
    pub fn new() -> Self {
        Self::default()
    }
    /// Appends `piece`.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        self.len += piece.len();
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }
    /// Total length, bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }
    /// One contiguous buffer; free for a single piece, a copy otherwise.
    pub fn into_bytes(mut self) -> Bytes {
        if self.pieces.len() == 1 {
            return self.pieces.pop().unwrap_or_default();
        }
        let mut all = BytesMut::with_capacity(self.len);
        for piece in &self.pieces {
            all.extend_from_slice(piece);
        }
        all.freeze()
    }
}

impl<T: Into<Bytes>> From<T> for Rope {
    fn from(bytes: T) -> Self {
        let mut rope = Self::new();
        rope.push(bytes);
        rope
    }
}

/// What `put` does when the key exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Lose: [`PutOutcome::AlreadyExists`], the stored object untouched.
    CreateNew,
    /// Replace atomically.
    Overwrite,
}

/// How a `put` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is now there, durable, with these bytes.
    Created,
    /// `CreateNew` lost: another object holds the name.
    AlreadyExists,
}

/// Which bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it.
    Full,
    /// `len` bytes from `offset`; the answer is shorter where the object ends, empty past its end.
    From {
        /// First byte.
        offset: u64,
        /// Bytes wanted; a longer answer is a bug.
        len: u64,
    },
}

/// What a store says of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its name.
    pub key: Key,
    /// Its length, bytes; 0 in a listing if the store cannot look at it, of which `stat` tells.
    pub len: u64,
    /// The store's own time of last write, Unix milliseconds, where it has one.
    pub modified_ms: Option<i64>,
}

/// What this store, as configured and probed, can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Contract 3 holds. Without it the store is refused for shared use.
    pub conditional_create: Support,
    /// `Overwrite` and `delete` are permitted at all (not on append-only credentials).
    pub mutable: Support,
    /// How far away it is: decides how many requests are kept in flight and what is cached.
    pub distance: Distance,
}

/// Whether a capability is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Claimed by the backend; `init` still probes it.
    Yes,
    /// Known to be missing.
    No,
}

/// How costly one request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// Microseconds: a file system on this machine.
    Local,
    /// Milliseconds: a store across a network.
    Remote,
}

/// Repository storage. See the module docs for the numbered contract.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Stores `bytes` under `key` (contracts 1–3, 7).
    ///
    /// # Errors
    /// `NoSpace`, `PermissionDenied`, `Unavailable`, `Io`; the object's existence is then unknown.
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome>;

    /// The bytes of `key` in `range`, `None` if there is no such object (contract 4).
    ///
    /// # Errors
    /// Whatever keeps the sink from telling.
    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>>;

    /// Length and time of `key`, `None` if there is no such object.
    ///
    /// # Errors
    /// Whatever keeps the sink from telling.
    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>>;

    /// Every object whose key starts with `prefix` (a plain string prefix, may be empty), in any
    /// order (contract 5).
    ///
    /// # Errors
    /// In band: the last item of the stream.
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>>;

    /// Removes `key`. Idempotent: an absent key is `Ok`.
    ///
    /// # Errors
    /// The object may or may not be gone.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// What this store can do.
    fn capabilities(&self) -> Capabilities;
}

/// Conveniences for callers; nothing here is for implementers.
#[async_trait]
pub trait SinkExt: Sink {
    /// The whole object, `NotFound` if absent.
    ///
    /// # Errors
    /// `NotFound`, or what `get` yields.
    async fn get_existing(&self, key: &Key) -> Result<Bytes> {
        self.get(key, ByteRange::Full).await?.ok_or_else(|| {
            crate::Error::new(crate::ErrorKind::NotFound, "get", "object is missing from the repository")
                .with("key", key)
        })
    }

    /// All objects under `prefix`, sorted by key.
    ///
    /// # Errors
    /// The first error of the stream.
    async fn list_sorted(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        use futures::TryStreamExt;
        let mut all: Vec<ObjectMeta> = self.list(prefix).try_collect().await?;
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }
}

impl<S: Sink + ?Sized> SinkExt for S {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rope_keeps_order_and_length() {
        let mut rope = Rope::from("ab");
        rope.push(Bytes::new());
        rope.push("cde");
        assert_eq!((rope.len(), rope.pieces().len()), (5, 2));
        assert_eq!(&rope.into_bytes()[..], b"abcde");
    }
}
