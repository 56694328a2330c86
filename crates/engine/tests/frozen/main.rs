//! Repositories made by earlier versions open and give everything back, for ever.
//!
//! | module | folder | holds |
//! |---|---|---|
//! | [`first`] | `v1` | what there was when format version 1 was settled |
//! | [`life`] | `v1-life` | every kind of record, object and key slot there was then, and damage |
//! | [`hosts`] | `v1-hosts` | hosts with write-only keys, parity |
//!
//! Each was made once by the `make` of its module, with a fixed clock and seeded randomness; `README.md` beside this says
//! how and when to make another. None is ever made again.

#[path = "../common/mod.rs"]
mod common;
mod first;
mod hosts;
mod life;

use common::made_up::{Behaviour, MadeUp, MadeUpFile};
use common::{Harness, objects_in, password, path};
use decube_backup_core::Timestamp;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::audit::{AuditFilter, audit};
use decube_backup_engine::gc::{self, PruneOptions};
use decube_backup_engine::options::{RestoreOptions, Snapshot};
use decube_backup_engine::{Environment, keys};
use decube_backup_format::header::{FEATURES_KNOWN, Features, Header, VERSION};
use decube_backup_format::keyslot::{SlotKdf, SlotScope};
use decube_backup_format::log::{ObjectName, Payload};
use decube_backup_testkit::{MemorySink, SeededEntropy, StepClock};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const PASSWORD: &str = "correct horse battery staple";
/// When frozen repositories begin, Unix seconds.
const BEGIN: i64 = 1_800_000_000;
const DAY_S: i64 = 86_400;

/// A repository that is kept, and what is asked of it.
struct Frozen {
    folder: &'static str,
    version: u16,
    features: Features,
    make: fn(&Harness, Environment),
    check: fn(&Harness, &str),
}

const NO_FEATURES: Features = Features { read: 0, write: 0, gc: 0 };

/// Every format version and set of features that was ever released, oldest first.
const FROZEN: [Frozen; 3] = [
    Frozen { folder: "v1", version: 1, features: NO_FEATURES, make: first::make, check: first::check },
    Frozen { folder: "v1-life", version: 1, features: NO_FEATURES, make: life::make, check: life::check },
    Frozen { folder: "v1-hosts", version: 1, features: NO_FEATURES, make: hosts::make, check: hosts::check },
];

/// Kinds that came after the last frozen repository; a release freezes another one and empties this.
const NOT_YET_FROZEN: [&str; 0] = [];

/// Kinds of records, of objects in the store and of key slots. The functions below do not compile with one missing.
const KINDS: [&str; 31] = [
    "record init",
    "record commit",
    "record add",
    "record forget",
    "record restore_forgotten",
    "record condemn",
    "record reclaim",
    "record pin",
    "record unpin",
    "record keyring",
    "record key_slot",
    "record tag_change",
    "record note",
    "record damaged",
    "record verified",
    "object format",
    "object packs/d",
    "object packs/m",
    "object parity/d",
    "object parity/m",
    "object index/0",
    "object index/1",
    "object keyring",
    "object keys",
    "object ckpt",
    "object copy",
    "slot password",
    "slot key-file",
    "slot recipient",
    "slot recovery-sheet",
    "slot write-only",
];

