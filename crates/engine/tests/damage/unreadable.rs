//! Key slots and log records that the storage lists and does not give: bad sectors, objects larger than any may be.

use crate::common::bad_sectors::BadSectors;
use crate::common::{ALL_DATA, Harness, key_file, password, small_packs, source_of, two_trees};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Error, ErrorKind, Key};
use decube_backup_engine::audit::{AuditFilter, audit};
use decube_backup_engine::options::{Effect, VerifyDepth, VerifyReport};
use decube_backup_engine::repair::{self, Content, RepairOptions};
use decube_backup_engine::verify::{VerifyOptions, scrub, verify};
use decube_backup_engine::{Credentials, Environment, Repository, keys};
use decube_backup_format::ids::log_key;
use std::sync::Arc;

/// What a storage says of such an object.
const KINDS: [ErrorKind; 2] = [ErrorKind::Io, ErrorKind::Corrupt];

/// Somebody without a cache, for whom reading objects whose names begin so is an error of `kind`.
fn without(harness: &Harness, kind: ErrorKind, prefixes: &[String]) -> Harness {
    let prefixes = prefixes.to_vec();
    let fails = move |key: &Key| prefixes.iter().any(|prefix| key.as_str().starts_with(prefix));
    harness.somebody_else().through(Arc::new(BadSectors::in_objects(harness.sink.clone(), kind, fails)))
}

fn refusal(harness: &Harness, credentials: &Credentials) -> Error {
    Repository::open(harness.environment(), credentials).err().expect("it opens nothing")
}

fn names(report: &VerifyReport) -> Vec<String> {
    report.damages.iter().map(|damage| damage.object.clone()).collect()
}

#[test]
fn a_slot_that_cannot_be_read_shuts_nobody_else_out() {
    let harness = Harness::with_repository(&small_packs());
    let slots = [2, 3].map(|seed| keys::add(&harness.repository(), &key_file(seed), "").expect("added").slot);
    let bad = [format!("keys/{}", slots[0])];
    for kind in KINDS {
        let reader = without(&harness, kind, &bad);
        for opens in [&harness.credentials, &key_file(3)] {
            let repo = Repository::open(without(&harness, kind, &bad).environment(), opens).expect("another slot");
            let listed = keys::list(&repo).expect("listed");
            assert_eq!(listed.iter().filter(|slot| slot.damage.is_some()).count(), 1, "{kind:?}");
        }
        // Others of its kind refuse the key: so it says which one could not be asked.
        let error = refusal(&reader, &key_file(2));
        assert!(error.kind() == ErrorKind::WrongKey && error.to_string().contains(&slots[0]), "{kind:?}: {error:?}");
        // None of its kind could be asked.
        let error = refusal(&reader, &password("a password"));
        assert!(error.kind() == kind && error.to_string().contains(&slots[0]), "{kind:?}: {error:?}");
    }
    // Who opens it by another one is told, and nothing else is the matter.
    for kind in KINDS {
        let reader = without(&harness, kind, &bad);
        for depth in [VerifyDepth::Structure, ALL_DATA] {
            assert_eq!(names(&reader.verify(depth)), bad, "{kind:?}");
        }
        assert_eq!(names(&scrub(&reader.environment(), &Silent).expect("scrub")), bad, "{kind:?}");
    }
    // One that only its owner may read is no way in, and no damage.
    let reader = || without(&harness, ErrorKind::PermissionDenied, &bad);
    assert!(Repository::open(reader().environment(), &key_file(3)).is_ok());
    assert_eq!(refusal(&reader(), &key_file(2)).kind(), ErrorKind::WrongKey);
    let error = refusal(&reader(), &password("a password"));
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.hint().is_some_and(|hint| hint.contains("access")), "{error:?}");
    // A storage that does not answer is something else.
    let reader = without(&harness, ErrorKind::Unavailable, &bad);
    assert_eq!(refusal(&reader, &key_file(2)).kind(), ErrorKind::Unavailable);
}

