//! A disk that does not give everything back.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope};
use decube_backup_core::{Error, ErrorKind, Key, Result, Sink};
use futures::stream::BoxStream;
use std::ops::Range;
use std::sync::Arc;

type Fails = Box<dyn Fn(&Key, Range<u64>) -> Option<ErrorKind> + Send + Sync>;

/// A sink on which some reading fails.
pub struct BadSectors {
    inner: Arc<dyn Sink>,
    fails: Fails,
}

impl BadSectors {
    /// Reading anything that overlaps these bytes of an object fails, as a disk with bad sectors does it.
    pub fn in_object(inner: Arc<dyn Sink>, key: Key, bytes: Range<u64>) -> Self {
        let overlap = move |range: Range<u64>| range.start < bytes.end && bytes.start < range.end;
        let fails = move |read: &Key, range| (*read == key && overlap(range)).then_some(ErrorKind::Io);
        Self { inner, fails: Box::new(fails) }
    }

    /// Reading anything of objects that `fails` takes is an error of that kind.
    pub fn in_objects(
        inner: Arc<dyn Sink>,
        kind: ErrorKind,
        fails: impl Fn(&Key) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { inner, fails: Box::new(move |key, _| fails(key).then_some(kind)) }
    }
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
        match (self.fails)(key, from..to) {
            Some(kind) => Err(Error::new(kind, "get", "the medium is broken")),
            None => self.inner.get(key, range).await,
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
