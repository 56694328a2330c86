//! One `statx` answer as an entry.

use decube_backup_core::entry::{Entry, EntryKind, EntryPath, Identity, Metadata, Timestamp};
use decube_backup_core::source::Scanned;
use rustix::fs::{FileType, Statx, StatxFlags, StatxTimestamp};
use std::collections::HashMap;
use std::sync::Arc;

/// Names of users and groups, looked up once. One per thread: their counters stay on its core.
#[derive(Default)]
pub(crate) struct Names {
    users: Known,
    groups: Known,
}

#[derive(Default)]
struct Known {
    last: Option<(u32, Arc<str>)>,
    all: HashMap<u32, Arc<str>>,
}

impl Known {
    fn name(&mut self, id: u32, look_up: impl Fn(u32) -> Option<String>) -> Arc<str> {
        if let Some((last, name)) = &self.last
            && *last == id
        {
            return name.clone();
        }
        let name = self.all.entry(id).or_insert_with(|| look_up(id).unwrap_or_default().into()).clone();
        self.last = Some((id, name.clone()));
        name
    }
}

impl Names {
    pub(crate) fn user(&mut self, uid: u32) -> Arc<str> {
        self.users.name(uid, |id| uzers::get_user_by_uid(id)?.name().to_str().map(str::to_owned))
    }

    pub(crate) fn group(&mut self, gid: u32) -> Arc<str> {
        self.groups.name(gid, |id| uzers::get_group_by_gid(id)?.name().to_str().map(str::to_owned))
    }
}

/// The type bits of `stat`.
pub(crate) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

pub(crate) fn timestamp(t: &StatxTimestamp) -> Timestamp {
    Timestamp { seconds: t.tv_sec, nanoseconds: t.tv_nsec }
}

pub(crate) fn identity(stat: &Statx) -> Identity {
    let ctime = &stat.stx_ctime;
    Identity {
        dev: device(stat),
        inode: stat.stx_ino,
        ctime_ns: ctime.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(ctime.tv_nsec)),
        links: stat.stx_nlink,
    }
}

/// The number of the file system `stat` is from.
pub(crate) fn device(stat: &Statx) -> u64 {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// The entry's kind; `link` reads a symlink's target. `Ok(None)`: a socket, which has nothing to keep.
pub(crate) fn kind<E>(stat: &Statx, link: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Option<EntryKind>, E> {
    let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
    Ok(Some(match file_type(stat) {
        FileType::RegularFile => EntryKind::File { size: stat.stx_size },
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink { target: link()? },
        FileType::Fifo => EntryKind::Fifo,
        FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
        FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
        FileType::Socket | FileType::Unknown => return Ok(None),
    }))
}

/// The entry with all that `stat` tells.
pub(crate) fn scanned(path: EntryPath, kind: EntryKind, stat: &Statx, names: &mut Names) -> Scanned {
    let born = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let meta = Metadata {
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        user: names.user(stat.stx_uid),
        group: names.group(stat.stx_gid),
        mtime: timestamp(&stat.stx_mtime),
        birth: born.then(|| timestamp(&stat.stx_btime)),
        flags: 0,
        xattrs: Vec::new(),
        link_group: None,
    };
    Scanned { entry: Entry { path, kind, meta }, identity: Some(identity(stat)) }
}
