//! Repairs do what they say: index, checkpoints, packs, snapshots.

mod twins;

use crate::common::damage::{self, Damage};
use crate::common::{ALL_DATA, Harness, inside, small_packs, two_trees};
use decube_backup_core::entry::EntryPath;
use decube_backup_core::monitor::{ProblemKind, Silent};
use decube_backup_core::{ErrorKind, Key};
use decube_backup_engine::options::{Effect, SnapshotFilter, VerifyDepth};
use decube_backup_engine::repair::{
    self, Content, Damaged, Outcome, REPAIRED_TAG, RepairOptions, SnapshotsOptions, SnapshotsReport,
};
use decube_backup_engine::{Environment, Repository, tags};
use decube_backup_format::ids::SnapshotId;
use std::collections::BTreeSet;
use std::path::Path;

const DRY: Effect = Effect::DryRun;
const REAL: Effect = Effect::Real;

fn options(effect: Effect, content: Content) -> RepairOptions {
    RepairOptions { effect, content, ..RepairOptions::default() }
}

/// As a repair opens it: without a cache.
fn bare(harness: &Harness) -> Repository {
    let env = Environment { cache_dir: None, ..harness.environment() };
    Repository::open(env, &harness.credentials).expect("open")
}

fn keys(harness: &Harness, prefix: &str) -> Vec<Key> {
    harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with(prefix)).collect()
}

struct World {
    harness: Harness,
    trees: Vec<(SnapshotId, tempfile::TempDir)>,
}

/// Two snapshots that share some content.
fn world() -> World {
    let harness = Harness::with_repository(&small_packs());
    let trees = two_trees(&harness);
    World { harness, trees }
}

const HARM: [Damage; 5] =
    [Damage::Flip(0), Damage::Flip(500), Damage::FlipFromEnd(40), Damage::Truncate(500), Damage::Remove];

#[test]
fn a_damaged_index_is_written_anew_from_the_packs_and_a_dry_run_writes_nothing() {
    let world = world();
    let objects = world.harness.memory.objects();
    for key in keys(&world.harness, "index/") {
        for damage in damage::every() {
            let context = format!("{key} {damage:?}");
            let user = world.harness.on_image(objects.clone());
            damage::apply(&user, &key, damage);
            let before = user.memory.objects();
            let dry = repair::index(&bare(&user), &options(DRY, Content::Structure), &Silent).expect(&context);
            assert!(user.memory.objects() == before, "{context}: a dry run wrote");
            let real = repair::index(&bare(&user), &options(REAL, Content::Structure), &Silent).expect(&context);
            assert_eq!((dry.packs, dry.retired, dry.written), (real.packs, 1, 0), "{context}");
            assert!(real.packs > 0 && real.written == 1 && real.damaged.len() == 1, "{context}: {real:?}");
            assert_eq!(real.damaged[0].object, key.as_str(), "{context}");
            user.assert_sound(&context);
            let again = repair::index(&bare(&user), &options(REAL, Content::Structure), &Silent).expect(&context);
            assert!(again.is_sound(), "{context}: {again:?}");
            let (id, tree) = &world.trees[0];
            user.assert_restores(id, tree.path(), &context);
            let next = user.backup(tree.path(), "again");
            assert_eq!(next.chunks_new, 0, "{context}: the new index knows everything");
        }
    }
}

#[test]
fn an_index_segment_stays_on_the_list_while_a_pack_can_be_indexed_from_nowhere() {
    let World { harness, trees } = world();
    let index = keys(&harness, "index/").remove(0);
    harness.memory.truncate(&index, 10).expect("damaged");
    for pack in keys(&harness, "packs/d/") {
        harness.memory.remove(&pack).expect("removed");
    }
    let report = repair::index(&bare(&harness), &options(REAL, Content::Structure), &Silent).expect("repair");
    assert!(!report.unreadable.is_empty(), "{report:?}");
    assert_eq!(report.retired, 0, "{report:?}");
    assert!(harness.repository().state().indexes().any(|(_, id, _)| index.as_str().ends_with(&id.to_hex())));
    assert!(trees.len() == 2 && report.written == 1, "the metadata packs are indexed: {report:?}");
}

