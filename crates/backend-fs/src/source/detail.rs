//! What a scan leaves out: extended attributes and inode flags.

use crate::at::{Root, open_quietly};
use crate::attributes::{Handle, SETTABLE};
use decube_backup_core::display::display_bytes;
use decube_backup_core::entry::{Entry, EntryKind};
use decube_backup_core::monitor::{Problem, ProblemKind};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Fills `entry.meta.xattrs` and `entry.meta.flags`; says what could not be read.
pub(crate) fn detail(root: &Root, entry: &mut Entry) -> Vec<Problem> {
    let path = entry.path.as_bytes();
    let mut opened = Err(Errno::ACCESS);
    if matches!(entry.kind, EntryKind::File { .. } | EntryKind::Directory) {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        opened = open_quietly(|flags| root.open(path, flags, Mode::empty()), flags);
    }
    // Everything else, and what may not be read, still shows its attributes.
    let through_path = matches!(opened, Err(Errno::ACCESS | Errno::PERM));
    if through_path {
        opened = root.open(path, OFlags::PATH, Mode::empty());
    }
    let problem = |kind, message: String| Problem::new(kind, path, message);
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => {
            return vec![problem(ProblemKind::Vanished, "vanished after it was listed".into())];
        }
        Err(e) => return vec![problem(ProblemKind::Attribute, format!("cannot open to read attributes: {e}"))],
    };
    fill(if through_path { Handle::Path(fd.as_fd()) } else { Handle::Open(fd.as_fd()) }, entry)
}

/// The same of an entry that is open.
pub(crate) fn fill(handle: Handle<'_>, entry: &mut Entry) -> Vec<Problem> {
    let path = entry.path.as_bytes();
    let problem = |message: String| Problem::new(ProblemKind::Attribute, path, message);
    let mut problems = Vec::new();
    match handle.flags() {
        Ok(flags) => entry.meta.flags = (flags & SETTABLE).bits(),
        // There are none; the last is of what is only looked at.
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::BADF) => {}
        Err(e) => problems.push(problem(format!("cannot read inode flags: {e}"))),
    }
    match handle.xattrs() {
        Ok((xattrs, failed)) => {
            problems.extend(failed.into_iter().map(|(name, e)| {
                let name = display_bytes(&name);
                problem(format!("cannot read extended attribute {name}: {e}"))
            }));
            entry.meta.xattrs = xattrs;
        }
        Err(e) => problems.push(problem(format!("cannot list extended attributes: {e}"))),
    }
    problems
}
