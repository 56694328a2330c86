//! A host's backup that fails or is killed at any call.

use super::{HOST, back_up, live, tree_of, world};
use crate::common::damage::{Damage, apply};
use crate::common::faults::sweep;
use crate::common::{ALL_DATA, Harness, key_file, noise, small_packs, source_of};
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::keys::{self, Others};
use decube_backup_engine::options::Effect;
use decube_backup_engine::repair::{self, RepairOptions};
use decube_backup_format::ids::log_key;
use decube_backup_testkit::RecordingSink;
use decube_backup_testkit::recording::Op;
use std::sync::Arc;

#[test]
fn a_hosts_backup_survives_every_single_fault() {
    let world = world();
    let first = world.back_up();
    let tree = super::copy_of(world.tree.path());
    world.write("b/007", &crate::common::noise(77, 300_000));
    let as_host = |harness: &Harness| Harness { credentials: key_file(2), ..harness.through(harness.sink.clone()) };
    let again = |harness: &Harness| back_up(&as_host(harness), &source_of(world.tree.path()), "tree").map(drop);
    sweep(&world.admin, again, |admin, outcome, context| {
        let snapshots = live(admin);
        assert!(snapshots.len() == 2 || (outcome.is_err() && snapshots.len() == 1), "{context}: {outcome:?}");
        admin.assert_sound(context);
        again(admin).expect(context);
        for id in live(admin).into_iter().filter(|id| *id != first) {
            admin.assert_restores(&id, world.tree.path(), context);
        }
    });
    drop(tree);
}

#[test]
fn a_hosts_backup_killed_after_any_write_harms_nothing_and_can_be_repeated() {
    let world = world();
    let first = world.back_up();
    world.write("b/007", &crate::common::noise(77, 300_000));
    let before = world.admin.memory.objects();
    let recording = Arc::new(RecordingSink::new(world.host.sink.clone()));
    back_up(&world.host.through(recording.clone()), &source_of(world.tree.path()), "tree").expect("backup");
    let (mut image, all) = (before, world.admin.memory.objects());
    let puts = recording.calls().into_iter().filter(|call| call.op == Op::Put).collect::<Vec<_>>();
    assert!(puts.len() > 3, "packs, index segment, record");
    for (written, call) in puts.iter().enumerate() {
        let context = format!("killed after {written} of {} writes", puts.len());
        let admin = world.admin.on_image(image.clone());
        assert_eq!(live(&admin), [first], "{context}");
        admin.assert_sound(&context);
        let host = Harness { credentials: key_file(2), ..admin.somebody_else() };
        let again = back_up(&host, &source_of(world.tree.path()), "tree").expect(&context);
        admin.assert_restores(&again.snapshot.expect("a snapshot"), world.tree.path(), &context);
        let key = crate::common::key(&call.key);
        image.insert(key.clone(), all[&key].clone());
    }
    assert_eq!(image, all);
}

#[test]
fn making_a_write_only_key_survives_every_single_fault() {
    let world = world();
    let add = |admin: &Harness| keys::add_write_only(&admin.open()?, &key_file(9), HOST, "").map(drop);
    sweep(&world.admin, add, |admin, outcome, context| {
        let host = Harness { credentials: key_file(9), ..admin.somebody_else() };
        let backed_up = back_up(&host, &source_of(world.tree.path()), "tree");
        assert!(outcome.is_err() || backed_up.is_ok(), "{context}: {backed_up:?}");
        admin.assert_sound(context);
        if backed_up.is_err() {
            add(admin).expect(context);
            back_up(&host, &source_of(world.tree.path()), "tree").expect(context);
        }
        admin.assert_restores(&live(admin)[0], world.tree.path(), context);
    });
}

