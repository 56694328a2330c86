//! The log as an audit trail, and what a host remembers of it.

use crate::common::records::{append, packs};
use crate::common::{Harness, key, key_file, noise, plant, small_packs};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Error, ErrorKind, Key, Timestamp};
use decube_backup_engine::audit::{AuditEntry, AuditFilter, AuditReport, audit};
use decube_backup_engine::options::{SnapshotFilter, TagChange};
use decube_backup_engine::repository::WitnessStatus;
use decube_backup_engine::{Environment, Repository, keys, tags};
use decube_backup_format::ids::{PackName, log_key};
use decube_backup_format::log::Payload;
use decube_backup_testkit::RecordingSink;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A repository with an init, a commit, a tag change, a new slot, its removal and a rotation: six records.
fn eventful() -> (Harness, tempfile::TempDir) {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 1);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let repo = harness.repository();
    tags::change(&repo, &[id], &TagChange { add: vec!["kept".into()], ..TagChange::default() }).expect("tagged");
    let slot = keys::add(&repo, &key_file(2), "second").expect("added").slot;
    keys::remove(&repo, &slot).expect("removed");
    keys::rotate(&repo).expect("rotated");
    (harness, tree)
}

fn audited(repo: &Repository, filter: &AuditFilter, dir: Option<&Path>) -> (Vec<AuditEntry>, AuditReport) {
    let mut entries = Vec::new();
    let report = audit(repo, filter, dir, &Silent, &mut |entry| {
        entries.push(entry.clone());
        Ok(())
    });
    (entries, report.expect("audited"))
}

fn words(entries: &[AuditEntry]) -> Vec<&'static str> {
    entries.iter().map(|entry| entry.word).collect()
}

#[test]
fn every_record_says_who_did_what() {
    let (harness, _tree) = eventful();
    let repo = harness.repository();
    let (entries, report) = audited(&repo, &AuditFilter::default(), None);
    assert_eq!(words(&entries), ["init", "commit", "tag_change", "key_slot", "key_slot", "keyring"]);
    assert_eq!((report.records, report.shown, report.damages.len()), (6, 6, 0));
    assert_eq!((report.head, report.witness), (repo.state().hash(), WitnessStatus::Unknown));
    for (seq, entry) in entries.iter().enumerate() {
        assert_eq!((entry.seq, entry.damage.as_ref()), (seq as u64, None));
        assert_eq!((entry.stamp.host.as_str(), entry.stamp.username.as_str()), ("host", "somebody"), "{entry:?}");
    }
    let id = repo.snapshots(&SnapshotFilter::default())[0].id;
    assert_eq!(entries[1].snapshots, [(id, Some("tree".to_owned()))]);
    assert!(entries[1].packs_added >= 2 && entries[1].bytes_added > 1_000_000);
    assert_eq!(entries[2].snapshots, [(id, None)]);
    assert_eq!(entries[2].details["tags_added"], "kept");
    assert_eq!((entries[3].details["label"].as_str(), entries[5].details["generation"].as_str()), ("second", "1"));
    assert_eq!(entries[3].details["added"], entries[4].details["removed"]);
}

#[test]
fn filters_choose_what_is_shown_and_not_what_is_checked() {
    let (harness, _tree) = eventful();
    let repo = harness.repository();
    let kinds = |words: &[&str]| AuditFilter {
        kinds: words.iter().map(|word| (*word).to_owned()).collect(),
        ..AuditFilter::default()
    };
    let (entries, report) = audited(&repo, &kinds(&["key_slot", "keyring"]), None);
    assert_eq!((words(&entries), report.records), (vec!["key_slot", "key_slot", "keyring"], 6));
    let since = |seconds| AuditFilter { since: Some(Timestamp { seconds, nanoseconds: 0 }), ..AuditFilter::default() };
    assert_eq!(audited(&repo, &since(0), None).1.shown, 6);
    assert_eq!(audited(&repo, &since(i64::MAX), None).1.shown, 0);
    let host = |name: &str| AuditFilter { host: Some(name.into()), ..AuditFilter::default() };
    assert_eq!([audited(&repo, &host("host"), None).1.shown, audited(&repo, &host("other"), None).1.shown], [6, 0]);
}

