//! Compressing segments (on workers), sealing and assembling packs (in order).

use super::footer::Footer;
use super::padding::{padme, step};
use super::{FOOTER_COUNTER, HASH_BYTES, PackHeader, SEGMENTS_MAX, TRAILER_BYTES, TRAILER_COUNTER};
use crate::codec::{Codec, Compressor};
use crate::hash::Key32;
use crate::ids::{PackName, RepositoryId, ShortId};
use crate::reading::RunKeys;
use crate::seal::{Cipher, SealingKey, TAG_BYTES, counter_nonce};
use crate::wire::Writer;
use decube_backup_core::{Error, ErrorKind, Result};

/// Compresses `raw` into `out` (replaced, capacity kept) if that pays.
///
/// `Stored` leaves `out` empty: the segment is then stored as it is. Under 2 % gained is not worth
/// decompressing on every restore.
///
/// # Errors
/// `Internal` only.
pub fn compress_segment(raw: &[u8], compressor: &mut Compressor, out: &mut Vec<u8>) -> Result<Codec> {
    compressor.compress(raw, out)?;
    if out.len() < raw.len() - raw.len() / 50 {
        return Ok(Codec::Zstd);
    }
    out.clear();
    Ok(Codec::Stored)
}

pub(super) fn segment_associated(header: &[u8], number: u32, raw_len: u32, codec: Codec) -> Vec<u8> {
    let mut associated = Vec::with_capacity(header.len() + 9);
    associated.extend_from_slice(header);
    associated.write_u32(number);
    associated.write_u32(raw_len);
    associated.write_u8(codec as u8);
    associated
}

/// A finished pack.
pub struct FinishedPack {
    /// Its name.
    pub name: PackName,
    /// The whole object, in the buffer given to the writer.
    pub bytes: Vec<u8>,
    /// BLAKE3 of the whole object.
    pub hash: [u8; 32],
    /// Its table of contents.
    pub footer: Footer,
}

/// Most bytes that an entry takes in the footer: a segment's, a chunk's.
const SEGMENT_BYTES: usize = 12;
const CHUNK_BYTES: usize = 19;

/// Whether a pack of `len` bytes and `target` is to be closed, if it can be closed again `next` bytes further on.
///
/// The rule of the optimal stopping problem: of `n` more places, whose padding is as good as even between nothing and
/// Padmé's step, the best that can be had is about 2 / (n + 3) of a step.
fn closes_at(len: usize, next: usize, target: usize) -> bool {
    let (padding, places) = (padme(len as u64) as usize - len, target.saturating_sub(len) / next.max(1));
    len >= target - target / 4 && padding * (places + 3) <= 2 * step(len as u64) as usize
}

/// Assembles one pack.
pub struct PackWriter {
    header: PackHeader,
    header_bytes: Vec<u8>,
    pack_key: Key32,
    key: SealingKey,
    hasher: blake3::Hasher,
    body: Vec<u8>,
    footer: Footer,
    footer_len: usize,
}

impl PackWriter {
    /// An empty pack called `name`; `family_key` is version `key_version` of the data or meta key.
    /// `buffer` is cleared and becomes the object, so that callers can reuse memory.
    pub fn new(
        repository: RepositoryId,
        name: PackName,
        cipher: Cipher,
        key_version: u32,
        family_key: &Key32,
        buffer: Vec<u8>,
    ) -> Self {
        let pack_key = crate::hash::pack_key(family_key, &name.id);
        Self::begin(PackHeader::new(repository, name, cipher, key_version, &pack_key), pack_key, buffer)
    }

    /// As [`Self::new`], sealed under the keys of `run`.
    pub fn of_run(repository: RepositoryId, name: PackName, cipher: Cipher, run: &RunKeys, buffer: Vec<u8>) -> Self {
        let pack_key = crate::hash::pack_key(&run.pack_family(name.kind), &name.id);
        Self::begin(PackHeader::of_run(repository, name, cipher, run.tag()), pack_key, buffer)
    }

