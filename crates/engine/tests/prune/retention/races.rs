//! What others do right before our record takes its slot.

use super::{World, daily, hide, named};
use decube_backup_engine::forget::{ForgetOptions, forget};
use decube_backup_engine::retention::Refusal;
use decube_backup_engine::tags;
use decube_backup_format::checkpoint::Pin;

#[test]
fn two_forgets_at_once_leave_what_each_alone_would_have_left() {
    let world = World::new();
    let all = world.days(0..2);
    let (other, theirs) = (world.other(), all[1]);
    world.store.before_next_record(move || {
        let report = forget(&other.repository(), &ForgetOptions::new(named(&[theirs]))).expect("decided");
        assert_eq!(report.forgotten, [theirs]);
    });
    // Ours would have left the other one: now it is the last of its group.
    let report = world.forget(named(&all[..1]));
    assert!(matches!(report.refusal, Some(Refusal::EmptyGroups(_))), "{report:?}");
    assert_eq!(world.live(), &all[..1]);
}

#[test]
fn a_policy_decides_anew_when_what_it_kept_is_forgotten_meanwhile() {
    let world = World::new();
    let mut all = world.days(0..4);
    // Twice on the last day: the newer one stands for it.
    all.push(world.backup_as("tree", 3, 60));
    let (other, theirs) = (world.other(), all[4]);
    world.store.before_next_record(move || hide(&other, &[theirs]));
    let report = world.forget_by(daily(3));
    assert_eq!(report.forgotten, &all[..1], "the older one of that day stands for it now");
    assert_eq!(world.live(), &all[1..4]);
}

#[test]
fn a_pin_set_meanwhile_holds() {
    let world = World::new();
    let all = world.days(0..4);
    let (other, pinned) = (world.other(), all[0]);
    world.store.before_next_record(move || {
        tags::pin(&other.repository(), &[pinned], Pin::Forever).expect("pinned");
    });
    assert_eq!(world.forget_by(daily(2)).forgotten, &all[1..2]);
    assert_eq!(world.live(), [all[0], all[2], all[3]]);
}

#[test]
fn a_snapshot_committed_meanwhile_is_no_obstacle() {
    let world = World::new();
    let all = world.days(0..4);
    let other = world.other();
    let tree = world.tree.path().to_owned();
    world.store.before_next_record(move || {
        other.backup(&tree, "tree");
    });
    let report = world.forget_by(daily(2));
    assert_eq!((report.forgotten.as_slice(), report.records.len()), (&all[..2], 1));
    assert_eq!(world.live().len(), 3);
    world.harness.assert_sound("forget beside commit");
}

#[test]
fn a_snapshot_forgotten_meanwhile_is_where_it_was_to_be() {
    let world = World::new();
    let all = world.days(0..3);
    let (other, theirs) = (world.other(), all[0]);
    world.store.before_next_record(move || hide(&other, &[theirs]));
    assert_eq!(world.forget(named(&all[..2])).forgotten, &all[1..2]);
    assert_eq!(world.live(), &all[2..]);
}
