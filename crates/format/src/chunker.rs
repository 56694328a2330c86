//! Content-defined chunking under a secret key.
//!
//! Gear rolling hash with normalised chunking: a harder mask before the average size, an easier one
//! after it. The 256-entry gear table is derived from the repository's chunker key, so chunk sizes do
//! not fingerprint known files to whoever sees the packs.
//!
//! Source: Xia et al., FastCDC, USENIX ATC 2016 (gear hash, normalisation level 2). Sizes: measured
//! on mixed corpora, docs/adr/0009.

use crate::hash::Key32;
use decube_backup_core::{Error, ErrorKind, Result};

/// Sizes of a chunker, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkerParams {
    /// Shortest chunk but the last of a stream; also the largest content that is never cut.
    pub min: u32,
    /// Aimed-at mean, a power of two.
    pub average: u32,
    /// Longest chunk.
    pub max: u32,
}

impl ChunkerParams {
    /// 16 KiB / 64 KiB / 128 KiB.
    pub const DEFAULT: Self = Self { min: 16 << 10, average: 64 << 10, max: 128 << 10 };

    /// Parameters with the default proportions around `average`.
    pub fn around(average: u32) -> Self {
        Self { min: average / 4, average, max: average.saturating_mul(2) }
    }

    /// Refuses what would make chunking meaningless or unbounded.
    ///
    /// # Errors
    /// `Invalid` unless 1 KiB ≤ min ≤ average ≤ max ≤ 4 MiB and average is a power of two.
    pub fn validate(&self) -> Result<()> {
        if (1 << 10..=self.average).contains(&self.min)
            && (self.average..=4 << 20).contains(&self.max)
            && self.average.is_power_of_two()
        {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "chunker", "chunk sizes out of range")
            .with("min", self.min)
            .with("average", self.average)
            .with("max", self.max))
    }
}

/// Number of the gear chunker in the `format` object.
pub const GEAR_CHUNKER_ID: u16 = 1;

/// Cuts streams into chunks.
#[derive(Clone)]
pub struct Chunker {
    gear: Box<[u64; 256]>,
    params: ChunkerParams,
    mask_before: u64,
    mask_after: u64,
}

