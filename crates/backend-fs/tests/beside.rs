//! Files that take the place of what stands there once they are whole.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Scratch, entry, path, target};
use decube_backup_backend_fs::target::{ExistingRoot, FsTarget, TargetOptions};
use decube_backup_core::EntryKind;
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::target::{FileMode, Target};
use rustix::fs::IFlags;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_stands_there_stays_until_the_new_file_is_finished() {
    let scratch = Scratch::new();
    let root = scratch.path();
    for thing in ["file", "link", "fifo"] {
        match thing {
            "file" => fs::write(root.join(thing), "old").unwrap(),
            "link" => symlink("nowhere", root.join(thing)).unwrap(),
            _ => {
                let mode = rustix::fs::Mode::RWXU;
                rustix::fs::mknodat(rustix::fs::CWD, root.join(thing), rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
        }
        let target = target(root);
        let before = fs::symlink_metadata(root.join(thing)).unwrap();
        let file = target.create_file(&path(thing), FileMode::Beside, 0).unwrap();
        assert!(file.is_beside());
        file.write_at(0, b"new").unwrap();
        target.set_aside(file).unwrap();
        // Closed and opened again, it is still the one beside.
        let file = target.create_file(&path(thing), FileMode::Continue, 0).unwrap();
        assert!(file.is_beside());
        file.write_at(3, b"er").unwrap();
        let there = fs::symlink_metadata(root.join(thing)).unwrap();
        assert_eq!((there.ino(), there.mode(), there.size()), (before.ino(), before.mode(), before.size()), "{thing}");
        let hidden = names(root).into_iter().find(|name| name.starts_with(".decube-restore-")).unwrap();
        assert_eq!(fs::metadata(root.join(&hidden)).unwrap().permissions().mode() & 0o7777, 0o1600);
        assert!(!target.children(&path("")).unwrap().contains(&hidden.into_bytes()), "nobody's business");
        assert_eq!(target.finish_file(file, &entry(thing, EntryKind::File { size: 5 }, 0o640)), []);
        assert_eq!(fs::read(root.join(thing)).unwrap(), b"newer");
        assert_eq!(fs::metadata(root.join(thing)).unwrap().permissions().mode() & 0o7777, 0o640);
        target.remove(&path(thing)).unwrap();
        assert_eq!(names(root), [] as [String; 0], "{thing}");
    }
}

#[test]
fn given_up_nothing_has_happened() {
    let scratch = Scratch::new();
    let root = scratch.path();
    for name in ["discarded", "dropped"] {
        fs::write(root.join(name), "old").unwrap();
    }
    let ours = target(root);
    for name in ["discarded", "dropped"] {
        ours.create_file(&path(name), FileMode::Beside, 0).unwrap().write_at(0, b"new").unwrap();
    }
    ours.discard_file(&path("discarded")).unwrap();
    ours.discard_file(&path("never begun")).unwrap();
    assert_eq!(names(root).len(), 3);
    drop(ours);
    assert_eq!(names(root), ["discarded", "dropped"]);
    for name in ["discarded", "dropped"] {
        assert_eq!(fs::read(root.join(name)).unwrap(), b"old");
    }
    // Whoever is killed leaves the file behind; nobody takes it for their own.
    let killed = target(root);
    killed.create_file(&path("dropped"), FileMode::Beside, 0).unwrap().write_at(0, b"longer than new").unwrap();
    std::mem::forget(killed);
    let left = names(root).remove(0);
    let next = target(root);
    let file = next.create_file(&path("dropped"), FileMode::Beside, 0).unwrap();
    file.write_at(0, b"new").unwrap();
    assert_eq!(next.finish_file(file, &entry("dropped", EntryKind::File { size: 3 }, 0o600)), []);
    assert_eq!((names(root).len(), fs::read(root.join("dropped")).unwrap()), (3, b"new".to_vec()));
    assert_eq!(fs::read(root.join(&left)).unwrap(), b"longer than new");
    assert!(next.existing(&path(&left)).unwrap().unwrap().is_unfinished);
    assert!(!next.existing(&path("dropped")).unwrap().unwrap().is_unfinished);
}

#[test]
fn an_entry_may_have_the_name_of_what_a_killed_restore_left() {
    let scratch = Scratch::new();
    let root = scratch.path();
    let name = ".decube-restore-0123456789abcdef";
    fs::write(root.join("file"), "old").unwrap();
    fs::write(root.join(name), "old").unwrap();
    let target = target(root);
    let put = |name: &str, content: &[u8]| {
        let file = target.create_file(&path(name), FileMode::Beside, 0).unwrap();
        file.write_at(0, content).unwrap();
        (file, entry(name, EntryKind::File { size: content.len() as u64 }, 0o600))
    };
    let (one, other) = (put(name, b"left"), put("file", b"right"));
    assert_eq!(target.finish_file(other.0, &other.1), []);
    assert_eq!(target.finish_file(one.0, &one.1), []);
    assert_eq!(fs::read(root.join(name)).unwrap(), b"left");
    assert_eq!(fs::read(root.join("file")).unwrap(), b"right");
    assert_eq!(names(root).len(), 2);
}

#[test]
fn what_cannot_be_made_takes_nobodys_place() {
    let scratch = Scratch::new();
    let root = scratch.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(root.join("null"), "precious").unwrap();
    fs::set_permissions(root.join("null"), fs::Permissions::from_mode(0o666)).unwrap();
    let device = entry("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666);
    let refused = || {
        let error = target(root).create_special(&device).err().unwrap();
        assert!(error.to_string().contains("cannot create special file"), "{error}");
    };
    let closed = || {
        let error = target(&root.join("closed")).create_file(&path("file"), FileMode::Beside, 0).err().unwrap();
        assert!(error.to_string().contains("to another directory with -t"), "{error}");
    };
    if rustix::process::geteuid().is_root() {
        fs::create_dir(root.join("closed")).unwrap();
        fs::write(root.join("closed/file"), "the user's").unwrap();
        fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(root.join("closed/file"), fs::Permissions::from_mode(0o666)).unwrap();
        common::as_user(|| {
            refused();
            closed();
        });
        assert_eq!(names(&root.join("closed")), ["file"]);
        fs::remove_dir_all(root.join("closed")).unwrap();
    } else {
        refused()
    }
    assert_eq!(fs::read(root.join("null")).unwrap(), b"precious");
    // A link to what is not there.
    let error = target(root).link(&path("missing"), &path("null")).err().unwrap();
    assert!(error.to_string().contains("cannot link"), "{error}");
    assert_eq!(fs::read(root.join("null")).unwrap(), b"precious");
    assert_eq!(names(root), ["null"]);
}

#[test]
fn a_directory_takes_the_place_of_a_file_and_links_that_of_others() {
    let scratch = Scratch::new();
    let root = scratch.path();
    for name in ["one", "two", "three", "original"] {
        fs::write(root.join(name), name).unwrap();
    }
    let target = target(root);
    target.create_directory(&path("one")).unwrap();
    let link = entry("two", EntryKind::Symlink { target: b"elsewhere".to_vec() }, 0o777);
    assert_eq!(target.create_special(&link).unwrap(), []);
    target.link(&path("original"), &path("three")).unwrap();
    assert!(fs::metadata(root.join("one")).unwrap().is_dir());
    assert_eq!(fs::read_link(root.join("two")).unwrap().as_os_str(), "elsewhere");
    assert_eq!(fs::read(root.join("three")).unwrap(), b"original");
    drop(target);
    assert_eq!(names(root), ["one", "original", "three", "two"]);
}

#[test]
fn a_directory_with_content_is_not_replaced() {
    let scratch = Scratch::new();
    let root = scratch.path();
    fs::write(root.join("name"), "old").unwrap();
    let target = target(root);
    let file = target.create_file(&path("name"), FileMode::Beside, 0).unwrap();
    // Somebody else is at work.
    fs::remove_file(root.join("name")).unwrap();
    fs::create_dir_all(root.join("name/inside")).unwrap();
    let problems = target.finish_file(file, &entry("name", EntryKind::File { size: 0 }, 0o600));
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::Unwritable]);
    assert!(problems[0].message.contains("--delete"), "{problems:?}");
    assert_eq!(names(root), ["name"]);
    assert!(root.join("name/inside").is_dir());
}

#[test]
fn what_cannot_be_rewritten_in_place_is_replaced_when_the_new_file_is_whole() {
    let scratch = Scratch::new();
    let root = scratch.path();
    fs::write(root.join("file"), "old").unwrap();
    fs::hard_link(root.join("file"), root.join("other")).unwrap();
    let target = target(root);
    let file = target.create_file(&path("file"), FileMode::InPlace, 0).unwrap();
    assert!(file.is_beside());
    file.write_at(0, b"new").unwrap();
    assert_eq!(fs::read(root.join("file")).unwrap(), b"old");
    assert_eq!(target.finish_file(file, &entry("file", EntryKind::File { size: 3 }, 0o600)), []);
    assert_eq!(fs::read(root.join("file")).unwrap(), b"new");
    assert_eq!(fs::read(root.join("other")).unwrap(), b"old");
}

#[test]
fn an_immutable_directory_that_is_closed_to_its_owner_is_worked_in() {
    let scratch = Scratch::new();
    let root = scratch.path();
    for (at, flag) in [("immutable", IFlags::IMMUTABLE), ("append", IFlags::APPEND)] {
        let closed = root.join(at);
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("file"), "old").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        let directory = fs::File::open(&closed).unwrap();
        let before = rustix::fs::ioctl_getflags(&directory);
        if before.and_then(|before| rustix::fs::ioctl_setflags(&directory, before | flag)).is_err() {
            // Not root, or a file system without flags: then there is no such directory.
            return;
        }
        let is_locked = || rustix::fs::ioctl_getflags(&directory).unwrap().contains(flag);
        let write = |target: &FsTarget, content: &[u8]| {
            target.create_directory(&path(at)).unwrap();
            let name = format!("{at}/file");
            let file = target.create_file(&path(&name), FileMode::Beside, 0).unwrap();
            file.write_at(0, content).unwrap();
            assert_eq!(target.finish_file(file, &entry(&name, EntryKind::File { size: 3 }, 0o600)), []);
            assert_eq!(fs::read(closed.join("file")).unwrap(), content);
        };
        // One that nothing finishes has the flag that it had, one that is finished that of its entry.
        let ours = target(root);
        write(&ours, b"one");
        drop(ours);
        assert!(is_locked(), "{at}");
        for flags in [flag, IFlags::empty()] {
            let ours = target(root);
            write(&ours, b"two");
            let mut wanted = entry(at, EntryKind::Directory, 0o500);
            wanted.meta.flags = flags.bits();
            assert_eq!(ours.finish_directory(&wanted), []);
            drop(ours);
            assert_eq!((is_locked(), fs::metadata(&closed).unwrap().mode() & 0o7777), (!flags.is_empty(), 0o500));
        }
    }
}

