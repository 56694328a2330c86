//! A pack's table of contents, also the content of index segments.
//!
//! Columns: segments (stored length, raw length, codec, number of chunks), chunk lengths, chunk ids
//! of 16 bytes. Offsets are not stored: segments and chunks are consecutive and gap-free. Ids are
//! short because a full id can be recomputed from what the segment holds.

use super::{SEGMENT_BYTES_MAX, SEGMENTS_MAX};
use crate::codec::Codec;
use crate::ids::ShortId;
use crate::pack::PackHeader;
use crate::wire::{Reader, Writer};
use decube_backup_core::Result;

/// One segment of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Offset of its sealed bytes in the pack.
    pub offset: u32,
    /// Length of its sealed bytes.
    pub stored_len: u32,
    /// Length before compression.
    pub raw_len: u32,
    /// How it is compressed.
    pub codec: Codec,
    /// Index of its first chunk among the pack's chunks.
    pub first_chunk: u32,
    /// Number of its chunks, at least 1.
    pub chunks: u32,
}

/// One chunk of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Short id.
    pub id: ShortId,
    /// Offset in its raw segment.
    pub offset: u32,
    /// Length, bytes.
    pub len: u32,
}

/// A pack's table of contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// In pack order.
    pub segments: Vec<SegmentEntry>,
    /// In pack order.
    pub chunks: Vec<ChunkEntry>,
}

impl Footer {
    /// Adds a segment holding `chunks` (id and length, consecutive).
    pub fn push(&mut self, stored_len: u32, raw_len: u32, codec: Codec, chunks: &[(ShortId, u32)]) {
        let offset = self.segments.last().map_or(PackHeader::BYTES as u32, |s| s.offset + s.stored_len);
        let first_chunk = self.chunks.len() as u32;
        self.segments.push(SegmentEntry {
            offset,
            stored_len,
            raw_len,
            codec,
            first_chunk,
            chunks: chunks.len() as u32,
        });
        let mut offset = 0;
        for &(id, len) in chunks {
            self.chunks.push(ChunkEntry { id, offset, len });
            offset += len;
        }
    }

    /// End of the last segment in the pack.
    pub fn segments_end(&self) -> u32 {
        self.segments.last().map_or(PackHeader::BYTES as u32, |s| s.offset + s.stored_len)
    }

    /// The chunks of `segment`.
    pub fn chunks_of(&self, segment: &SegmentEntry) -> &[ChunkEntry] {
        let first = segment.first_chunk as usize;
        self.chunks.get(first..first + segment.chunks as usize).unwrap_or_default()
    }

    /// Appends the columns to `out`.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        out.write_varint(self.segments.len() as u64);
        for segment in &self.segments {
            out.write_varint(u64::from(segment.stored_len));
            out.write_varint(u64::from(segment.raw_len));
            out.write_u8(segment.codec as u8);
            out.write_varint(u64::from(segment.chunks));
        }
        for chunk in &self.chunks {
            out.write_varint(u64::from(chunk.len));
        }
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.id.0);
        }
    }

    /// Reads what [`Self::encode_to`] wrote and checks that lengths add up.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for an unknown codec.
    pub fn decode_from(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.count(4)?;
        if count > SEGMENTS_MAX {
            return Err(reader.corrupt());
        }
        let mut segments = Vec::with_capacity(count);
        let (mut offset, mut first_chunk) = (PackHeader::BYTES as u64, 0u64);
        for _ in 0..count {
            let (stored_len, raw_len) = (reader.varint()?, reader.varint()?);
            let codec = Codec::from_byte(reader.u8()?)?;
            let chunks = reader.varint()?;
            let sound = (1..=SEGMENT_BYTES_MAX as u64).contains(&raw_len)
                && (1..=2 * SEGMENT_BYTES_MAX as u64).contains(&stored_len)
                && (1..=raw_len).contains(&chunks);
            if !sound || offset + stored_len > u64::from(u32::MAX) {
                return Err(reader.corrupt());
            }
            segments.push(SegmentEntry {
                offset: offset as u32,
                stored_len: stored_len as u32,
                raw_len: raw_len as u32,
                codec,
                first_chunk: first_chunk as u32,
                chunks: chunks as u32,
            });
            offset += stored_len;
            first_chunk += chunks;
        }
        let total = usize::try_from(first_chunk).map_err(|_| reader.corrupt())?;
        if total.saturating_mul(17) > reader.remaining() {
            return Err(reader.corrupt());
        }
        let mut chunks = Vec::with_capacity(total);
        for segment in &segments {
            let mut at = 0u64;
            for _ in 0..segment.chunks {
                let len = reader.varint()?;
                // Not `at + len`: a length near 2^64 would wrap around.
                if len == 0 || len > u64::from(segment.raw_len) - at {
                    return Err(reader.corrupt());
                }
                chunks.push(ChunkEntry { id: ShortId::default(), offset: at as u32, len: len as u32 });
                at += len;
            }
            if at != u64::from(segment.raw_len) {
                return Err(reader.corrupt());
            }
        }
        for chunk in &mut chunks {
            chunk.id = ShortId(reader.array()?);
        }
        Ok(Self { segments, chunks })
    }
}
