//! A folder of awkward files: what a backup program has to bring back and many do not.

use crate::{Result, host};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// Generation 1 in a new folder.
pub(super) fn create(folder: &Path) -> Result {
    fs::create_dir_all(folder.join("notes/deep/er"))?;
    fs::write(folder.join("notes/today.txt"), "buy milk\n".repeat(5000))?;
    fs::write(folder.join("notes/deep/er/leaf"), "leaf")?;
    fs::write(folder.join("empty"), "")?;
    fs::write(folder.join("old name"), "moved later\n".repeat(3000))?;
    fs::write(folder.join("goes away"), "deleted later")?;
    fs::write(folder.join(OsStr::from_bytes(b"two\nlines and no UTF-8 \xff\xfe")), "odd name")?;
    fs::hard_link(folder.join("notes/today.txt"), folder.join("the same file"))?;
    symlink("notes/today.txt", folder.join("link"))?;
    symlink("nowhere", folder.join("dangling"))?;

    let sparse = File::create(folder.join("sparse.img"))?;
    sparse.set_len(1 << 30)?;
    sparse.write_all_at(&[7; 10_000], 512 << 20)?;

    fs::write(folder.join("private"), "for my eyes only")?;
    fs::set_permissions(folder.join("private"), Permissions::from_mode(0o600))?;
    fs::write(folder.join("program"), "#!/bin/sh\n")?;
    fs::set_permissions(folder.join("program"), Permissions::from_mode(0o4755))?;
    set_modified(&folder.join("private"), Duration::from_nanos(86_400_123_456_789))?; // 1970-01-02
    set_modified(&folder.join("program"), Duration::from_secs(4_000_000_000))?; // 2096

    optional("mkfifo", &["fifo"], folder);
    optional("setfattr", &["-n", "user.colour", "-v", "green", "empty"], folder);
    optional("setfacl", &["-m", "u:12345:r", "private"], folder);
    Ok(())
}

/// Turns it into generation 2: edited, added, renamed, deleted, new attributes.
pub(super) fn change(folder: &Path) -> Result {
    let mut text = fs::read_to_string(folder.join("notes/today.txt"))?;
    text.insert_str(20_000, "and bread\n");
    fs::write(folder.join("notes/today.txt"), text)?;
    fs::write(folder.join("notes/tomorrow.txt"), "buy more milk\n")?;
    fs::rename(folder.join("old name"), folder.join("new name"))?;
    fs::remove_file(folder.join("goes away"))?;
    fs::set_permissions(folder.join("empty"), Permissions::from_mode(0o640))?;
    Ok(())
}

fn set_modified(path: &Path, since_1970: Duration) -> Result {
    let times = FileTimes::new().set_modified(UNIX_EPOCH + since_1970);
    Ok(File::options().write(true).open(path)?.set_times(times)?)
}

/// Not every machine has the program, nor every file system the feature.
fn optional(program: &str, arguments: &[&str], folder: &Path) {
    let outcome = host::run_quietly(Command::new(program).args(arguments).current_dir(folder));
    if outcome.is_err() {
        println!("the sample goes without: {program} {}", arguments.join(" "));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sample_can_be_made_and_changed() {
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path().join("sample");
        super::create(&folder).expect("created");
        super::change(&folder).expect("changed");
        assert!(folder.join("new name").exists());
    }
}