#[test]
fn in_an_immutable_directory_everything_is_made_and_replaced() {
    let scratch = Scratch::new();
    let root = scratch.path();
    let locked = root.join("locked");
    fs::create_dir(&locked).unwrap();
    fs::write(locked.join("old"), "old").unwrap();
    let directory = fs::File::open(&locked).unwrap();
    let flags = rustix::fs::ioctl_getflags(&directory);
    let lock = || rustix::fs::ioctl_setflags(&directory, flags? | IFlags::IMMUTABLE);
    if lock().is_err() {
        // Not root, or a file system without flags: then there is no such directory.
        return;
    }
    let is_locked = || rustix::fs::ioctl_getflags(&directory).unwrap().contains(IFlags::IMMUTABLE);
    let ours = target(root);
    for (name, mode) in [("old", FileMode::Beside), ("new", FileMode::New)] {
        lock().unwrap();
        let at = format!("locked/{name}");
        let file = ours.create_file(&path(&at), mode, 0).unwrap();
        file.write_at(0, b"content").unwrap();
        assert_eq!(ours.finish_file(file, &entry(&at, EntryKind::File { size: 7 }, 0o600)), [], "{name}");
        assert_eq!(fs::read(locked.join(name)).unwrap(), b"content", "{name}");
    }
    lock().unwrap();
    ours.create_directory(&path("locked/directory")).unwrap();
    lock().unwrap();
    ours.create_special(&entry("locked/fifo", EntryKind::Fifo, 0o600)).unwrap();
    lock().unwrap();
    ours.link(&path("locked/new"), &path("locked/linked")).unwrap();
    lock().unwrap();
    let begun = ours.create_file(&path("locked/old"), FileMode::Beside, 0).unwrap();
    drop(begun);
    lock().unwrap();
    ours.discard_file(&path("locked/old")).unwrap();
    assert_eq!(names(&locked), ["directory", "fifo", "linked", "new", "old"]);
    // Who finishes a directory says what flags it has; one that nobody finishes has its own again.
    assert_eq!(ours.finish_directory(&entry("locked", EntryKind::Directory, 0o700)), []);
    drop(ours);
    assert!(!is_locked());
    lock().unwrap();
    let other = target(root);
    other.create_directory(&path("locked/more")).unwrap();
    assert!(!is_locked());
    drop(other);
    assert!(is_locked());
    rustix::fs::ioctl_setflags(&directory, flags.unwrap()).unwrap();
}

