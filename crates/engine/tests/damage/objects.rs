//! Every kind of object damaged in every way: it is named, the files it hits are named, the rest comes back.

use crate::common::damage::{Damage, apply, every, swap};
use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::records::append;
use crate::common::{ALL_DATA, Harness, inside, small_packs, two_trees};
use decube_backup_backend_fs::compare::{CompareOptions, compare_trees};
use decube_backup_core::monitor::{ProblemKind, Silent};
use decube_backup_core::{ErrorKind, Key};
use decube_backup_engine::gc::{self, PruneOptions};
use decube_backup_engine::options::{RestoreOptions, VerifyReport};
use decube_backup_engine::verify::{VerifyOptions, scrub, verify};
use decube_backup_format::ids::{SnapshotId, log_key};
use decube_backup_format::log::{Envelope, ObjectName, Payload};
use std::collections::BTreeSet;
use std::path::Path;

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

/// Runs `check` for every object whose name begins with `prefix` and every damage.
fn each(prefix: &str, check: impl Fn(&World, &Harness, &Key, &str)) {
    let world = world();
    let objects = world.harness.memory.objects();
    let keys: Vec<&Key> = objects.keys().filter(|key| key.as_str().starts_with(prefix)).collect();
    assert!(!keys.is_empty(), "no object under {prefix}");
    for key in keys {
        for damage in every() {
            let harness = world.harness.on_image(objects.clone());
            apply(&harness, key, damage);
            check(&world, &harness, key, &format!("{key} {damage:?}"));
        }
    }
}

fn assert_named(report: &VerifyReport, key: &Key, context: &str) {
    assert!(report.damages.iter().any(|d| d.object == key.as_str()), "{context}: {:?}", report.damages);
    let others: Vec<_> = report.damages.iter().filter(|d| d.object != key.as_str()).collect();
    // What a damaged pack takes with it may be named by node; no other object is accused.
    assert!(others.iter().all(|d| d.object.starts_with("node ")), "{context}: {others:?}");
}

fn assert_scrub_names(harness: &Harness, key: &Key, context: &str) {
    let report = scrub(&harness.environment(), &Silent).expect(context);
    assert_named(&report, key, context);
}

/// Restores every snapshot: what is not reported is whole, what is reported was announced by `verified`.
fn assert_rest_comes_back(world: &World, harness: &Harness, verified: &VerifyReport, context: &str) {
    for (id, tree) in &world.trees {
        let (to, report) = harness.restore(id, tree.path());
        let root = inside(tree.path());
        let announced: BTreeSet<Vec<u8>> =
            verified.affected.iter().filter(|a| a.snapshot == id.to_hex()).map(|a| a.path.clone()).collect();
        let mut hit = BTreeSet::new();
        let mut gaps = Vec::new();
        for problem in report.problem_list.iter().filter(|p| p.kind == ProblemKind::Damaged) {
            if problem.path.is_empty() || problem.message.contains("entries from here on") {
                gaps.push(problem.path.clone());
                continue;
            }
            let below = String::from_utf8(problem.path.clone()).expect("plain names");
            let full = root.join(b"x").expect("path").parent().expect("root").to_string() + "/" + &below;
            assert!(
                announced.contains(full.as_bytes()) || !gaps.is_empty(),
                "{context}: verify did not announce {full}: {announced:?}"
            );
            hit.insert(below);
        }
        assert!(gaps.is_empty() || !announced.is_empty(), "{context}: a gap nobody announced");
        if gaps.is_empty() {
            let options = CompareOptions::default();
            for difference in compare_trees(tree.path(), to.path(), options).expect("comparable") {
                let path = difference.path.to_string();
                assert!(hit.contains(&path), "{context}: {path} differs and was not reported: {difference:?}");
            }
        } else {
            assert_no_wrong_content(tree.path(), to.path(), &hit, context);
        }
        if !announced.is_empty() {
            assert!(!report.problems.is_empty(), "{context}: verify announced {announced:?}, restore found nothing");
        }
    }
}

