//! Content stored twice, as two writers at once leave it: one copy may be damaged, and nothing is lost.

use crate::common::source::Interrupting;
use crate::common::{ALL_DATA, Harness, inside, noise, plant, series, small_packs, source_of};
use decube_backup_core::monitor::{ProblemKind, Silent};
use decube_backup_core::{ErrorKind, Key};
use decube_backup_engine::options::VerifyDepth;
use decube_backup_engine::{backup, dump};
use decube_backup_format::ids::SnapshotId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Stored in chunks by both writers.
const FILE: &str = "z";

struct Twice {
    harness: Harness,
    tree: tempfile::TempDir,
    snapshots: [SnapshotId; 2],
    /// Dropped last.
    _alone: MutexGuard<'static, ()>,
}

/// The folders above a tree are in its snapshots with their times: while this is held, nobody makes or removes folders there.
static ALONE: Mutex<()> = Mutex::new(());

/// One tree, backed up by two at once: neither knows of the other's chunks.
fn twice() -> Twice {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temp");
    plant(tree.path(), 5);
    std::fs::write(tree.path().join(FILE), noise(6, 900_000)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    let (other, path, theirs) = (harness.somebody_else(), tree.path().to_owned(), Arc::new(Mutex::new(None)));
    let told = theirs.clone();
    let source = Interrupting::new(source_of(tree.path()), FILE, move || {
        *told.lock().expect("lock") = other.backup(&path, "theirs").snapshot;
    });
    let ours = backup::backup(&harness.repository(), &source, &series("ours"), &Silent).expect("backup").snapshot;
    let theirs = theirs.lock().expect("lock").take();
    Twice { harness, tree, snapshots: [ours.expect("a snapshot"), theirs.expect("a snapshot")], _alone: alone }
}

impl Twice {
    fn packs(&self, kind: &str) -> Vec<Key> {
        self.harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with(kind)).collect()
    }

    /// The same store with `damage` done to it.
    fn damaged(&self, damage: impl FnOnce(&Harness)) -> Harness {
        let image = self.harness.on_image(self.harness.memory.objects());
        damage(&image);
        image
    }

    fn assert_comes_back(&self, harness: &Harness, context: &str) {
        for id in &self.snapshots {
            harness.assert_restores(id, self.tree.path(), context);
            let mut dumped = Vec::new();
            let path = inside(self.tree.path()).join(FILE.as_bytes()).expect("path");
            dump::dump_file(&harness.repository(), &harness.snapshot(id), &path, &mut dumped).expect(context);
            assert!(dumped == noise(6, 900_000), "{context}: dumped otherwise");
        }
    }
}

#[test]
fn what_one_damaged_pack_held_comes_back_from_another() {
    let twice = twice();
    for key in [twice.packs("packs/d/"), twice.packs("packs/m/")].concat() {
        let len = twice.harness.memory.objects()[&key].len();
        for place in [len / 5, len / 2] {
            let context = format!("{key}, byte {place}");
            let harness = twice.damaged(|image| image.memory.flip_byte(&key, place).expect("damaged"));
            twice.assert_comes_back(&harness, &context);
            let report = harness.verify(ALL_DATA);
            assert!(report.damages.iter().all(|d| d.object == key.as_str()), "{context}: {:?}", report.damages);
            assert!(!report.damages.is_empty(), "{context}");
            assert_eq!((report.affected_count, report.affected.len()), (0, 0), "{context}");
            if key.as_str().starts_with("packs/d/") {
                assert!(report.spared_count >= 2 && report.spared.len() as u64 == report.spared_count, "{context}");
            }
        }
        let context = format!("{key} removed");
        let harness = twice.damaged(|image| image.memory.remove(&key).expect("damaged"));
        twice.assert_comes_back(&harness, &context);
        let report = harness.verify(VerifyDepth::Structure);
        assert_eq!((report.damages.len(), report.affected_count), (1, 0), "{context}: {:?}", report.damages);
    }
}

#[test]
fn what_every_copy_lost_is_named() {
    let twice = twice();
    let harness = twice.damaged(|image| {
        for key in twice.packs("packs/d/") {
            for byte in (100..image.memory.objects()[&key].len()).step_by(5000) {
                image.memory.flip_byte(&key, byte).expect("damaged");
            }
        }
    });
    let path = inside(twice.tree.path()).join(FILE.as_bytes()).expect("path");
    let report = harness.verify(ALL_DATA);
    for id in &twice.snapshots {
        let named = report.affected.iter().any(|a| a.snapshot == id.to_hex() && a.path == path.as_bytes());
        assert!(named, "{:?}", report.affected);
        let (to, restored) = harness.restore(id, twice.tree.path());
        let problem = restored.problem_list.iter().find(|p| p.path == FILE.as_bytes()).expect("named");
        assert_eq!(problem.kind, ProblemKind::Damaged, "{problem:?}");
        assert!(std::fs::read(to.path().join("inline")).is_ok(), "what is not in these packs comes back");
        let error =
            dump::dump_file(&harness.repository(), &harness.snapshot(id), &path, &mut Vec::new()).expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}

#[test]
fn a_sound_repository_has_nothing_spared() {
    let twice = twice();
    let report = twice.harness.verify(ALL_DATA);
    assert_eq!((report.damages.len(), report.affected_count, report.spared_count), (0, 0, 0));
    twice.assert_comes_back(&twice.harness, "sound");
}
