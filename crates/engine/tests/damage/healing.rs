//! Damage that is recorded is avoided, and the next backup of the source stores again what was lost.

use crate::common::damage::{self, Damage};
use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::{ALL_DATA, Harness, noise, plant, series, small_packs, source_of};
use decube_backup_core::Key;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::backup;
use decube_backup_engine::options::{
    BackupOptions, ChangeDetection, InitOptions, RestoreOptions, VerifyDepth, VerifyReport,
};
use decube_backup_engine::verify::{Recording, VerifyOptions, verify_and_record};
use decube_backup_format::chunker::ChunkerParams;
use decube_backup_format::ids::SnapshotId;
use std::path::{Path, PathBuf};

fn recorded(harness: &Harness, depth: VerifyDepth) -> VerifyReport {
    let who = Recording { host: "checker".into(), username: "root".into() };
    let options = VerifyOptions { depth, ..VerifyOptions::default() };
    verify_and_record(&harness.repository(), &options, &who, &Silent).expect("verify")
}

fn packs(harness: &Harness, prefix: &str) -> Vec<Key> {
    harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with(prefix)).collect()
}

fn damaged_packs(harness: &Harness) -> usize {
    harness.repository().state().damaged_packs().len()
}

/// Two snapshots of one series; the second has all the first has, and `more`.
fn two_snapshots(more: bool) -> (Harness, tempfile::TempDir, [SnapshotId; 2]) {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 30);
    let first = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    if more {
        std::fs::write(tree.path().join("more"), noise(7, 300_000)).expect("file");
    }
    let second = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    (harness, tree, [first, second])
}

/// The file `more` apart, both snapshots hold the tree as it is.
fn assert_both_restore(harness: &Harness, tree: &Path, [first, second]: [SnapshotId; 2], context: &str) {
    harness.assert_restores(&second, tree, context);
    let (to, report) = harness.restore(&first, tree);
    assert!(report.problems.is_empty(), "{context}: {:?}", report.problem_list);
    for name in ["inline", "a/text", "a/deep/noise", "a/deep/er/large", "b/039"] {
        let read = |root: &Path| std::fs::read(root.join(name)).expect("file");
        assert!(read(to.path()) == read(tree), "{context}: {name}");
    }
}

#[test]
fn a_backup_of_an_unchanged_source_heals_every_snapshot_that_shares_its_content() {
    let (harness, tree, snapshots) = two_snapshots(true);
    let objects = harness.memory.objects();
    let mut healed_files = 0;
    for key in packs(&harness, "packs/d/") {
        for damage in [Damage::Flip(500), Damage::Remove] {
            let context = format!("{key} {damage:?}");
            let user = harness.on_image(objects.clone());
            let before = user.backup(tree.path(), "tree");
            assert_eq!(before.files_healed, 0, "{context}: nothing is damaged yet");
            damage::apply(&user, &key, damage);
            let report = recorded(&user, ALL_DATA);
            assert_eq!((report.recorded.damaged, &report.recorded.problem), (1, &None), "{context}");
            assert!(report.affected_count > 0, "{context}");
            let healing = user.backup(tree.path(), "tree");
            healed_files += healing.files_healed;
            assert!(healing.files_healed > 0 && healing.bytes_new > 0, "{context}: {healing:?}");
            assert_eq!(healing.files_changed, 0, "{context}");
            let after = user.verify(ALL_DATA);
            assert_eq!(after.affected_count, 0, "{context}: {:?}", after.affected);
            assert!(after.damages.iter().all(|d| d.object == key.as_str()), "{context}: {:?}", after.damages);
            assert_both_restore(&user, tree.path(), snapshots, &context);
            let settled = user.backup(tree.path(), "tree");
            assert_eq!((settled.files_healed, settled.bytes_new), (0, 0), "{context}: healed once");
        }
    }
    assert!(healed_files > 0);
}

