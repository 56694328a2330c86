//! Parity: damaged packs come back by it, it is said so, and it lives and dies with its pack.

use crate::common::bad_sectors::BadSectors;
use crate::common::damage::{self, Damage};
use crate::common::records::forget;
use crate::common::{ALL_DATA, Harness, plant, small_packs, two_trees};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Key, Sink};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{Effect, VerifyDepth, VerifyReport};
use decube_backup_engine::repair::{self, Content, RepairOptions};
use decube_backup_engine::verify::{Recording, VerifyOptions, scrub, verify_and_record};
use decube_backup_format::ids::{SnapshotId, pack_key, parity_key};
use decube_backup_format::parity::SHARD_BYTES;
use decube_backup_testkit::{Op, RecordingSink};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const HALF_OF_ALL: u8 = 50;

struct World {
    harness: Harness,
    trees: Vec<(SnapshotId, tempfile::TempDir)>,
}

/// Two snapshots that share some content, their packs with so much parity.
fn world(percent: u8) -> World {
    let harness = Harness::with_repository(&small_packs()).with_parity(percent);
    let trees = two_trees(&harness);
    World { harness, trees }
}

impl World {
    /// Everything comes back, for who looks at `harness` for the first time.
    fn assert_comes_back(&self, harness: &Harness, context: &str) {
        for (id, tree) in &self.trees {
            harness.somebody_else().assert_restores(id, tree.path(), context);
        }
    }
}

/// A data pack and a metadata pack.
fn one_of_each(harness: &Harness) -> [Key; 2] {
    ["packs/d/", "packs/m/"].map(|prefix| keys(harness, prefix).remove(0))
}

fn keys(harness: &Harness, prefix: &str) -> Vec<Key> {
    harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with(prefix)).collect()
}

/// The parity object of the pack `key`, or the pack of the parity object.
fn partner(harness: &Harness, key: &Key) -> Key {
    let state = harness.repository().state();
    let pairs = state.parities().map(|(name, _)| (pack_key(&name.pack).expect("key"), parity_key(&name).expect("key")));
    let found = pairs.into_iter().find_map(|(pack, parity)| match key {
        key if *key == pack => Some(parity),
        key if *key == parity => Some(pack),
        _ => None,
    });
    found.expect("a pack with parity")
}

fn named<'r>(report: &'r VerifyReport, key: &Key) -> Vec<&'r str> {
    report.damages.iter().filter(|d| d.object == key.as_str()).map(|d| d.what.as_str()).collect()
}

fn assert_only(report: &VerifyReport, key: &Key, context: &str) {
    assert!(report.damages.iter().all(|d| d.object == key.as_str()), "{context}: {:?}", report.damages);
}

/// Parity objects in the store and those in force are the same.
fn assert_no_stray_parity(harness: &Harness, context: &str) {
    let state = harness.repository().state();
    let in_force: BTreeSet<Key> = state.parities().map(|(name, _)| parity_key(&name).expect("key")).collect();
    assert_eq!(keys(harness, "parity/").into_iter().collect::<BTreeSet<_>>(), in_force, "{context}");
}

fn repair_options(effect: Effect, content: Content) -> RepairOptions {
    RepairOptions { effect, content, ..RepairOptions::default() }
}

fn prune(harness: &Harness) -> gc::PruneReport {
    let options =
        PruneOptions { max_unused: MaxUnused::Percent(0.0), orphan_age: Duration::ZERO, ..PruneOptions::default() };
    let repo = harness.repository();
    gc::plan(&repo, &options, &Silent).expect("plan").run(&Silent).expect("prune")
}

#[test]
fn without_asking_for_it_there_is_none_and_with_it_every_pack_has_one() {
    let without = world(0).harness;
    assert!(keys(&without, "parity/").is_empty());
    let with = world(10).harness;
    assert_eq!(keys(&with, "parity/").len(), keys(&with, "packs/").len());
    assert_no_stray_parity(&with, "fresh");
    with.assert_sound("fresh");
    let bytes = |harness: &Harness, prefix: &str| -> usize {
        let objects = harness.memory.objects();
        objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix)).map(|(_, object)| object.len()).sum()
    };
    let (packs, parity) = (bytes(&with, "packs/"), bytes(&with, "parity/"));
    assert!((10..13).contains(&(parity * 100 / packs)), "{parity} for {packs}");
}

