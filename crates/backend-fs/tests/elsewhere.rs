//! Targets that other file systems are mounted below, that lie on others, or on such as fold names.
//!
//! Its own harness: what this host cannot test shows as ignored, with the reason, never as passed.

#[path = "hosts/images.rs"]
mod images;
#[path = "hosts/mounts.rs"]
mod mounts;

use decube_backup_backend_fs::target::{FsTarget, TargetOptions};
use decube_backup_core::entry::{Entry, EntryKind, Metadata, Xattr};
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::target::{FileMode, Target};
use decube_backup_core::{EntryPath, ErrorKind, Result, Timestamp};
use images::InImage;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use mounts::Mounted;
use rustix::fs::IFlags;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

type Tested = std::result::Result<Completion, Failed>;
type Test = (&'static str, fn() -> Tested);

fn main() {
    let tests: [Test; 8] = [
        ("nothing_is_removed_from_what_is_mounted_below", mounted_below),
        ("without_its_acl_a_file_is_not_wider_than_it_was", without_acl),
        ("a_file_not_to_be_copied_on_write_comes_back_as_such", not_copied_on_write),
        ("what_was_restored_under_one_name_does_not_go_for_another_spelling", spellings),
        ("names_that_differ_in_case_are_all_restored_where_they_are_told_apart", told_apart),
        ("what_a_file_system_drops_without_a_word_is_said", dropped),
        ("times_are_compared_as_the_file_system_keeps_them", cut_times),
        ("where_no_mark_is_kept_a_file_has_another_name_until_it_is_whole", unmarked),
    ];
    let host = mounts::can_mount();
    let trials = tests.map(|(name, test)| {
        Trial::ignorable_test(name, move || match host {
            Ok(()) => test(),
            Err(reason) => Ok(Completion::ignored_with(reason)),
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

fn mounted_below() -> Tested {
    let mount = Mounted::tmpfs("size=1m")?;
    fs::create_dir(mount.path().join("directory"))?;
    fs::write(mount.path().join("directory/file"), "of another file system")?;
    let above = mount.path().parent().ok_or("no root")?;
    let target = FsTarget::create(above, TargetOptions::default())?;
    let name = EntryPath::new(mount.path().file_name().ok_or("no root")?.as_encoded_bytes())?;
    for refused in [name.clone(), name.join(b"directory")?] {
        let error = target.remove(&refused).err().ok_or("removed")?;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert!(mount.path().join("directory/file").exists());
    }
    // Deeper it is one file system again, and the walk was in it.
    target.remove(&name.join(b"directory")?.join(b"file")?)?;
    assert!(!mount.path().join("directory/file").exists());
    // The root may be one itself.
    FsTarget::create(mount.path(), TargetOptions::default())?.remove(&EntryPath::new(*b"directory")?)?;
    assert!(!mount.path().join("directory").exists());
    Ok(Completion::Completed)
}

fn without_acl() -> Tested {
    // It keeps no extended attributes at all.
    let mount = Mounted::of_kind("ramfs", "mode=700")?;
    let target = FsTarget::create(mount.path(), TargetOptions::default())?;
    // user::rw- user:1000:rw- group::r-- mask::rw- other::---: the mode shows the mask.
    let rows = [(1, 6, u32::MAX), (2, 6, 1000), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
    let rows = rows.map(|(tag, bits, id): (u8, u8, u32)| [&[tag, 0, bits, 0][..], &id.to_le_bytes()].concat());
    let value = [&[2, 0, 0, 0][..], &rows.concat()].concat();
    let xattrs = vec![Xattr { name: b"system.posix_acl_access".to_vec(), value }];
    let meta = Metadata { mode: 0o660, xattrs, ..Metadata::default() };
    let path = EntryPath::new(*b"file")?;
    let file = target.create_file(&path, FileMode::New, 0)?;
    let problems = target.finish_file(file, &Entry { path, kind: EntryKind::File { size: 0 }, meta });
    assert_eq!(fs::metadata(mount.path().join("file"))?.permissions().mode() & 0o7777, 0o640);
    assert!(problems.iter().any(|p| p.message.contains("0660, it stays 0640: without its ACL")), "{problems:?}");
    Ok(Completion::Completed)
}

/// One to which `a` and `A` are one name.
fn folding() -> io::Result<InImage> {
    let fat = || InImage::made_by(&["mkfs.vfat"], "vfat", "loop");
    let ntfs = || InImage::made_by(&["mkntfs", "-q", "-F"], "lowntfs-3g", "loop,ignore_case");
    fat().or_else(|_| ntfs())
}

fn not_copied_on_write() -> Tested {
    let Ok(image) = InImage::made_by(&["mkfs.btrfs", "-q"], "btrfs", "loop") else {
        return Ok(Completion::ignored_with("no btrfs can be made here"));
    };
    let mount = image.path();
    let meta = Metadata { flags: IFlags::NOCOW.bits(), mode: 0o600, ..Metadata::default() };
    for mode in [FileMode::New, FileMode::InPlace] {
        let target = target(mount)?;
        let file = target.create_file(&path("disk")?, mode, meta.flags)?;
        file.write_at(0, b"of a machine")?;
        let kind = EntryKind::File { size: 12 };
        let problems = target.finish_file(file, &Entry { path: path("disk")?, kind, meta: meta.clone() });
        assert_eq!(problems, []);
        let flags = rustix::fs::ioctl_getflags(fs::File::open(mount.join("disk"))?)?;
        assert!(flags.contains(IFlags::NOCOW), "{flags:?}");
    }
    Ok(Completion::Completed)
}

fn target(on: &Path) -> Result<FsTarget> {
    FsTarget::create(on, TargetOptions::default())
}

fn path(name: &str) -> Result<EntryPath> {
    EntryPath::new(name.as_bytes())
}

fn write(target: &FsTarget, name: &str, content: &str, mode: FileMode) -> Result<()> {
    let file = target.create_file(&path(name)?, mode, 0)?;
    file.write_at(0, content.as_bytes())?;
    let kind = EntryKind::File { size: content.len() as u64 };
    let entry = Entry { path: path(name)?, kind, meta: Metadata { mode: 0o600, ..Metadata::default() } };
    let problems = target.finish_file(file, &entry);
    assert!(problems.iter().all(|problem| problem.kind == ProblemKind::Attribute), "{problems:?}");
    Ok(())
}

fn spellings() -> Tested {
    let Ok(image) = folding() else { return Ok(Completion::ignored_with("no file system here folds names")) };
    let mount = image.path();
    let first = target(mount)?;
    let read = || fs::read_to_string(mount.join("A"));
    write(&first, "A", "first", FileMode::New)?;
    assert_eq!(fs::read_to_string(mount.join("a"))?, "first", "it does not fold");
    assert_eq!(first.existing(&path("a")?)?, None);
    let link = EntryKind::Symlink { target: b"x".to_vec() };
    let errors = [
        write(&first, "a", "second", FileMode::New).err(),
        write(&first, "a", "second", FileMode::InPlace).err(),
        first.create_directory(&path("a")?).err(),
        first.create_special(&Entry { path: path("a")?, kind: link, meta: Metadata::default() }).err(),
        first.link(&path("a")?, &path("b")?).err(),
    ];
    for error in errors {
        assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::AlreadyExists));
    }
    assert_eq!(read()?, "first");
    first.create_directory(&path("Directory")?)?;
    write(&first, "Directory/file", "inside", FileMode::New)?;
    assert!(first.create_directory(&path("directory")?).is_err());
    // What an earlier restore left is nobody's yet, however the file system spells it.
    let again = target(mount)?;
    write(&again, "A", "third", FileMode::New)?;
    assert_eq!(read()?, "third");
    again.create_directory(&path("Directory")?)?;
    assert!(write(&again, "a", "fourth", FileMode::InPlace).is_err());
    assert_eq!(read()?, "third");
    Ok(Completion::Completed)
}

fn told_apart() -> Tested {
    // One that is not known not to fold.
    let memory = Mounted::of_kind("ramfs", "mode=700")?;
    let mount = memory.path();
    for content in ["once", "again"] {
        let target = target(mount)?;
        for mode in [FileMode::New, FileMode::InPlace] {
            for name in ["A", "a", "Stra\u{df}e", "STRASSE"] {
                write(&target, name, &format!("{content} {name}"), mode)?;
            }
        }
        target.link(&path("a")?, &path("b")?)?;
        target.link(&path("a")?, &path("B")?)?;
        target.create_directory(&path("D")?)?;
        target.create_directory(&path("d")?)?;
        for (name, holds) in [("A", "A"), ("a", "a"), ("b", "a"), ("B", "a"), ("STRASSE", "STRASSE")] {
            assert_eq!(fs::read_to_string(mount.join(name))?, format!("{content} {holds}"));
        }
    }
    Ok(Completion::Completed)
}

/// A file, a directory and a time that no such file system keeps.
fn wanted(name: &str, kind: EntryKind) -> Result<Entry> {
    let mtime = Timestamp { seconds: 1_000_000_001, nanoseconds: 123_456_789 };
    Ok(Entry {
        path: path(name)?,
        kind,
        meta: Metadata { mode: 0o640, uid: 1234, gid: 1234, mtime, ..Metadata::default() },
    })
}

fn finished(target: &FsTarget, entry: &Entry) -> Result<Vec<String>> {
    let file = target.create_file(&entry.path, FileMode::New, 0)?;
    Ok(target.finish_file(file, entry).into_iter().map(|problem| problem.message).collect())
}

/// One that shows every file with the same mode and owner.
fn forgetting() -> io::Result<InImage> {
    let fat = || InImage::made_by(&["mkfs.vfat"], "vfat", "loop,quiet");
    let ntfs = || InImage::made_by(&["mkntfs", "-q", "-F"], "lowntfs-3g", "loop,silent");
    fat().or_else(|_| ntfs())
}

fn dropped() -> Tested {
    let Ok(image) = forgetting() else { return Ok(Completion::ignored_with("no file system here drops anything")) };
    let target = target(image.path())?;
    for (name, at_first) in [("a", true), ("b", false)] {
        let said = finished(&target, &wanted(name, EntryKind::File { size: 0 })?)?;
        assert!(said.iter().any(|m| m.contains("cannot set mode 0640, the file system keeps 0")), "{said:?}");
        assert!(said.iter().any(|m| m.contains("cannot set owner 1234:1234, the file system keeps 0:0")), "{said:?}");
        // Of all files at once.
        assert_eq!(said.iter().any(|m| m.contains("cuts them to multiples of")), at_first, "{said:?}");
    }
    // Where everything is kept, nothing is said.
    let memory = Mounted::tmpfs("size=1m")?;
    let target = FsTarget::create(memory.path(), TargetOptions::default())?;
    for name in ["a", "b"] {
        assert_eq!(finished(&target, &wanted(name, EntryKind::File { size: 0 })?)?, [] as [String; 0]);
    }
    Ok(Completion::Completed)
}

fn cut_times() -> Tested {
    let entry = wanted("file", EntryKind::File { size: 0 })?;
    for (mkfs, kind, options, seconds) in [
        (&["mkfs.ext4", "-q", "-I", "128"][..], "ext4", "loop", 1_000_000_001),
        (&["mkfs.vfat"][..], "vfat", "loop,tz=UTC", 1_000_000_000),
    ] {
        let Ok(image) = InImage::made_by(mkfs, kind, options) else { continue };
        let said = finished(&target(image.path())?, &entry)?;
        assert!(said.iter().any(|m| m.contains("cuts them to multiples")), "{said:?}");
        // The next restore knows it by the file system.
        let existing = target(image.path())?.existing(&entry.path)?.ok_or("nothing there")?;
        assert_eq!(existing.mtime, Timestamp { seconds, nanoseconds: 0 });
        assert_eq!(existing.time_there(entry.meta.mtime), existing.mtime);
        assert_ne!(existing.time_there(Timestamp { seconds: 1_000_000_002, ..entry.meta.mtime }), existing.mtime);
    }
    let memory = Mounted::tmpfs("size=1m")?;
    let exact = FsTarget::create(memory.path(), TargetOptions::default())?;
    assert_eq!(finished(&exact, &entry)?, [] as [String; 0]);
    assert_eq!(exact.existing(&entry.path)?.ok_or("nothing there")?.mtime_step_ns, 1);
    Ok(Completion::Completed)
}

fn unmarked() -> Tested {
    let Ok(image) = forgetting() else { return Ok(Completion::ignored_with("no file system here drops anything")) };
    let mount = image.path();
    fs::write(mount.join("old"), "old")?;
    let target = target(mount)?;
    for (name, mode) in [("new", FileMode::New), ("another", FileMode::New), ("old", FileMode::InPlace)] {
        let entry = Entry { path: path(name)?, ..wanted(name, EntryKind::File { size: 8 })? };
        let file = target.create_file(&entry.path, mode, 0)?;
        file.write_at(0, b"half")?;
        // Nothing is lost by giving up what has no place yet but where something stands.
        assert_eq!(file.is_beside(), name == "old", "{name}");
        let check = || fs::read_to_string(mount.join(name)).unwrap_or_default();
        assert_eq!(check(), if name == "old" { "old" } else { "" }, "{name}");
        target.set_aside(file)?;
        let again = if mode == FileMode::New { FileMode::Continue } else { FileMode::ContinueInPlace };
        let file = target.create_file(&entry.path, again, 0)?;
        assert_eq!(file.is_beside(), name == "old", "{name}");
        file.write_at(4, b"half")?;
        let problems = target.finish_file(file, &entry);
        assert!(problems.iter().all(|problem| problem.kind == ProblemKind::Attribute), "{problems:?}");
        assert_eq!(check(), "halfhalf", "{name}");
    }
    assert_eq!(fs::read_dir(mount)?.filter(|name| name.as_ref().is_ok_and(|n| n.file_name().len() > 8)).count(), 0);
    Ok(Completion::Completed)
}
