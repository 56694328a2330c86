//! A disk that does not give everything back.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope};
use decube_backup_core::{Error, ErrorKind, Key, Result, Sink};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::ops::Range;
use std::sync::Arc;

type Fails = Box<dyn Fn(&Key, Range<u64>) -> Option<ErrorKind> + Send + Sync>;

/// A sink on which some reading fails.
pub struct BadSectors {
    inner: Arc<dyn Sink>,
    fails: Fails,
    /// Whether looking at an object of which nothing can be read fails too.
    in_inodes: bool,
}

impl BadSectors {
    /// Reading anything that overlaps these bytes of an object fails, as a disk with bad sectors does it.
    pub fn in_object(inner: Arc<dyn Sink>, key: Key, bytes: Range<u64>) -> Self {
        let overlap = move |range: Range<u64>| range.start < bytes.end && bytes.start < range.end;
        let fails = move |read: &Key, range| (*read == key && overlap(range)).then_some(ErrorKind::Io);
        Self { inner, fails: Box::new(fails), in_inodes: false }
    }

    /// Reading anything of objects that `fails` takes is an error of that kind.
    pub fn in_objects(
        inner: Arc<dyn Sink>,
        kind: ErrorKind,
        fails: impl Fn(&Key) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { inner, fails: Box::new(move |key, _| fails(key).then_some(kind)), in_inodes: false }
    }

    /// The same, and neither can they be looked at: `Io` are listed as of no length, others not at all.
    pub fn in_inodes(
        inner: Arc<dyn Sink>,
        kind: ErrorKind,
        fails: impl Fn(&Key) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { in_inodes: true, ..Self::in_objects(inner, kind, fails) }
    }

    /// How looking at an object fails, if it does.
    fn inode(&self, key: &Key) -> Option<ErrorKind> {
        (self.fails)(key, 0..u64::MAX).filter(|_| self.in_inodes)
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
        match self.inode(key) {
            Some(kind) => Err(Error::new(kind, "stat", "the medium is broken")),
            None => self.inner.stat(key).await,
        }
    }
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        let shown = move |found: Result<ObjectMeta>| match found {
            Ok(object) => match self.inode(&object.key) {
                Some(ErrorKind::Io) => Some(Ok(ObjectMeta { len: 0, modified_ms: None, ..object })),
                Some(_) => None,
                None => Some(Ok(object)),
            },
            failed => Some(failed),
        };
        self.inner.list(prefix).filter_map(move |found| std::future::ready(shown(found))).boxed()
    }
    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
