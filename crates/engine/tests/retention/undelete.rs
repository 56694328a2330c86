//! Giving back, before and after space was reclaimed.

use super::{World, append, hide};
use crate::common::Harness;
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::options::Effect;
use decube_backup_engine::undelete::undelete;
use decube_backup_format::ids::{PackKind, PackName, SnapshotId, pack_key};
use decube_backup_format::log::{ObjectName, Payload};
use std::collections::BTreeSet;

/// Takes packs out of force and deletes them, as a collector does.
fn reclaim(harness: &Harness, packs: &BTreeSet<PackName>) {
    append(&harness.repository(), Payload::Reclaim, packs.iter().map(|p| ObjectName::Pack(*p)).collect());
    for pack in packs {
        harness.memory.remove(&pack_key(pack).expect("a name")).expect("there");
    }
}

fn packs(harness: &Harness) -> BTreeSet<PackName> {
    harness.repository().state().live_packs().map(|(name, _)| name).collect()
}

fn give_back(harness: &Harness, ids: &[SnapshotId]) -> decube_backup_core::Result<Vec<SnapshotId>> {
    undelete(&harness.repository(), ids, Effect::Real, ("host", "user"), &Silent)
}

#[test]
fn forgotten_snapshots_are_given_back_whole() {
    let world = World::new();
    let first = world.backup(0, 0);
    let before = tempfile::tempdir().expect("temp");
    std::fs::copy(world.tree.path().join("a"), before.path().join("a")).expect("copied");
    world.write("a", 2);
    let second = world.backup(1, 0);
    hide(&world.harness, &[first]);
    assert_eq!(world.live(), [second]);
    assert_eq!(give_back(&world.harness, &[first]).expect("whole"), [first]);
    assert_eq!(world.live(), [first, second]);
    assert!(give_back(&world.harness, &[first]).expect("live already").is_empty());
    // A Reclaim of what it does not need: the tree is walked, and stands.
    hide(&world.harness, &[first]);
    let unneeded = packs(&world.harness);
    world.write("b", 3);
    let third = world.backup(2, 0);
    hide(&world.harness, &[third]);
    let unneeded = packs(&world.harness).difference(&unneeded).copied().collect();
    reclaim(&world.harness, &unneeded);
    assert_eq!(give_back(&world.harness, &[first]).expect("whole"), [first]);
    world.harness.assert_sound("given back");
    let (to, report) = world.harness.restore(&first, world.tree.path());
    assert!(report.problems.is_empty(), "{:?}", report.problem_list);
    let read = |path: &std::path::Path| std::fs::read(path.join("a")).expect("read");
    assert_eq!(read(to.path()), read(before.path()));
}

#[test]
fn a_snapshot_whose_content_was_reclaimed_stays_forgotten() {
    for kind in [PackKind::Data, PackKind::Meta] {
        let world = World::new();
        let kept = world.backup(0, 0);
        let shared = packs(&world.harness);
        world.write("only here", 5);
        let gone = world.backup(1, 0);
        hide(&world.harness, &[gone]);
        let own = packs(&world.harness).difference(&shared).filter(|pack| pack.kind == kind).copied().collect();
        reclaim(&world.harness, &own);
        let error = give_back(&world.harness, &[gone]).expect_err("reclaimed");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let expected = if kind == PackKind::Data { "only here" } else { "lost_directory_parts" };
        assert!(error.chain().contains(expected), "{}", error.chain());
        assert_eq!(world.live(), [kept]);
        world.harness.assert_sound("nothing given back");
    }
}

#[test]
fn space_reclaimed_while_a_snapshot_is_given_back_is_noticed() {
    let world = World::new();
    let kept = world.backup(0, 0);
    let shared = packs(&world.harness);
    world.write("only here", 6);
    let gone = world.backup(1, 0);
    hide(&world.harness, &[gone]);
    let other = world.other();
    world.store.before_next_record(move || {
        let own = packs(&other).difference(&shared).copied().collect();
        reclaim(&other, &own);
    });
    let error = give_back(&world.harness, &[gone]).expect_err("reclaimed meanwhile");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(world.live(), [kept]);
    world.harness.assert_sound("reclaimed meanwhile");
}
