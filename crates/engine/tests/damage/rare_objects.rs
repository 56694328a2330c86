//! Damage to objects of which there are few: checkpoints, merged index segments, later keyring generations, key slots of
//! every kind; and objects that hold each other's bytes.

use crate::common::damage::{Damage, apply, every, put, swap};
use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::{ALL_DATA, Harness, key, key_file, noise, small_packs};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, Key};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::keys::{self, Identities, Recipient};
use decube_backup_engine::options::{Effect, RestoreOptions, SnapshotFilter, TagChange, VerifyDepth, VerifyReport};
use decube_backup_engine::repair::{self, Content, RepairOptions};
use decube_backup_engine::verify::{VerifyOptions, scrub, verify};
use decube_backup_engine::{Credentials, Environment, Repository, tags};
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::keyslot::RecoveryKey;
use decube_backup_testkit::SeededEntropy;
use std::path::Path;

const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

/// One snapshot of a small tree.
struct World {
    harness: Harness,
    tree: tempfile::TempDir,
    snapshot: SnapshotId,
}

fn world() -> World {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    plant_few(tree.path(), 41);
    let snapshot = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    World { harness, tree, snapshot }
}

fn plant_few(root: &Path, seed: u64) {
    for (name, len) in [("chunks", 300_000), ("chunk", 5_000), ("inline", 40)] {
        std::fs::write(root.join(name), noise(seed + len as u64, len)).expect("file");
    }
}

impl World {
    fn assert_comes_back(&self, harness: &Harness, context: &str) {
        harness.assert_restores(&self.snapshot, self.tree.path(), context);
    }
}

fn keys_below(harness: &Harness, prefix: &str) -> Vec<Key> {
    harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with(prefix)).collect()
}

/// These objects and no others are named, and no file is hit.
fn assert_names(report: &VerifyReport, objects: &[&Key], context: &str) {
    for object in objects {
        assert!(report.damages.iter().any(|d| d.object == object.as_str()), "{context}: {:?}", report.damages);
    }
    let accused = |object: &str| objects.iter().any(|key| key.as_str() == object);
    assert!(report.damages.iter().all(|d| accused(&d.object)), "{context}: {:?}", report.damages);
    assert_eq!(report.affected_count, 0, "{context}");
}

/// Verified at each level, without keys too.
fn assert_named_at_all_levels(harness: &Harness, objects: &[&Key], context: &str) {
    for depth in [VerifyDepth::Structure, ALL_DATA] {
        assert_names(&harness.verify(depth), objects, context);
    }
    assert_names(&scrub(&harness.environment(), &Silent).expect(context), objects, context);
}

fn real() -> RepairOptions {
    RepairOptions { effect: Effect::Real, content: Content::Structure, ..RepairOptions::default() }
}

/// As a repair opens it: without a cache.
fn bare(harness: &Harness) -> Repository {
    let env = Environment { cache_dir: None, ..harness.environment() };
    Repository::open(env, &harness.credentials).expect("open")
}

#[test]
fn a_damaged_checkpoint_costs_nobody_anything_and_one_that_is_gone_is_no_damage() {
    let world = world();
    let (repo, change) = (world.harness.repository(), TagChange { add: vec!["x".into()], ..TagChange::default() });
    while keys_below(&world.harness, "ckpt/").len() < 2 {
        tags::change(&repo, &[world.snapshot], &change).expect("tagged");
    }
    let objects = world.harness.memory.objects();
    let all = keys_below(&world.harness, "ckpt/");
    for key in &all {
        for damage in every() {
            let context = format!("{key} {damage:?}");
            let harness = world.harness.on_image(objects.clone());
            apply(&harness, key, damage);
            let is_gone = matches!(damage, Damage::Remove);
            // Older ones too: that a newer one is sound says nothing of them.
            for depth in [VerifyDepth::Structure, ALL_DATA] {
                let named: &[&Key] = if is_gone { &[] } else { &[key] };
                assert_names(&harness.verify(depth), named, &context);
            }
            world.assert_comes_back(&harness, &context);
            let again = harness.backup(world.tree.path(), "again").snapshot.expect("a snapshot");
            harness.somebody_else().assert_restores(&again, world.tree.path(), &context);
        }
    }
}

