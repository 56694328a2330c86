//! Slots no record put in force, and what is said of a secret that opens none.

use crate::common::damage::{Damage, apply, put};
use crate::common::meddling::after_put;
use crate::common::records::append;
use crate::common::{Harness, key, key_file, noise, password, small_packs, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Error, ErrorKind, Key};
use decube_backup_engine::gc::{self, PruneOptions};
use decube_backup_engine::keys::{self, Others, Recipient};
use decube_backup_engine::options::VerifyDepth;
use decube_backup_engine::{Credentials, Repository};
use decube_backup_format::ids::log_key;
use decube_backup_format::log::Payload;
use decube_backup_testkit::{HookedSink, Moment, Op};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const AGE_KEY: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

/// A repository with one snapshot that [`Harness::credentials`] open.
fn backed_up() -> Harness {
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), noise(1, 5000)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    harness.backup(tree.path(), "tree");
    harness
}

fn go_on(repo: &Repository, records: u64) {
    while repo.state().next_seq() < records {
        append(repo, Payload::Note { text: "so many".into() }, Vec::new());
    }
}

fn prune(harness: &Harness, orphan_age: Duration) {
    let options = PruneOptions { orphan_age, ..PruneOptions::default() };
    gc::plan(&harness.repository(), &options, &Silent).expect("planned").run(&Silent).expect("pruned");
}

fn slots(harness: &Harness) -> Vec<Key> {
    harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with("keys/")).collect()
}

fn refusal(harness: &Harness, credentials: &Credentials) -> Error {
    Repository::open(harness.environment(), credentials).err().expect("it opens nothing")
}

/// One whose log takes no more records.
fn without_log(harness: &Harness) -> Harness {
    let sink = HookedSink::new(harness.sink.clone(), |moment, op, key| match (moment, op) {
        (Moment::Before, Op::Put) if key.as_str().starts_with("log/") => {
            Err(Error::new(ErrorKind::PermissionDenied, "put", "immutable"))
        }
        _ => Ok(()),
    });
    harness.through(Arc::new(sink))
}

#[test]
fn a_slot_that_never_got_its_record_is_deleted_by_a_prune() {
    let harness = backed_up();
    keys::add(&without_log(&harness).repository(), &key_file(2), "").expect_err("no record");
    // It leads to the keyring; until it is gone it reads, and writes nothing.
    let stray = Repository::open(harness.environment(), &key_file(2)).expect("to read");
    assert!(stray.lacks_records());
    let error = keys::add(&stray, &key_file(3), "").expect_err("it only reads");
    assert!(
        error.kind() == ErrorKind::Diverged && error.hint().is_some_and(|hint| hint.contains("--accept")),
        "{error:?}"
    );
    prune(&harness, Duration::from_secs(86_400));
    assert_eq!(slots(&harness).len(), 2, "who makes it may be about to record it");
    prune(&harness, Duration::ZERO);
    assert_eq!(slots(&harness).len(), 1);
    assert!(refusal(&harness, &key_file(2)).to_string().contains("no key slot opens"));
    harness.assert_sound("pruned");
}

