//! The names in one directory, in order, in one buffer.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, RawDir};
use rustix::io::{Errno, Result};
use std::ffi::CStr;

const DIRENT_BYTES: usize = 64 << 10;

/// Sorted names of a directory. A million names cost about 40 bytes each, in two allocations.
#[derive(Default)]
pub(crate) struct DirectoryNames {
    // The names one after the other, each with its NUL, so that system calls take them as they are.
    bytes: Vec<u8>,
    order: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    // The first eight bytes, big-endian, decide most comparisons.
    prefix: u64,
    start: usize,
    len: u32,
    kind: FileType,
}

/// Buffers a thread reads directories with, one after the other.
pub(crate) struct DirectoryReader {
    dirents: Vec<u8>,
}

impl Default for DirectoryReader {
    fn default() -> Self {
        Self { dirents: Vec::with_capacity(DIRENT_BYTES) }
    }
}

impl DirectoryReader {
    /// Reads and sorts the names in `fd` into `names`. After an error the names before it are there.
    pub(crate) fn read(&mut self, fd: &OwnedFd, names: &mut DirectoryNames) -> Result<()> {
        names.bytes.clear();
        names.order.clear();
        self.dirents.clear();
        let mut raw = RawDir::new(fd, self.dirents.spare_capacity_mut());
        let mut ended = Ok(());
        while let Some(dirent) = raw.next() {
            match dirent {
                Ok(dirent) => names.push(dirent.file_name(), dirent.file_type()),
                Err(Errno::INTR) => {}
                Err(e) => {
                    ended = Err(e);
                    break;
                }
            }
        }
        names.sort();
        ended
    }
}

impl DirectoryNames {
    fn push(&mut self, name: &CStr, kind: FileType) {
        let bytes = name.to_bytes();
        if matches!(bytes, b"." | b"..") {
            return;
        }
        let mut prefix = [0; 8];
        for (to, from) in prefix.iter_mut().zip(bytes) {
            *to = *from;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        // No file system has names near 4 GiB.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.order.push(Place { prefix: u64::from_be_bytes(prefix), start, len, kind });
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |p: &Place| bytes.get(p.start..p.start + p.len as usize).unwrap_or_default();
        self.order.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| name(a).cmp(name(b))));
        // A directory changed while it is read may give a name twice.
        self.order.dedup_by(|a, b| a.prefix == b.prefix && name(a) == name(b));
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The name at `index` in order, and its type where the directory tells it (`Unknown` elsewhere).
    pub(crate) fn at(&self, index: usize) -> Option<(&CStr, FileType)> {
        let place = self.order.get(index)?;
        let with_nul = self.bytes.get(place.start..=place.start + place.len as usize)?;
        Some((CStr::from_bytes_with_nul(with_nul).ok()?, place.kind))
    }

    /// Whether `name` is there.
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        let at = |p: &Place| self.bytes.get(p.start..p.start + p.len as usize).unwrap_or_default();
        self.order.binary_search_by(|p| at(p).cmp(name)).is_ok()
    }
}