    fn begin(header: PackHeader, pack_key: Key32, buffer: Vec<u8>) -> Self {
        let header_bytes = header.encode();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header_bytes);
        let mut body = buffer;
        body.clear();
        body.extend_from_slice(&header_bytes);
        let key = header.cipher.key(&pack_key);
        Self { header, header_bytes, pack_key, key, hasher, body, footer: Footer::default(), footer_len: 10 }
    }

    /// Its name.
    pub fn name(&self) -> PackName {
        self.header.name
    }

    /// Number of segments so far: the next segment's number.
    pub fn segments(&self) -> u32 {
        self.footer.segments.len() as u32
    }

    /// Seals `body` (compressed by `codec` from `raw_len` bytes) as the next segment; `chunks` are
    /// its consecutive chunks.
    ///
    /// # Errors
    /// `Internal` only: among others, that the pack was full and not closed.
    pub fn append(&mut self, codec: Codec, body: &[u8], raw_len: u32, chunks: &[(ShortId, u32)]) -> Result<()> {
        let (number, from) = (self.segments(), self.body.len());
        if number as usize >= SEGMENTS_MAX {
            return Err(Error::new(ErrorKind::Internal, "pack", "no reader takes a pack of so many segments"));
        }
        self.body.extend_from_slice(body);
        let associated = segment_associated(&self.header_bytes, number, raw_len, codec);
        self.key.seal(counter_nonce(number), &associated, &mut self.body, from)?;
        let sealed = self.body.get(from..).unwrap_or_default();
        self.hasher.update(sealed);
        self.footer.push(sealed.len() as u32, raw_len, codec, chunks);
        self.footer_len += SEGMENT_BYTES + chunks.len() * CHUNK_BYTES;
        Ok(())
    }

    /// Length of the object if it were finished now without padding; never too small.
    pub fn len(&self) -> usize {
        self.body.len() + self.footer_len + TAG_BYTES + TRAILER_BYTES + HASH_BYTES
    }

    /// Whether there is no segment yet.
    pub fn is_empty(&self) -> bool {
        self.footer.segments.is_empty()
    }

    /// Whether the pack has to be closed now: past `target`, below it where no later place promises less padding, or at
    /// the most segments a reader takes.
    pub fn is_full(&self, target: usize) -> bool {
        let next = self.footer.segments.last().map_or(target, |s| match s.codec {
            Codec::Stored => s.stored_len / s.chunks.max(1),
            Codec::Zstd => s.stored_len,
        } as usize);
        self.len() >= target || self.footer.segments.len() >= SEGMENTS_MAX || closes_at(self.len(), next, target)
    }

    /// How many of `chunks`, which are to be stored as they are, still go into this pack because it is best closed behind
    /// them; `None` if it is not to be closed between any two of them.
    pub fn cut(&self, chunks: &[(ShortId, u32)], target: usize) -> Option<usize> {
        let mut len = self.len() + SEGMENT_BYTES + TAG_BYTES;
        (1..chunks.len()).zip(chunks).find_map(|(taken, &(_, chunk))| {
            len += chunk as usize + CHUNK_BYTES;
            closes_at(len, chunk as usize, target).then_some(taken)
        })
    }

    /// Seals footer and trailer, pads, hashes; reads the footer back before giving the pack away.
    ///
    /// # Errors
    /// `Internal` if what was written does not read back.
    pub fn finish(mut self) -> Result<FinishedPack> {
        let key = &self.key;
        let mut footer = Vec::with_capacity(self.footer_len + TAG_BYTES);
        self.footer.encode_to(&mut footer);
        key.seal(counter_nonce(FOOTER_COUNTER), &self.header_bytes, &mut footer, 0)?;
        let bare = self.body.len() + footer.len() + TRAILER_BYTES + HASH_BYTES;
        let padding_len = padme(bare as u64) as usize - bare;
        let mut padding = vec![0u8; padding_len];
        let padding_key = self.pack_key.derive("decube-backup 2026 v1 pack padding", &[]);
        blake3::Hasher::new_keyed(&padding_key.0).finalize_xof().fill(&mut padding);
        let mut trailer = Vec::with_capacity(TRAILER_BYTES + HASH_BYTES);
        trailer.write_u32(footer.len() as u32);
        trailer.write_u32(padding_len as u32);
        key.seal(counter_nonce(TRAILER_COUNTER), &self.header_bytes, &mut trailer, 0)?;

        let mut check = footer.clone();
        let plain = key.open(counter_nonce(FOOTER_COUNTER), &self.header_bytes, &mut check)?;
        let mut reader = crate::wire::Reader::new(plain, "pack footer");
        let read_back = Footer::decode_from(&mut reader)?;
        reader.finish()?;
        if read_back != self.footer {
            return Err(Error::new(ErrorKind::Internal, "pack", "footer does not read back; nothing was uploaded"));
        }

        self.hasher.update(&padding).update(&footer).update(&trailer);
        trailer.extend_from_slice(self.hasher.finalize().as_bytes());
        // The object's own hash covers the trailing hash too: one more update, not a second pass.
        let hash_at = trailer.len() - HASH_BYTES;
        self.hasher.update(trailer.get(hash_at..).unwrap_or_default());
        let hash = *self.hasher.finalize().as_bytes();
        self.body.extend_from_slice(&padding);
        self.body.extend_from_slice(&footer);
        self.body.extend_from_slice(&trailer);
        Ok(FinishedPack { name: self.header.name, bytes: self.body, hash, footer: self.footer })
    }
}
