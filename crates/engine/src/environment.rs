//! The world an engine call runs in, passed in by whoever assembles the program.

use crate::keys::Identities;
use decube_backup_core::world::{Clock, Entropy};
use decube_backup_core::{Secret, Sink};
use decube_backup_format::keyslot::{KeyFile, RecoveryKey};
use decube_backup_format::parity::Overhead;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a repository is and what the engine may use.
#[derive(Clone)]
pub struct Environment {
    /// The repository's storage.
    pub sink: Arc<dyn Sink>,
    /// Runs the sink's futures; the engine blocks its own threads on it and must not be called from
    /// one of its workers (use `spawn_blocking`).
    pub runtime: tokio::runtime::Handle,
    /// Time for snapshot times and reports.
    pub clock: Arc<dyn Clock>,
    /// Keys, names and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// Where this user's caches live; `None` works without, more slowly. Safe to delete at any time.
    pub cache_dir: Option<PathBuf>,
    /// Where this user's witness files live: what was seen of each repository's log. `None` remembers nothing.
    /// Losing it costs no data, only that a log rolled back or forked meanwhile is not noticed.
    pub witness_dir: Option<PathBuf>,
    /// Who signs records that say nothing else, for the audit trail.
    pub author: Author,
    /// Worker threads per CPU-bound stage; 0 asks the system.
    pub threads: usize,
    /// Parity that every new pack gets, whoever writes it: backup, prune, repair.
    pub parity: Overhead,
}

/// Who does something, as the client says: for people, never for safety.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Author {
    /// Host name.
    pub host: String,
    /// User name.
    pub username: String,
}

/// Workers of a machine with more cores: each holds three segments more, and memory is bounded.
const WORKERS_MAX: usize = 32;

impl Environment {
    /// Worker threads per CPU-bound stage, at least 1; unless a number was asked for, at most [`WORKERS_MAX`].
    pub fn workers(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from).min(WORKERS_MAX),
            n => n,
        }
    }
}

/// What opens a repository.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A passphrase, tried on every passphrase slot.
    Password(Secret<String>),
    /// The key of a key file.
    KeyFile(KeyFile),
    /// The key on a recovery sheet.
    Recovery(RecoveryKey),
    /// Private keys, tried on every slot for a public key.
    Identities(Identities),
}
