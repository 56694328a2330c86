//! Typed configuration sections.
//!
//! The CLI reads one file and hands each backend its own subtree; the backend declares a serde type
//! with `deny_unknown_fields`, so an unknown key is an error that names it.

use crate::error::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

/// A subtree of the configuration with the place it came from.
#[derive(Clone, Debug)]
pub struct Section {
    origin: String,
    value: serde_json::Value,
}

impl Default for Section {
    fn default() -> Self {
        Self { origin: "defaults".into(), value: serde_json::Value::Object(serde_json::Map::new()) }
    }
}

impl Section {
    /// `value` found at `origin` (`file.yaml: backup.sinks.main`).
    pub fn new(origin: impl Into<String>, value: serde_json::Value) -> Self {
        Self { origin: origin.into(), value }
    }

    /// Where it came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The section as `T`.
    ///
    /// # Errors
    /// `Invalid` with the origin and the key or value that does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.value).map_err(|e| {
            Error::new(ErrorKind::Invalid, "config", format!("configuration does not fit: {e}"))
                .with("at", &self.origin)
        })
    }
}
