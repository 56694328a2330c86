//! A check per decoder of `decube-backup-format`: what holds for any bytes whatever.
//!
//! The targets of cargo-fuzz run them on bytes that a fuzzer thought up; `crates/format/tests/fuzz_corpus` includes this file
//! and runs the same checks on seeded mutations of sound objects, in every build.
//!
//! | module | holds |
//! |---|---|
//! | `wrap` | checksums, seals and signatures around bytes that would never get past them |
//! | `checks` | the checks; each says whether the bytes were accepted |

pub mod checks;
pub mod wrap;