#[test]
fn a_lost_metadata_pack_is_healed_by_the_next_backup() {
    let files = (0..300u64).map(|n| MadeUpFile {
        path: crate::common::path(&format!("{:02}/{n:05}", n / 100)),
        seed: n,
        len: if n % 90 == 0 { 3_000_000 } else { 300 },
        behaviour: Behaviour::Fine,
    });
    let source = MadeUp::new(files.collect());
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup_source(&source, "made up").expect("backup").snapshot.expect("a snapshot");
    let objects = harness.memory.objects();
    for key in packs(&harness, "packs/m/") {
        for damage in [Damage::Flip(500), Damage::Flip(100), Damage::Remove] {
            let context = format!("{key} {damage:?}");
            let user = harness.on_image(objects.clone());
            user.backup_source(&source, "made up").expect("backup");
            damage::apply(&user, &key, damage);
            assert_eq!(recorded(&user, ALL_DATA).recorded.damaged, 1, "{context}");
            user.backup_source(&source, "made up").expect("backup");
            let after = user.verify(ALL_DATA);
            assert_eq!(after.affected_count, 0, "{context}: {:?}", after.damages);
            let (_, report) = user.restore_with(&id, &RestoreOptions::default());
            assert!(report.problems.is_empty() && report.files_restored == 300, "{context}: {report:?}");
        }
    }
}

/// Small files and one whose list of chunks fills a segment, which comes before all others.
fn large_and(count: u64) -> MadeUp {
    let file = |n: u64| MadeUpFile {
        path: crate::common::path(&format!("{:02}/{n:05}", n / 100)),
        seed: n,
        len: 300,
        behaviour: Behaviour::Fine,
    };
    let large = MadeUpFile { path: crate::common::path("+"), seed: 9, len: 12_000_000, behaviour: Behaviour::Fine };
    MadeUp::new([large].into_iter().chain((0..count).map(file)).collect())
}

/// The metadata packs that the user's cache holds.
fn kept_packs(user: &Harness) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(user.cache.as_ref().expect("a cache").path()).expect("listed").flatten();
    let kept = folders.flat_map(|folder| std::fs::read_dir(folder.path().join("packs.d")).into_iter().flatten());
    kept.map(|file| file.expect("listed").path()).collect()
}

/// The next backup, with one file more: the nodes around it are other ones, all the rest are the same. It comes back whole.
fn assert_next_is_whole(user: &Harness, detection: ChangeDetection, context: &str) {
    let options = BackupOptions { detection, ..series("made up") };
    let report = backup::backup(&user.repository(), &large_and(9001), &options, &Silent).expect(context);
    let (_, restored) =
        user.somebody_else().restore_with(&report.snapshot.expect("a snapshot"), &RestoreOptions::default());
    assert!(restored.problems.is_empty() && restored.files_restored == 9002, "{context}: {restored:?}");
}

fn large_repository(count: u64) -> Harness {
    let chunker = ChunkerParams::around(4 << 10);
    let harness = Harness::with_repository(&InitOptions { chunker, ..small_packs() });
    harness.backup_source(&large_and(count), "made up").expect("backup");
    harness
}

#[test]
fn a_backup_that_meets_an_unreadable_node_relies_on_no_other_unread() {
    let harness = large_repository(9000);
    let objects = harness.memory.objects();
    for key in packs(&harness, "packs/m/") {
        for damage in [Damage::Flip(300), Damage::Flip(500), Damage::Flip(800), Damage::Truncate(500), Damage::Remove] {
            for detection in [ChangeDetection::StatCache, ChangeDetection::ReadAll] {
                let context = format!("{key} {damage:?} {detection:?}");
                let user = harness.on_image(objects.clone());
                // It knows what did not change, and has no copy of the packs.
                user.backup_source(&large_and(9000), "made up").expect(&context);
                kept_packs(&user).iter().for_each(|file| std::fs::remove_file(file).expect("removed"));
                damage::apply(&user, &key, Damage::Flip(5));
                damage::apply(&user, &key, damage);
                assert_next_is_whole(&user, detection, &context);
            }
        }
    }
}

