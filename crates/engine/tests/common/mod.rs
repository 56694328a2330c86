//! What every test of the engine stands on: the one place that knows its API.

#![allow(dead_code)] // each test file uses its own part

pub mod bad_sectors;
pub mod damage;
pub mod dated;
pub mod effort;
pub mod faults;
pub mod jobs;
pub mod made_up;
pub mod meddling;
pub mod moment;
pub mod nowhere;
pub mod records;
pub mod source;

use decube_backup_backend_fs::compare::{CompareOptions, compare_trees};
use decube_backup_backend_fs::source::{FsSource, SourceOptions};
use decube_backup_backend_fs::target::{FsTarget, TargetOptions};
use decube_backup_core::entry::EntryPath;
use decube_backup_core::monitor::Silent;
use decube_backup_core::source::Source;
use decube_backup_core::world::{Clock, SystemClock};
use decube_backup_core::{Key, Result, Secret, Sink, Timestamp};
use decube_backup_engine::options::{
    BackupOptions, BackupReport, InitOptions, RestoreOptions, RestoreReport, Snapshot, SnapshotFilter, Subset,
    VerifyDepth, VerifyReport,
};
use decube_backup_engine::verify::{VerifyOptions, verify};
use decube_backup_engine::{Author, Credentials, Environment, Repository, backup, restore};
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::parity::Overhead;
use decube_backup_testkit::{MemorySink, SeededEntropy};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub const ALL_DATA: VerifyDepth = VerifyDepth::Data(Subset::All);

/// The host's time an hour ahead: files just made are never too young for the stat cache.
pub struct LaterClock(SystemClock);

impl Clock for LaterClock {
    fn now(&self) -> Timestamp {
        let now = self.0.now();
        Timestamp { seconds: now.seconds + 3600, ..now }
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

pub fn password(text: &str) -> Credentials {
    Credentials::Password(Secret::new(text.to_owned()))
}

pub fn path(text: &str) -> EntryPath {
    EntryPath::new(text.as_bytes()).expect("legal path")
}

pub fn key(text: &str) -> Key {
    Key::new(text).expect("legal key")
}

/// One user of one store: a runtime, a cache folder, a clock, credentials.
///
/// Opened by key file unless a test is about passwords: a passphrase costs Argon2id each time.
pub struct Harness {
    pub sink: Arc<dyn Sink>,
    pub memory: Arc<MemorySink>,
    pub runtime: Arc<tokio::runtime::Runtime>,
    pub cache: Option<Arc<tempfile::TempDir>>,
    pub credentials: Credentials,
    pub entropy: Arc<SeededEntropy>,
    /// What new packs get.
    pub parity: Overhead,
}

/// In memory where that is possible: caches are many small files.
fn cache_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("temp")
}

/// Different for every harness of a run, so that two never draw the same names.
fn seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 40
}

impl Harness {
    pub fn new() -> Self {
        Self::over(Arc::new(MemorySink::new()))
    }

    pub fn over(memory: Arc<MemorySink>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("runtime");
        Self {
            sink: memory.clone(),
            memory,
            runtime: Arc::new(runtime),
            cache: Some(Arc::new(cache_folder())),
            credentials: key_file(1),
            entropy: Arc::new(SeededEntropy::new(seed())),
            parity: Overhead::NONE,
        }
    }

    /// The same with parity for every new pack, percent.
    pub fn with_parity(self, percent: u8) -> Self {
        Self { parity: Overhead::percent(percent).expect("in range"), ..self }
    }

    /// A repository in memory, made with `options`.
    pub fn with_repository(options: &InitOptions) -> Self {
        let harness = Self::new();
        harness.init(options).expect("init");
        harness
    }

    /// The same user looking at the store through `sink`.
    pub fn through(&self, sink: Arc<dyn Sink>) -> Self {
        Self {
            sink,
            memory: self.memory.clone(),
            runtime: self.runtime.clone(),
            cache: self.cache.clone(),
            credentials: self.credentials.clone(),
            entropy: Arc::new(SeededEntropy::new(seed())),
            parity: self.parity,
        }
    }