/// A new variant is a new line above.
#[allow(dead_code)] // compiling is all it is for
fn nothing_is_missing_above(payload: &Payload, object: &ObjectName, slot: (&SlotKdf, SlotScope)) {
    match payload {
        Payload::Init | Payload::Commit { .. } | Payload::Add { .. } | Payload::Forget { .. } => {}
        Payload::RestoreForgotten { .. } | Payload::Condemn { .. } | Payload::Reclaim | Payload::Pin { .. } => {}
        Payload::Unpin { .. } | Payload::Keyring { .. } | Payload::KeySlot(_) | Payload::TagChange(_) => {}
        Payload::Note { .. } | Payload::Damaged { .. } | Payload::Verified { .. } => {}
    }
    match object {
        ObjectName::Format | ObjectName::Pack(_) | ObjectName::Index { .. } | ObjectName::Keyring(_) => {}
        ObjectName::KeySlot(_) | ObjectName::Checkpoint(_) | ObjectName::FormatCopy | ObjectName::KeyringCopy(_) => {}
        ObjectName::Parity(_) => {}
    }
    match slot.0 {
        SlotKdf::Argon2id { .. } | SlotKdf::KeyFile { .. } | SlotKdf::Recipient { .. } | SlotKdf::Recovery { .. } => {}
    }
    match slot.1 {
        SlotScope::Everything | SlotScope::WriteOnly => {}
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen")
}

/// Somebody who comes to the frozen repository for the first time.
fn thawed(frozen: &Frozen) -> Harness {
    let objects = objects_in(&root().join(frozen.folder));
    Harness { credentials: password(PASSWORD), ..Harness::new().on_image(objects) }
}

fn environment(harness: &Harness) -> Environment {
    let start = Timestamp { seconds: BEGIN, nanoseconds: 0 };
    Environment {
        clock: Arc::new(StepClock::stepping(start, Duration::from_millis(1))),
        entropy: Arc::new(SeededEntropy::new(2026)),
        // One worker: the order in which randomness is drawn is fixed.
        threads: 1,
        ..harness.environment()
    }
}

/// A source of these files: name, seed, length.
fn source(files: &[(&str, u64, u64)]) -> MadeUp {
    let file = |(name, seed, len): &(&str, u64, u64)| MadeUpFile {
        path: path(name),
        seed: *seed,
        len: *len,
        behaviour: Behaviour::Fine,
    };
    let mut files: Vec<MadeUpFile> = files.iter().map(file).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    MadeUp::new(files)
}

/// The day on which the snapshot says it was made, from [`BEGIN`].
fn day_of(snapshot: &Snapshot) -> u64 {
    ((snapshot.manifest.begun.seconds - BEGIN) / DAY_S) as u64
}

/// The snapshot gives back these files and no other.
fn assert_restores(user: &Harness, snapshot: &Snapshot, files: &[(&str, u64, u64)], context: &str) {
    let (to, report) = user.restore_with(&snapshot.id, &RestoreOptions::default());
    assert!(report.problems.is_empty(), "{context}: {report:?}");
    assert_eq!(report.files_restored, files.len() as u64, "{context}");
    for (name, seed, len) in files {
        let bytes = std::fs::read(to.path().join(name)).expect(name);
        assert!(bytes == common::noise(*seed, *len as usize), "{context}: {name:?} of {}", snapshot.id);
    }
}

#[test]
fn no_frozen_repository_is_missing() {
    let folders = std::fs::read_dir(root()).expect("folder").flatten().filter(|entry| entry.path().is_dir());
    let found: BTreeSet<String> = folders.map(|entry| entry.file_name().into_string().expect("a name")).collect();
    let listed = FROZEN.iter().map(|frozen| frozen.folder.to_owned()).collect();
    assert_eq!(found, listed, "the list and the folders");
    for frozen in &FROZEN {
        let bytes = std::fs::read(root().join(frozen.folder).join("format")).expect("header");
        let header = Header::decode(&bytes).expect("header");
        assert_eq!(header.features, frozen.features, "{}", frozen.folder);
        assert_eq!(bytes[8..10], frozen.version.to_le_bytes(), "{}", frozen.folder);
    }
    let newest = FROZEN.last().expect("one");
    assert_eq!((newest.version, newest.features), (VERSION, FEATURES_KNOWN), "what is written today is not frozen yet");
}

#[test]
fn every_kind_of_record_object_and_slot_is_in_a_frozen_repository() {
    let mut held = BTreeSet::new();
    for frozen in &FROZEN {
        let harness = thawed(frozen);
        let repo = harness.repository();
        audit(&repo, &AuditFilter::default(), None, &Silent, &mut |entry| {
            held.insert(format!("record {}", entry.word));
            Ok(())
        })
        .expect("audit");
        held.extend(keys::list(&repo).expect("slots").iter().map(|slot| format!("slot {}", slot.kind)));
        for key in harness.memory.objects().into_keys() {
            let parts: Vec<&str> = key.as_str().split('/').collect();
            let deep = matches!(parts[0], "packs" | "parity" | "index");
            held.insert(format!("object {}", parts[..if deep { 2 } else { 1 }].join("/")));
        }
    }
    held.remove("object log");
    let expected = KINDS.iter().filter(|kind| !NOT_YET_FROZEN.contains(kind)).map(|kind| (*kind).to_owned()).collect();
    assert_eq!(held, expected);
}

#[test]
fn every_frozen_repository_gives_everything_back_and_can_be_worked_with() {
    for frozen in &FROZEN {
        (frozen.check)(&thawed(frozen), frozen.folder);
        let harness = thawed(frozen);
        let more = source(&[("more", 9, 9000)]);
        let id = harness.backup_source(&more, "more").expect("backup").snapshot.expect("a snapshot");
        let (to, _) = harness.restore_with(&id, &RestoreOptions::default());
        assert!(std::fs::read(to.path().join("more")).expect("file") == common::noise(9, 9000));
        let repo = harness.repository();
        let plan = gc::plan(&repo, &PruneOptions::default(), &Silent).expect("plan");
        plan.run(&Silent).expect("pruned");
        (frozen.check)(&harness.somebody_else(), &format!("{} used", frozen.folder));
    }
}

/// Also how a frozen repository is made: with `FREEZE` naming a new folder, what was checked is kept there.
#[test]
fn repositories_made_the_way_the_frozen_ones_were_give_everything_back() {
    for frozen in &FROZEN {
        let harness = Harness { credentials: password(PASSWORD), ..Harness::over(Arc::new(MemorySink::new())) };
        (frozen.make)(&harness, environment(&harness));
        (frozen.check)(&harness, "made now");
        if option_env!("FREEZE") == Some(frozen.folder) {
            let root = root().join(frozen.folder);
            assert!(!root.exists(), "a frozen repository is never made again");
            for (key, bytes) in harness.memory.objects() {
                let file = root.join(key.as_str());
                std::fs::create_dir_all(file.parent().expect("folder")).expect("folder");
                std::fs::write(file, bytes).expect("object");
            }
        }
    }
}
