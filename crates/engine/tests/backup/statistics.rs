//! What a backup says it did, in its report and in its snapshot, is what it did.

use crate::common::{Harness, key, noise, series, small_packs, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_engine::options::{BackupOptions, BackupReport};
use decube_backup_engine::{Credentials, backup};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::keyslot::{KeySlot, SlotSecret};
use decube_backup_format::log::{Envelope, LogKeys, Payload};
use decube_backup_format::manifest::{RunId, SnapshotStats};
use std::os::unix::fs::FileExt;

/// What every record of the log means.
fn payloads(harness: &Harness) -> Vec<Payload> {
    let objects = harness.memory.objects();
    let id = harness.repository().id();
    let slot = objects.iter().find(|(name, _)| name.as_str().starts_with("keys/")).expect("a slot").1;
    let Credentials::KeyFile(file) = &harness.credentials else { unreachable!("opened by key file") };
    let opened = KeySlot::decode(slot).expect("decodes").open(SlotSecret::KeyFile(file), &id).expect("opens");
    let keyring = Keyring::open(&opened.keyring_key, &id, 0, &objects[&key("keyring/00000000")]).expect("opens");
    let keys = LogKeys::new(&keyring).expect("keys");
    let records = objects.iter().filter(|(name, _)| name.as_str().starts_with("log/"));
    let payload = |bytes| Envelope::decode(bytes).expect("decodes").open(bytes, keys.log_key()).expect("opens").1;
    records.map(|(_, bytes)| payload(bytes)).collect()
}

fn stats(harness: &Harness, report: &BackupReport) -> SnapshotStats {
    harness.snapshot(&report.snapshot.expect("a snapshot")).manifest.stats
}

/// Number and bytes of the objects under `prefixes`.
fn stored(harness: &Harness, prefixes: &[&str]) -> (u64, u64) {
    let objects = harness.memory.objects();
    let wanted = objects.iter().filter(|(name, _)| prefixes.iter().any(|p| name.as_str().starts_with(p)));
    wanted.fold((0, 0), |(count, bytes), (_, object)| (count + 1, bytes + object.len() as u64))
}

#[test]
fn the_numbers_of_a_snapshot_are_those_of_its_objects() {
    let tree = tempfile::tempdir().expect("temp");
    for n in 0..6 {
        std::fs::write(tree.path().join(format!("f{n}")), noise(n, 1_200_000)).expect("file");
    }
    let harness = Harness::with_repository(&small_packs());
    // Records progress several times on the way.
    let options = BackupOptions { progress_bytes: Some(2 << 20), ..series("tree") };
    let report = backup::backup(&harness.repository(), &source_of(tree.path()), &options, &Silent).expect("backup");
    let stats = stats(&harness, &report);
    assert_eq!(stats.packs_new, stored(&harness, &["packs/"]).0);
    assert_eq!(stats.bytes_stored, stored(&harness, &["packs/", "index/"]).1);
    assert_eq!((stats.bytes_read, stats.bytes_added, stats.chunks_reused), (7_200_000, 7_200_000, 0));
    assert_eq!((report.packs_new, report.bytes_stored), (stats.packs_new, stats.bytes_stored));

    let mut runs: Vec<RunId> = Vec::new();
    for payload in payloads(&harness) {
        match payload {
            Payload::Add { run } => runs.push(run),
            Payload::Commit { manifest } => runs.push(manifest.decode().expect("decodes").run),
            _ => {}
        }
    }
    assert!(runs.len() >= 3 && runs[0] != RunId::default(), "{runs:?}");
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
}

#[test]
fn a_chunk_read_is_new_or_reused() {
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("a"), noise(1, 600_000)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    let first = stats(&harness, &harness.backup(tree.path(), "one"));
    assert!(first.chunks_new > 1);
    std::fs::write(tree.path().join("b"), noise(1, 600_000)).expect("file");
    std::fs::write(tree.path().join("c"), noise(2, 600_000)).expect("file");
    // Another series has no parent: everything is read.
    let second = stats(&harness, &harness.backup(tree.path(), "two"));
    assert_eq!((second.bytes_read, second.bytes_added), (1_800_000, 600_000));
    assert_eq!(second.chunks_reused, 2 * first.chunks_new);
    assert!(second.chunks_new > 1);
}

#[test]
fn holes_are_not_read() {
    const DATA: u64 = 40 * 4096;
    let tree = tempfile::tempdir().expect("temp");
    for (name, len) in [("small", 900_000), ("large", 64 << 20)] {
        let file = std::fs::File::create(tree.path().join(name)).expect("file");
        file.write_all_at(&noise(len, DATA as usize), 0).expect("written");
        file.set_len(len).expect("longer");
    }
    std::fs::write(tree.path().join("inline"), "seven b").expect("file");
    let harness = Harness::with_repository(&small_packs());
    let report = harness.backup(tree.path(), "tree");
    assert_eq!(stats(&harness, &report).bytes_read, 2 * DATA + 7);
    assert_eq!(report.bytes, 900_000 + (64 << 20) + 7);
}
