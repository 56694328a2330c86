//! The one layer that tries again.
//!
//! A backend says whether the same call may succeed later ([`Retry`]); this layer obeys, with a bound
//! on attempts, growing delays and jitter, so that many clients do not come back all at once.
//!
//! A `CreateNew` whose first attempt took effect before its error is answered `AlreadyExists` by the
//! second. That answer is passed on as it is: only the caller can tell, by the bytes, whether the
//! object that is there is its own.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, Key, Result, Retry};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A listing that broke after more objects than this is not begun anew: what was already passed on
/// has to be remembered to pass nothing on twice.
const LIST_RESUME_OBJECTS_MAX: usize = 1_000_000;

/// How often and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 0 counts as 1.
    pub attempts_max: u32,
    /// Delay before the second attempt; doubles with each further one.
    pub delay_first: Duration,
    /// No delay of our own choosing is longer. What the store asks for may be.
    pub delay_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 8, delay_first: Duration::from_millis(100), delay_max: Duration::from_secs(30) }
    }
}

/// Repeats calls as their errors allow. Dropping a future stops between or inside attempts; what the
/// attempt under way leaves behind is the inner sink's matter.
pub struct RetrySink {
    inner: Arc<dyn Sink>,
    policy: RetryPolicy,
    entropy: Arc<dyn Entropy>,
}

impl RetrySink {
    /// Repeats calls of `inner`; `entropy` makes the jitter.
    pub fn new(inner: Arc<dyn Sink>, policy: RetryPolicy, entropy: Arc<dyn Entropy>) -> Self {
        Self { inner, policy, entropy }
    }

    /// Waits as `error` of attempt number `attempt` (from 1) allows.
    ///
    /// # Errors
    /// `error` itself if there is to be no further attempt.
    async fn wait(&self, operation: &'static str, key: &str, attempt: u32, error: Error) -> Result<()> {
        if error.retry() == Retry::Never {
            return Err(error);
        }
        if attempt >= self.policy.attempts_max {
            return Err(error.with("attempts", attempt));
        }
        let delay = self.delay(attempt, error.retry());
        tracing::warn!(
            op = operation,
            key,
            attempt,
            delay_ms = delay.as_millis() as u64,
            error_kind = ?error.kind(),
            error = error.chain(),
            "trying again"
        );
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Half of the exponential delay and a random part of the other half; at least what was asked for.
    fn delay(&self, attempt: u32, retry: Retry) -> Duration {
        let doubled = 1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX);
        let own = self.policy.delay_first.saturating_mul(doubled).min(self.policy.delay_max);
        let mut random = [0; 2];
        // Without entropy the full delay is right too, only less spread.
        let part = self.entropy.fill(&mut random).map_or(u16::MAX, |()| u16::from_le_bytes(random));
        let spread = own / 2 + (own / 2).saturating_mul(u32::from(part)) / u32::from(u16::MAX);
        match retry {
            Retry::After(asked) => asked.saturating_add(spread.min(asked / 4)).max(asked),
            Retry::Now | Retry::Never => spread,
        }
    }
}

/// Repeats `$call` until it succeeds or is not to be repeated.
macro_rules! repeat {
    ($self:ident, $operation:literal, $key:ident, $call:expr) => {{
        let mut attempt = 1;
        loop {
            match $call.await {
                Ok(answer) => return Ok(answer),
                Err(error) => $self.wait($operation, $key.as_str(), attempt, error).await?,
            }
            attempt += 1;
        }
    }};
}

/// Where a listing stands that may have to begin anew.
struct Listing<'a> {
    stream: BoxStream<'a, Result<ObjectMeta>>,
    passed: HashSet<Key>,
    attempt: u32,
    ended: bool,
}

#[async_trait]
impl Sink for RetrySink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        repeat!(self, "put", key, self.inner.put(key, bytes.clone(), mode))
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        repeat!(self, "get", key, self.inner.get(key, range))
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        repeat!(self, "stat", key, self.inner.stat(key))
    }

    /// A listing that breaks begins anew, without what was already passed on.
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        let prefix = prefix.to_owned();
        let listing = Listing { stream: self.inner.list(&prefix), passed: HashSet::new(), attempt: 1, ended: false };
        stream::unfold((listing, prefix), move |(mut listing, prefix)| async move {
            while !listing.ended {
                match listing.stream.next().await {
                    None => return None,
                    Some(Ok(meta)) => {
                        if listing.passed.contains(&meta.key) {
                            continue;
                        }
                        if listing.passed.len() < LIST_RESUME_OBJECTS_MAX {
                            listing.passed.insert(meta.key.clone());
                        }
                        return Some((Ok(meta), (listing, prefix)));
                    }
                    Some(Err(error)) => {
                        let waited = if listing.passed.len() < LIST_RESUME_OBJECTS_MAX {
                            self.wait("list", &prefix, listing.attempt, error).await
                        } else {
                            Err(error)
                        };
                        if let Err(error) = waited {
                            listing.ended = true;
                            return Some((Err(error), (listing, prefix)));
                        }
                        listing.attempt += 1;
                        listing.stream = self.inner.list(&prefix);
                    }
                }
            }
            None
        })
        .boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        repeat!(self, "delete", key, self.inner.delete(key))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
