//! How a restore reads and writes: what waits is on its way, what belongs together is written together.

use crate::common::nowhere::{Into, Nowhere};
use crate::common::{Harness, inside, noise, plant, small_packs};
use decube_backup_core::entry::{EntryKind, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind, Silent};
use decube_backup_core::target::{Existing, FileMode};
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use decube_backup_engine::options::{EntryFilter, InitOptions, RestoreOptions};
use decube_backup_engine::{Environment, Repository, restore};
use decube_backup_format::pack::PackHeader;
use decube_backup_testkit::{Op, RecordingSink};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Counter(AtomicUsize);

impl Nowhere for Counter {
    fn writes(&self, _: &EntryPath, _: Range<u64>, _: bool) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn what_several_files_share_is_written_to_each_in_one_piece() {
    let tree = tempfile::tempdir().expect("temp");
    for name in ["one", "two", "three"] {
        std::fs::write(tree.path().join(name), noise(7, 2_000_000)).expect("file");
    }
    let harness = Harness::with_repository(&InitOptions::default());
    let backup = harness.backup(tree.path(), "tree");
    assert!(backup.chunks_new >= 10, "{} chunks", backup.chunks_new);
    let snapshot = harness.snapshot(&backup.snapshot.expect("a snapshot"));
    let target = Into(Arc::new(Counter::default()));
    let report = restore::restore(&harness.repository(), &snapshot, &RestoreOptions::default(), &target, &Silent);
    assert_eq!(report.expect("restore").bytes_written, 6_000_000);
    let writes = target.0.0.load(Ordering::SeqCst);
    // And the last block of each.
    assert!(writes <= 3 * 3, "{writes} writes of {} chunks", 3 * backup.chunks_new);
}

/// Takes nothing before `wanted` reads of content were asked for, and says if it waited in vain.
struct Patient {
    recording: Arc<RecordingSink>,
    wanted: u64,
    in_vain: AtomicUsize,
}

impl Nowhere for Patient {
    fn writes(&self, _: &EntryPath, _: Range<u64>, _: bool) {
        let asked = || self.recording.tally(Op::Get, "packs/d/").calls >= self.wanted;
        let mut patience = 2000;
        while !asked() && self.in_vain.load(Ordering::SeqCst) == 0 {
            patience -= 1;
            if patience == 0 {
                self.in_vain.fetch_add(1, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn while_workers_write_what_comes_next_is_fetched() {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), noise(7, (4 * workers + 4) << 20)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    let through = harness.through(recording.clone());
    // Each worker alone asks for two things: a pack's header and segments.
    let patient = Patient { recording, wanted: 2 * workers as u64 + 1, in_vain: AtomicUsize::new(0) };
    let target = Into(Arc::new(patient));
    let options = RestoreOptions::default();
    restore::restore(&through.repository(), &through.snapshot(&id), &options, &target, &Silent).expect("restore");
    assert_eq!(target.0.in_vain.load(Ordering::SeqCst), 0);
}

#[test]
fn the_header_of_a_pack_is_asked_for_once_with_what_is_wanted_of_it() {
    let tree = tempfile::tempdir().expect("temp");
    for (seed, name) in [(1, "a"), (2, "b")] {
        std::fs::write(tree.path().join(name), noise(seed, 6 << 20)).expect("file");
    }
    let harness = Harness::with_repository(&InitOptions::default());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    let through = harness.through(recording.clone());
    let restored = |filter: Option<EntryFilter>| {
        recording.reset();
        let options = RestoreOptions { subtree: inside(tree.path()), filter, ..RestoreOptions::default() };
        let target = Into(Arc::new(Counter::default()));
        let report = restore::restore(&through.repository(), &through.snapshot(&id), &options, &target, &Silent);
        let reads = recording.calls().into_iter().filter(|call| call.op == Op::Get && call.key.starts_with("packs/d/"));
        let (headers, runs): (Vec<_>, Vec<_>) = reads.partition(|call| call.amount == PackHeader::BYTES as u64);
        assert!(report.expect("restore").bytes_written >= 6 << 20);
        (headers.len(), runs.len())
    };
    // A worker with the second run that is faster than the one with the first asks too: not each time.
    let fewest = |filter: Option<EntryFilter>| (0..20).map(|_| restored(filter.clone())).min();
    // It is read with the first segment.
    assert_eq!(fewest(None), Some((0, 4)));
    let second: EntryFilter = Arc::new(|entry| !entry.path.as_bytes().ends_with(b"/a"));
    assert_eq!(fewest(Some(second)), Some((1, 2)));
}

/// Holds two directories, and notes what it was asked for.
#[derive(Default)]
struct Partly(Mutex<BTreeSet<Vec<u8>>>);

impl Nowhere for Partly {
    fn existing(&self, path: &EntryPath) -> Option<Existing> {
        self.0.lock().expect("lock").insert(path.as_bytes().to_vec());
        let there = [&b""[..], b"a"].contains(&path.as_bytes());
        let mtime = Timestamp { seconds: 0, nanoseconds: 0 };
        there.then_some(Existing {
            kind: EntryKind::Directory,
            mtime,
            mtime_step_ns: 1,
            links: 1,
            inode: (0, 0),
            is_unfinished: false,
        })
    }
}

#[test]
fn in_a_directory_that_was_not_there_nothing_is_looked_for() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 5);
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let target = Into(Arc::new(Partly::default()));
    let options = RestoreOptions { subtree: inside(tree.path()), ..RestoreOptions::default() };
    let report = restore::restore(&harness.repository(), &harness.snapshot(&id), &options, &target, &Silent);
    assert_eq!(report.expect("restore").files_restored, 45);
    let asked = target.0.0.lock().expect("lock").clone();
    let wanted = ["", "a", "a/deep", "a/text", "b", "empty", "inline", "link"];
    assert_eq!(asked, wanted.iter().map(|path| path.as_bytes().to_vec()).collect());
}

/// Notes how each file is opened, and refuses the first opening of one.
#[derive(Default)]
struct Openings(Mutex<BTreeMap<Vec<u8>, Vec<FileMode>>>);

impl Nowhere for Openings {
    fn opens(&self, path: &EntryPath, mode: FileMode) -> Result<()> {
        let mut all = self.0.lock().expect("lock");
        let modes = all.entry(path.as_bytes().to_vec()).or_default();
        modes.push(mode);
        match (path.as_bytes(), modes.len()) {
            (b"000", 1) => Err(Error::new(ErrorKind::PermissionDenied, "test", "refused")),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_file_is_begun_once_and_only_what_was_begun_is_gone_on_with() {
    // All begin alike, so that one segment opens them all, more than stay open; the rest of each comes later.
    const FILES: usize = 400;
    let tree = tempfile::tempdir().expect("temp");
    for n in 0..FILES {
        let file = std::fs::File::create(tree.path().join(format!("{n:03}"))).expect("file");
        file.write_all_at(&noise(7, 20_000), 0).expect("written");
        file.write_all_at(&noise(100 + n as u64, 20_000), 1 << 20).expect("written");
    }
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let target = Into(Arc::new(Openings::default()));
    let options = RestoreOptions { subtree: inside(tree.path()), ..RestoreOptions::default() };
    // By one worker: two may finish files as fast as they are begun.
    let environment = Environment { threads: 1, ..harness.environment() };
    let repo = Repository::open(environment, &harness.credentials).expect("opens");
    let report = restore::restore(&repo, &harness.snapshot(&id), &options, &target, &Silent);
    assert_eq!(report.expect("restore").files_restored as usize, FILES - 1);
    let mut all = target.0.0.lock().expect("lock").clone();
    let refused = all.remove(&b"000"[..]).expect("opened");
    assert_eq!(refused.get(1), Some(&FileMode::New), "{refused:?}");
    let reopened = all.values().filter(|modes| modes.len() > 1).count();
    assert!(reopened > 0, "all stayed open");
    for (name, modes) in all {
        assert_eq!(modes.first(), Some(&FileMode::New), "{name:?}");
        assert!(modes.iter().skip(1).all(|mode| *mode == FileMode::Continue), "{name:?} {modes:?}");
    }
}

/// Gives no file its length, and counts what was opened again.
#[derive(Default)]
struct Unsettled(AtomicUsize);

impl Nowhere for Unsettled {
    fn opens(&self, path: &EntryPath, mode: FileMode) -> Result<()> {
        if path.name() == b"large" && mode == FileMode::Continue {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
    fn settles(&self) -> Result<()> {
        Err(Error::new(ErrorKind::NoSpace, "test", "no length"))
    }
}

#[test]
fn files_that_failed_in_the_end_are_not_counted_as_open() {
    let tree = tempfile::tempdir().expect("temp");
    for n in 0..400 {
        std::fs::write(tree.path().join(format!("empty {n:03}")), "").expect("file");
    }
    std::fs::write(tree.path().join("large"), noise(1, 8 << 20)).expect("file");
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let target = Into(Arc::new(Unsettled::default()));
    let (repo, snapshot) = (harness.repository(), harness.snapshot(&id));
    let report = restore::restore(&repo, &snapshot, &RestoreOptions::default(), &target, &Silent).expect("restore");
    assert_eq!(report.problems.values().sum::<u64>(), 400, "{:?}", report.problem_list.first());
    assert_eq!(target.0.0.load(Ordering::SeqCst), 0, "opened for each piece");
}

/// Makes files and has no room for what is in them.
struct Full;

impl Nowhere for Full {
    fn takes_content(&self) -> Result<()> {
        Err(Error::new(ErrorKind::NoSpace, "test", "full"))
    }
}

#[test]
fn names_of_what_found_no_space_are_not_called_damaged() {
    let tree = tempfile::tempdir().expect("temp");
    for (file, len) in [("inline", 100), ("packed", 100_000)] {
        std::fs::write(tree.path().join(file), noise(1, len)).expect("file");
        for n in 1..20 {
            std::fs::hard_link(tree.path().join(file), tree.path().join(format!("{file} {n:02}"))).expect("link");
        }
    }
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let (repo, snapshot) = (harness.repository(), harness.snapshot(&id));
    let options = RestoreOptions::default();
    let report = restore::restore(&repo, &snapshot, &options, &Into(Arc::new(Full)), &Silent).expect("restore");
    assert_eq!(report.problems, BTreeMap::from([(ProblemKind::Unwritable, 40)]));
}

/// Has room for all but the last block of a file, and counts what was ended as a file, whole or not.
#[derive(Default)]
struct AllButTheLastBlock {
    full: AtomicBool,
    ended: AtomicUsize,
}

impl Nowhere for AllButTheLastBlock {
    fn writes(&self, _: &EntryPath, bytes: Range<u64>, _: bool) {
        self.full.store(bytes.end - bytes.start <= 4096, Ordering::SeqCst);
    }
    fn takes_content(&self) -> Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(Error::new(ErrorKind::NoSpace, "test", "full")) } else { Ok(()) }
    }
    fn finished(&self, _: &EntryPath) -> Vec<Problem> {
        self.ended.fetch_add(1, Ordering::SeqCst);
        Vec::new()
    }
}

#[test]
fn a_file_whose_last_block_finds_no_space_is_ended_as_one_that_lacks_content() {
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), noise(1, 3_000_000)).expect("file");
    std::fs::hard_link(tree.path().join("file"), tree.path().join("name")).expect("link");
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let target = Into(Arc::new(AllButTheLastBlock::default()));
    let (options, snapshot) = (RestoreOptions::default(), harness.snapshot(&id));
    let report = restore::restore(&harness.repository(), &snapshot, &options, &target, &Silent).expect("restore");
    assert_eq!(target.0.ended.load(Ordering::SeqCst), 1);
    assert_eq!(report.problems.keys().collect::<Vec<_>>(), [&ProblemKind::Unwritable]);
    let last_block = 3_000_000 - (3_000_000 - 1) / 4096 * 4096;
    assert_eq!((report.files_restored, report.bytes_written), (0, 3_000_000 - last_block));
}

/// Bytes of a file, and whether they were written as zeros.
type Writes = Vec<(Range<u64>, bool)>;

/// Notes what is written of each file, in order.
#[derive(Default)]
struct Written(Mutex<BTreeMap<Vec<u8>, Writes>>);

impl Nowhere for Written {
    fn writes(&self, path: &EntryPath, bytes: Range<u64>, zeros: bool) {
        self.0.lock().expect("lock").entry(path.as_bytes().to_vec()).or_default().push((bytes, zeros));
    }
}

#[test]
fn the_last_block_of_a_file_is_written_last() {
    let tree = tempfile::tempdir().expect("temp");
    let (tail, zeros) = (noise(1, 1_000_000), vec![0; 10_000_000]);
    // What the others end with is read, and written, before what they begin with.
    let files = [
        ("a", tail.clone()),
        ("b", [noise(2, 3_000_000), tail.clone()].concat()),
        ("c", [zeros.clone(), noise(3, 3_000_000), zeros.clone(), tail].concat()),
        ("d", [noise(4, 3_000_000), zeros.clone()].concat()),
        ("e", zeros),
        ("f", b"inline".to_vec()),
    ];
    for (name, content) in &files {
        std::fs::write(tree.path().join(name), content).expect("file");
    }
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let target = Into(Arc::new(Written::default()));
    let options = RestoreOptions { subtree: inside(tree.path()), ..RestoreOptions::default() };
    let report = restore::restore(&harness.repository(), &harness.snapshot(&id), &options, &target, &Silent);
    let report = report.expect("restore");
    assert_eq!((report.files_restored, report.problem_list.len()), (6, 0));
    assert_eq!(report.bytes_written, files.iter().map(|(_, content)| content.len() as u64).sum::<u64>());
    let written = target.0.0.lock().expect("lock").clone();
    let mut early = 0;
    for (name, content) in &files {
        let (writes, len) = (&written[name.as_bytes()], content.len() as u64);
        assert_eq!(writes.last().map(|(last, _)| last.end), Some(len), "{name}: {writes:?}");
        let last_block = (len - 1) / 4096 * 4096;
        let first_of_it = writes.iter().position(|(bytes, _)| bytes.end > last_block).expect("written");
        let (others, of_it) = writes.split_at(first_of_it);
        assert!(of_it.iter().all(|(bytes, _)| bytes.start >= last_block) || writes.len() == 1, "{name}: {writes:?}");
        early += usize::from(others.last().is_some_and(|(last, _)| last.end < last_block));
        let mut ordered: Vec<_> = writes.iter().map(|(bytes, _)| bytes.clone()).collect();
        ordered.sort_by_key(|bytes| bytes.start);
        let end = ordered.iter().fold(0, |end, bytes| if bytes.start == end { bytes.end } else { u64::MAX });
        assert_eq!(end, len, "{name}: all of it, once: {writes:?}");
        for (bytes, zeros) in writes {
            let written = &content[bytes.start as usize..bytes.end as usize];
            assert!(!zeros || written.iter().all(|byte| *byte == 0), "{name} {bytes:?}");
        }
    }
    assert!(early > 0, "nothing was written out of order: {written:?}");
    let joined =
        written.values().flatten().filter(|(bytes, zeros)| *zeros && bytes.end - bytes.start > 5_000_000).count();
    assert!(joined >= 3, "zeros are written together: {written:?}");
}
