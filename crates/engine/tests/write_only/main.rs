//! Hosts with write-only keys: they add snapshots, read none, and harm nobody's.

#[path = "../common/mod.rs"]
mod common;

mod claims;
mod faults;
mod hostile;
mod life;
mod secrecy;
mod told;

use common::source::Counting;
use common::{Harness, key, key_file, plant, series, small_packs, source_of};
use decube_backup_backend_fs::source::FsSource;
use decube_backup_core::Result;
use decube_backup_core::monitor::Silent;
use decube_backup_core::source::Source;
use decube_backup_engine::options::BackupReport;
use decube_backup_engine::{Repository, backup, keys};
use decube_backup_format::host::HostRing;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::keyslot::{KeyFile, KeySlot, SlotSecret};
use decube_backup_testkit::SeededEntropy;
use std::path::Path;

/// The host whose key it is, as the tests' series say.
const HOST: &str = "host";

/// A repository, who administers it, and a host that may only write to it.
struct World {
    admin: Harness,
    host: Harness,
    slot: String,
    tree: tempfile::TempDir,
}

fn world() -> World {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 1);
    let admin = Harness::with_repository(&small_packs());
    let slot = keys::add_write_only(&admin.repository(), &key_file(2), HOST, "the host").expect("added").slot;
    let host = Harness { credentials: key_file(2), ..admin.somebody_else() };
    World { admin, host, slot, tree }
}

fn open_host(host: &Harness) -> Result<Repository> {
    Repository::open_to_write(host.environment(), || Ok(host.credentials.clone()))
}

/// A backup by the host's key, as the series `name`.
fn back_up(host: &Harness, source: &dyn Source, name: &str) -> Result<BackupReport> {
    backup::backup(&open_host(host)?, source, &series(name), &Silent)
}

impl World {
    fn source(&self) -> Counting<FsSource> {
        Counting::new(source_of(self.tree.path()))
    }

    /// Backs the tree up by the host's key.
    fn back_up(&self) -> SnapshotId {
        let report = back_up(&self.host, &source_of(self.tree.path()), "tree").expect("backup");
        report.snapshot.expect("a snapshot")
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.tree.path().join(name), bytes).expect("file");
    }
}

/// What the host's key file gives away.
fn ring(world: &World) -> HostRing {
    let file = KeyFile::generate(&SeededEntropy::new(2)).expect("key file");
    let slot = world.admin.memory.objects()[&key(&format!("keys/{}", world.slot))].clone();
    let opened =
        KeySlot::decode(&slot).expect("a slot").open_ring(SlotSecret::KeyFile(&file), &world.admin.repository().id());
    opened.expect("opens")
}

fn tree_of(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("temp");
    for (name, bytes) in files {
        std::fs::write(tree.path().join(name), bytes).expect("file");
    }
    tree
}

fn live(harness: &Harness) -> Vec<SnapshotId> {
    harness.repository().state().live_snapshots().map(|s| s.id).collect()
}

fn copy_of(tree: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("temp");
    let status = std::process::Command::new("cp").arg("-a").arg(tree.join(".")).arg(copy.path()).status();
    assert!(status.expect("cp").success());
    copy
}
