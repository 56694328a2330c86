//! Running checks, each below its own random prefix, and cleaning up.

use super::context::{CheckContext, Finding, Options};
use super::{Check, Need, checks, progress};
use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink, Support};
use decube_backup_core::{Error, ErrorKind, Key, Result, SinkExt};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

/// Deletes in flight while cleaning up.
const CLEANUP_CONCURRENCY: usize = 16;

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The contract holds as far as this check can see.
    Passed,
    /// It does not; at least one finding.
    Failed(Vec<Finding>),
    /// Not run, and why.
    Skipped(String),
}

/// One check and how it ended.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// [`Check::name`]
    pub name: &'static str,
    /// [`Check::contract`]
    pub contract: u8,
    /// How it ended.
    pub outcome: Outcome,
    /// Objects that could not be deleted afterwards; empty unless the store forbids or fails it.
    pub leftovers: Vec<String>,
}

/// How the whole suite ended, in the order of [`checks`].
#[derive(Clone, Debug, Default)]
pub struct SuiteReport {
    /// One for each check.
    pub checks: Vec<CheckReport>,
}

impl SuiteReport {
    /// Whether no check failed; skipped ones do not count.
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }
    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CheckReport> {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_)))
    }
    /// Everything the suite left in the store.
    pub fn leftovers(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().flat_map(|check| check.leftovers.iter().map(String::as_str))
    }
}

/// Why `check` cannot run on `sink`, if so.
pub fn skip_reason(sink: &dyn Sink, check: &Check) -> Option<String> {
    let have = sink.capabilities();
    let lacks = |need: &&Need| match need {
        Need::ConditionalCreate => have.conditional_create == Support::No,
        Need::Mutable => have.mutable == Support::No,
        Need::SleepCounts => progress::sleeps_of_this_thread().is_none(),
    };
    let lacking = check.needs.iter().find(lacks)?;
    Some(match lacking {
        Need::ConditionalCreate => "the store has no conditional create".to_owned(),
        Need::Mutable => "the store does not permit overwriting and deleting".to_owned(),
        Need::SleepCounts => "this host does not count how often a thread sleeps".to_owned(),
    })
}

/// Runs every check against `sink`, one after the other. Needs a tokio runtime with timers in real time: under
/// paused time a sink that sleeps would never wake while a check polls it.
///
/// Dropping the future leaves the objects of the check under way below `conformance/`.
pub async fn run_all(sink: Arc<dyn Sink>, options: Options) -> SuiteReport {
    let mut report = SuiteReport::default();
    for check in checks() {
        report.checks.push(run_check(sink.clone(), &check, options.clone()).await);
    }
    report
}

/// Runs one check below a fresh random prefix and deletes whatever it put.
///
/// Dropping the future leaves objects below `conformance/`.
pub async fn run_check(sink: Arc<dyn Sink>, check: &Check, options: Options) -> CheckReport {
    let report = |outcome, leftovers| CheckReport { name: check.name, contract: check.contract, outcome, leftovers };
    if let Some(reason) = skip_reason(&*sink, check) {
        return report(Outcome::Skipped(reason), Vec::new());
    }
    let mut random = [0; 16];
    if let Err(error) = options.entropy.fill(&mut random) {
        return report(Outcome::Failed(vec![Finding(format!("no random prefix: {error:?}"))]), Vec::new());
    }
    let prefix = format!("conformance/{:032x}/", u128::from_le_bytes(random));
    let fenced = Arc::new(FencedSink { inner: sink, prefix: prefix.clone(), touched: Mutex::default() });
    let patience = options.patience;
    let context = CheckContext { sink: fenced.clone(), prefix, options };
    let run = AssertUnwindSafe((check.run)(context)).catch_unwind();
    let findings = match tokio::time::timeout(patience, run).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(_)) => vec![Finding("the sink panicked".to_owned())],
        Err(_) => vec![Finding(format!("not done after {} s", patience.as_secs()))],
    };
    let leftovers = fenced.clean_up().await;
    report(if findings.is_empty() { Outcome::Passed } else { Outcome::Failed(findings) }, leftovers)
}

/// Lets nothing be changed outside `prefix` and remembers what was put there.
struct FencedSink {
    inner: Arc<dyn Sink>,
    prefix: String,
    touched: Mutex<BTreeSet<Key>>,
}

impl FencedSink {
    fn fence(&self, op: &'static str, key: &Key) -> Result<()> {
        if key.as_str().starts_with(&self.prefix) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, op, "a check tried to leave its prefix").with("key", key))
    }

    /// Deletes everything that was put or is listed below the prefix; what resists is returned.
    async fn clean_up(&self) -> Vec<String> {
        let mut keys = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        // What a flawed sink stored under another name shows only in the listing.
        if let Ok(listed) = self.inner.list_sorted(&self.prefix).await {
            keys.extend(listed.into_iter().map(|meta| meta.key));
        }
        let deletes = stream::iter(keys).map(|key| async move {
            let gone = self.fence("delete", &key).is_ok() && self.inner.delete(&key).await.is_ok();
            (!gone).then(|| key.to_string())
        });
        let leftovers: Vec<Option<String>> = deletes.buffer_unordered(CLEANUP_CONCURRENCY).collect().await;
        leftovers.into_iter().flatten().collect()
    }
}

#[async_trait]
impl Sink for FencedSink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        self.fence("put", key)?;
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        self.inner.put(key, bytes, mode).await
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
        self.fence("delete", key)?;
        self.inner.delete(key).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
