//! Content is read as it is, and whether it held still is said.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Needs, Scratch, below, pieces, scan, source};
use decube_backup_backend_fs::source::FsSource;
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::source::{Piece, Scanned, Source, Stability};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

fn main() {
    common::main(&[
        ("content_is_read_whole_with_any_buffer", Needs::Nothing, read_whole),
        ("holes_are_not_read", Needs::Nothing, holes),
        ("a_file_that_holds_still_is_unchanged", Needs::Nothing, holds_still),
        ("growing_shrinking_and_rewritten_files_are_changed", Needs::Nothing, changes_are_said),
        ("a_replaced_or_vanished_file_is_not_found", Needs::Nothing, replaced_is_not_found),
        ("a_vanished_entry_is_a_problem_of_detail", Needs::Nothing, vanished_in_detail),
        ("reading_leaves_the_access_time", Needs::Nothing, access_time_stays),
    ]);
}

fn scanned(file: &Path) -> (FsSource, Scanned) {
    let source = source(file);
    let (entries, _) = below(file, scan(&source));
    (source, entries.into_iter().next().unwrap().1)
}

fn read_whole() {
    let scratch = Scratch::new();
    for len in [0usize, 1, 4095, 4096, 70_000, 5_000_000] {
        let content: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        let file = scratch.file("file", &content);
        for buffer_len in [1000, 4096, 1 << 20] {
            let (source, scanned) = scanned(&file);
            let mut reader = source.open(&scanned).unwrap();
            let (mut buffer, mut read) = (vec![0; buffer_len], Vec::new());
            loop {
                match reader.read(&mut buffer).unwrap() {
                    Piece::Data(n) => {
                        assert!(n == buffer_len || read.len() + n == len, "only the last piece is short");
                        read.extend_from_slice(&buffer[..n]);
                    }
                    Piece::Hole(_) => panic!("no hole here"),
                    Piece::End => break,
                }
            }
            assert!(read == content, "{len} {buffer_len}");
        }
    }
}

fn holes() {
    let scratch = Scratch::new();
    let path = scratch.file("file", "");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(10 << 20).unwrap();
    file.write_all_at(&[7; 8192], 4 << 20).unwrap();
    if std::fs::metadata(&path).unwrap().blocks() * 512 > 1 << 20 {
        println!("no holes on this file system: nothing is checked");
        return;
    }
    let (source, scanned) = scanned(&path);
    let found = pieces(&source, &scanned).unwrap();
    assert_eq!(found, [Piece::Hole(4 << 20), Piece::Data(8192), Piece::Hole((6 << 20) - 8192)]);
}

fn holds_still() {
    let scratch = Scratch::new();
    let file = scratch.file("file", "content");
    let (source, scanned) = scanned(&file);
    let mut content = source.open(&scanned).unwrap();
    content.read(&mut [0; 100]).unwrap();
    let end = content.finish(&mut scanned.entry.clone()).unwrap();
    assert_eq!((end.stable, end.identity, end.problems), (Stability::Unchanged, scanned.identity, vec![]));
}

fn changes_are_said() {
    type Change = fn(&Path);
    let changes: [(&str, Change, usize); 3] = [
        ("grown", |p| std::fs::File::options().append(true).open(p).unwrap().write_all(b"more").unwrap(), 7),
        ("shrunk", |p| std::fs::File::options().write(true).open(p).unwrap().set_len(3).unwrap(), 3),
        // Systems with coarse clocks show no other time for a change this soon: it is given one.
        (
            "rewritten",
            |p| {
                std::fs::write(p, "CONTENT").unwrap();
                std::fs::File::options().write(true).open(p).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
            },
            7,
        ),
    ];
    for (name, change, expected) in changes {
        let scratch = Scratch::new();
        let file = scratch.file(name, "content");
        let (source, scanned) = scanned(&file);
        // While it is open: the size that was there is read, or less.
        let mut content = source.open(&scanned).unwrap();
        change(&file);
        let mut buffer = [0; 100];
        assert_eq!(content.read(&mut buffer).unwrap(), Piece::Data(expected), "{name}");
        assert_eq!(content.read(&mut buffer).unwrap(), Piece::End, "{name}");
        assert_eq!(content.finish(&mut scanned.entry.clone()).unwrap().stable, Stability::Changed, "{name}");
        // Between scan and open: all that is there is read.
        let mut content = source.open(&scanned).unwrap();
        let now = std::fs::metadata(&file).unwrap().len() as usize;
        assert_eq!(content.read(&mut buffer).unwrap(), Piece::Data(now), "{name}");
        assert_eq!(content.finish(&mut scanned.entry.clone()).unwrap().stable, Stability::Changed, "{name}");
    }
}

fn replaced_is_not_found() {
    let scratch = Scratch::new();
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("vanished", |p| std::fs::remove_file(p).unwrap()),
        ("another file", |p| {
            std::fs::write(p.with_extension("new"), "new").unwrap();
            std::fs::rename(p.with_extension("new"), p).unwrap();
        }),
        ("a directory", |p| {
            std::fs::remove_file(p).unwrap();
            std::fs::create_dir(p).unwrap();
        }),
        ("a link", |p| {
            std::fs::rename(p, p.with_extension("moved")).unwrap();
            std::os::unix::fs::symlink(p.with_extension("moved"), p).unwrap();
        }),
    ];
    for (name, change) in changes {
        let file = scratch.file(name, "content");
        let (source, scanned) = scanned(&file);
        change(&file);
        let error = source.open(&scanned).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error:?}");
    }
}

fn vanished_in_detail() {
    let scratch = Scratch::new();
    let file = scratch.file("file", "content");
    let (source, mut scanned) = scanned(&file);
    assert_eq!(source.detail(&mut scanned.entry), []);
    std::fs::remove_file(file).unwrap();
    let problems = source.detail(&mut scanned.entry);
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::Vanished]);
}

fn access_time_stays() {
    let scratch = Scratch::new();
    let path = scratch.file("directory/file", "content");
    let old = std::fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH);
    std::fs::File::options().write(true).open(&path).unwrap().set_times(old).unwrap();
    std::fs::File::open(scratch.join("directory")).unwrap().set_times(old).unwrap();
    let source = source(&scratch.join("directory"));
    let (entries, _) = below(&scratch.join("directory"), scan(&source));
    let mut scanned = entries.into_iter().last().unwrap().1;
    source.detail(&mut scanned.entry);
    pieces(&source, &scanned).unwrap();
    for path in [path, scratch.join("directory")] {
        assert_eq!(std::fs::metadata(path).unwrap().atime(), 0);
    }
}
