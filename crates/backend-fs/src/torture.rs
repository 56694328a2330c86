//! Test support: a tree of everything a file system can hold.
//!
//! What the system or the user's rights do not allow is left out and named in the report, so that a
//! test can say what it did not cover.

use crate::at::Root;
use crate::attributes::Handle;
use decube_backup_core::{EntryPath, Error, Result, Timestamp};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use std::os::fd::AsRawFd;
use std::path::Path;

/// How large the tree gets.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Entries of the wide directory.
    pub wide_entries: usize,
    /// Directories of the deep path, one below the other, each with a name of 100 bytes.
    pub depth: usize,
    /// Length of the sparse file, bytes; it holds three islands of data.
    pub sparse_bytes: u64,
}

impl Scale {
    /// What a backup must survive.
    pub const FULL: Self = Self { wide_entries: 10_000, depth: 300, sparse_bytes: 5 << 30 };
    /// Every kind of entry, quickly.
    pub const SMALL: Self = Self { wide_entries: 300, depth: 50, sparse_bytes: 64 << 20 };
}

/// What was made.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Number of entries that a backup keeps (sockets are not).
    pub entries: usize,
    /// What was left out, each with the reason.
    pub left_out: Vec<String>,
}

/// Builds the tree in the existing, empty directory `root`. The tree holds immutable files where that
/// is allowed; `FsTarget::remove` takes it away again.
///
/// # Errors
/// Something every file system must be able to hold could not be made.
pub fn build(root: &Path, scale: Scale) -> Result<Report> {
    let failed = |e: Errno| Error::io("torture", "cannot build the tree", e.into()).with("path", root.display());
    let fd = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut tree = Tree { root: Root::new(fd.map_err(failed)?), report: Report::default() };
    for part in [Tree::names, Tree::content, Tree::links, Tree::attributes, Tree::special, Tree::flags] {
        part(&mut tree).map_err(failed)?;
    }
    tree.sparse(scale.sparse_bytes).map_err(failed)?;
    tree.wide(scale.wide_entries).map_err(failed)?;
    tree.deep(scale.depth).map_err(failed)?;
    tree.modes_and_times().map_err(failed)?;
    Ok(tree.report)
}

type Done = rustix::io::Result<()>;

struct Tree {
    root: Root,
    report: Report,
}

impl Tree {
    fn directory(&mut self, path: impl AsRef<[u8]>) -> Done {
        let (parent, name) = self.root.open_parent(path.as_ref())?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
        self.report.entries += 1;
        Ok(())
    }

    fn file(&mut self, path: impl AsRef<[u8]>, content: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let fd = self.root.open(path.as_ref(), flags, Mode::from_raw_mode(0o644))?;
        write_at(&fd, 0, content)?;
        self.report.entries += 1;
        Ok(fd)
    }

    fn allowed(&mut self, what: &str, done: Done) {
        match done {
            Ok(()) => {}
            Err(e) => self.report.left_out.push(format!("{what}: {e}")),
        }
    }

    fn names(&mut self) -> Done {
        self.directory("names")?;
        let names: [&[u8]; 14] = [
            b"a",
            b"a!",
            b"a-b",
            b"a.b",
            b"line\nbreak",
            b"\xff\xfe not utf-8",
            b"-rf",
            b" ",
            b"tab\t",
            b"\x01",
            b"back\\slash",
            "Grüße ☃".as_bytes(),
            b"*",
            b"~",
        ];
        for name in names {
            self.file([b"names/", name].concat(), name)?;
        }
        self.file([b"names/".as_slice(), &b"n".repeat(255)].concat(), b"longest name")?;
        // A directory whose subtree sorts between `order` and `order!`.
        self.directory("names/order")?;
        self.file("names/order/inside", b"")?;
        self.file("names/order!", b"")?;
        Ok(())
    }

    fn content(&mut self) -> Done {
        self.directory("content")?;
        for len in [0, 1, 255, 256, 257, 4095, 4096, 4097, 65_536, 1_048_577, 9_000_001] {
            self.file(format!("content/{len}"), &noise(len))?;
        }
        self.file("content/zeros", &vec![0; 300_000])?;
        Ok(())
    }

    fn sparse(&mut self, len: u64) -> Done {
        self.directory("sparse")?;
        let fd = self.file("sparse/three islands", b"")?;
        rustix::fs::ftruncate(&fd, len)?;
        for (at, bytes) in [(4096, 5000), (len / 2 + 12_345, 100_000), (len - 70_000, 8192)] {
            write_at(&fd, at, &noise(bytes))?;
        }
        let fd = self.file("sparse/only a hole", b"")?;
        rustix::fs::ftruncate(&fd, 3 << 20)
    }

