//! A sink that counts the calls passing through it: tests assert numbers of calls, not times.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::observe::Observed;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::{Key, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The operations of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// `put`
    Put,
    /// `get`
    Get,
    /// `stat`
    Stat,
    /// `list`
    List,
    /// `delete`
    Delete,
}

/// One call, in the order the calls were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub op: Op,
    /// The key, or the prefix of a `list`.
    pub key: String,
    /// Bytes handed to `put` or given back by `get`; objects given back by `list`.
    pub amount: u64,
}

/// Sum over calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of calls.
    pub calls: u64,
    /// Sum of [`Call::amount`].
    pub amount: u64,
}

/// Remembers every call made of the sink inside.
pub struct RecordingSink {
    inner: Arc<dyn Sink>,
    calls: Mutex<Vec<Call>>,
}

impl RecordingSink {
    /// Watches `inner`.
    pub fn new(inner: Arc<dyn Sink>) -> Self {
        Self { inner, calls: Mutex::new(Vec::new()) }
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// Calls of `op` whose key starts with `prefix`.
    pub fn tally(&self, op: Op, prefix: &str) -> Tally {
        let calls = self.lock();
        let matching = calls.iter().filter(|call| call.op == op && call.key.starts_with(prefix));
        matching.fold(Tally::default(), |sum, call| Tally { calls: sum.calls + 1, amount: sum.amount + call.amount })
    }

    /// Forgets the calls so far.
    pub fn reset(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, op: Op, key: &str, amount: usize) -> usize {
        let mut calls = self.lock();
        calls.push(Call { op, key: key.to_owned(), amount: amount as u64 });
        calls.len() - 1
    }

    fn add(&self, call: usize, amount: usize) {
        // `reset` may have come between: then nothing is left to add to.
        if let Some(call) = self.lock().get_mut(call) {
            call.amount += amount as u64;
        }
    }
}

#[async_trait]
impl Sink for RecordingSink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        self.start(Op::Put, key.as_str(), bytes.len());
        self.inner.put(key, bytes, mode).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        let call = self.start(Op::Get, key.as_str(), 0);
        let answer = self.inner.get(key, range).await;
        if let Ok(Some(bytes)) = &answer {
            self.add(call, bytes.len());
        }
        answer
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.start(Op::Stat, key.as_str(), 0);
        self.inner.stat(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        let call = self.start(Op::List, prefix, 0);
        Observed::new(self.inner.list(prefix), move |item: &Result<ObjectMeta>| {
            if item.is_ok() {
                self.add(call, 1);
            }
        })
        .boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.start(Op::Delete, key.as_str(), 0);
        self.inner.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemorySink;
    use decube_backup_core::SinkExt;
    use futures::executor::block_on;

    #[test]
    fn calls_are_counted_by_operation_and_prefix() {
        let sink = RecordingSink::new(Arc::new(MemorySink::new()));
        block_on(async {
            for name in ["log/1", "log/2", "packs/1"] {
                sink.put(&Key::new(name)?, "abc".into(), PutMode::CreateNew).await?;
            }
            sink.get(&Key::new("log/1")?, ByteRange::From { offset: 1, len: 9 }).await?;
            sink.list_sorted("log/").await?;
            sink.delete(&Key::new("log/1")?).await
        })
        .expect("memory");
        let cases = [
            (Op::Put, "", 3, 9),
            (Op::Put, "log/", 2, 6),
            (Op::Get, "", 1, 2),
            (Op::Stat, "", 0, 0),
            (Op::List, "", 1, 2),
            (Op::Delete, "log/", 1, 0),
        ];
        for (op, prefix, calls, amount) in cases {
            assert_eq!(sink.tally(op, prefix), Tally { calls, amount }, "{op:?} {prefix}");
        }
        sink.reset();
        assert_eq!(sink.calls(), []);
    }
}
