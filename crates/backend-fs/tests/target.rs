//! A target stays inside its root, is never wider than the final mode, and says what it could not do.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Needs, Scratch, as_user, entry, path, target};
use decube_backup_backend_fs::target::{FsTarget, Ownership, TargetOptions};
use decube_backup_backend_fs::torture::acl;
use decube_backup_core::entry::{Entry, EntryKind, Xattr};
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::target::{FileMode, Target};
use decube_backup_core::{ErrorKind, Result};
use rustix::fs::{IFlags, XattrFlags};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn main() {
    common::main(&[
        ("no_call_follows_a_link_out_of_the_target", Needs::Nothing, no_escape),
        ("a_link_at_the_end_is_replaced_or_left_never_followed", Needs::Nothing, links_at_the_end),
        ("nothing_is_wider_than_0600_or_0700_while_it_is_written", Needs::Nothing, never_wider),
        ("an_existing_file_is_rewritten_in_place_behind_0600", Needs::Nothing, in_place),
        ("a_file_begun_is_continued_or_left_alone", Needs::Nothing, continued),
        ("other_names_of_a_file_never_see_new_content", Needs::Nothing, hard_links_outside),
        ("what_is_in_the_way_is_replaced_unless_it_is_a_full_directory", Needs::Nothing, in_the_way),
        ("content_lands_at_its_offsets_from_several_threads", Needs::Nothing, several_writers),
        ("a_punched_range_reads_as_zeros", Needs::Nothing, punch),
        ("attributes_handed_down_or_left_over_are_removed", Needs::Nothing, leftovers),
        ("an_immutable_file_is_replaced", Needs::Root, immutable),
        ("ownership_can_be_left_alone", Needs::Root, keep_ownership),
        ("names_win_over_numbers_where_they_are_known", Needs::Root, by_name),
        ("an_ordinary_user_keeps_set_id_off_what_is_not_theirs", Needs::Root, set_id_without_owner),
        ("remove_takes_a_tree_and_not_what_links_in_it_name", Needs::Nothing, remove),
        ("children_and_existing_tell_what_is_there", Needs::Nothing, existing),
        ("linking_twice_is_done_once", Needs::Nothing, link_twice),
    ]);
}

fn mode_of(path: impl AsRef<Path>) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn write(target: &dyn Target, name: &str, content: &[u8], mode: u32) -> Result<()> {
    let file = target.create_file(&path(name), FileMode::New, 0)?;
    file.write_at(0, content)?;
    let size = content.len() as u64;
    assert_eq!(target.finish_file(file, &entry(name, EntryKind::File { size }, mode)), []);
    Ok(())
}

