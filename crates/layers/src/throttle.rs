//! Bounds on bytes per second, each way, and on requests at once.
//!
//! A rate is kept by a line in time: each transfer moves the line by `bytes / rate`, and nobody goes
//! ahead of it. So an object of any size passes, the average holds whatever the sizes, and a pause
//! earns no more than [`BURST`] of credit. A transfer whose future is dropped has still been paid for.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Idle time that may be made up for.
const BURST: Duration = Duration::from_millis(500);

/// What is bounded; `None` is without bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Bytes per second handed to `put`.
    pub upload_bytes_per_s: Option<NonZeroU64>,
    /// Bytes per second given back by `get`.
    pub download_bytes_per_s: Option<NonZeroU64>,
    /// Requests under way at once.
    pub requests_max: Option<NonZeroU64>,
}

/// Slows calls down to the limits.
pub struct ThrottleSink {
    inner: Arc<dyn Sink>,
    upload: Option<Rate>,
    download: Option<Rate>,
    requests: Option<Semaphore>,
}

impl ThrottleSink {
    /// Holds `inner` to `limits`.
    pub fn new(inner: Arc<dyn Sink>, limits: ThrottleLimits) -> Self {
        let permits = |n: NonZeroU64| usize::try_from(n.get()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            inner,
            upload: limits.upload_bytes_per_s.map(Rate::new),
            download: limits.download_bytes_per_s.map(Rate::new),
            requests: limits.requests_max.map(|n| Semaphore::new(permits(n))),
        }
    }

    async fn request(&self, operation: &'static str) -> Result<Option<SemaphorePermit<'_>>> {
        let Some(requests) = &self.requests else { return Ok(None) };
        let closed = |e| Error::new(ErrorKind::Internal, operation, "request limit is closed").with_source(e);
        requests.acquire().await.map(Some).map_err(closed)
    }
}

/// Bytes per second as a line in time.
struct Rate {
    bytes_per_s: NonZeroU64,
    line: Mutex<Option<Instant>>,
}

impl Rate {
    fn new(bytes_per_s: NonZeroU64) -> Self {
        Self { bytes_per_s, line: Mutex::new(None) }
    }

    /// Moves the line by `bytes`; the answer is where it stood and where it stands.
    fn pay(&self, bytes: usize) -> (Instant, Instant) {
        let now = Instant::now();
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_s.get());
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = line.map_or(now, |line| line.max(earliest));
        // A cost beyond the end of time is nobody's intention; waiting is bounded by the clock's range.
        let end = start.checked_add(cost).unwrap_or(start);
        *line = Some(end);
        (start, end)
    }
}

#[async_trait]
impl Sink for ThrottleSink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        if let Some(rate) = &self.upload {
            let (start, _) = rate.pay(bytes.len());
            tokio::time::sleep_until(start).await;
        }
        let _request = self.request("put").await?;
        self.inner.put(key, bytes, mode).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        let request = self.request("get").await?;
        let answer = self.inner.get(key, range).await?;
        drop(request);
        if let (Some(rate), Some(bytes)) = (&self.download, &answer) {
            // How much it would be was not known before: waiting comes after.
            let (_, end) = rate.pay(bytes.len());
            tokio::time::sleep_until(end).await;
        }
        Ok(answer)
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let _request = self.request("stat").await?;
        self.inner.stat(key).await
    }

    /// Counts as a request only while it is waited for: whoever reads objects while listing them
    /// would else wait for itself.
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        stream::unfold(Some(self.inner.list(prefix)), move |listing| async move {
            let mut listing = listing?;
            let item = match self.request("list").await {
                Ok(_request) => listing.next().await?,
                Err(error) => Err(error),
            };
            let more = item.is_ok().then_some(listing);
            Some((item, more))
        })
        .boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let _request = self.request("delete").await?;
        self.inner.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
