//! What goes in comes out, and what did not change is not read again.

mod common;

use common::source::Counting;
use common::{Harness, plant, small_packs, source_of};

#[test]
fn a_small_tree_comes_back_and_the_second_backup_reads_nothing() {
    let tree = tempfile::tempdir().expect("temp");
    plant(tree.path(), 1);
    let harness = Harness::with_repository(&small_packs());
    let source = Counting::new(source_of(tree.path()));
    let first = harness.backup_source(&source, "tree").expect("first backup");
    assert!(!source.take_opened().is_empty());
    harness.assert_restores(&first.snapshot.expect("a snapshot"), tree.path(), "first");
    harness.assert_sound("first");
    let second = harness.backup_source(&source, "tree").expect("second backup");
    assert_eq!(source.take_opened(), [] as [String; 0]);
    assert_eq!((second.files_new, second.files_changed, second.bytes_read), (0, 0, 0));
    harness.assert_restores(&second.snapshot.expect("a snapshot"), tree.path(), "second");
}