#[test]
fn a_directory_that_may_go_goes_when_its_place_is_taken() {
    let scratch = Scratch::new();
    let root = scratch.path();
    let ours = target(root);
    for name in ["file", "pipe", "link", "refused"] {
        fs::create_dir_all(root.join(name).join("deep")).unwrap();
        fs::write(root.join(name).join("deep/live"), "live").unwrap();
        ours.gives_way(&path(name));
    }
    fs::write(root.join("original"), "original").unwrap();
    let file = ours.create_file(&path("file"), FileMode::Beside, 0).unwrap();
    file.write_at(0, b"new").unwrap();
    assert!(root.join("file/deep/live").exists());
    assert_eq!(ours.finish_file(file, &entry("file", EntryKind::File { size: 3 }, 0o640)), []);
    assert_eq!(fs::read(root.join("file")).unwrap(), b"new");
    assert_eq!(ours.create_special(&entry("pipe", EntryKind::Fifo, 0o600)).unwrap(), []);
    assert!(!root.join("pipe").is_dir());
    ours.link(&path("original"), &path("link")).unwrap();
    assert_eq!(fs::metadata(root.join("link")).unwrap().nlink(), 2);
    // Neither what cannot be made nor what is given up takes anything.
    assert!(ours.link(&path("missing"), &path("refused")).is_err());
    drop(ours.create_file(&path("refused"), FileMode::Beside, 0).unwrap());
    ours.discard_file(&path("refused")).unwrap();
    drop(ours);
    assert!(root.join("refused/deep/live").exists());
    assert_eq!(names(root), ["file", "link", "original", "pipe", "refused"]);
    // What was allowed to one restore is not to the next.
    let next = target(root);
    let error = next.create_special(&entry("refused", EntryKind::Fifo, 0o600)).err().unwrap();
    assert!(error.to_string().contains("--delete"), "{error}");
    assert!(root.join("refused/deep/live").exists());
}

