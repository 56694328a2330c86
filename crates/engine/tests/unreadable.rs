//! Key slots and log records that the storage lists and does not give: bad sectors, objects larger than any may be.

mod common;

use common::bad_sectors::BadSectors;
use common::{Harness, key_file, password, small_packs};
use decube_backup_core::{Error, ErrorKind};
use decube_backup_engine::{Credentials, Repository, keys};
use std::sync::Arc;

/// What a storage says of such an object.
const KINDS: [ErrorKind; 2] = [ErrorKind::Io, ErrorKind::Corrupt];

/// Somebody without a cache, for whom reading objects whose names begin so is an error of `kind`.
fn without(harness: &Harness, kind: ErrorKind, prefixes: &[String]) -> Harness {
    let prefixes = prefixes.to_vec();
    let fails = move |key: &decube_backup_core::Key| prefixes.iter().any(|prefix| key.as_str().starts_with(prefix));
    harness.somebody_else().through(Arc::new(BadSectors::in_objects(harness.sink.clone(), kind, fails)))
}

fn refusal(harness: &Harness, credentials: &Credentials) -> Error {
    Repository::open(harness.environment(), credentials).err().expect("it opens nothing")
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
    // A storage that does not answer is something else.
    let reader = without(&harness, ErrorKind::Unavailable, &bad);
    assert_eq!(refusal(&reader, &key_file(2)).kind(), ErrorKind::Unavailable);
}
