//! Refuses every change: for mounts, drills, and looking at a repository that must stay as it is.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink, Support};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use futures::stream::BoxStream;
use std::sync::Arc;

/// Passes reads on and answers `put` and `delete` with `PermissionDenied`.
pub struct ReadOnlySink {
    inner: Arc<dyn Sink>,
}

impl ReadOnlySink {
    /// Protects `inner`.
    pub fn new(inner: Arc<dyn Sink>) -> Self {
        Self { inner }
    }
}

fn refused(operation: &'static str, key: &Key) -> Error {
    Error::new(ErrorKind::PermissionDenied, operation, "repository is opened read-only")
        .with("key", key)
        .with_hint("leave out the read-only option to change the repository; nothing was changed")
}

#[async_trait]
impl Sink for ReadOnlySink {
    async fn put(&self, key: &Key, _bytes: Rope, _mode: PutMode) -> Result<PutOutcome> {
        Err(refused("put", key))
    }
    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        self.inner.get(key, range).await
    }
    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.inner.stat(key).await
    }
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn delete(&self, key: &Key) -> Result<()> {
        Err(refused("delete", key))
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { conditional_create: Support::No, mutable: Support::No, ..self.inner.capabilities() }
    }
}
