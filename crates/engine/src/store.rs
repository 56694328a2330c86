//! The sink as blocking calls: the engine's threads wait, the runtime does the I/O.

use crate::environment::Environment;
use bytes::Bytes;
use decube_backup_core::sink::ObjectMeta;
use decube_backup_core::{
    ByteRange, Capabilities, Error, ErrorKind, Key, PutMode, PutOutcome, Result, Rope, Sink, SinkExt,
};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Whether `error` says of an object that is there that it cannot be used; the others say nothing about the object.
///
/// A flipped byte may also look like a codec of the future, and a bad sector is an error of reading.
pub(crate) fn is_unreadable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Io)
}

/// A sink and the runtime that drives it.
#[derive(Clone)]
pub struct Store {
    sink: Arc<dyn Sink>,
    runtime: Handle,
}

impl Store {
    /// From an environment.
    pub fn new(env: &Environment) -> Self {
        Self { sink: env.sink.clone(), runtime: env.runtime.clone() }
    }

    /// What the sink can do.
    pub fn capabilities(&self) -> Capabilities {
        self.sink.capabilities()
    }

    /// The whole object; `None` if absent.
    ///
    /// # Errors
    /// As [`Sink::get`].
    pub fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.runtime.block_on(self.sink.get(key, ByteRange::Full))
    }

    /// The whole object, which must exist.
    ///
    /// # Errors
    /// `NotFound`, or as [`Sink::get`].
    pub fn get_existing(&self, key: &Key) -> Result<Bytes> {
        self.runtime.block_on(self.sink.get_existing(key))
    }

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// `NotFound` if the object is missing, `Corrupt` if it is shorter.
    pub fn get_exactly(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes> {
        match self.get_range(key, offset, len)? {
            Some(bytes) if bytes.len() as u64 == len => Ok(bytes),
            Some(_) => Err(Error::new(ErrorKind::Corrupt, "get", "object is shorter than recorded").with("key", key)),
            None => {
                Err(Error::new(ErrorKind::NotFound, "get", "object is missing from the repository").with("key", key))
            }
        }
    }

    /// Up to `len` bytes from `offset`, fewer at the object's end; `None` if it is absent.
    ///
    /// # Errors
    /// As [`Sink::get`].
    pub fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Option<Bytes>> {
        self.runtime.block_on(self.sink.get(key, ByteRange::From { offset, len }))
    }

    /// Starts a [`Self::get_range`]; [`Self::wait`] tells how it ended.
    pub fn start_get_range(&self, key: Key, offset: u64, len: u64) -> JoinHandle<Result<Option<Bytes>>> {
        let sink = self.sink.clone();
        self.runtime.spawn(async move { sink.get(&key, ByteRange::From { offset, len }).await })
    }

    /// As [`Sink::stat`].
    ///
    /// # Errors
    /// As there.
    pub fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.runtime.block_on(self.sink.stat(key))
    }

    /// As [`Sink::put`].
    ///
    /// # Errors
    /// As there.
    pub fn put(&self, key: &Key, bytes: impl Into<Rope>, mode: PutMode) -> Result<PutOutcome> {
        self.runtime.block_on(self.sink.put(key, bytes.into(), mode))
    }

    /// As [`Sink::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, key: &Key) -> Result<()> {
        self.runtime.block_on(self.sink.delete(key))
    }

    /// All objects under `prefix`, sorted.
    ///
    /// # Errors
    /// The first error of the listing.
    pub fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.runtime.block_on(self.sink.list_sorted(prefix))
    }

    /// Starts a `CreateNew` of an object under a fresh random name; the buffer comes back for reuse.
    ///
    /// A name that is taken is a collision of 128 random bits or our own first attempt whose
    /// acknowledgement was lost: equal bytes count as success, others are `AlreadyExists`. [`Self::wait`] tells how it ended.
    pub fn start_put_new(&self, key: Key, bytes: Vec<u8>) -> JoinHandle<Result<Vec<u8>>> {
        let sink = self.sink.clone();
        self.runtime.spawn(async move {
            let bytes = Bytes::from(bytes);
            if sink.put(&key, Rope::from(bytes.clone()), PutMode::CreateNew).await? == PutOutcome::AlreadyExists {
                let there = sink.get_existing(&key).await?;
                if there != bytes {
                    return Err(Error::new(
                        ErrorKind::AlreadyExists,
                        "put",
                        "a random object name is taken by other bytes",
                    )
                    .with("key", &key));
                }
            }
            Ok(Vec::from(bytes))
        })
    }

    /// Starts a [`Sink::delete`]; [`Self::wait`] tells how it ended.
    pub fn start_delete(&self, key: Key) -> JoinHandle<Result<()>> {
        let sink = self.sink.clone();
        self.runtime.spawn(async move { sink.delete(&key).await })
    }

    /// Waits for what was started.
    ///
    /// # Errors
    /// What it yielded; `Internal` if its task died.
    pub fn wait<T>(&self, task: JoinHandle<Result<T>>) -> Result<T> {
        self.runtime
            .block_on(task)
            .map_err(|e| Error::new(ErrorKind::Internal, "wait", format!("a storage task died: {e}")))?
    }
}
