//! A sink that lets something happen right after an object was stored, before its author knows.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::{Key, Result};
use futures::stream::BoxStream;
use std::sync::{Arc, Mutex};

/// Calls `act` once, after the first put of a key that starts with `prefix`.
pub struct Meddling<F> {
    inner: Arc<dyn Sink>,
    prefix: &'static str,
    act: Mutex<Option<F>>,
}

impl<F: FnOnce(&Key) + Send + 'static> Meddling<F> {
    pub fn new(inner: Arc<dyn Sink>, prefix: &'static str, act: F) -> Self {
        Self { inner, prefix, act: Mutex::new(Some(act)) }
    }

    /// Whether it happened.
    pub fn done(&self) -> bool {
        self.act.lock().expect("lock").is_none()
    }
}

#[async_trait]
impl<F: FnOnce(&Key) + Send + 'static> Sink for Meddling<F> {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        let outcome = self.inner.put(key, bytes, mode).await;
        if key.as_str().starts_with(self.prefix)
            && let Some(act) = self.act.lock().expect("lock").take()
        {
            // It may block on a runtime of its own, which a task must not.
            std::thread::scope(|scope| scope.spawn(|| act(key)).join()).expect("no panic");
        }
        outcome
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
        self.inner.delete(key).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
