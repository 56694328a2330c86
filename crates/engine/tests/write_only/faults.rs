//! A host's backup that fails or is killed at any call.

use super::{HOST, back_up, live, world};
use crate::common::faults::sweep;
use crate::common::{Harness, key_file, source_of};
use decube_backup_engine::keys;
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
