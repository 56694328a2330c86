//! Work grows with what changed, not with what is there: counted in calls, not in seconds.

use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::{Harness, path};
use decube_backup_engine::options::InitOptions;
use decube_backup_testkit::RecordingSink;
use decube_backup_testkit::recording::Op;
use std::sync::Arc;

const FILES: u64 = 200_000;
const FILE_BYTES: u64 = 300;

#[test]
fn two_hundred_thousand_files_take_few_objects_and_an_unchanged_backup_takes_one() {
    let files = (0..FILES).map(|n| MadeUpFile {
        path: path(&format!("{:03}/{:06}", n / 1000, n)),
        seed: n,
        len: FILE_BYTES,
        behaviour: Behaviour::Fine,
    });
    let mut source = MadeUp::new(files.collect());
    let harness = Harness::with_repository(&InitOptions::default());
    let recording = Arc::new(RecordingSink::new(harness.sink.clone()));
    let watched = harness.through(recording.clone());

    let first = watched.backup_source(&source, "large").expect("backup");
    assert_eq!((first.files_new, first.bytes, first.entries), (FILES, FILES * FILE_BYTES, FILES + 201));
    assert_eq!(source.take_opened(), FILES);
    let puts = recording.tally(Op::Put, "");
    let packs_expected = first.bytes_new / (16 << 20) + 1 + (8 << 20) * 4 / (8 << 20);
    assert!(puts.calls <= packs_expected + 2, "{} objects", puts.calls);
    // 60 MB that do not compress, and what it takes to find them again.
    assert!(puts.amount < first.bytes + 30 * FILES * 4, "{} bytes for {}", puts.amount, first.bytes);

    recording.reset();
    let second = watched.backup_source(&source, "large").expect("backup");
    assert_eq!((second.files_unchanged, source.take_opened()), (FILES, 0));
    assert_eq!(recording.tally(Op::Put, "").calls, 1, "only the record");
    assert_eq!(recording.tally(Op::Get, "packs/d/").calls, 0);
    let all_gets = recording.tally(Op::Get, "").calls;
    assert!(all_gets < 100, "the parent tree takes {all_gets} requests");

    recording.reset();
    for n in [7, 100_007, 199_999] {
        source.files[n].seed += 1 << 32;
    }
    let third = watched.backup_source(&source, "large").expect("backup");
    assert_eq!((third.files_changed, third.bytes_new, source.take_opened()), (3, 3 * FILE_BYTES, 3));
    let puts = recording.tally(Op::Put, "");
    assert!(puts.calls <= 4 && puts.amount < 500_000, "{puts:?}");
}
