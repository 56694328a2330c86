//! An index of very many chunks: how long it takes to build, to open, to look up and to mark, and how much memory.
//!
//! ```text
//! cargo bench -p decube-backup-engine --bench index -- 100000000
//! ```
//! The index is made up: ids are hashes of a counter, in packs of 256 chunks of 64 KiB. Takes about 30 bytes of
//! disk a chunk below the system's temporary folder (or the folder named after the number), twice that while runs are merged.

#![allow(clippy::print_stdout, clippy::panic, clippy::disallowed_methods)]

use decube_backup_engine::index::bitmap::Bitmap;
use decube_backup_engine::index::run::Run;
use decube_backup_engine::index::{LocalIndex, MEMORY_ENTRIES_MAX};
use decube_backup_format::codec::Codec;
use decube_backup_format::ids::{PackId, PackKind, PackName, ShortId};
use decube_backup_format::pack::Footer;
use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

/// One chunk in so many is marked.
const MARKED_EVERY: u64 = 10;

/// Chunks in a segment, segments in a pack.
const SEGMENT: u64 = 64;
const PACK: u64 = 4 * SEGMENT;

fn sixteen(domain: u8, number: u64) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[domain]).update(&number.to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}

fn chunk(number: u64) -> ShortId {
    ShortId(sixteen(0, number))
}

fn pack(number: u64) -> PackName {
    PackName { kind: PackKind::Data, id: PackId(sixteen(1, number)) }
}

/// Now and at most so far, MiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let read = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
    };
    (read("VmRSS:"), read("VmHWM:"))
}

fn build(folder: &Path, chunks: u64) -> LocalIndex {
    let mut index = LocalIndex::new(Vec::new());
    for number in 0..chunks / PACK {
        let mut footer = Footer::default();
        for segment in 0..PACK / SEGMENT {
            let first = number * PACK + segment * SEGMENT;
            let chunks: Vec<(ShortId, u32)> = (first..first + SEGMENT).map(|n| (chunk(n), 64 << 10)).collect();
            footer.push(2 << 20, (SEGMENT as u32) * (64 << 10), Codec::Zstd, &chunks);
        }
        index.add(pack(number), &footer);
        if index.memory_entries() > MEMORY_ENTRIES_MAX {
            index.sort();
            index.spill(folder, HashSet::from([sixteen(2, number)])).unwrap_or_else(|e| panic!("{e}"));
        }
    }
    index.sort();
    index
}

/// The index again from its runs on disk, as the next program finds it.
fn reopen(folder: &Path) -> LocalIndex {
    let files = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{e}"));
    let paths = files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "run"));
    LocalIndex::new(paths.filter_map(|path| Run::open(&path).unwrap_or_else(|e| panic!("{e}"))).collect())
}

/// What a prune does with an index: a bit for each chunk in use, then one pass that counts what each pack has of them.
fn mark(index: &LocalIndex, chunks: u64) {
    let (begun, bits) = (Instant::now(), Bitmap::new(index.len()));
    for number in (0..chunks / PACK * PACK).step_by(MARKED_EVERY as usize) {
        let found = index.find_entry(&chunk(number), &|_| false).unwrap_or_else(|e| panic!("{e}"));
        if let Some((ordinal, _)) = found {
            bits.set(ordinal);
        }
    }
    let (seconds, marked) = (begun.elapsed().as_secs_f64(), chunks / MARKED_EVERY);
    println!("{marked} chunks marked in {seconds:.1} s, {:.0} a second; {:?} MiB", marked as f64 / seconds, memory());
    let begun = Instant::now();
    let mut all = index.chunks().unwrap_or_else(|e| panic!("{e}"));
    let mut needed = vec![0u64; all.packs().len()];
    let mut live = 0u64;
    while let Some(group) = all.next().unwrap_or_else(|e| panic!("{e}")) {
        for entry in group.iter().filter(|entry| bits.has(entry.ordinal)) {
            live += 1;
            if let Some(pack) = needed.get_mut(entry.pack as usize) {
                *pack += u64::from(entry.stored);
            }
        }
    }
    let used = needed.iter().filter(|bytes| **bytes > 0).count();
    println!(
        "{live} live chunks in {used} of {} packs counted in {:.1} s; {:?} MiB",
        needed.len(),
        begun.elapsed().as_secs_f64(),
        memory()
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let chunks: u64 = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(4_000_000);
    let folder = arguments.get(1).map_or_else(std::env::temp_dir, Into::into);
    let scratch = tempfile::tempdir_in(folder).unwrap_or_else(|e| panic!("{e}"));
    let begun = Instant::now();
    let index = build(scratch.path(), chunks);
    println!(
        "{} chunks indexed in {:.1} s; {:?} MiB now, at most",
        index.len(),
        begun.elapsed().as_secs_f64(),
        memory()
    );

    drop(index);
    let begun = Instant::now();
    let index = reopen(scratch.path());
    println!("{} chunks opened again in {:.3} s; {:?} MiB", index.len(), begun.elapsed().as_secs_f64(), memory());

    for (what, domain) in [("known", 0), ("unknown", 3)] {
        let (begun, looks) = (Instant::now(), 200_000);
        let step = (chunks / looks).max(1);
        let found = (0..looks)
            .filter(|n| {
                let id = ShortId(sixteen(domain, n * step % (chunks / PACK * PACK)));
                index.find(&id, &|_| false).unwrap_or_else(|e| panic!("{e}")).is_some()
            })
            .count();
        let seconds = begun.elapsed().as_secs_f64();
        println!("{looks} {what} ids: {found} found, {:.0} a second; {:?} MiB", looks as f64 / seconds, memory());
    }
    mark(&index, chunks);
}
