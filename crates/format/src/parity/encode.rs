//! From a pack to its parity.

use super::head::ParityHead;
use super::{Overhead, SHARD_BYTES, SHARD_STEP_BYTES, SHARDS_MAX, internal, short_hash};
use crate::ids::{PackName, RepositoryId};
use crate::wire::Writer;
use decube_backup_core::{Error, ErrorKind, Result};
use reed_solomon_simd::ReedSolomonEncoder;

/// Makes the parity of one pack after the other; holds about as much memory as the largest of them is long.
#[derive(Default)]
pub struct ParityEncoder {
    encoder: Option<ReedSolomonEncoder>,
    last: Vec<u8>,
}

impl ParityEncoder {
    /// An encoder that holds no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces `out` by the parity object of the pack `name` that holds `pack` and has the BLAKE3 `pack_hash`; at least one
    /// recovery shard, whatever `overhead` is.
    ///
    /// # Errors
    /// `Invalid` for an empty or overlong pack; else `Internal` only.
    pub fn encode(
        &mut self,
        repository: RepositoryId,
        name: PackName,
        pack: &[u8],
        pack_hash: [u8; 32],
        overhead: Overhead,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.clear();
        let shard_bytes = SHARD_BYTES.min(pack.len().next_multiple_of(SHARD_STEP_BYTES));
        let data = pack.len().div_ceil(shard_bytes.max(1));
        if !(1..=SHARDS_MAX).contains(&data) {
            return Err(
                Error::new(ErrorKind::Invalid, "parity", "a pack of this length has no parity").with("len", pack.len())
            );
        }
        let recovery = overhead.recovery_shards(data);
        let encoder = match &mut self.encoder {
            Some(encoder) => {
                encoder.reset(data, recovery, shard_bytes).map_err(internal)?;
                encoder
            }
            none => none.insert(ReedSolomonEncoder::new(data, recovery, shard_bytes).map_err(internal)?),
        };
        let mut hashes = Vec::with_capacity(data);
        for shard in pack.chunks(shard_bytes) {
            hashes.push(short_hash(shard));
            if shard.len() == shard_bytes {
                encoder.add_original_shard(shard).map_err(internal)?;
            } else {
                self.last.clear();
                self.last.extend_from_slice(shard);
                self.last.resize(shard_bytes, 0);
                encoder.add_original_shard(&self.last).map_err(internal)?;
            }
        }
        let encoded = encoder.encode().map_err(internal)?;
        let head = ParityHead {
            repository,
            pack: name,
            pack_len: pack.len() as u32,
            pack_hash,
            shard_bytes: shard_bytes as u32,
            data: hashes,
            recovery: encoded.recovery_iter().map(short_hash).collect(),
        };
        let head = head.encode();
        out.reserve(2 * head.len() + recovery * shard_bytes + 4);
        out.extend_from_slice(&head);
        encoded.recovery_iter().for_each(|shard| out.extend_from_slice(shard));
        out.extend_from_slice(&head);
        out.write_u32(head.len() as u32);
        Ok(())
    }
}
