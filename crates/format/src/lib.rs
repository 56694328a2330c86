//! Floor 1: the repository format, version 1. Pure and synchronous: bytes in, bytes out.
//!
//! Every decoder is total on hostile bytes and bounded: it returns `Corrupt` or `Unsupported`, never
//! panics, and allocates no more than its input justifies. The byte layouts are in `docs/format.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`ids`] | chunk, pack and repository ids; object keys made from them |
//! | [`wire`] | little-endian cursor and writer, varints: the only place that slices raw input |
//! | [`hash`] | key derivation and keyed content ids |
//!
//! *Deliberately absent*: I/O, clocks, async.

pub mod hash;
pub mod ids;
pub mod wire;
