//! What a restored tree and its source differ in.
//!
//! Written with nothing but the standard library: what judges the program shares no code with it.

use crate::{Result, host};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Names, kinds, bytes, targets of symlinks.
    Content,
    /// Also mode, owner, time of modification, hard links and device numbers; extended attributes and ACLs
    /// where `getfattr` is installed.
    Attributes,
}

/// The differences of the trees `a` and `b`, a sentence each; the entries `skip`, relative to both, are not looked
/// at. The attributes of the two top folders themselves are not compared.
pub(crate) fn differences(a: &Path, b: &Path, depth: Depth, skip: &[&str]) -> Result<Vec<String>> {
    let skipped = skip.iter().flat_map(|path| [a.join(path), b.join(path)]).collect();
    let mut walk = Walk { depth, skipped, inodes: HashMap::new(), found: Vec::new() };
    walk.folder(a, b)?;
    if depth == Depth::Attributes && host::find_program("getfattr").is_some() {
        let (a, b) = (extended_attributes(a, skip)?, extended_attributes(b, skip)?);
        walk.found.extend(a.difference(&b).map(|attributes| format!("not restored: {attributes}")));
        walk.found.extend(b.difference(&a).map(|attributes| format!("not in the source: {attributes}")));
    }
    Ok(walk.found)
}

struct Walk {
    depth: Depth,
    skipped: Vec<PathBuf>,
    /// Device and inode of a source file with several names → those of its counterpart.
    inodes: HashMap<(u64, u64), (u64, u64)>,
    found: Vec<String>,
}

impl Walk {
    fn folder(&mut self, a: &Path, b: &Path) -> Result {
        let (names_a, names_b) = (self.names(a)?, self.names(b)?);
        self.found.extend(names_a.difference(&names_b).map(|name| format!("missing: {}", a.join(name).display())));
        self.found.extend(names_b.difference(&names_a).map(|name| format!("surplus: {}", b.join(name).display())));
        for name in names_a.intersection(&names_b) {
            self.entry(&a.join(name), &b.join(name))?;
        }
        Ok(())
    }

    fn names(&self, folder: &Path) -> Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        for entry in folder.read_dir().map_err(|e| format!("cannot list {}: {e}", folder.display()))? {
            let entry = entry?;
            // Sockets are made by who listens on them; no backup brings them back.
            let is_socket = entry.metadata().is_ok_and(|m| m.mode() & 0o170_000 == 0o140_000);
            if !is_socket && !self.skipped.contains(&entry.path()) {
                names.insert(entry.file_name());
            }
        }
        Ok(names)
    }

    fn entry(&mut self, a: &Path, b: &Path) -> Result {
        let (of_a, of_b) = (a.symlink_metadata()?, b.symlink_metadata()?);
        let mut differs = |what: &str| self.found.push(format!("{what} differs: {}", b.display()));
        if of_a.mode() & 0o170_000 != of_b.mode() & 0o170_000 {
            differs("kind");
            return Ok(());
        }
        if of_a.is_file() && !same_bytes(a, b, &of_a, &of_b)? {
            differs("content");
        }
        if of_a.is_symlink() && fs::read_link(a)? != fs::read_link(b)? {
            differs("target");
        }
        if self.depth == Depth::Attributes {
            self.attributes(&of_a, &of_b, b);
        }
        if of_a.is_dir() { self.folder(a, b) } else { Ok(()) }
    }

    fn attributes(&mut self, a: &Metadata, b: &Metadata, path: &Path) {
        let pairs = [
            ("mode", u64::from(a.mode()), u64::from(b.mode())),
            ("owner", u64::from(a.uid()), u64::from(b.uid())),
            ("group", u64::from(a.gid()), u64::from(b.gid())),
            ("modified, seconds,", a.mtime().cast_unsigned(), b.mtime().cast_unsigned()),
            ("modified, nanoseconds,", a.mtime_nsec().cast_unsigned(), b.mtime_nsec().cast_unsigned()),
            ("device", a.rdev(), b.rdev()),
        ];
        let differing = pairs.into_iter().filter(|(_, a, b)| a != b);
        self.found.extend(differing.map(|(what, ..)| format!("{what} differs: {}", path.display())));
        if a.nlink() > 1 && !a.is_dir() {
            let counterpart = *self.inodes.entry((a.dev(), a.ino())).or_insert((b.dev(), b.ino()));
            if counterpart != (b.dev(), b.ino()) {
                self.found.push(format!("hard link differs: {}", path.display()));
            }
        }
    }
}

fn same_bytes(a: &Path, b: &Path, of_a: &Metadata, of_b: &Metadata) -> Result<bool> {
    if of_a.len() != of_b.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut buffer_a, mut buffer_b) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    loop {
        let len = a.read(&mut buffer_a)?;
        if len == 0 {
            return Ok(true);
        }
        b.read_exact(&mut buffer_b[..len])?;
        if buffer_a[..len] != buffer_b[..len] {
            return Ok(false);
        }
    }
}

/// What `getfattr` dumps below `folder`, a block per entry; ACLs are among them as `system.posix_acl_*`.
fn extended_attributes(folder: &Path, skip: &[&str]) -> Result<BTreeSet<String>> {
    let mut getfattr = Command::new("getfattr");
    getfattr.args(["--recursive", "--physical", "--no-dereference", "--dump", "--encoding=hex"]);
    getfattr.args(["--match=^(user|security|trusted|system.posix_acl)", "."]).current_dir(folder);
    let dump = host::run_quietly(&mut getfattr)?;
    let is_skipped = |block: &str| {
        let name = block.lines().next().unwrap_or_default().trim_start_matches("# file: ").trim_start_matches("./");
        skip.iter().any(|path| Path::new(name).starts_with(path))
    };
    Ok(dump.split("\n\n").filter(|block| !block.is_empty() && !is_skipped(block)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_trees_differ_in_nothing_and_each_change_is_named() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (a, b) = (scratch.path().join("a"), scratch.path().join("b"));
        for folder in [&a, &b] {
            fs::create_dir_all(folder.join("sub")).expect("created");
            fs::write(folder.join("sub/x"), "one").expect("written");
            fs::write(folder.join("y"), "two").expect("written");
        }
        assert!(differences(&a, &b, Depth::Content, &[]).expect("compared").is_empty());
        fs::write(b.join("sub/x"), "eno").expect("written");
        fs::rename(b.join("y"), b.join("z")).expect("renamed");
        let found = differences(&a, &b, Depth::Content, &[]).expect("compared");
        assert_eq!(found.len(), 3, "{found:?}");
        let found = differences(&a, &b, Depth::Content, &["sub"]).expect("compared");
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
