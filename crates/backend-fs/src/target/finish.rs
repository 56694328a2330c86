//! Setting an entry's attributes.
//!
//! Order: owner (it clears set-id bits and capabilities), extended attributes, times, the ACL (it changes mode bits), mode, and
//! flags last: an immutable inode takes nothing any more. Until a file has its time its mode says that it is unfinished, whoever
//! is killed. What cannot be set is one [`Problem`] per kind of attribute.

use super::open::is_unfinished;
use super::proofs::{Proof, Proofs, step_between};
use crate::attributes::{Handle, SETTABLE};
use crate::source::{self, timestamp};
use decube_backup_core::display::display_bytes;
use decube_backup_core::entry::{Entry, EntryKind, Timestamp, Xattr};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::{Result, acl};
use rustix::fs::{IFlags, Statx, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

/// What the inode may carry before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Just made: nothing.
    Nothing,
    /// Attributes of its own, or handed down by its directory; those not recorded are removed.
    Attributes,
}

/// Sets everything `entry` records on the inode behind `handle`; does `first` before all, `then` before the flags.
///
/// # Errors
/// What `first` and `then` yield.
pub(crate) fn finish(
    handle: Handle<'_>,
    entry: &Entry,
    owner: Option<(u32, u32)>,
    before: Before,
    proofs: &Proofs,
    first: impl FnOnce(&Statx) -> Result<()>,
    then: impl FnOnce() -> Result<()>,
) -> Result<Vec<Problem>> {
    let mut task = Task { handle, entry, problems: Vec::new(), withheld: 0, unset: Vec::new(), set: Set::default() };
    match handle.stat() {
        Ok(stat) => {
            first(&stat)?;
            let flags = task.attributes(&stat, owner, before);
            task.check_kept(&stat, proofs);
            then()?;
            if before == Before::Attributes || entry.meta.flags != 0 {
                task.flags(flags);
            }
        }
        Err(e) => {
            then()?;
            task.problem(format!("cannot read attributes back: {e}"));
        }
    }
    Ok(task.problems)
}

/// Takes from a directory that stood there what others would have of it only until it is finished: mode bits that it will not
/// have, those of its group and its ACL where they will be others, and an owner who will not be.
pub(crate) fn narrow(handle: Handle<'_>, entry: &Entry, owner: Option<(u32, u32)>) -> rustix::io::Result<()> {
    let stat = handle.stat()?;
    let task = Task { handle, entry, problems: Vec::new(), withheld: 0, unset: Vec::new(), set: Set::default() };
    let (now, owned) = (u32::from(stat.stx_mode) & 0o7777, (stat.stx_uid, stat.stx_gid));
    let owner = owner.filter(|wanted| *wanted != owned);
    let of_others = entry.meta.mode & if owner.is_some() || task.acl_changes() { 0o007 } else { 0o077 };
    let narrowed = now & (0o7700 | of_others);
    if narrowed != now {
        handle.chmod(narrowed)?;
    }
    // An ordinary user may not, nor restores what only others may read.
    if let Some((user, group)) = owner.filter(|_| rustix::process::geteuid().is_root()) {
        handle.chown(Some(user), Some(group))?;
    }
    Ok(())
}

/// Whether the inode behind `handle` has everything that [`finish`] would set.
pub(crate) fn is_finished(
    handle: Handle<'_>,
    entry: &Entry,
    owner: Option<(u32, u32)>,
    step_ns: impl Fn(&Statx) -> u64,
) -> bool {
    let meta = &entry.meta;
    let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
    let Ok(stat) = handle.stat() else { return false };
    let Ok(names) = handle.xattr_names() else { return false };
    let mode = is_link || u32::from(stat.stx_mode) & 0o7777 == meta.mode & 0o7777;
    let owned = owner.is_none_or(|owner| owner == (stat.stx_uid, stat.stx_gid));
    let none_else = names.iter().all(|name| kept(name) || meta.xattrs.iter().any(|wanted| wanted.name == *name));
    let all = meta.xattrs.iter().all(|x| matches!(handle.xattr(&x.name), Ok(Some(value)) if value == x.value));
    let wanted = IFlags::from_bits_retain(meta.flags) & SETTABLE;
    let flags = handle.flags().map_or(wanted.is_empty(), |now| now & SETTABLE == wanted);
    mode && owned && timestamp(&stat.stx_mtime) == meta.mtime.cut_to(step_ns(&stat)) && none_else && all && flags
}

