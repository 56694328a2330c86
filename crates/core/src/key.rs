//! Object names inside a sink.
//!
//! A key is 1–255 bytes of `[a-z0-9._/-]`: segments of 1–100 bytes joined by `/`, none of them `.`
//! or `..` or starting with a dot. So every key is a legal, case-safe relative path on every file
//! system and a legal object name on every store, and a hostile listing cannot leave the repository.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// A validated object name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Longest key, bytes.
    pub const LEN_MAX: usize = 255;

    /// Validates `name`.
    ///
    /// # Errors
    /// `Invalid` if a rule of the module docs is broken.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if Self::is_valid(&name) {
            Ok(Self(name))
        } else {
            Err(Error::new(ErrorKind::Invalid, "key", "not a legal object name").with("key", format!("{name:?}")))
        }
    }

    fn is_valid(name: &str) -> bool {
        name.len() <= Self::LEN_MAX
            && name.split('/').all(|segment| {
                (1..=100).contains(&segment.len())
                    && !segment.starts_with('.')
                    && segment.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
            })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn keys_cannot_leave_the_repository() {
        for bad in ["", "/", "a//b", "../x", "a/../b", ".tmp", "A", "a\\b", "a/", "/a", "é"] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        for good in ["format", "log/0000000000000001", "packs/d/ab/0123-x_y.z"] {
            assert!(Key::new(good).is_ok(), "{good:?}");
        }
    }
}
