//! Compression of segments: zstd, and a probe that spares it the hopeless.
//!
//! Parameters: strategy `fast`, window = segment size, 2^18-entry hash table, match length 7. On the
//! bench corpora this beats zstd's own level 3 in speed everywhere and in size on page files and small
//! files (docs/adr/0009); a match length of 7 is what finds rows, records and lines that repeat
//! megabytes apart. Content that shrinks to a fifth is searched in larger steps: there is little left
//! to gain.

use crate::wire::corrupt;
use decube_backup_core::{Error, ErrorKind, Result};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, Strategy, compress_bound};

/// How a segment is stored before sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// From its byte.
    ///
    /// # Errors
    /// `Unsupported` for an unknown codec.
    pub fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Zstd),
            other => Err(Error::new(ErrorKind::Unsupported, "decode", "unknown compression").with("codec", other)),
        }
    }
}

/// Largest window a reader accepts: 2^27 bytes, so that a hostile frame cannot ask for more.
const WINDOW_LOG_MAX: u32 = 27;

fn internal(what: &'static str, code: usize) -> Error {
    Error::new(ErrorKind::Internal, what, zstd::zstd_safe::get_error_name(code))
}

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// The measured default of this module.
    Balanced,
    /// zstd's own level, 1–19.
    Level(i32),
}

/// Segments that shrink to one part in so many are easy, and so, most likely, is the next.
const EASY_RATIO: usize = 5;
/// Search step in easy content, zstd's `targetLength` for strategy `fast`: an eighth less time for 5 % more of what is little.
const EASY_STEP: u32 = 2;
/// Binary logarithms of how many places are remembered: in easy content, which is made of what repeats far apart, and in other.
const HASH_LOGS: (u32, u32) = (18, 17);
/// Shorter ones, bytes, say nothing of the next.
const TELLING_BYTES_MIN: usize = 1 << 20;

/// A reusable compressor; one per worker.
pub struct Compressor {
    context: CCtx<'static>,
    effort: Effort,
    /// Whether the last telling segment was easy.
    easy: bool,
}

impl Compressor {
    /// A compressor for segments of up to `segment_bytes`.
    ///
    /// # Errors
    /// `Internal` if zstd refuses the parameters.
    pub fn new(effort: Effort, segment_bytes: usize) -> Result<Self> {
        let mut context = CCtx::create();
        let window = (usize::BITS - segment_bytes.max(1).next_power_of_two().leading_zeros() - 1).clamp(17, 23);
        let mut set = |parameter| context.set_parameter(parameter).map_err(|code| internal("compressor", code));
        match effort {
            Effort::Level(level) => {
                set(CParameter::CompressionLevel(level))?;
            }
            Effort::Balanced => {
                set(CParameter::CompressionLevel(1))?;
                set(CParameter::Strategy(Strategy::ZSTD_fast))?;
                set(CParameter::MinMatch(7))?;
            }
        }
        set(CParameter::WindowLog(window))?;
        set(CParameter::ContentSizeFlag(true))?;
        set(CParameter::ChecksumFlag(false))?;
        Ok(Self { context, effort, easy: false })
    }

    /// Replaces `output` by a frame of `input`.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        let is_telling = input.len() >= TELLING_BYTES_MIN;
        if self.effort == Effort::Balanced {
            let (step, log) = if self.easy && is_telling { (EASY_STEP, HASH_LOGS.0) } else { (0, HASH_LOGS.1) };
            for parameter in [CParameter::TargetLength(step), CParameter::HashLog(log)] {
                self.context.set_parameter(parameter).map_err(|code| internal("compressor", code))?;
            }
        }
        output.clear();
        output.reserve_exact(compress_bound(input.len()));
        let len = self.context.compress2(output, input).map_err(|code| internal("compress", code))?;
        if is_telling {
            self.easy = len * EASY_RATIO <= input.len();
        }
        Ok(())
    }
}

/// A reusable decompressor; one per worker.
pub struct Decompressor {
    context: DCtx<'static>,
}

impl Decompressor {
    /// A decompressor that refuses frames wanting more than 128 MiB of window.
    ///
    /// # Errors
    /// `Internal` if zstd refuses the bound.
    pub fn new() -> Result<Self> {
        let mut context = DCtx::create();
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(|code| internal("decompressor", code))?;
        Ok(Self { context })
    }

    /// Replaces `output` by the original of the frame `input`, exactly `len` bytes.
    ///
    /// # Errors
    /// `Corrupt` if the frame is damaged or holds another length.
    pub fn decompress(&mut self, input: &[u8], len: usize, output: &mut Vec<u8>) -> Result<()> {
        output.clear();
        output.reserve_exact(len);
        match self.context.decompress(output, input) {
            Ok(n) if n == len => Ok(()),
            _ => Err(corrupt("zstd frame")),
        }
    }
}