fn no_escape() {
    let scratch = Scratch::new();
    scratch.file("outside/file", "precious");
    let root = scratch.directory("target");
    symlink("../outside", root.join("relative")).unwrap();
    symlink(scratch.join("outside"), root.join("absolute")).unwrap();
    symlink("..", root.join("up")).unwrap();
    let before = std::fs::metadata(scratch.join("outside/file")).unwrap();
    let target = target(&root);
    for name in ["relative/file", "absolute/file", "up/outside/file", "relative/new", "up/new"] {
        let at = path(name);
        let file = entry(name, EntryKind::File { size: 0 }, 0o777);
        let link = entry(name, EntryKind::Symlink { target: b"x".to_vec() }, 0o777);
        for mode in [FileMode::New, FileMode::InPlace] {
            assert!(target.create_file(&at, mode, 0).is_err(), "{name}");
        }
        assert!(target.create_directory(&at).is_err(), "{name}");
        assert!(target.create_special(&link).is_err(), "{name}");
        assert!(target.link(&path("up"), &at).is_err(), "{name}");
        assert!(target.link(&at, &path("linked")).is_err(), "{name}");
        assert!(target.children(&at.parent().unwrap()).is_err(), "{name}");
        assert_eq!(target.existing(&at).unwrap(), None, "{name}");
        assert_eq!(target.finish_existing(&file).len(), 1, "{name}");
        assert_eq!(target.finish_directory(&entry(name, EntryKind::Directory, 0o777)).len(), 1, "{name}");
        let _ = target.remove(&at);
    }
    let after = std::fs::metadata(scratch.join("outside/file")).unwrap();
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
    assert_eq!(std::fs::read_dir(scratch.join("outside")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
}

fn links_at_the_end() {
    let scratch = Scratch::new();
    let outside = scratch.file("outside", "precious");
    let directory = scratch.directory("outside directory");
    let (mode, mode_of_directory) = (mode_of(&outside), mode_of(&directory));
    let root = scratch.directory("target");
    let target = target(&root);
    for mode in [FileMode::New, FileMode::Beside, FileMode::InPlace] {
        symlink("../outside", root.join("file")).unwrap();
        let file = target.create_file(&path("file"), mode, 0).unwrap();
        file.write_at(0, b"new").unwrap();
        assert_eq!(target.finish_file(file, &entry("file", EntryKind::File { size: 3 }, 0o644)), []);
        assert!(root.join("file").symlink_metadata().unwrap().is_file());
        target.remove(&path("file")).unwrap();
    }
    symlink("../outside", root.join("link")).unwrap();
    assert_eq!(target.finish_existing(&entry("link", EntryKind::File { size: 8 }, 0o777)).len(), 1);
    assert_eq!(target.finish_existing(&entry("link", EntryKind::Fifo, 0o777)).len(), 1);
    let of_link = entry("link", EntryKind::Symlink { target: b"../outside".to_vec() }, 0o777);
    assert_eq!(target.finish_existing(&of_link), []);
    assert_eq!(root.join("link").symlink_metadata().unwrap().mtime(), 1_000_000_000);
    symlink("../outside directory", root.join("directory")).unwrap();
    target.create_directory(&path("directory")).unwrap();
    assert!(root.join("directory").symlink_metadata().unwrap().is_dir());
    assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
    assert_eq!((mode_of(&outside), mode_of(&directory)), (mode, mode_of_directory));
}

fn never_wider() {
    let scratch = Scratch::new();
    let root = scratch.directory("target");
    // Even where the directory hands down rights to others, and takes some from the owner.
    let mut handed_down = acl(7);
    handed_down[6] = 4;
    let handed = rustix::fs::setxattr(&root, "system.posix_acl_default", &handed_down, XattrFlags::empty());
    println!("default ACL: {handed:?}");
    let target = target(&root);
    target.create_directory(&path("directory")).unwrap();
    assert_eq!(mode_of(root.join("directory")) & 0o077, 0);
    let file = target.create_file(&path("directory/file"), FileMode::New, 0).unwrap();
    file.write_at(0, b"secret").unwrap();
    assert_eq!(mode_of(root.join("directory/file")), 0o1600);
    let finished = entry("directory/file", EntryKind::File { size: 6 }, 0o664);
    assert_eq!(target.finish_file(file, &finished), []);
    assert_eq!(target.finish_directory(&entry("directory", EntryKind::Directory, 0o2775)), []);
    assert_eq!((mode_of(root.join("directory/file")), mode_of(root.join("directory"))), (0o664, 0o2775));
    let meta = std::fs::metadata(root.join("directory/file")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 123_456_789));
}

fn in_place() {
    let scratch = Scratch::new();
    let existing = scratch.file("target/file", "old content");
    std::fs::set_permissions(&existing, std::fs::Permissions::from_mode(0o666)).unwrap();
    let target = target(&scratch.join("target"));
    let inode = std::fs::metadata(&existing).unwrap().ino();
    let file = target.create_file(&path("file"), FileMode::InPlace, 0).unwrap();
    assert_eq!(mode_of(&existing), 0o1600);
    let mut buffer = [0; 100];
    assert_eq!(file.read_at(4, &mut buffer).unwrap(), 7);
    assert_eq!(&buffer[..7], b"content");
    file.write_at(0, b"new").unwrap();
    file.set_len(5).unwrap();
    assert_eq!(target.finish_file(file, &entry("file", EntryKind::File { size: 5 }, 0o640)), []);
    assert_eq!((std::fs::read(&existing).unwrap(), mode_of(&existing)), (b"new c".to_vec(), 0o640));
    assert_eq!(std::fs::metadata(&existing).unwrap().ino(), inode);
}

fn continued() {
    let scratch = Scratch::new();
    let root = scratch.directory("target");
    let target = target(&root);
    let begun = target.create_file(&path("file"), FileMode::New, 0).unwrap();
    begun.write_at(0, b"begun").unwrap();
    target.set_aside(begun).unwrap();
    // A snapshot of the target taken meanwhile gives the file another name; that is no reason to begin anew.
    std::fs::hard_link(root.join("file"), root.join("other name")).unwrap();
    let again = target.create_file(&path("file"), FileMode::Continue, 0).unwrap();
    again.write_at(5, b" and done").unwrap();
    target.set_aside(again).unwrap();
    assert_eq!(std::fs::read(root.join("file")).unwrap(), b"begun and done");
    std::fs::remove_file(root.join("file")).unwrap();
    assert!(target.create_file(&path("file"), FileMode::Continue, 0).is_err());
    symlink("other name", root.join("file")).unwrap();
    assert!(target.create_file(&path("file"), FileMode::Continue, 0).is_err());
    assert_eq!(std::fs::read(root.join("other name")).unwrap(), b"begun and done");
}

fn hard_links_outside() {
    let scratch = Scratch::new();
    let outside = scratch.file("outside", "precious");
    let root = scratch.directory("target");
    std::fs::hard_link(&outside, root.join("file")).unwrap();
    let target = target(&root);
    let file = target.create_file(&path("file"), FileMode::InPlace, 0).unwrap();
    file.write_at(0, b"changed").unwrap();
    assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
}

fn in_the_way() {
    let scratch = Scratch::new();
    let root = scratch.directory("target");
    let target = target(&root);
    let special = |name: &str, kind| target.create_special(&entry(name, kind, 0o644));
    for thing in ["file", "link", "fifo", "empty directory"] {
        let stand = |name: &str| match thing {
            "file" => write(&target, name, b"old", 0o444).unwrap(),
            "link" => assert_eq!(special(name, EntryKind::Symlink { target: b"nowhere".to_vec() }).unwrap(), []),
            "fifo" => assert_eq!(special(name, EntryKind::Fifo).unwrap(), []),
            _ => target.create_directory(&path(name)).unwrap(),
        };
        for name in ["a", "b", "c", "d", "e"] {
            stand(name);
        }
        write(&target, "a", b"new", 0o644).unwrap();
        assert_eq!(std::fs::read(root.join("a")).unwrap(), b"new", "{thing}");
        assert_eq!(special("b", EntryKind::Symlink { target: b"a".to_vec() }).unwrap(), [], "{thing}");
        assert_eq!(special("c", EntryKind::Fifo).unwrap(), [], "{thing}");
        target.create_directory(&path("d")).unwrap();
        assert!(root.join("d").symlink_metadata().unwrap().is_dir(), "{thing}");
        target.link(&path("a"), &path("e")).unwrap();
        assert_eq!(std::fs::metadata(root.join("e")).unwrap().nlink(), 2, "{thing}");
        for name in ["a", "b", "c", "d", "e"] {
            target.remove(&path(name)).unwrap();
        }
    }
    std::fs::create_dir_all(root.join("full/inside")).unwrap();
    let file = target.create_file(&path("full"), FileMode::New, 0).unwrap();
    let problems = target.finish_file(file, &entry("full", EntryKind::File { size: 0 }, 0o600));
    assert_eq!(problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [ProblemKind::Unwritable]);
    assert!(problems[0].message.contains("--delete"), "{problems:?}");
    let error = special("full", EntryKind::Fifo).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1);
    target.create_directory(&path("full")).unwrap();
    assert!(root.join("full/inside").is_dir());
}

