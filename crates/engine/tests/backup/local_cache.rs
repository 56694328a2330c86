//! The cache folder only makes things faster: gone, stale, torn or somebody else's, results are right.

use crate::common::source::Counting;
use crate::common::{Harness, plant, small_packs, source_of};
use decube_backup_engine::options::SnapshotFilter;
use std::fs;
use std::path::{Path, PathBuf};

fn cache_of(harness: &Harness) -> &Path {
    harness.cache.as_ref().expect("a cache").path()
}

/// Every file under the cache folder.
fn files(harness: &Harness) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![cache_of(harness).to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("cache").flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}

fn copy_cache(from: &Harness, to: &Harness) {
    for file in files(from) {
        let inside = file.strip_prefix(cache_of(from)).expect("inside");
        let target = cache_of(to).join(inside);
        fs::create_dir_all(target.parent().expect("folder")).expect("folder");
        fs::copy(file, target).expect("copied");
    }
}

/// Two snapshots, then a third after `meddle`: all is right whatever happened to the cache.
fn check(context: &str, meddle: impl Fn(&Harness, &Harness)) {
    let (one, two) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    plant(one.path(), 1);
    plant(two.path(), 2);
    let harness = Harness::with_repository(&small_packs());
    let first = harness.backup(one.path(), "tree").snapshot.expect("a snapshot");
    let stale = harness.somebody_else();
    copy_cache(&harness, &stale);
    let second = harness.backup(two.path(), "tree").snapshot.expect("a snapshot");
    meddle(&harness, &stale);
    harness.assert_restores(&first, one.path(), context);
    let third = harness.backup(one.path(), "tree").snapshot.expect("a snapshot");
    harness.assert_sound(context);
    for (id, tree) in [(first, &one), (second, &two), (third, &one)] {
        harness.assert_restores(&id, tree.path(), context);
    }
    assert_eq!(harness.repository().snapshots(&SnapshotFilter::default()).len(), 3, "{context}");
}

#[test]
fn a_deleted_cache_costs_only_time() {
    check("deleted", |harness, _| {
        for file in files(harness) {
            fs::remove_file(file).expect("removed");
        }
    });
}

#[test]
fn a_stale_cache_is_caught_up() {
    check("stale", |harness, stale| {
        for file in files(harness) {
            fs::remove_file(file).expect("removed");
        }
        copy_cache(stale, harness);
    });
}

#[test]
fn a_truncated_cache_is_not_trusted() {
    for keep in [0, 1, 40, 200] {
        check(&format!("cut to {keep} bytes"), |harness, _| {
            for file in files(harness) {
                let bytes = fs::read(&file).expect("read");
                fs::write(&file, &bytes[..keep.min(bytes.len().saturating_sub(1))]).expect("written");
            }
        });
    }
}

#[test]
fn a_garbled_cache_is_not_trusted() {
    check("garbled", |harness, _| {
        for file in files(harness) {
            let mut bytes = fs::read(&file).expect("read");
            // Not the records of a stat cache: those are believed, as the file system they describe is.
            for byte in bytes.iter_mut().take(40) {
                *byte ^= 0x55;
            }
            fs::write(&file, bytes).expect("written");
        }
    });
}

#[test]
fn the_cache_of_another_repository_under_this_ones_name_is_not_trusted() {
    let other_tree = tempfile::tempdir().expect("temp");
    plant(other_tree.path(), 9);
    let mut other = Harness::with_repository(&small_packs());
    other.credentials = crate::common::key_file(1);
    other.backup(other_tree.path(), "tree");
    check("another's", |harness, _| {
        let mine = files(harness);
        let folder = mine[0].parent().expect("folder").to_owned();
        for file in files(&other) {
            fs::copy(&file, folder.join(file.file_name().expect("name"))).expect("copied");
        }
    });
}

#[test]
fn a_cache_folder_that_cannot_be_used_is_done_without() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 3);
    let file = tempfile::NamedTempFile::new().expect("temp");
    let harness = Harness::with_repository(&small_packs());
    for dir in [None, Some(file.path().to_owned())] {
        let mut env = harness.environment();
        env.cache_dir = dir;
        let repo = decube_backup_engine::Repository::open(env, &harness.credentials).expect("open");
        let silent = decube_backup_core::monitor::Silent;
        let source = source_of(tree.path());
        let report = decube_backup_engine::backup::backup(&repo, &source, &crate::common::series("tree"), &silent);
        harness.assert_restores(&report.expect("backup").snapshot.expect("a snapshot"), tree.path(), "no cache");
    }
}

#[test]
fn a_repository_rolled_back_is_read_anew_and_backed_up_to() {
    let (one, two) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    plant(one.path(), 1);
    plant(two.path(), 2);
    let harness = Harness::with_repository(&small_packs());
    let first = harness.backup(one.path(), "tree").snapshot.expect("a snapshot");
    let image = harness.memory.objects();
    harness.backup(two.path(), "tree");
    // Somebody puts yesterday's copy of the whole store in place; the cache remembers today.
    let rolled = Harness { cache: harness.cache.clone(), ..harness.on_image(image) };
    assert_eq!(rolled.repository().snapshots(&SnapshotFilter::default()).len(), 1);
    rolled.assert_restores(&first, one.path(), "rolled back");
    let again = rolled.backup(two.path(), "tree").snapshot.expect("a snapshot");
    rolled.assert_restores(&again, two.path(), "rolled back");
    rolled.assert_sound("rolled back");
}

#[test]
fn the_stat_cache_of_a_series_is_its_own() {
    let (one, two) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    plant(one.path(), 1);
    plant(two.path(), 2);
    let harness = Harness::with_repository(&small_packs());
    let (source_one, source_two) = (Counting::new(source_of(one.path())), Counting::new(source_of(two.path())));
    for _ in 0..2 {
        harness.backup_source(&source_one, "one").expect("backup");
        harness.backup_source(&source_two, "two").expect("backup");
    }
    source_one.take_opened();
    source_two.take_opened();
    harness.backup_source(&source_one, "one").expect("backup");
    harness.backup_source(&source_two, "two").expect("backup");
    assert!(source_one.take_opened().is_empty() && source_two.take_opened().is_empty());
}