    /// Another user of the same store: other cache, other randomness.
    pub fn somebody_else(&self) -> Self {
        Self { cache: Some(Arc::new(cache_folder())), ..self.through(self.sink.clone()) }
    }

    /// Somebody who knows the key and meets `objects` for the first time.
    pub fn on_image(&self, objects: std::collections::BTreeMap<Key, bytes::Bytes>) -> Self {
        let memory = Arc::new(MemorySink::from_objects(objects));
        Self {
            sink: memory.clone(),
            memory,
            runtime: self.runtime.clone(),
            cache: Some(Arc::new(cache_folder())),
            credentials: self.credentials.clone(),
            entropy: Arc::new(SeededEntropy::new(seed())),
            parity: self.parity,
        }
    }

    pub fn environment(&self) -> Environment {
        Environment {
            sink: self.sink.clone(),
            runtime: self.runtime.handle().clone(),
            clock: Arc::new(LaterClock(SystemClock::new())),
            entropy: self.entropy.clone(),
            cache_dir: self.cache.as_ref().map(|dir| dir.path().to_owned()),
            witness_dir: None,
            author: Author { host: "host".into(), username: "somebody".into() },
            threads: 2,
            parity: self.parity,
        }
    }

    pub fn init(&self, options: &InitOptions) -> Result<Repository> {
        Repository::init(self.environment(), &self.credentials, options)
    }

    pub fn open(&self) -> Result<Repository> {
        Repository::open(self.environment(), &self.credentials)
    }

    pub fn repository(&self) -> Repository {
        self.open().expect("open")
    }

    /// Backs `source` up as the series `name`.
    pub fn backup_source(&self, source: &dyn Source, name: &str) -> Result<BackupReport> {
        backup::backup(&self.open()?, source, &series(name), &Silent)
    }

    /// Backs the directory `tree` up as the series `name`.
    pub fn backup(&self, tree: &Path, name: &str) -> BackupReport {
        self.backup_source(&source_of(tree), name).expect("backup")
    }

    pub fn snapshot(&self, id: &SnapshotId) -> Snapshot {
        let all = self.repository().snapshots(&SnapshotFilter::default());
        all.into_iter().find(|s| s.id == *id).expect("a live snapshot")
    }

    pub fn verify(&self, depth: VerifyDepth) -> VerifyReport {
        verify(&self.repository(), &VerifyOptions { depth, snapshots: None }, &Silent).expect("verify")
    }

    /// Verifies structure and all data; nothing may be found.
    pub fn assert_sound(&self, context: &str) {
        for depth in [VerifyDepth::Structure, ALL_DATA] {
            let report = self.verify(depth);
            assert!(report.damages.is_empty() && report.affected_count == 0, "{context}: {depth:?}: {report:?}");
        }
    }

    /// Restores what `snapshot` holds of `tree` into a new directory.
    pub fn restore(&self, snapshot: &SnapshotId, tree: &Path) -> (tempfile::TempDir, RestoreReport) {
        let options = RestoreOptions { subtree: inside(tree), ..RestoreOptions::default() };
        self.restore_with(snapshot, &options)
    }

    pub fn restore_with(&self, snapshot: &SnapshotId, options: &RestoreOptions) -> (tempfile::TempDir, RestoreReport) {
        let to = tempfile::tempdir().expect("temp");
        let report = self.restore_to(snapshot, options, to.path());
        (to, report)
    }

    pub fn restore_to(&self, snapshot: &SnapshotId, options: &RestoreOptions, to: &Path) -> RestoreReport {
        let repo = self.repository();
        let target = FsTarget::create(to, TargetOptions::default()).expect("target");
        restore::restore(&repo, &self.snapshot(snapshot), options, &target, &Silent).expect("restore")
    }