    fn links(&mut self) -> Done {
        self.directory("links")?;
        self.directory("links/other")?;
        self.file("links/first", b"three names")?;
        self.file("links/pair a", b"two names")?;
        for (from, to) in [("first", "second"), ("first", "other/third"), ("pair a", "pair b")] {
            let (parent, _) = self.root.open_parent(b"links/x")?;
            rustix::fs::linkat(&parent, from, &parent, to, AtFlags::empty())?;
            self.report.entries += 1;
        }
        let long = b"t/".repeat(2000);
        let targets: [&[u8]; 7] = [b"first", b"missing", b"/etc/hostname", b"loop a", b"..", b"\xff\n", &long];
        for (index, target) in targets.into_iter().enumerate() {
            let (parent, _) = self.root.open_parent(b"links/x")?;
            let name = if target == b"loop a" { "loop a".to_owned() } else { format!("symlink {index}") };
            rustix::fs::symlinkat(target, &parent, name.as_str())?;
            let times = times(Timestamp { seconds: 1_000_000_000, nanoseconds: 7 });
            rustix::fs::utimensat(&parent, name.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
            self.report.entries += 1;
        }
        let (parent, _) = self.root.open_parent(b"links/x")?;
        rustix::fs::mknodat(&parent, "pipe a", FileType::Fifo, Mode::RUSR, 0)?;
        for (from, to) in [("symlink 0", "other/symlink"), ("pipe a", "pipe b")] {
            rustix::fs::linkat(&parent, from, &parent, to, AtFlags::empty())?;
        }
        self.report.entries += 3;
        Ok(())
    }

    fn attributes(&mut self) -> Done {
        self.directory("attributes")?;
        let fd = self.file("attributes/xattrs", b"xattrs")?;
        let file = Handle::Open(fd.as_fd());
        let large = noise(2000);
        for (name, value) in
            [("user.text", &b"value"[..]), ("user.empty", b""), ("user.binary", b"\0\xff\0"), ("user.large", &large)]
        {
            self.allowed(name, file.set_xattr(name.as_bytes(), value));
        }
        self.allowed("trusted.*", file.set_xattr(b"trusted.decube", b"root only"));
        let fd = self.file("attributes/capability", b"binary")?;
        // cap_net_bind_service, permitted and effective: `struct vfs_cap_data`, version 2.
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.allowed("security.capability", Handle::Open(fd.as_fd()).set_xattr(b"security.capability", &capability));
        let fd = self.file("attributes/acl", b"acl")?;
        let acl = acl(0o7);
        self.allowed("POSIX ACL", Handle::Open(fd.as_fd()).set_xattr(b"system.posix_acl_access", &acl));
        self.directory("attributes/acl directory")?;
        let fd = self.root.open(b"attributes/acl directory", OFlags::RDONLY, Mode::empty())?;
        self.file("attributes/acl directory/plain file", b"made before the default ACL")?;
        for name in ["system.posix_acl_access", "system.posix_acl_default"] {
            self.allowed("POSIX ACL", Handle::Open(fd.as_fd()).set_xattr(name.as_bytes(), &acl));
        }
        self.file("attributes/acl directory/heir", b"made after the default ACL")?;
        for (index, owner) in [(12_345, 54_321), (0, 1), (4_000_000_000, 4_000_000_000)].into_iter().enumerate() {
            let fd = self.file(format!("attributes/owner {index}"), b"owned")?;
            self.allowed("other owners", Handle::Open(fd.as_fd()).chown(Some(owner.0), Some(owner.1)));
        }
        Ok(())
    }

    fn special(&mut self) -> Done {
        self.directory("special")?;
        let (parent, _) = self.root.open_parent(b"special/x")?;
        let nodes = [
            ("fifo", FileType::Fifo, 0, 0, 0o640),
            ("character device", FileType::CharacterDevice, 1, 3, 0o666),
            ("block device", FileType::BlockDevice, 7, 4_099, 0o660),
        ];
        for (name, kind, major, minor, mode) in nodes {
            let device = rustix::fs::makedev(major, minor);
            let made = rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(mode), device);
            self.report.entries += usize::from(made.is_ok());
            self.allowed(name, made);
        }
        // A socket's address is short, the tree's path may not be.
        let address = format!("/proc/self/fd/{}/socket", parent.as_raw_fd());
        if let Err(e) = std::os::unix::net::UnixListener::bind(address) {
            self.report.left_out.push(format!("socket: {e}"));
        }
        Ok(())
    }

