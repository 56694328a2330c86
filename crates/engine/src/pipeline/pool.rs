//! Buffers of segments, used again: a fresh page costs more than compressing what is in it.

use crate::segments::locked;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

/// Buffers kept for reuse at most.
const POOLED_MAX: usize = 4;

/// Buffers waiting for reuse.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// An empty buffer for `len` bytes: the smallest there is, of those the one given back last.
    pub(super) fn take(&self, len: usize) -> Buffer {
        // What a compressor reserves beyond its input, or not, decides nothing.
        let len = len.next_power_of_two();
        let mut buffers = locked(&self.0);
        let fitting = buffers.iter().enumerate().rev().filter(|(_, buffer)| buffer.capacity() >= len);
        let best = fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(at, _)| at);
        let mut buffer = best.map(|at| buffers.remove(at)).unwrap_or_default();
        drop(buffers);
        buffer.clear();
        buffer.reserve_exact(len);
        self.adopt(buffer)
    }

    /// A buffer from elsewhere, as one of this pool.
    pub(super) fn adopt(&self, bytes: Vec<u8>) -> Buffer {
        Buffer { bytes, home: self.clone() }
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut buffers = locked(&self.0);
        // Adopted ones may be of sizes nobody asks for.
        if buffers.len() >= POOLED_MAX {
            buffers.remove(0);
        }
        buffers.push(buffer);
    }
}

/// A buffer of a pool; goes back there when it is dropped.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Pool,
}

impl Buffer {
    /// The buffer, to stay with the caller.
    pub(super) fn keep(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > 0 {
            self.home.give(bytes);
        }
    }
}

/// Buffers for segments; apart, because they are as long and touched to different lengths.
#[derive(Clone, Default)]
pub(super) struct Pools {
    /// Being filled, or waiting for a compressor.
    pub raw: Pool,
    /// Compressed.
    pub packed: Pool,
    /// Segments as other packs had them.
    pub whole: Pool,
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
        drop(small);
        drop(large);
        let small = pool.take((1 << 20) - 5);
        assert_eq!((small.as_ptr(), small.len()), (small_at, 0));
        large = pool.take((4 << 20) - 70_000);
        assert_eq!(large.as_ptr(), large_at);
        assert!(pool.take(10).capacity() < 100);
        // What a compressor reserves beyond the input keeps a buffer in its class.
        large.reserve_exact((4 << 20) + 20_000);
        let grown_at = large.as_ptr();
        drop(large);
        let large = pool.take(4 << 20);
        assert_eq!(large.as_ptr(), grown_at);
        // One that is kept, or was never filled, is not missed.
        let before = locked(&pool.0).len();
        let kept = large.keep();
        assert_eq!(kept.as_ptr(), grown_at);
        drop(pool.adopt(Vec::new()));
        assert_eq!(locked(&pool.0).len(), before);
        for _ in 0..2 * POOLED_MAX {
            drop(pool.adopt(vec![0; 10]));
        }
        assert_eq!(locked(&pool.0).len(), POOLED_MAX);
    }
}
