//! Repositories made by earlier versions open and give everything back, for ever.
//!
//! `frozen/v1/` was made by [`make`] below with a fixed clock and seeded randomness, when format version 1 was
//! settled; `frozen/README.md` says how and when to make another. It is never made again.

mod common;

use common::made_up::{Behaviour, MadeUp, MadeUpFile};
use common::{Harness, noise, password, path, small_packs};
use decube_backup_core::Timestamp;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::options::{BackupOptions, RestoreOptions, SnapshotFilter, TagChange};
use decube_backup_engine::{Credentials, Environment, Repository, backup, keys, tags};
use decube_backup_format::keyslot::KeyFile;
use decube_backup_testkit::{MemorySink, SeededEntropy, StepClock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const PASSWORD: &str = "correct horse battery staple";

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen").join(version)
}

/// The content of the two snapshots: name, seed, length.
fn contents() -> [Vec<(&'static str, u64, u64)>; 2] {
    let first = vec![("empty", 1, 0), ("folder/chunk", 2, 5000), ("folder/chunks", 3, 300_000), ("inline", 4, 200)];
    let mut second = first.clone();
    second[1] = ("folder/chunk", 12, 5001);
    second.push(("new\nline \u{1f980}", 5, 700));
    [first, second]
}

fn source(files: &[(&str, u64, u64)]) -> MadeUp {
    let file = |(name, seed, len): &(&str, u64, u64)| MadeUpFile {
        path: path(name),
        seed: *seed,
        len: *len,
        behaviour: Behaviour::Fine,
    };
    MadeUp::new(files.iter().map(file).collect())
}

fn key_file() -> KeyFile {
    KeyFile::generate(&SeededEntropy::new(77)).expect("key file")
}

/// Makes the repository: two snapshots, the second tagged, a password and a key file.
fn make(harness: &Harness) {
    let start = Timestamp { seconds: 1_800_000_000, nanoseconds: 0 };
    let env = Environment {
        clock: Arc::new(StepClock::stepping(start, Duration::from_millis(1))),
        entropy: Arc::new(SeededEntropy::new(2026)),
        // One worker: the order in which randomness is drawn is fixed.
        threads: 1,
        ..harness.environment()
    };
    let repo = Repository::init(env, &password(PASSWORD), &small_packs()).expect("init");
    let mut latest = None;
    for (files, day) in contents().iter().zip(0..) {
        let time = Timestamp { seconds: start.seconds + day * 86_400, nanoseconds: 0 };
        let options = BackupOptions {
            name: Some("frozen".into()),
            host: "museum".into(),
            time: Some(time),
            ..BackupOptions::default()
        };
        latest = backup::backup(&repo, &source(files), &options, &Silent).expect("backup").snapshot;
    }
    let change = TagChange { add: vec!["kept".into()], ..TagChange::default() };
    tags::change(&repo, &[latest.expect("a snapshot")], &change).expect("tagged");
    keys::add(&repo, &Credentials::KeyFile(key_file()), "key file").expect("key added");
}

fn assert_gives_everything_back(harness: &Harness, context: &str) {
    let repo = harness.repository();
    let snapshots = repo.snapshots(&SnapshotFilter::default());
    assert_eq!(snapshots.len(), 2, "{context}");
    assert_eq!(
        (snapshots[1].manifest.tags.as_slice(), snapshots[0].manifest.host.as_str()),
        (&["kept".into()][..], "museum")
    );
    for (snapshot, files) in snapshots.iter().zip(contents()) {
        let (to, report) = harness.restore_with(&snapshot.id, &RestoreOptions::default());
        assert!(report.problems.is_empty(), "{context}: {report:?}");
        assert_eq!(report.files_restored, files.len() as u64, "{context}");
        for (name, seed, len) in files {
            let bytes = std::fs::read(to.path().join(name)).expect(name);
            assert!(bytes == noise(seed, len as usize), "{context}: {name:?}");
        }
    }
    harness.assert_sound(context);
}

#[test]
fn every_frozen_repository_opens_gives_everything_back_and_can_be_backed_up_to() {
    let objects = common::objects_in(&folder("v1"));
    assert!(objects.len() >= 10, "{objects:?}");
    for credentials in [password(PASSWORD), Credentials::KeyFile(key_file())] {
        let harness = Harness { credentials, ..Harness::new().on_image(objects.clone()) };
        assert_gives_everything_back(&harness, "v1");
        let more = source(&[("more", 9, 9000)]);
        let id = harness.backup_source(&more, "more").expect("backup").snapshot.expect("a snapshot");
        let (to, _) = harness.restore_with(&id, &RestoreOptions::default());
        assert!(std::fs::read(to.path().join("more")).expect("file") == noise(9, 9000));
    }
}

/// Also how a frozen repository is made: with `FREEZE` naming a new folder, what was checked is kept there.
#[test]
fn a_repository_made_the_way_the_frozen_ones_were_gives_everything_back() {
    let harness = Harness { credentials: password(PASSWORD), ..Harness::over(Arc::new(MemorySink::new())) };
    make(&harness);
    assert_gives_everything_back(&harness, "made now");
    if let Some(version) = option_env!("FREEZE") {
        let root = folder(version);
        assert!(!root.exists(), "a frozen repository is never made again");
        for (key, bytes) in harness.memory.objects() {
            let file = root.join(key.as_str());
            std::fs::create_dir_all(file.parent().expect("folder")).expect("folder");
            std::fs::write(file, bytes).expect("object");
        }
    }
}