/// The bound: one shard of parity for each damaged shard of the pack, wherever they are.
#[test]
fn each_damaged_pack_is_called_repairable_and_everything_comes_back() {
    let world = world(10);
    let objects = world.harness.memory.objects();
    for key in one_of_each(&world.harness) {
        let shards = objects[&key].len().div_ceil(SHARD_BYTES);
        let most = shards.div_ceil(10);
        for (what, each) in
            [("one bit", vec![shards / 2]), ("as many as there is parity", (0..most).map(|n| n * 7 % shards).collect())]
        {
            let context = format!("{key}: {what}");
            let harness = world.harness.on_image(objects.clone());
            let hit: BTreeSet<usize> = each.into_iter().collect();
            for shard in &hit {
                let at = (shard * SHARD_BYTES + 11).min(objects[&key].len() - 1);
                harness.memory.flip_byte(&key, at).expect("damaged");
            }
            for report in [harness.verify(ALL_DATA), scrub(&harness.environment(), &Silent).expect(&context)] {
                assert_only(&report, &key, &context);
                let said = named(&report, &key);
                assert!(said.len() == 1 && said[0].contains("repairable by parity"), "{context}: {said:?}");
                assert_eq!((report.affected_count, report.spared_count), (0, 0), "{context}");
                let [repairable] = &report.repairable[..] else { panic!("{context}: {report:?}") };
                assert_eq!(repairable.object, key.as_str());
                assert!(repairable.bytes.div_ceil(SHARD_BYTES as u64) == hit.len() as u64, "{context}: {repairable:?}");
            }
            world.assert_comes_back(&harness, &context);
        }
    }
}

#[test]
fn a_cut_tail_and_a_hole_come_back_and_what_is_beyond_the_bound_is_said_and_costs_no_more() {
    let world = world(HALF_OF_ALL);
    let objects = world.harness.memory.objects();
    let [data, meta] = one_of_each(&world.harness);
    let in_short = [Damage::Flip(0), Damage::Shorten, Damage::Truncate(700), Damage::Remove];
    for (key, damages) in [(data, damage::every().chain([Damage::Truncate(700)]).collect()), (meta, in_short.to_vec())]
    {
        for damage in damages {
            let context = format!("{key} {damage:?}");
            let harness = world.harness.on_image(objects.clone());
            damage::apply(&harness, &key, damage);
            let report = harness.verify(ALL_DATA);
            assert!(!named(&report, &key).is_empty(), "{context}");
            if report.repairable.is_empty() {
                let beyond = match damage {
                    Damage::Truncate(part) => {
                        let (len, shards) = (objects[&key].len(), objects[&key].len().div_ceil(SHARD_BYTES));
                        shards - len * part / 1000 / SHARD_BYTES > (shards * usize::from(HALF_OF_ALL)).div_ceil(100)
                    }
                    damage => matches!(damage, Damage::Remove | Damage::Replace),
                };
                assert!(beyond, "{context}: {} bytes", objects[&key].len());
                let said = named(&report, &key).join("; ");
                assert!(said.contains("its parity does not bring it back"), "{context}: {said}");
                continue;
            }
            assert_eq!(report.affected_count, 0, "{context}");
            let structure = harness.verify(VerifyDepth::Structure);
            assert_eq!(structure.affected_count, 0, "{context}");
            world.assert_comes_back(&harness, &context);
        }
    }
}

#[test]
fn a_second_copy_brings_a_lost_pack_back() {
    let world = world(100);
    let objects = world.harness.memory.objects();
    for key in one_of_each(&world.harness) {
        let harness = world.harness.on_image(objects.clone());
        harness.memory.remove(&key).expect("removed");
        for depth in [ALL_DATA, VerifyDepth::Structure] {
            let report = harness.verify(depth);
            assert_eq!((report.repairable.len(), report.affected_count), (1, 0), "{key}: {:?}", report.damages);
        }
        world.assert_comes_back(&harness, key.as_str());
    }
}

#[test]
fn damaged_parity_is_named_costs_no_file_and_is_made_anew() {
    let world = world(10);
    let objects = world.harness.memory.objects();
    let key = keys(&world.harness, "parity/").remove(0);
    for damage in damage::every() {
        let context = format!("{key} {damage:?}");
        let harness = world.harness.on_image(objects.clone());
        damage::apply(&harness, &key, damage);
        for report in [harness.verify(ALL_DATA), scrub(&harness.environment(), &Silent).expect(&context)] {
            assert!(!named(&report, &key).is_empty(), "{context}");
            assert_only(&report, &key, &context);
            assert_eq!((report.affected_count, report.repairable.len()), (0, 0), "{context}");
        }
        let before = harness.memory.objects();
        let repo = harness.repository();
        let dry = repair::parity(&repo, &repair_options(Effect::DryRun, Content::Read), &Silent).expect(&context);
        assert!(harness.memory.objects() == before, "{context}: a dry run wrote");
        assert_eq!((dry.damaged.len(), dry.without, dry.written), (1, 0, 0), "{context}");
        let real = repair::parity(&repo, &repair_options(Effect::Real, Content::Read), &Silent).expect(&context);
        assert_eq!((real.damaged.len(), real.written, real.unreadable.len()), (1, 1, 0), "{context}");
        harness.assert_sound(&context);
        prune(&harness);
        assert_no_stray_parity(&harness, &context);
        assert_eq!(keys(&harness, "parity/").len(), keys(&harness, "packs/").len(), "{context}");
    }
}

