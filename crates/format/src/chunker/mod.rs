//! Content-defined chunking under a secret key.
//!
//! A chunk ends at the place, between `min` and `max` behind its start, whose hash is the smallest. The hash
//! is under keys derived from the repository's chunker key, so chunk sizes do not fingerprint known files
//! to whoever sees the packs.
//!
//! Source of the idea, cutting at extreme values: Bjørner, Blass, Gurevich, Content-dependent chunking for
//! differential compression, the local maximum approach, 2010. Hash and sizes: measured, docs/adr/0017.

mod scan;

use crate::hash::Key32;
use decube_backup_core::zeros::is_zero;
use decube_backup_core::{Error, ErrorKind, Result};
use fearless_simd::Level;

/// Sizes of a chunker, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkerParams {
    /// Shortest chunk but the last of a stream.
    pub min: u32,
    /// The mean of the other two, and of the chunks where the content does not repeat.
    pub average: u32,
    /// Longest chunk; content shorter than that is never cut.
    pub max: u32,
}

impl ChunkerParams {
    /// 32 KiB / 64 KiB / 96 KiB.
    pub const DEFAULT: Self = Self { min: 32 << 10, average: 64 << 10, max: 96 << 10 };

    /// Parameters with the default proportions around `average`.
    pub fn around(average: u32) -> Self {
        let min = average / 2;
        Self { min, average, max: average.saturating_add(average - min) }
    }

    /// Refuses what would make chunking meaningless or unbounded.
    ///
    /// # Errors
    /// `Invalid` unless 1 KiB ≤ min, min + 1 KiB ≤ average, average lies halfway between min and max, max ≤ 4 MiB.
    pub fn validate(&self) -> Result<()> {
        let half = self.average.checked_sub(self.min);
        if self.min >= 1 << 10
            && self.max <= 4 << 20
            && half.is_some_and(|half| half >= 1 << 10 && self.average.checked_add(half) == Some(self.max))
        {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "chunker", "chunk sizes out of range")
            .with("min", self.min)
            .with("average", self.average)
            .with("max", self.max))
    }
}

/// Number of this chunker in the `format` object.
pub const ARGMIN_CHUNKER_ID: u16 = 1;

/// What makes the hash of a place a secret.
#[derive(Clone)]
struct CutKeys {
    /// Odd factors of the four words.
    words: [u32; 4],
    /// Keeps windows of zeros from being the smallest anywhere.
    offset: u32,
    /// Odd factor of the mixed sum.
    finish: u32,
}

impl CutKeys {
    fn derive(chunker_key: &Key32) -> Self {
        let key = chunker_key.derive("decube-backup 2026 v1 cut hash", &[]);
        let mut bytes = [0u8; 24];
        blake3::Hasher::new_keyed(&key.0).finalize_xof().fill(&mut bytes);
        let (words, _) = bytes.as_chunks::<4>();
        let word = |at: usize| words.get(at).map_or(0, |w| u32::from_le_bytes(*w));
        Self { words: [0, 1, 2, 3].map(|at| word(at) | 1), offset: word(4), finish: word(5) | 1 }
    }
}

/// Cuts streams into chunks.
#[derive(Clone)]
pub struct Chunker {
    keys: CutKeys,
    params: ChunkerParams,
    level: Level,
    /// Length of a chunk of nothing but zeros.
    zeros: usize,
}

impl Chunker {
    /// A chunker for `params` under `chunker_key`.
    ///
    /// # Errors
    /// `Invalid` for parameters out of range.
    pub fn new(chunker_key: &Key32, params: ChunkerParams) -> Result<Self> {
        params.validate()?;
        let (keys, level) = (CutKeys::derive(chunker_key), Level::new());
        let zeros = params.min as usize + scan::smallest(level, &keys, &vec![0; (params.max - params.min) as usize]);
        Ok(Self { keys, params, level, zeros })
    }

