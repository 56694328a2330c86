//! A sink whose n-th call fails, so that a sweep over n visits every place where work can break.
//!
//! First a run without a fault counts the calls; then one run per call and [`When`], each with that
//! one call failing. A call counts when it reaches the sink, a `list` when its stream is made.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::{Error, ErrorKind, Key, Result, Retry};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// On which side of its effect a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing has happened.
    BeforeEffect,
    /// It has happened, and the caller is not told. A `list` yields its items, then the error.
    AfterEffect,
}

/// How many calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only the one.
    Once,
    /// The one and all later ones: the store is gone.
    Onwards,
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the call, from 0.
    pub call: u64,
    /// Before or after its effect.
    pub when: When,
    /// Only this call or all from it on.
    pub reach: Reach,
    /// Kind of the error.
    pub kind: ErrorKind,
    /// What the error says of trying again.
    pub retry: Retry,
}

impl Fault {
    /// Call number `call` fails once with `Unavailable`, not to be retried.
    pub fn at(call: u64, when: When) -> Self {
        Self { call, when, reach: Reach::Once, kind: ErrorKind::Unavailable, retry: Retry::Never }
    }
    /// The same with another answer to "try again?".
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
    /// The same with another kind.
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }
    /// The same, and every later call fails too.
    #[must_use]
    pub fn onwards(self) -> Self {
        Self { reach: Reach::Onwards, ..self }
    }
}

/// Passes calls on to the sink inside except where a [`Fault`] says otherwise.
pub struct FaultySink {
    inner: Arc<dyn Sink>,
    fault: Mutex<Option<Fault>>,
    calls: AtomicU64,
    fired: AtomicU64,
}

impl FaultySink {
    /// Breaks `inner` as `fault` says; with `None` it only counts.
    pub fn new(inner: Arc<dyn Sink>, fault: Option<Fault>) -> Self {
        Self { inner, fault: Mutex::new(fault), calls: AtomicU64::new(0), fired: AtomicU64::new(0) }
    }

    /// Calls so far, failed ones included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Calls that were made to fail so far.
    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::SeqCst)
    }

    /// Replaces the fault; the count of calls goes on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Counts a call; the answer says whether and when it fails.
    fn enter(&self, op: &'static str) -> Option<(When, Error)> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = (*self.fault.lock().unwrap_or_else(PoisonError::into_inner))?;
        let hit = match fault.reach {
            Reach::Once => call == fault.call,
            Reach::Onwards => call >= fault.call,
        };
        hit.then(|| {
            self.fired.fetch_add(1, Ordering::SeqCst);
            let error = Error::new(fault.kind, op, "injected fault").with("call", call).with_retry(fault.retry);
            (fault.when, error)
        })
    }
}

/// Runs `$call` around the fault of this call, if there is one.
macro_rules! around {
    ($self:ident, $op:literal, $call:expr) => {
        match $self.enter($op) {
            None => $call.await,
            Some((When::BeforeEffect, error)) => Err(error),
            Some((When::AfterEffect, error)) => {
                $call.await?;
                Err(error)
            }
        }
    };
}

#[async_trait]
impl Sink for FaultySink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        around!(self, "put", self.inner.put(key, bytes, mode))
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        around!(self, "get", self.inner.get(key, range))
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        around!(self, "stat", self.inner.stat(key))
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        match self.enter("list") {
            None => self.inner.list(prefix),
            Some((When::BeforeEffect, error)) => stream::iter([Err(error)]).boxed(),
            Some((When::AfterEffect, error)) => self.inner.list(prefix).chain(stream::iter([Err(error)])).boxed(),
        }
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        around!(self, "delete", self.inner.delete(key))
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

    /// Puts three objects; true for each that was said to succeed.
    fn three_puts(fault: Option<Fault>) -> (Vec<bool>, usize, u64) {
        let memory = Arc::new(MemorySink::new());
        let sink = FaultySink::new(memory.clone(), fault);
        let said = ["a", "b", "c"].map(|name| {
            let key = Key::new(name).expect("legal");
            block_on(sink.put(&key, "x".into(), PutMode::CreateNew)).is_ok()
        });
        assert_eq!(sink.calls(), 3);
        (said.to_vec(), memory.objects().len(), sink.fired())
    }

    #[test]
    fn a_fault_hits_the_chosen_call_on_the_chosen_side() {
        let cases = [
            (None, [true, true, true], 3, 0),
            (Some(Fault::at(1, When::BeforeEffect)), [true, false, true], 2, 1),
            (Some(Fault::at(1, When::AfterEffect)), [true, false, true], 3, 1),
            (Some(Fault::at(1, When::BeforeEffect).onwards()), [true, false, false], 1, 2),
            (Some(Fault::at(3, When::BeforeEffect)), [true, true, true], 3, 0),
        ];
        for (fault, said, stored, fired) in cases {
            assert_eq!(three_puts(fault), (said.to_vec(), stored, fired), "{fault:?}");
        }
    }

    #[test]
    fn a_failing_list_ends_with_the_error() {
        let memory = Arc::new(MemorySink::new());
        let sink = FaultySink::new(memory, None);
        block_on(sink.put(&Key::new("a").expect("legal"), "x".into(), PutMode::CreateNew)).expect("memory");
        for (when, items) in [(When::BeforeEffect, 1), (When::AfterEffect, 2)] {
            sink.set_fault(Some(Fault::at(sink.calls(), when).with_kind(ErrorKind::Io).with_retry(Retry::Now)));
            let listed: Vec<_> = block_on(sink.list("").collect());
            assert_eq!(listed.len(), items);
            let error = listed.last().and_then(|item| item.as_ref().err()).expect("ends with an error");
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Io, Retry::Now));
        }
        assert_eq!(block_on(sink.list_sorted("")).map(|all| all.len()).ok(), Some(1));
    }
}
