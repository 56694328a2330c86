//! The plain object `format`: what a program must know before it has a key.
//!
//! 108 bytes, little-endian, closed by the BLAKE3 of the rest: damage is told from a newer version, because every
//! version of this object ends so. It is not authenticated by itself: the log's first record lists it with its
//! hash, under the signature.

use crate::chunker::ChunkerParams;
use crate::ids::RepositoryId;
use crate::pack::SEGMENT_BYTES_MAX;
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"DECUBEBK";
/// The format version this crate reads and writes.
pub const VERSION: u16 = 1;
/// Length of the encoded header, bytes.
pub const HEADER_BYTES: usize = 108;
/// Largest pack target a header may ask for, bytes.
pub const PACK_BYTES_MAX: u32 = 64 << 20;
/// Smallest pack target a header may ask for, bytes.
pub const PACK_BYTES_MIN: u32 = 64 << 10;

/// What a program wants to do with a repository; each needs the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// List, restore, verify.
    Read,
    /// Append records and upload objects.
    Write,
    /// Reclaim and delete objects.
    Gc,
}

/// Bits that must be understood before an access; bit n of each word is one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Features {
    /// Needed to read correctly.
    pub read: u64,
    /// Needed to write without harm.
    pub write: u64,
    /// Needed to delete without harm.
    pub gc: u64,
}

/// The features this crate understands: version 1 has none beyond its base.
pub const FEATURES_KNOWN: Features = Features { read: 0, write: 0, gc: 0 };

/// The decoded header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Random name of the repository.
    pub repository: RepositoryId,
    /// Mandatory features.
    pub features: Features,
    /// Which chunker cuts content; the chunker module knows which exist.
    pub chunker_id: u16,
    /// Sizes of its chunks.
    pub chunker: ChunkerParams,
    /// Size at which a data pack is closed, bytes.
    pub pack_data_bytes: u32,
    /// Size at which a metadata pack is closed, bytes.
    pub pack_meta_bytes: u32,
    /// Raw size at which a segment is closed, bytes.
    pub segment_bytes: u32,
}

impl Header {
    /// The object's bytes.
    ///
    /// # Errors
    /// `Invalid` if a size is outside its bounds.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if !self.in_bounds() {
            return Err(Error::new(ErrorKind::Invalid, "init", "chunk, segment or pack size out of bounds"));
        }
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.write_u16(VERSION);
        out.extend_from_slice(&self.repository.0);
        out.write_u64(self.features.read);
        out.write_u64(self.features.write);
        out.write_u64(self.features.gc);
        out.write_u16(self.chunker_id);
        for size in [
            self.chunker.min,
            self.chunker.average,
            self.chunker.max,
            self.pack_data_bytes,
            self.pack_meta_bytes,
            self.segment_bytes,
        ] {
            out.write_u32(size);
        }
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        Ok(out)
    }

    /// Reads the object's bytes; features are checked by [`Self::check`].
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for a whole header of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let body = checked_body(bytes, MAGIC, "format header")?;
        let mut reader = Reader::new(body, "format header");
        let version = reader.u16()?;
        if version != VERSION {
            return Err(unsupported_version("repository", version));
        }
        let header = Self {
            repository: RepositoryId(reader.array()?),
            features: Features { read: reader.u64()?, write: reader.u64()?, gc: reader.u64()? },
            chunker_id: reader.u16()?,
            chunker: ChunkerParams { min: reader.u32()?, average: reader.u32()?, max: reader.u32()? },
            pack_data_bytes: reader.u32()?,
            pack_meta_bytes: reader.u32()?,
            segment_bytes: reader.u32()?,
        };
        reader.finish()?;
        if header.in_bounds() { Ok(header) } else { Err(corrupt("format header").with("reason", "size out of bounds")) }
    }

    /// Whether this program understands every feature that `access` needs.
    ///
    /// # Errors
    /// `Unsupported`, naming the unknown bits.
    pub fn check(&self, access: Access) -> Result<()> {
        let words = [
            (Access::Read, "read", self.features.read & !FEATURES_KNOWN.read),
            (Access::Write, "write", self.features.write & !FEATURES_KNOWN.write),
            (Access::Gc, "gc", self.features.gc & !FEATURES_KNOWN.gc),
        ];
        for (needed_for, word, unknown) in words {
            if needed_for <= access && unknown != 0 {
                let message =
                    format!("repository uses features newer than decube-backup {}", env!("CARGO_PKG_VERSION"));
                return Err(Error::new(ErrorKind::Unsupported, "open", message)
                    .with("access", word)
                    .with("unknown_bits", format!("{unknown:#018x}"))
                    .with_hint("use the decube-backup release that set these features, or a newer one"));
            }
        }
        Ok(())
    }

    fn in_bounds(&self) -> bool {
        let pack = PACK_BYTES_MIN..=PACK_BYTES_MAX;
        self.chunker.validate().is_ok()
            && pack.contains(&self.pack_data_bytes)
            && pack.contains(&self.pack_meta_bytes)
            && (4096..=SEGMENT_BYTES_MAX as u32).contains(&self.segment_bytes)
    }
}

/// What lies between `magic` and the closing BLAKE3 of a plain object, once both hold.
pub(crate) fn checked_body<'a>(bytes: &'a [u8], magic: &[u8; 8], what: &'static str) -> Result<&'a [u8]> {
    let rest = bytes.strip_prefix(magic.as_slice()).ok_or_else(|| corrupt(what).with("reason", "bad magic"))?;
    let (body, checksum) = rest.split_last_chunk::<32>().ok_or_else(|| corrupt(what))?;
    let covered = bytes.get(..bytes.len() - 32).unwrap_or_default();
    if blake3::hash(covered) == *checksum { Ok(body) } else { Err(corrupt(what).with("reason", "checksum differs")) }
}

/// A whole object of a version this crate does not know.
pub(crate) fn unsupported_version(what: &'static str, version: u16) -> Error {
    let message = format!("{what} has a version this program does not know");
    Error::new(ErrorKind::Unsupported, "open", message).with("version", version).with_hint("use a newer decube-backup")
}
