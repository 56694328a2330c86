//! Verifications beside a forget and a prune: what was pruned is not missing, and what is missing is still said.

use crate::common::moment::At;
use crate::common::records::{forget, packs};
use crate::common::{Harness, noise, small_packs};
use decube_backup_core::Result;
use decube_backup_core::monitor::{Monitor, Silent};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{Effect, Subset, VerifyDepth, VerifyReport};
use decube_backup_engine::repair::{self, RepairOptions};
use decube_backup_engine::verify::{self, VerifyOptions};
use decube_backup_format::ids::{IndexId, SnapshotId, pack_key};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

fn write(tree: &Path, name: &str, seed: u64, len: usize) {
    std::fs::write(tree.join(name), noise(seed, len)).expect("file");
}

/// The index segments in force.
fn indexes(harness: &Harness) -> BTreeSet<IndexId> {
    harness.repository().state().indexes().map(|(_, id, _)| id).collect()
}

/// A repository of which a prune moves, merges and deletes something of every kind once `gone` is forgotten.
struct Scene {
    harness: Harness,
    gone: Vec<SnapshotId>,
}

impl Scene {
    fn new() -> Self {
        let (kept, all) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
        for n in 0..6 {
            write(kept.path(), &format!("a{n}"), n, 100_000);
            write(all.path(), &format!("a{n}"), n, 100_000);
            write(all.path(), &format!("z{n}"), 20 + n, 100_000);
        }
        let harness = Harness::with_repository(&small_packs());
        let mut gone = vec![harness.backup(all.path(), "all").snapshot.expect("a snapshot")];
        harness.backup(kept.path(), "kept");
        // Index segments and packs enough to be put together.
        for n in 0..17 {
            write(kept.path(), "small", 40 + n, 5_000);
            gone.extend(harness.backup(kept.path(), "small").snapshot);
        }
        gone.pop();
        Self { harness, gone }
    }

    fn forget_and_prune(&self, by: &Harness) {
        for id in &self.gone {
            forget(by, *id);
        }
        let options =
            PruneOptions { max_unused: MaxUnused::Bytes(0), orphan_age: Duration::ZERO, ..PruneOptions::default() };
        gc::plan(&by.repository(), &options, &Silent).and_then(|plan| plan.run(&Silent)).expect("prune");
    }

    /// What `verify` says if all that happens when it comes to `phase`, and `then` something else.
    fn verified_while(
        &self,
        phase: &'static str,
        then: impl FnOnce(&Harness) + Send,
        verify: impl FnOnce(&Harness, &dyn Monitor) -> Result<VerifyReport>,
    ) -> VerifyReport {
        let (reader, other) = (self.harness.somebody_else(), self.harness.somebody_else());
        let before = (packs(&reader), indexes(&reader));
        let act = || {
            self.forget_and_prune(&other);
            then(&other);
        };
        let monitor = At::phase(phase, act);
        let report = verify(&reader, &monitor).expect("verified");
        assert!(monitor.done(), "no phase {phase}");
        let after = (packs(&other), indexes(&other));
        assert!(before.0.difference(&after.0).count() > 2, "packs were deleted");
        assert!(before.1.difference(&after.1).count() > 2, "index segments were merged");
        report
    }
}

const DEPTHS: [VerifyDepth; 3] = [VerifyDepth::Structure, VerifyDepth::Scrub, VerifyDepth::Data(Subset::All)];

fn with_keys(harness: &Harness, depth: VerifyDepth, monitor: &dyn Monitor) -> Result<VerifyReport> {
    verify::verify(&harness.repository(), &VerifyOptions { depth, snapshots: None }, monitor)
}

#[test]
fn what_a_prune_removes_meanwhile_is_not_damage() {
    for depth in DEPTHS {
        for phase in ["structure", "verify", "trees"] {
            let report =
                Scene::new().verified_while(phase, |_| {}, |harness, monitor| with_keys(harness, depth, monitor));
            assert!(report.damages.is_empty(), "{depth:?}, {phase}: {:#?} {:?}", report.damages, report.affected);
            assert_eq!(report.affected_count, 0, "{depth:?}, {phase}");
        }
    }
}

#[test]
fn nor_is_it_without_keys() {
    for phase in ["structure", "scrub"] {
        let report = Scene::new().verified_while(phase, |_| {}, |h, monitor| verify::scrub(&h.environment(), monitor));
        assert!(report.damages.is_empty(), "{phase}: {:#?}", report.damages);
    }
}

#[test]
fn what_is_missing_for_another_reason_is_said_beside_it() {
    for depth in DEPTHS {
        let scene = Scene::new();
        let before = packs(&scene.harness);
        let lose = |other: &Harness| {
            let staying = packs(other).into_iter().find(|pack| before.contains(pack)).expect("not all were moved");
            other.memory.remove(&pack_key(&staying).expect("a key")).expect("it was there");
        };
        let report = scene.verified_while("structure", lose, |harness, monitor| with_keys(harness, depth, monitor));
        let damages: Vec<&str> = report.damages.iter().map(|damage| damage.what.as_str()).collect();
        assert_eq!(damages, ["object is missing"], "{depth:?}");
        assert!(report.affected_count > 0, "{depth:?}");
    }
}

#[test]
fn nor_is_it_for_who_makes_parity() {
    for phase in ["structure", "parity"] {
        let repaired = |harness: &Harness, monitor: &dyn Monitor| {
            let with_parity = harness.somebody_else().with_parity(10);
            let options = RepairOptions { effect: Effect::Real, ..RepairOptions::default() };
            let report = repair::parity(&with_parity.repository(), &options, monitor)?;
            assert!(report.damaged.is_empty() && report.unreadable.is_empty(), "{phase}: {report:?}");
            Ok(VerifyReport::default())
        };
        Scene::new().verified_while(phase, |_| {}, repaired);
    }
}