impl Chunker {
    /// A chunker for `params` under `chunker_key`.
    ///
    /// # Errors
    /// `Invalid` for parameters out of range.
    pub fn new(chunker_key: &Key32, params: ChunkerParams) -> Result<Self> {
        params.validate()?;
        let mut table = [0u8; 2048];
        let key = chunker_key.derive("decube-backup 2026 v1 gear table", &[]);
        blake3::Hasher::new_keyed(&key.0).finalize_xof().fill(&mut table);
        let mut gear = Box::new([0u64; 256]);
        for (slot, bytes) in gear.iter_mut().zip(table.chunks_exact(8)) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            *slot = u64::from_le_bytes(word);
        }
        let bits = params.average.ilog2();
        let mask = |bits: u32| !0u64 << (64 - bits);
        Ok(Self { gear, params, mask_before: mask(bits + 2), mask_after: mask(bits.saturating_sub(2).max(1)) })
    }

    /// The sizes.
    pub fn params(&self) -> ChunkerParams {
        self.params
    }

    /// Length of the first chunk of `data`: the whole of it if it is no longer than `min`.
    ///
    /// Unless the stream ends with `data`, at least `max` bytes must be given; the answer then does
    /// not depend on what follows.
    pub fn cut(&self, data: &[u8]) -> usize {
        let (min, average, max) = (self.params.min as usize, self.params.average as usize, self.params.max as usize);
        if data.len() <= min {
            return data.len();
        }
        let data = data.get(..max).unwrap_or(data);
        let middle = average.min(data.len());
        let mut hash = 0u64;
        if let Some(at) = self.find(data.get(min..middle).unwrap_or_default(), &mut hash, self.mask_before) {
            return min + at;
        }
        match self.find(data.get(middle..).unwrap_or_default(), &mut hash, self.mask_after) {
            Some(at) => middle + at,
            None => data.len(),
        }
    }

    /// Position after the first byte at which the hash meets `mask`.
    ///
    /// Four bytes a step: each of the four hashes follows from the one before the step alone, so the
    /// chain of dependent operations is a quarter as long. Same hashes, same cut points.
    #[inline(always)]
    fn find(&self, data: &[u8], hash: &mut u64, mask: u64) -> Option<usize> {
        let mut h = *hash;
        let gear = &self.gear;
        let (steps, rest) = data.as_chunks::<4>();
        for (step, bytes) in steps.iter().enumerate() {
            let [g0, g1, g2, g3] = bytes.map(|b| gear[usize::from(b)]);
            let pair = (g0 << 1).wrapping_add(g1);
            let triple = (pair << 1).wrapping_add(g2);
            let h0 = (h << 1).wrapping_add(g0);
            let h1 = (h << 2).wrapping_add(pair);
            let h2 = (h << 3).wrapping_add(triple);
            h = (h << 4).wrapping_add((triple << 1).wrapping_add(g3));
            // Four predictable branches cost less than one on their disjunction.
            if h0 & mask == 0 {
                return Some(step * 4 + 1);
            }
            if h1 & mask == 0 {
                return Some(step * 4 + 2);
            }
            if h2 & mask == 0 {
                return Some(step * 4 + 3);
            }
            if h & mask == 0 {
                return Some(step * 4 + 4);
            }
        }
        for (at, &byte) in rest.iter().enumerate() {
            h = (h << 1).wrapping_add(gear[usize::from(byte)]);
            if h & mask == 0 {
                return Some(steps.len() * 4 + at + 1);
            }
        }
        *hash = h;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: u8) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut out);
        out
    }

    fn chunks<'a>(chunker: &Chunker, mut data: &'a [u8]) -> Vec<&'a [u8]> {
        let mut all = Vec::new();
        while !data.is_empty() {
            let (head, tail) = data.split_at(chunker.cut(data));
            all.push(head);
            data = tail;
        }
        all
    }

    #[test]
    fn chunks_are_gap_free_within_bounds_and_near_the_average() {
        let chunker = Chunker::new(&Key32([1; 32]), ChunkerParams::DEFAULT).expect("valid");
        let data = noise(16 << 20, 3);
        let all = chunks(&chunker, &data);
        assert_eq!(all.concat(), data);
        let (last, rest) = all.split_last().expect("some");
        assert!(last.len() <= 128 << 10);
        assert!(rest.iter().all(|c| (16 << 10..=128 << 10).contains(&c.len())));
        let mean = data.len() / all.len();
        assert!((40 << 10..=90 << 10).contains(&mean), "{mean}");
    }

    #[test]
    fn an_insertion_changes_only_the_chunks_around_it() {
        let chunker = Chunker::new(&Key32([1; 32]), ChunkerParams::DEFAULT).expect("valid");
        let before = noise(8 << 20, 4);
        let mut after = before.clone();
        after.splice(3_000_000..3_000_000, [1, 2, 3]);
        let known: std::collections::HashSet<_> = chunks(&chunker, &before).into_iter().collect();
        let new = chunks(&chunker, &after).into_iter().filter(|c| !known.contains(c)).count();
        assert!((1..=4).contains(&new), "{new}");
    }

    #[test]
    fn cut_points_depend_on_the_key() {
        let data = noise(4 << 20, 5);
        let cut = |k| Chunker::new(&Key32([k; 32]), ChunkerParams::DEFAULT).expect("valid").cut(&data);
        assert!((1..20).any(|k| cut(k) != cut(0)));
    }

    #[test]
    fn senseless_sizes_are_refused() {
        for (min, average, max) in
            [(0, 0, 0), (1 << 10, 3 << 10, 4 << 10), (64 << 10, 32 << 10, 128 << 10), (1 << 10, 1 << 20, 64 << 20)]
        {
            assert!(ChunkerParams { min, average, max }.validate().is_err());
        }
    }
}