/// Whatever file is there and was not reported has the right bytes.
fn assert_no_wrong_content(tree: &Path, restored: &Path, reported: &BTreeSet<String>, context: &str) {
    for name in ["empty", "inline", "a/text", "a/deep/noise", "a/deep/er/large", "b/000", "b/039", "shared"] {
        if let Ok(bytes) = std::fs::read(restored.join(name))
            && !reported.contains(name)
        {
            assert!(bytes == std::fs::read(tree.join(name)).expect("file"), "{context}: {name}");
        }
    }
}

#[test]
fn a_damaged_data_pack_is_named_with_its_files_and_the_rest_comes_back() {
    each("packs/d/", |world, harness, key, context| {
        let report = harness.verify(ALL_DATA);
        assert_named(&report, key, context);
        assert_rest_comes_back(world, harness, &report, context);
        assert_scrub_names(harness, key, context);
    });
}

#[test]
fn a_damaged_metadata_pack_is_named_with_its_files_and_the_rest_comes_back() {
    each("packs/m/", |world, harness, key, context| {
        let report = harness.verify(ALL_DATA);
        assert_named(&report, key, context);
        assert_rest_comes_back(world, harness, &report, context);
        assert_scrub_names(harness, key, context);
    });
}

#[test]
fn a_damaged_index_segment_is_named_and_costs_no_file() {
    each("index/", |world, harness, key, context| {
        let report = harness.verify(ALL_DATA);
        assert_named(&report, key, context);
        assert_eq!(report.affected_count, 0, "{context}");
        for (id, tree) in &world.trees {
            harness.assert_restores(id, tree.path(), context);
        }
        assert_scrub_names(harness, key, context);
        let (_, tree) = &world.trees[0];
        let again = harness.backup(tree.path(), "again").snapshot.expect("a snapshot");
        harness.assert_restores(&again, tree.path(), context);
    });
}

#[test]
fn an_object_of_another_length_is_told_of_once() {
    let world = world();
    let slot = decube_backup_engine::keys::add(&world.harness.repository(), &crate::common::key_file(99), "other");
    let slot = format!("keys/{}", slot.expect("added").slot);
    let objects = world.harness.memory.objects();
    for prefix in [slot.as_str(), "index/", "copy/format", "copy/keyring/", "packs/d/", "packs/m/"] {
        let key = objects.keys().find(|key| key.as_str().starts_with(prefix)).expect(prefix);
        let harness = world.harness.on_image(objects.clone());
        apply(&harness, key, Damage::Shorten);
        let told = |report: VerifyReport| report.damages.into_iter().filter(|d| d.object == key.as_str()).count();
        assert_eq!(told(scrub(&harness.environment(), &Silent).expect(prefix)), 1, "{key}, scrubbed");
        if !prefix.starts_with("packs/") {
            assert_eq!(told(harness.verify(ALL_DATA)), 1, "{key}");
        }
    }
}

#[test]
fn two_objects_that_hold_each_others_bytes_are_both_named_and_the_rest_comes_back() {
    let world = world();
    let objects = world.harness.memory.objects();
    for prefix in ["packs/d/", "packs/m/", "index/"] {
        let mut keys = objects.keys().filter(|key| key.as_str().starts_with(prefix));
        let (one, two) = (keys.next().expect(prefix), keys.next().expect(prefix));
        let harness = world.harness.on_image(objects.clone());
        swap(&harness, one, two);
        let report = harness.verify(ALL_DATA);
        for key in [one, two] {
            assert!(report.damages.iter().any(|d| d.object == key.as_str()), "{prefix}: {:?}", report.damages);
        }
        assert_eq!(report.affected_count == 0, prefix == "index/", "{prefix}");
        assert_rest_comes_back(&world, &harness, &report, prefix);
    }
}

