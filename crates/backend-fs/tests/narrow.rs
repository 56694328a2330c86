//! Others have no more of what is restored than in the end, and what is theirs is no obstacle.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Needs, Scratch, USER, as_user, entry, path, target};
use decube_backup_backend_fs::torture::acl;
use decube_backup_core::entry::{EntryKind, Xattr};
use decube_backup_core::target::Target;
use rustix::fs::XattrFlags;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn main() {
    common::main(&[
        ("mode_bits_that_it_will_not_have_go_at_once", Needs::Nothing, mode_bits),
        ("so_does_an_acl_that_it_will_not_have", Needs::Nothing, other_acl),
        ("so_does_an_owner_who_will_not_be", Needs::Root, other_owner),
        ("one_that_is_somebody_elses_is_no_obstacle", Needs::Root, foreign),
        ("what_is_right_already_is_no_problem_though_it_is_somebody_elses", Needs::Root, right_already),
    ]);
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn mode_bits() {
    let scratch = Scratch::new();
    let directory = scratch.directory("directory");
    // What it has, what it will have, what it has meanwhile: its owner works in it.
    for (has, wanted, meanwhile) in [
        (0o755, 0o700, 0o700),
        (0o755, 0o500, 0o700),
        (0o700, 0o755, 0o700),
        (0o1777, 0o750, 0o1750),
        (0o711, 0o755, 0o711),
    ] {
        fs::set_permissions(&directory, Permissions::from_mode(has)).unwrap();
        let target = target(scratch.path());
        target.create_directory(&path("directory")).unwrap();
        let wanted = entry("directory", EntryKind::Directory, wanted);
        target.narrow_directory(&wanted).unwrap();
        assert_eq!(mode_of(&directory), meanwhile, "{has:o}");
        assert_eq!(target.finish_directory(&wanted), []);
        assert_eq!(mode_of(&directory), wanted.meta.mode);
    }
}

fn other_acl() {
    let scratch = Scratch::new();
    let directory = scratch.directory("directory");
    let name = "system.posix_acl_access";
    let set = || rustix::fs::setxattr(&directory, name, &acl(7), XattrFlags::empty());
    if set().is_err() {
        return;
    }
    let target = target(scratch.path());
    let mut wanted = entry("directory", EntryKind::Directory, 0o770);
    target.narrow_directory(&wanted).unwrap();
    // The mask: whoever the ACL names has nothing.
    assert_eq!(mode_of(&directory) & 0o070, 0);
    assert_eq!(target.finish_directory(&wanted), []);
    // The right one stays.
    set().unwrap();
    let mode = mode_of(&directory);
    wanted.meta.mode = mode;
    wanted.meta.xattrs = vec![Xattr { name: name.into(), value: acl(7) }];
    target.narrow_directory(&wanted).unwrap();
    assert_eq!(mode_of(&directory), mode);
}

fn other_owner() {
    let scratch = Scratch::new();
    let directory = scratch.directory("directory");
    std::os::unix::fs::chown(&directory, Some(USER), Some(USER)).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o770)).unwrap();
    let target = target(scratch.path());
    target.narrow_directory(&entry("directory", EntryKind::Directory, 0o775)).unwrap();
    assert_eq!((mode_of(&directory), fs::metadata(&directory).unwrap().uid()), (0o700, 0));
}

fn foreign() {
    let scratch = Scratch::new();
    let directory = scratch.directory("directory");
    for path in [scratch.path(), &directory] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    as_user(|| target(scratch.path()).narrow_directory(&entry("directory", EntryKind::Directory, 0o700)).unwrap());
    assert_eq!(mode_of(&directory), 0o777);
}

fn right_already() {
    let scratch = Scratch::new();
    let file = scratch.file("file", "content");
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o777)).unwrap();
    let wanted = entry("file", EntryKind::File { size: 7 }, 0o644);
    assert_eq!(target(scratch.path()).finish_existing(&wanted), []);
    as_user(|| assert_eq!(target(scratch.path()).finish_existing(&wanted), []));
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    as_user(|| assert_eq!(target(scratch.path()).finish_existing(&wanted).len(), 1));
}
