//! Invertible bytes → bytes on a segment.
//!
//! A pack names the chain of transforms applied to its segments; reading inverts it from the last to
//! the first. Ids below 0x1000 belong to the format; third parties take others and never reuse one.

use crate::error::Result;

/// What a transform may bind its output to.
#[derive(Clone, Copy, Debug)]
pub struct SegmentContext<'a> {
    /// The pack's own key, 32 bytes; never used for anything else.
    pub key: &'a [u8; 32],
    /// Position of the segment in its pack: unique per key, usable as a nonce.
    pub segment: u32,
    /// Bytes to authenticate with the segment.
    pub associated: &'a [u8],
}

/// One invertible step.
pub trait Transform: Send + Sync + 'static {
    /// Stable number, stored in pack headers.
    fn id(&self) -> u16;

    /// Stable name, as in configuration: `zstd`, `aes-256-gcm`.
    fn name(&self) -> &'static str;

    /// Appends the transformed `input` to `output`.
    ///
    /// # Errors
    /// `Internal` only: any input can be transformed.
    fn apply(&self, context: &SegmentContext<'_>, input: &[u8], output: &mut Vec<u8>) -> Result<()>;

    /// Appends the original of `input` to `output`, never more than `len_max` bytes.
    ///
    /// # Errors
    /// `Corrupt` if `input` is not what `apply` made in this context.
    fn invert(&self, context: &SegmentContext<'_>, input: &[u8], len_max: usize, output: &mut Vec<u8>) -> Result<()>;
}