#[test]
fn damage_to_any_record_is_named_and_the_others_are_still_told() {
    let (harness, _tree) = eventful();
    let objects = harness.memory.objects();
    for seq in 1..5u64 {
        let object = log_key(seq).expect("key");
        let len = objects[&object].len();
        let removed = harness.on_image(objects.clone());
        removed.memory.remove(&object).expect("there");
        let mut images = vec![("removed".to_owned(), removed)];
        for at in [0, len / 3, len - 1] {
            let image = harness.on_image(objects.clone());
            image.memory.flip_byte(&object, at).expect("there");
            images.push((format!("byte {at}"), image));
        }
        for (what, image) in images {
            let context = format!("record {seq}, {what}");
            let (entries, report) = audited(&image.repository(), &AuditFilter::default(), None);
            let named: Vec<&str> = report.damages.iter().map(|d| d.object.as_str()).collect();
            assert_eq!(named, [object.as_str()], "{context}: {:?}", report.damages);
            let told: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
            assert_eq!(told, (0..6).filter(|other| *other != seq).collect::<Vec<_>>(), "{context}");
        }
    }
}

#[test]
fn two_records_that_changed_places_are_both_named() {
    let (harness, _tree) = eventful();
    let mut objects = harness.memory.objects();
    let (a, b) = (log_key(2).expect("key"), log_key(3).expect("key"));
    let (first, second) = (objects[&a].clone(), objects[&b].clone());
    objects.extend([(a, second), (b, first)]);
    let image = harness.on_image(objects);
    let (_, report) = audited(&image.repository(), &AuditFilter::default(), None);
    let named: Vec<&str> = report.damages.iter().map(|d| d.object.as_str()).collect();
    assert_eq!(named, ["log/0000000000000002", "log/0000000000000003"]);
}

/// One host's view of changing images of a store.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("temp") }
    }
    fn open(&self, harness: &Harness) -> Result<Repository, Error> {
        let environment = Environment { witness_dir: Some(self.dir.path().to_owned()), ..harness.environment() };
        Repository::open(environment, &harness.credentials)
    }
    fn refused(&self, harness: &Harness, says: &str) {
        let error = self.open(harness).map(drop).expect_err("diverged");
        assert_eq!(error.kind(), ErrorKind::Diverged, "{error:?}");
        assert!(error.to_string().contains(says) && error.hint().is_some_and(|h| h.contains("--accept")), "{error:?}");
    }
    fn file(&self) -> std::path::PathBuf {
        let mut files = std::fs::read_dir(self.dir.path()).expect("dir");
        files.next().expect("a witness file").expect("entry").path()
    }
}

fn without_records_from(objects: &BTreeMap<Key, bytes::Bytes>, seq: u64) -> BTreeMap<Key, bytes::Bytes> {
    let from = log_key(seq).expect("key");
    let gone = |name: &Key| name.as_str().starts_with("log/") && *name >= from;
    objects.iter().filter(|(name, _)| !gone(name)).map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
}

#[test]
fn a_log_rolled_back_is_refused_by_who_has_seen_more() {
    let (harness, _tree) = eventful();
    let host = Host::new();
    host.open(&harness).expect("first look");
    for records in 1..6 {
        let image = harness.on_image(without_records_from(&harness.memory.objects(), records));
        host.refused(&image, "rolled back");
        let status = image.repository().witness_status(host.dir.path()).expect("status");
        assert_eq!(status, WitnessStatus::RolledBack { seen: 5, records });
    }
    // Wholly empty: nobody put an older one back, it is gone.
    let image = harness.on_image(without_records_from(&harness.memory.objects(), 0));
    let error = host.open(&image).map(drop).expect_err("gone");
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("log is gone"), "{error:?}");
    host.open(&harness).expect("the true one goes on");
}

#[test]
fn a_log_rolled_back_and_gone_on_with_is_a_fork() {
    let (harness, _tree) = eventful();
    let host = Host::new();
    host.open(&harness).expect("first look");
    let fork = harness.on_image(without_records_from(&harness.memory.objects(), 4));
    for count in 4..8 {
        let expected = if count < 6 { "rolled back" } else { "forked" };
        host.refused(&fork, expected);
        keys::rotate(&fork.repository()).expect("rotated");
    }
    let (_, report) = audited(&fork.repository(), &AuditFilter::default(), Some(host.dir.path()));
    assert_eq!((report.damages.len(), report.witness), (0, WitnessStatus::Forked { seen: 5 }));
    // Cached state and witness of one host, of which only the cache was led astray.
    let cached = Environment { witness_dir: Some(host.dir.path().to_owned()), ..fork.environment() };
    let error = Repository::open(cached, &fork.credentials).map(drop).expect_err("forked");
    assert_eq!(error.kind(), ErrorKind::Diverged);
    // Accepted on purpose, it is the one that counts.
    fork.repository().accept_history(host.dir.path()).expect("accepted");
    host.open(&fork).expect("accepted");
    host.refused(&harness, "rolled back");
}

