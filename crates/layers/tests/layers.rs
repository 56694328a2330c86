//! Every layer keeps the contract; read-only and observe do what they say.

use decube_backup_core::sink::{ByteRange, PutMode, Sink, SinkExt};
use decube_backup_core::{Key, Timestamp};
use decube_backup_layers::observe::OpStats;
use decube_backup_layers::{ObserveSink, RetryPolicy, RetrySink, ThrottleLimits, ThrottleSink};
use decube_backup_testkit::conformance::{Options, run_all};
use decube_backup_testkit::{Fault, FaultySink, MemorySink, SeededEntropy, StepClock, When};
use std::io;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

fn key(name: &str) -> Key {
    Key::new(name).expect("legal")
}

fn clock(step: Duration) -> Arc<StepClock> {
    Arc::new(StepClock::stepping(Timestamp { seconds: 0, nanoseconds: 0 }, step))
}

// In real time: virtual time stands still while the suite's readers poll, and throttled puts wait for it.
#[tokio::test]
async fn every_layer_keeps_the_contract() {
    let memory = || Arc::new(MemorySink::new());
    let limits = ThrottleLimits {
        upload_bytes_per_s: NonZeroU64::new(1 << 30),
        download_bytes_per_s: NonZeroU64::new(1 << 30),
        requests_max: NonZeroU64::new(3),
    };
    let layers: [(&str, Arc<dyn Sink>); 3] = [
        ("retry", Arc::new(RetrySink::new(memory(), RetryPolicy::default(), Arc::new(SeededEntropy::new(1))))),
        ("throttle", Arc::new(ThrottleSink::new(memory(), limits))),
        ("observe", Arc::new(ObserveSink::new(memory(), "memory", clock(Duration::ZERO)))),
    ];
    for (name, layer) in layers {
        let report = run_all(layer, Options { settle: Duration::from_millis(1), ..Options::default() }).await;
        assert!(report.passed(), "{name}: {:#?}", report.failed().collect::<Vec<_>>());
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("sound").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn observe_counts_calls_and_tells_of_each() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let faulty = FaultySink::new(Arc::new(MemorySink::new()), Some(Fault::at(2, When::BeforeEffect)));
    let sink = ObserveSink::new(Arc::new(faulty), "memory", clock(Duration::from_millis(5)));
    sink.put(&key("log/1"), "abc".into(), PutMode::CreateNew).await.expect("memory");
    sink.get(&key("log/1"), ByteRange::From { offset: 1, len: 9 }).await.expect("memory");
    sink.get(&key("log/1"), ByteRange::Full).await.expect_err("the fault");
    sink.list_sorted("log/").await.expect("memory");
    let stats = sink.stats();
    let ms = Duration::from_millis;
    assert_eq!(stats.put, OpStats { calls: 1, errors: 0, amount: 3, elapsed: ms(5) });
    assert_eq!(stats.get, OpStats { calls: 2, errors: 1, amount: 2, elapsed: ms(10) });
    assert_eq!(stats.list, OpStats { calls: 1, errors: 0, amount: 1, elapsed: ms(5) });
    assert_eq!(stats.delete, OpStats::default());
    let text = String::from_utf8(lines.0.lock().expect("sound").clone()).expect("text");
    let told: Vec<&str> = text.lines().collect();
    let expected: [&[&str]; 4] = [
        &["backend=memory", "op=\"put\"", "key=\"log/1\"", "bytes=3", "elapsed_ms=5.0"],
        &["op=\"get\"", "bytes=2"],
        &["op=\"get\"", "error_kind=Unavailable"],
        &["op=\"list\"", "key=\"log/\""],
    ];
    assert_eq!(told.len(), expected.len(), "{text}");
    for (line, parts) in told.iter().zip(expected) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line} lacks one of {parts:?}");
    }
}
