//! Keys that come and go: what was stored comes back, and who was shut out stays out.

use crate::common::source::Interrupting;
use crate::common::{Harness, key_file, noise, plant, series, small_packs, source_of};
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::keys::{self, Certainty, Exactness, Identities, Others, Recipient};
use decube_backup_engine::{Credentials, Repository, backup};
use decube_backup_format::ids::{PackName, SnapshotId, pack_key};
use decube_backup_format::keyslot::RecoveryKey;
use decube_backup_format::pack::PackHeader;
use decube_backup_testkit::SeededEntropy;
use std::collections::BTreeSet;
use std::sync::Barrier;

const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const SSH_PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@rust";
const SSH_PRIVATE: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACB7Ci6nqZYaVvrjm8+XbzII89TsXzP111AflR7WeorBjQAAAJCfEwtqnxML
agAAAAtzc2gtZWQyNTUxOQAAACB7Ci6nqZYaVvrjm8+XbzII89TsXzP111AflR7WeorBjQ
AAAEADBJvjZT8X6JRJI8xVq/1aU8nMVgOtVnmdwqWwrSlXG3sKLqeplhpW+uObz5dvMgjz
1OxfM/XXUB+VHtZ6isGNAAAADHN0cjRkQGNhcmJvbgE=
-----END OPENSSH PRIVATE KEY-----
";

/// A repository with one snapshot of a small tree.
struct Begun {
    harness: Harness,
    tree: tempfile::TempDir,
    first: SnapshotId,
}

fn begun() -> Begun {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 1);
    let harness = Harness::with_repository(&small_packs());
    let first = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    Begun { harness, tree, first }
}

fn versions(harness: &Harness, packs: &BTreeSet<PackName>) -> BTreeSet<u32> {
    let objects = harness.memory.objects();
    let header = |name: &PackName| PackHeader::decode(&objects[&pack_key(name).expect("key")]).expect("header");
    packs.iter().map(|name| header(name).key_version).collect()
}

fn packs(harness: &Harness) -> BTreeSet<PackName> {
    harness.repository().state().live_packs().map(|(name, _)| name).collect()
}

fn opens(harness: &Harness, credentials: &Credentials) -> bool {
    let outcome = Repository::open(harness.environment(), credentials).map(drop);
    let refused = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::WrongKey);
    assert!(outcome.is_ok() || refused, "{outcome:?}");
    outcome.is_ok()
}

#[test]
fn after_a_rotation_new_packs_use_new_keys_and_old_ones_stay_readable() {
    let Begun { harness, tree, first } = begun();
    let before = packs(&harness);
    let repo = harness.repository();
    let rotation = keys::rotate(&repo).expect("rotated");
    assert_eq!((rotation.generation, repo.state().keyring_current()), (1, 1));
    std::fs::write(tree.path().join("new"), noise(9, 300_000)).expect("file");
    // The handle that rotated, and one opened afterwards.
    let second = backup::backup(&repo, &source_of(tree.path()), &series("tree"), &Silent).expect("backup");
    std::fs::write(tree.path().join("newer"), noise(10, 300_000)).expect("file");
    let third = harness.somebody_else().backup(tree.path(), "tree");
    let after: BTreeSet<PackName> = packs(&harness).difference(&before).copied().collect();
    assert_eq!((versions(&harness, &before), versions(&harness, &after)), (BTreeSet::from([0]), BTreeSet::from([1])));
    harness.assert_restores(&third.snapshot.expect("a snapshot"), tree.path(), "after");
    for snapshot in [first, second.snapshot.expect("a snapshot")] {
        let (_, report) = harness.restore(&snapshot, tree.path());
        assert!(report.problems.is_empty(), "{report:?}");
    }
    harness.assert_sound("rotated");
}

#[test]
fn a_handle_opened_before_a_rotation_reads_and_writes_after_it() {
    let Begun { harness, tree, .. } = begun();
    let (reader, writer) = (harness.repository(), harness.somebody_else().repository());
    keys::rotate(&harness.repository()).expect("rotated");
    std::fs::write(tree.path().join("new"), noise(9, 300_000)).expect("file");
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    reader.refresh().expect("refreshed");
    let found = reader.select("latest", None).expect("found").0;
    assert_eq!(found.id, id);
    let path = crate::common::inside(tree.path()).join(b"new").expect("path");
    let mut bytes = Vec::new();
    decube_backup_engine::dump::dump_file(&reader, &found, &path, &mut bytes).expect("dumped");
    assert!(bytes == noise(9, 300_000));
    let before = packs(&harness);
    std::fs::write(tree.path().join("more"), noise(11, 300_000)).expect("file");
    backup::backup(&writer, &source_of(tree.path()), &series("other"), &Silent).expect("backup");
    let new: BTreeSet<PackName> = packs(&harness).difference(&before).copied().collect();
    assert_eq!(versions(&harness, &new), BTreeSet::from([1]));
    harness.assert_sound("followed");
}

