//! Reads and writes that pass the page cache by, between the disk and huge pages.
//!
//! A disk takes no more than a few hundred stretches of memory with one request. Of pages of 4 KiB that is a mebibyte at a time; of
//! huge ones it is all that is asked for. Numbers: docs/adr/0029.

use crate::pwrite::pwrite_calls;
use bytes::Bytes;
use decube_backup_core::sink::Rope;
use memmap2::{Advice, MmapMut};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// On the machines that we know; bytes. Where they are larger, or there are none, only speed is lost.
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Multiple of the logical blocks of disks, bytes. Where it is none, the page cache is used.
const BLOCK_BYTES: u64 = 4096;
/// Written with one request, bytes.
const WRITE_BYTES: usize = 4 << 20;
/// Kept for the next reads and writes, at most, bytes: a little more than a restore on two cores has on its way.
const KEPT_BYTES_MAX: usize = 48 << 20;

/// Memory that the disk reads and writes; used again, as its pages cost more to get than to fill.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<Buffer>>,
}

/// Memory of huge pages, if there are any.
#[derive(Debug)]
struct Buffer {
    map: MmapMut,
    /// Where its first whole huge page begins.
    start: usize,
    /// From there, multiple of huge pages.
    len: usize,
}

impl Buffer {
    fn new(len: usize) -> Option<Self> {
        let len = len.next_multiple_of(HUGE_PAGE_BYTES);
        let map = MmapMut::map_anon(len + HUGE_PAGE_BYTES).ok()?;
        let _advice = map.advise(Advice::HugePage);
        let start = map.as_ptr().align_offset(HUGE_PAGE_BYTES);
        Some(Self { map, start, len })
    }

    fn part(&mut self, part: Range<usize>) -> &mut [u8] {
        self.map.get_mut(self.start + part.start..self.start + part.end).unwrap_or_default()
    }
}

/// What was read; its memory goes back when nobody looks at it any more.
struct Filled {
    buffers: Arc<Buffers>,
    buffer: Option<Buffer>,
    part: Range<usize>,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        let part = |buffer: &Buffer| buffer.start + self.part.start..buffer.start + self.part.end;
        self.buffer.as_ref().and_then(|buffer| buffer.map.get(part(buffer))).unwrap_or_default()
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.buffers.keep(buffer);
        }
    }
}

impl Buffers {
    /// `range` of `file`, bytes, from the disk; from then on `file` is read past the page cache. `None` if that cannot be done: then
    /// `file` is as it was, and reading it says why.
    pub(super) fn read(self: &Arc<Self>, file: &File, range: &Range<u64>) -> Option<Bytes> {
        let flags = rustix::fs::fcntl_getfl(file).ok()?;
        rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT).ok()?;
        let read = self.fill(file, range);
        if read.is_none() {
            rustix::fs::fcntl_setfl(file, flags).ok()?;
        }
        read
    }

    /// Writes whole blocks of `bytes` to the empty `file`, from the front: how many bytes. The rest is the caller's to write, the
    /// ordinary way, which also says what is wrong.
    pub(super) fn write(&self, file: &File, bytes: &Rope) -> u64 {
        let Ok(flags) = rustix::fs::fcntl_getfl(file) else { return 0 };
        let Some(mut buffer) = self.take(WRITE_BYTES) else { return 0 };
        let mut written = 0;
        if rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT).is_ok() {
            written = drain(file, bytes, &mut buffer);
            // If this fails, writing the rest fails.
            let _reset = rustix::fs::fcntl_setfl(file, flags);
        }
        self.keep(buffer);
        written
    }

    fn fill(self: &Arc<Self>, file: &File, range: &Range<u64>) -> Option<Bytes> {
        let start = range.start - range.start % BLOCK_BYTES;
        let len = usize::try_from(range.end.next_multiple_of(BLOCK_BYTES) - start).ok()?;
        let part = (range.start - start) as usize..(range.end - start) as usize;
        let mut buffer = self.take(len)?;
        let mut filled = 0;
        while filled < part.end {
            match rustix::io::pread(file, buffer.part(filled..len), start + filled as u64) {
                Ok(n) if n > 0 => filled += n,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => {
                    self.keep(buffer);
                    return None;
                }
            }
        }
        Some(Bytes::from_owner(Filled { buffers: self.clone(), buffer: Some(buffer), part }))
    }

    /// The smallest that is long enough.
    fn take(&self, len: usize) -> Option<Buffer> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = free.iter().enumerate().filter(|(_, buffer)| buffer.len >= len).min_by_key(|(_, buffer)| buffer.len);
        match fits.map(|(at, _)| at) {
            Some(found) => Some(free.remove(found)),
            None => Buffer::new(len),
        }
    }

    /// Those that came last stay: they are as long as what is read now.
    fn keep(&self, buffer: Buffer) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(buffer);
        let mut room = KEPT_BYTES_MAX;
        let fit = free.iter().rev().take_while(|buffer| {
            let fits = buffer.len <= room;
            room = room.saturating_sub(buffer.len);
            fits
        });
        let gone = free.len() - fit.count();
        free.drain(..gone);
    }
}