#[test]
fn a_damaged_key_slot_is_named_and_another_slot_still_opens() {
    let world = world();
    let other = crate::common::key_file(99);
    decube_backup_engine::keys::add(&world.harness.repository(), &other, "other").expect("added");
    let objects = world.harness.memory.objects();
    let own = world.harness.repository();
    let slots = decube_backup_engine::keys::list(&own).expect("listed");
    let first = slots.iter().find(|s| s.current).expect("current");
    let key = crate::common::key(&format!("keys/{}", first.slot));
    for damage in every() {
        let context = format!("{damage:?}");
        let mut harness = world.harness.on_image(objects.clone());
        apply(&harness, &key, damage);
        assert!(harness.open().is_err(), "{context}: a damaged slot opened");
        harness.credentials = other.clone();
        let report = harness.verify(ALL_DATA);
        assert_named(&report, &key, &context);
        assert_eq!(report.affected_count, 0);
        assert_scrub_names(&harness, &key, &context);
        let (id, tree) = &world.trees[1];
        harness.assert_restores(id, tree.path(), &context);
    }
}

#[test]
fn a_scrub_goes_on_behind_a_damaged_log_record() {
    let world = world();
    let objects = world.harness.memory.objects();
    let last = Envelope::decode(&objects[&log_key(2).expect("a number")]).expect("a record");
    let pack = last.added.iter().find(|object| matches!(object.name, ObjectName::Pack(_))).expect("a pack");
    let (record, pack) = (log_key(1).expect("a number"), pack.name.key().expect("a name"));
    for damage in every() {
        let harness = world.harness.on_image(objects.clone());
        apply(&harness, &record, damage);
        apply(&harness, &pack, Damage::Flip(500));
        let report = scrub(&harness.environment(), &Silent).expect("scrub");
        let named: Vec<&str> = report.damages.iter().map(|damage| damage.object.as_str()).collect();
        assert_eq!(named, [record.as_str(), pack.as_str()], "{damage:?}");
        assert_eq!(report.records, 2, "{damage:?}");
    }
}

#[test]
fn a_damaged_log_record_is_named_and_never_passes_for_sound() {
    each("log/", |world, harness, key, context| {
        if context == "log/0000000000000002 Remove" {
            // Without its last record the log is that of a moment ago: what it says then is sound.
            let (id, tree) = &world.trees[0];
            harness.assert_restores(id, tree.path(), context);
            return harness.assert_sound(context);
        }
        assert_scrub_names(harness, key, context);
        let damaged = u64::from_str_radix(&key.as_str()["log/".len()..], 16).expect("a number");
        // With and without a memory of what the log said, what other records say is given back.
        for reader in [harness, &world.harness.through(harness.sink.clone())] {
            let repo = reader.open().expect(context);
            let options = VerifyOptions { depth: ALL_DATA, snapshots: None };
            let report = verify(&repo, &options, &Silent).expect(context);
            assert!(report.damages.iter().any(|d| d.object == key.as_str()), "{context}: {:?}", report.damages);
            for (number, (id, tree)) in (1..).zip(&world.trees) {
                if number != damaged {
                    reader.assert_restores(id, tree.path(), context);
                }
            }
        }
        let refused =
            harness.backup_source(&crate::common::source_of(world.trees[0].1.path()), "again").expect_err(context);
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{context}: {refused:?}");
    });
}

/// Whoever knows nothing of the log, and who saw its beginning: none takes the hole for the end.
#[test]
fn records_lost_in_a_row_do_not_pass_for_the_end() {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), "content").expect("written");
    harness.backup(tree.path(), "tree");
    let visitor = harness.somebody_else();
    visitor.repository();
    (0..5).for_each(|_| _ = harness.backup(tree.path(), "tree"));
    let last = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    for lost in [2..4, 2..5, 2..7] {
        lost.clone().for_each(|seq| _ = harness.memory.remove(&log_key(seq).expect("key")));
        for (who, reader) in [("stranger", &harness.somebody_else()), ("visitor", &visitor)] {
            let context = format!("{lost:?} {who}");
            let damaged = reader.repository().damaged_records();
            assert_eq!(damaged, lost.clone().collect::<Vec<_>>(), "{context}");
            reader.assert_restores(&last, tree.path(), &context);
            let refused = reader.backup_source(&crate::common::source_of(tree.path()), "again").expect_err(&context);
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{context}: {refused:?}");
        }
    }
}

