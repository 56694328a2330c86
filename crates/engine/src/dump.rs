//! Content to a stream: one file as it is, or a subtree as tar.

use crate::browse;
use crate::index::{LocalIndex, Location};
use crate::options::Snapshot;
use crate::repository::Repository;
use crate::segments::{Nodes, Scratch, SegmentReader};
use decube_backup_core::acl;
use decube_backup_core::entry::{EntryKind, EntryPath};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Domain;
use decube_backup_format::ids::{ChunkId, PackName};
use decube_backup_format::tree::{Content, Extent, ListCursor, TreeCursor, TreeEntry};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Decoded segments kept while reading one content after the other.
const SEGMENTS_KEPT: usize = 4;

/// Decoded segments: pack, number, raw bytes.
type Segments = VecDeque<(PackName, u32, Vec<u8>)>;

/// Reads chunks one by one, with the last few segments kept.
struct ChunkReader<'a> {
    repo: &'a Repository,
    index: Arc<LocalIndex>,
    segments: SegmentReader<'a>,
    scratch: Scratch,
    kept: Segments,
}

impl<'a> ChunkReader<'a> {
    fn new(repo: &'a Repository) -> Result<Self> {
        Ok(Self {
            repo,
            index: repo.index()?,
            segments: SegmentReader::new(repo),
            scratch: Scratch::new()?,
            kept: VecDeque::new(),
        })
    }

    fn chunk(&mut self, id: &ChunkId) -> Result<&[u8]> {
        let Self { repo, index, segments, scratch, kept } = self;
        let mismatch = |at: &Location| {
            Error::new(ErrorKind::Corrupt, "dump", "content does not match its id").with("pack", at.pack.id)
        };
        let at = segments.read_any_copy(index, id, |at| {
            if slice(kept, at).is_none() {
                segments.read(&at.pack, at.segment, &at.entry, scratch)?;
                let mut old =
                    if kept.len() >= SEGMENTS_KEPT { kept.pop_front().map(|k| k.2) } else { None }.unwrap_or_default();
                std::mem::swap(&mut old, &mut scratch.raw);
                kept.push_back((at.pack, at.segment, old));
            }
            let whole = slice(kept, at).is_some_and(|bytes| repo.hasher.id(Domain::Content, bytes) == *id);
            if whole { Ok(*at) } else { Err(mismatch(at)) }
        })?;
        slice(kept, &at).ok_or_else(|| mismatch(&at))
    }
}

/// The bytes at `at` if its segment is kept.
fn slice<'k>(kept: &'k Segments, at: &Location) -> Option<&'k [u8]> {
    let (.., raw) = kept.iter().find(|(pack, number, _)| *pack == at.pack && *number == at.segment)?;
    raw.get(at.offset as usize..(at.offset + at.len) as usize)
}

/// A file's content as a reader; holes read as zeros.
struct ContentReader<'r, 'a> {
    chunks: &'r mut ChunkReader<'a>,
    list: ListCursor<'r, Nodes<'a>>,
    inline: io::Cursor<Vec<u8>>,
    pending: Vec<u8>,
    at: usize,
    zeros: u64,
}

impl<'r, 'a> ContentReader<'r, 'a> {
    fn new(chunks: &'r mut ChunkReader<'a>, nodes: &'r Nodes<'a>, content: &Content) -> Self {
        let inline = if let Content::Inline(bytes) = content { bytes.clone() } else { Vec::new() };
        Self {
            chunks,
            list: ListCursor::new(nodes, content),
            inline: io::Cursor::new(inline),
            pending: Vec::new(),
            at: 0,
            zeros: 0,
        }
    }
}

