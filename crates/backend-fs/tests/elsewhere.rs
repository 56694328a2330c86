//! Targets that other file systems are mounted below, or that lie on others.
//!
//! Its own harness: what this host cannot test shows as ignored, with the reason, never as passed.

#[path = "hosts/mounts.rs"]
mod mounts;

use decube_backup_backend_fs::target::{FsTarget, TargetOptions};
use decube_backup_core::entry::{Entry, EntryKind, Metadata, Xattr};
use decube_backup_core::target::{FileMode, Target};
use decube_backup_core::{EntryPath, ErrorKind};
use libtest_mimic::{Arguments, Failed, Trial};
use mounts::Mounted;
use std::fs;
use std::os::unix::fs::PermissionsExt;

type Tested = Result<(), Failed>;
type Test = (&'static str, fn() -> Tested);

fn main() {
    let tests: [Test; 2] = [
        ("nothing_is_removed_from_what_is_mounted_below", mounted_below),
        ("without_its_acl_a_file_is_not_wider_than_it_was", without_acl),
    ];
    let host = mounts::can_mount();
    let trials = tests.map(|(name, test)| match host {
        Ok(()) => Trial::test(name, test),
        Err(reason) => Trial::test(name, test).with_kind(reason).with_ignored_flag(true),
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
    Ok(())
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
    let file = target.create_file(&path, FileMode::Replace)?;
    let problems = target.finish_file(file, &Entry { path, kind: EntryKind::File { size: 0 }, meta });
    assert_eq!(fs::metadata(mount.path().join("file"))?.permissions().mode() & 0o7777, 0o640);
    assert!(problems.iter().any(|p| p.message.contains("0660, it stays 0640: without its ACL")), "{problems:?}");
    Ok(())
}