#[test]
fn a_backup_that_meets_an_unreadable_node_does_not_believe_its_cache() {
    let harness = large_repository(0);
    let with_list = packs(&harness, "packs/m/");
    harness.backup_source(&large_and(9000), "made up").expect("backup");
    let all = packs(&harness, "packs/m/");
    // All are gone. Those with the list of chunks are in the cache, those that would be read before are not.
    let is_with_list = |file: &PathBuf| {
        let name = file.file_name().expect("a name").to_string_lossy();
        with_list.iter().any(|key| key.as_str().ends_with(&*name))
    };
    let (kept, others): (Vec<_>, Vec<_>) = kept_packs(&harness).into_iter().partition(is_with_list);
    assert!(!kept.is_empty() && !others.is_empty(), "{kept:?} {others:?} {all:?}");
    others.iter().for_each(|file| std::fs::remove_file(file).expect("removed"));
    all.iter().for_each(|key| damage::apply(&harness, key, Damage::Remove));
    assert_next_is_whole(&harness, ChangeDetection::StatCache, "all gone");
}

#[test]
fn nothing_is_deduplicated_against_a_damaged_pack_by_anybody() {
    let (harness, tree, _) = two_snapshots(false);
    for key in packs(&harness, "packs/") {
        harness.memory.remove(&key).expect("removed");
    }
    // Missing packs show without reading anything.
    let report = recorded(&harness, VerifyDepth::Structure);
    assert_eq!(report.recorded.damaged as usize, damaged_packs(&harness));
    let other = harness.somebody_else();
    let again = other.backup(tree.path(), "elsewhere");
    assert!(again.chunks_new > 0, "{again:?}");
    other.assert_restores(&again.snapshot.expect("a snapshot"), tree.path(), "all packs were lost");
}

#[test]
fn a_pack_put_back_is_trusted_again_once_it_was_read() {
    let (harness, tree, snapshots) = two_snapshots(true);
    let key = packs(&harness, "packs/d/").remove(0);
    let whole = harness.memory.objects()[&key].clone();
    harness.memory.flip_byte(&key, whole.len() / 2).expect("damaged");
    recorded(&harness, ALL_DATA);
    assert_eq!(damaged_packs(&harness), 1);
    assert_eq!(recorded(&harness, ALL_DATA).recorded.damaged, 0, "known already");
    let structure = harness.verify(VerifyDepth::Structure);
    assert!(structure.damages.iter().any(|d| d.object == key.as_str()), "what is known to be damaged is told of");
    assert!(structure.affected_count > 0, "and what it hits");
    let put = harness.sink.put(&key, whole.into(), decube_backup_core::PutMode::Overwrite);
    harness.runtime.block_on(put).expect("put back");
    let report = recorded(&harness, ALL_DATA);
    assert_eq!((report.recorded.healed, damaged_packs(&harness)), (1, 0));
    harness.assert_sound("put back");
    assert_both_restore(&harness, tree.path(), snapshots, "put back");
    assert_eq!(harness.backup_source(&source_of(tree.path()), "tree").expect("backup").files_healed, 0);
}

#[test]
fn reading_everything_again_stores_again_what_is_not_there() {
    let (harness, tree, snapshots) = two_snapshots(false);
    let objects = harness.memory.objects();
    // Nobody has verified anything yet; what can be seen is that packs are missing or short.
    for (damage, kind) in [
        (Damage::Remove, "packs/d/"),
        (Damage::Truncate(500), "packs/d/"),
        (Damage::Remove, "packs/"),
        (Damage::Truncate(500), "packs/"),
    ] {
        let context = format!("{damage:?} {kind}");
        let user = harness.on_image(objects.clone());
        for key in packs(&harness, kind) {
            damage::apply(&user, &key, damage);
        }
        let options = BackupOptions { detection: ChangeDetection::ReadAll, ..series("tree") };
        let source = source_of(tree.path());
        let report = backup::backup(&user.repository(), &source, &options, &Silent).expect(&context);
        assert!(report.bytes_new > 0 && report.files_changed == 0, "{context}: {report:?}");
        user.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), &context);
        if kind == "packs/d/" {
            assert_both_restore(&user, tree.path(), snapshots, &context);
        }
    }
}
