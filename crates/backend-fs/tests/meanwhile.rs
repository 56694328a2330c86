//! Somebody else is at work in the target while a restore is.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Scratch, entry, path, target};
use decube_backup_core::EntryKind;
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::target::{FileMode, Target, TargetFile};
use std::fs;
use std::path::Path;

const MIB: usize = 1 << 20;

/// Begins the file `name`, of 1 MiB and more.
fn begin(target: &dyn Target, name: &str, mode: FileMode) -> Box<dyn TargetFile> {
    let file = target.create_file(&path(name), mode, 0).unwrap();
    file.write_at(0, &vec![b's'; MIB + 1]).unwrap();
    file
}

fn check_theirs(root: &Path, name: &str) {
    assert_eq!(fs::read(root.join(name)).unwrap(), b"theirs", "{name}");
}

/// As editors save: a new file is renamed over the old one. Also one that has its other name outside.
fn replace(root: &Path, name: &str, outside: &Path) {
    fs::write(outside, "theirs").unwrap();
    fs::hard_link(outside, root.join("new")).unwrap();
    fs::rename(root.join("new"), root.join(name)).unwrap();
}

#[test]
fn a_file_that_was_replaced_is_not_gone_on_with() {
    let scratch = Scratch::new();
    let (root, outside) = (scratch.directory("target"), scratch.join("outside"));
    for (mode, again) in [(FileMode::New, FileMode::Continue), (FileMode::InPlace, FileMode::ContinueInPlace)] {
        let _ = fs::remove_file(root.join("file"));
        if mode == FileMode::InPlace {
            fs::write(root.join("file"), vec![b'o'; 2 * MIB]).unwrap();
        }
        let target = target(&root);
        target.set_aside(begin(&target, "file", mode)).unwrap();
        // As it is, it is gone on with.
        target.set_aside(target.create_file(&path("file"), again, 0).unwrap()).unwrap();
        replace(&root, "file", &outside);
        let error = target.create_file(&path("file"), again, 0).err().unwrap();
        assert!(error.to_string().contains("was replaced while it was restored"), "{error}");
        check_theirs(&root, "file");
    }
    // What has the mark and is another one all the same.
    let target = target(&root);
    target.set_aside(begin(&target, "marked", FileMode::New)).unwrap();
    fs::rename(root.join("marked"), root.join("moved")).unwrap();
    drop(target.create_file(&path("marked"), FileMode::New, 0).unwrap());
    assert!(target.create_file(&path("marked"), FileMode::Continue, 0).is_err());
}

#[test]
fn a_file_that_was_replaced_is_not_finished() {
    let scratch = Scratch::new();
    let (root, outside) = (scratch.directory("target"), scratch.join("outside"));
    let target = target(&root);
    let file = begin(&target, "file", FileMode::New);
    replace(&root, "file", &outside);
    let before = fs::metadata(&outside).unwrap();
    let problems = target.finish_file(file, &entry("file", EntryKind::File { size: MIB as u64 + 1 }, 0o600));
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::Unwritable]);
    assert!(problems[0].message.contains("was replaced while it was restored"), "{problems:?}");
    check_theirs(&root, "file");
    let after = fs::metadata(&outside).unwrap();
    assert_eq!((after.permissions(), after.modified().unwrap()), (before.permissions(), before.modified().unwrap()));
}

#[test]
fn one_file_is_written_by_one_restore() {
    let scratch = Scratch::new();
    let root = scratch.directory("target");
    let (one, other) = (target(&root), target(&root));
    fs::write(root.join("old"), vec![b'o'; 2 * MIB]).unwrap();
    for (name, mode) in [("old", FileMode::InPlace), ("new", FileMode::New)] {
        let file = begin(&one, name, mode);
        let error = other.create_file(&path(name), FileMode::InPlace, 0).err().unwrap();
        assert!(error.to_string().contains("another restore is writing this file"), "{error}");
        let wanted = entry(name, EntryKind::File { size: 5 }, 0o640);
        file.set_len(5).unwrap();
        assert_eq!(one.finish_file(file, &wanted), []);
        assert_eq!(fs::read(root.join(name)).unwrap(), b"sssss");
        // When the first is done, the second may.
        let file = other.create_file(&path(name), FileMode::InPlace, 0).unwrap();
        assert_eq!(other.finish_file(file, &wanted), []);
    }
}

#[test]
fn one_restore_opens_its_own_file_as_often_as_it_likes() {
    let scratch = Scratch::new();
    let root = scratch.directory("target");
    let target = target(&root);
    fs::write(root.join("file"), vec![b'o'; 2 * MIB]).unwrap();
    let (old, worker) = (begin(&target, "file", FileMode::InPlace), FileMode::ContinueInPlace);
    let open = || target.create_file(&path("file"), worker, 0).unwrap();
    let handle = open();
    target.set_aside(old).unwrap();
    handle.write_at(0, b"new").unwrap();
    target.set_aside(handle).unwrap();
    let handle = open();
    handle.set_len(4).unwrap();
    assert_eq!(target.finish_file(handle, &entry("file", EntryKind::File { size: 4 }, 0o600)), []);
    assert_eq!(fs::read(root.join("file")).unwrap(), b"news");
}
