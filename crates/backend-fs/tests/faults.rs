//! System calls that fail at the worst moment. They fail in a process of its own, by strace.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Needs, Scratch, USER, entry, path, target};
use decube_backup_backend_fs::torture::acl;
use decube_backup_core::entry::{Entry, EntryKind, Xattr};
use decube_backup_core::source::Source;
use decube_backup_core::target::{FileMode, Target};
use rustix::fs::IFlags;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const STRACE: Needs = Needs::Program("strace");

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("in-child") {
        let (act, root) = (args.next().unwrap(), args.next().unwrap());
        println!("{}", in_child(&act, Path::new(&root)).replace('\n', " "));
        return;
    }
    common::main(&[
        ("what_stands_there_survives_every_rename_that_fails", STRACE, renames),
        ("where_names_cannot_be_exchanged_they_are_moved", STRACE, no_exchange),
        ("what_only_closing_or_waiting_tells_is_heard", STRACE, told_late),
        ("whoever_is_killed_before_the_time_is_set_leaves_the_mark", STRACE, killed),
        ("content_is_on_the_disk_before_what_vouches_for_it", STRACE, durable),
        ("what_stays_has_its_flags_again", STRACE, flags_stay),
        ("flags_that_cannot_be_read_are_said", STRACE, flags_unread),
        ("a_directory_that_may_fold_names_is_not_listed_for_every_file", STRACE, listed_once),
    ]);
}

/// What is done below `root` while calls fail; what was reported.
fn in_child(act: &str, root: &Path) -> String {
    let target = target(root);
    match act {
        "make a directory" => format!("{:?}", target.create_directory(&path("thing"))),
        "write a file" => {
            let file = target.create_file(&path("thing"), FileMode::Beside, 0).unwrap();
            file.write_at(0, b"new").unwrap();
            format!("{:?}", target.finish_file(file, &entry("thing", EntryKind::File { size: 3 }, 0o600)))
        }
        "write a file twice" => {
            // From here on it is known that files there show their mode.
            target.create_file(&path("first"), FileMode::New, 0).unwrap();
            target.discard_file(&path("first")).unwrap();
            let write = |mode: FileMode| {
                let file = target.create_file(&path("thing"), mode, 0)?;
                file.write_at(0, b"new")?;
                target.set_aside(file)
            };
            let aside = write(FileMode::New);
            let file = target.create_file(&path("thing"), FileMode::Continue, 0).unwrap();
            let finished = target.finish_file(file, &entry("thing", EntryKind::File { size: 3 }, 0o640));
            format!("{aside:?} {finished:?}")
        }
        "write files with and without a hole at the end" => {
            let problems = ["thing", "other"].map(|name| {
                let file = target.create_file(&path(name), FileMode::New, 0).unwrap();
                file.write_at(8, b"new").unwrap();
                let len = if name == "thing" { 99 } else { 11 };
                file.set_len(len).unwrap();
                target.finish_file(file, &entry(name, EntryKind::File { size: len }, 0o600))
            });
            format!("{problems:?}")
        }
        "replace many" => {
            let problems = (0..20).flat_map(|number| {
                let name = format!("file {number}");
                let file = target.create_file(&path(&name), FileMode::Beside, 0).unwrap();
                target.finish_file(file, &entry(&name, EntryKind::File { size: 0 }, 0o600))
            });
            problems.map(|problem| problem.message).collect()
        }
        "make a pipe" => format!("{:?}", target.create_special(&entry("thing", EntryKind::Fifo, 0o644))),
        "remove it" => format!("{:?}", target.remove(&path("thing"))),
        "look at it" => {
            let source = common::source(root);
            let (entries, _) = common::below(root, common::scan(&source));
            entries.into_iter().flat_map(|(_, mut found)| source.detail(&mut found.entry)).map(|p| p.message).collect()
        }
        "rewrite a file" => {
            let file = target.create_file(&path("thing"), FileMode::InPlace, 0).unwrap();
            file.write_at(0, b"new").unwrap();
            format!("{:?}", target.finish_file(file, &of_many_attributes()))
        }
        _ => panic!("{act}"),
    }
}

/// Does `act` below `root` while calls fail as `faults` say.
fn with_faults(faults: &[&str], act: &str, root: &Path) -> String {
    run(Command::new("strace"), faults, act, root)
}

/// As [`with_faults`], for calls that concern `root` or what is `act`ed on there: the program could not even start otherwise.
fn with_faults_there(faults: &[&str], act: &str, root: &Path) -> String {
    let mut strace = Command::new("strace");
    strace.arg("-P").arg(root).arg("-P").arg(root.join("thing"));
    run(strace, faults, act, root)
}

