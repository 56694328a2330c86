//! Content to a stream: one file as it is, or a subtree as tar.

mod content;
mod tar;

use crate::browse;
use crate::options::Snapshot;
use crate::repository::Repository;
use crate::segments::Nodes;
use content::{ChunkReader, ContentReader, OnLoss};
use decube_backup_core::entry::{EntryKind, EntryPath};
use decube_backup_core::{Error, ErrorKind, Result};
use std::io::{self, Write};
pub use tar::dump_tar;

fn out_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::io("dump", "cannot write the output", error),
    }
}

/// Writes the content of the file at `path` to `out`; returns its length.
///
/// # Errors
/// `NotFound`, `Invalid` if it is no file, `Corrupt` if content is lost: `out` then holds the part before it.
pub fn dump_file(repo: &Repository, snapshot: &Snapshot, path: &EntryPath, out: &mut dyn Write) -> Result<u64> {
    let entry = browse::entry(repo, snapshot, path)?;
    if !matches!(entry.entry.kind, EntryKind::File { .. }) {
        return Err(Error::new(ErrorKind::Invalid, "dump", "not a regular file")
            .with("path", path)
            .with_hint("dump a directory with --archive tar"));
    }
    let nodes = Nodes::to_look(repo)?;
    let mut chunks = ChunkReader::new(repo)?;
    let mut reader = ContentReader::new(&mut chunks, &nodes, &entry.content, OnLoss::Fail);
    let written = io::copy(&mut reader, out).map_err(out_error)?;
    out.flush().map_err(out_error)?;
    Ok(written)
}
