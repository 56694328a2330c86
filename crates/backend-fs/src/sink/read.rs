//! `get` and `stat`.

use super::{Store, fault};
use crate::page_cache::{any_cached, not_needed};
use bytes::Bytes;
use decube_backup_core::limits::OBJECT_BYTES_MAX;
use decube_backup_core::sink::{ByteRange, ObjectMeta};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// From so many bytes on, what is not in the page cache is read past it. Shorter reads profit from what was read ahead for them.
/// Numbers: docs/adr/0029.
const UNCACHED_BYTES_MIN: u64 = 2 << 20;

impl Store {
    pub(super) fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        let path = self.path(key);
        // Without O_NONBLOCK a FIFO in the place of an object would hold the caller for ever.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path) {
            Ok(file) => file,
            Err(e) if fault::is_absent(&e) => return Ok(None),
            Err(e) => return Err(fault::error("get", "cannot open object", &path, e)),
        };
        let metadata = file.metadata().map_err(|e| fault::error("get", "cannot stat object", &path, e))?;
        if !is_object("get", &path, &metadata)? {
            return Ok(None);
        }
        let (offset, len) = match range {
            ByteRange::Full => (0, metadata.len()),
            ByteRange::From { offset, len } => (offset, len.min(metadata.len().saturating_sub(offset))),
        };
        let range = offset..offset.saturating_add(len);
        let want = usize::try_from(len).ok().filter(|len| *len <= OBJECT_BYTES_MAX);
        let want = want.ok_or_else(|| damaged("object is larger than any object can be", &path, len))?;
        let uncached = len >= UNCACHED_BYTES_MIN && !any_cached(&file, &range);
        let direct = if uncached { self.buffers.read(&file, &range) } else { None };
        let bytes = match direct {
            Some(bytes) => bytes,
            None => read_exactly(&file, &path, offset, want)?,
        };
        if uncached {
            not_needed(&file, range);
        }
        Ok(Some(bytes))
    }

    pub(super) fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let path = self.path(key);
        match std::fs::metadata(&path) {
            Ok(metadata) => Ok(is_object("stat", &path, &metadata)?.then(|| object_meta(key.clone(), &metadata))),
            Err(e) if fault::is_absent(&e) => Ok(None),
            Err(e) => Err(fault::error("stat", "cannot stat object", &path, e)),
        }
    }
}

/// A folder is no object; anything that is neither is in the way.
fn is_object(operation: &'static str, path: &Path, metadata: &Metadata) -> Result<bool> {
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(fault::not_an_object(ErrorKind::Corrupt, operation, path)),
    }
}

/// What a listing and `stat` say of a file.
pub(super) fn object_meta(key: Key, metadata: &Metadata) -> ObjectMeta {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_ms = modified.and_then(|since| i64::try_from(since.as_millis()).ok());
    ObjectMeta { key, len: metadata.len(), modified_ms }
}

fn damaged(why: &str, path: &Path, bytes: u64) -> Error {
    Error::new(ErrorKind::Corrupt, "get", why).with("path", path.display()).with("bytes", bytes)
}

fn read_exactly(file: &File, path: &Path, offset: u64, want: usize) -> Result<Bytes> {
    // Filled through its spare capacity: a zeroed buffer would be touched twice.
    let mut bytes: Vec<u8> = Vec::with_capacity(want);
    while bytes.len() < want {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(damaged("object became shorter while it was read", path, at)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(fault::error("get", "cannot read object", path, e)),
        }
    }
    // The allocator may have given more room than asked for.
    bytes.truncate(want);
    Ok(bytes.into())
}