#[test]
fn a_prune_between_a_slot_and_its_record_costs_no_key() {
    let begun = backed_up().memory.objects();
    let changes: [&dyn Fn(&mut Repository) -> Error; 3] = [
        &|repo| keys::add(repo, &key_file(5), "").expect_err("pruned"),
        &|repo| keys::change_password(repo, &key_file(5), None).expect_err("pruned"),
        &|repo| {
            let slot = keys::list(repo).expect("listed").into_iter().find(|slot| !slot.current).expect("another").slot;
            keys::revoke(repo, &slot, Others::Drop).expect_err("pruned")
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let harness = backed_up().on_image(begun.clone());
        keys::add_recipient(&harness.repository(), &Recipient::parse(AGE_KEY).expect("a key"), "").expect("added");
        let other = harness.somebody_else();
        let (sink, done) = after_put(harness.sink.clone(), "keys/", move |_| prune(&other, Duration::ZERO));
        let error = change(&mut harness.through(sink).repository());
        assert!(done.load(Ordering::SeqCst));
        assert_eq!(error.kind(), ErrorKind::Contended, "{number}: {error:?}");
        assert_eq!(keys::list(&harness.repository()).expect("listed").len(), 2, "{number}");
        refusal(&harness, &key_file(5));
        harness.assert_sound(&number.to_string());
        // Once more without a prune in between it works.
        keys::change_password(&mut harness.repository(), &key_file(5), None).expect("changed");
        Harness { credentials: key_file(5), ..harness }.assert_sound(&number.to_string());
    }
}

#[test]
fn a_key_whose_record_is_lost_still_reads_and_can_be_put_in_force() {
    let with = |credentials, harness: &Harness| Harness { credentials, ..harness.somebody_else() };
    let passwd = |harness: &Harness| {
        keys::change_password(&mut harness.repository(), &key_file(5), None).expect("changed");
        with(key_file(5), harness)
    };
    // Those who remain get new slots under a new keyring, and the old one is deleted.
    let revoke = |harness: &Harness| {
        let mut repo = harness.repository();
        let slot = keys::add(&repo, &key_file(7), "").expect("added").slot;
        keys::revoke(&mut repo, &slot, Others::Drop).expect("revoked");
        with(harness.credentials.clone(), harness)
    };
    for (what, change) in [("passwd", &passwd as &dyn Fn(&Harness) -> Harness), ("revoke", &revoke)] {
        // Without and with a checkpoint that knows of it.
        for records in [12, 28] {
            let context = format!("{what} {records}");
            let (harness, tree) = (Harness::with_repository(&small_packs()), tempfile::tempdir().expect("temp"));
            std::fs::write(tree.path().join("file"), noise(1, 5000)).expect("file");
            let snapshot = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
            go_on(&harness.repository(), records);
            let changed = change(&harness);
            go_on(&changed.repository(), records + 8);
            for seq in records..records + 8 {
                harness.memory.remove(&log_key(seq).expect("key")).expect("there");
            }
            let user = with(changed.credentials.clone(), &harness);
            user.assert_restores(&snapshot, tree.path(), &context);
            let repo = user.repository();
            assert!(repo.lacks_records(), "{context}");
            assert_eq!(
                user.backup_source(&source_of(tree.path()), "tree").expect_err(&context).kind(),
                ErrorKind::Diverged
            );
            let damages = user.verify(VerifyDepth::Structure).damages;
            assert!(damages.iter().any(|damage| damage.object.starts_with("keys/")), "{context}: {damages:?}");
            assert!(repo.accept_lost_records().expect("accepted"), "{context}");
            for user in [&user, &user.somebody_else()] {
                assert!(!user.repository().lacks_records(), "{context}");
                let id = user.backup(tree.path(), "tree").snapshot.expect("a snapshot");
                user.assert_restores(&id, tree.path(), &context);
                user.assert_restores(&snapshot, tree.path(), &context);
            }
            // What the lost record ended is no damage for ever; a password that was replaced is a key to be removed.
            let damages = user.verify(VerifyDepth::Structure).damages;
            assert_eq!(damages.len(), usize::from(what == "passwd"), "{context}: {damages:?}");
            assert!(damages.iter().all(|damage| damage.object.starts_with("keys/")), "{context}: {damages:?}");
            keys::change_password(&mut user.repository(), &key_file(8), None).expect("changed");
            assert_eq!(refusal(&user, &key_file(9)).kind(), ErrorKind::WrongKey);
        }
    }
}

#[test]
fn a_removed_key_opens_nothing_under_another_name() {
    let harness = backed_up();
    let slot = keys::add(&harness.repository(), &key_file(2), "").expect("added").slot;
    let (old, bytes) = (key(&format!("keys/{slot}")), harness.memory.objects()[&key(&format!("keys/{slot}"))].clone());
    keys::remove(&harness.repository(), &slot).expect("removed");
    for name in [old, key("keys/0000000000000001")] {
        put(&harness, &name, bytes.clone());
        assert_eq!(refusal(&harness.somebody_else(), &key_file(2)).kind(), ErrorKind::WrongKey, "{name}");
    }
    harness.somebody_else().repository();
}

#[test]
fn a_prune_takes_no_slot_that_a_lost_record_may_have_added() {
    for log in ["log/0000000000000000", "log/0000000000000001"] {
        for damage in [Damage::Flip(500), Damage::Remove] {
            let harness = backed_up();
            keys::add(&harness.repository(), &key_file(2), "").expect("added");
            let there = slots(&harness);
            apply(&harness, &key(log), damage);
            let options = PruneOptions { orphan_age: Duration::ZERO, ..PruneOptions::default() };
            if let Ok(repo) = harness.open()
                && let Ok(plan) = gc::plan(&repo, &options, &Silent)
            {
                let _ = plan.run(&Silent);
            }
            assert_eq!(slots(&harness), there, "{log} {damage:?}");
        }
    }
}

#[test]
fn an_init_that_lost_a_race_leaves_no_slot() {
    let harness = Harness::new();
    let other = Harness { credentials: key_file(2), ..harness.somebody_else() };
    let (sink, done) = after_put(harness.sink.clone(), "keys/", move |_| {
        other.init(&small_packs()).expect("it was first with its keyring");
    });
    let error = harness.through(sink).init(&small_packs()).err().expect("overtaken");
    assert!(done.load(Ordering::SeqCst));
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}");
    assert_eq!(slots(&harness).len(), 1);
    assert_eq!(refusal(&harness, &harness.credentials).kind(), ErrorKind::WrongKey);
}

