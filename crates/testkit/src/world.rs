//! A clock that is moved by hand and entropy from a seed: equal runs give equal bytes.

use decube_backup_core::world::{Clock, Entropy};
use decube_backup_core::{Result, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct StepClock {
    start: Timestamp,
    elapsed_ns: AtomicU64,
    step_ns: u64,
}

impl StepClock {
    /// A clock that shows `start` until [`StepClock::advance`].
    pub fn fixed(start: Timestamp) -> Self {
        Self { start, elapsed_ns: AtomicU64::new(0), step_ns: 0 }
    }

    /// A clock that moves by `step` after every reading, so that no two readings are equal.
    pub fn stepping(start: Timestamp, step: Duration) -> Self {
        Self { start, elapsed_ns: AtomicU64::new(0), step_ns: nanoseconds(step) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.elapsed_ns.fetch_add(nanoseconds(by), Ordering::SeqCst);
    }

    fn read(&self) -> u64 {
        self.elapsed_ns.fetch_add(self.step_ns, Ordering::SeqCst)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock for StepClock {
    fn now(&self) -> Timestamp {
        let total = u128::from(self.start.nanoseconds) + u128::from(self.read());
        let seconds = i64::try_from(total / 1_000_000_000).unwrap_or(i64::MAX);
        Timestamp { seconds: self.start.seconds.saturating_add(seconds), nanoseconds: (total % 1_000_000_000) as u32 }
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.read())
    }
}

/// Bytes that follow from a seed and the order of the calls. Never for secrets.
///
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014 (SplitMix64).
#[derive(Debug)]
pub struct SeededEntropy {
    state: AtomicU64,
}

impl SeededEntropy {
    /// A stream of bytes fixed by `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// The next 64 bits of the stream.
    pub fn next_u64(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(GAMMA, Ordering::SeqCst).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buf: &mut [u8]) -> Result<()> {
        for piece in buf.chunks_mut(8) {
            for (to, from) in piece.iter_mut().zip(self.next_u64().to_le_bytes()) {
                *to = from;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_when_moved() {
        let clock = StepClock::fixed(Timestamp { seconds: 10, nanoseconds: 900_000_000 });
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_millis(200));
        assert_eq!(clock.now(), Timestamp { seconds: 11, nanoseconds: 100_000_000 });
        assert_eq!(clock.monotonic(), Duration::from_millis(200));
        let clock = StepClock::stepping(Timestamp { seconds: 0, nanoseconds: 0 }, Duration::from_secs(1));
        assert_eq!((clock.now().seconds, clock.now().seconds), (0, 1));
    }

    #[test]
    fn one_seed_gives_one_stream() {
        let draw = |seed| {
            let mut buf = [0u8; 19];
            SeededEntropy::new(seed).fill(&mut buf).expect("never fails");
            buf
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
