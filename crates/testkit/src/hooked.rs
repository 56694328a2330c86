//! A sink that tells of every step which changes the store, right before and right after its effect.
//!
//! What a step is, and when a process may be killed, a disk be full or somebody else come in between: one place for all.

use crate::recording::Op;
use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::{Key, Result};
use futures::stream::BoxStream;
use std::sync::Arc;

/// On which side of a step's effect its hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened. An error keeps it so, and is the answer to the call.
    Before,
    /// It has happened, successfully. An error is the answer to the call: its author is not told.
    After,
}

/// Calls a hook around each `put` and `delete`; everything else passes through.
///
/// The hook runs inside the call: what it blocks on must not need the thread it is on.
pub struct HookedSink<H> {
    inner: Arc<dyn Sink>,
    hook: H,
}

impl<H: Fn(Moment, Op, &Key) -> Result<()> + Send + Sync + 'static> HookedSink<H> {
    /// Calls `hook` around what changes `inner`. The operation is [`Op::Put`] or [`Op::Delete`].
    pub fn new(inner: Arc<dyn Sink>, hook: H) -> Self {
        Self { inner, hook }
    }
}

#[async_trait]
impl<H: Fn(Moment, Op, &Key) -> Result<()> + Send + Sync + 'static> Sink for HookedSink<H> {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        (self.hook)(Moment::Before, Op::Put, key)?;
        let outcome = self.inner.put(key, bytes, mode).await?;
        (self.hook)(Moment::After, Op::Put, key)?;
        Ok(outcome)
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
        (self.hook)(Moment::Before, Op::Delete, key)?;
        self.inner.delete(key).await?;
        (self.hook)(Moment::After, Op::Delete, key)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemorySink;
    use decube_backup_core::{Error, ErrorKind};
    use futures::executor::block_on;
    use std::sync::Mutex;

    #[test]
    fn the_hook_is_called_on_both_sides_and_may_refuse_on_either() {
        for (refused, stored) in [(None, false), (Some((Moment::Before, Op::Put)), false)]
            .into_iter()
            .chain([(Some((Moment::After, Op::Put)), true), (Some((Moment::Before, Op::Delete)), true)])
        {
            let (memory, told) = (Arc::new(MemorySink::new()), Arc::new(Mutex::new(Vec::new())));
            let calls = told.clone();
            let sink = HookedSink::new(memory.clone(), move |moment, op, _: &Key| {
                calls.lock().expect("lock").push((moment, op));
                match refused {
                    Some(at) if at == (moment, op) => Err(Error::new(ErrorKind::NoSpace, "put", "no")),
                    _ => Ok(()),
                }
            });
            let key = Key::new("a").expect("legal");
            let done = block_on(async {
                sink.put(&key, "x".into(), PutMode::CreateNew).await?;
                sink.delete(&key).await
            });
            assert_eq!(done.is_err(), refused.is_some());
            assert_eq!(memory.objects().contains_key(&key), stored, "{refused:?}");
            let all = [Op::Put, Op::Delete].map(|op| [(Moment::Before, op), (Moment::After, op)]).concat();
            let told = told.lock().expect("lock");
            assert_eq!(told.last().copied(), refused.or(all.last().copied()));
            assert!(all.starts_with(&told));
        }
    }
}
