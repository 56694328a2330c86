//! What an errno means for a repository, and what a person can do about it.

use decube_backup_core::{Error, ErrorKind, Retry};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Whether this errno says "there is no such object": a missing name, or one below a file.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
}

/// `operation` on `path` failed: `what` says at which step.
pub(super) fn error(operation: &'static str, what: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
    let source = source.into();
    let errno = Errno::from_io_error(&source);
    let hint = match errno {
        Some(Errno::NOSPC | Errno::DQUOT) => {
            "free space or raise the quota and run again: what was stored before is untouched, and the unfinished \
             object was removed"
        }
        Some(Errno::ROFS) => "the file system is mounted read-only: remount it writable, or look at the kernel log",
        Some(Errno::ACCESS | Errno::PERM) => {
            "the user running this needs read, write and search permission on the repository directory and all below"
        }
        Some(Errno::NOTDIR) => "a file is in the place of a directory: is this the right path?",
        Some(Errno::NOENT) => "the directory vanished: is the file system still mounted?",
        Some(Errno::STALE | Errno::IO | Errno::NXIO | Errno::NODEV | Errno::NOTCONN) => {
            "the device or server below this path is failing: look at the kernel log and the mount"
        }
        Some(Errno::MFILE | Errno::NFILE) => "too many open files: raise the limit (ulimit -n)",
        _ => "",
    };
    // Shortages that pass; everything else answers the same again.
    let error = match errno {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {
            // Of the object they say nothing: any other kind could be taken for damage.
            Error::new(ErrorKind::Unavailable, operation, what).with_source(source).with_retry(Retry::Now)
        }
        _ => Error::io(operation, what, source),
    };
    let error = error.with("path", path.display());
    if hint.is_empty() { error } else { error.with_hint(hint) }
}

/// A name that is taken by something other than an object: `kind` is `Corrupt` for who reads, and finds none there.
pub(super) fn not_an_object(kind: ErrorKind, operation: &'static str, path: &Path) -> Error {
    Error::new(kind, operation, "something other than an object has this name")
        .with("path", path.display())
        .with_hint("a directory or special file is in the place of an object: move it out of the repository")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_this_process_is_no_fault_of_the_object() {
        let kind = |errno: Errno| super::error("get", "cannot open", Path::new("pack"), errno).kind();
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR] {
            assert_eq!(kind(errno), ErrorKind::Unavailable, "{errno:?}");
        }
        assert_eq!((kind(Errno::IO), kind(Errno::NOSPC)), (ErrorKind::Io, ErrorKind::NoSpace));
    }
}
