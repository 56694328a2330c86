//! One object, from front to back: hashed whole while its parts are looked at, the next part on its way.

use crate::store::Store;
use bytes::Bytes;
use decube_backup_core::{Key, Result};
use tokio::task::JoinHandle;

/// Bytes fetched at once: so much that the file system backend reads past the page cache, and no more, as each worker holds two.
/// Numbers: docs/adr/0029.
const PIECE_BYTES: u64 = 2 << 20;

/// Reads on through an object.
pub(super) struct Pass<'a> {
    store: &'a Store,
    key: Key,
    hasher: blake3::Hasher,
    /// Bytes looked at so far.
    pub(super) at: u64,
    /// Whether there turned out to be no such object.
    pub(super) absent: bool,
    /// Hashed and not yet looked at.
    held: Bytes,
    /// What follows, on its way; `None` before the first piece and behind the last.
    ahead: Option<JoinHandle<Result<Option<Bytes>>>>,
    ended: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn new(store: &'a Store, key: Key) -> Self {
        Self {
            store,
            key,
            hasher: blake3::Hasher::new(),
            at: 0,
            absent: false,
            held: Bytes::new(),
            ahead: None,
            ended: false,
        }
    }

    /// Replaces `into` by the bytes from here to offset `to`, or to the object's end if that comes first.
    ///
    /// # Errors
    /// As [`decube_backup_core::Sink::get`].
    pub(super) fn read_to(&mut self, to: u64, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        while self.at < to && self.more()? {
            let len = usize::try_from(to - self.at).unwrap_or(usize::MAX).min(self.held.len());
            into.extend_from_slice(&self.held.split_to(len));
            self.at += len as u64;
        }
        Ok(())
    }

    /// Reads the rest: the BLAKE3 of the whole object.
    ///
    /// # Errors
    /// As [`decube_backup_core::Sink::get`].
    pub(super) fn finish(&mut self) -> Result<[u8; 32]> {
        while self.more()? {
            self.at += self.held.len() as u64;
            self.held.clear();
        }
        Ok(*self.hasher.finalize().as_bytes())
    }

    /// Whether anything is held, by fetching it if need be.
    fn more(&mut self) -> Result<bool> {
        if self.held.is_empty() && !self.ended {
            let task = self.ahead.take().unwrap_or_else(|| self.fetch());
            let piece = self.store.wait(task)?;
            self.absent |= piece.is_none();
            self.held = piece.unwrap_or_default();
            self.ended = (self.held.len() as u64) < PIECE_BYTES;
            if !self.ended {
                self.ahead = Some(self.fetch());
            }
            self.hasher.update(&self.held);
        }
        Ok(!self.held.is_empty())
    }

    /// Asks for what follows what is held.
    fn fetch(&self) -> JoinHandle<Result<Option<Bytes>>> {
        self.store.start_get_range(self.key.clone(), self.at + self.held.len() as u64, PIECE_BYTES)
    }
}
