//! Slots that are damaged, gone, or cannot be deleted: the others can still be changed, and the log decides.

use crate::common::damage::{Damage, apply, every};
use crate::common::meddling::after_put;
use crate::common::{Harness, key, key_file, noise, small_packs};
use decube_backup_core::{Error, ErrorKind};
use decube_backup_engine::keys::{self, Others};
use decube_backup_engine::{Credentials, Repository};
use decube_backup_testkit::{HookedSink, Moment, Op};
use std::sync::Arc;

/// A repository with one snapshot and `n` keys more than its first: [`key_file`] 2 and so on; their slots.
fn with_keys(n: u64) -> (Harness, Vec<String>) {
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), noise(1, 5000)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    harness.backup(tree.path(), "tree");
    let add = |n| keys::add(&harness.repository(), &key_file(n), "").expect("added").slot;
    let slots = (2..2 + n).map(add).collect();
    (harness, slots)
}

fn opens(harness: &Harness, credentials: &Credentials) -> bool {
    Repository::open(harness.environment(), credentials).is_ok()
}

#[test]
fn a_damaged_slot_is_listed_and_keeps_no_other_from_being_changed() {
    let (harness, slots) = with_keys(2);
    let objects = harness.memory.objects();
    for damage in every() {
        let image = harness.on_image(objects.clone());
        apply(&image, &key(&format!("keys/{}", slots[0])), damage);
        let listed = keys::list(&image.repository()).expect("listed");
        let damaged: Vec<&str> =
            listed.iter().filter(|slot| slot.damage.is_some()).map(|slot| slot.slot.as_str()).collect();
        assert_eq!((listed.len(), damaged), (3, vec![slots[0].as_str()]), "{damage:?}");
        let mut repo = image.repository();
        keys::add(&repo, &key_file(8), "").expect("added");
        keys::change_password(&mut repo, &key_file(9), None).expect("changed");
        let image = Harness { credentials: key_file(9), ..image };
        keys::remove(&image.repository(), &slots[1]).expect("another one is removed");
        let plan = keys::plan_revocation(&image.repository(), &slots[0]).expect("planned");
        assert!(plan.revoked.damage.is_some(), "{damage:?}");
        assert_eq!(keys::remove(&image.repository(), &slots[0]).expect("removed"), Vec::new(), "{damage:?}");
        assert!(keys::list(&image.repository()).expect("listed").iter().all(|slot| slot.damage.is_none()));
        image.assert_sound(&format!("{damage:?}"));
    }
}

#[test]
fn a_revocation_says_that_a_damaged_slot_ends_with_it() {
    let (harness, slots) = with_keys(2);
    apply(&harness, &key(&format!("keys/{}", slots[0])), Damage::Remove);
    let refused = keys::revoke(&mut harness.repository(), &slots[1], Others::Refuse).expect_err("it would end");
    assert!(refused.to_string().contains(&slots[0]) && refused.to_string().contains("damaged"), "{refused}");
    keys::revoke(&mut harness.repository(), &slots[1], Others::Drop).expect("revoked");
    assert_eq!(keys::list(&harness.repository()).expect("listed").len(), 1);
    harness.assert_sound("revoked");
}

#[test]
fn what_opens_nothing_is_no_other_key() {
    let (harness, slots) = with_keys(1);
    let own = keys::list(&harness.repository()).expect("listed").into_iter().find(|slot| slot.current);
    let own = own.expect("in use").slot;
    let objects = harness.memory.objects();
    for damage in every() {
        let image = harness.on_image(objects.clone());
        apply(&image, &key(&format!("keys/{}", slots[0])), damage);
        for error in [
            keys::plan_removal(&image.repository(), &own).expect_err("the last one"),
            keys::remove(&image.repository(), &own).expect_err("the last one"),
        ] {
            assert!(error.to_string().contains("the last key"), "{damage:?}: {error}");
        }
        assert!(opens(&image, &image.credentials), "{damage:?}");
    }
    assert_eq!(keys::plan_removal(&harness.repository(), &own).expect("there is another").slot, own);
    assert_eq!(keys::remove(&harness.repository(), &own).expect("removed"), Vec::new());
    assert!(!opens(&harness, &harness.credentials) && opens(&harness, &key_file(2)));
}

#[test]
fn a_slot_that_cannot_be_deleted_is_out_of_force_all_the_same() {
    let (harness, slots) = with_keys(3);
    let stuck = key(&format!("keys/{}", slots[0]));
    let kept = stuck.clone();
    let sink = HookedSink::new(harness.sink.clone(), move |moment, op, key| match (moment, op) {
        (Moment::Before, Op::Delete) if *key == kept => {
            Err(Error::new(ErrorKind::PermissionDenied, "delete", "immutable"))
        }
        _ => Ok(()),
    });
    let stubborn = harness.through(Arc::new(sink));
    let left = keys::remove(&stubborn.repository(), &slots[0]).expect("it is out of force");
    assert_eq!(left.iter().map(|left| left.key.as_str()).collect::<Vec<_>>(), [stuck.as_str()]);
    assert!(!opens(&harness, &key_file(2)) && harness.memory.objects().contains_key(&stuck));
    assert_eq!(keys::remove(&stubborn.repository(), &slots[1]).expect("removed"), Vec::new(), "others are not held up");
    let done = keys::revoke(&mut stubborn.repository(), &slots[2], Others::Refuse).expect("revoked");
    let left: Vec<&str> = done.undeleted.iter().map(|left| left.key.as_str()).collect();
    assert_eq!(left, ["keyring/00000000", "copy/keyring/00000000"], "what the stuck slot leads to");
    for seed in 2..5 {
        let error = Repository::open(harness.environment(), &key_file(seed)).err().expect("out of force");
        assert_eq!(error.kind(), ErrorKind::WrongKey, "{error:?}");
    }
    // Once it can be deleted, the next change of keys does.
    keys::change_password(&mut harness.repository(), &key_file(9), None).expect("changed");
    assert!(!harness.memory.objects().contains_key(&stuck));
    assert!(!harness.memory.objects().contains_key(&key("keyring/00000000")));
}

#[test]
fn of_two_passwords_set_at_once_one_opens() {
    let (harness, _) = with_keys(0);
    // One after the other, both opened before.
    let (mut first, mut second) = (harness.repository(), harness.somebody_else().repository());
    keys::change_password(&mut first, &key_file(4), None).expect("changed");
    let error = keys::change_password(&mut second, &key_file(5), None).expect_err("changed meanwhile");
    assert_eq!(error.kind(), ErrorKind::Contended, "{error:?}");
    assert!(opens(&harness, &key_file(4)) && !opens(&harness, &key_file(5)) && !opens(&harness, &harness.credentials));
    // In the middle of each other.
    let harness = Harness { credentials: key_file(4), ..harness };
    let other = harness.somebody_else();
    let (sink, done) = after_put(harness.sink.clone(), "log/", move |_| {
        keys::change_password(&mut other.repository(), &key_file(6), None).expect("changed");
    });
    let mut slow = harness.through(sink).repository();
    let error = keys::change_password(&mut slow, &key_file(7), None).expect_err("changed meanwhile");
    assert!(done.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!(error.kind(), ErrorKind::Contended, "{error:?}");
    assert!(opens(&harness, &key_file(6)) && !opens(&harness, &key_file(7)) && !opens(&harness, &key_file(4)));
    assert_eq!(keys::list(&Harness { credentials: key_file(6), ..harness }.repository()).expect("listed").len(), 1);
}