#[test]
fn a_rotation_while_a_backup_runs_harms_neither() {
    let Begun { harness, tree, .. } = begun();
    std::fs::write(tree.path().join("z"), noise(12, 300_000)).expect("file");
    let other = harness.somebody_else();
    let source = Interrupting::new(source_of(tree.path()), "z", move || {
        keys::rotate(&other.repository()).expect("rotated");
    });
    let report = backup::backup(&harness.repository(), &source, &series("tree"), &Silent).expect("backup");
    assert!(source.done());
    harness.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "rotated meanwhile");
    harness.assert_sound("rotated meanwhile");
}

#[test]
fn two_rotations_at_once_both_count() {
    let Begun { harness, tree, first } = begun();
    let start = Barrier::new(2);
    let mut generations: Vec<u32> = std::thread::scope(|scope| {
        let rotate = |harness: Harness| {
            let start = &start;
            scope.spawn(move || {
                let repo = harness.repository();
                start.wait();
                keys::rotate(&repo).expect("rotated").generation
            })
        };
        let both = [rotate(harness.somebody_else()), rotate(harness.somebody_else())];
        both.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    generations.sort_unstable();
    assert!(generations[0] < generations[1], "{generations:?}");
    let repo = harness.repository();
    assert_eq!(repo.state().keyring_current(), generations[1]);
    assert_eq!(repo.state().keyrings().count(), 3);
    harness.assert_restores(&first, tree.path(), "rotated twice");
    harness.assert_sound("rotated twice");
}

#[test]
fn the_status_says_which_packs_are_under_older_keys() {
    let Begun { harness, tree, .. } = begun();
    let usage = |exactness| {
        let rows = keys::packs_by_key_version(&harness.repository(), exactness).expect("status");
        rows.into_iter().map(|row| (row.version, row.current, row.certainty, row.packs)).collect::<Vec<_>>()
    };
    let old = packs(&harness).len() as u64;
    for exactness in [Exactness::AtMost, Exactness::Headers] {
        assert_eq!(usage(exactness), [(0, true, Certainty::Exact, old)]);
    }
    keys::rotate(&harness.repository()).expect("rotated");
    assert_eq!(usage(Exactness::AtMost), [(0, false, Certainty::Exact, old), (1, true, Certainty::Exact, 0)]);
    std::fs::write(tree.path().join("new"), noise(9, 300_000)).expect("file");
    harness.backup(tree.path(), "tree");
    let new = packs(&harness).len() as u64 - old;
    assert_eq!(usage(Exactness::AtMost), [(0, false, Certainty::Exact, old), (1, true, Certainty::AtMost, new)]);
    assert_eq!(usage(Exactness::Headers), [(0, false, Certainty::Exact, old), (1, true, Certainty::Exact, new)]);
    // Begun before a rotation, recorded after it: the log says "at most", the headers say which.
    std::fs::write(tree.path().join("z"), noise(12, 300_000)).expect("file");
    let other = harness.somebody_else();
    let source = Interrupting::new(source_of(tree.path()), "z", move || {
        keys::rotate(&other.repository()).expect("rotated");
    });
    backup::backup(&harness.repository(), &source, &series("tree"), &Silent).expect("backup");
    let late = packs(&harness).len() as u64 - old - new;
    assert_eq!(usage(Exactness::AtMost)[2], (2, true, Certainty::AtMost, late));
    let exact = usage(Exactness::Headers);
    assert_eq!(exact[1..], [(1, false, Certainty::Exact, new + late), (2, true, Certainty::Exact, 0)]);
}

#[test]
fn a_lost_original_of_the_current_keyring_is_read_from_its_copy_and_said() {
    let Begun { harness, tree, .. } = begun();
    keys::rotate(&harness.repository()).expect("rotated");
    std::fs::write(tree.path().join("new"), noise(9, 300_000)).expect("file");
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    for key in ["keyring/00000000", "keyring/00000001"] {
        let image = harness.on_image(harness.memory.objects());
        image.memory.remove(&crate::common::key(key)).expect("there");
        image.assert_restores(&id, tree.path(), key);
        let repo = image.repository();
        assert!(repo.damaged_originals().iter().any(|d| d.object == key), "{:?}", repo.damaged_originals());
    }
    // Generation 0 wholly lost: a later one is as good a way in.
    let image = harness.on_image(harness.memory.objects());
    for key in ["keyring/00000000", "copy/keyring/00000000"] {
        image.memory.remove(&crate::common::key(key)).expect("there");
    }
    image.assert_restores(&id, tree.path(), "generation 0 lost");
}

#[test]
fn a_generation_lost_in_both_places_costs_only_what_is_under_its_keys() {
    let Begun { harness, tree, first } = begun();
    keys::rotate(&harness.repository()).expect("rotated");
    std::fs::write(tree.path().join("new"), noise(9, 300_000)).expect("file");
    let second = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    for key in ["keyring/00000001", "copy/keyring/00000001"] {
        harness.memory.remove(&crate::common::key(key)).expect("there");
    }
    let (_, report) = harness.restore(&first, tree.path());
    assert!(report.problems.is_empty(), "{report:?}");
    let repo = harness.repository();
    assert!(repo.damaged_originals().iter().any(|d| d.object == "keyring/00000001"), "{:?}", repo.damaged_originals());
    let path = crate::common::inside(tree.path()).join(b"new").expect("path");
    let lost = decube_backup_engine::dump::dump_file(&repo, &harness.snapshot(&second), &path, &mut Vec::new());
    assert_eq!(lost.expect_err("lost").kind(), ErrorKind::Corrupt);
}

#[test]
fn a_removed_slot_is_deleted_and_never_opens_again() {
    let Begun { harness, .. } = begun();
    let slot = keys::add(&harness.repository(), &key_file(2), "second").expect("added").slot;
    assert!(opens(&harness, &key_file(2)));
    let object = crate::common::key(&format!("keys/{slot}"));
    let bytes = harness.memory.objects()[&object].clone();
    keys::remove(&harness.repository(), &slot).expect("removed");
    assert!(!harness.memory.objects().contains_key(&object));
    assert!(!opens(&harness, &key_file(2)));
    // Somebody puts the object back: it counts for nothing, and the next change of keys deletes it.
    let mut objects = harness.memory.objects();
    objects.insert(object.clone(), bytes);
    let image = harness.on_image(objects);
    assert!(!opens(&image, &key_file(2)));
    keys::rotate(&image.repository()).expect("rotated");
    let third = keys::add(&image.repository(), &key_file(3), "third").expect("added").slot;
    keys::remove(&image.repository(), &third).expect("removed");
    assert!(!image.memory.objects().contains_key(&object));
}

#[test]
fn after_a_revocation_what_the_slot_opened_opens_nothing_new() {
    let Begun { harness, tree, first } = begun();
    let recipient = Recipient::parse(RECIPIENT).expect("recipient");
    keys::add_recipient(&harness.repository(), &recipient, "age").expect("added");
    let gone = keys::add(&harness.repository(), &key_file(2), "to be revoked").expect("added").slot;
    keys::add(&harness.repository(), &key_file(3), "bystander").expect("added");
    // The holder of the revoked key has the repository open, and keeps what it can see now.
    let holder = Repository::open(harness.environment(), &key_file(2)).expect("open");
    let copied = harness.memory.objects();

    let mut repo = harness.repository();
    let refused = keys::revoke(&mut repo, &gone, Others::Refuse).expect_err("a bystander");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("bystander"), "{refused}");
    let plan = keys::plan_revocation(&repo, &gone).expect("plan");
    assert_eq!((plan.kept.len(), plan.dropped.len(), plan.generation), (2, 1, None));
    let done = keys::revoke(&mut repo, &gone, Others::Drop).expect("revoked");
    assert_eq!((done.kept.len(), done.dropped.len(), done.generation), (2, 1, Some(1)));

    let identity = Credentials::Identities(Identities::parse(IDENTITY).expect("identity"));
    assert!(opens(&harness, &harness.credentials) && opens(&harness, &identity));
    assert!(!opens(&harness, &key_file(2)) && !opens(&harness, &key_file(3)));
    for name in harness.memory.objects().keys().filter(|key| key.as_str().starts_with("key")) {
        assert!(!copied.contains_key(name), "{name} is still there");
    }
    std::fs::write(tree.path().join("new"), noise(9, 300_000)).expect("file");
    let id = backup::backup(&repo, &source_of(tree.path()), &series("tree"), &Silent).expect("backup").snapshot;
    harness.assert_restores(&id.expect("a snapshot"), tree.path(), "revoked");
    let (_, report) = harness.restore(&first, tree.path());
    assert!(report.problems.is_empty(), "{report:?}");
    harness.assert_sound("revoked");

    holder.refresh().expect("the log is still readable, which is documented");
    let found = holder.select("latest", None).expect("found").0;
    let path = crate::common::inside(tree.path()).join(b"new").expect("path");
    let error = decube_backup_engine::dump::dump_file(&holder, &found, &path, &mut Vec::new()).expect_err("no key");
    assert_eq!(error.kind(), ErrorKind::WrongKey, "{error:?}");
    let error = keys::add(&holder, &key_file(4), "").expect_err("a slot that opens nothing");
    assert_eq!(error.kind(), ErrorKind::WrongKey, "{error:?}");
    // Everything copied before, put back beside what is there now: still nothing.
    let mut objects = harness.memory.objects();
    for (key, bytes) in copied {
        objects.entry(key).or_insert(bytes);
    }
    // As far as the deletes had come: what is out of force is not missed.
    objects.remove(&crate::common::key("keyring/00000000"));
    let image = harness.on_image(objects);
    assert!(!opens(&image, &key_file(2)) && opens(&image, &image.credentials));
    assert!(image.repository().damaged_originals().is_empty(), "{:?}", image.repository().damaged_originals());
    image.assert_sound("half deleted");
}

#[test]
fn the_key_in_use_cannot_revoke_itself() {
    let Begun { harness, .. } = begun();
    let mut repo = harness.repository();
    let own = keys::list(&repo).expect("list")[0].slot.clone();
    let error = keys::revoke(&mut repo, &own, Others::Drop).expect_err("own key");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(opens(&harness, &harness.credentials));
}

#[test]
fn public_keys_open_with_their_private_keys_and_no_others() {
    let Begun { harness, tree, first } = begun();
    for (public, private) in [(RECIPIENT, IDENTITY), (SSH_PUBLIC, SSH_PRIVATE)] {
        let image = harness.on_image(harness.memory.objects());
        let recipient = Recipient::parse(public).expect("recipient");
        let slot = keys::add_recipient(&image.repository(), &recipient, "phone").expect("added");
        assert_eq!((slot.kind, slot.recipient.as_deref()), ("recipient", Some(public)));
        let identity = Credentials::Identities(Identities::parse(private).expect("identity"));
        let owner = Harness { credentials: identity.clone(), ..image.somebody_else() };
        owner.assert_restores(&first, tree.path(), public);
        assert_eq!(keys::list(&owner.repository()).expect("list").iter().filter(|s| s.current).count(), 1);
        keys::remove(&image.repository(), &slot.slot).expect("removed");
        assert!(!opens(&image, &identity));
    }
    let stranger = Credentials::Identities(Identities::parse(SSH_PRIVATE).expect("identity"));
    keys::add_recipient(&harness.repository(), &Recipient::parse(RECIPIENT).expect("recipient"), "").expect("added");
    assert!(!opens(&harness, &stranger));
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_a_reason() {
    let encrypted = SSH_PRIVATE.replace("AAAABG5vbmUAAAAEbm9uZQ", "AAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0");
    for (text, says) in [
        (IDENTITY, "private key"),
        (SSH_PRIVATE, "private key"),
        ("age1qqqq", "not a public key"),
        ("ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA== x", "not a public key"),
        ("", "not a public key"),
    ] {
        let error = Recipient::parse(text).expect_err(says);
        assert!(error.to_string().contains(says) && error.hint().is_some(), "{error}");
        assert!(!error.chain().contains("AGE-SECRET"), "a secret in a message");
    }
    for text in ["", "# only a comment", "AGE-SECRET-KEY-1AAAA", RECIPIENT, SSH_PUBLIC, &encrypted] {
        let error = Identities::parse(text).expect_err(text);
        assert!(error.kind() == ErrorKind::Invalid && error.hint().is_some(), "{error}");
        assert!(!error.chain().contains("SECRET-KEY-1AAAA"), "a secret in a message");
    }
}

#[test]
fn a_recovery_sheet_opens_what_it_was_made_for() {
    let Begun { harness, tree, first } = begun();
    let key = RecoveryKey::generate(&SeededEntropy::new(5)).expect("key");
    let slot = keys::add(&harness.repository(), &Credentials::Recovery(key.clone()), "sheet").expect("added");
    assert_eq!(slot.kind, "recovery-sheet");
    let typed = key.to_lines().map(|line| line.to_lowercase()).join("\n");
    let read = Credentials::Recovery(RecoveryKey::parse(&typed).expect("typed"));
    let owner = Harness { credentials: read.clone(), ..harness.somebody_else() };
    owner.assert_restores(&first, tree.path(), "from the sheet");
    keys::remove(&harness.repository(), &slot.slot).expect("removed");
    assert!(!opens(&harness, &read));
}

#[test]
fn names_that_are_taken_stop_no_rotation() {
    let harness = Harness::with_repository(&small_packs());
    let held = harness.repository().state().keyring_current();
    for taken in [held + 1, held + 2, u32::MAX] {
        let name = crate::common::key(&format!("keyring/{taken:08x}"));
        crate::common::damage::put(&harness, &name, bytes::Bytes::from_static(b"in the way"));
    }
    let rotation = keys::rotate(&harness.repository()).expect("rotated");
    assert_eq!(rotation.generation, held + 3);
    assert_eq!(harness.somebody_else().repository().state().keyring_current(), held + 3);
}