/// A reader lists names by blocks of 256. A prune looks at all of them, however far apart the ends are.
#[test]
fn records_lost_across_a_block_of_names_do_not_pass_for_the_end() {
    let harness = Harness::with_repository(&small_packs());
    let (visitors, repo) = ([harness.somebody_else(), harness.somebody_else()], harness.repository());
    let early = visitors[0].repository();
    assert_eq!(early.state().next_seq(), 1);
    let note = || Payload::Note { text: "so many".into() };
    (1..=0x101).for_each(|seq| {
        if seq == 0xff {
            visitors[1].repository();
        }
        append(&repo, note(), Vec::new());
    });
    [0xff, 0x100].into_iter().for_each(|seq| _ = harness.memory.remove(&log_key(seq).expect("key")));
    assert_eq!(visitors[1].repository().damaged_records(), [0xff, 0x100]);
    (1..0xff).for_each(|seq| _ = harness.memory.remove(&log_key(seq).expect("key")));
    let refused = gc::plan(&early, &PruneOptions::default(), &Silent).map(drop).expect_err("not the end");
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("log/0000000000000001"), "{refused}");
}

#[test]
fn a_lost_tree_node_costs_only_the_entries_in_it() {
    let files = (0..3000u64).map(|n| MadeUpFile {
        path: crate::common::path(&format!("{:02}/{}/{n:05}", n / 150, "long-folder-name".repeat(3))),
        seed: n,
        len: 64,
        behaviour: Behaviour::Fine,
    });
    let source = MadeUp::new(files.collect());
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup_source(&source, "made up").expect("backup").snapshot.expect("a snapshot");
    let objects = harness.memory.objects();
    let (name, pack) = objects.iter().find(|(k, _)| k.as_str().starts_with("packs/m/")).expect("metadata");
    let mut gaps_seen = 0;
    for place in (0..6).map(|n| pack.len() * (2 * n + 1) / 12) {
        let context = format!("byte {place} of {}", pack.len());
        let harness = harness.on_image(objects.clone());
        harness.memory.flip_byte(name, place).expect("damaged");
        let verified = harness.verify(ALL_DATA);
        assert_named(&verified, name, &context);
        let (to, report) = harness.restore_with(&id, &RestoreOptions::default());
        assert_eq!(
            report.problems.keys().collect::<Vec<_>>(),
            vec![&ProblemKind::Damaged; usize::from(!report.problems.is_empty())],
            "{context}: {:?}",
            report.problem_list
        );
        let lost: u64 = report.problem_list.iter().map(|p| lost_entries(&p.message)).sum();
        assert_eq!(report.files_restored + report.directories + lost, 3041, "{context}: {:?}", report.problem_list);
        assert_eq!(lost > 0, verified.affected_count > 0, "{context}");
        gaps_seen += u64::from(lost > 0 && report.files_restored > 0);
        let mut whole = 0;
        for file in &source.files {
            if let Ok(bytes) = std::fs::read(to.path().join(file.path.to_string())) {
                assert!(bytes == crate::common::noise(file.seed, 64), "{context}: {}", file.path);
                whole += 1;
            }
        }
        assert_eq!(whole, report.files_restored, "{context}");
    }
    assert!(gaps_seen >= 2, "the damage hit too little: {gaps_seen}");
}

/// "N entries from here on cannot be read: …" → N.
fn lost_entries(message: &str) -> u64 {
    message.split_once(" entries from here on").and_then(|(n, _)| n.parse().ok()).unwrap_or(0)
}