    /// Length of the chunks of a long stretch of zeros.
    pub fn zeros(&self) -> usize {
        self.zeros
    }

    /// The sizes.
    pub fn params(&self) -> ChunkerParams {
        self.params
    }

    /// Length of the first chunk of `data`: the whole of it if it is shorter than `max`.
    ///
    /// Unless the stream ends with `data`, at least `max` bytes must be given; the answer then does
    /// not depend on what follows.
    pub fn cut(&self, data: &[u8]) -> usize {
        let (min, max) = (self.params.min as usize, self.params.max as usize);
        if data.len() < max {
            return data.len();
        }
        // The window of the last place ends at `max`, so a chunk that is cut is at least 64 bytes shorter.
        let places = data.get(min..max).unwrap_or_default();
        // Looked for first: where there is content that costs nothing, and zeros are seen as such many times as fast as hashed.
        if is_zero(places) { self.zeros } else { min + scan::smallest(self.level, &self.keys, places) }
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
        assert!(last.len() < 96 << 10);
        assert!(rest.iter().all(|c| (32 << 10..96 << 10).contains(&c.len())));
        let mean = data.len() / all.len();
        assert!((60 << 10..=68 << 10).contains(&mean), "{mean}");
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
    fn content_shorter_than_the_maximum_is_one_chunk() {
        let chunker = Chunker::new(&Key32([1; 32]), ChunkerParams::DEFAULT).expect("valid");
        let data = noise(96 << 10, 6);
        assert_eq!(chunker.cut(&data[1..]), (96 << 10) - 1);
        assert!(chunker.cut(&data) < 96 << 10);
    }

    #[test]
    fn zeros_between_content_do_not_attract_cuts() {
        // Pages whose second half is empty; were zeros the smallest, a cut would hang on the page, not on the content.
        let page = |i: u8| [noise(4096, i), vec![0; 4096]].concat();
        let data: Vec<u8> = (0..=255).flat_map(page).collect();
        let shifted = &data[8192..];
        let in_zeros = |k| {
            let chunker = Chunker::new(&Key32([k; 32]), ChunkerParams::DEFAULT).expect("valid");
            let known: std::collections::HashSet<_> = chunks(&chunker, &data).into_iter().collect();
            chunks(&chunker, shifted).into_iter().filter(|c| !known.contains(c)).count()
        };
        assert!((0..20).all(|k| in_zeros(k) <= 8), "{:?}", (0..20).map(in_zeros).collect::<Vec<_>>());
    }

    #[test]
    fn zeros_are_cut_where_hashing_them_cuts() {
        let chunker = Chunker::new(&Key32([1; 32]), ChunkerParams::DEFAULT).expect("valid");
        let (min, max) = (32 << 10, 96 << 10);
        let mut data = noise(max, 7);
        data[min..].fill(0);
        let hashed = |data: &[u8]| min + scan::smallest(chunker.level, &chunker.keys, &data[min..max]);
        assert_eq!(chunker.cut(&data), hashed(&data));
        assert_eq!(chunker.cut(&data), chunker.zeros());
        data[max - 1] = 1;
        assert_eq!(chunker.cut(&data), hashed(&data));
    }

    #[test]
    fn cut_points_depend_on_the_key() {
        let data = noise(4 << 20, 5);
        let cut = |k| Chunker::new(&Key32([k; 32]), ChunkerParams::DEFAULT).expect("valid").cut(&data);
        assert!((1..20).any(|k| cut(k) != cut(0)));
    }

    #[test]
    fn senseless_sizes_are_refused() {
        for (min, average, max) in [
            (0, 0, 0),
            (1 << 10, 1 << 10, 1 << 10),
            (1 << 10, 3 << 10, 4 << 10),
            (64 << 10, 32 << 10, 128 << 10),
            (1 << 20, 4 << 20, 7 << 20),
        ] {
            assert!(ChunkerParams { min, average, max }.validate().is_err());
        }
    }
}
