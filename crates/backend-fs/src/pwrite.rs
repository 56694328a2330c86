//! Writing buffers of any size at an offset.

use rustix::fd::AsFd;
use rustix::io::Errno;

/// Bytes per system call, through the page cache. For longer ones the kernel looks for runs of pages so large that finding them
/// costs more than the copy: 4 MiB at a time took three times the system time of 1 MiB. Numbers: docs/adr/0019.
const CALL_BYTES: usize = 1 << 20;

/// Writes all of `bytes` at `offset`.
///
/// # Errors
/// As `pwrite`, with the offset; `NOSPC` if it writes nothing.
pub(crate) fn pwrite_all(fd: impl AsFd, bytes: &[u8], offset: u64) -> Result<(), (Errno, u64)> {
    pwrite_calls(fd, bytes, offset, CALL_BYTES)
}

/// [`pwrite_all`] with `call` bytes per system call.
pub(crate) fn pwrite_calls(fd: impl AsFd, mut bytes: &[u8], mut offset: u64, call: usize) -> Result<(), (Errno, u64)> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&fd, bytes.get(..call).unwrap_or(bytes), offset) {
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
    fn all_bytes_arrive_and_a_full_disk_is_told() {
        let mut file = tempfile::tempfile().expect("file");
        let bytes: Vec<u8> = (0..3 * CALL_BYTES + 1).map(|i| (i / 7) as u8).collect();
        pwrite_all(&file, &bytes, 5).expect("written");
        let mut read = Vec::new();
        file.rewind().expect("rewound");
        file.read_to_end(&mut read).expect("read");
        assert!(read[..5] == [0; 5] && read[5..] == bytes);
        let full = std::fs::File::options().write(true).open("/dev/full").expect("full");
        assert_eq!(pwrite_all(&full, &bytes, 0), Err((Errno::NOSPC, 0)));
    }
}