#[test]
fn a_locked_file_gets_further_names_and_stays_locked() {
    let scratch = Scratch::new();
    let root = scratch.path();
    for (original, flag) in [("immutable", IFlags::IMMUTABLE), ("append", IFlags::APPEND)] {
        fs::write(root.join(original), original).unwrap();
        let file = fs::File::open(root.join(original)).unwrap();
        let flags = rustix::fs::ioctl_getflags(&file);
        if flags.and_then(|flags| rustix::fs::ioctl_setflags(&file, flags | flag)).is_err() {
            // Not root, or a file system without flags: then there is no such file.
            println!("skipped: no flags here");
            return;
        }
        let (new, over) = (format!("{original} new"), format!("{original} over"));
        fs::write(root.join(&over), "old").unwrap();
        let ours = target(root);
        for name in [&new, &over, &over] {
            ours.link(&path(original), &path(name)).unwrap();
            assert!(rustix::fs::ioctl_getflags(&file).unwrap().contains(flag), "{name}");
        }
        // What fails leaves it locked, too.
        fs::create_dir_all(root.join("full/inside")).unwrap();
        assert!(ours.link(&path(original), &path("full")).is_err());
        drop(ours);
        assert_eq!((file.metadata().unwrap().nlink(), fs::read(root.join(&over)).unwrap()), (3, original.into()));
        assert!(rustix::fs::ioctl_getflags(&file).unwrap().contains(flag));
        rustix::fs::ioctl_setflags(&file, flags.unwrap()).unwrap();
    }
    assert_eq!(names(root).len(), 7);
}

#[test]
fn a_target_that_was_there_keeps_its_own_attributes_if_asked_to() {
    let scratch = Scratch::new();
    let recorded = entry("", EntryKind::Directory, 0o711);
    let mode = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().permissions().mode() & 0o7777;
    for (name, existing_root, wanted) in [
        ("there", ExistingRoot::Kept, 0o751),
        ("there", ExistingRoot::AsRecorded, 0o711),
        ("made", ExistingRoot::Kept, 0o711),
        ("begun", ExistingRoot::Kept, 0o711),
    ] {
        let root = scratch.path().join(name);
        if name == "there" {
            fs::create_dir_all(&root).unwrap();
            fs::set_permissions(&root, fs::Permissions::from_mode(0o751)).unwrap();
        }
        if name == "begun" {
            // Made by a restore that was killed.
            let begun = FsTarget::create(&root, TargetOptions { existing_root, ..TargetOptions::default() });
            assert_eq!((begun.is_ok(), mode(name)), (true, 0o1700));
        }
        let ours = FsTarget::create(&root, TargetOptions { existing_root, ..TargetOptions::default() }).unwrap();
        assert_eq!(ours.finish_directory(&recorded), []);
        assert_eq!(mode(name), wanted, "{name} {existing_root:?}");
    }
}