/// A revocation that is stopped after its record leaves the slot and the keyring it replaced; what hosts store from then on
/// the keys behind that slot do not open.
#[test]
fn a_slot_left_by_a_revocation_hides_nothing_that_hosts_store_later() {
    loop {
        let world = world();
        let (before, old) = (world.admin.memory.objects(), current(&world.admin));
        // Its cache has the old slot.
        let late = world.admin.somebody_else();
        drop(late.repository());
        keys::revoke(&mut world.admin.somebody_else().repository(), &world.slot, Others::Drop).expect("revoked");
        let mut image = before;
        image.extend(world.admin.memory.objects());
        let new = current(&world.admin);
        let admin = world.admin.on_image(image);
        keys::add_write_only(&admin.repository(), &key_file(3), HOST, "").expect("added");
        let host = Harness { credentials: key_file(3), ..admin.somebody_else() };
        let id = back_up(&host, &source_of(world.tree.path()), "tree").expect("backup").snapshot.expect("a snapshot");
        for user in [admin.somebody_else(), late.through(admin.sink.clone())] {
            let opened = user.open().expect("opens whatever slot is tried first");
            assert_eq!(opened.state().live_snapshots().map(|s| s.id).collect::<Vec<_>>(), [id]);
            user.assert_restores(&id, world.tree.path(), "a slot is left");
        }
        // Slots are tried by name, and names are random.
        if old < new {
            return;
        }
    }
}

/// An open handle reads the log on, record by record: what a host stored before a revocation was sealed to a key that is
/// in a keyring which is gone since.
#[test]
fn a_handle_from_before_a_revocation_says_that_keys_were_replaced_and_not_that_anything_is_damaged() {
    let admin = Harness::with_repository(&small_packs());
    let (old, tree) = (admin.repository(), tree_of(&[("file", noise(5, 10_000))]));
    let slot = keys::add_write_only(&admin.repository(), &key_file(2), HOST, "").expect("added").slot;
    let host = Harness { credentials: key_file(2), ..admin.somebody_else() };
    let id = back_up(&host, &source_of(tree.path()), "tree").expect("backup").snapshot.expect("a snapshot");
    keys::revoke(&mut admin.somebody_else().repository(), &slot, Others::Drop).expect("revoked");
    let error = old.refresh().expect_err("its keys were replaced");
    assert_eq!(error.kind(), ErrorKind::WrongKey, "{error:?}");
    admin.assert_restores(&id, tree.path(), "opened again");
}

/// Name of the slot that opens.
fn current(admin: &Harness) -> String {
    let slots = keys::list(&admin.repository()).expect("slots");
    slots.into_iter().find(|slot| slot.current).expect("the one in use").slot
}

/// A host's index segment has parts that only the host opens, and parts that only others do.
#[test]
fn a_hosts_damaged_index_segment_is_made_anew_wherever_it_is_damaged() {
    let world = world();
    let id = world.back_up();
    let objects = world.admin.memory.objects();
    let key = objects.keys().find(|key| key.as_str().starts_with("index/")).expect("an index segment");
    for damage in (0..50).map(|part| Damage::Flip(part * 20)).chain([Damage::Shorten, Damage::Remove]) {
        let context = format!("{damage:?}");
        let admin = world.admin.on_image(objects.clone());
        apply(&admin, key, damage);
        let options = RepairOptions { effect: Effect::Real, ..RepairOptions::default() };
        let report = repair::index(&admin.repository(), &options, &Silent).expect(&context);
        assert_eq!((report.damaged.len(), report.retired), (1, 1), "{context}");
        assert!(admin.verify(ALL_DATA).damages.is_empty(), "{context}");
        let host = Harness { credentials: key_file(2), ..admin.somebody_else() };
        let again = back_up(&host, &source_of(world.tree.path()), "tree").expect(&context);
        assert_eq!((again.bytes_new, again.chunks_new), (0, 0), "{context}");
        admin.assert_restores(&id, world.tree.path(), &context);
    }
}

#[test]
fn a_damaged_record_that_admitted_the_host_is_no_wrong_key() {
    let world = world();
    world.back_up();
    // The record with the key is 1; a cache keeps what it said.
    for seq in [0, 1, 2] {
        let host = world.host.somebody_else().on_image(world.admin.memory.objects());
        host.memory.flip_byte(&log_key(seq).expect("a number"), 100).expect("there");
        let error = back_up(&host, &world.source(), "tree").expect_err("nothing is added to a damaged log");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "record {seq}: {error:?}");
    }
}
