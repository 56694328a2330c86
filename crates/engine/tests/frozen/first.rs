//! `v1`: two snapshots, the second tagged; a password and a key file.

use crate::common::{Harness, noise, password, small_packs};
use crate::{BEGIN, PASSWORD, source};
use decube_backup_core::Timestamp;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::options::{BackupOptions, RestoreOptions, SnapshotFilter, TagChange};
use decube_backup_engine::{Credentials, Environment, Repository, backup, keys, tags};
use decube_backup_format::keyslot::KeyFile;
use decube_backup_testkit::SeededEntropy;

/// The content of the two snapshots: name, seed, length.
fn contents() -> [Vec<(&'static str, u64, u64)>; 2] {
    let first = vec![("empty", 1, 0), ("folder/chunk", 2, 5000), ("folder/chunks", 3, 300_000), ("inline", 4, 200)];
    let mut second = first.clone();
    second[1] = ("folder/chunk", 12, 5001);
    second.push(("new\nline \u{1f980}", 5, 700));
    [first, second]
}

fn key_file() -> KeyFile {
    KeyFile::generate(&SeededEntropy::new(77)).expect("key file")
}

pub fn make(_: &Harness, env: Environment) {
    let repo = Repository::init(env, &password(PASSWORD), &small_packs()).expect("init");
    let mut latest = None;
    for (files, day) in contents().iter().zip(0..) {
        let time = Timestamp { seconds: BEGIN + day * 86_400, nanoseconds: 0 };
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

pub fn check(harness: &Harness, context: &str) {
    for credentials in [password(PASSWORD), Credentials::KeyFile(key_file())] {
        check_as(&Harness { credentials, ..harness.somebody_else() }, context);
    }
}

fn check_as(harness: &Harness, context: &str) {
    let repo = harness.repository();
    let filter = SnapshotFilter { name: Some("frozen".into()), ..SnapshotFilter::default() };
    let snapshots = repo.snapshots(&filter);
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
