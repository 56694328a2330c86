//! Header and keyring are kept twice: losing one of the two is said and costs nothing, losing both is said.

use crate::common::damage::{Damage, apply, every};
use crate::common::{ALL_DATA, Harness, key, plant, small_packs};
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::options::VerifyReport;
use decube_backup_engine::verify::scrub;
use decube_backup_format::header::Header;
use decube_backup_format::ids::{RepositoryId, SnapshotId};
use decube_backup_testkit::{Fault, FaultySink, RecordingSink, When};
use std::sync::Arc;

const TWICE: [(&str, &str); 2] = [("format", "copy/format"), ("keyring/00000000", "copy/keyring/00000000")];

struct World {
    harness: Harness,
    tree: tempfile::TempDir,
    snapshot: SnapshotId,
}

fn world() -> World {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 21);
    let snapshot = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    World { harness, tree, snapshot }
}

impl World {
    /// Somebody else's first look at the repository after `damages`.
    fn damaged(&self, damages: &[(&str, Damage)]) -> Harness {
        let harness = self.harness.on_image(self.harness.memory.objects());
        damages.iter().for_each(|(name, damage)| apply(&harness, &key(name), *damage));
        harness
    }

    fn replaced(&self, name: &str, bytes: Vec<u8>) -> Harness {
        let mut objects = self.harness.memory.objects();
        objects.insert(key(name), bytes.into());
        self.harness.on_image(objects)
    }

    fn assert_comes_back(&self, harness: &Harness, context: &str) {
        harness.assert_restores(&self.snapshot, self.tree.path(), context);
    }
}

fn scrubbed(harness: &Harness, context: &str) -> VerifyReport {
    scrub(&harness.environment(), &Silent).expect(context)
}

/// Exactly `names` are damaged, and of each it is said that `others` are `how`.
fn assert_named(report: &VerifyReport, names: &[&str], how: &str, context: &str) {
    for name in names {
        assert!(report.damages.iter().any(|d| d.object == *name), "{context}: {name}: {:?}", report.damages);
    }
    for damage in &report.damages {
        assert!(names.contains(&damage.object.as_str()), "{context}: {damage:?}");
        assert!(damage.what.contains(how), "{context}: {damage:?}");
    }
    assert_eq!(report.affected_count, 0, "{context}");
}

/// What stands in for a damaged original, as the open repository says.
fn replaced_in(harness: &Harness, context: &str) -> Vec<String> {
    let repo = harness.open().expect(context);
    for damage in repo.damaged_originals() {
        assert!(damage.what.contains("is sound: copy it to"), "{context}: {damage:?}");
    }
    repo.damaged_originals().iter().map(|damage| damage.object.clone()).collect()
}

#[test]
fn one_of_the_two_damaged_is_named_costs_nothing_and_is_put_right_by_copying_the_other() {
    let world = world();
    for (original, copy) in TWICE {
        for (name, other) in [(original, copy), (copy, original)] {
            for damage in every() {
                let context = format!("{name} {damage:?}");
                let harness = world.damaged(&[(name, damage)]);
                let expected: &[&str] = if name == original { &[name] } else { &[] };
                assert_eq!(replaced_in(&harness, &context), expected, "{context}");
                let sound = format!("`{other}` is sound: copy it to `{name}`");
                assert_named(&harness.verify(ALL_DATA), &[name], &sound, &context);
                assert_named(&scrubbed(&harness, &context), &[name], &sound, &context);
                world.assert_comes_back(&harness, &context);
                let again = harness.backup(world.tree.path(), "again").snapshot.expect("a snapshot");
                harness.assert_restores(&again, world.tree.path(), &context);
                let before = harness.memory.objects();
                let error = harness.init(&small_packs()).err().expect(&context);
                assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{context}: {error:?}");
                assert_eq!(harness.memory.objects(), before, "{context}");

                let mut objects = before;
                objects.insert(key(name), objects[&key(other)].clone());
                let harness = harness.on_image(objects);
                assert!(replaced_in(&harness, &context).is_empty(), "{context}");
                harness.assert_sound(&context);
            }
        }
    }
}

#[test]
fn header_and_keyring_may_both_be_read_from_their_copies() {
    let world = world();
    let harness = world.damaged(&[("format", Damage::Remove), ("keyring/00000000", Damage::Flip(500))]);
    assert_eq!(replaced_in(&harness, "both"), ["format", "keyring/00000000"]);
    assert_named(&harness.verify(ALL_DATA), &["format", "keyring/00000000"], "is sound: copy it to", "both");
    world.assert_comes_back(&harness, "both");
}