fn several_writers() {
    let scratch = Scratch::new();
    let target = target(scratch.path());
    let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
    std::thread::scope(|scope| {
        for part in 0..4u8 {
            let file = &file;
            scope.spawn(move || {
                for at in 0..50 {
                    file.write_at((at * 4 + u64::from(part)) * 1000, &[part; 1000]).unwrap();
                }
            });
        }
    });
    let content = std::fs::read(scratch.join("file")).unwrap();
    assert_eq!(content.len(), 200_000);
    assert!(content.chunks(1000).enumerate().all(|(at, chunk)| chunk.iter().all(|&b| usize::from(b) == at % 4)));
}

fn punch() {
    let scratch = Scratch::new();
    let target = target(scratch.path());
    let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
    file.write_at(0, &[1; 100_000]).unwrap();
    file.punch(10_000, 50_000).unwrap();
    file.punch(200_000, 1000).unwrap();
    file.punch(0, 0).unwrap();
    let content = std::fs::read(scratch.join("file")).unwrap();
    assert_eq!(content.len(), 100_000);
    assert!(content.iter().enumerate().all(|(at, &b)| (b == 0) == (10_000..60_000).contains(&at)));
}

fn leftovers() {
    let scratch = Scratch::new();
    let root = scratch.directory("target");
    let set = |path: &Path, name: &str, value: &[u8]| rustix::fs::setxattr(path, name, value, XattrFlags::empty());
    if set(&root, "system.posix_acl_default", &acl(7)).is_err() {
        println!("no ACLs here");
        return;
    }
    let target = target(&root);
    write(&target, "file", b"content", 0o640).unwrap();
    set(&root.join("file"), "user.stale", b"1").unwrap();
    let listed = |name: &str| {
        let mut buffer = [0; 1000];
        let len = rustix::fs::listxattr(root.join(name), &mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    };
    assert_eq!(listed("file"), "user.stale\0");
    let mut wanted = entry("file", EntryKind::File { size: 7 }, 0o640);
    wanted.meta.xattrs = vec![Xattr { name: b"user.kept".to_vec(), value: b"2".to_vec() }];
    assert_eq!(target.finish_existing(&wanted), []);
    assert_eq!(listed("file"), "user.kept\0");
    assert_eq!(target.create_special(&entry("fifo", EntryKind::Fifo, 0o666)).unwrap(), []);
    assert_eq!((listed("fifo").as_str(), mode_of(root.join("fifo"))), ("", 0o666));
}

fn immutable() {
    let scratch = Scratch::new();
    let root = scratch.directory("target");
    let target = target(&root);
    for flag in [IFlags::IMMUTABLE, IFlags::APPEND] {
        let mut flagged = entry("file", EntryKind::File { size: 0 }, 0o644);
        flagged.meta.flags = flag.bits();
        let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
        assert_eq!(target.finish_file(file, &flagged), []);
        assert_eq!(target.finish_existing(&flagged), []);
        write(&target, "file", b"new", 0o644).unwrap();
        assert_eq!(std::fs::read(root.join("file")).unwrap(), b"new");
    }
}

fn owned(name: &str, uid: u32, gid: u32, mode: u32) -> Entry {
    let mut entry = entry(name, EntryKind::File { size: 0 }, mode);
    (entry.meta.uid, entry.meta.gid) = (uid, gid);
    entry
}

fn keep_ownership() {
    let scratch = Scratch::new();
    let options = TargetOptions { ownership: Ownership::Keep, ..TargetOptions::default() };
    let target = FsTarget::create(&scratch.join("target"), options).unwrap();
    let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
    assert_eq!(target.finish_file(file, &owned("file", 1234, 1234, 0o644)), []);
    assert_eq!(std::fs::metadata(scratch.join("target/file")).unwrap().uid(), 0);
    // Set-id bits would hand out the rights of an owner who was never meant.
    let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
    assert_eq!(target.finish_file(file, &owned("file", 1234, 1234, 0o4755)).len(), 1);
    assert_eq!(mode_of(scratch.join("target/file")), 0o755);
}

fn by_name() {
    let scratch = Scratch::new();
    let options = TargetOptions { ownership: Ownership::ByName, ..TargetOptions::default() };
    let target = FsTarget::create(&scratch.join("target"), options).unwrap();
    let mut entry = owned("file", 1234, 1234, 0o644);
    (entry.meta.user, entry.meta.group) = ("root".into(), "no such group here".into());
    let file = target.create_file(&path("file"), FileMode::New, 0).unwrap();
    assert_eq!(target.finish_file(file, &entry), []);
    let meta = std::fs::metadata(scratch.join("target/file")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (0, 1234));
}

fn set_id_without_owner() {
    let scratch = Scratch::new();
    let root = scratch.directory("target");
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(&root, Some(common::USER), Some(common::USER)).unwrap();
    as_user(|| {
        let target = target(&root);
        let restore = |name: &str, entry: &Entry| {
            let file = target.create_file(&path(name), FileMode::New, 0).unwrap();
            target.finish_file(file, entry)
        };
        assert_eq!(restore("own", &owned("own", common::USER, common::USER, 0o4755)), []);
        let problems = restore("other", &owned("other", 0, 0, 0o6755));
        let shown: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown[0].contains("owner 0:0") && shown[1].contains("mode 6755"), "{shown:?}");
        // A directory closed to its owner is opened for the time of the restore.
        target.create_directory(&path("closed")).unwrap();
        target.finish_directory(&entry("closed", EntryKind::Directory, 0o500));
        target.create_directory(&path("closed")).unwrap();
        write(&target, "closed/file", b"x", 0o600).unwrap_or_else(|e| panic!("{e:?}"));
        assert!(target.finish_directory(&entry("closed", EntryKind::Directory, 0o500)).is_empty());
    });
    assert_eq!((mode_of(root.join("own")), mode_of(root.join("other"))), (0o4755, 0o755));
    assert_eq!(mode_of(root.join("closed")), 0o500);
}

