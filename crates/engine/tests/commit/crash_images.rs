//! The store as it is when the writer is killed after any number of its writes.

use crate::common::damage::{Damage, EVERY, apply};
use crate::common::{Harness, plant, small_packs};
use bytes::Bytes;
use decube_backup_core::{ErrorKind, Key};
use decube_backup_engine::options::SnapshotFilter;
use decube_backup_testkit::recording::Op;
use decube_backup_testkit::{MemorySink, RecordingSink};
use std::collections::BTreeMap;
use std::sync::Arc;

type Objects = BTreeMap<Key, Bytes>;

/// Every state the store went through while `operation` ran on `start`.
///
/// Objects are created once and never replaced, so the order of the puts is all there is to know.
fn images(start: &Harness, operation: impl Fn(&Harness)) -> Vec<Objects> {
    let recording = Arc::new(RecordingSink::new(start.sink.clone()));
    let mut image = start.memory.objects();
    operation(&start.through(recording.clone()));
    let all = start.memory.objects();
    let mut images = vec![image.clone()];
    for call in recording.calls().into_iter().filter(|call| call.op == Op::Put) {
        let key = crate::common::key(&call.key);
        let bytes = all.get(&key).expect("nothing is deleted").clone();
        if image.insert(key, bytes).is_none() {
            images.push(image.clone());
        }
    }
    assert_eq!(image, all, "the last image is the final state");
    images
}

#[test]
fn a_backup_killed_after_any_write_harms_nothing_and_can_be_repeated() {
    let (before, tree) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    plant(before.path(), 5);
    plant(tree.path(), 6);
    let harness = Harness::with_repository(&small_packs());
    let earlier = harness.backup(before.path(), "tree").snapshot.expect("a snapshot");
    let images = images(&harness, |harness| _ = harness.backup(tree.path(), "tree"));
    assert!(images.len() > 4, "only {} writes", images.len());
    let last = images.len() - 1;
    for (written, image) in images.into_iter().enumerate() {
        let context = format!("killed after {written} of {last} writes");
        let harness = harness.on_image(image);
        let live = harness.repository().snapshots(&SnapshotFilter::default());
        // The record is the last thing written: until then there is no second snapshot.
        assert_eq!(live.len(), if written == last { 2 } else { 1 }, "{context}");
        harness.assert_restores(&earlier, before.path(), &context);
        harness.assert_sound(&context);
        let again = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
        harness.assert_restores(&again, tree.path(), &context);
        harness.assert_sound(&context);
    }
}

#[test]
fn an_init_killed_after_any_write_is_completed_by_the_next() {
    let start = Harness::over(Arc::new(MemorySink::new()));
    let images = images(&start, |harness| drop(harness.init(&small_packs()).expect("init")));
    let last = images.len() - 1;
    assert_eq!(last, 6, "format, slot, keyring, two copies, record 0");
    for (written, image) in images.into_iter().enumerate() {
        let context = format!("killed after {written} of {last} writes");
        let harness = start.on_image(image);
        if written < last {
            let error = harness.open().err().expect(&context);
            assert_eq!(error.kind(), ErrorKind::NotFound, "{context}: {error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("decube-backup init")), "{context}: {error:?}");
            harness.init(&small_packs()).expect(&context);
        } else {
            let again = harness.init(&small_packs()).err().expect(&context);
            assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{context}");
        }
        harness.assert_sound(&context);
        let tree = tempfile::tempdir().expect("temp");
        plant(tree.path(), 7);
        let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
        harness.somebody_else().assert_restores(&id, tree.path(), &context);
    }
}

#[test]
fn an_init_begun_with_other_credentials_is_not_taken_over_once_its_keyring_is_there() {
    let start = Harness::over(Arc::new(MemorySink::new()));
    let images = images(&start, |harness| drop(harness.init(&small_packs()).expect("init")));
    for image in &images[3..=6] {
        let other = Harness { credentials: crate::common::key_file(2), ..start.on_image(image.clone()) };
        let error = other.init(&small_packs()).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}");
        assert!(error.hint().is_some());
        assert_eq!(other.memory.objects().keys().collect::<Vec<_>>(), image.keys().collect::<Vec<_>>());
    }
}

#[test]
fn an_unfinished_init_is_not_completed_over_damage() {
    let start = Harness::over(Arc::new(MemorySink::new()));
    let images = images(&start, |harness| drop(harness.init(&small_packs()).expect("init")));
    for name in ["format", "keyring/00000000", "copy/format", "copy/keyring/00000000"] {
        let is_copy = name.starts_with("copy/");
        for damage in EVERY {
            let context = format!("{name} {damage:?}");
            let harness = start.on_image(images[5].clone());
            apply(&harness, &crate::common::key(name), *damage);
            let before = harness.memory.objects();
            let outcome = harness.init(&small_packs());
            if is_copy && matches!(damage, Damage::Remove) {
                drop(outcome.expect(&context));
                harness.assert_sound(&context);
                continue;
            }
            let error = outcome.err().expect(&context);
            assert!(matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Corrupt), "{context}: {error:?}");
            assert!(error.hint().is_some(), "{context}");
            assert_eq!(harness.memory.objects(), before, "{context}");
        }
    }
}
