//! Finding the cut point: the place whose hash is the smallest.
//!
//! The hash of a place looks at four words of the 64 bytes behind it, so that any place costs the same and
//! eight of them are hashed in one vector, with whatever vector unit the machine has.

use super::CutKeys;
use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x32, u32x8};

/// Bytes the hash of a place may look at.
const WINDOW_BYTES: usize = 64;
/// Where in the window the four words begin. Far apart: rows and records repeat short stretches.
const WORDS_AT: [usize; 4] = [0, 9, 27, 60];
/// Places hashed between comparisons.
const BLOCK: usize = 256;
/// What hashing a block reads.
const BLOCK_BYTES: usize = BLOCK + WINDOW_BYTES - 1;
/// Bytes of the words of eight places.
const VECTOR_BYTES: usize = 32;

/// The last of the places in `data` with the smallest hash; every place has its whole window in `data`.
///
/// 0 if there are fewer places than one block.
pub(super) fn smallest(level: Level, keys: &CutKeys, data: &[u8]) -> usize {
    dispatch!(level, simd => search(simd, keys, data))
}

/// The hash of the place `window` begins at.
#[inline(always)]
fn hash(keys: &CutKeys, window: &[u8]) -> u32 {
    let word = |at: usize| window.get(at..).and_then(|w| w.first_chunk()).map_or(0, |w| u32::from_le_bytes(*w));
    let [a, b, c, d] = WORDS_AT.map(word);
    let [ka, kb, kc, kd] = keys.words;
    let sum = a.wrapping_mul(ka).wrapping_add(b.wrapping_mul(kb));
    let sum = sum.wrapping_add(c.wrapping_mul(kc)).wrapping_add(d.wrapping_mul(kd)).wrapping_add(keys.offset);
    (sum ^ (sum >> 15)).wrapping_mul(keys.finish)
}

/// Compares blocks by their smallest hash and looks for the place in the one block that wins.
#[inline(always)]
fn search<S: Simd>(simd: S, keys: &CutKeys, data: &[u8]) -> usize {
    let block_at = |at: usize| data.get(at..).and_then(|rest| rest.first_chunk::<BLOCK_BYTES>());
    let Some(last) = data.len().checked_sub(BLOCK_BYTES) else { return 0 };
    let (mut best, mut best_at) = (u32::MAX, 0);
    // The last block ends where the data does and may repeat places of the one before it.
    for at in (0..last).step_by(BLOCK).chain([last]) {
        let Some(block) = block_at(at) else { break };
        let smallest = smallest_of(simd, keys, block);
        if smallest <= best {
            (best, best_at) = (smallest, at);
        }
    }
    let within = block_at(best_at).and_then(|b| b.windows(WINDOW_BYTES).rposition(|w| hash(keys, w) == best));
    best_at + within.unwrap_or(0)
}

/// A vector of words at `at` holds those of the places `at`, `at + 4` … `at + 28`; four of them, one byte
/// apart, cover 32 places.
#[inline(always)]
fn smallest_of<S: Simd>(simd: S, keys: &CutKeys, block: &[u8; BLOCK_BYTES]) -> u32 {
    let all = |word: u32| u32x8::splat(simd, word);
    let (words, offset, finish) = (keys.words.map(all), all(keys.offset), all(keys.finish));
    let load = |at: usize| {
        let bytes = block.get(at..).and_then(|b| b.first_chunk::<VECTOR_BYTES>());
        u32x8::from_bytes(u8x32::from_slice(simd, bytes.unwrap_or(&[0; VECTOR_BYTES])))
    };
    let mut smallest = all(u32::MAX);
    for group in (0..BLOCK).step_by(VECTOR_BYTES) {
        for at in group..group + 4 {
            let mut sum = offset;
            for (key, word_at) in words.into_iter().zip(WORDS_AT) {
                sum += load(at + word_at) * key;
            }
            smallest = smallest.min((sum ^ (sum >> 15)) * finish);
        }
    }
    smallest.reduce_min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Key32;
    use proptest::prelude::*;

    /// The definition, word for word.
    fn plain(keys: &CutKeys, data: &[u8]) -> usize {
        let hashes: Vec<u32> = data.windows(WINDOW_BYTES).map(|w| hash(keys, w)).collect();
        let smallest = hashes.iter().min().expect("some");
        hashes.iter().rposition(|h| h == smallest).expect("there")
    }

    proptest! {
        #[test]
        fn every_version_finds_the_last_smallest(
            key in any::<[u8; 32]>(),
            data in prop::collection::vec(0u8..4, BLOCK_BYTES..4 * BLOCK_BYTES),
            period in 1usize..600,
        ) {
            let keys = CutKeys::derive(&Key32(key));
            let periodic: Vec<u8> = data.iter().cycle().take(period).cycle().take(data.len()).copied().collect();
            for data in [data, periodic] {
                let expected = plain(&keys, &data);
                prop_assert_eq!(smallest(Level::baseline(), &keys, &data), expected);
                prop_assert_eq!(smallest(Level::new(), &keys, &data), expected);
            }
        }
    }
}
