//! Long files hold what several threads wrote to them, whatever the lengths of the runs and their order.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Needs, Scratch, path, target};
use decube_backup_core::target::{FileMode, Target, TargetFile};
use decube_backup_core::zeros::is_zero;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Mutex;

/// Length of the files, bytes.
const LONG: u64 = 24 << 20;

fn main() {
    common::main(&[
        ("runs_of_any_length_in_any_order_from_several_threads", Needs::Nothing, any_runs),
        ("holes_of_a_long_file_stay_holes", Needs::Nothing, holes),
        ("a_long_file_rewritten_in_place_keeps_the_rest", Needs::Nothing, in_place),
        ("what_was_written_can_be_read_punched_and_cut_at_once", Needs::Nothing, read_punch_cut),
        ("zeros_take_their_place_and_their_room", Needs::Nothing, zeros),
    ]);
}

/// xorshift64*: Vigna, 2016.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

fn content(seed: u64, len: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..len.div_ceil(8)).flat_map(|_| random.below(u64::MAX).to_le_bytes()).take(len as usize).collect()
}

/// `len` cut into runs: some a few bytes, some of whole pages, most of odd lengths up to 2.5 MiB.
fn runs(random: &mut Random, len: u64) -> Vec<(u64, u64)> {
    let (mut runs, mut at) = (Vec::new(), 0);
    while at < len {
        let wanted = match random.below(4) {
            0 => 1 + random.below(9000),
            1 => 4096 * (1 + random.below(300)),
            _ => 1 + random.below(5 << 19),
        };
        runs.push((at, wanted.min(len - at)));
        at += wanted;
    }
    for last in (1..runs.len()).rev() {
        runs.swap(last, random.below(last as u64 + 1) as usize);
    }
    runs
}

fn write_all(file: &dyn TargetFile, content: &[u8], runs: Vec<(u64, u64)>, threads: usize) {
    let queue = Mutex::new(runs);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, len)) = { queue.lock().unwrap().pop() } {
                    let bytes = &content[at as usize..(at + len) as usize];
                    match is_zero(bytes) {
                        true => file.write_zeros(at, len).unwrap(),
                        false => file.write_at(at, bytes).unwrap(),
                    }
                }
            });
        }
    });
}

fn any_runs() {
    let scratch = Scratch::new();
    check_runs(scratch.path(), 0..6);
    // Without a disk below, where there is such a place.
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.iter().for_each(|memory| check_runs(memory.path(), 6..8));
}

fn check_runs(root: &Path, seeds: std::ops::Range<u64>) {
    let target = target(root);
    for seed in seeds {
        let mut random = Random(seed * 7919 + 1);
        let len = LONG + random.below(8 << 20);
        let mut wanted = content(seed + 1, len);
        // The zeros begin and end in pages that others write to.
        wanted[3_000_001..15_000_003].fill(0);
        let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
        file.set_len(len).unwrap();
        write_all(&*file, &wanted, runs(&mut random, len), 6);
        assert!(std::fs::read(root.join("file")).unwrap() == wanted, "seed {seed}");
        target.remove(&path("file")).unwrap();
    }
}

fn holes() {
    let scratch = Scratch::new();
    let target = target(scratch.path());
    let (len, start) = (40 << 20, (20 << 20) + 5);
    let island = content(3, (3 << 20) + 123);
    let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
    file.set_len(len).unwrap();
    file.write_at(start, &island).unwrap();
    let mut wanted = vec![0; len as usize];
    wanted[start as usize..start as usize + island.len()].copy_from_slice(&island);
    assert!(std::fs::read(scratch.join("file")).unwrap() == wanted);
    let used = std::fs::metadata(scratch.join("file")).unwrap().blocks() * 512;
    assert!(used < 5 << 20, "{used} bytes are used");
}

fn in_place() {
    let scratch = Scratch::new();
    let target = target(scratch.path());
    let len = LONG + 999;
    let mut wanted = content(4, len);
    scratch.file("file", &wanted);
    let file = target.create_file(&path("file"), FileMode::InPlace, 0).unwrap();
    let change = content(5, 1 << 20);
    file.write_at(777_777, &change).unwrap();
    file.set_len(len).unwrap();
    file.write_at(5_777_777, &change).unwrap();
    wanted[777_777..][..change.len()].copy_from_slice(&change);
    wanted[5_777_777..][..change.len()].copy_from_slice(&change);
    assert!(std::fs::read(scratch.join("file")).unwrap() == wanted);
}

fn read_punch_cut() {
    let scratch = Scratch::new();
    let target = target(scratch.path());
    let len = LONG + 1;
    let mut wanted = content(6, len);
    let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
    file.set_len(len).unwrap();
    file.write_at(0, &wanted).unwrap();
    let mut read = vec![0; 100_000];
    assert_eq!(file.read_at(1_000_001, &mut read).unwrap(), read.len());
    assert!(read == wanted[1_000_001..1_100_001]);
    file.punch(2_000_001, 1_000_000).unwrap();
    wanted[2_000_001..3_000_001].fill(0);
    let patch = content(7, 600_000);
    file.write_at(2_500_003, &patch).unwrap();
    wanted[2_500_003..][..patch.len()].copy_from_slice(&patch);
    file.set_len(9_999_999).unwrap();
    wanted.truncate(9_999_999);
    let reader = std::fs::File::open(scratch.join("file")).unwrap();
    let mut all = vec![0; wanted.len() + 1];
    assert_eq!(reader.read_at(&mut all, 0).unwrap(), wanted.len());
    assert!(all[..wanted.len()] == wanted);
}

fn zeros() {
    let scratch = Scratch::new();
    let target = target(scratch.path());
    for len in [100, 65_535, 65_536, 200_000, 1 << 20] {
        // In place of what stands there, and where nothing does.
        let mut wanted = content(8, 3 << 20);
        scratch.file("file", &wanted);
        let file = target.create_file(&path("file"), FileMode::InPlace, 0).unwrap();
        file.write_zeros(777_777, len).unwrap();
        wanted[777_777..][..len as usize].fill(0);
        assert!(std::fs::read(scratch.join("file")).unwrap() == wanted, "{len}");
        target.remove(&path("file")).unwrap();

        let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
        file.write_zeros(0, len).unwrap();
        assert!(std::fs::read(scratch.join("file")).unwrap() == vec![0; len as usize], "{len}");
        std::fs::File::open(scratch.join("file")).unwrap().sync_all().unwrap();
        let used = std::fs::metadata(scratch.join("file")).unwrap().blocks() * 512;
        assert!(used >= len, "{len}: they are no hole, {used} bytes are theirs");
        target.remove(&path("file")).unwrap();
    }
}
