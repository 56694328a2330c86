//! Writing what nobody is about to read without filling the page cache with it.
//!
//! `RWF_DONTCACHE` (Linux 6.14) begins to write the pages back at once and drops them when they are clean: the next
//! write finds them free again, where fresh ones would have to be found for every page of the data and other people's
//! pages thrown out. Kernels and file systems without it get an ordinary write. Numbers: docs/adr/0015.

use rustix::fd::AsFd;
use rustix::io::{Errno, ReadWriteFlags, Result};
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shorter writes are left to the cache, bytes: their last pages are shared with what follows.
const BYTES_MIN: usize = 256 << 10;
/// `RWF_DONTCACHE` of `linux/fs.h`.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Whether uncached writes work where this one's files are; starts out hopeful.
#[derive(Debug)]
pub(crate) struct Uncached(AtomicBool);

impl Default for Uncached {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Uncached {
    /// Writes from the beginning of `bytes` at `offset`; returns how many were written, as `pwrite` does.
    ///
    /// # Errors
    /// As `pwrite`.
    fn pwrite(&self, fd: impl AsFd, bytes: &[u8], offset: u64) -> Result<usize> {
        if bytes.len() >= BYTES_MIN && self.0.load(Ordering::Relaxed) {
            match rustix::io::pwritev2(&fd, &[IoSlice::new(bytes)], offset, DONTCACHE) {
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => self.0.store(false, Ordering::Relaxed),
                written => return written,
            }
        }
        rustix::io::pwrite(fd, bytes, offset)
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As `pwrite`, with the offset; `NOSPC` if it writes nothing.
    pub(crate) fn pwrite_all(&self, fd: impl AsFd, bytes: &[u8], offset: u64) -> std::result::Result<(), (Errno, u64)> {
        each(bytes, offset, |rest, at| self.pwrite(&fd, rest, at))
    }
}

/// Writes all of `bytes` at `offset`, through the cache.
///
/// # Errors
/// As `pwrite`, with the offset; `NOSPC` if it writes nothing.
pub(crate) fn pwrite_all(fd: impl AsFd, bytes: &[u8], offset: u64) -> std::result::Result<(), (Errno, u64)> {
    each(bytes, offset, |rest, at| rustix::io::pwrite(&fd, rest, at))
}

fn each(
    mut bytes: &[u8],
    mut offset: u64,
    write: impl Fn(&[u8], u64) -> Result<usize>,
) -> std::result::Result<(), (Errno, u64)> {
    while !bytes.is_empty() {
        match write(bytes, offset) {
            Ok(0) => return Err((Errno::NOSPC, offset)),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err((e, offset)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn refused_or_not_all_bytes_arrive_and_a_full_disk_is_told() {
        for uncached in [Uncached::default(), Uncached(AtomicBool::new(false))] {
            let mut file = tempfile::tempfile().expect("file");
            let bytes: Vec<u8> = (0..3 * BYTES_MIN).map(|i| (i / 7) as u8).collect();
            uncached.pwrite_all(&file, &bytes, 5).expect("written");
            let mut read = Vec::new();
            file.rewind().expect("rewound");
            file.read_to_end(&mut read).expect("read");
            assert!(read[..5] == [0; 5] && read[5..] == bytes);
            let full = std::fs::File::options().write(true).open("/dev/full").expect("full");
            assert_eq!(uncached.pwrite_all(&full, &bytes, 0), Err((Errno::NOSPC, 0)));
        }
    }
}
