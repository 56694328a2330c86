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
//! | [`chunker`] | content-defined chunking under a secret key |
//! | [`codec`] | compression of segments and the probe before it |
//! | [`seal`] | authenticated encryption of segments |
//! | [`pack`] | segments in one object, with table of contents, padding and plain hash |
//! | [`parity`] | what brings damaged stretches of a pack back |
//! | [`header`] | the plain object `format` |
//! | [`sealed`] | sealing of small objects |
//! | [`keyslot`] | slots around the keyring key: password, key file, recovery sheet, public key |
//! | [`keyring`] | every secret of a repository |
//! | [`reading`] | sealing for who may read, by who may not |
//! | [`host`] | what a write-only key holds |
//! | [`manifest`] | what a snapshot is |
//! | [`log`] | commit records: plain signed envelope, sealed payload |
//! | [`checkpoint`] | the folded log |
//! | [`index`] | tables of contents of several packs in one object |
//! | [`tree`] | the tree of a snapshot: nodes, builder, cursor, diff, extent lists |
//!
//! *Deliberately absent*: I/O, clocks, async.

pub mod checkpoint;
pub mod chunker;
pub mod codec;
pub mod hash;
pub mod header;
pub mod host;
pub mod ids;
pub mod index;
pub mod keyring;
pub mod keyslot;
pub mod log;
pub mod manifest;
pub mod pack;
pub mod parity;
pub mod reading;
pub mod seal;
pub mod sealed;
pub mod tree;
pub mod wire;