#[test]
fn damage_of_a_pack_and_of_its_parity_together_is_made_good_as_far_as_both_suffice() {
    let world = world(10);
    let objects = world.harness.memory.objects();
    let key = keys(&world.harness, "packs/d/").remove(0);
    let parity = partner(&world.harness, &key);
    let shards = objects[&key].len().div_ceil(SHARD_BYTES);
    for (in_pack, comes_back) in [(shards.div_ceil(10) - 1, true), (shards.div_ceil(10), false)] {
        let harness = world.harness.on_image(objects.clone());
        for shard in 0..in_pack {
            harness.memory.flip_byte(&key, shard * SHARD_BYTES).expect("damaged");
        }
        // The head in front, and the last shard but the head behind.
        harness.memory.flip_byte(&parity, 20).expect("damaged");
        let head = (objects[&parity].len() - 4 - shards.div_ceil(10) * SHARD_BYTES) / 2;
        harness.memory.flip_byte(&parity, objects[&parity].len() - 4 - head - 1).expect("damaged");
        let report = harness.verify(ALL_DATA);
        assert_eq!(report.repairable.len(), usize::from(comes_back), "{:?}", report.damages);
        assert!(named(&report, &parity).join("").contains("costs no data"), "{:?}", report.damages);
        assert_eq!(report.affected_count == 0, comes_back);
        if comes_back {
            world.assert_comes_back(&harness, "both damaged");
        }
    }
}

#[test]
fn damaged_parity_of_a_pack_that_is_gone_is_named_too() {
    let world = world(10);
    let key = keys(&world.harness, "packs/d/").remove(0);
    let parity = partner(&world.harness, &key);
    world.harness.memory.remove(&key).expect("removed");
    world.harness.memory.flip_byte(&parity, 20).expect("damaged");
    for report in [world.harness.verify(ALL_DATA), scrub(&world.harness.environment(), &Silent).expect("scrub")] {
        assert!(!named(&report, &key).is_empty(), "{:?}", report.damages);
        assert_eq!(named(&report, &parity).len(), 1, "{:?}", report.damages);
    }
}

/// The way an operator goes: verify, repair, prune.
#[test]
fn repaired_content_is_stored_anew_and_the_damaged_packs_and_their_parity_go() {
    let World { harness, trees } = world(10);
    for prefix in ["packs/d/", "packs/m/"] {
        for key in keys(&harness, prefix) {
            harness.memory.flip_byte(&key, 30_000 % harness.memory.objects()[&key].len()).expect("damaged");
        }
    }
    let packs = keys(&harness, "packs/");
    let options = VerifyOptions { depth: ALL_DATA, snapshots: None };
    let found = verify_and_record(&harness.repository(), &options, &Recording::default(), &Silent).expect("verify");
    assert_eq!((found.repairable.len(), found.affected_count), (packs.len(), 0), "{:?}", found.damages);
    assert_eq!(found.recorded.damaged, packs.len() as u64);
    let repo = harness.repository();
    let dry = repair::packs(&repo, &repair_options(Effect::DryRun, Content::Structure), &Silent).expect("dry");
    let real = repair::packs(&repo, &repair_options(Effect::Real, Content::Structure), &Silent).expect("repair");
    for report in [&dry, &real] {
        assert_eq!((report.rebuilt, report.lost, report.opaque), (packs.len() as u64, 0, 0), "{report:?}");
    }
    assert!(real.written > 0 && real.saved == dry.saved, "{real:?}");
    for (id, tree) in &trees {
        harness.somebody_else().assert_restores(id, tree.path(), "repaired");
    }
    prune(&harness);
    assert!(keys(&harness, "packs/").iter().all(|key| !packs.contains(key)), "damaged packs are still there");
    assert_no_stray_parity(&harness, "pruned");
    assert_eq!(keys(&harness, "parity/").len(), keys(&harness, "packs/").len(), "what repair wrote has parity too");
    harness.assert_sound("pruned");
    for (id, tree) in &trees {
        harness.somebody_else().assert_restores(id, tree.path(), "pruned");
    }
}

