//! A store that swallows what a dry run would upload.

use crate::environment::Environment;
use crate::store::Store;
use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::ObjectMeta;
use decube_backup_core::{ByteRange, Capabilities, Key, PutMode, PutOutcome, Result, Rope, Sink};
use futures::stream::BoxStream;
use std::sync::Arc;

struct Discarding(Arc<dyn Sink>);

pub(super) fn discarding(env: &Environment) -> Store {
    Store::new(&Environment { sink: Arc::new(Discarding(env.sink.clone())), ..env.clone() })
}

#[async_trait]
impl Sink for Discarding {
    async fn put(&self, _key: &Key, _bytes: Rope, _mode: PutMode) -> Result<PutOutcome> {
        Ok(PutOutcome::Created)
    }
    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        self.0.get(key, range).await
    }
    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.0.stat(key).await
    }
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        self.0.list(prefix)
    }
    async fn delete(&self, _key: &Key) -> Result<()> {
        Ok(())
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}