#[test]
fn a_record_that_cannot_be_read_costs_what_it_said_and_nothing_else() {
    let harness = Harness::with_repository(&small_packs());
    let trees = two_trees(&harness);
    let seen = tempfile::tempdir().expect("temp");
    let watched =
        |harness: &Harness| Environment { witness_dir: Some(seen.path().to_owned()), ..harness.environment() };
    Repository::open(watched(&harness), &harness.credentials).expect("seen");
    for (seq, kind) in (0..3).flat_map(|seq| KINDS.map(|kind| (seq, kind))) {
        let (context, bad) = (format!("record {seq}: {kind:?}"), log_key(seq).expect("a key").to_string());
        let stranger = || without(&harness, kind, std::slice::from_ref(&bad));
        let repo = Repository::open(watched(&stranger()), &harness.credentials).expect(&context);
        assert_eq!(repo.damaged_records(), [seq], "{context}");
        for (number, (id, tree)) in (1..).zip(&trees) {
            if number != seq {
                stranger().assert_restores(id, tree.path(), &context);
            }
        }
        let refused = stranger().backup_source(&source_of(trees[0].1.path()), "again").expect_err(&context);
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{context}: {refused:?}");
        // Who knew the log before it went bad looks at all of it here too.
        for repo in [repo, Repository::open(watched(&harness), &harness.credentials).expect("whole")] {
            let through = stranger();
            let repo = match repo.damaged_records().is_empty() {
                true => harness.through(through.sink.clone()).open().expect(&context),
                false => repo,
            };
            let options = VerifyOptions { depth: VerifyDepth::Structure, snapshots: None };
            let report = verify(&repo, &options, &Silent).expect(&context);
            let said = report.damages.iter().find(|damage| damage.object == bad).expect(&context);
            assert!(said.what.contains("the medium is broken"), "{context}: {said:?}");
            let trail = audit(&repo, &AuditFilter::default(), Some(seen.path()), &Silent, &mut |_| Ok(()));
            let damages = trail.expect(&context).damages;
            assert_eq!(damages.iter().map(|damage| &damage.object).collect::<Vec<_>>(), [&bad], "{context}");
            assert!(damages[0].what.contains("the medium is broken"), "{context}: {damages:?}");
        }
        let scrubbed = scrub(&stranger().environment(), &Silent).expect(&context);
        assert!(scrubbed.damages.iter().any(|damage| damage.object == bad), "{context}: {:?}", scrubbed.damages);
    }
}

#[test]
fn an_object_that_cannot_be_read_stops_neither_a_look_at_the_others_nor_its_repair() {
    let harness = Harness::with_repository(&small_packs()).with_parity(10);
    two_trees(&harness);
    let first = |harness: &Harness, prefix: &str| {
        let key = harness.memory.objects().into_keys().find(|key| key.as_str().starts_with(prefix));
        key.expect("there").to_string()
    };
    let options = RepairOptions { effect: Effect::Real, content: Content::Read, ..RepairOptions::default() };
    for kind in KINDS {
        let plain = Harness::with_repository(&small_packs());
        two_trees(&plain);
        let bad = first(&harness, "parity/");
        let reader = || without(&harness, kind, std::slice::from_ref(&bad));
        for report in [reader().verify(ALL_DATA), scrub(&reader().environment(), &Silent).expect("scrub")] {
            assert_eq!(names(&report), [bad.as_str()], "{kind:?}");
        }
        assert_eq!(repair::packs(&reader().repository(), &options, &Silent).expect("repaired").damaged, 0);

        let bad = first(&plain, "packs/d/");
        let reader = without(&plain, kind, std::slice::from_ref(&bad)).with_parity(10);
        let unreadable = repair::parity(&reader.repository(), &options, &Silent).expect("made").unreadable;
        assert_eq!(unreadable.iter().map(|damage| &damage.object).collect::<Vec<_>>(), [&bad], "{kind:?}");

        let bad = first(&harness, "index/");
        let reader = without(&harness, kind, std::slice::from_ref(&bad));
        let report = repair::index(&reader.repository(), &options, &Silent).expect("repaired");
        // A bad sector may be read another time.
        assert_eq!((report.damaged.len(), report.kept.len()), if kind == ErrorKind::Io { (0, 1) } else { (1, 0) });
        assert_eq!(report.retired, report.damaged.len() as u64);
    }
    harness.assert_sound("repaired");
}

