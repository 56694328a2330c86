//! After a power cut no file that a restore wrote passes for whole and is not.
//!
//! A restore takes a file of the right size and time, without the mark of one that is not finished, for whole. Here files of all
//! shapes are written as a restore writes them, the last block last, into a file system in a file; its journal is made durable by a
//! sync of something else; and then it is cut off, and mounted again.

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
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

type Tested = std::result::Result<Completion, Failed>;

const MIB: u64 = 1 << 20;
/// As many as a chunk of zeros has.
const ODD: u64 = (96 << 10) - 64;
const TIME: Timestamp = Timestamp { seconds: 1_000_000_001, nanoseconds: 123_456_789 };

fn main() {
    let kinds: [(&str, &[&str]); 2] = [("ext4", &["mkfs.ext4", "-q"]), ("xfs", &["mkfs.xfs", "-q"])];
    let host = mounts::can_mount();
    let trials = kinds.map(|(kind, mkfs)| {
        Trial::ignorable_test(format!("what_passes_for_whole_after_a_power_cut_is_whole_on_{kind}"), move || match host
        {
            Ok(()) => cut(kind, mkfs),
            Err(reason) => Ok(Completion::ignored_with(reason)),
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

/// What is done to a file: bytes from one offset to another.
#[derive(Clone, Copy)]
enum Step {
    Content(u64, u64),
    Zeros(u64, u64),
    /// What was written of it so far gets to the disk.
    Written,
    /// It is closed, and opened again.
    Aside,
    /// It gets this length.
    Len(u64),
    /// What a restore must not do: it gets a length without a write.
    Given(u64),
    /// What a restore must not do: content that reaches the end of the file before all else.
    Early(u64, u64),
}
use Step::{Aside, Content, Early, Given, Len, Written, Zeros};

struct Shape {
    name: &'static str,
    mode: FileMode,
    size: u64,
    steps: &'static [Step],
}

const fn new(name: &'static str, size: u64, steps: &'static [Step]) -> Shape {
    Shape { name, mode: FileMode::New, size, steps }
}

const SHAPES: [Shape; 14] = [
    new("its-end-long-ago", 2 * MIB, &[Content(MIB, 2 * MIB), Written, Content(0, MIB)]),
    new("its-end-long-ago-and-aside", 2 * MIB, &[Zeros(MIB, 2 * MIB), Aside, Written, Content(0, MIB)]),
    new("content", 2 * MIB, &[Content(0, MIB), Content(MIB, 2 * MIB)]),
    new("zeros-at-the-end", 2 * MIB, &[Content(0, MIB), Zeros(MIB, 2 * MIB)]),
    new("zeros-between", 3 * MIB, &[Content(0, MIB), Zeros(MIB, 2 * MIB), Content(2 * MIB, 3 * MIB)]),
    new(
        "odd-zeros",
        MIB + 21 * ODD,
        &[Content(0, MIB + 5), Zeros(MIB + 5, MIB + 20 * ODD), Content(MIB + 20 * ODD, MIB + 21 * ODD)],
    ),
    new(
        "odd-zeros-after-a-short-end",
        MIB + 20 * ODD + 7,
        &[Content(MIB + 20 * ODD, MIB + 20 * ODD + 7), Content(0, MIB), Zeros(MIB, MIB + 20 * ODD)],
    ),
    new("zeros-first", 2 * MIB, &[Zeros(0, MIB), Content(MIB, 2 * MIB)]),
    new("zeros-alone", 2 * MIB, &[Zeros(0, 2 * MIB)]),
    new("backwards", 3 * MIB, &[Zeros(2 * MIB, 3 * MIB), Content(MIB, 2 * MIB), Zeros(0, MIB)]),
    new("a-hole-at-the-end", 2 * MIB, &[Content(0, MIB), Len(2 * MIB)]),
    new("zeros-and-a-hole-at-the-end", 3 * MIB, &[Content(0, MIB), Zeros(MIB, 2 * MIB), Len(3 * MIB)]),
    Shape {
        mode: FileMode::InPlace,
        ..new("in-place", 2 * MIB, &[Content(0, MIB), Zeros(MIB, 2 * MIB), Len(2 * MIB)])
    },
    Shape { mode: FileMode::Beside, ..new("beside", 2 * MIB, &[Content(0, MIB), Zeros(MIB, 2 * MIB)]) },
];

/// What must be found passing for whole. XFS writes what is before a length that is given.
const MUTANTS: [(&[&str], Shape); 2] = [
    (&["ext4"], new("given-its-length", 2 * MIB, &[Content(0, MIB), Given(2 * MIB)])),
    (&["ext4", "xfs"], new("its-end-before-all-else", 2 * MIB, &[Early(MIB, 2 * MIB), Written, Content(0, MIB)])),
];

fn cut(kind: &str, mkfs: &[&str]) -> Tested {
    let Ok(image) = InImage::made_by(mkfs, kind, "loop") else {
        return Ok(Completion::ignored_with(format!("no {kind} can be made here")));
    };
    for shape in SHAPES.iter().filter(|shape| shape.mode != FileMode::New) {
        fs::write(image.path().join(shape.name), vec![b'x'; shape.size as usize])?;
    }
    let target = FsTarget::create(image.path(), TargetOptions::default())?;
    for shape in SHAPES.iter().chain(MUTANTS.iter().map(|(_, shape)| shape)) {
        restore(&target, shape, image.path())?;
    }
    File::create(image.path().join("another"))?.sync_all()?;
    drop(target);
    let image = match image.after_a_power_cut() {
        Ok(image) => image,
        Err(error) => return Ok(Completion::ignored_with(format!("no power can be cut here: {error}"))),
    };

    let target = FsTarget::create(image.path(), TargetOptions::default())?;
    let mut not_whole = 0;
    for shape in &SHAPES {
        if passes_for_whole(&target, shape)? {
            assert!(is_whole(image.path(), shape)?, "{} passes for whole and is not", shape.name);
        } else {
            not_whole += 1;
        }
    }
    assert!(not_whole > 3, "all but {not_whole} were on the disk: little was tested");
    for (_, shape) in MUTANTS.iter().filter(|(kinds, _)| kinds.contains(&kind)) {
        let is_found = passes_for_whole(&target, shape)? && !is_whole(image.path(), shape)?;
        assert!(is_found, "{} did no harm: this test could not fail", shape.name);
    }
    Ok(Completion::Completed)
}

/// Without zeros, and another for each name and place.
fn content(name: &str, from: u64, to: u64) -> Vec<u8> {
    let seed = name.bytes().fold(0, |all, byte| (all * 31 + u64::from(byte)) % 65_521);
    (from..to).map(|i| (i * 7 + i / 251 + seed) as u8 | 1).collect()
}

fn is_whole(root: &Path, shape: &Shape) -> Result<bool, Failed> {
    let mut wanted = vec![0; shape.size as usize];
    for step in shape.steps {
        if let Content(from, to) | Early(from, to) = *step {
            wanted[from as usize..to as usize].copy_from_slice(&content(shape.name, from, to));
        }
    }
    Ok(fs::read(root.join(shape.name))? == wanted)
}

fn entry(shape: &Shape) -> Result<Entry, Failed> {
    let meta = Metadata { mode: 0o640, mtime: TIME, ..Metadata::default() };
    let kind = EntryKind::File { size: shape.size };
    Ok(Entry { path: EntryPath::new(shape.name.as_bytes())?, kind, meta })
}

fn restore(target: &FsTarget, shape: &Shape, root: &Path) -> Result<(), Failed> {
    let entry = entry(shape)?;
    let mut file = target.create_file(&entry.path, shape.mode, 0)?;
    let last_block = (shape.size - 1) / 4096 * 4096;
    let mut held = BTreeMap::new();
    let open = || File::options().write(true).open(root.join(shape.name));
    for step in shape.steps {
        match *step {
            Content(from, to) => {
                let now = to.min(last_block).max(from);
                file.write_at(from, &content(shape.name, from, now))?;
                held.insert(now, content(shape.name, now, to));
            }
            Zeros(from, to) => {
                let now = to.min(last_block).max(from);
                file.write_zeros(from, now - from)?;
                held.insert(now, vec![0; (to - now) as usize]);
            }
            Early(from, to) => file.write_at(from, &content(shape.name, from, to))?,
            Written => open()?.sync_all()?,
            Aside => {
                target.set_aside(file)?;
                file = target.create_file(&entry.path, FileMode::Continue, 0)?;
            }
            Len(len) => file.set_len(len)?,
            Given(len) => rustix::fs::fallocate(open()?, FallocateFlags::empty(), 0, len)?,
        }
    }
    for (at, bytes) in held {
        file.write_at(at, &bytes)?;
    }
    let problems = target.finish_file(file, &entry);
    assert!(problems.is_empty(), "{}: {problems:?}", shape.name);
    Ok(())
}

/// As a restore sees it.
fn passes_for_whole(target: &FsTarget, shape: &Shape) -> Result<bool, Failed> {
    let existing = target.existing(&EntryPath::new(shape.name.as_bytes())?)?;
    Ok(existing.is_some_and(|existing| {
        existing.kind == EntryKind::File { size: shape.size } && existing.mtime == TIME && !existing.is_unfinished
    }))
}
