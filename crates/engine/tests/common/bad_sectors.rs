//! A disk that does not give everything back.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope};
use decube_backup_core::{Error, ErrorKind, Key, Result, Sink};
use futures::stream::BoxStream;
use std::ops::Range;
use std::sync::Arc;

/// A sink on which reading anything that overlaps these bytes of an object fails, as a disk with bad sectors does.
pub struct BadSectors {
    pub inner: Arc<dyn Sink>,
    pub key: Key,
    pub bytes: Range<u64>,
}

#[async_trait]
impl Sink for BadSectors {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        self.inner.put(key, bytes, mode).await
    }
    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        let (from, to) = match range {
            ByteRange::From { offset, len } => (offset, offset.saturating_add(len)),
            _ => (0, u64::MAX),
        };
        match *key == self.key && from < self.bytes.end && self.bytes.start < to {
            true => Err(Error::new(ErrorKind::Io, "get", "the medium is broken")),
            false => self.inner.get(key, range).await,
        }
    }
    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.inner.stat(key).await
    }
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
