//! After a power cut no file that a restore wrote passes for whole and is not.
//!
//! A restore takes a file of the right size and time, without the mark of one that is not finished, for whole. Here files of all
//! shapes are restored into a file system in a file, its journal is made durable by a sync of something else, and what its disk
//! holds by then is mounted as after a power cut.

#[path = "hosts/images.rs"]
mod images;
#[path = "hosts/mounts.rs"]
mod mounts;

use decube_backup_backend_fs::target::{FsTarget, TargetOptions};
use decube_backup_core::entry::{Entry, EntryKind, Metadata};
use decube_backup_core::target::{FileMode, Target};
use decube_backup_core::{EntryPath, Timestamp};
use images::InImage;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rustix::fs::FallocateFlags;
use std::fs::{self, File};
use std::path::Path;

type Tested = std::result::Result<Completion, Failed>;

/// Bytes of content, of zeros, of a hole at the end.
const LONG: u64 = 1 << 20;
const TIME: Timestamp = Timestamp { seconds: 1_000_000_001, nanoseconds: 123_456_789 };

fn main() {
    let kinds: [(&str, &[&str], &str); 2] =
        [("ext4", &["mkfs.ext4", "-q"], "loop,commit=300"), ("xfs", &["mkfs.xfs", "-q"], "loop,nouuid")];
    let host = mounts::can_mount();
    let trials = kinds.map(|(kind, mkfs, options)| {
        Trial::ignorable_test(format!("what_passes_for_whole_after_a_power_cut_is_whole_on_{kind}"), move || match host
        {
            Ok(()) => cut(kind, mkfs, options),
            Err(reason) => Ok(Completion::ignored_with(reason)),
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

/// What is written of a file, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Content,
    Zeros,
    Hole,
}
use Part::{Content, Hole, Zeros};

struct Shape {
    name: &'static str,
    mode: FileMode,
    parts: &'static [Part],
    /// Whether the last part is written first.
    backwards: bool,
}

const fn shape(name: &'static str, mode: FileMode, parts: &'static [Part]) -> Shape {
    Shape { name, mode, parts, backwards: false }
}

const SHAPES: [Shape; 10] = [
    shape("content", FileMode::New, &[Content, Content]),
    shape("zeros-at-the-end", FileMode::New, &[Content, Zeros]),
    shape("zeros-between", FileMode::New, &[Content, Zeros, Content]),
    shape("zeros-at-the-start", FileMode::New, &[Zeros, Content]),
    shape("a-hole-at-the-end", FileMode::New, &[Content, Hole]),
    shape("zeros-and-a-hole-at-the-end", FileMode::New, &[Content, Zeros, Hole]),
    Shape { backwards: true, ..shape("zeros-at-the-end-first", FileMode::New, &[Content, Zeros]) },
    Shape { backwards: true, ..shape("content-at-the-end-first", FileMode::New, &[Zeros, Content, Zeros, Content]) },
    shape("zeros-in-place", FileMode::InPlace, &[Content, Zeros]),
    shape("zeros-beside", FileMode::Beside, &[Content, Zeros]),
];

/// Whose length is given, which must be found passing for whole.
const MUTANT: &str = "given-its-length";

/// Without zeros, and another for each name and place.
fn content(name: &str, at: u64) -> Vec<u8> {
    let seed = name.bytes().fold(at, |all, byte| (all * 31 + u64::from(byte)) % 65_521);
    (0..LONG).map(|i| (i * 7 + i / 251 + seed) as u8 | 1).collect()
}

fn cut(kind: &'static str, mkfs: &[&str], options: &str) -> Tested {
    let Ok(image) = InImage::made_by(mkfs, kind, options) else {
        return Ok(Completion::ignored_with(format!("no {kind} can be made here")));
    };
    for shape in SHAPES.iter().filter(|shape| shape.mode != FileMode::New) {
        fs::write(image.path().join(shape.name), vec![b'x'; LONG as usize * shape.parts.len()])?;
    }
    rustix::fs::syncfs(File::open(image.path())?)?;
    let target = FsTarget::create(image.path(), TargetOptions::default())?;
    for shape in &SHAPES {
        restore(&target, shape)?;
    }
    restore_mutant(&target, image.path())?;
    File::create(image.path().join("another"))?.sync_all()?;
    drop(target);

    let image = image.after_a_power_cut(kind, options)?;
    let target = FsTarget::create(image.path(), TargetOptions::default())?;
    let mut not_whole = 0;
    for shape in &SHAPES {
        if !passes_for_whole(&target, shape.name, LONG * shape.parts.len() as u64)? {
            not_whole += 1;
            continue;
        }
        let wanted: Vec<u8> = (0..).zip(shape.parts).flat_map(|(at, part)| bytes(shape, at, *part)).collect();
        assert!(fs::read(image.path().join(shape.name))? == wanted, "{} passes for whole and is not", shape.name);
    }
    assert!(not_whole > 0, "everything was on the disk: nothing was tested");
    if kind == "ext4" {
        let found = passes_for_whole(&target, MUTANT, 2 * LONG)?
            && fs::read(image.path().join(MUTANT))?.get(..LONG as usize) != Some(&content(MUTANT, 0));
        assert!(found, "a length that was given did no harm: this test could not fail");
    }
    Ok(Completion::Completed)
}

fn bytes(shape: &Shape, at: u64, part: Part) -> Vec<u8> {
    if part == Content { content(shape.name, at) } else { vec![0; LONG as usize] }
}

fn entry(name: &str, size: u64) -> Result<Entry, Failed> {
    let meta = Metadata { mode: 0o640, mtime: TIME, ..Metadata::default() };
    Ok(Entry { path: EntryPath::new(name.as_bytes())?, kind: EntryKind::File { size }, meta })
}

fn restore(target: &FsTarget, shape: &Shape) -> Result<(), Failed> {
    let entry = entry(shape.name, LONG * shape.parts.len() as u64)?;
    let file = target.create_file(&entry.path, shape.mode, 0)?;
    let mut parts: Vec<_> = (0..).zip(shape.parts.iter().copied()).collect();
    if shape.backwards {
        parts.reverse();
    }
    for (at, part) in parts.into_iter().filter(|(_, part)| *part != Hole) {
        file.write_at(at * LONG, &bytes(shape, at, part))?;
    }
    if shape.mode == FileMode::InPlace || shape.parts.contains(&Hole) {
        file.set_len(entry.kind.size())?;
    }
    let problems = target.finish_file(file, &entry);
    assert!(problems.is_empty(), "{}: {problems:?}", shape.name);
    Ok(())
}

fn restore_mutant(target: &FsTarget, on: &Path) -> Result<(), Failed> {
    let entry = entry(MUTANT, 2 * LONG)?;
    let file = target.create_file(&entry.path, FileMode::New, 0)?;
    file.write_at(0, &content(MUTANT, 0))?;
    let another = File::options().write(true).open(on.join(MUTANT))?;
    // Where there is no such call nothing is shown by it.
    let _unsupported = rustix::fs::fallocate(&another, FallocateFlags::ZERO_RANGE, LONG, LONG);
    let problems = target.finish_file(file, &entry);
    assert!(problems.is_empty(), "{problems:?}");
    Ok(())
}

/// As a restore sees it.
fn passes_for_whole(target: &FsTarget, name: &str, size: u64) -> Result<bool, Failed> {
    let existing = target.existing(&EntryPath::new(name.as_bytes())?)?;
    Ok(existing.is_some_and(|existing| {
        existing.kind == EntryKind::File { size } && existing.mtime == TIME && !existing.is_unfinished
    }))
}
