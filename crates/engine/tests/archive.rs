//! A dumped tree, unpacked by the system's own `tar`.

mod common;

use common::{Harness, Scratch, inside, source_of};
use decube_backup_backend_fs::compare::{CompareOptions, compare_trees};
use decube_backup_backend_fs::torture::{self, Scale};
use decube_backup_core::monitor::Silent;
use decube_backup_engine::dump::dump_tar;
use decube_backup_engine::options::InitOptions;
use std::fs;
use std::process::Command;

#[test]
fn tar_unpacks_a_dump_with_everything_that_tar_knows() {
    let tree = Scratch::new();
    // No deeper than a path may be long.
    torture::build(tree.path(), Scale { depth: 20, ..Scale::SMALL }).expect("built");
    let harness = Harness::with_repository(&InitOptions::default());
    let id = harness.backup_source(&source_of(tree.path()), "torture").expect("backup").snapshot.expect("a snapshot");
    let to = Scratch::new();
    let archive = to.path().join("archive.tar");
    let mut out = fs::File::create(&archive).expect("file");
    let subtree = inside(tree.path());
    let lost = dump_tar(&harness.repository(), &harness.snapshot(&id), &subtree, &mut out, &Silent).expect("dumped");
    assert!(lost.is_empty(), "{lost:?}");
    let unpacked = to.path().join("unpacked");
    fs::create_dir(&unpacked).expect("folder");
    let options = ["--same-permissions", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "-xf"];
    let done = Command::new("tar").args(options).arg(&archive).arg("-C").arg(&unpacked).output().expect("tar ran");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let root = unpacked.join(tree.path().strip_prefix("/").expect("absolute"));
    let differences = compare_trees(tree.path(), &root, CompareOptions::default()).expect("comparable");
    // An archive has no place for inode flags.
    let differences: Vec<_> = differences.iter().filter(|d| !d.what.starts_with("inode flags")).collect();
    assert!(differences.is_empty(), "{differences:?}");
}
