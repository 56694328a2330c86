//! A stream as a source: what it yields, and how it ends.

use decube_backup_core::entry::EntryKind;
use decube_backup_core::source::{Content, Piece, SIZE_UNKNOWN, Scan, ScanItem, Scanned, Source};
use decube_backup_core::{EntryPath, ErrorKind, Timestamp};
use decube_backup_sources::stream::{Attributes, EmptyInput, Stop, StreamSource};
use futures::executor::block_on;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

fn source(path: &str, input: impl Into<OwnedFd>, stop: Stop) -> StreamSource {
    let mtime = Timestamp { seconds: 7, nanoseconds: 0 };
    let path = EntryPath::new(path.as_bytes()).expect("legal");
    StreamSource::new(path, Attributes { uid: 1, gid: 2, mtime }, input.into(), EmptyInput::Refused, stop)
        .expect("source")
}

fn never() -> Stop {
    Arc::new(|| false)
}

fn first_batch(scan: &mut dyn Scan) -> Vec<Scanned> {
    let batch = block_on(scan.next()).expect("scans").expect("a batch");
    batch.into_iter().filter_map(|item| if let ScanItem::Entry(entry) = item { Some(entry) } else { None }).collect()
}

fn all(content: &mut dyn Content) -> Vec<u8> {
    let (mut found, mut buffer) = (Vec::new(), [0; 1000]);
    while let Piece::Data(n) = content.read(&mut buffer).expect("reads") {
        found.extend_from_slice(&buffer[..n]);
    }
    found
}

#[test]
fn a_stream_is_one_file_of_unknown_size_with_the_folders_above_it() {
    let (input, mut output) = std::io::pipe().expect("pipe");
    let source = source("db/dump.sql", input, never());
    assert_eq!(source.describe().paths, ["/db/dump.sql"]);
    let mut scan = source.scan().expect("scan");
    let entries = first_batch(scan.as_mut());
    let shown: Vec<_> = entries.iter().map(|e| (e.entry.path.to_string(), e.entry.kind.clone())).collect();
    let folder = |name: &str| (name.to_owned(), EntryKind::Directory);
    assert_eq!(shown, [folder(""), folder("db"), ("db/dump.sql".into(), EntryKind::File { size: SIZE_UNKNOWN })]);

    let writer = std::thread::spawn(move || output.write_all(&[5; 300_000]).expect("written"));
    let mut content = source.open(&entries[2]).expect("opens");
    assert!(all(content.as_mut()) == [5; 300_000]);
    writer.join().expect("no panic");
    content.finish(&mut entries[2].entry.clone()).expect("whole");
    assert!(block_on(scan.next()).expect("ends well").is_none());
    assert!(source.open(&entries[2]).is_err());
    assert_eq!(source.scan().err().expect("once").kind(), ErrorKind::Contended);
}

#[test]
fn a_stream_that_cannot_be_read_fails_the_scan() {
    let folder = std::fs::File::open(env!("CARGO_MANIFEST_DIR")).expect("a directory");
    let source = source("x", folder, never());
    let mut scan = source.scan().expect("scan");
    let entries = first_batch(scan.as_mut());
    drop(source.open(&entries[1]).map(|mut content| all(content.as_mut())).expect("opens"));
    let error = block_on(scan.next()).expect_err("fails");
    assert!(error.chain().contains("cannot read the input"), "{error:?}");
}

#[test]
fn a_stream_that_says_nothing_can_be_stopped() {
    let (input, _silent) = std::io::pipe().expect("pipe");
    let source = source("x", input, Arc::new(|| true));
    let mut scan = source.scan().expect("scan");
    let entries = first_batch(scan.as_mut());
    drop(source.open(&entries[1]).map(|mut content| all(content.as_mut())).expect("opens"));
    assert_eq!(block_on(scan.next()).expect_err("stopped").kind(), ErrorKind::Interrupted);
}
