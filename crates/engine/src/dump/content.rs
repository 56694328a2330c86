//! Content of one file after the other, read from front to back.

use crate::index::{LocalIndex, Location};
use crate::repository::Repository;
use crate::segments::{Nodes, Scratch, SegmentReader};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Domain;
use decube_backup_format::ids::{ChunkId, PackName};
use decube_backup_format::tree::{Content, Extent, ListCursor};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

/// Decoded segments kept while reading one content after the other.
const SEGMENTS_KEPT: usize = 4;

/// Decoded segments: pack, number, raw bytes.
type Segments = VecDeque<(PackName, u32, Vec<u8>)>;

/// Reads chunks one by one, with the last few segments kept.
pub(super) struct ChunkReader<'a> {
    repo: &'a Repository,
    index: Arc<LocalIndex>,
    segments: SegmentReader<'a>,
    scratch: Scratch,
    kept: Segments,
}

impl<'a> ChunkReader<'a> {
    pub(super) fn new(repo: &'a Repository) -> Result<Self> {
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

/// What a reader does about content that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnLoss {
    /// Ends there.
    Fail,
    /// Reads as many zeros, and goes on behind them.
    Zeros,
}

/// A file's content as a reader; holes read as zeros.
pub(super) struct ContentReader<'r, 'a> {
    chunks: &'r mut ChunkReader<'a>,
    list: ListCursor<'r, Nodes<'a>>,
    inline: io::Cursor<Vec<u8>>,
    pending: Vec<u8>,
    at: usize,
    zeros: u64,
    on_loss: OnLoss,
    /// The first loss.
    lost: Option<Error>,
}

impl<'r, 'a> ContentReader<'r, 'a> {
    pub(super) fn new(
        chunks: &'r mut ChunkReader<'a>,
        nodes: &'r Nodes<'a>,
        content: &Content,
        on_loss: OnLoss,
    ) -> Self {
        let inline = if let Content::Inline(bytes) = content { bytes.clone() } else { Vec::new() };
        Self {
            chunks,
            list: ListCursor::new(nodes, content),
            inline: io::Cursor::new(inline),
            pending: Vec::new(),
            at: 0,
            zeros: 0,
            on_loss,
            lost: None,
        }
    }

    /// The first loss; everything else was read.
    pub(super) fn into_lost(self) -> Option<Error> {
        self.lost
    }

    /// `len` bytes are lost, unless the store does not answer: of content that says nothing.
    fn lose(&mut self, len: u64, error: Error) -> io::Result<()> {
        if self.on_loss == OnLoss::Fail || error.kind() == ErrorKind::Unavailable {
            return Err(io::Error::other(error));
        }
        self.zeros = len;
        self.lost.get_or_insert(error);
        Ok(())
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
            match self.list.next() {
                Ok(None) => return Ok(0),
                Ok(Some((_, Extent::Hole { len }))) => self.zeros = len,
                Ok(Some((_, Extent::Chunk { id, len }))) => match self.chunks.chunk(&id) {
                    Ok(bytes) if bytes.len() == len as usize => {
                        self.pending.clear();
                        self.pending.extend_from_slice(bytes);
                        self.at = 0;
                    }
                    Ok(_) => {
                        let error = Error::new(ErrorKind::Corrupt, "dump", "chunk has another length");
                        self.lose(len.into(), error.with("chunk", id))?;
                    }
                    Err(error) => self.lose(len.into(), error)?,
                },
                Err(error) => {
                    let len = self.list.gap().map_or(0, |gap| gap.len);
                    self.lose(len, error)?;
                }
            }
        }
    }
}
