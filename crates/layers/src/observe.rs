//! Counters and one DEBUG event for every call.
//!
//! Fields are the project's fixed names: `backend op key bytes elapsed_ms error_kind`. Failed calls
//! are no warnings here: whoever handles the error knows whether it matters.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::observe::Observed;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::world::Clock;
use decube_backup_core::{Error, Key, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::Instrument;

/// Sums over the calls of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpStats {
    /// Calls that ended, with or without success. A call whose future was dropped has not.
    pub calls: u64,
    /// Calls that ended with an error.
    pub errors: u64,
    /// Bytes handed to successful `put`s or given back by `get`s; objects given back by `list`s.
    pub amount: u64,
    /// Time between call and end, added up over calls that may have run at once. For a `list` it
    /// includes the reader's own time.
    pub elapsed: Duration,
}

/// Sums over all calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// `put`
    pub put: OpStats,
    /// `get`
    pub get: OpStats,
    /// `stat`
    pub stat: OpStats,
    /// `list`, counted when the stream ends or fails
    pub list: OpStats,
    /// `delete`
    pub delete: OpStats,
}

/// Watches the calls of the sink inside.
pub struct ObserveSink {
    inner: Arc<dyn Sink>,
    backend: String,
    clock: Arc<dyn Clock>,
    put: Counters,
    get: Counters,
    stat: Counters,
    list: Counters,
    delete: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    errors: AtomicU64,
    amount: AtomicU64,
    elapsed_ns: AtomicU64,
}

impl Counters {
    fn read(&self) -> OpStats {
        OpStats {
            calls: self.calls.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            amount: self.amount.load(Ordering::Relaxed),
            elapsed: Duration::from_nanos(self.elapsed_ns.load(Ordering::Relaxed)),
        }
    }

    /// Counts one call that ended, and tells of it.
    fn end(&self, amount: u64, elapsed: Duration, error: Option<&Error>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.amount.fetch_add(amount, Ordering::Relaxed);
        self.elapsed_ns.fetch_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let elapsed_ms = elapsed.as_secs_f64() * 1000.0;
        match error {
            None => tracing::debug!(bytes = amount, elapsed_ms, "done"),
            Some(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(elapsed_ms, error_kind = ?error.kind(), error = error.chain(), "failed");
            }
        }
    }
}

impl ObserveSink {
    /// Watches `inner`, told apart from other sinks by the name `backend`.
    pub fn new(inner: Arc<dyn Sink>, backend: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            backend: backend.into(),
            clock,
            put: Counters::default(),
            get: Counters::default(),
            stat: Counters::default(),
            list: Counters::default(),
            delete: Counters::default(),
        }
    }

    /// The sums so far.
    pub fn stats(&self) -> SinkStats {
        SinkStats {
            put: self.put.read(),
            get: self.get.read(),
            stat: self.stat.read(),
            list: self.list.read(),
            delete: self.delete.read(),
        }
    }

    fn span(&self, op: &'static str, key: &str) -> tracing::Span {
        tracing::debug_span!("sink", backend = %self.backend, op, key)
    }

    /// Times `call`; `amount` says how much a successful answer stands for.
    async fn watch<T>(
        &self,
        op: &'static str,
        key: &Key,
        counters: &Counters,
        call: impl Future<Output = Result<T>>,
        amount: impl FnOnce(&T) -> usize,
    ) -> Result<T> {
        let timed = async {
            let start = self.clock.monotonic();
            let answer = call.await;
            let elapsed = self.clock.monotonic().saturating_sub(start);
            counters.end(answer.as_ref().map_or(0, amount) as u64, elapsed, answer.as_ref().err());
            answer
        };
        timed.instrument(self.span(op, key.as_str())).await
    }
}

#[async_trait]
impl Sink for ObserveSink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        let len = bytes.len();
        self.watch("put", key, &self.put, self.inner.put(key, bytes, mode), |_| len).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        self.watch("get", key, &self.get, self.inner.get(key, range), len).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.watch("stat", key, &self.stat, self.inner.stat(key), |_| 0).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        let span = self.span("list", prefix);
        let start = self.clock.monotonic();
        // The end of a stream is no item; an item of our own makes it visible.
        let items = self.inner.list(prefix).map(Some).chain(futures::stream::iter([None]));
        let (mut objects, mut ended) = (0, false);
        let see = move |item: &Option<Result<ObjectMeta>>| {
            let error = match item {
                Some(Ok(_)) => {
                    objects += 1;
                    return;
                }
                Some(Err(error)) => Some(error),
                None => None,
            };
            if !std::mem::replace(&mut ended, true) {
                let elapsed = self.clock.monotonic().saturating_sub(start);
                span.in_scope(|| self.list.end(objects, elapsed, error));
            }
        };
        Observed::new(items, see).filter_map(async |item| item).boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.watch("delete", key, &self.delete, self.inner.delete(key), |()| 0).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
