//! One bit for each entry of the index.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits that are set through a shared reference; an eighth of a byte each.
pub struct Bitmap {
    words: Vec<AtomicU64>,
}

impl Bitmap {
    /// `bits` bits, none set.
    pub fn new(bits: u64) -> Self {
        Self { words: (0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    fn word(&self, at: u64) -> Option<(&AtomicU64, u64)> {
        let word = self.words.get(usize::try_from(at / 64).unwrap_or(usize::MAX))?;
        Some((word, 1 << (at % 64)))
    }

    /// Whether bit `at` is set.
    pub fn has(&self, at: u64) -> bool {
        self.word(at).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Sets bit `at`; whether it was not set before.
    pub fn set(&self, at: u64) -> bool {
        self.word(at).is_some_and(|(word, bit)| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    /// Clears bit `at`; whether it was set before.
    pub fn take(&self, at: u64) -> bool {
        self.word(at).is_some_and(|(word, bit)| word.fetch_and(!bit, Ordering::Relaxed) & bit != 0)
    }

    /// Clears all bits.
    pub fn clear(&mut self) {
        self.words.iter_mut().for_each(|word| *word.get_mut() = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Bitmap;

    #[test]
    fn a_bit_is_new_once_and_is_taken_once() {
        let mut bits = Bitmap::new(130);
        for at in [0, 63, 64, 129] {
            assert!(!bits.has(at) && bits.set(at) && !bits.set(at) && bits.has(at), "{at}");
        }
        assert!(bits.take(64) && !bits.take(64) && !bits.has(64) && bits.has(63));
        bits.clear();
        assert!([0, 63, 64, 129].iter().all(|at| !bits.has(*at)));
        assert!(!bits.set(1000), "beyond the end nothing is ever set");
    }
}