impl Read for ContentReader<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inline.read(buf)?;
        if n > 0 || buf.is_empty() {
            return Ok(n);
        }
        loop {
            if self.zeros > 0 {
                let n = self.zeros.min(buf.len() as u64) as usize;
                buf.get_mut(..n).unwrap_or_default().fill(0);
                self.zeros -= n as u64;
                return Ok(n);
            }
            let rest = self.pending.get(self.at..).unwrap_or_default();
            if !rest.is_empty() {
                let n = rest.len().min(buf.len());
                buf.get_mut(..n).unwrap_or_default().copy_from_slice(rest.get(..n).unwrap_or_default());
                self.at += n;
                return Ok(n);
            }
            match self.list.next().map_err(io::Error::other)? {
                None => return Ok(0),
                Some((_, Extent::Hole { len })) => self.zeros = len,
                Some((_, Extent::Chunk { id, .. })) => {
                    let bytes = self.chunks.chunk(&id).map_err(io::Error::other)?;
                    self.pending.clear();
                    self.pending.extend_from_slice(bytes);
                    self.at = 0;
                }
            }
        }
    }
}

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
    let mut reader = ContentReader::new(&mut chunks, &nodes, &entry.content);
    let written = io::copy(&mut reader, out).map_err(out_error)?;
    out.flush().map_err(out_error)?;
    Ok(written)
}

/// Writes `path` and everything below it to `out` as a tar archive (GNU long names, PAX for
/// nanosecond times, extended attributes and ACLs); names are relative to the snapshot's root.
///
/// Returns what could not be put into it: a file with lost content is padded with zeros to its length.
///
/// # Errors
/// `NotFound`; the output cannot be written.
pub fn dump_tar(
    repo: &Repository,
    snapshot: &Snapshot,
    path: &EntryPath,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<Vec<Problem>> {
    let nodes = Nodes::to_look(repo)?;
    let mut chunks = ChunkReader::new(repo)?;
    let mut archive = tar::Builder::new(out);
    let (mut problems, mut links, mut found) = (Vec::new(), HashMap::new(), path.is_root());
    // Where the way to the subtree is damaged, the walk from the start says what is lost.
    let tree = browse::root(snapshot);
    let mut cursor = TreeCursor::within(&nodes, &tree, path).unwrap_or_else(|_| TreeCursor::new(&nodes, &tree));
    loop {
        check_stop(monitor)?;
        let entry = match cursor.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => {
                let from = cursor.gap().map(|g| g.from.as_bytes().to_vec()).unwrap_or_default();
                problems.push(Problem::from_error(ProblemKind::Damaged, from, &error));
                continue;
            }
        };
        if !entry.entry.path.is_within(path) {
            continue;
        }
        found = true;
        if entry.entry.path.is_root() {
            continue;
        }
        let first = entry.entry.meta.link_group.as_ref().and_then(|group| links.get(group)).cloned();
        let reader = ContentReader::new(&mut chunks, &nodes, &entry.content);
        let lost = append_entry(&mut archive, &entry, first.as_ref(), reader)?;
        if let Some(error) = lost {
            problems.push(Problem::from_error(ProblemKind::Damaged, entry.entry.path.as_bytes().to_vec(), &error));
        }
        if let (Some(group), None) = (&entry.entry.meta.link_group, first) {
            links.insert(group.clone(), entry.entry.path.clone());
        }
        monitor.advance(Progress::Entries, 1);
        monitor.advance(Progress::Bytes, entry.entry.kind.size());
    }
    if !found {
        return Err(Error::new(ErrorKind::NotFound, "dump", "no such path in the snapshot").with("path", path));
    }
    archive.into_inner().and_then(|out| out.flush()).map_err(out_error)?;
    Ok(problems)
}