#[test]
fn an_index_of_a_newer_program_is_left_alone() {
    // What was recorded byte for byte is never taken out of force, whatever this program makes of it.
    let World { harness, .. } = world();
    let repo = bare(&harness);
    let bytes = b"from the future".to_vec();
    let id = decube_backup_format::ids::IndexId([7; 16]);
    let name = decube_backup_format::log::ObjectName::Index { level: 0, id };
    damage::put(&harness, &name.key().expect("legal"), bytes.clone().into());
    let record = decube_backup_engine::repository::NewRecord {
        payload: decube_backup_format::log::Payload::Add { run: [0; 16] },
        added: vec![decube_backup_format::log::AddedObject::of(name, &bytes)],
        reclaimed: Vec::new(),
        stamp: decube_backup_format::log::Stamp::default(),
    };
    repo.append(record, &mut |_| Ok(decube_backup_engine::repository::Verdict::Stands)).expect("appended");
    let report = repair::index(&bare(&harness), &options(REAL, Content::Structure), &Silent).expect("repair");
    assert_eq!((report.kept.len(), report.damaged.len(), report.retired), (1, 0, 0), "{report:?}");
    assert!(harness.memory.objects().contains_key(&name.key().expect("legal")));
}

/// A repository with two checkpoints, and the newer one.
fn with_checkpoint() -> (Harness, Key) {
    let World { harness, trees } = world();
    let change = decube_backup_engine::options::TagChange { add: vec!["x".into()], ..Default::default() };
    let repo = harness.repository();
    while keys(&harness, "ckpt/").len() < 2 {
        tags::change(&repo, &[trees[0].0], &change).expect("tagged");
    }
    let key = keys(&harness, "ckpt/").remove(1);
    (harness, key)
}

#[test]
fn a_damaged_checkpoint_is_told_of_removed_and_made_again() {
    let (harness, key) = with_checkpoint();
    harness.assert_sound("with a checkpoint");
    let objects = harness.memory.objects();
    let ways = damage::every().filter(|d| !matches!(d, Damage::Remove)).map(Some);
    // Its first bytes: some are a cipher or a layout of the future then.
    let bytes = (0..10).map(|byte| (format!("byte {byte}"), None, byte));
    for (context, damage, byte) in ways.map(|damage| (format!("{damage:?}"), damage, 0)).chain(bytes) {
        let user = harness.on_image(objects.clone());
        match damage {
            Some(damage) => damage::apply(&user, &key, damage),
            None => user.memory.flip_byte(&key, byte).expect("there"),
        }
        for depth in [VerifyDepth::Structure, ALL_DATA] {
            let report = user.verify(depth);
            let named: Vec<_> = report.damages.iter().map(|d| d.object.as_str()).collect();
            assert_eq!(named, [key.as_str()], "{context}: {depth:?}");
            assert_eq!(report.affected_count, 0, "{context}");
        }
        let dry = repair::checkpoints(&bare(&user), &options(DRY, Content::Structure), &Silent).expect(&context);
        assert_eq!((dry.damaged.len(), dry.removed), (1, 0), "{context}");
        let real = repair::checkpoints(&bare(&user), &options(REAL, Content::Structure), &Silent).expect(&context);
        assert_eq!((real.damaged.len(), real.removed), (1, 1), "{context}");
        assert!(real.stored.is_some(), "{context}");
        user.assert_sound(&context);
        let again = repair::checkpoints(&bare(&user), &options(REAL, Content::Structure), &Silent).expect(&context);
        assert!(again.is_sound() && again.checked == 2, "{context}: {again:?}");
    }
}

/// What cannot be read may be all that knows of records which the log lost, if it is named after one of these.
#[test]
fn a_checkpoint_that_cannot_be_read_is_left_alone_where_the_log_ends_before_it() {
    let (harness, key) = with_checkpoint();
    let beyond = crate::common::key("ckpt/00000000000000ff");
    damage::put(&harness, &beyond, harness.memory.objects()[&key].clone());
    harness.memory.flip_byte(&beyond, 0).expect("there");
    for effect in [DRY, REAL] {
        let report =
            repair::checkpoints(&bare(&harness), &options(effect, Content::Structure), &Silent).expect("judged");
        assert_eq!((report.damaged.len(), report.kept.len(), report.removed), (0, 1, 0), "{report:?}");
        assert!(report.kept[0].what.contains("records that the log does not have"), "{report:?}");
    }
    assert!(harness.memory.objects().contains_key(&beyond));
}