struct Task<'a> {
    handle: Handle<'a>,
    entry: &'a Entry,
    problems: Vec<Problem>,
    /// Bits of the recorded mode that would say something else here.
    withheld: u32,
    /// Extended attributes that could not be set, and why.
    unset: Vec<String>,
    set: Set,
}

/// What the system said was set.
#[derive(Default)]
struct Set {
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    time: bool,
}

impl Task<'_> {
    fn problem(&mut self, message: String) {
        self.problems.push(Problem::new(ProblemKind::Attribute, self.entry.path.as_bytes(), message));
    }

    /// All but the flags; returns what is known of those.
    fn attributes(&mut self, stat: &Statx, owner: Option<(u32, u32)>, before: Before) -> Option<IFlags> {
        let meta = &self.entry.meta;
        let mut mode_now = u32::from(stat.stx_mode) & 0o7777;
        let mut flags_now = None;
        if before == Before::Attributes {
            flags_now = self.unlock();
        }
        let mut owned = (stat.stx_uid, stat.stx_gid);
        if before == Before::Attributes {
            self.close(mode_now, owner.is_some_and(|wanted| wanted != owned));
        }
        if let Some(wanted) = owner.filter(|wanted| *wanted != owned) {
            owned = self.chown(owned, wanted);
            mode_now = u32::MAX;
        }
        if before == Before::Attributes || !meta.xattrs.is_empty() {
            self.xattrs(before, |name| name != acl::ACCESS);
            mode_now = u32::MAX;
        }
        let times = Timestamps { last_access: timespec_omitted(), last_modification: timespec(meta.mtime) };
        match self.handle.set_times(&times) {
            Ok(()) => self.set.time = true,
            Err(_) if self.handle.stat().is_ok_and(|stat| timestamp(&stat.stx_mtime) == meta.mtime) => {}
            Err(e) => self.problem(format!("cannot set modification time {}: {e}", meta.mtime)),
        }
        if before == Before::Attributes || meta.xattrs.iter().any(|x| x.name == acl::ACCESS) {
            self.xattrs(before, |name| name == acl::ACCESS);
        }
        if !self.unset.is_empty() {
            self.problem(format!("cannot set extended attributes: {}", self.unset.join(", ")));
        }
        if !matches!(self.entry.kind, EntryKind::Symlink { .. }) {
            self.mode(mode_now, (meta.uid, meta.gid) == owned || owner == Some(owned));
        }
        flags_now
    }

    /// Takes flags away that forbid what follows; the flags as they are then.
    fn unlock(&mut self) -> Option<IFlags> {
        let flags = self.handle.flags().ok()?;
        let locking = crate::attributes::LOCKING;
        if !flags.intersects(locking) {
            return Some(flags);
        }
        // If it fails, so will what follows, and be reported there.
        self.handle.set_flags(flags.difference(locking)).ok()?;
        Some(flags.difference(locking))
    }

    /// Whether the ACL it has is not the recorded one.
    fn acl_changes(&self) -> bool {
        let wanted = self.entry.meta.xattrs.iter().find(|x| x.name == acl::ACCESS).map(|x| &x.value);
        self.handle.xattr(acl::ACCESS).unwrap_or_default().as_ref() != wanted
    }

    /// Takes from an inode that others may use already what they would have of it in between: group bits are another
    /// group's after a change of owner, and without its ACL the bits of its mask are the group's.
    fn close(&self, now: u32, owner_changes: bool) {
        let meta = &self.entry.meta;
        // A file that has its mark is closed: whoever is killed from here on leaves it with that.
        let is_closed = match self.entry.kind {
            EntryKind::Symlink { .. } => true,
            EntryKind::File { .. } => is_unfinished(now),
            _ => false,
        };
        if is_closed || !(owner_changes || self.acl_changes()) {
            return;
        }
        let of_owner = if owner_changes { meta.mode & 0o700 } else { 0o700 };
        let closed = now & (of_owner | meta.mode & 0o007);
        if closed != now {
            // Where this is not permitted, neither is what follows, and is reported there.
            let _unchanged = self.handle.chmod(closed);
        }
    }

    /// Returns who owns it then.
    fn chown(&mut self, now: (u32, u32), wanted: (u32, u32)) -> (u32, u32) {
        match self.handle.chown(Some(wanted.0), Some(wanted.1)) {
            Ok(()) => {
                self.set.owner = Some(wanted);
                return wanted;
            }
            Err(Errno::PERM) => {}
            Err(e) => {
                self.problem(format!("cannot set owner {}:{}: {e}", wanted.0, wanted.1));
                return now;
            }
        }
        // An ordinary user may give a file to a group of theirs, never to another user.
        let mut got = now;
        if wanted.1 != now.1 && self.handle.chown(None, Some(wanted.1)).is_ok() {
            got.1 = wanted.1;
        }
        if got != wanted {
            let (user, group) = wanted;
            self.problem(format!("cannot set owner {user}:{group}, it stays {}:{}: not permitted", got.0, got.1));
        }
        got
    }

    /// Sets those that are `meant`, and removes such as are not recorded.
    fn xattrs(&mut self, before: Before, meant: impl Fn(&[u8]) -> bool) {
        let wanted = &self.entry.meta.xattrs;
        let failed = &mut self.unset;
        let mut fail = |what: &str, name: &[u8], e: Errno| failed.push(format!("{what}{} ({e})", display_bytes(name)));
        if before == Before::Attributes {
            match self.handle.xattr_names() {
                Ok(names) => {
                    for name in names.iter().filter(|n| meant(n) && !kept(n) && wanted.iter().all(|w| w.name != **n)) {
                        match self.handle.remove_xattr(name) {
                            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                            Err(e) => fail("removal of ", name, e),
                        }
                    }
                }
                Err(e) => fail("", b"those already there", e),
            }
        }
        for Xattr { name, value } in wanted.iter().filter(|x| meant(&x.name)) {
            let same = before == Before::Attributes && matches!(self.handle.xattr(name), Ok(Some(v)) if v == *value);
            if !same && let Err(e) = self.handle.set_xattr(name, value) {
                fail("", name, e);
                if name == acl::ACCESS {
                    // The mode's group bits are the ACL's mask: more than the group itself had.
                    self.withheld = 0o070 & !(acl::group_bits(value) << 3);
                }
            }
        }
    }

    fn mode(&mut self, now: u32, owner_is_right: bool) {
        let wanted = self.entry.meta.mode & 0o7777;
        let mut mode = wanted;
        // With another owner the bits would hand out that owner's rights.
        let directory = matches!(self.entry.kind, EntryKind::Directory);
        if !owner_is_right && !directory {
            mode &= !0o6000;
        }
        mode &= !self.withheld;
        if mode != now {
            match self.handle.chmod(mode) {
                Ok(()) => self.set.mode = Some(mode),
                // Not one's own, and right already.
                Err(_) if self.handle.stat().is_ok_and(|stat| u32::from(stat.stx_mode) & 0o7777 == mode) => {}
                Err(e) => return self.problem(format!("cannot set mode {wanted:04o}: {e}")),
            }
        }
        // The kernel silently drops set-group-id for a group the caller is not in.
        let got = if mode & 0o7000 == 0 || mode == now {
            mode
        } else {
            self.handle.stat().map_or(mode, |stat| u32::from(stat.stx_mode) & 0o7777)
        };
        if got != mode {
            // It is told already.
            self.set.mode = None;
        }
        if got != wanted {
            let why = match self.withheld & wanted {
                0 => "the owner is not the recorded one",
                _ => "without its ACL the group would have more than it had",
            };
            self.problem(format!("cannot set mode {wanted:04o}, it stays {got:04o}: {why}"));
        }
    }

    /// Reads back what was set, unless the file system has shown that it keeps it. Some clamp, cut and drop, and say nothing.
    fn check_kept(&mut self, before: &Statx, proofs: &Proofs) {
        let wanted = self.entry.meta.mtime;
        let device = source::device(before);
        let proof = proofs.of(device);
        let Set { mode, owner, time } = &self.set;
        let mode = mode.filter(|_| !proof.modes);
        let owner = owner.filter(|_| !proof.owners);
        let is_common = i32::try_from(wanted.seconds).is_ok_and(|seconds| seconds >= 0);
        let time = *time && !(proof.times && is_common);
        if mode.is_none() && owner.is_none() && !time {
            return;
        }
        let stat = match self.handle.stat() {
            Ok(stat) => stat,
            Err(e) => return self.problem(format!("cannot read back what was set: {e}")),
        };
        let mut new = Proof::default();
        if let Some(mode) = mode {
            let got = u32::from(stat.stx_mode) & 0o7777;
            // Where all files look alike, none looks like one that is not finished.
            new.modes = got == mode && is_unfinished(before.stx_mode.into());
            if got != mode {
                self.problem(format!("cannot set mode {mode:04o}, the file system keeps {got:04o}"));
            }
        }
        if let Some((user, group)) = owner {
            let got = (stat.stx_uid, stat.stx_gid);
            new.owners = got == (user, group);
            if !new.owners {
                self.problem(format!("cannot set owner {user}:{group}, the file system keeps {}:{}", got.0, got.1));
            }
        }
        if time {
            let got = timestamp(&stat.stx_mtime);
            new.times = got == wanted && !wanted.nanoseconds.is_multiple_of(100);
            new.step_ns = step_between(wanted, got).filter(|_| got != wanted);
            if got != wanted && new.step_ns.is_none() {
                self.problem(format!("cannot set modification time {wanted}, the file system keeps {got}"));
            }
        }
        // Once: it is the same with every file there.
        if proofs.learn(device, new)
            && let Some(step) = new.step_ns
        {
            let message =
                "cannot set modification times exactly: here and elsewhere the file system cuts them to multiples of";
            self.problem(format!("{message} {step} ns"));
        }
    }

    fn flags(&mut self, known: Option<IFlags>) {
        let wanted = IFlags::from_bits_retain(self.entry.meta.flags) & SETTABLE;
        let now = match known.map_or_else(|| self.handle.flags(), Ok) {
            Ok(flags) => flags,
            Err(_) if wanted.is_empty() => return,
            Err(e) => return self.problem(format!("cannot set inode flags {:#x}: {e}", wanted.bits())),
        };
        let new = now.difference(SETTABLE) | wanted;
        if new == now {
            return;
        }
        let set = self.handle.set_flags(new);
        // A file system may take the call and not the flag.
        match set.and_then(|()| self.handle.flags()) {
            Ok(got) if got & SETTABLE == wanted => {}
            Ok(got) => {
                let got = got & SETTABLE;
                self.problem(format!("cannot set inode flags {:#x}, they stay {:#x}", wanted.bits(), got.bits()));
            }
            Err(e) => self.problem(format!("cannot set inode flags {:#x}: {e}", wanted.bits())),
        }
    }
}

/// Attributes the system gives every inode by its own policy; a restore does not take them away.
fn kept(name: &[u8]) -> bool {
    name.starts_with(b"security.") && name != b"security.capability"
}

fn timespec(t: Timestamp) -> Timespec {
    Timespec { tv_sec: t.seconds, tv_nsec: t.nanoseconds.into() }
}

fn timespec_omitted() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }
}
