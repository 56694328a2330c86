//! How fast a source lists and reads: `cargo run --release --example source_rates -- PATH [THREADS]`.
#![allow(clippy::print_stdout)]

use decube_backup_backend_fs::source::{FsSource, SourceOptions};
use decube_backup_core::source::{Piece, ScanItem, Scanned, Source};
use decube_backup_core::world::{Clock, SystemClock};
use decube_backup_core::{EntryKind, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let root = arguments.next().unwrap_or_else(|| ".".into());
    let threads = arguments.next().and_then(|t| t.to_str()?.parse().ok()).unwrap_or(2);
    let mut options = SourceOptions::new(vec![root.into()], std::env::current_dir().unwrap_or_default());
    options.scan_threads = threads;
    let source = FsSource::new(options)?;
    let clock = SystemClock::default();
    for round in 0..3 {
        let start = clock.monotonic();
        let mut files = Vec::new();
        let (mut entries, mut batches) = (0usize, 0usize);
        let mut scan = source.scan()?;
        while let Some(batch) = futures::executor::block_on(scan.next())? {
            entries += batch.len();
            batches += 1;
            if round == 2 {
                files.extend(batch.into_iter().filter_map(file));
            }
        }
        let seconds = (clock.monotonic() - start).as_secs_f64();
        println!("scan: {entries} entries in {batches} batches, {seconds:.3} s, {:.0}/s", entries as f64 / seconds);
        if round == 2 {
            read("open + read + finish", &source, &files, threads, &clock);
        }
    }
    Ok(())
}

fn file(item: ScanItem) -> Option<Scanned> {
    match item {
        ScanItem::Entry(scanned) if matches!(scanned.entry.kind, EntryKind::File { .. }) => Some(scanned),
        _ => None,
    }
}

fn read(what: &str, source: &FsSource, files: &[Scanned], threads: usize, clock: &dyn Clock) {
    let start = clock.monotonic();
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = vec![0; 1 << 20];
                while let Some(scanned) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Ok(mut content) = source.open(scanned) else { continue };
                    while let Ok(Piece::Data(n)) = content.read(&mut buffer) {
                        bytes.fetch_add(n, Ordering::Relaxed);
                    }
                    let _ = content.finish(&mut scanned.entry.clone());
                }
            });
        }
    });
    let seconds = (clock.monotonic() - start).as_secs_f64();
    let mib = bytes.into_inner() as f64 / f64::from(1 << 20);
    println!(
        "{what}: {} files, {:.0}/s, {mib:.0} MiB, {:.0} MiB/s",
        files.len(),
        files.len() as f64 / seconds,
        mib / seconds
    );
}