#[test]
fn packs_get_parity_later_and_what_prune_copies_has_it() {
    let World { harness, trees } = world(0);
    let harness = harness.with_parity(20);
    let refused = repair::parity(
        &harness.somebody_else().with_parity(0).repository(),
        &repair_options(Effect::Real, Content::Structure),
        &Silent,
    );
    assert!(refused.is_err(), "how much?");
    let report = repair::parity(&harness.repository(), &repair_options(Effect::Real, Content::Structure), &Silent);
    let report = report.expect("repair");
    let packs = keys(&harness, "packs/");
    assert_eq!((report.without, report.written), (packs.len() as u64, packs.len() as u64));
    harness.assert_sound("with parity");
    let again = repair::parity(&harness.repository(), &repair_options(Effect::Real, Content::Read), &Silent);
    assert!(again.expect("repair").is_sound());

    forget(&harness, trees[0].0);
    let key = packs.iter().find(|key| key.as_str().starts_with("packs/m/")).expect("a pack");
    harness.memory.flip_byte(key, 100).expect("damaged");
    let before = keys(&harness, "parity/");
    let pruned = prune(&harness);
    assert!(pruned.packs_deleted > 0 && pruned.others_deleted >= pruned.packs_deleted, "{pruned:?}");
    assert_eq!(pruned.packs_damaged, 0, "a damaged pack is copied by its parity: {pruned:?}");
    assert!(keys(&harness, "parity/").iter().any(|key| !before.contains(key)), "nothing was copied");
    assert_no_stray_parity(&harness, "pruned");
    assert_eq!(keys(&harness, "parity/").len(), keys(&harness, "packs/").len());
    let (id, tree) = &trees[1];
    harness.somebody_else().assert_restores(id, tree.path(), "pruned");
}

#[test]
fn what_a_disk_does_not_give_back_comes_back_too() {
    let world = world(10);
    let inner = world.harness.sink.clone();
    let bad = |key: &Key, from: usize, len: usize| -> Arc<dyn Sink> {
        let bytes = from as u64..(from + len) as u64;
        Arc::new(BadSectors::in_object(inner.clone(), key.clone(), bytes))
    };
    for key in one_of_each(&world.harness) {
        let len = world.harness.memory.objects()[&key].len();
        for from in [0, len / 2, len - 10] {
            let context = format!("{key}: from {from}");
            let harness = world.harness.through(bad(&key, from, 10));
            for report in [harness.verify(ALL_DATA), scrub(&harness.environment(), &Silent).expect(&context)] {
                assert_eq!((report.repairable.len(), report.affected_count), (1, 0), "{context}: {:?}", report.damages);
            }
            world.assert_comes_back(&harness, &context);
        }
    }
    // A sector of the parity holds its head and parts of recovery shards: small packs have no more of these.
    let [key, _] = one_of_each(&world.harness);
    let parity = partner(&world.harness, &key);
    let harness = world.harness.through(bad(&parity, 100, 10));
    assert_eq!(harness.verify(ALL_DATA).affected_count, 0);
    harness.memory.flip_byte(&key, 77).expect("damaged");
    world.assert_comes_back(&harness, "bad sectors in the parity, a flipped bit in the pack");
}

/// A crash at any moment leaves no record that names parity which is not there.
#[test]
fn parity_is_stored_before_the_record_that_names_it() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 5);
    let harness = Harness::with_repository(&small_packs()).with_parity(10);
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    harness.through(recording.clone()).backup(tree.path(), "tree");
    let puts: Vec<String> =
        recording.calls().into_iter().filter(|call| call.op == Op::Put).map(|call| call.key).collect();
    let at = |prefix: &str| puts.iter().rposition(|key| key.starts_with(prefix)).expect(prefix);
    assert!(at("parity/") < at("log/") && at("packs/") < at("log/"), "{puts:?}");
    let count = |prefix: &str| puts.iter().filter(|key| key.starts_with(prefix)).count();
    assert_eq!(count("parity/"), count("packs/"), "one request more for each pack");
}

#[test]
fn parity_of_a_crashed_upload_is_found_and_deleted() {
    let harness = world(0).harness.with_parity(10);
    let with = world(10).harness;
    let stray = keys(&with, "parity/").remove(0);
    damage::put(&harness, &stray, with.memory.objects()[&stray].clone());
    let other = crate::common::key("parity/whatever");
    damage::put(&harness, &other, with.memory.objects()[&stray].clone());
    assert_eq!(harness.verify(VerifyDepth::Structure).orphans, 2);
    prune(&harness);
    assert_eq!(keys(&harness, "parity/"), [other], "what no parity is called is left alone");
    harness.assert_sound("pruned");
}

#[test]
fn the_index_is_made_anew_from_packs_that_parity_brings_back() {
    let world = world(10);
    let harness = &world.harness;
    for key in keys(harness, "packs/") {
        damage::apply(harness, &key, Damage::FlipFromEnd(40));
    }
    keys(harness, "index/").iter().for_each(|key| harness.memory.remove(key).expect("removed"));
    world.assert_comes_back(harness, "neither index nor tables of contents");
    let options = repair_options(Effect::Real, Content::Structure);
    let report = repair::index(&harness.repository(), &options, &Silent).expect("repair");
    assert_eq!((report.unreadable.len(), report.packs), (0, keys(harness, "packs/").len() as u64), "{report:?}");
}