#[test]
fn a_pack_that_cannot_be_looked_at_is_named_with_its_files_and_stops_nothing() {
    let harness = Harness::with_repository(&small_packs());
    two_trees(&harness);
    let pack = harness.memory.objects().into_keys().find(|key| key.as_str().starts_with("packs/d/")).expect("there");
    let without = |harness: &Harness, kind, bad: &Key| {
        let bad = bad.clone();
        let sink = BadSectors::in_inodes(harness.sink.clone(), kind, move |key| *key == bad);
        harness.somebody_else().through(Arc::new(sink))
    };
    let look = RepairOptions { effect: Effect::DryRun, ..RepairOptions::default() };
    for kind in KINDS {
        let reader = || without(&harness, kind, &pack);
        for depth in [VerifyDepth::Structure, VerifyDepth::Scrub, ALL_DATA] {
            let report = reader().verify(depth);
            assert_eq!(names(&report), [pack.as_str()], "{kind:?} {depth:?}: {:?}", report.damages);
            assert!(report.damages[0].what.contains("the medium is broken"), "{kind:?} {depth:?}: {report:?}");
            assert!(report.affected_count > 0, "{kind:?} {depth:?}: {report:?}");
        }
        assert_eq!(names(&scrub(&reader().environment(), &Silent).expect("scrub")), [pack.as_str()], "{kind:?}");
        let report = repair::packs(&reader().repository(), &look, &Silent).expect("looked");
        assert_eq!(report.damaged, 1, "{kind:?}");
    }
    let reader = without(&harness, ErrorKind::Unavailable, &pack);
    let options = VerifyOptions { depth: VerifyDepth::Structure, snapshots: None };
    let error = verify(&reader.repository(), &options, &Silent).expect_err("not answered");
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let harness = Harness::with_repository(&small_packs()).with_parity(10);
    two_trees(&harness);
    let parity = harness.memory.objects().into_keys().find(|key| key.as_str().starts_with("parity/")).expect("there");
    for kind in KINDS {
        let reader = without(&harness, kind, &parity);
        let report = repair::parity(&reader.repository(), &look, &Silent).expect("looked");
        assert_eq!(report.damaged.iter().map(|damage| &damage.object).collect::<Vec<_>>(), [parity.as_str()]);
    }
}

#[test]
fn something_that_is_no_object_in_the_place_of_the_next_record_is_damage_and_reading_goes_on() {
    let harness = Harness::with_repository(&small_packs());
    let trees = two_trees(&harness);
    let next = log_key(harness.repository().state().next_seq()).expect("a key").to_string();
    let reader = || without(&harness, ErrorKind::Corrupt, std::slice::from_ref(&next));
    for (id, tree) in &trees {
        reader().assert_restores(id, tree.path(), "beside it");
    }
    for report in [reader().verify(VerifyDepth::Structure), scrub(&reader().environment(), &Silent).expect("scrub")] {
        assert_eq!(names(&report), [next.as_str()]);
    }
    let refused = reader().backup_source(&source_of(trees[0].1.path()), "again").expect_err("nothing is added");
    assert!(refused.hint().is_some_and(|hint| hint.contains("audit --accept")), "{refused:?}");
}

#[test]
fn a_storage_that_gives_no_record_is_not_taken_for_an_empty_repository() {
    let harness = Harness::with_repository(&small_packs());
    two_trees(&harness);
    let before = harness.memory.objects();
    for (kind, prefixes) in [
        (ErrorKind::Io, vec!["log/".to_owned()]),
        (ErrorKind::Unavailable, vec!["log/".to_owned()]),
        (ErrorKind::Unavailable, vec!["log/0000000000000001".to_owned()]),
    ] {
        let reader = || without(&harness, kind, &prefixes);
        let scrubbed = scrub(&reader().environment(), &Silent).err();
        // With or without a memory of what the log said; a cache needs only its end.
        let knowing = harness.through(reader().sink.clone());
        let knowing = if prefixes[0] == "log/" { knowing } else { reader() };
        for error in [reader().open().err(), knowing.open().err(), scrubbed] {
            assert_eq!(error.expect("nothing is known").kind(), kind, "{prefixes:?}");
        }
        assert_eq!(reader().init(&small_packs()).err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    }
    // Nor does a storage that stops answering behind a damaged record make more of them.
    harness.memory.flip_byte(&log_key(1).expect("a key"), 300).expect("there");
    let reader = without(&harness, ErrorKind::Unavailable, &["log/0000000000000002".to_owned()]);
    assert_eq!(reader.open().err().map(|error| error.kind()), Some(ErrorKind::Unavailable));
    harness.memory.flip_byte(&log_key(1).expect("a key"), 300).expect("there");
    assert_eq!(harness.memory.objects(), before);
}
