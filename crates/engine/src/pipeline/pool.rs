//! Buffers of segments, used again: a fresh page costs more than compressing what is in it.

use crate::segments::locked;
use decube_backup_format::codec::Codec;
use std::sync::{Arc, Mutex};

/// Buffers kept for reuse at most.
const POOLED_MAX: usize = 8;

/// Buffers waiting for reuse.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// An empty buffer for `len` bytes: the smallest there is, of those the one given last.
    pub(super) fn take(&self, len: usize) -> Vec<u8> {
        // What a compressor reserves beyond its input, or not, decides nothing.
        let len = len.next_power_of_two();
        let mut buffers = locked(&self.0);
        let fitting = buffers.iter().enumerate().rev().filter(|(_, buffer)| buffer.capacity() >= len);
        let best = fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(at, _)| at);
        let mut buffer = best.map(|at| buffers.remove(at)).unwrap_or_default();
        drop(buffers);
        buffer.clear();
        buffer.reserve_exact(len);
        buffer
    }

    /// Keeps a buffer for others.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        let mut buffers = locked(&self.0);
        // Segments that come whole bring buffers nobody here took, of sizes nobody may ask for.
        if buffers.len() >= POOLED_MAX {
            buffers.remove(0);
        }
        buffers.push(buffer);
    }
}

/// Buffers for segments, apart because compressed ones are as long and hardly touched.
#[derive(Clone, Default)]
pub(super) struct Pools {
    pub raw: Pool,
    pub packed: Pool,
}

impl Pools {
    /// Those of segments encoded by `codec`.
    pub(super) fn of(&self, codec: Codec) -> &Pool {
        match codec {
            Codec::Stored => &self.raw,
            Codec::Zstd => &self.packed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_to_who_needs_one_of_its_size() {
        let pool = Pool::default();
        let (mut large, mut small) = (pool.take(4 << 20), pool.take(1 << 20));
        small.push(1);
        let (large_at, small_at) = (large.as_ptr(), small.as_ptr());
        pool.give(small);
        pool.give(large);
        let small = pool.take((1 << 20) - 5);
        assert_eq!((small.as_ptr(), small.len()), (small_at, 0));
        large = pool.take((4 << 20) - 70_000);
        assert_eq!(large.as_ptr(), large_at);
        assert!(pool.take(10).capacity() < 100);
        // What a compressor reserves beyond the input keeps a buffer in its class.
        large.reserve_exact((4 << 20) + 20_000);
        let grown_at = large.as_ptr();
        pool.give(large);
        let large = pool.take(4 << 20);
        assert_eq!(large.as_ptr(), grown_at);
        for _ in 0..2 * POOLED_MAX {
            pool.give(Vec::new());
        }
        assert_eq!(locked(&pool.0).len(), POOLED_MAX);
    }
}
