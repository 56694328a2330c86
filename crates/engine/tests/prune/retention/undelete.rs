//! Giving back, before and after space was reclaimed.

use super::{World, append, hide};
use crate::common::Harness;
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::options::Effect;
use decube_backup_engine::undelete::{GivenBack, undelete};
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
    give_back_telling(harness, ids, Effect::Real).map(|given| {
        assert!(given.damaged.is_empty(), "{given:?}");
        given.shown
    })
}

fn give_back_telling(harness: &Harness, ids: &[SnapshotId], effect: Effect) -> decube_backup_core::Result<GivenBack> {
    undelete(&harness.repository(), ids, effect, ("host", "user"), &Silent)
}

/// A forgotten snapshot whose own packs of `kind` are gone, a sound one beside it, and those packs. With `Reclaimed::Some` space
/// that none of them needs was freed before.
fn damaged(kind: PackKind, reclaimed: Reclaimed) -> (World, SnapshotId, SnapshotId, BTreeSet<PackName>) {
    let world = World::new();
    world.backup(0, 0);
    let shared = packs(&world.harness);
    world.write("only here", 5);
    let hit = world.backup(1, 0);
    let own: BTreeSet<PackName> =
        packs(&world.harness).difference(&shared).filter(|pack| pack.kind == kind).copied().collect();
    std::fs::remove_file(world.tree.path().join("only here")).expect("removed");
    let sound = world.backup(2, 0);
    if reclaimed == Reclaimed::Some {
        let before = packs(&world.harness);
        world.write("garbage", 9);
        let garbage = world.backup(3, 0);
        hide(&world.harness, &[garbage]);
        let unneeded = packs(&world.harness).difference(&before).copied().collect();
        reclaim(&world.harness, &unneeded);
    }
    hide(&world.harness, &[hit, sound]);
    (world, hit, sound, own)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reclaimed {
    Nothing,
    Some,
}

#[test]
fn what_is_given_back_damaged_is_told_of() {
    for (kind, reclaimed) in
        [(PackKind::Data, Reclaimed::Nothing), (PackKind::Data, Reclaimed::Some), (PackKind::Meta, Reclaimed::Nothing)]
    {
        let context = format!("{kind:?} {reclaimed:?}");
        let (world, hit, sound, own) = damaged(kind, reclaimed);
        for pack in &own {
            world.harness.memory.remove(&pack_key(pack).expect("a name")).expect("there");
        }
        for (harness, effect) in [(&world.other(), Effect::DryRun), (&world.harness, Effect::Real)] {
            let given = give_back_telling(harness, &[hit, sound], effect).expect(&context);
            assert_eq!(given.shown, [hit, sound], "{context}");
            assert_eq!(given.damaged.len(), 1, "{context}: {given:?}");
            let told = &given.damaged[0];
            assert_eq!(told.snapshot, hit, "{context}");
            match kind {
                PackKind::Data => {
                    assert!(told.files == 1 && told.first[0].ends_with("only here"), "{context}: {told:?}")
                }
                PackKind::Meta => assert!(told.directory_parts > 0, "{context}: {told:?}"),
            }
        }
        assert_eq!(world.live().len(), 3, "{context}");
    }
    // Known by the log alone.
    let (world, hit, _, own) = damaged(PackKind::Data, Reclaimed::Nothing);
    let found = Payload::Damaged { packs: own.into_iter().collect(), healed: Vec::new() };
    append(&world.harness.repository(), found, Vec::new());
    let given = give_back_telling(&world.harness, &[hit], Effect::Real).expect("given back");
    assert_eq!(given.damaged[0].files, 1, "{given:?}");
}

/// What was reclaimed below a node that cannot be read nobody knows.
#[test]
fn a_tree_that_cannot_be_read_stays_forgotten_where_space_was_reclaimed() {
    let (world, hit, sound, own) = damaged(PackKind::Meta, Reclaimed::Some);
    for pack in &own {
        world.harness.memory.remove(&pack_key(pack).expect("a name")).expect("there");
    }
    let error = give_back(&world.other(), &[hit]).expect_err("unreadable");
    assert!(error.hint().is_some_and(|hint| hint.contains("stays forgotten")), "{}", error.chain());
    assert_eq!(give_back(&world.harness, &[sound]).expect("whole"), [sound]);
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
