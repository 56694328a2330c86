//! What could not be read, kept or given back is said, counted and recorded.

use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::nowhere::{Into, Nowhere};
use crate::common::{Harness, noise, path, plant, series, small_packs, source_of};
use decube_backup_backend_fs::source::{FsSource, MissingRoots, SourceOptions};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind};
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use decube_backup_engine::options::{RestoreOptions, SnapshotFilter};
use decube_backup_engine::{backup, restore};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

fn file(name: &str, seed: u64, len: u64, behaviour: Behaviour) -> MadeUpFile {
    MadeUpFile { path: path(name), seed, len, behaviour }
}

#[test]
fn every_way_a_file_can_fail_is_counted_and_the_others_are_kept() {
    // (behaviour, problem, whether the file is in the snapshot)
    let cases = [
        (Behaviour::Fine, None, true),
        (Behaviour::Unreadable, Some(ProblemKind::Unreadable), false),
        (Behaviour::Vanished, Some(ProblemKind::Vanished), false),
        (Behaviour::Breaks, Some(ProblemKind::Unreadable), false),
        (Behaviour::Shrinks, Some(ProblemKind::Changed), true),
        (Behaviour::Changes, Some(ProblemKind::Changed), true),
        (Behaviour::Shy, Some(ProblemKind::Attribute), true),
        (Behaviour::Overloaded, Some(ProblemKind::Attribute), true),
        (Behaviour::Unlisted, Some(ProblemKind::Unreadable), false),
    ];
    // Stored in the tree, in a chunk, as a stream.
    for len in [100u64, 10_000, 3_000_000] {
        for (behaviour, problem, kept) in cases {
            let context = format!("{behaviour:?} {len}");
            let harness = Harness::with_repository(&small_packs());
            let source = MadeUp::new(vec![
                file("a", 1, 5000, Behaviour::Fine),
                file("b", 2, len, behaviour),
                file("c", 3, 5000, Behaviour::Fine),
            ]);
            let report = harness.backup_source(&source, "made up").expect(&context);
            let expected: BTreeMap<ProblemKind, u64> = problem.into_iter().map(|kind| (kind, 1)).collect();
            assert_eq!(report.problems, expected, "{context}");
            assert_eq!(report.problem_list.len(), expected.len(), "{context}");
            assert!(report.problem_list.iter().all(|p| p.path == b"b"), "{context}");
            let id = report.snapshot.expect("a snapshot");
            assert_eq!(harness.snapshot(&id).manifest.problems_total, expected, "{context}");
            assert_eq!(report.entries, if kept { 4 } else { 3 }, "{context}");
            let (to, restored) = harness.restore_with(&id, &RestoreOptions::default());
            assert!(restored.problems.is_empty(), "{context}: {restored:?}");
            for (name, seed) in [("a", 1), ("c", 3)] {
                assert!(std::fs::read(to.path().join(name)).expect(&context) == noise(seed, 5000), "{context}");
            }
            let there = std::fs::read(to.path().join("b")).ok();
            let whole = noise(2, len as usize);
            let half = &whole[..whole.len() / 2];
            match behaviour {
                _ if !kept => assert_eq!(there, None, "{context}"),
                Behaviour::Shrinks => assert!(there.as_deref() == Some(half), "{context}"),
                _ => assert!(there.as_ref() == Some(&whole), "{context}"),
            }
            harness.assert_sound(&context);
            // What was not read whole is read again and told again, what was is not.
            source.take_opened();
            let next = harness.backup_source(&source, "made up").expect(&context);
            let again = problem.is_some() && behaviour != Behaviour::Unlisted;
            assert_eq!((source.take_opened(), next.problems), (u64::from(again), expected), "{context}");
        }
    }
}

