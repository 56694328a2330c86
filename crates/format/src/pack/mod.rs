//! Packs: many segments in one object, sealed under a key of their own.
//!
//! ```text
//! header | segment* | padding | sealed footer | sealed trailer (24 B) | BLAKE3 of all before (32 B)
//! ```
//!
//! The random name is known before the first byte, so nothing is hashed twice and a late delete can
//! never hit a re-created object. The plain hash at the end lets anyone scrub and replicate without
//! keys. The trailer holds the footer's and the padding's length sealed, so the plain object shows
//! nothing but its padded size.
//!
//! | module | holds |
//! |---|---|
//! | [`header`] | the plain 76 bytes in front |
//! | [`footer`] | columns: segments, chunk lengths, chunk ids |
//! | [`writer`] | sealing segments and assembling the object |
//! | [`reader`] | opening a pack from any part of it |
//! | [`padding`] | Padmé |

pub mod footer;
pub mod header;
pub mod padding;
pub mod reader;
pub mod writer;

pub use footer::{ChunkEntry, Footer, SegmentEntry};
pub use header::{KeyProof, PackHeader};
pub use reader::PackReader;
pub use writer::{FinishedPack, PackWriter, compress_segment};

/// Length of the sealed trailer, bytes: two u32 and a tag.
pub const TRAILER_BYTES: usize = 8 + crate::seal::TAG_BYTES;
/// Length of the hash that ends a pack, bytes.
pub const HASH_BYTES: usize = 32;
/// Nonce counter of the footer.
pub(crate) const FOOTER_COUNTER: u32 = u32::MAX;
/// Nonce counter of the trailer.
pub(crate) const TRAILER_COUNTER: u32 = u32::MAX - 1;
/// Most segments of one pack.
pub const SEGMENTS_MAX: usize = 1 << 16;
/// Largest raw segment, bytes.
pub const SEGMENT_BYTES_MAX: usize = 16 << 20;

/// Checks the plain hash at the end of a pack: needs no keys.
///
/// # Errors
/// `Corrupt` if the bytes are not those that were written.
pub fn scrub(bytes: &[u8]) -> decube_backup_core::Result<()> {
    match bytes.split_last_chunk::<HASH_BYTES>() {
        Some((body, hash)) if blake3::hash(body).as_bytes() == hash => Ok(()),
        _ => Err(crate::wire::corrupt("pack hash")),
    }
}

#[cfg(test)]
mod tests;
