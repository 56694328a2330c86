//! A store with a clock of its own, which the test sets; and a moment before the next record at which others act.

use super::Harness;
use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope};
use decube_backup_core::{Key, Result, Sink};
use decube_backup_engine::options::InitOptions;
use decube_backup_testkit::MemorySink;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

type Act = Box<dyn FnOnce() + Send>;

/// Objects in memory that carry the time at which they arrived.
pub struct DatedSink {
    inner: Arc<MemorySink>,
    now_s: AtomicI64,
    arrived: Mutex<BTreeMap<Key, i64>>,
    before_record: Mutex<Option<Act>>,
}

impl DatedSink {
    /// Sets its clock, seconds since the epoch.
    pub fn set_time(&self, seconds: i64) {
        self.now_s.store(seconds, Ordering::SeqCst);
    }

    /// Says of every object that it arrived now: a copy that did not keep times.
    pub fn copy_without_times(&self) {
        let now = self.now_s.load(Ordering::SeqCst);
        self.arrived.lock().expect("lock").values_mut().for_each(|time| *time = now * 1000);
    }

    /// Calls `act` once, right before the next record is put.
    pub fn before_next_record(&self, act: impl FnOnce() + Send + 'static) {
        *self.before_record.lock().expect("lock") = Some(Box::new(act));
    }

    fn dated(&self, meta: ObjectMeta) -> ObjectMeta {
        let modified_ms = self.arrived.lock().expect("lock").get(&meta.key).copied();
        ObjectMeta { modified_ms, ..meta }
    }
}

/// A repository on a store that dates what it gets.
pub fn dated_repository(options: &InitOptions) -> (Harness, Arc<DatedSink>) {
    let plain = Harness::new();
    let dated = Arc::new(DatedSink {
        inner: plain.memory.clone(),
        now_s: AtomicI64::new(0),
        arrived: Mutex::default(),
        before_record: Mutex::default(),
    });
    let harness = plain.through(dated.clone());
    harness.init(options).expect("init");
    (harness, dated)
}

#[async_trait]
impl Sink for DatedSink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        if key.as_str().starts_with("log/") {
            let act = self.before_record.lock().expect("lock").take();
            if let Some(act) = act {
                // A thread of its own: it waits for this runtime itself.
                std::thread::spawn(act).join().expect("no panic");
            }
        }
        let outcome = self.inner.put(key, bytes, mode).await?;
        if outcome == PutOutcome::Created {
            self.arrived.lock().expect("lock").insert(key.clone(), self.now_s.load(Ordering::SeqCst) * 1000);
        }
        Ok(outcome)
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        self.inner.get(key, range).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        Ok(self.inner.stat(key).await?.map(|meta| self.dated(meta)))
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        let prefix = prefix.to_owned();
        let listed = async move { self.inner.list(&prefix).collect::<Vec<_>>().await };
        stream::once(listed).flat_map(stream::iter).map(|meta| Ok(self.dated(meta?))).boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
