//! Rates and request limits, in virtual time.

use bytes::Bytes;
use decube_backup_core::Key;
use decube_backup_core::sink::{ByteRange, PutMode, Sink};
use decube_backup_layers::{ThrottleLimits, ThrottleSink};
use decube_backup_testkit::MemorySink;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const MIB: u64 = 1 << 20;

fn key(n: usize) -> Key {
    Key::new(format!("objects/{n}")).expect("legal")
}

/// A sink over ten objects of 1 MiB.
fn sink(limits: ThrottleLimits) -> ThrottleSink {
    let bytes = Bytes::from(vec![7; MIB as usize]);
    let objects = (0..10).map(|n| (key(n), bytes.clone())).collect();
    ThrottleSink::new(Arc::new(MemorySink::from_objects(objects)), limits)
}

#[tokio::test(start_paused = true)]
async fn uploads_keep_to_their_rate_whether_one_by_one_or_at_once() {
    for at_once in [1, 5] {
        let sink = sink(ThrottleLimits { upload_bytes_per_s: NonZeroU64::new(MIB), ..Default::default() });
        let start = Instant::now();
        let bytes = Bytes::from(vec![7; 2 * MIB as usize]);
        let puts = futures::stream::iter(0..5).map(|n| {
            let (sink, bytes) = (&sink, bytes.clone());
            async move { sink.put(&key(n), bytes.into(), PutMode::Overwrite).await }
        });
        assert_eq!(puts.buffer_unordered(at_once).try_collect::<Vec<_>>().await.map(|all| all.len()).ok(), Some(5));
        // The first goes at once, each further one when those before are paid: 4 x 2 s.
        let took = start.elapsed();
        assert!((Duration::from_secs(8)..Duration::from_millis(8100)).contains(&took), "{at_once} {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn downloads_keep_to_their_rate_and_uploads_are_free_of_it() {
    let sink = sink(ThrottleLimits { download_bytes_per_s: NonZeroU64::new(4 * MIB), ..Default::default() });
    let start = Instant::now();
    sink.put(&key(0), Bytes::from(vec![7; MIB as usize]).into(), PutMode::Overwrite).await.expect("memory");
    assert_eq!(start.elapsed(), Duration::ZERO);
    let keys: Vec<Key> = (0..8).map(key).collect();
    join_all(keys.iter().map(|key| sink.get(key, ByteRange::Full))).await;
    let took = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_millis(2100)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_hour_earns_no_more_than_a_short_burst() {
    let sink = sink(ThrottleLimits { download_bytes_per_s: NonZeroU64::new(MIB), ..Default::default() });
    sink.get(&key(0), ByteRange::Full).await.expect("memory");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let start = Instant::now();
    for n in 0..4 {
        sink.get(&key(n), ByteRange::Full).await.expect("memory");
    }
    let took = start.elapsed();
    assert!((Duration::from_millis(3500)..Duration::from_millis(3600)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn reading_while_listing_does_not_wait_for_itself() {
    let sink = sink(ThrottleLimits { requests_max: NonZeroU64::new(1), ..Default::default() });
    let mut listing = sink.list("objects/");
    let mut read = 0;
    while let Some(meta) = listing.next().await {
        let got = sink.get(&meta.expect("memory").key, ByteRange::Full).await;
        read += got.expect("memory").map_or(0, |bytes| bytes.len() as u64);
    }
    assert_eq!(read, 10 * MIB);
}
