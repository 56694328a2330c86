//! Opening a pack from its header, its tail or one segment.

use super::footer::{Footer, SegmentEntry};
use super::writer::segment_associated;
use super::{FOOTER_COUNTER, HASH_BYTES, PackHeader, TRAILER_BYTES, TRAILER_COUNTER};
use crate::codec::{Codec, Decompressor};
use crate::hash::Key32;
use crate::seal::{SealingKey, TAG_BYTES, counter_nonce};
use crate::wire::{Reader, corrupt};
use decube_backup_core::Result;

/// What the tail of a pack says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Offset of the sealed footer.
    pub footer_offset: u64,
    /// Its sealed length.
    pub footer_len: u32,
    /// Padding before it.
    pub padding_len: u32,
}

/// Decodes one pack.
pub struct PackReader {
    header: PackHeader,
    header_bytes: Vec<u8>,
    key: SealingKey,
}

impl PackReader {
    /// From a pack's header bytes and the family key of the version, or of the run, that the header names.
    ///
    /// # Errors
    /// `Corrupt` if the key is not the one the header commits to.
    pub fn new(header: PackHeader, family_key: &Key32) -> Result<Self> {
        let pack_key = crate::hash::pack_key(family_key, &header.name.id);
        header.check_key(&pack_key)?;
        let header_bytes = header.encode();
        let key = header.cipher.key(&pack_key);
        Ok(Self { header, header_bytes, key })
    }

    /// The header.
    pub fn header(&self) -> &PackHeader {
        &self.header
    }

    /// Reads the trailer from the last bytes of an object of `object_len` bytes (at least
    /// [`TRAILER_BYTES`] + [`HASH_BYTES`] of it).
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn tail(&self, last: &[u8], object_len: u64) -> Result<Tail> {
        let what = || corrupt("pack trailer");
        let (body, _hash) = last.split_last_chunk::<HASH_BYTES>().ok_or_else(what)?;
        let (_, trailer) = body.split_last_chunk::<TRAILER_BYTES>().ok_or_else(what)?;
        let mut trailer = *trailer;
        let plain = self.key.open(counter_nonce(TRAILER_COUNTER), &self.header_bytes, &mut trailer)?;
        let mut reader = Reader::new(plain, "pack trailer");
        let (footer_len, padding_len) = (reader.u32()?, reader.u32()?);
        let fixed = (TRAILER_BYTES + HASH_BYTES) as u64;
        let footer_offset = object_len.checked_sub(fixed + u64::from(footer_len)).ok_or_else(what)?;
        if footer_offset < u64::from(padding_len) + PackHeader::BYTES as u64 {
            return Err(what());
        }
        Ok(Tail { footer_offset, footer_len, padding_len })
    }

    /// Opens the sealed footer.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn footer(&self, sealed: &[u8], tail: &Tail) -> Result<Footer> {
        let mut bytes = sealed.to_vec();
        let plain = self.key.open(counter_nonce(FOOTER_COUNTER), &self.header_bytes, &mut bytes)?;
        let mut reader = Reader::new(plain, "pack footer");
        let footer = Footer::decode_from(&mut reader)?;
        reader.finish()?;
        if u64::from(footer.segments_end()) + u64::from(tail.padding_len) != tail.footer_offset {
            return Err(corrupt("pack footer"));
        }
        Ok(footer)
    }

    /// The footer of a whole pack.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn footer_of(&self, pack: &[u8]) -> Result<Footer> {
        let tail = self.tail(pack, pack.len() as u64)?;
        let start = tail.footer_offset as usize;
        let sealed = pack.get(start..start + tail.footer_len as usize).ok_or_else(|| corrupt("pack footer"))?;
        self.footer(sealed, &tail)
    }

    /// Decrypts and decompresses segment `number` from its sealed bytes, which are overwritten, into
    /// `raw`, whose former content is lost. A `Stored` one is decrypted in place and changes buffers with `raw`.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn segment(
        &self,
        number: u32,
        entry: &SegmentEntry,
        sealed: &mut Vec<u8>,
        decompressor: &mut Decompressor,
        raw: &mut Vec<u8>,
    ) -> Result<()> {
        if sealed.len() != entry.stored_len as usize || sealed.len() < TAG_BYTES {
            return Err(corrupt("segment length"));
        }
        let associated = segment_associated(&self.header_bytes, number, entry.raw_len, entry.codec);
        let plain_len = self.key.open(counter_nonce(number), &associated, sealed)?.len();
        sealed.truncate(plain_len);
        match entry.codec {
            Codec::Stored => {
                if plain_len != entry.raw_len as usize {
                    return Err(corrupt("segment length"));
                }
                std::mem::swap(raw, sealed);
                Ok(())
            }
            Codec::Zstd => decompressor.decompress(sealed, entry.raw_len as usize, raw),
        }
    }
}
