//! How long the tests that search go on, and from where.

use std::hash::{BuildHasher, RandomState};

/// `usual`, times what `cargo xtask prove` asks for.
pub fn times(usual: u32) -> u32 {
    usual * number("DECUBE_BACKUP_EFFORT").map_or(1, |effort| effort as u32)
}

/// Another one each time, or the one that is asked for, as printed.
pub fn seed() -> u64 {
    number("DECUBE_BACKUP_SEED").unwrap_or_else(|| RandomState::new().hash_one(0))
}

#[allow(clippy::disallowed_methods)] // a test has nobody who could hand it over
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
}