fn remove() {
    let scratch = Scratch::new();
    scratch.file("outside/file", "precious");
    let root = scratch.directory("target");
    for name in ["tree/a/b/c/file", "tree/a/file", "tree/d/file", "stays"] {
        scratch.file(&format!("target/{name}"), "x");
    }
    symlink("../../outside", root.join("tree/link")).unwrap();
    for (name, mode) in [("tree/a/b/c", 0o400), ("tree/a/b", 0o500), ("tree/a", 0o000)] {
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let target = target(&root);
    target.remove(&path("tree")).unwrap();
    target.remove(&path("tree")).unwrap();
    assert_eq!(target.children(&path("")).unwrap(), [b"stays".to_vec()]);
    assert!(scratch.join("outside/file").exists());
}

fn existing() {
    let scratch = Scratch::new();
    let target = target(scratch.path());
    write(&target, "file", b"12345", 0o644).unwrap();
    target.create_directory(&path("directory")).unwrap();
    target.create_special(&entry("link", EntryKind::Symlink { target: b"\xff".to_vec() }, 0o777)).unwrap();
    let kind = |name: &str| target.existing(&path(name)).unwrap().map(|e| e.kind);
    assert_eq!(kind("file"), Some(EntryKind::File { size: 5 }));
    assert_eq!(kind("directory"), Some(EntryKind::Directory));
    assert_eq!(kind(""), Some(EntryKind::Directory));
    assert_eq!(kind("link"), Some(EntryKind::Symlink { target: b"\xff".to_vec() }));
    assert_eq!((kind("missing"), kind("missing/below"), kind("file/below")), (None, None, None));
    let mut children = target.children(&path("")).unwrap();
    children.sort();
    assert_eq!(children, [b"directory".to_vec(), b"file".to_vec(), b"link".to_vec()]);
    assert!(target.children(&path("file")).is_err());
    assert_eq!(target.existing(&path("file")).unwrap().unwrap().mtime.nanoseconds, 123_456_789);
}

fn link_twice() {
    let scratch = Scratch::new();
    let target = target(scratch.path());
    write(&target, "first", b"x", 0o644).unwrap();
    for _ in 0..2 {
        target.link(&path("first"), &path("second")).unwrap();
        assert_eq!(std::fs::metadata(scratch.join("first")).unwrap().nlink(), 2);
    }
    assert!(target.link(&path("missing"), &path("third")).is_err());
}
