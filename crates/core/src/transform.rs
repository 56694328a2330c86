//! Invertible bytes → bytes on a segment.
//!
//! The format settles which step comes when, and there are no others: a segment is stored or one zstd frame, as its codec byte
//! in the pack's footer says, and then sealed by the cipher that the pack's header names (docs/format/pack.md). The cipher
//! implements this trait; the pipeline calls it, and the codec, by their own types, which reuse their buffers.
//!
//! # Contract
//! 1. **Invertible.** In one context, `invert` of what `apply` appended gives back the input, byte for byte.
//! 2. **Appends.** What `output` holds before stays as it is; after an error what was appended is to be thrown away.
//! 3. **Total.** `apply` takes any input. `invert` takes hostile bytes: `Corrupt`, never a panic.
//! 4. **Bounded.** `invert` appends at most `len_max` bytes, and takes no more memory than that and its input justify.
//! 5. **Bound to its place.** A step that authenticates refuses under any other key, segment number or associated bytes.
//! 6. **Pure.** No I/O, no clock, no chance, nothing kept between calls: the same in, the same out.

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
    /// Stable name, as in configuration: `zstd`, `aes-256-gcm`.
    fn name(&self) -> &'static str;

    /// Appends the transformed `input` to `output` (contracts 1–3).
    ///
    /// # Errors
    /// `Internal` only: any input can be transformed.
    fn apply(&self, context: &SegmentContext<'_>, input: &[u8], output: &mut Vec<u8>) -> Result<()>;

    /// Appends the original of `input` to `output`, never more than `len_max` bytes (contracts 1–5).
    ///
    /// # Errors
    /// `Corrupt` if `input` is not what `apply` made in this context.
    fn invert(&self, context: &SegmentContext<'_>, input: &[u8], len_max: usize, output: &mut Vec<u8>) -> Result<()>;
}