#[test]
fn the_slot_of_a_killed_init_that_lost_is_no_damage() {
    let (harness, winner) = (backed_up(), key_file(9));
    let foreign = Harness { credentials: winner.clone(), ..Harness::new() };
    // Two inits that shared a header: the slots of both are there, the keyring of one.
    let format = key("format");
    put(&foreign, &format, harness.memory.objects()[&format].clone());
    foreign.init(&small_packs()).expect("made");
    let stray = slots(&foreign).remove(0);
    put(&harness, &stray, foreign.memory.objects()[&stray].clone());
    let error = refusal(&harness, &winner);
    assert!(error.kind() == ErrorKind::WrongKey && error.to_string().contains("an init"), "{error:?}");
    prune(&harness, Duration::ZERO);
    assert_eq!(slots(&harness).len(), 1);
    // A keyring that is damaged is damage, though.
    put(&harness, &stray, foreign.memory.objects()[&stray].clone());
    apply(&harness, &key("keyring/00000000"), Damage::Flip(900));
    assert_eq!(refusal(&harness, &winner).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_wrong_password_is_wrong_beside_a_damaged_slot() {
    let harness = backed_up();
    let repo = harness.repository();
    let damaged = keys::add(&repo, &password("right"), "").expect("added").slot;
    keys::add(&repo, &key_file(2), "").expect("added");
    apply(&harness, &key(&format!("keys/{damaged}")), Damage::Flip(500));
    let error = refusal(&harness, &key_file(3));
    assert!(error.kind() == ErrorKind::WrongKey && error.to_string().contains(&damaged), "{error:?}");
    // No sound slot is of its kind: what is damaged keeps it out.
    let only = refusal(&harness, &password("right"));
    assert!(only.kind() == ErrorKind::Corrupt && only.to_string().contains(&damaged), "{only:?}");
    keys::add(&repo, &password("other"), "").expect("added");
    let error = refusal(&harness, &password("right"));
    assert!(
        error.kind() == ErrorKind::WrongKey && error.hint().is_some_and(|hint| hint.contains("damaged")),
        "{error:?}"
    );
}