/// Writes all whole blocks of `bytes`, until one cannot be written: how many bytes that is.
fn drain(file: &File, bytes: &Rope, buffer: &mut Buffer) -> u64 {
    let (mut at, mut held) = (0, 0);
    let mut pieces = bytes.pieces().iter().map(|piece| &piece[..]);
    let mut piece = pieces.next();
    while let Some(rest) = piece {
        let room = buffer.part(held..WRITE_BYTES);
        let (now, later) = rest.split_at(rest.len().min(room.len()));
        room.get_mut(..now.len()).unwrap_or_default().copy_from_slice(now);
        held += now.len();
        piece = if later.is_empty() { pieces.next() } else { Some(later) };
        if held == WRITE_BYTES || piece.is_none() {
            let whole = held - held % BLOCK_BYTES as usize;
            if let Err((_, failed_at)) = pwrite_calls(file, buffer.part(0..whole), at, WRITE_BYTES) {
                return failed_at;
            }
            at += whole as u64;
            held = 0;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;

    const LEN: usize = (5 << 20) + 77;

    #[test]
    fn what_is_read_past_the_page_cache_is_what_is_there() {
        let content: Vec<u8> = (0..LEN as u32).map(|i| (i ^ (i >> 8)) as u8).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("object");
        std::fs::write(&path, &content).expect("write");
        let file = File::open(&path).expect("open");
        let flags = rustix::fs::fcntl_getfl(&file).expect("flags");
        let buffers = Arc::new(Buffers::default());
        for range in [0..LEN, 0..1, 4095..4097, 4096..8192, 12_345..LEN - 1, LEN - 5000..LEN] {
            let read = buffers.read(&file, &(range.start as u64..range.end as u64));
            let Some(read) = read else {
                assert_eq!(rustix::fs::fcntl_getfl(&file).expect("flags"), flags);
                assert!(!Kind::of(&file).writes_directly(), "{range:?}");
                continue;
            };
            assert!(read == content[range.clone()], "{range:?}");
            rustix::fs::fcntl_setfl(&file, flags).expect("flags");
        }
        assert!(buffers.free.lock().expect("buffers").len() <= 2, "memory was not used again");

        assert_eq!(buffers.read(&file, &(0..LEN as u64 + 1)), None, "the file is shorter");
        assert_eq!(rustix::fs::fcntl_getfl(&file).expect("flags"), flags);
    }

    #[test]
    fn what_is_written_past_the_page_cache_is_what_was_given() {
        let content: Vec<u8> = (0..9 * LEN as u32 / 4).map(|i| (i ^ (i >> 8)) as u8).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("object");
        let buffers = Buffers::default();
        // After one byte pieces of many sizes: within what is written at once, nearly all of it, more.
        for piece in [1 << 20, 4096, WRITE_BYTES - 1, 5 << 20] {
            let mut rope = Rope::new();
            rope.push(Bytes::copy_from_slice(&content[..1]));
            content[1..].chunks(piece).for_each(|piece| rope.push(Bytes::copy_from_slice(piece)));
            let file = File::create(&path).expect("create");
            let flags = rustix::fs::fcntl_getfl(&file).expect("flags");
            let written = buffers.write(&file, &rope) as usize;
            assert_eq!(rustix::fs::fcntl_getfl(&file).expect("flags"), flags);
            let whole = content.len() / 4096 * 4096;
            assert!(written == whole || (written == 0 && !Kind::of(&file).writes_directly()), "{written}");
            assert!(std::fs::read(&path).expect("read") == content[..written], "{piece}");
        }
    }

    #[test]
    fn memory_is_used_again_up_to_a_bound() {
        let buffers = Buffers::default();
        let many: Vec<_> = (0..30).map(|_| buffers.take(4 << 20).expect("memory")).collect();
        many.into_iter().for_each(|buffer| buffers.keep(buffer));
        let kept = || buffers.free.lock().expect("buffers").iter().map(|buffer| buffer.len).sum::<usize>();
        assert!((KEPT_BYTES_MAX / 2..=KEPT_BYTES_MAX).contains(&kept()), "{} bytes", kept());
        let before = kept();
        assert!(buffers.take(1).expect("memory").len > 0 && kept() < before);
        let long = buffers.take(40 << 20).expect("longer than any that is kept");
        buffers.keep(long);
        assert_eq!(kept(), (40 << 20) + (8 << 20), "the last ones stay");
    }
}
