//! Clock and entropy, passed in so that tests own them.
//!
//! Time is for people and policy (snapshot times, progress, racy-change margins). No safety argument
//! in this system rests on a clock.

use crate::entry::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// Wall and monotonic time.
pub trait Clock: Send + Sync + 'static {
    /// Now, as the host believes.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
}

/// Unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `buf`.
    ///
    /// # Errors
    /// The operating system has no entropy to give; nothing secret may be made then.
    fn fill(&self, buf: &mut [u8]) -> Result<()>;
}

/// The host's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// Monotonic time starts here.
    #[allow(clippy::disallowed_methods)] // the one place that may ask the host
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        jiff::Timestamp::now().into()
    }
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The operating system's random source.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buf: &mut [u8]) -> Result<()> {
        getrandom::fill(buf)
            .map_err(|e| Error::new(ErrorKind::Internal, "entropy", format!("no random bytes from the system: {e}")))
    }
}