/// A record that is gone looks like the log's end, and a checkpoint behind it may be all that still knows what it said.
#[test]
fn no_checkpoint_is_judged_by_a_log_that_lacks_records() {
    let (harness, _) = with_checkpoint();
    let objects = harness.memory.objects();
    let records = keys(&harness, "log/");
    let last = records.len() - 1;
    for (missing, with_checkpoints) in
        [(3..4, true), (40..41, true), (3..4, false), (3..6, false), (last - 3..last, false)]
    {
        let context = format!("{missing:?}, checkpoints: {with_checkpoints}");
        let user = harness.on_image(objects.clone());
        for key in &records[missing.clone()] {
            user.memory.remove(key).expect("there");
        }
        for key in keys(&user, "ckpt/").iter().filter(|_| !with_checkpoints) {
            user.memory.remove(key).expect("there");
        }
        let before = user.memory.objects();
        for effect in [DRY, REAL] {
            // A log with a hole is read only, and that alone is a refusal to write.
            let error = repair::checkpoints(&bare(&user), &options(effect, Content::Structure), &Silent);
            let error = error.err().unwrap_or_else(|| panic!("{context}: {effect:?}: nothing to repair"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{context}: {}", error.chain());
            assert!(user.memory.objects() == before, "{context}: {effect:?} wrote");
        }
    }
}

#[test]
fn what_is_left_in_a_damaged_pack_is_stored_again() {
    let world = world();
    let objects = world.harness.memory.objects();
    let (mut saved, mut lost) = (0, 0);
    for key in keys(&world.harness, "packs/") {
        for damage in HARM {
            let context = format!("{key} {damage:?}");
            let user = world.harness.on_image(objects.clone());
            damage::apply(&user, &key, damage);
            let verified = user.verify(ALL_DATA);
            let before = user.memory.objects();
            let dry = repair::packs(&bare(&user), &options(DRY, Content::Read), &Silent).expect(&context);
            assert!(user.memory.objects() == before, "{context}: a dry run wrote");
            let real = repair::packs(&bare(&user), &options(REAL, Content::Read), &Silent).expect(&context);
            assert_eq!((dry.damaged, dry.saved, dry.lost), (1, real.saved, real.lost), "{context}");
            assert_eq!(real.damages.iter().map(|d| d.object.as_str()).collect::<BTreeSet<_>>(), [key.as_str()].into());
            let state = user.repository().state();
            assert_eq!((state.damaged_packs().len(), state.condemned_packs().len()), (1, 1), "{context}");
            // Nothing is worse than before, and everything saved is found without the damaged pack.
            let after = user.verify(ALL_DATA);
            assert!(after.affected_count <= verified.affected_count, "{context}: {:?}", after.affected);
            user.memory.remove(&key).or_else(|_| user.memory.truncate(&key, 0)).ok();
            let without = user.verify(VerifyDepth::Structure);
            assert_eq!(without.affected_count > 0, real.lost > 0 || real.opaque > 0, "{context}: {without:?}");
            let again = repair::packs(&bare(&user), &options(REAL, Content::Read), &Silent).expect(&context);
            assert_eq!((again.saved, again.written), (0, 0), "{context}: {again:?}");
            (saved, lost) = (saved + real.saved, lost + real.lost);
        }
    }
    assert!(saved > 100 && lost > 100, "{saved} {lost}");
}

fn twins(harness: &Harness) -> Vec<decube_backup_engine::options::Snapshot> {
    let filter = SnapshotFilter { tags: vec![REPAIRED_TAG.to_owned()], ..SnapshotFilter::default() };
    harness.repository().snapshots(&filter)
}

/// Whatever `report` says is lost is missing in the twin; everything else is there and whole.
fn assert_twin_holds_the_rest(harness: &Harness, tree: &Path, report: &SnapshotsReport, context: &str) {
    for damaged in &report.damaged {
        let Outcome::Made(twin) = damaged.outcome else { continue };
        let lost: BTreeSet<Vec<u8>> = damaged.problems.iter().map(|p| p.path.clone()).collect();
        let snapshot = harness.snapshot(&twin);
        assert_eq!(snapshot.manifest.parent, Some(damaged.id), "{context}");
        assert_eq!(snapshot.manifest.problems_total[&ProblemKind::Damaged], damaged.lost, "{context}");
        let original = harness.repository().state().snapshot(&damaged.id).expect("known").manifest.clone();
        assert_eq!((&snapshot.manifest.name, &snapshot.manifest.host), (&original.name, &original.host), "{context}");
        assert_eq!((snapshot.manifest.begun, snapshot.manifest.ended), (original.begun, original.ended), "{context}");
        let root = inside(tree);
        let (to, restored) = harness.restore(&twin, tree);
        assert!(restored.problems.is_empty(), "{context}: {:?}", restored.problem_list);
        let gaps = damaged.problems.iter().any(|p| p.message.contains("entries from here on"));
        for name in ["empty", "inline", "a/text", "a/deep/noise", "a/deep/er/large", "b/000", "b/039", "shared"] {
            let full = EntryPath::new(format!("{root}/{name}").into_bytes()).expect("path");
            let (here, there) = (std::fs::read(tree.join(name)).expect("file"), std::fs::read(to.path().join(name)));
            match there {
                Ok(there) => assert!(there == here && !lost.contains(full.as_bytes()), "{context}: {name}"),
                Err(_) => assert!(gaps || lost.contains(full.as_bytes()), "{context}: {name} lost without a word"),
            }
        }
    }
}

#[test]
fn a_damaged_snapshot_gets_a_twin_with_everything_readable_and_a_list_of_the_rest() {
    let world = world();
    let objects = world.harness.memory.objects();
    let mut made = 0;
    for key in keys(&world.harness, "packs/") {
        for damage in [Damage::Flip(500), Damage::Truncate(500), Damage::Remove] {
            let context = format!("{key} {damage:?}");
            let user = world.harness.on_image(objects.clone());
            damage::apply(&user, &key, damage);
            let verified = user.verify(ALL_DATA);
            let before = user.memory.objects();
            let choice = SnapshotsOptions::default();
            let dry = repair::snapshots(&bare(&user), &options(DRY, Content::Read), &choice, &Silent).expect(&context);
            assert!(user.memory.objects() == before, "{context}: a dry run wrote");
            assert_eq!(dry.damaged.iter().map(|d| d.lost).sum::<u64>(), verified.affected_count, "{context}");
            let real =
                repair::snapshots(&bare(&user), &options(REAL, Content::Read), &choice, &Silent).expect(&context);
            assert_eq!(real.damaged.len(), dry.damaged.len(), "{context}");
            for (id, tree) in &world.trees {
                let own = real.damaged.iter().filter(|d| d.id == *id).cloned().collect();
                let report = SnapshotsReport { checked: 1, damaged: own };
                assert_twin_holds_the_rest(&user, tree.path(), &report, &context);
            }
            made += twins(&user).len();
            let known =
                repair::snapshots(&bare(&user), &options(REAL, Content::Read), &choice, &Silent).expect(&context);
            assert!(
                known.damaged.iter().all(|d| matches!(d.outcome, Outcome::Known(_) | Outcome::Nothing)),
                "{context}"
            );
        }
    }
    assert!(made > 3, "{made}");
}

#[test]
fn a_damaged_snapshot_is_forgotten_only_on_request_and_only_with_a_twin() {
    let World { harness, trees } = world();
    let key = keys(&harness, "packs/d/").remove(0);
    harness.memory.remove(&key).expect("removed");
    let hit: Vec<SnapshotId> = {
        let choice = SnapshotsOptions::default();
        let report = repair::snapshots(&bare(&harness), &options(REAL, Content::Structure), &choice, &Silent);
        report.expect("repair").damaged.iter().map(|d| d.id).collect()
    };
    assert!(!hit.is_empty());
    assert_eq!(harness.repository().snapshots(&SnapshotFilter::default()).len(), trees.len() + hit.len());
    let choice = SnapshotsOptions { damaged: Damaged::Forget, ..SnapshotsOptions::default() };
    let report = repair::snapshots(&bare(&harness), &options(REAL, Content::Structure), &choice, &Silent);
    assert!(report.expect("repair").damaged.iter().all(|d| d.forgotten));
    let left: BTreeSet<SnapshotId> =
        harness.repository().snapshots(&SnapshotFilter::default()).iter().map(|s| s.id).collect();
    assert!(hit.iter().all(|id| !left.contains(id)) && left.len() == trees.len());
    assert_eq!(harness.verify(VerifyDepth::Structure).affected_count, 0, "what is left is whole");
}

#[test]
fn a_sound_repository_is_left_as_it_is() {
    let (harness, _) = with_checkpoint();
    let before = harness.memory.objects();
    let all = options(REAL, Content::Read);
    let repo = bare(&harness);
    assert!(repair::index(&repo, &all, &Silent).expect("index").is_sound());
    assert!(repair::checkpoints(&repo, &all, &Silent).expect("checkpoints").is_sound());
    assert_eq!(repair::packs(&repo, &all, &Silent).expect("packs").damaged, 0);
    assert!(
        repair::snapshots(&repo, &all, &SnapshotsOptions::default(), &Silent).expect("snapshots").damaged.is_empty()
    );
    assert!(harness.memory.objects() == before);
}