fn run(mut strace: Command, faults: &[&str], act: &str, root: &Path) -> String {
    strace.args(["-f", "-qqq", "-o", "/dev/null"]);
    for fault in faults {
        strace.args(["-e", &format!("inject={fault}")]);
    }
    let program = std::env::current_exe().unwrap();
    let output = strace.arg(program).args(["in-child", act]).arg(root).output().unwrap();
    let killed = faults.iter().any(|fault| fault.contains("KILL"));
    assert_eq!(output.status.success(), !killed, "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The file `thing`, of another user if that can be, with an extended attribute and an ACL.
fn of_many_attributes() -> Entry {
    let mut wanted = entry("thing", EntryKind::File { size: 3 }, 0o460);
    if rustix::process::geteuid().is_root() {
        (wanted.meta.uid, wanted.meta.gid) = (USER, USER);
    }
    let attribute = |name: &[u8], value: Vec<u8>| Xattr { name: name.to_vec(), value };
    wanted.meta.xattrs = vec![attribute(b"system.posix_acl_access", acl(6)), attribute(b"user.a", b"value".to_vec())];
    wanted
}

/// A file or an empty directory that stands where `act` puts what is none.
fn stand(root: &Path, act: &str) {
    match act {
        "write a file" => fs::create_dir(root.join("thing")).unwrap(),
        _ => fs::write(root.join("thing"), "old").unwrap(),
    }
}

/// Whether it stands there still, and nothing else.
fn stands(root: &Path, act: &str) -> bool {
    let thing = root.join("thing");
    let alone = fs::read_dir(root).unwrap().count() == 1;
    alone && if act == "write a file" { thing.is_dir() } else { fs::read(thing).is_ok_and(|content| content == b"old") }
}

const ACTS: [&str; 2] = ["make a directory", "write a file"];

fn renames() {
    for act in ACTS {
        let cases: [&[&str]; 6] = [
            &["renameat2:error=EIO"],
            &["renameat2:error=EACCES"],
            &["renameat2:error=ENOSPC"],
            // Only the way back is open.
            &[
                "renameat2:error=EINVAL",
                if act == "write a file" { "renameat:error=EIO:when=3" } else { "renameat:error=EIO:when=2" },
            ],
            // What stood there cannot be removed.
            &["unlinkat:error=EIO:when=1"],
            &["renameat2:error=EINVAL", "unlinkat:error=EIO:when=1"],
        ];
        for faults in cases {
            let scratch = Scratch::new();
            stand(scratch.path(), act);
            let said = with_faults(faults, act, scratch.path());
            assert!(stands(scratch.path(), act), "{act} {faults:?} {said}");
            assert!(said.contains("cannot re"), "{act} {faults:?} {said}");
        }
    }
}

fn no_exchange() {
    for act in ACTS {
        for error in ["EINVAL", "ENOSYS", "EOPNOTSUPP"] {
            let scratch = Scratch::new();
            stand(scratch.path(), act);
            let said = with_faults(&[&format!("renameat2:error={error}")], act, scratch.path());
            assert!(said.trim() == "[]" || said.trim() == "Ok(())", "{said}");
            assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
            assert_eq!(scratch.join("thing").is_dir(), act == "make a directory");
        }
    }
}

fn told_late() {
    // A file system that is not known, as far as the process can tell.
    let unknown = "fstatfs:error=ENOSYS";
    let told = |said: &str| said.matches("cannot write what was taken before").count();
    for fault in ["close:error=EDQUOT", "fsync:error=EIO"] {
        let scratch = Scratch::new();
        let said = with_faults_there(&[unknown, fault], "write a file twice", scratch.path());
        // When it is set aside, and when it is finished.
        assert_eq!(told(&said), 2, "{fault} {said}");
        // Nothing vouches for what is there.
        assert_eq!(fs::metadata(scratch.join("thing")).unwrap().permissions().mode() & 0o7777, 0o1600);
    }
    // Nothing is replaced by less.
    let scratch = Scratch::new();
    scratch.file("thing", "old");
    let said = with_faults(&[unknown, "fsync:error=EIO"], "write a file", scratch.path());
    assert_eq!(told(&said), 1, "{said}");
    assert_eq!(fs::read(scratch.join("thing")).unwrap(), b"old");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    // Where there is no such call, there is nothing to tell.
    let scratch = Scratch::new();
    let said = with_faults(&[unknown, "fsync:error=EINVAL"], "write a file twice", scratch.path());
    assert_eq!(said.trim(), "Ok(()) []");
}

fn killed() {
    let wanted = of_many_attributes();
    let mut calls = vec!["fsetxattr:signal=KILL:when=1", "utimensat:signal=KILL", "fdatasync:signal=KILL"];
    if wanted.meta.uid == USER {
        calls.push("fchown:signal=KILL");
    }
    for call in calls {
        let scratch = Scratch::new();
        let thing = scratch.file("thing", "old");
        fs::set_permissions(&thing, fs::Permissions::from_mode(0o664)).unwrap();
        with_faults(&[call], "rewrite a file", scratch.path());
        let mode = fs::metadata(&thing).unwrap().permissions().mode();
        assert!(target(scratch.path()).existing(&path("thing")).unwrap().unwrap().is_unfinished, "{call} {mode:o}");
    }
    // Once it has its time it is a whole file.
    let scratch = Scratch::new();
    let thing = scratch.file("thing", "old");
    with_faults(&["fsetxattr:signal=KILL:when=2"], "rewrite a file", scratch.path());
    assert_eq!(fs::metadata(&thing).unwrap().mtime(), wanted.meta.mtime.seconds);
    assert_eq!(target(scratch.path()).finish_existing(&wanted), []);
    assert_eq!(with_faults(&[], "rewrite a file", scratch.path()).trim(), "[]");
    // Until the mark is taken off it is known by it, though an ACL changes the rest of the mode.
    let is_unfinished = || target(scratch.path()).existing(&path("thing")).unwrap().unwrap().is_unfinished;
    fs::set_permissions(&thing, fs::Permissions::from_mode(0o1460)).unwrap();
    assert!(is_unfinished());
    rustix::fs::removexattr(&thing, "system.posix_acl_access").unwrap();
    assert!(!is_unfinished(), "somebody's own sticky file");
    // Of what is no file nothing shows that it is not finished: it has no name before.
    let scratch = Scratch::new();
    with_faults(&["utimensat:signal=KILL"], "make a pipe", scratch.path());
    assert!(!scratch.path().join("thing").exists());
    assert_eq!(with_faults(&[], "make a pipe", scratch.path()).trim(), "Ok([])");
    assert!(scratch.path().join("thing").exists());
}

fn durable() {
    // It must be waited for where it fails. A hole at the end, and no other hole, needs a length of its own.
    let scratch = Scratch::new();
    let said = with_faults(&["fdatasync:error=EIO"], "write files with and without a hole at the end", scratch.path());
    assert_eq!(said.matches("cannot be made durable").count(), 1, "{said}");
    assert!(said.trim().ends_with("], []]"), "{said}");
    assert_eq!(fs::metadata(scratch.join("thing")).unwrap().permissions().mode() & 0o7777, 0o1600);
    let said =
        with_faults(&["ftruncate:error=EIO:when=2"], "write files with and without a hole at the end", scratch.path());
    assert_eq!(said.trim(), "[[], []]");
    // Before it costs the old file, but where nothing survives a power cut anyway.
    let (known, unknown) = (Scratch::new(), Scratch::new());
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let on_disk = rustix::fs::statfs(known.path()).unwrap().f_type != rustix::fs::statfs(memory.path()).unwrap().f_type;
    for (dir, file_system, waits) in [
        (known.path(), None, on_disk),
        (unknown.path(), Some("fstatfs:error=ENOSYS"), true),
        (memory.path(), None, false),
    ] {
        fs::write(dir.join("thing"), "old").unwrap();
        let faults: Vec<_> = ["fdatasync:error=EIO"].into_iter().chain(file_system).collect();
        let said = with_faults(&faults, "write a file", dir);
        assert_eq!(said.contains("cannot be made durable"), waits, "{said}");
        assert_eq!(fs::read(dir.join("thing")).unwrap(), if waits { b"old" } else { b"new" });
    }
}

fn flags_stay() {
    let scratch = Scratch::new();
    let thing = fs::File::open(scratch.file("thing", "old")).unwrap();
    let flags = rustix::fs::ioctl_getflags(&thing).unwrap_or(IFlags::empty());
    if rustix::fs::ioctl_setflags(&thing, flags | IFlags::IMMUTABLE).is_err() {
        // Not root, or a file system without flags.
        return;
    }
    for (fault, act) in [("rename:error=EIO:when=2", "write a file"), ("unlinkat:error=EIO:when=2", "remove it")] {
        // Of rename, whichever call it is here.
        let fault = fault.replace("rename:", "/^renameat:");
        let said = with_faults(&[&fault], act, scratch.path());
        assert!(said.contains("os error 5"), "{said}");
        assert!(rustix::fs::ioctl_getflags(&thing).unwrap().contains(IFlags::IMMUTABLE), "{act}");
    }
    assert_eq!(with_faults(&[], "remove it", scratch.path()).trim(), "Ok(())");
}

fn flags_unread() {
    let scratch = Scratch::new();
    scratch.file("thing", "old");
    // FS_IOC_GETFLAGS and all other requests.
    for (error, said) in [("EIO", true), ("ENOTTY", false)] {
        let told = with_faults(&[&format!("ioctl:error={error}")], "look at it", scratch.path());
        assert_eq!(told.contains("cannot read inode flags"), said, "{told}");
    }
}

fn listed_once() {
    let scratch = Scratch::new();
    (0..20).for_each(|number| drop(scratch.file(&format!("file {number}"), "old")));
    let said = with_faults(&["fstatfs:error=ENOSYS", "getdents64:error=EIO:when=3+"], "replace many", scratch.path());
    assert_eq!(said.trim(), "");
}