#[test]
fn both_of_the_two_damaged_is_said_and_nothing_passes_for_no_repository() {
    let world = world();
    let ways = [Damage::Remove, Damage::Truncate(500), Damage::Flip(500)];
    for (original, copy) in TWICE {
        for (first, second) in ways.into_iter().flat_map(|first| ways.map(|second| (first, second))) {
            let context = format!("{original} {first:?}, {copy} {second:?}");
            let harness = world.damaged(&[(original, first), (copy, second)]);
            let error = harness.open().err().expect(&context);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{context}: {error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("replica")), "{context}: {error:?}");
            match scrub(&harness.environment(), &Silent) {
                Ok(report) => assert_named(&report, &[original, copy], "is damaged too", &context),
                Err(error) => assert_eq!((error.kind(), original), (ErrorKind::Corrupt, "format"), "{context}"),
            }
            let before = harness.memory.objects();
            let error = harness.init(&small_packs()).err().expect(&context);
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{context}: {error:?}");
            assert_eq!(harness.memory.objects(), before, "{context}");
        }
    }
}

#[test]
fn a_whole_header_that_is_not_the_recorded_one_does_not_count() {
    let world = world();
    let own = world.harness.repository().header().clone();
    let other_sizes = Header { pack_data_bytes: own.pack_data_bytes * 2, ..own.clone() };
    let unknown_feature =
        Header { features: decube_backup_format::header::Features { read: 1, write: 0, gc: 0 }, ..own };
    let another = Header { repository: RepositoryId([7; 16]), ..own.clone() };
    for (context, header) in [("sizes", other_sizes), ("feature", unknown_feature), ("another's", another)] {
        let bytes = header.encode().expect("in bounds");
        let harness = world.replaced("format", bytes.clone());
        assert_eq!(replaced_in(&harness, context), ["format"], "{context}");
        assert_eq!(*harness.repository().header(), own, "{context}");
        assert_named(&harness.verify(ALL_DATA), &["format"], "`copy/format` is sound", context);
        assert_named(&scrubbed(&harness, context), &["format"], "`copy/format` is sound", context);
        world.assert_comes_back(&harness, context);

        // As the copy it is not even looked at; alone it opens nothing.
        let harness = world.replaced("copy/format", bytes.clone());
        assert!(replaced_in(&harness, context).is_empty(), "{context}");
        assert_named(&harness.verify(ALL_DATA), &["copy/format"], "`format` is sound", context);
        apply(&harness, &key("format"), Damage::Remove);
        assert!(harness.open().is_err(), "{context}: a copy that is not the recorded header opened");
    }
}

#[test]
fn a_damaged_header_is_named_even_without_the_record_that_lists_it() {
    let world = world();
    let harness = world.damaged(&[("format", Damage::Flip(500)), ("log/0000000000000000", Damage::Flip(500))]);
    assert_eq!(replaced_in(&harness, "no record 0"), ["format"]);
    for report in [harness.verify(ALL_DATA), scrubbed(&harness, "no record 0")] {
        let named: Vec<_> = report.damages.iter().map(|d| d.object.as_str()).collect();
        assert!(named.contains(&"format") && named.contains(&"log/0000000000000000"), "{named:?}");
    }
    world.assert_comes_back(&harness, "no record 0");
}

#[test]
fn what_a_disk_cannot_read_is_read_from_the_copy_and_an_absent_store_is_no_damage() {
    let world = world();
    let mut outcomes = Vec::new();
    // The first call of an opening reads the header.
    for kind in [ErrorKind::Io, ErrorKind::Unavailable, ErrorKind::PermissionDenied] {
        let fault = Fault::at(0, When::BeforeEffect).with_kind(kind);
        let user = world.harness.somebody_else();
        let opened = user.through(Arc::new(FaultySink::new(user.sink.clone(), Some(fault)))).open();
        outcomes.push(opened.map(|repo| repo.damaged_originals().len()).map_err(|error| error.kind()));
    }
    assert_eq!(outcomes, [Ok(1), Err(ErrorKind::Unavailable), Err(ErrorKind::PermissionDenied)]);
}

#[test]
fn while_all_is_sound_nobody_asks_for_a_copy() {
    let world = world();
    let recording = Arc::new(RecordingSink::new(world.harness.sink.clone()));
    for user in [world.harness.through(recording.clone()), world.harness.somebody_else().through(recording.clone())] {
        world.assert_comes_back(&user, "sound");
        user.backup(world.tree.path(), "tree");
    }
    let asked: Vec<_> = recording.calls().into_iter().filter(|call| call.key.starts_with("copy/")).collect();
    assert!(asked.is_empty(), "{asked:?}");
    assert!(recording.calls().iter().any(|call| call.key == "format"));
}
