//! How long the tests that search go on, and from where.

use std::hash::{BuildHasher, RandomState};

/// `usual`, times what `cargo xtask prove` asks for.
pub fn times(usual: u32) -> u32 {
    usual * number("DECUBE_BACKUP_EFFORT").map_or(1, |effort| effort as u32)
}

/// The one that is asked for, as printed; another one each time for `cargo xtask prove`. Else always the same: one commit
/// gets one verdict.
pub fn seed() -> u64 {
    let usual = || match number("DECUBE_BACKUP_EFFORT") {
        Some(_) => RandomState::new().hash_one(0),
        None => 0x2026_1123,
    };
    number("DECUBE_BACKUP_SEED").unwrap_or_else(usual)
}

#[allow(clippy::disallowed_methods)] // a test has nobody who could hand it over
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
}