fn os_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Appends one entry; `Ok(Some)` says its content is incomplete.
fn append_entry(
    archive: &mut tar::Builder<&mut dyn Write>,
    entry: &TreeEntry,
    first_link: Option<&EntryPath>,
    content: ContentReader<'_, '_>,
) -> Result<Option<Error>> {
    let meta = &entry.entry.meta;
    let mut extensions: Vec<(String, Vec<u8>)> = Vec::new();
    if meta.mtime.nanoseconds != 0 || meta.mtime.seconds < 0 {
        let whole = meta.mtime.seconds as f64 + f64::from(meta.mtime.nanoseconds) / 1e9;
        let text = if meta.mtime.seconds < 0 {
            format!("{whole:.9}")
        } else {
            format!("{}.{:09}", meta.mtime.seconds, meta.mtime.nanoseconds)
        };
        extensions.push(("mtime".into(), text.into_bytes()));
    }
    for xattr in &meta.xattrs {
        // An ACL has a record of its own, which archivers turn back into one.
        let record = match xattr.name.as_slice() {
            acl::ACCESS => Some("SCHILY.acl.access"),
            acl::DEFAULT => Some("SCHILY.acl.default"),
            _ => None,
        };
        if let Some((record, text)) = record.zip(acl::text(&xattr.value)) {
            extensions.push((record.into(), text.into_bytes()));
        } else if let Ok(name) = std::str::from_utf8(&xattr.name) {
            extensions.push((format!("SCHILY.xattr.{name}"), xattr.value.clone()));
        }
    }
    let records = extensions.iter().map(|(k, v)| (k.as_str(), v.as_slice()));
    archive.append_pax_extensions(records).map_err(out_error)?;

    let mut header = tar::Header::new_gnu();
    header.set_mode(meta.mode);
    header.set_uid(u64::from(meta.uid));
    header.set_gid(u64::from(meta.gid));
    header.set_mtime(meta.mtime.seconds.max(0) as u64);
    // Names too long for the header are left to the numeric ids.
    let _ = header.set_username(&meta.user);
    let _ = header.set_groupname(&meta.group);
    header.set_size(0);
    let path = os_path(entry.entry.path.as_bytes());
    if let Some(first) = first_link {
        header.set_entry_type(tar::EntryType::Link);
        archive.append_link(&mut header, path, os_path(first.as_bytes())).map_err(out_error)?;
        return Ok(None);
    }
    let special = |kind, header: &mut tar::Header| header.set_entry_type(kind);
    match &entry.entry.kind {
        EntryKind::File { size } => {
            header.set_size(*size);
            let mut padded = Padded { inner: content, left: *size, lost: None };
            archive.append_data(&mut header, path, &mut padded).map_err(out_error)?;
            return Ok(padded.lost);
        }
        EntryKind::Symlink { target } => {
            special(tar::EntryType::Symlink, &mut header);
            archive.append_link(&mut header, path, os_path(target)).map_err(out_error)?;
            return Ok(None);
        }
        EntryKind::Directory => special(tar::EntryType::Directory, &mut header),
        EntryKind::Fifo => special(tar::EntryType::Fifo, &mut header),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            let block = matches!(entry.entry.kind, EntryKind::BlockDevice { .. });
            special(if block { tar::EntryType::Block } else { tar::EntryType::Char }, &mut header);
            header.set_device_major(*major).and_then(|()| header.set_device_minor(*minor)).map_err(out_error)?;
        }
    }
    archive.append_data(&mut header, path, io::empty()).map_err(out_error)?;
    Ok(None)
}

/// Exactly the announced length, zeros in place of what is lost: the archive stays readable.
struct Padded<'r, 'a> {
    inner: ContentReader<'r, 'a>,
    left: u64,
    lost: Option<Error>,
}

impl Read for Padded<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = self.left.min(buf.len() as u64) as usize;
        let Some(buf) = buf.get_mut(..want).filter(|b| !b.is_empty()) else { return Ok(0) };
        let mut n = 0;
        if self.lost.is_none() {
            match self.inner.read(buf) {
                Ok(0) => self.lost = Some(Error::new(ErrorKind::Corrupt, "dump", "content is shorter than recorded")),
                Ok(read) => n = read,
                Err(error) => self.lost = Some(out_error(error)),
            }
        }
        if self.lost.is_some() {
            buf.fill(0);
            n = buf.len();
        }
        self.left -= n as u64;
        Ok(n)
    }
}