#[test]
fn a_damaged_merged_index_segment_is_named_costs_no_file_and_is_made_anew() {
    let harness = Harness::with_repository(&small_packs());
    let file = |n: u64| MadeUpFile {
        path: crate::common::path(&format!("f{n:02}")),
        seed: n,
        len: 700 + n,
        behaviour: Behaviour::Fine,
    };
    let mut latest = None;
    for n in 1..18 {
        let source = MadeUp::new((0..n).map(file).collect());
        latest = harness.backup_source(&source, "made up").expect("backup").snapshot;
    }
    let latest = latest.expect("a snapshot");
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    gc::plan(&harness.repository(), &options, &Silent).expect("plan").run(&Silent).expect("pruned");
    let merged = keys_below(&harness, "index/1/");
    assert!(!merged.is_empty() && keys_below(&harness, "index/0/").is_empty(), "nothing was merged");
    let objects = harness.memory.objects();
    for damage in every() {
        let context = format!("{damage:?}");
        let user = harness.on_image(objects.clone());
        apply(&user, &merged[0], damage);
        assert_named_at_all_levels(&user, &[&merged[0]], &context);
        let (to, report) = user.restore_with(&latest, &RestoreOptions::default());
        assert!(report.problems.is_empty() && report.files_restored == 17, "{context}: {report:?}");
        for n in 0..17 {
            let bytes = std::fs::read(to.path().join(format!("f{n:02}"))).expect("file");
            assert!(bytes == noise(n, 700 + n as usize), "{context}: f{n:02}");
        }
        let repaired = repair::index(&bare(&user), &real(), &Silent).expect(&context);
        assert_eq!((repaired.retired, repaired.written), (1, 1), "{context}: {repaired:?}");
        user.assert_sound(&context);
    }
}

#[test]
fn a_damaged_later_keyring_generation_is_named_and_costs_nothing_while_the_other_of_the_two_is_there() {
    let world = world();
    keys::rotate(&world.harness.repository()).expect("rotated");
    std::fs::write(world.tree.path().join("new"), noise(9, 300_000)).expect("file");
    let second = world.harness.backup(world.tree.path(), "tree").snapshot.expect("a snapshot");
    let objects = world.harness.memory.objects();
    for generation in ["00000000", "00000001"] {
        for name in [format!("keyring/{generation}"), format!("copy/keyring/{generation}")] {
            for damage in every() {
                let context = format!("{name} {damage:?}");
                let harness = world.harness.on_image(objects.clone());
                apply(&harness, &key(&name), damage);
                assert_named_at_all_levels(&harness, &[&key(&name)], &context);
                harness.assert_restores(&second, world.tree.path(), &context);
            }
        }
    }
}

#[test]
fn a_damaged_slot_of_any_kind_is_named_opens_nothing_and_the_others_do() {
    let World { harness, tree, snapshot } = world();
    let sheet = RecoveryKey::generate(&SeededEntropy::new(5)).expect("recovery key");
    let all = [
        harness.credentials.clone(),
        key_file(9),
        Credentials::Recovery(sheet.clone()),
        Credentials::Identities(Identities::parse(IDENTITY).expect("identity")),
    ];
    let repo = harness.repository();
    let first = keys::list(&repo).expect("slots").remove(0).slot;
    let slots = [
        first,
        keys::add(&repo, &all[1], "second").expect("added").slot,
        keys::add(&repo, &Credentials::Recovery(sheet), "sheet").expect("added").slot,
        keys::add_recipient(&repo, &Recipient::parse(RECIPIENT).expect("recipient"), "age").expect("added").slot,
    ];
    let objects = harness.memory.objects();
    for (at, slot) in slots.iter().enumerate() {
        let name = key(&format!("keys/{slot}"));
        for damage in every() {
            let context = format!("{name} of {:?} {damage:?}", all[at]);
            let image = harness.on_image(objects.clone());
            apply(&image, &name, damage);
            for (other, credentials) in all.iter().enumerate() {
                let user = Harness { credentials: credentials.clone(), ..image.somebody_else() };
                if other == at {
                    let error = user.open().err().expect(&context);
                    assert!(matches!(error.kind(), ErrorKind::WrongKey | ErrorKind::Corrupt), "{context}: {error:?}");
                } else if other == (at + 1) % all.len() {
                    assert_named_at_all_levels(&user, &[&name], &context);
                    user.assert_restores(&snapshot, tree.path(), &context);
                } else {
                    assert!(user.open().is_ok(), "{context}: {credentials:?}");
                }
            }
        }
    }
}

#[test]
fn slots_keyrings_and_checkpoints_that_hold_each_others_bytes_are_both_named() {
    let world = world();
    let change = TagChange { add: vec!["x".into()], ..TagChange::default() };
    let repo = world.harness.repository();
    keys::add(&repo, &key_file(9), "second").expect("added");
    keys::rotate(&repo).expect("rotated");
    while keys_below(&world.harness, "ckpt/").len() < 2 {
        tags::change(&repo, &[world.snapshot], &change).expect("tagged");
    }
    let objects = world.harness.memory.objects();
    for prefix in ["keys/", "keyring/", "copy/keyring/", "ckpt/"] {
        let pair = keys_below(&world.harness, prefix);
        let harness = world.harness.on_image(objects.clone());
        swap(&harness, &pair[0], &pair[1]);
        assert_names(&harness.verify(ALL_DATA), &[&pair[0], &pair[1]], prefix);
        world.assert_comes_back(&harness, prefix);
    }
}