    /// Restores and compares with `tree`, byte for byte and attribute for attribute.
    pub fn assert_restores(&self, snapshot: &SnapshotId, tree: &Path, context: &str) {
        let (to, report) = self.restore(snapshot, tree);
        assert!(report.problems.is_empty(), "{context}: {:?}", report.problem_list);
        assert_same(tree, to.path(), context);
    }
}

/// A snapshot each of two trees that share some content.
pub fn two_trees(harness: &Harness) -> Vec<(SnapshotId, tempfile::TempDir)> {
    let snapshot = |seed: u64| {
        let tree = tempfile::tempdir().expect("temp");
        plant(tree.path(), seed);
        std::fs::write(tree.path().join("shared"), noise(1, 400_000)).expect("file");
        let id = harness.backup(tree.path(), &format!("tree {seed}")).snapshot.expect("a snapshot");
        (id, tree)
    };
    [10, 11].map(snapshot).into()
}

/// The key file number `seed`.
pub fn key_file(seed: u64) -> Credentials {
    let entropy = SeededEntropy::new(seed);
    Credentials::KeyFile(decube_backup_format::keyslot::KeyFile::generate(&entropy).expect("key file"))
}

pub fn series(name: &str) -> BackupOptions {
    BackupOptions { name: Some(name.to_owned()), host: "host".into(), ..BackupOptions::default() }
}

pub fn source_of(tree: &Path) -> FsSource {
    FsSource::new(SourceOptions::new(vec![tree.to_owned()], "/")).expect("source")
}

/// The objects of a file system store in `root`.
pub fn objects_in(root: &Path) -> BTreeMap<Key, bytes::Bytes> {
    let (mut objects, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).expect("below").to_str().expect("a key");
            match Key::new(name) {
                Ok(_) if path.is_dir() => folders.push(path),
                Ok(key) => _ = objects.insert(key, std::fs::read(&path).expect("object").into()),
                // Unfinished objects, and what is of no concern to a store.
                Err(_) => {}
            }
        }
    }
    objects
}

/// Where `tree` is inside a snapshot of it.
pub fn inside(tree: &Path) -> EntryPath {
    use std::os::unix::ffi::OsStrExt;
    let real = tree.canonicalize().expect("tree");
    EntryPath::new(real.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default()).expect("legal path")
}

pub fn assert_same(a: &Path, b: &Path, context: &str) {
    let differences = compare_trees(a, b, CompareOptions::default()).expect("comparable");
    assert!(differences.is_empty(), "{context}: {differences:?}");
}

/// A directory removed even if it holds immutable files.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("temp").keep())
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = decube_backup_backend_fs::torture::remove(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that do not compress and follow from `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    use decube_backup_core::world::Entropy;
    let mut bytes = vec![0; len];
    SeededEntropy::new(seed).fill(&mut bytes).expect("never fails");
    bytes
}

/// Small chunks, segments and packs, so that little content makes many of each.
pub fn small_packs() -> InitOptions {
    InitOptions { pack_bytes: 1 << 20, segment_bytes: 64 << 10, ..InitOptions::default() }
}

/// A small tree with every size class: empty, inline, small, several chunks; text and noise.
pub fn plant(root: &Path, seed: u64) {
    for folder in ["a", "a/deep", "a/deep/er", "b"] {
        std::fs::create_dir_all(root.join(folder)).expect("folder");
    }
    let write = |name: &str, bytes: &[u8]| std::fs::write(root.join(name), bytes).expect("file");
    write("empty", b"");
    write("inline", b"a few bytes");
    write("a/text", format!("{seed} all work and no play ").repeat(2000).as_bytes());
    write("a/deep/noise", &noise(seed, 700_000));
    write("a/deep/er/large", &noise(seed + 1, 2_500_000));
    for n in 0..40 {
        write(&format!("b/{n:03}"), &noise(seed * 1000 + n, 300 + n as usize * 100));
    }
    std::os::unix::fs::symlink("a/text", root.join("link")).expect("symlink");
}
