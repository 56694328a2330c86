//! Removing what a snapshot does not have, beside other file systems.
//!
//! Its own harness: what this host cannot test shows as ignored, with the reason, never as passed.

#[path = "hosts/mounts.rs"]
mod mounts;

use decube_backup_backend_fs::target::{FsTarget, TargetOptions};
use decube_backup_core::target::Target;
use decube_backup_core::{EntryPath, ErrorKind};
use libtest_mimic::{Arguments, Failed, Trial};
use mounts::Mounted;
use std::fs;

fn main() {
    let mounted = Trial::test("nothing_is_removed_from_what_is_mounted_below", mounted_below);
    let mounted = match mounts::can_mount() {
        Ok(()) => mounted,
        Err(reason) => mounted.with_kind(reason).with_ignored_flag(true),
    };
    libtest_mimic::run(&Arguments::from_args(), vec![mounted]).exit();
}

fn mounted_below() -> Result<(), Failed> {
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
