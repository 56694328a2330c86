//! One object, from front to back: hashed whole while its parts are looked at, a part in memory at a time.

use crate::store::Store;
use decube_backup_core::{Key, Result};

/// Bytes fetched at once: a fresh buffer of the sink's costs more the larger it is.
const PIECE_BYTES: u64 = 1 << 20;

/// Reads on through an object.
pub(super) struct Pass<'a> {
    store: &'a Store,
    key: Key,
    hasher: blake3::Hasher,
    /// Bytes read and hashed so far.
    pub(super) at: u64,
    /// Whether there turned out to be no such object.
    pub(super) absent: bool,
    ended: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn new(store: &'a Store, key: Key) -> Self {
        Self { store, key, hasher: blake3::Hasher::new(), at: 0, absent: false, ended: false }
    }

    /// Replaces `into` by the bytes from here to offset `to`, or to the object's end if that comes first.
    ///
    /// # Errors
    /// As [`decube_backup_core::Sink::get`].
    pub(super) fn read_to(&mut self, to: u64, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        self.each_piece(to, |piece| into.extend_from_slice(piece))
    }

    /// Reads the rest: the BLAKE3 of the whole object.
    ///
    /// # Errors
    /// As [`decube_backup_core::Sink::get`].
    pub(super) fn finish(&mut self) -> Result<[u8; 32]> {
        self.each_piece(u64::MAX, |_| {})?;
        Ok(*self.hasher.finalize().as_bytes())
    }

    fn each_piece(&mut self, to: u64, mut take: impl FnMut(&[u8])) -> Result<()> {
        while self.at < to && !self.ended {
            let want = PIECE_BYTES.min(to - self.at);
            let piece = self.store.get_range(&self.key, self.at, want)?;
            self.absent |= piece.is_none();
            let piece = piece.unwrap_or_default();
            self.hasher.update(&piece);
            self.at += piece.len() as u64;
            self.ended = (piece.len() as u64) < want;
            take(&piece);
        }
        Ok(())
    }
}
