//! Snapshot manifests and ids.

use crate::fixtures::{check_golden, manifest};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::{ErrorKind, Timestamp};
use decube_backup_format::manifest::{EncodedManifest, SnapshotManifest};
use proptest::prelude::*;

fn from_bytes(bytes: &[u8]) -> EncodedManifest {
    postcard::from_bytes(&postcard::to_allocvec(bytes).expect("encodes")).expect("a byte string")
}

#[test]
fn the_bytes_of_a_manifest_and_its_id_are_settled() {
    let mut all = manifest(1);
    for kind in [
        ProblemKind::Vanished,
        ProblemKind::Changed,
        ProblemKind::Skipped,
        ProblemKind::MissingSource,
        ProblemKind::Attribute,
        ProblemKind::Damaged,
        ProblemKind::Unwritable,
    ] {
        all.add_problem(Problem::new(kind, *b"a", "b"));
    }
    let encoded = all.encode().expect("in bounds");
    check_golden("manifest", encoded.as_bytes());
    check_golden("snapshot_id", &encoded.id().0);
}

#[test]
fn a_manifest_round_trips_and_its_id_is_a_function_of_its_content() {
    let encoded = manifest(1).encode().expect("in bounds");
    assert_eq!(encoded.decode().expect("decodes"), manifest(1));
    assert_eq!(encoded.id(), manifest(1).encode().expect("in bounds").id());
    assert_ne!(encoded.id(), manifest(2).encode().expect("in bounds").id(), "another run");
}

#[test]
fn problems_beyond_the_bound_are_counted_but_not_listed() {
    let mut manifest = SnapshotManifest::default();
    for _ in 0..1500 {
        manifest.add_problem(Problem::new(ProblemKind::Vanished, *b"a", "é".repeat(4000)));
    }
    assert_eq!(manifest.problems_total[&ProblemKind::Vanished], 1500);
    assert!(manifest.problems.len() < 1000);
    assert_eq!(manifest.problems[0].message.len(), 4096);
    manifest.encode().expect("still fits");
}

#[test]
fn fields_out_of_bounds_are_refused_on_both_sides() {
    let long = SnapshotManifest { name: "n".repeat(5000), ..manifest(1) };
    assert_eq!(long.check().expect_err("long").kind(), ErrorKind::Invalid);
    assert_eq!(long.encode().expect_err("long").kind(), ErrorKind::Invalid);
    let bytes = [&[0][..], &postcard::to_allocvec(&long).expect("encodes")].concat();
    assert_eq!(from_bytes(&bytes).decode().expect_err("long").kind(), ErrorKind::Corrupt);
    let odd = SnapshotManifest { begun: Timestamp { seconds: 0, nanoseconds: 1_000_000_000 }, ..manifest(1) };
    assert!(odd.encode().is_err());
}

#[test]
fn a_later_version_is_unsupported_and_left_over_bytes_are_corrupt() {
    let mut bytes = manifest(1).encode().expect("in bounds").as_bytes().to_vec();
    bytes.push(0);
    assert_eq!(from_bytes(&bytes).decode().expect_err("longer").kind(), ErrorKind::Corrupt);
    bytes[0] = 1;
    assert_eq!(from_bytes(&bytes).decode().expect_err("version 2").kind(), ErrorKind::Unsupported);
    assert_eq!(from_bytes(&[]).decode().expect_err("empty").kind(), ErrorKind::Corrupt);
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = manifest(1).encode().expect("in bounds").as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = from_bytes(&bytes).decode();
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(from_bytes(&bytes).decode().is_err());
    }
}