#[test]
fn what_is_appended_and_what_others_append_is_remembered() {
    let (harness, tree) = eventful();
    let host = Host::new();
    let repo = host.open(&harness).expect("open");
    keys::rotate(&repo).expect("rotated");
    let seen = || harness.repository().witness_status(host.dir.path()).expect("status");
    assert_eq!(seen(), WitnessStatus::Agrees { seen: 6 });
    std::fs::write(tree.path().join("new"), noise(9, 3000)).expect("file");
    harness.somebody_else().backup(tree.path(), "tree");
    assert_eq!(seen(), WitnessStatus::Agrees { seen: 6 });
    repo.refresh().expect("refreshed");
    assert_eq!(seen(), WitnessStatus::Agrees { seen: 7 });
    // A handle that has seen less never takes back what another saw.
    let early = host.open(&harness).expect("open");
    keys::rotate(&repo).expect("rotated");
    drop(early);
    host.open(&harness).expect("open");
    assert_eq!(seen(), WitnessStatus::Agrees { seen: 8 });
}

#[test]
fn a_lost_damaged_or_unwritable_witness_is_harmless() {
    let (harness, tree) = eventful();
    let host = Host::new();
    host.open(&harness).expect("first look");
    std::fs::remove_file(host.file()).expect("removed");
    host.open(&harness).expect("lost");
    let text = std::fs::read_to_string(host.file()).expect("written again");
    for bad in ["", "rubbish", &text[..text.len() / 2], &text.replace(" 5 ", " 9 ")] {
        std::fs::write(host.file(), bad).expect("damaged");
        host.open(&harness).expect("damaged");
        assert_eq!(std::fs::read_to_string(host.file()).expect("written again"), text);
    }
    let nowhere = Environment { witness_dir: Some(tree.path().join("inline/none")), ..harness.environment() };
    Repository::open(nowhere, &harness.credentials).expect("no place to remember it");
}

#[test]
fn damage_is_not_called_a_fork() {
    let (harness, _tree) = eventful();
    let host = Host::new();
    host.open(&harness).expect("first look");
    for seq in [2, 5] {
        let image = harness.on_image(harness.memory.objects());
        image.memory.flip_byte(&log_key(seq).expect("key"), 40).expect("there");
        let repo = host.open(&image).expect("a damaged log can be read");
        assert_eq!(repo.damaged_records(), [seq]);
    }
    host.open(&harness).expect("the sound one goes on");
}

#[test]
fn remembering_costs_no_request_while_the_cache_keeps_up() {
    let (harness, _tree) = eventful();
    let host = Host::new();
    let calls = |witness: bool| {
        let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
        let user = harness.through(recording.clone());
        match witness {
            true => host.open(&user).map(drop),
            false => user.open().map(drop),
        }
        .expect("open");
        recording.calls().len()
    };
    calls(true);
    assert_eq!(calls(true), calls(false));
    // Somebody else went on: the records that are new are folded, and nothing more is read.
    keys::rotate(&harness.somebody_else().repository()).expect("rotated");
    let with = calls(true);
    keys::rotate(&harness.somebody_else().repository()).expect("rotated");
    assert_eq!(with, calls(false));
    assert!(harness.memory.objects().contains_key(&key("keyring/00000003")));
}

#[test]
fn what_verifications_found_is_told() {
    let (harness, _tree) = eventful();
    let repo = harness.repository();
    let names: Vec<PackName> = packs(&harness).into_iter().collect();
    let (lost, sound) = names.split_first().expect("packs");
    append(&repo, Payload::Damaged { packs: vec![*lost], healed: Vec::new() }, Vec::new());
    let time = Timestamp { seconds: 1, nanoseconds: 0 };
    append(&repo, Payload::Verified { packs: sound.to_vec(), time }, Vec::new());
    let (entries, _) = audited(&repo, &AuditFilter::default(), None);
    let told = |at: usize| entries[entries.len() - at].details.clone();
    assert_eq!(told(2), BTreeMap::from([("damaged", lost.id.to_hex())]));
    assert_eq!(told(1), BTreeMap::from([("verified", sound.len().to_string())]));
}

#[test]
fn what_others_add_after_it_was_opened_is_no_other_log() {
    let (harness, _tree) = eventful();
    let repo = harness.repository();
    append(&harness.somebody_else().repository(), Payload::Note { text: "meanwhile".into() }, Vec::new());
    let (entries, report) = audited(&repo, &AuditFilter::default(), None);
    assert_eq!((report.records, words(&entries).last()), (7, Some(&"note")));
    assert!(report.damages.is_empty(), "{report:?}");
    assert_ne!(report.head, repo.state().hash());
}