/// Whether a chunk looks like ciphertext or already compressed data.
///
/// Counts byte collisions in four spread samples of 512 bytes: for uniform bytes the sum of squared
/// counts over n samples is about n + n²/256. Chunks under 8 KiB are always tried. Uniform bytes that
/// repeat in larger patterns are missed; deduplication finds most of those.
pub fn looks_incompressible(chunk: &[u8]) -> bool {
    const SAMPLE: usize = 512;
    const SAMPLES: usize = 4;
    if chunk.len() < 8 << 10 {
        return false;
    }
    let mut counts = [0u16; 256];
    let step = (chunk.len() - SAMPLE) / (SAMPLES - 1);
    for sample in 0..SAMPLES {
        for &byte in chunk.iter().skip(sample * step).take(SAMPLE) {
            counts[usize::from(byte)] += 1;
        }
    }
    let n = (SAMPLE * SAMPLES) as u32;
    let squares: u32 = counts.iter().map(|&c| u32::from(c) * u32::from(c)).sum();
    squares < n + n * n / 256 + n * n / 2048
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_lengths_are_checked() {
        let input: Vec<u8> = (0..300_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for effort in [Effort::Balanced, Effort::Level(3)] {
            let mut frame = Vec::new();
            Compressor::new(effort, 4 << 20).expect("valid").compress(&input, &mut frame).expect("compresses");
            assert!(frame.len() < input.len() / 2);
            let mut output = Vec::new();
            let mut decompressor = Decompressor::new().expect("valid");
            decompressor.decompress(&frame, input.len(), &mut output).expect("round trip");
            assert_eq!(output, input);
            assert!(decompressor.decompress(&frame, input.len() - 1, &mut output).is_err());
            assert!(decompressor.decompress(&frame, input.len() + 1, &mut output).is_err());
        }
    }

    #[test]
    fn the_buffer_of_a_frame_is_used_for_the_next() {
        let mut compressor = Compressor::new(Effort::Balanced, 1 << 20).expect("valid");
        let mut frame = Vec::new();
        compressor.compress(&[7; 1 << 20], &mut frame).expect("compresses");
        let (at, capacity) = (frame.as_ptr(), frame.capacity());
        compressor.compress(&[8; 1 << 20], &mut frame).expect("compresses");
        assert_eq!((frame.as_ptr(), frame.capacity()), (at, capacity));
        let mut back = Vec::new();
        Decompressor::new().expect("valid").decompress(&frame, 1 << 20, &mut back).expect("one frame, the last");
        assert!(back.iter().all(|&byte| byte == 8));
    }

    #[test]
    fn easy_content_costs_little_more_and_the_next_hard_segment_nothing() {
        let mut noise = vec![0; 2 << 20];
        blake3::Hasher::new_keyed(&[9; 32]).finalize_xof().fill(&mut noise);
        let rows = |step: usize| noise.chunks(step).flat_map(|row| [row, &[0; 120][..]].concat()).collect::<Vec<_>>();
        let (easy, hard) = (rows(20), rows(1000));
        let len = |compressor: &mut Compressor, input: &[u8]| {
            let mut frame = Vec::new();
            compressor.compress(input, &mut frame).expect("compresses");
            frame.len()
        };
        let fresh = || Compressor::new(Effort::Balanced, 4 << 20).expect("valid");
        let mut compressor = fresh();
        let (first, second) = (len(&mut compressor, &easy), len(&mut compressor, &easy));
        assert!(compressor.easy && second <= first + first / 10, "{first} {second} of {}", easy.len());
        len(&mut compressor, &hard);
        assert!(!compressor.easy);
        assert_eq!(len(&mut compressor, &hard), len(&mut fresh(), &hard));
        // A short one is compressed as hard as ever, and changes no mind.
        len(&mut compressor, &easy);
        assert_eq!(len(&mut compressor, &hard[..100_000]), len(&mut fresh(), &hard[..100_000]));
        assert!(compressor.easy);
    }

    #[test]
    fn the_probe_tells_noise_from_text_and_skewed_bytes() {
        let mut noise = vec![0; 64 << 10];
        blake3::Hasher::new_keyed(&[9; 32]).finalize_xof().fill(&mut noise);
        assert!(looks_incompressible(&noise));
        let skewed: Vec<u8> = noise.iter().map(|b| b % 64).collect();
        assert!(!looks_incompressible(&skewed));
        assert!(!looks_incompressible(&vec![7; 64 << 10]));
        assert!(!looks_incompressible(&noise[..4096]));
    }
}