#[test]
fn records_that_hold_each_others_bytes_are_both_named_and_nobody_writes_over_it() {
    let world = world();
    let other = tempfile::tempdir().expect("temp");
    plant_few(other.path(), 42);
    world.harness.backup(other.path(), "other");
    let change = TagChange { add: vec!["x".into()], ..TagChange::default() };
    tags::change(&world.harness.repository(), &[world.snapshot], &change).expect("tagged");
    let objects = world.harness.memory.objects();
    let (one, two) = (key("log/0000000000000002"), key("log/0000000000000003"));
    let harness = world.harness.on_image(objects);
    swap(&harness, &one, &two);
    let repo = harness.open().expect("the rest of the log tells enough");
    let options = VerifyOptions { depth: ALL_DATA, snapshots: None };
    let report = verify(&repo, &options, &Silent).expect("verify");
    for key in [&one, &two] {
        assert!(report.damages.iter().any(|d| d.object == key.as_str()), "{:?}", report.damages);
    }
    world.assert_comes_back(&harness, "records swapped");
    let refused =
        harness.backup_source(&crate::common::source_of(world.tree.path()), "again").expect_err("damaged log");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused:?}");
}

/// `objects` without those below `prefixes`.
fn without(world: &World, prefixes: &[&str]) -> Harness {
    let mut objects = world.harness.memory.objects();
    objects.retain(|key, _| !prefixes.iter().any(|prefix| key.as_str().starts_with(prefix)));
    world.harness.on_image(objects)
}

#[test]
fn a_log_that_is_gone_is_damage_and_nothing_is_made_in_its_place() {
    let world = world();
    // Whatever else is lost with it, a single object that is left tells.
    let header = ["log/", "format", "copy/format"];
    let keyring = ["log/", "keyring/", "copy/keyring/"];
    let ways: [&[&str]; 6] =
        [&["log/"], &["log/", "packs/"], &["log/", "index/", "packs/m/"], &header, &keyring, &["log/", "keys/"]];
    // A file that a copy left half done, or anybody's, is no record.
    let foreign = [None, Some("log/zzz"), Some("log/00000000000000aa.partial")];
    for (gone, foreign) in ways.into_iter().flat_map(|gone| foreign.map(|foreign| (gone, foreign))) {
        let context = format!("without {gone:?}, with {foreign:?}");
        let harness = without(&world, gone);
        foreign.into_iter().for_each(|name| put(&harness, &key(name), "part of something".into()));
        let before = harness.memory.objects();
        let scrubbed = scrub(&harness.environment(), &Silent).err();
        let initialized = harness.init(&small_packs()).err();
        let refused = Repository::refuse_existing(&harness.environment()).err();
        for error in [harness.open().err(), scrubbed, initialized, refused] {
            let error = error.expect(&context);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{context}: {error:?}");
            assert!(error.to_string().contains("missing=log/"), "{context}: {error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("put `log/` back")), "{context}: {error:?}");
        }
        assert_eq!(harness.memory.objects(), before, "{context}");
    }
    // Whoever saw the log learns the same.
    let harness = without(&world, &["log/"]);
    let seen = tempfile::tempdir().expect("temp");
    let environment =
        |harness: &Harness| Environment { witness_dir: Some(seen.path().to_owned()), ..harness.environment() };
    Repository::open(environment(&world.harness), &world.harness.credentials).expect("whole");
    let error = Repository::open(environment(&harness), &harness.credentials).err().expect("gone");
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("missing=log/"), "{error:?}");
}

#[test]
fn a_log_without_its_beginning_is_read_as_far_as_it_goes() {
    let world = world();
    let change = TagChange { add: vec!["x".into()], ..TagChange::default() };
    tags::change(&world.harness.repository(), &[world.snapshot], &change).expect("tagged");
    world.harness.backup(world.tree.path(), "later");
    let harness = without(&world, &["log/0000000000000000", "log/0000000000000001"]);
    let repo = harness.open().expect("the rest of the log tells enough");
    assert_eq!(repo.damaged_records(), [0, 1]);
    assert_eq!(repo.snapshots(&SnapshotFilter::default()).len(), 1);
    let report = harness.verify(VerifyDepth::Structure);
    assert!(report.damages.iter().any(|damage| damage.object == "log/0000000000000000"), "{:?}", report.damages);
}

#[test]
fn key_slots_that_are_gone_are_damage_and_no_wrong_password() {
    let world = world();
    let harness = without(&world, &["keys/"]);
    let error = harness.open().err().expect("no slot");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("put `keys/` back")), "{error:?}");
    let report = scrub(&harness.environment(), &Silent).expect("scrub");
    assert!(report.damages.iter().any(|damage| damage.object.starts_with("keys/")), "{:?}", report.damages);
    assert_eq!(harness.init(&small_packs()).err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
}
