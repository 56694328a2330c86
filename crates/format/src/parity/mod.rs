//! Parity: what brings damaged stretches of a pack back.
//!
//! ```text
//! head | recovery shard* | head again | length of a head (u32)
//! ```
//! A pack is cut into data shards of [`SHARD_BYTES`], the last one continued by zeros that are not stored. Reed–Solomon
//! makes recovery shards of them: of all shards together, as many as there are data shards suffice. The head has a short hash of each shard,
//! so what is damaged is known exactly, in the parity too, and each recovery shard makes good for one data shard,
//! wherever it is. The head is there twice, because without it all the rest is of no use.
//!
//! It is of ciphertext and tells nothing but that: no keys are needed, to make or to use it. It is believed in
//! nothing: what comes out must have the BLAKE3 that the pack had.
//!
//! Numbers: docs/adr/0026-parity-per-pack.md.
//!
//! | module | holds |
//! |---|---|
//! | `head` | the table in front, and again behind |
//! | `encode` | pack → parity |
//! | `rebuild` | damaged pack and parity → pack |

mod encode;
mod head;
mod rebuild;

pub use encode::ParityEncoder;
pub use head::ParityHead;
pub use rebuild::{Parity, Rebuilt};

use decube_backup_core::{Error, ErrorKind, Result};

/// Length of a shard, bytes: a sector of a disk, the least that a disk loses. Packs shorter than that have one shard of their own length.
pub const SHARD_BYTES: usize = 4096;
/// Most shards of either kind.
const SHARDS_MAX: usize = 1 << 15;
/// Shards are a multiple of this: what the code works on at once.
const SHARD_STEP_BYTES: usize = 64;
const WHAT: &str = "parity";

/// How much parity new packs get, percent of their length: 0 (none) to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overhead(u8);

impl Overhead {
    /// No parity.
    pub const NONE: Self = Self(0);

    /// From percent.
    ///
    /// # Errors
    /// `Invalid` over 100.
    pub fn percent(percent: u8) -> Result<Self> {
        match percent {
            0..=100 => Ok(Self(percent)),
            _ => Err(Error::new(ErrorKind::Invalid, "parity", "parity is more than 100 percent")
                .with("percent", percent)
                .with_hint("give 0 for none, or up to 100: that is a second copy")),
        }
    }

    /// Whether packs get none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Recovery shards for so many data shards: at least 1 of both.
    fn recovery_shards(self, data: usize) -> usize {
        (data * usize::from(self.0)).div_ceil(100).max(1)
    }
}

/// The short hash of a shard: damage is found by it, nothing is proved.
fn short_hash(shard: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&blake3::hash(shard).as_bytes()[..8]);
    short
}

fn internal(error: reed_solomon_simd::Error) -> Error {
    Error::new(ErrorKind::Internal, "parity", "Reed-Solomon refuses its input").with_source(error)
}

#[cfg(test)]
mod tests;
