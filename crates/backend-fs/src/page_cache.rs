//! Leaving the page cache as it was found. Advice only: nothing relies on it.

use rustix::fd::AsFd;
use rustix::fs::{Advice, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Range;

/// No page is larger, on the machines that we know; bytes.
const PAGE_BYTES_MAX: u64 = 64 << 10;

/// Whether any of a few places in `range` of a file, bytes, is in the page cache. If so, its pages are somebody's. Its ends are not
/// asked for: who reads what is beside it leaves pages there.
///
/// Asking has the pages at these places read, and no others: whoever asks again at once is told so.
pub(crate) fn any_cached(file: impl AsFd, range: &Range<u64>) -> bool {
    // Otherwise megabytes are read for a byte, also if it is not waited for.
    let _advice = rustix::fs::fadvise(&file, 0, None, Advice::Random);
    let step = range.end.saturating_sub(range.start) / 4;
    let cached = (1..4).map(|quarter| range.start + step * quarter).any(|place| {
        // Holes are answered without a page.
        let place = match rustix::fs::seek(&file, SeekFrom::Data(place)) {
            Ok(data) if data < range.end => data,
            Ok(_) | Err(Errno::NXIO) => return false,
            Err(_) => place,
        };
        let mut byte = [0];
        let read = rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut byte)], place, ReadWriteFlags::NOWAIT);
        // Where the question is not understood, the cache is left alone.
        !matches!(read, Err(Errno::AGAIN))
    });
    let _advice = rustix::fs::fadvise(&file, 0, None, Advice::Normal);
    cached
}

/// Says that nobody will soon read `range` of a file, bytes, nor what is on its pages beside it. Linux begins to write back what
/// is dirty, without waiting for it, and drops what is clean.
pub(crate) fn not_needed(file: impl AsFd, range: Range<u64>) {
    let start = range.start - range.start % PAGE_BYTES_MAX;
    let end = range.end.next_multiple_of(PAGE_BYTES_MAX);
    if let Some(len) = NonZeroU64::new(end.saturating_sub(start)) {
        let _advice = rustix::fs::fadvise(file, start, Some(len), Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;
    use crate::sink::FsSink;
    use bytes::Bytes;
    use decube_backup_core::Key;
    use decube_backup_core::sink::{ByteRange, PutMode, Rope, Sink};
    use std::fs::File;

    const LEN: usize = 8 << 20;

    #[test]
    fn reading_an_object_leaves_the_page_cache_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        if !Kind::of(File::open(dir.path()).expect("open")).tells_what_is_cached() {
            return;
        }
        let sink = FsSink::open(dir.path()).expect("a path");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let put = |name| {
            let key = Key::new(name).expect("a key");
            let object = Rope::from(Bytes::from(vec![7; LEN]));
            runtime.block_on(sink.put(&key, object, PutMode::CreateNew)).expect("put");
            (key, File::open(dir.path().join(name)).expect("the object's file"))
        };
        let range = 0..LEN as u64;
        // Asking brings a page or two: each file is asked once.
        assert!(!any_cached(put("written").1, &range), "put left pages");

        let (key, file) = put("read");
        let get = |range| runtime.block_on(sink.get(&key, range)).expect("get").expect("an object").len();
        assert_eq!(get(ByteRange::Full), LEN);
        assert_eq!(get(ByteRange::From { offset: (1 << 20) - 5, len: 4 << 20 }), 4 << 20);
        assert!(!any_cached(&file, &range), "get left pages");

        std::fs::read(dir.path().join("read")).expect("read");
        assert_eq!(get(ByteRange::Full), LEN);
        assert!(any_cached(&file, &range), "get took somebody's pages away");
    }
}
