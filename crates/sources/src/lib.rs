//! Floor 1: sources other than file systems.
//!
//! | module | holds |
//! |---|---|
//! | [`stream`] | one file whose content comes through a pipe, such as standard input |
//!
//! *Deliberately absent*: where a stream comes from, and what it is called; that is the caller's.

pub mod stream;
