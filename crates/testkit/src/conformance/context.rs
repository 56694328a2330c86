//! What a check is given, and how it says what it found.

use bytes::Bytes;
use decube_backup_core::limits::OBJECT_BYTES_MAX;
use decube_backup_core::sink::{ByteRange, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::world::{Entropy, SystemEntropy};
use decube_backup_core::{Key, Result};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::world::SeededEntropy;

/// How thorough a run is.
#[derive(Clone)]
pub struct Options {
    /// Makes the random prefix.
    pub entropy: Arc<dyn Entropy>,
    /// Size of the largest object put, bytes.
    pub object_bytes_max: usize,
    /// Objects put for the check of complete listings; more than one page of the store (S3: 1000).
    pub list_objects: usize,
    /// Rounds of every check that hopes to provoke a race.
    pub race_rounds: usize,
    /// How long listings and dropped calls are given to settle before they are judged.
    pub settle: Duration,
    /// How long one check may take before it counts as stuck.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            entropy: Arc::new(SystemEntropy),
            object_bytes_max: OBJECT_BYTES_MAX,
            list_objects: 1100,
            race_rounds: 16,
            settle: Duration::from_millis(50),
            patience: Duration::from_secs(900),
        }
    }
}

/// One thing that is not as the contract says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding(pub String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Collects what a check finds.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Notes one finding.
    pub fn add(&mut self, text: impl Into<String>) {
        self.0.push(Finding(text.into()));
    }

    /// Notes a finding unless `got` is `want`.
    pub fn equal<T: PartialEq + fmt::Debug>(&mut self, what: impl fmt::Display, got: T, want: T) {
        if got != want {
            self.add(format!("{what}: got {got:?}, want {want:?}"));
        }
    }

    /// Notes a finding unless `got` is exactly `want`; names lengths and the first difference, not bytes.
    pub fn same_bytes(&mut self, what: impl fmt::Display, got: Option<&[u8]>, want: &[u8]) {
        match got {
            None => self.add(format!("{what}: the object is absent")),
            Some(got) if got == want => {}
            Some(got) => {
                let at = got.iter().zip(want).position(|(a, b)| a != b);
                let at = at.map_or_else(|| "one is the start of the other".to_owned(), |at| format!("at byte {at}"));
                self.add(format!("{what}: bytes differ ({at}), got {} bytes, want {}", got.len(), want.len()));
            }
        }
    }

    /// All findings; an error that ended the check early is one of them.
    pub fn finish(mut self, ended: Result<()>) -> Vec<Finding> {
        if let Err(error) = ended {
            self.add(format!("unexpected error: {error:?}"));
        }
        self.0
    }
}

/// A sink and a prefix of its own for one check.
#[derive(Clone)]
pub struct CheckContext {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) prefix: String,
    pub(super) options: Options,
}

impl CheckContext {
    /// The sink; it refuses to change anything outside [`CheckContext::prefix`].
    pub fn sink(&self) -> &Arc<dyn Sink> {
        &self.sink
    }

    /// Start of every key the check may use, with a `/` at the end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How thorough to be.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The key `name` below the prefix.
    ///
    /// # Errors
    /// `Invalid` if `name` is not part of a legal key.
    pub fn key(&self, name: &str) -> Result<Key> {
        Key::new(format!("{}{name}", self.prefix))
    }

    /// Puts `bytes` where nothing is, and notes anything but `Created`.
    pub(super) async fn create(&self, f: &mut Findings, key: &Key, bytes: impl Into<Rope>) -> Result<()> {
        // A store without conditional create is still checked for everything else.
        let mode = match self.sink.capabilities().conditional_create {
            decube_backup_core::sink::Support::Yes => PutMode::CreateNew,
            decube_backup_core::sink::Support::No => PutMode::Overwrite,
        };
        let outcome = self.sink.put(key, bytes.into(), mode).await?;
        f.equal(format!("put of {key}"), outcome, PutOutcome::Created);
        Ok(())
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.sink.get(key, ByteRange::Full).await
    }
}

/// `len` bytes without a pattern that a wrong offset could hide in.
pub(super) fn noise(seed: u64, len: usize) -> Bytes {
    let entropy = SeededEntropy::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&entropy.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}
