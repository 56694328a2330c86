//! The store has no more room at any one write, then again: nothing is lost, and it is said.

mod common;

use async_trait::async_trait;
use bytes::Bytes;
use common::{Harness, plant, series, small_packs, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{BackupOptions, SnapshotFilter};
use decube_backup_engine::{backup, keys};
use futures::stream::BoxStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes so many writes, then has no room. Reading and deleting go on.
struct Filling {
    inner: Arc<dyn Sink>,
    left: AtomicU64,
}

#[async_trait]
impl Sink for Filling {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        let took = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if took.is_err() {
            return Err(Error::new(ErrorKind::NoSpace, "put", "no space left on device").with("key", key));
        }
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
        self.inner.delete(key).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// Runs `job` with room for 0, 1, 2 … writes until it succeeds; after each failure `check`.
fn fill(start: &Harness, job: impl Fn(&Harness) -> Result<()>, check: impl Fn(&Harness, &str)) {
    for room in 0.. {
        let copy = start.on_image(start.memory.objects());
        let filling = Arc::new(Filling { inner: copy.sink.clone(), left: AtomicU64::new(room) });
        let outcome = job(&copy.through(filling));
        let context = format!("room for {room} writes");
        check(&copy, &context);
        match outcome {
            Ok(()) => return assert!(room > 0, "it wrote nothing"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{context}: {error:?}"),
        }
        let again = job(&copy);
        assert!(again.is_ok(), "{context}, then room again: {again:?}");
        check(&copy, &context);
    }
}

fn with_a_snapshot() -> (Harness, tempfile::TempDir, decube_backup_format::ids::SnapshotId) {
    let before = tempfile::tempdir().expect("temp");
    plant(before.path(), 31);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(before.path(), "tree").snapshot.expect("a snapshot");
    (harness, before, id)
}

#[test]
fn a_backup_that_fills_the_disk_at_any_write_harms_nothing() {
    let (harness, before, earlier) = with_a_snapshot();
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 32);
    let options = BackupOptions { progress_bytes: Some(1 << 20), ..series("tree") };
    let job =
        |harness: &Harness| backup::backup(&harness.open()?, &source_of(tree.path()), &options, &Silent).map(drop);
    fill(&harness, job, |harness, context| {
        let fresh = harness.somebody_else();
        fresh.assert_sound(context);
        fresh.assert_restores(&earlier, before.path(), context);
        for snapshot in fresh.repository().snapshots(&SnapshotFilter::default()).iter().filter(|s| s.id != earlier) {
            fresh.assert_restores(&snapshot.id, tree.path(), context);
        }
    });
}

#[test]
fn a_key_that_finds_the_disk_full_leaves_the_others_as_they_were() {
    let (harness, before, earlier) = with_a_snapshot();
    let job = |harness: &Harness| keys::add(&harness.open()?, &common::key_file(9), "second").map(drop);
    fill(&harness, job, |harness, context| {
        let fresh = harness.somebody_else();
        fresh.assert_sound(context);
        fresh.assert_restores(&earlier, before.path(), context);
    });
}

#[test]
fn a_prune_that_fills_the_disk_while_it_copies_harms_nothing() {
    let (harness, before, earlier) = with_a_snapshot();
    let other = tempfile::tempdir().expect("temp");
    plant(other.path(), 33);
    let gone = harness.backup(other.path(), "gone").snapshot.expect("a snapshot");
    common::records::forget(&harness, gone);
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    let job = |harness: &Harness| gc::plan(&harness.open()?, &options, &Silent)?.run(&Silent).map(drop);
    fill(&harness, job, |harness, context| {
        let fresh = harness.somebody_else();
        fresh.assert_sound(context);
        fresh.assert_restores(&earlier, before.path(), context);
    });
}
