//! Everything a file system can hold goes through scan, detail, open and target and comes out equal.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Needs, Scratch, as_user, copy, target};
use decube_backup_backend_fs::compare::{CompareOptions, Difference, Holes, compare_trees};
use decube_backup_backend_fs::torture::{self, Scale};
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::target::FileMode;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn main() {
    common::main(&[
        ("the_torture_tree_comes_out_equal", Needs::Root, torture_tree_comes_out_equal),
        ("a_second_copy_over_the_first_changes_nothing", Needs::Root, second_copy_changes_nothing),
        ("compare_finds_every_kind_of_difference", Needs::Root, compare_finds_every_difference),
        ("an_ordinary_user_is_told_what_could_not_be_set", Needs::Root, user_is_told),
    ]);
}

fn differences(a: &Path, b: &Path) -> Vec<Difference> {
    compare_trees(a, b, CompareOptions { holes: Holes::Exact, ..CompareOptions::default() }).unwrap()
}

fn torture_tree_comes_out_equal() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.directory("from"), scratch.join("to"));
    let report = torture::build(&from, Scale::FULL).unwrap();
    println!("left out of the torture tree: {:?}", report.left_out);
    let problems = copy(&from, &target(&to), FileMode::New);
    let worst: Vec<_> = problems.iter().filter(|p| p.kind != ProblemKind::Skipped).collect();
    assert!(worst.is_empty(), "{worst:?}");
    assert_eq!(problems.len(), 1, "the socket is noted");
    assert_eq!(differences(&from, &to), []);
    assert!(std::fs::metadata(to.join("sparse/three islands")).unwrap().blocks() * 512 < 1 << 20);
    // The comparison reads with the same source: these are read by other means.
    assert_eq!(std::fs::read_dir(to.join("wide")).unwrap().count(), Scale::FULL.wide_entries);
    assert_eq!(std::fs::metadata(to.join("modes/file 6711")).unwrap().mode() & 0o7777, 0o6711);
    assert_eq!(std::fs::metadata(to.join("times/-1")).unwrap().mtime(), -1);
    assert_eq!(std::fs::metadata(to.join("links/first")).unwrap().nlink(), 3);
}

fn second_copy_changes_nothing() {
    for mode in [FileMode::New, FileMode::InPlace] {
        let scratch = Scratch::new();
        let (from, to) = (scratch.directory("from"), scratch.join("to"));
        torture::build(&from, Scale::SMALL).unwrap();
        for _ in 0..2 {
            let problems = copy(&from, &target(&to), mode);
            assert_eq!(problems.len(), 1, "{mode:?} {problems:?}");
            assert_eq!(differences(&from, &to), [], "{mode:?}");
        }
    }
}

fn compare_finds_every_difference() {
    type Change = fn(&Path);
    let changes: [(&str, &str, Change); 12] = [
        ("content/257", "content differs from offset 0", |p| {
            let times = std::fs::metadata(p).unwrap().modified().unwrap();
            let mut content = std::fs::read(p).unwrap();
            content[200] ^= 1;
            std::fs::write(p, content).unwrap();
            std::fs::File::options().write(true).open(p).unwrap().set_modified(times).unwrap();
        }),
        ("content/0", "type and content", |p| std::fs::write(p, "x").unwrap()),
        ("content/1", "mode: 0644, 0600", |p| {
            std::fs::set_permissions(p, std::fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("content/255", "owner: 0:0, 1:0", |p| std::os::unix::fs::chown(p, Some(1), None).unwrap()),
        ("content/256", "modification time", |p| {
            let file = std::fs::File::options().write(true).open(p).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("content/4096", "extended attributes", |p| {
            rustix::fs::setxattr(p, "user.new", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        }),
        ("flags/nodump", "inode flags", |p| {
            let file = std::fs::File::open(p).unwrap();
            rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::empty()).unwrap();
        }),
        ("links/second", "shares its inode", |p| {
            std::fs::copy(p, p.with_file_name("tmp")).unwrap();
            std::fs::rename(p.with_file_name("tmp"), p).unwrap();
        }),
        ("links/symlink 0", "type and content", |p| {
            std::fs::remove_file(p).unwrap();
            std::os::unix::fs::symlink("elsewhere", p).unwrap();
        }),
        ("wide/00007", "only in the first tree", |p| std::fs::remove_file(p).unwrap()),
        ("wide/new", "only in the second tree", |p| std::fs::write(p, "").unwrap()),
        ("content/zeros", "content differs", |p| {
            let file = std::fs::File::options().write(true).open(p).unwrap();
            let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, flags, 8192, 65_536).unwrap();
        }),
    ];
    let scratch = Scratch::new();
    let (from, to) = (scratch.directory("from"), scratch.join("to"));
    torture::build(&from, Scale::SMALL).unwrap();
    copy(&from, &target(&to), FileMode::New);
    for (name, _, change) in changes {
        change(&to.join(name));
    }
    let found = differences(&from, &to);
    for (name, what, _) in changes {
        let hit = found.iter().any(|d| d.path.to_string() == name && d.what.contains(what));
        assert!(hit, "{name} {what} in {found:#?}");
    }
}

fn user_is_told() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.directory("from"), scratch.directory("to"));
    torture::build(&from, Scale::SMALL).unwrap();
    for directory in [scratch.path(), &from, &to] {
        std::os::unix::fs::chown(directory, Some(common::USER), Some(common::USER)).unwrap();
    }
    let entries = scratch.join("to");
    as_user(|| {
        // Content of mode-000 files is not readable for this user: the attributes are what is tested.
        let problems = copy(&from, &target(&entries), FileMode::New);
        let about = |name: &str, what: &str| {
            assert!(
                problems.iter().any(|p| p.path.ends_with(name.as_bytes()) && p.message.contains(what)),
                "{name}: {what} in {problems:#?}"
            );
        };
        about("attributes/owner 0", "cannot set owner");
        about("modes/file 4755", "cannot set mode 4755, it stays 0755");
        about("modes/file 0000", "cannot open");
        about("modes/directory 0000", "cannot open directory");
        about("attributes/capability", "security.capability");
        let per_kind = problems.iter().filter(|p| p.path == b"attributes/owner 0").count();
        assert_eq!(per_kind, 1, "one problem for one attribute");
    });
    assert_eq!(std::fs::metadata(to.join("modes/file 4755")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(std::fs::metadata(to.join("modes/directory 0400")).unwrap().mode() & 0o7777, 0o400);
}