    fn flags(&mut self) -> Done {
        self.directory("flags")?;
        let flags = [
            ("nodump", IFlags::NODUMP),
            ("noatime", IFlags::NOATIME),
            ("append only", IFlags::APPEND),
            ("immutable", IFlags::IMMUTABLE),
        ];
        for (name, flag) in flags {
            let fd = self.file(format!("flags/{name}"), name.as_bytes())?;
            let file = Handle::Open(fd.as_fd());
            let set = file.flags().and_then(|now| file.set_flags(now | flag));
            self.allowed(name, set);
        }
        Ok(())
    }

    fn wide(&mut self, entries: usize) -> Done {
        self.directory("wide")?;
        for index in 0..entries {
            let content = format!("{index}\n").repeat(index % 40);
            self.file(format!("wide/{index:05}"), content.as_bytes())?;
        }
        Ok(())
    }

    fn deep(&mut self, depth: usize) -> Done {
        let mut path = b"deep".to_vec();
        self.directory(&path)?;
        for level in 0..depth {
            path.extend_from_slice(format!("/{level:0>100}").as_bytes());
            self.directory(&path)?;
        }
        path.extend_from_slice(b"/at the bottom");
        let fd = self.file(&path, b"deep down")?;
        let set = Handle::Open(fd.as_fd()).set_xattr(b"user.deep", b"down");
        self.allowed("user.deep", set);
        Ok(())
    }

    fn modes_and_times(&mut self) -> Done {
        self.directory("modes")?;
        let modes = [0o0000, 0o0400, 0o0600, 0o0644, 0o0777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777];
        for mode in modes {
            let fd = self.file(format!("modes/file {mode:04o}"), b"mode")?;
            Handle::Open(fd.as_fd()).chmod(mode)?;
            let path = format!("modes/directory {mode:04o}");
            self.directory(&path)?;
            self.file(format!("{path}/inside"), b"inside")?;
            let fd = self.root.open(path.as_bytes(), OFlags::RDONLY, Mode::empty())?;
            Handle::Open(fd.as_fd()).chmod(mode)?;
        }
        self.directory("times")?;
        let seconds = [-2_147_483_648, -1, 0, 1, 2_147_483_647, 2_147_483_648, 4_294_967_296, 10_000_000_000];
        for seconds in seconds {
            let path = format!("times/{seconds}");
            let fd = self.file(&path, b"time")?;
            rustix::fs::futimens(&fd, &times(Timestamp { seconds, nanoseconds: 999_999_999 }))?;
        }
        for (name, seconds) in [("modes", -86_400), ("times", 5_000_000_000), ("flags", 1), ("wide", 1_234_567_890)] {
            let fd = self.root.open(name.as_bytes(), OFlags::RDONLY, Mode::empty())?;
            rustix::fs::futimens(&fd, &times(Timestamp { seconds, nanoseconds: 1 }))?;
        }
        Ok(())
    }
}

/// An access control list with one named user and one named group: its bytes in a
/// `system.posix_acl_*` attribute (`struct posix_acl_xattr_header`, version 2). `mask` bounds both.
pub fn acl(mask: u16) -> Vec<u8> {
    let anybody = u32::MAX;
    let entries: [(u16, u16, u32); 6] =
        [(1, 7, anybody), (2, 7, 1234), (4, 4, anybody), (8, 5, 4321), (0x10, mask, anybody), (0x20, 0, anybody)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// Removes the tree at `root` and the directory itself, whatever flags and modes it carries.
///
/// # Errors
/// Something stayed.
pub fn remove(root: &Path) -> Result<()> {
    use decube_backup_core::Target;
    let target = crate::target::FsTarget::open(root, Default::default())?;
    target.remove(&EntryPath::root())?;
    std::fs::remove_dir(root).map_err(|e| Error::io("torture", "cannot remove", e).with("path", root.display()))
}

fn times(modified: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
    }
}

/// Bytes that do not compress, the same every time. Source: Marsaglia, Xorshift RNGs, 2003.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

fn write_at(fd: &OwnedFd, mut offset: u64, mut bytes: &[u8]) -> Done {
    while !bytes.is_empty() {
        let written = rustix::io::pwrite(fd, bytes, offset)?;
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}
