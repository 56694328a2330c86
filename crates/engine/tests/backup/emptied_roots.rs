//! A root in which nothing is any more is told of, until there is something in it again or somebody says that it is right so.

use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::{Harness, key_file, path, series, small_packs};
use decube_backup_backend_fs::source::exclude::Pattern;
use decube_backup_backend_fs::source::{FsSource, MissingRoots, SourceOptions};
use decube_backup_core::EntryPath;
use decube_backup_core::monitor::{ProblemKind, Silent};
use decube_backup_core::source::Source;
use decube_backup_engine::options::{BackupOptions, BackupReport, ChangeDetection, Effect, SnapshotFilter};
use decube_backup_engine::{Repository, backup, keys};
use std::path::{Path, PathBuf};

/// Somebody who reads what there is, and a host that only writes.
fn writers() -> [(&'static str, Harness); 2] {
    let admin = Harness::with_repository(&small_packs());
    keys::add_write_only(&admin.repository(), &key_file(2), "host", "the host").expect("added");
    let host = Harness { credentials: key_file(2), ..admin.somebody_else() };
    [("a full key", Harness::with_repository(&small_packs())), ("a write-only key", host)]
}

fn back_up(harness: &Harness, source: &dyn Source, options: &BackupOptions) -> BackupReport {
    let repository = Repository::open_to_write(harness.environment(), || Ok(harness.credentials.clone()));
    backup::backup(&repository.expect("opens"), source, options, &Silent).expect("backup")
}

/// The missing sources that a backup tells of: last names, sorted.
fn missing_of(report: &BackupReport) -> Vec<String> {
    let listed = report.problem_list.iter().filter(|p| p.kind == ProblemKind::MissingSource);
    let mut names: Vec<_> = listed
        .map(|p| EntryPath::new(p.path.clone()).expect("a path"))
        .map(|path| String::from_utf8_lossy(path.name()).into_owned())
        .collect();
    names.sort();
    assert_eq!(report.problems.get(&ProblemKind::MissingSource).copied().unwrap_or(0), names.len() as u64);
    names
}

/// Folders of a file system that are backed up again and again.
struct Disks {
    folder: tempfile::TempDir,
    roots: Vec<&'static str>,
    excluded: Option<&'static str>,
    harness: Harness,
}

impl Disks {
    fn new(harness: Harness, roots: &[&'static str]) -> Self {
        Self { folder: tempfile::tempdir().expect("temp"), roots: roots.to_vec(), excluded: None, harness }
    }
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    /// An empty directory in the place of whatever was there.
    fn empty(&self, name: &str) {
        self.gone(name);
        std::fs::create_dir_all(self.at(name)).expect("folder");
    }
    fn write(&self, name: &str) {
        std::fs::create_dir_all(self.at(name).parent().expect("a folder")).expect("folder");
        std::fs::write(self.at(name), name).expect("file");
    }
    fn gone(&self, name: &str) {
        let at = self.at(name);
        let _ = std::fs::remove_dir_all(&at).or_else(|_| std::fs::remove_file(&at));
    }
    fn report(&self, options: &BackupOptions) -> BackupReport {
        let roots = self.roots.iter().map(|name| self.at(name)).collect();
        let mut wanted = SourceOptions { missing_roots: MissingRoots::Report, ..SourceOptions::new(roots, "/") };
        wanted.exclude.patterns.extend(self.excluded.map(Pattern::new));
        back_up(&self.harness, &FsSource::new(wanted).expect("source"), options)
    }
    fn back_up(&self) -> Vec<String> {
        missing_of(&self.report(&series("tree")))
    }
    fn force(&self) -> Vec<String> {
        missing_of(&self.report(&BackupOptions { detection: ChangeDetection::ReadAll, ..series("tree") }))
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn it_is_told_of_until_the_disk_is_back_or_somebody_says_that_it_is_right_so() {
    for (whose, harness) in writers() {
        let world = Disks::new(harness, &["disk", "other"]);
        world.empty("disk");
        world.write("other/file");
        assert_eq!(world.back_up(), NOTHING, "{whose}: never was anything in it");
        world.write("disk/precious");
        assert_eq!(world.back_up(), NOTHING, "{whose}");
        world.empty("disk");
        for _ in 0..3 {
            let report = world.report(&series("tree"));
            assert_eq!(missing_of(&report), ["disk"], "{whose}");
            assert!(report.problem_list[0].message.contains("--force"), "{report:?}");
        }
        let dry = BackupOptions { effect: Effect::DryRun, ..series("tree") };
        assert_eq!(missing_of(&world.report(&dry)), ["disk"], "{whose}");
        let sure = BackupOptions { detection: ChangeDetection::ReadAll, ..dry };
        assert_eq!(missing_of(&world.report(&sure)), NOTHING, "{whose}");
        assert_eq!(world.back_up(), ["disk"], "{whose}: a dry run says nothing for good");
        assert_eq!((world.force(), world.back_up()), (vec![], vec![]), "{whose}: said to be right");
        world.write("disk/precious");
        assert_eq!(world.back_up(), NOTHING, "{whose}: mounted again");
    }
}

#[test]
fn snapshots_without_it_are_recorded_as_such() {
    let world = Disks::new(Harness::with_repository(&small_packs()), &["disk"]);
    world.write("disk/precious");
    world.back_up();
    world.empty("disk");
    world.back_up();
    world.back_up();
    let all = world.harness.repository().snapshots(&SnapshotFilter::default());
    let missing = all.iter().map(|s| s.manifest.problems_total.get(&ProblemKind::MissingSource).copied());
    assert_eq!(missing.collect::<Vec<_>>(), [None, Some(1), Some(1)]);
}

#[test]
fn one_that_was_missing_is_told_of_when_it_is_back_and_empty() {
    for (whose, harness) in writers() {
        let world = Disks::new(harness, &["a", "y", "z"]);
        world.write("a/file");
        world.gone("y");
        assert_eq!(world.back_up(), ["y", "z"], "{whose}: at the first backup");
        world.write("z/precious");
        assert_eq!(world.back_up(), ["y"], "{whose}");
        // What came while another was missing counts as well.
        world.empty("z");
        assert_eq!(world.back_up(), ["y", "z"], "{whose}");
        world.write("z/precious");
        world.write("y/file");
        assert_eq!(world.back_up(), NOTHING, "{whose}");
        world.gone("z");
        assert_eq!(world.back_up(), ["z"], "{whose}");
        world.empty("z");
        for _ in 0..2 {
            assert_eq!(world.back_up(), ["z"], "{whose}: the mount point is back, the disk is not");
        }
        world.write("z/precious");
        assert_eq!(world.back_up(), NOTHING, "{whose}");
    }
}

#[test]
fn one_that_lies_in_another_is_watched_too() {
    for (whose, harness) in writers() {
        let world = Disks::new(harness, &["srv", "srv/disk", "srv/disk/deep/er", "srv/disk"]);
        world.write("srv/file");
        world.write("srv/disk/file");
        world.write("srv/disk/deep/er/file");
        assert_eq!(world.back_up(), NOTHING, "{whose}");
        world.empty("srv/disk/deep/er");
        assert_eq!(world.back_up(), ["er"], "{whose}");
        world.empty("srv/disk");
        assert_eq!(world.back_up(), ["disk", "er"], "{whose}");
        world.gone("srv/disk");
        assert_eq!(world.back_up(), ["disk", "er"], "{whose}");
        world.empty("srv/disk/deep/er");
        assert_eq!(world.back_up(), ["er"], "{whose}: something is in the other");
        world.empty("srv/disk");
        // Only what is really empty: something is in `srv`, if only an empty directory.
        world.gone("srv/file");
        assert_eq!(world.back_up(), ["disk", "er"], "{whose}");
        world.empty("srv");
        assert_eq!(world.back_up(), ["disk", "er", "srv"], "{whose}");
        world.empty("srv/disk/deep/er");
        world.write("srv/file");
        world.write("srv/disk/file");
        assert_eq!(world.back_up(), ["er"], "{whose}");
        world.write("srv/disk/deep/er/file");
        assert_eq!(world.back_up(), NOTHING, "{whose}");
    }
}

fn made_up(roots: &[&str], files: &[(&str, Behaviour)]) -> MadeUp {
    let file = |at: usize, (name, behaviour): &(&str, Behaviour)| MadeUpFile {
        path: if name.is_empty() { EntryPath::root() } else { path(name) },
        seed: at as u64,
        len: 100,
        behaviour: *behaviour,
    };
    let roots = roots.iter().map(|root| if root.is_empty() { EntryPath::root() } else { path(root) }).collect();
    let files = files.iter().enumerate().map(|(at, of)| file(at, of)).collect();
    MadeUp { roots, ..MadeUp::new(files) }
}

#[test]
fn everything_is_in_the_root_directory() {
    for (whose, harness) in writers() {
        let back_up = |files| missing_of(&back_up(&harness, &made_up(&["", "mnt"], files), &series("all")));
        let full = [("bin/true", Behaviour::Fine), ("mnt/file", Behaviour::Fine)];
        for _ in 0..3 {
            assert_eq!(back_up(&full), NOTHING, "{whose}");
        }
        let unmounted = [("bin/true", Behaviour::Fine), ("mnt", Behaviour::Folder)];
        assert_eq!((back_up(&unmounted), back_up(&unmounted)), (vec!["mnt".into()], vec!["mnt".into()]), "{whose}");
        assert_eq!(back_up(&[]), [""], "{whose}");
    }
}

#[test]
fn an_inner_root_that_cannot_be_read_or_come_to_is_missing() {
    let roots = ["srv", "srv/closed/disk"];
    for (whose, harness) in writers() {
        let with = |path, behaviour| {
            let source = made_up(&roots, &[("srv/a", Behaviour::Fine), (path, behaviour)]);
            missing_of(&back_up(&harness, &source, &series("all")))
        };
        assert_eq!(with("srv/closed/disk/file", Behaviour::Fine), NOTHING, "{whose}");
        assert_eq!(with("srv/closed/disk/file", Behaviour::Unlisted), NOTHING, "{whose}");
        assert_eq!(with("srv/closed/disk", Behaviour::Unlisted), ["disk"], "{whose}");
        assert_eq!(with("srv/closed/disk", Behaviour::Vanished), ["disk"], "{whose}");
        assert_eq!(with("srv/closed", Behaviour::Unlisted), ["closed"], "{whose}");
        assert_eq!(with("srv/closed/disk", Behaviour::Folder), ["disk"], "{whose}: empty since");
    }
}

#[test]
fn it_is_remembered_beside_any_number_of_other_problems() {
    for (whose, harness) in writers() {
        let names: Vec<String> = (0..1100).map(|n| format!("a/{n:04}")).collect();
        let back_up = |z| {
            let mut files: Vec<_> = names.iter().map(|name| (name.as_str(), Behaviour::Unreadable)).collect();
            files.push(z);
            let report = back_up(&harness, &made_up(&["a", "z"], &files), &series("all"));
            assert_eq!(report.problems.get(&ProblemKind::Unreadable), Some(&1100));
            missing_of(&report)
        };
        assert_eq!(back_up(("z/file", Behaviour::Fine)), NOTHING, "{whose}");
        for _ in 0..3 {
            assert_eq!(back_up(("z", Behaviour::Folder)), ["z"], "{whose}");
        }
        assert_eq!(back_up(("z/file", Behaviour::Fine)), NOTHING, "{whose}");
    }
}

#[test]
fn more_than_a_snapshot_lists_are_all_told_of_again() {
    for (whose, harness) in writers() {
        let roots: Vec<String> = (0..1100).map(|n| format!("disk{n:04}")).collect();
        let names: Vec<String> = roots.iter().map(|root| format!("{root}/file")).collect();
        let back_up = |files: &[String], behaviour| {
            let files: Vec<_> = files.iter().map(|name| (name.as_str(), behaviour)).collect();
            let roots: Vec<_> = roots.iter().map(String::as_str).collect();
            let report = back_up(&harness, &made_up(&roots, &files), &series("all"));
            report.problems.get(&ProblemKind::MissingSource).copied()
        };
        assert_eq!(back_up(&names, Behaviour::Fine), None, "{whose}");
        for _ in 0..3 {
            assert_eq!(back_up(&roots, Behaviour::Folder), Some(1100), "{whose}");
        }
    }
}

/// Where nobody can tell what was in it, it is not taken for right.
#[test]
fn an_empty_one_is_told_of_where_what_was_before_cannot_be_read() {
    let world = Disks::new(Harness::with_repository(&small_packs()), &["disk"]);
    world.write("disk/precious");
    world.back_up();
    world.empty("disk");
    for key in world.harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with("packs/m/")) {
        world.harness.memory.remove(&key).expect("removed");
    }
    let world = Disks { harness: world.harness.somebody_else(), ..world };
    let report = world.report(&series("tree"));
    assert_eq!(missing_of(&report), ["disk"]);
    assert!(report.problem_list[0].message.contains("cannot be read"), "{report:?}");
}

#[test]
fn all_empty_ones_are_told_of_where_the_list_of_those_missing_before_is_lost() {
    let world = Disks::new(Harness::with_repository(&small_packs()), &["disk", "other"]);
    world.write("disk/precious");
    world.empty("other");
    assert_eq!(world.back_up(), NOTHING);
    world.empty("disk");
    assert_eq!(world.back_up(), ["disk"]);
    let records = world.harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with("log/"));
    let record = records.max().expect("a record");
    // Without one behind it the snapshot would not be known at all.
    world.report(&series("another"));
    world.harness.memory.remove(&record).expect("removed");
    assert_eq!(world.back_up(), ["disk", "other"]);
}

#[test]
fn names_that_only_begin_alike_lie_in_nothing() {
    for emptied in ["a", "a-b", "a b"] {
        let world = Disks::new(Harness::with_repository(&small_packs()), &["a", "a-b", "a b"]);
        ["a/file", "a-b/file", "a b/file"].iter().for_each(|name| world.write(name));
        assert_eq!(world.back_up(), NOTHING);
        world.empty(emptied);
        assert_eq!((world.back_up(), world.back_up()), (vec![emptied.to_owned()], vec![emptied.to_owned()]));
    }
}

#[test]
fn a_directory_that_became_a_file_or_a_link_has_lost_what_was_in_it() {
    type Become = fn(&Path);
    let becomes: [Become; 2] = [
        |path| std::fs::write(path, "now a file").expect("file"),
        |path| std::os::unix::fs::symlink("elsewhere", path).expect("link"),
    ];
    for (whose, harness) in writers() {
        for (at, become_other) in becomes.into_iter().enumerate() {
            let context = format!("{whose} {at}");
            let harness = harness.somebody_else();
            let world = Disks::new(harness, &["disk", "file", "other"]);
            world.write("disk/precious");
            world.write("file");
            world.empty("other");
            assert_eq!(world.back_up(), NOTHING, "{context}");
            world.gone("disk");
            become_other(&world.at("disk"));
            assert_eq!((world.back_up(), world.back_up()), (vec!["disk".into()], vec!["disk".into()]), "{context}");
            assert_eq!((world.force(), world.back_up()), (vec![], vec![]), "{context}");
            // An empty directory has nothing to lose, and a file that comes back is no directory.
            world.gone("other");
            become_other(&world.at("other"));
            world.gone("file");
            assert_eq!(world.back_up(), ["file"], "{context}");
            world.write("file");
            assert_eq!((world.back_up(), world.back_up()), (vec![], vec![]), "{context}");
        }
    }
}

#[test]
fn what_is_said_is_true_of_one_of_which_all_is_excluded() {
    let mut world = Disks::new(Harness::with_repository(&small_packs()), &["disk"]);
    world.write("disk/precious");
    assert_eq!(world.back_up(), NOTHING);
    world.excluded = Some("precious");
    let report = world.report(&series("tree"));
    assert_eq!(missing_of(&report), ["disk"]);
    let message = &report.problem_list[0].message;
    assert!(message.starts_with("nothing in it is backed up any more") && message.contains("excluded"), "{message}");
}
