//! What is tried again, how often, how patiently, and what the answers are.

use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, PutMode, PutOutcome, Sink, SinkExt};
use decube_backup_core::{ErrorKind, Key, Result, Retry};
use decube_backup_layers::{RetryPolicy, RetrySink};
use decube_backup_testkit::{Fault, FaultySink, MemorySink, SeededEntropy, When};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

struct Stack {
    memory: Arc<MemorySink>,
    faulty: Arc<FaultySink>,
    retry: RetrySink,
}

const POLICY: RetryPolicy =
    RetryPolicy { attempts_max: 4, delay_first: Duration::from_millis(100), delay_max: Duration::from_millis(300) };

fn stack(fault: Fault, objects: &[&str]) -> Stack {
    let objects = objects.iter().map(|name| (key(name), Bytes::from_static(b"old")));
    let memory = Arc::new(MemorySink::from_objects(objects.collect()));
    let faulty = Arc::new(FaultySink::new(memory.clone(), Some(fault)));
    let retry = RetrySink::new(faulty.clone(), POLICY, Arc::new(SeededEntropy::new(1)));
    Stack { memory, faulty, retry }
}

fn key(name: &str) -> Key {
    Key::new(name).expect("legal")
}

#[tokio::test(start_paused = true)]
async fn every_operation_gets_over_one_failure() {
    for when in [When::BeforeEffect, When::AfterEffect] {
        let fault = Fault::at(0, when).with_retry(Retry::Now);
        let again = |s: Stack| (s.faulty.calls(), s.memory.objects().len());
        let s = stack(fault, &["a"]);
        assert_eq!(s.retry.put(&key("b"), "x".into(), PutMode::Overwrite).await.ok(), Some(PutOutcome::Created));
        assert_eq!(again(s), (2, 2));
        let s = stack(fault, &["a"]);
        assert_eq!(s.retry.get(&key("a"), ByteRange::Full).await.ok(), Some(Some(Bytes::from_static(b"old"))));
        assert_eq!(again(s), (2, 1));
        let s = stack(fault, &["a"]);
        assert_eq!(s.retry.stat(&key("a")).await.ok().flatten().map(|meta| meta.len), Some(3));
        assert_eq!(again(s), (2, 1));
        let s = stack(fault, &["a"]);
        assert!(s.retry.delete(&key("a")).await.is_ok());
        assert_eq!(again(s), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn never_means_one_attempt_and_a_lasting_failure_a_bounded_number() {
    for (retry, calls) in [(Retry::Never, 1), (Retry::Now, 4), (Retry::After(Duration::from_secs(9)), 4)] {
        let fault = Fault::at(0, When::BeforeEffect).onwards().with_retry(retry).with_kind(ErrorKind::Io);
        let s = stack(fault, &["a"]);
        let error = s.retry.get(&key("a"), ByteRange::Full).await.expect_err("fails for ever");
        assert_eq!((error.kind(), s.faulty.calls()), (ErrorKind::Io, calls), "{retry:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_took_effect_before_its_error_is_answered_already_exists() {
    for (when, outcome) in [(When::BeforeEffect, PutOutcome::Created), (When::AfterEffect, PutOutcome::AlreadyExists)] {
        let s = stack(Fault::at(0, when).with_retry(Retry::Now), &[]);
        let answer = s.retry.put(&key("log/1"), "mine".into(), PutMode::CreateNew).await;
        assert_eq!(answer.ok(), Some(outcome));
        assert_eq!(s.retry.get_existing(&key("log/1")).await.ok(), Some(Bytes::from_static(b"mine")));
    }
}

/// Virtual time from the first attempt to the last of a call that fails for ever.
async fn waited(retry: Retry) -> Duration {
    let s = stack(Fault::at(0, When::BeforeEffect).onwards().with_retry(retry), &[]);
    let start = Instant::now();
    assert!(s.retry.stat(&key("a")).await.is_err());
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn delays_grow_to_their_bound_and_no_store_is_asked_too_early() {
    // 100 + 200 + 300 ms, each between half and all of it; timers have a granularity of 1 ms.
    let own = waited(Retry::Now).await;
    assert!((Duration::from_millis(300)..=Duration::from_millis(603)).contains(&own), "{own:?}");
    let asked = waited(Retry::After(Duration::from_secs(60))).await;
    assert!((Duration::from_secs(180)..Duration::from_secs(182)).contains(&asked), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_breaks_begins_anew_and_repeats_nothing() {
    for when in [When::BeforeEffect, When::AfterEffect] {
        let s = stack(Fault::at(0, when).with_retry(Retry::Now), &["a", "b", "c"]);
        let listed = s.retry.list_sorted("").await.expect("second listing");
        assert_eq!(listed.iter().map(|meta| meta.key.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_cannot_be_completed_ends_with_the_error() {
    let s = stack(Fault::at(0, When::AfterEffect).onwards().with_retry(Retry::Now), &["a", "b"]);
    let items: Vec<Result<_>> = s.retry.list("").collect().await;
    assert_eq!(items.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(s.faulty.calls(), 4);
}
