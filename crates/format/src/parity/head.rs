//! The table of a parity object: whose parity it is, and a short hash of every shard.

use super::{SHARD_STEP_BYTES, SHARDS_MAX, WHAT, short_hash};
use crate::header::{checked_body, unsupported_version};
use crate::ids::{PackId, PackKind, PackName, RepositoryId};
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::Result;
use decube_backup_core::limits::OBJECT_BYTES_MAX;

const MAGIC: &[u8; 8] = b"DECUBEPA";
const VERSION: u16 = 1;
/// Before the hashes: magic, version, repository, pack, its length and hash, shard length, number of recovery shards.
const FIXED_BYTES: usize = 8 + 2 + 16 + 17 + 4 + 32 + 4 + 4;
const SHORT_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 32;
/// Longest shard a reader takes, bytes.
const SHARD_BYTES_MAX: usize = 1 << 20;

/// What a parity object says of itself and of its pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParityHead {
    /// Repository of the pack.
    pub repository: RepositoryId,
    /// Whose parity it is.
    pub pack: PackName,
    /// Length of the pack, bytes, at least 1.
    pub pack_len: u32,
    /// BLAKE3 of all of it.
    pub pack_hash: [u8; 32],
    /// Length of a shard, bytes, a multiple of 64.
    pub shard_bytes: u32,
    /// Short hashes of the data shards, the last one without the zeros behind it.
    pub data: Vec<[u8; 8]>,
    /// Short hashes of the recovery shards; at least one, at most as many as data shards.
    pub recovery: Vec<[u8; 8]>,
}

impl ParityHead {
    /// The data shards of `pack`, in order; the last may be short.
    pub(super) fn shards<'p>(&self, pack: &'p [u8]) -> impl Iterator<Item = &'p [u8]> {
        pack.chunks(self.shard_bytes as usize)
    }

    /// Numbers of the shards of `pack` that are not what they were; `pack` has its length.
    pub(super) fn damaged(&self, pack: &[u8]) -> Vec<usize> {
        let differing =
            self.shards(pack).zip(&self.data).enumerate().filter(|(_, (shard, hash))| short_hash(shard) != **hash);
        differing.map(|(number, _)| number).collect()
    }

    /// Encoded length, bytes.
    pub fn encoded_len(&self) -> usize {
        encoded_len(self.data.len(), self.recovery.len())
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(MAGIC);
        out.write_u16(VERSION);
        out.extend_from_slice(&self.repository.0);
        out.write_u8(if self.pack.kind == PackKind::Data { 0 } else { 1 });
        out.extend_from_slice(&self.pack.id.0);
        out.write_u32(self.pack_len);
        out.extend_from_slice(&self.pack_hash);
        out.write_u32(self.shard_bytes);
        out.write_u32(self.recovery.len() as u32);
        for hash in self.data.iter().chain(&self.recovery) {
            out.extend_from_slice(hash);
        }
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    /// From the bytes that begin with a head.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for a whole head of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes.get(MAGIC.len()..).ok_or_else(|| corrupt(WHAT))?, WHAT);
        let version = reader.u16()?;
        if version != VERSION {
            // Where another version's head ends only that version knows; all of it must hold.
            return Err(
                checked_body(bytes, MAGIC, WHAT).map_or_else(|error| error, |_| unsupported_version(WHAT, version))
            );
        }
        let repository = RepositoryId(reader.array()?);
        let kind = match reader.u8()? {
            0 => PackKind::Data,
            1 => PackKind::Meta,
            _ => return Err(reader.corrupt()),
        };
        let pack = PackName { kind, id: PackId(reader.array()?) };
        let pack_len = reader.u32()?;
        let pack_hash = reader.array()?;
        let (shard_bytes, recovery) = (reader.u32()?, reader.u32()? as usize);
        let sound = (1..=OBJECT_BYTES_MAX).contains(&(pack_len as usize))
            && (SHARD_STEP_BYTES..=SHARD_BYTES_MAX).contains(&(shard_bytes as usize))
            && shard_bytes.is_multiple_of(SHARD_STEP_BYTES as u32);
        let data = if sound { pack_len.div_ceil(shard_bytes) as usize } else { 0 };
        if !(1..=SHARDS_MAX).contains(&data) || !(1..=data).contains(&recovery) {
            return Err(reader.corrupt());
        }
        let whole = bytes.get(..encoded_len(data, recovery)).ok_or_else(|| reader.corrupt())?;
        checked_body(whole, MAGIC, WHAT)?;
        let mut hashes = |count: usize| (0..count).map(|_| reader.array()).collect::<Result<Vec<_>>>();
        let (data, recovery) = (hashes(data)?, hashes(recovery)?);
        Ok(Self { repository, pack, pack_len, pack_hash, shard_bytes, data, recovery })
    }
}

fn encoded_len(data: usize, recovery: usize) -> usize {
    FIXED_BYTES + SHORT_BYTES * (data + recovery) + CHECKSUM_BYTES
}
