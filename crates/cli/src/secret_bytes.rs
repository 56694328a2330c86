//! Reading what may hold a secret: wiped after use, and within bounds, whatever a path or a command turns out to be.

use std::io::{self, Read};
use zeroize::Zeroizing;

/// Bytes of a key file, identity file, recovery sheet, password or configuration; with room for comments and other keys.
const BYTES_MAX: usize = 1 << 20;

/// What some editors put before a text (a byte-order mark); nobody sees it, or means it for a part of a password.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// All of `from`, but for [`MARK`] before it.
///
/// # Errors
/// It cannot be read, or is longer than [`BYTES_MAX`].
pub(crate) fn read(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "larger than 1 MiB, which no configuration is, nor anything that opens a repository",
        ));
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    Ok(bytes)
}

/// All of `from`, as text.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub(crate) fn text(from: impl Read) -> io::Result<Zeroizing<String>> {
    let bytes = read(from)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}
