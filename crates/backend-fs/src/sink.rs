//! Repository storage in a directory: the object `a/b` is the file `ROOT/a/b`.
//!
//! # Why it is whole and durable
//! A `put` writes `ROOT/.tmp/<name>`, syncs the file, gives it its final name in one step, then syncs
//! the folder that holds the name and every folder above it up to ROOT. `.tmp` is no legal part of a key, so nobody sees an
//! unfinished object. A crash before the naming leaves a file in `.tmp`; after it, the whole object. A
//! loser of `CreateNew` syncs the same folders before it says so: whoever builds on `AlreadyExists`
//! builds on something durable.
//!
//! # Why one wins
//! `link(2)` (or `renameat2(RENAME_NOREPLACE)` where hard links are missing) fails with `EEXIST` if the
//! name is taken, in one step of the kernel, also between machines on NFS.
//!
//! # Leftovers
//! A killed writer leaves its file in `.tmp`. The first `put` of each [`FsSink`] removes those last
//! written more than a day before, by the file system's own clock. A writer that was paused that long
//! finds its file gone, fails, and has stored nothing.
//!
//! | module | holds |
//! |---|---|
//! | `write` | put and delete |
//! | `read` | get and stat |
//! | `direct` | reads and writes that pass the page cache by |
//! | `walk` | list |
//! | `fault` | what an errno means here, and the hint for it |
//!
//! *Deliberately absent*: a cache of folders known to be durable (another process may remove an empty
//! folder and a third make it anew), open directory handles, retries.

mod direct;
mod fault;
mod read;
mod walk;
mod write;

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{
    ByteRange, Capabilities, Distance, ObjectMeta, PutMode, PutOutcome, Rope, Sink, Support,
};
use decube_backup_core::{Error, ErrorKind, Key, Registry, Result};
use futures::stream::BoxStream;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};

/// Configuration of a file system sink: the path is in the URL, there is nothing else to choose.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FsSection {}

/// Adds `fs:PATH` (and a plain path) to `registry`.
///
/// # Errors
/// `Invalid` if it has an `fs` already.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_sink("fs", |path, section| {
        let FsSection {} = section.parse()?;
        Ok(Arc::new(FsSink::open(path)?))
    })
}

/// Objects as files below one directory. See the module docs.
#[derive(Clone, Debug)]
pub struct FsSink {
    store: Arc<Store>,
}

/// What the blocking half works on.
#[derive(Debug)]
struct Store {
    root: PathBuf,
    /// How names are taken here, once known: see `write::Naming`.
    naming: AtomicU8,
    /// ROOT exists, its own name is durable and old leftovers are gone.
    prepared: AtomicBool,
    /// What long reads and writes go through.
    buffers: Arc<direct::Buffers>,
}

impl Store {
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }
}

impl FsSink {
    /// Uses the directory `root`. Touches nothing: a missing directory reads as empty and is made by
    /// the first `put`.
    ///
    /// # Errors
    /// `Invalid` for an empty path; `Io` if `root` is relative and the working directory is gone.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        if root.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "open", "path of the repository is empty")
                .with_hint("give a directory, as in fs:/srv/backup"));
        }
        let root = std::path::absolute(root)
            .map_err(|e| Error::io("open", "cannot make path absolute", e).with("path", root.display()))?;
        let (naming, prepared) = (AtomicU8::default(), AtomicBool::default());
        Ok(Self { store: Arc::new(Store { root, naming, prepared, buffers: Arc::default() }) })
    }

    /// The directory, absolute.
    pub fn root(&self) -> &Path {
        &self.store.root
    }

    /// Runs `work` on the blocking pool. Dropping the future does not stop work that has begun.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store))
            .await
            .map_err(|e| Error::new(ErrorKind::Internal, operation, "file system task died").with_source(e))?
    }
}

/// A `put` or `delete` whose future is dropped is still carried out, as a whole.
#[async_trait]
impl Sink for FsSink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        let key = key.clone();
        self.blocking("put", move |store| store.put(&key, &bytes, mode)).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        let key = key.clone();
        self.blocking("get", move |store| store.get(&key, range)).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let key = key.clone();
        self.blocking("stat", move |store| store.stat(&key)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        walk::list(self.store.clone(), prefix.to_owned())
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let key = key.clone();
        self.blocking("delete", move |store| store.delete(&key)).await
    }

    fn capabilities(&self) -> Capabilities {
        let conditional_create = match self.store.naming() {
            write::Naming::Neither => Support::No,
            _ => Support::Yes,
        };
        Capabilities { conditional_create, mutable: Support::Yes, distance: Distance::Local }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decube_backup_testkit::conformance::{Options, run_all};
    use std::sync::atomic::Ordering;

    #[test]
    fn without_hard_links_renaming_keeps_the_contract() {
        let dir = tempfile::tempdir().expect("a directory");
        let sink = FsSink::open(dir.path()).expect("a path");
        sink.store.naming.store(write::Naming::Rename as u8, Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
        let options = Options { list_objects: 50, object_bytes_max: 1 << 20, ..Options::default() };
        let report = runtime.expect("threads").block_on(run_all(Arc::new(sink.clone()), options));
        assert!(report.passed(), "{:#?}", report.checks);
        assert_eq!(sink.store.naming(), write::Naming::Rename);
    }

    #[test]
    fn an_unknown_key_in_the_section_is_refused() {
        let mut registry = Registry::new();
        register(&mut registry).expect("empty");
        assert_eq!(register(&mut registry).map_err(|e| e.kind()), Err(ErrorKind::Invalid));
        let section = |value| decube_backup_core::section::Section::new("test", value);
        assert!(registry.open_sink("fs:/srv/x", &section(serde_json::json!({}))).is_ok());
        let error = registry.open_sink("/srv/x", &section(serde_json::json!({"pth": 1}))).err();
        assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::Invalid));
        assert!(registry.open_sink("fs:", &Default::default()).is_err());
    }
}