#[test]
fn a_hard_link_whose_first_name_cannot_be_read_is_read_by_the_next_one() {
    for len in [100u64, 10_000, 3_000_000] {
        for (lost, kind) in [
            (Behaviour::Vanished, ProblemKind::Vanished),
            (Behaviour::Unreadable, ProblemKind::Unreadable),
            (Behaviour::Breaks, ProblemKind::Unreadable),
        ] {
            let context = format!("{lost:?} {len}");
            let harness = Harness::with_repository(&small_packs());
            let files = vec![
                file("a", 1, len, lost),
                file("b", 1, len, lost),
                file("c", 1, len, Behaviour::Fine),
                file("d", 2, 5000, Behaviour::Fine),
                file("e", 1, len, Behaviour::Fine),
            ];
            let source = MadeUp { linked: true, ..MadeUp::new(files) };
            let report = harness.backup_source(&source, "made up").expect(&context);
            assert_eq!(report.problems, BTreeMap::from([(kind, 2)]), "{context}");
            assert_eq!((report.entries, source.take_opened()), (4, 4), "{context}: e is known by c");
            let (to, restored) =
                harness.restore_with(&report.snapshot.expect("a snapshot"), &RestoreOptions::default());
            assert!(restored.problems.is_empty(), "{context}: {restored:?}");
            assert!(std::fs::read(to.path().join("c")).expect(&context) == noise(1, len as usize), "{context}");
            let inode = |name: &str| std::fs::metadata(to.path().join(name)).expect(&context).ino();
            assert_eq!(inode("c"), inode("e"), "{context}");
            harness.assert_sound(&context);
        }
    }
}

#[test]
fn a_missing_root_fails_unless_it_is_declared_optional() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 1);
    let roots = vec![tree.path().join("a"), tree.path().join("not there")];
    let harness = Harness::with_repository(&small_packs());
    let strict = FsSource::new(SourceOptions::new(roots.clone(), "/")).expect("source");
    let error = harness.backup_source(&strict, "tree").expect_err("a root is missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(harness.repository().snapshots(&SnapshotFilter::default()).is_empty());
    let lenient = SourceOptions { missing_roots: MissingRoots::Report, ..SourceOptions::new(roots, "/") };
    let report = harness.backup_source(&FsSource::new(lenient).expect("source"), "tree").expect("backup");
    assert_eq!(report.problems.get(&ProblemKind::MissingSource), Some(&1));
    harness.assert_restores(&report.snapshot.expect("a snapshot"), &tree.path().join("a"), "the other root");
}

/// Asks to stop after so many problems or entries; remembers what it was told.
#[derive(Default)]
struct Listener {
    stop: AtomicBool,
    problems: Mutex<Vec<Problem>>,
}

impl Monitor for Listener {
    fn at(&self, path: &[u8]) {
        if path.ends_with(b"b/020") {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
    fn problem(&self, problem: &Problem) {
        self.problems.lock().expect("lock").push(problem.clone());
    }
    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

#[test]
fn a_backup_asked_to_stop_stops_and_publishes_nothing() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 2);
    let harness = Harness::with_repository(&small_packs());
    let listener = Listener::default();
    let stopped = backup::backup(&harness.repository(), &source_of(tree.path()), &series("tree"), &listener);
    assert_eq!(stopped.expect_err("stopped").kind(), ErrorKind::Interrupted);
    assert!(harness.repository().snapshots(&SnapshotFilter::default()).is_empty());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    harness.assert_restores(&id, tree.path(), "after a stop");
}

/// A destination that cannot take some names.
struct Picky;

impl Nowhere for Picky {
    fn takes(&self, path: &EntryPath) -> Result<()> {
        match path.name() {
            b"text" | b"er" | b"link" => Err(Error::new(ErrorKind::NoSpace, "write", "no room").with("path", path)),
            _ => Ok(()),
        }
    }

    fn finished(&self, path: &EntryPath) -> Vec<Problem> {
        let odd = path.name() == b"noise";
        odd.then(|| Problem::new(ProblemKind::Attribute, path.as_bytes().to_vec(), "no such attribute here"))
            .into_iter()
            .collect()
    }
}

#[test]
fn what_a_destination_cannot_take_is_reported_and_the_rest_is_written() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 3);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let options = RestoreOptions { subtree: crate::common::inside(tree.path()), ..RestoreOptions::default() };
    let listener = Listener::default();
    let report =
        restore::restore(&harness.repository(), &harness.snapshot(&id), &options, &Into(Arc::new(Picky)), &listener)
            .expect("restore");
    let expected = BTreeMap::from([(ProblemKind::Unwritable, 4), (ProblemKind::Attribute, 1)]);
    assert_eq!(report.problems, expected, "{:?}", report.problem_list);
    assert_eq!(listener.problems.lock().expect("lock").len(), 5, "said as it happens, too");
    assert_eq!(report.files_restored, 45 - 2, "all but the refused one and the one in the refused directory");
}
