//! What this user has seen of a repository's log, remembered outside the repository.
//!
//! A store that shows an old state, or another continuation of it, shows a valid log; only who has seen a later record
//! can tell. So every client remembers the highest record it has seen, and its hash, in a small file of its own beside
//! (not in) the cache: clearing a cache must not blind it.
//!
//! *Invariant*: the file is read before the log and written after folding it. Records are visible to everyone before
//! their writer remembers them, so a log that lacks what is remembered was rolled back; there is no false alarm.
//!
//! Losing the file is harmless. So is a stale one: it only ever asks for less.

use super::Repository;
use super::cache::write_atomically;
use crate::store::is_unreadable;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::ids::{ChunkId, RepositoryId, hex, log_key};
use std::path::{Path, PathBuf};

const MAGIC: &str = "decube-backup-witness-1";

/// For a write-only key, which reads no record.
const HOST_HINT: &str = "nothing was changed; if somebody put back an older copy on purpose, and said so to whoever runs this host, \
                         `decube-backup audit --accept` goes on with it, with this key too; else do not trust this storage";

/// How a log stands to what was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WitnessStatus {
    /// Nothing is remembered.
    Unknown,
    /// The log holds the record seen.
    Agrees {
        /// Number of that record.
        seen: u64,
    },
    /// The log ends before the record seen.
    RolledBack {
        /// Number of the record seen.
        seen: u64,
        /// How many records there are now.
        records: u64,
    },
    /// The log has another record in that place.
    Forked {
        /// Number of the record seen.
        seen: u64,
    },
}

impl WitnessStatus {
    /// What to say of a log that is not the one seen before; `None` if there is nothing to say.
    pub fn to_error(self) -> Option<Error> {
        let error = match self {
            Self::Unknown | Self::Agrees { .. } => return None,
            Self::RolledBack { seen, records } => Error::new(
                ErrorKind::Diverged,
                "open",
                "the repository was rolled back: its log ends before a record this host has seen",
            )
            .with("seen", seen)
            .with("records", records),
            Self::Forked { seen } => Error::new(
                ErrorKind::Diverged,
                "open",
                "the repository was forked: its log has another record than this host has seen",
            )
            .with("seen", seen),
        };
        Some(error.with_hint(
            "nothing was changed; if somebody put back an older copy on purpose, `decube-backup audit` shows what it holds and \
             `decube-backup audit --accept` goes on with it; else do not trust this storage: use a replica",
        ))
    }
}

/// A record that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub seq: u64,
    pub hash: [u8; 32],
}

fn path_of(dir: &Path, repository: &RepositoryId) -> PathBuf {
    dir.join(format!("{repository}.witness"))
}

fn encode(repository: &RepositoryId, seen: &Seen) -> String {
    let body = format!("{MAGIC} {repository} {} {}", seen.seq, hex(&seen.hash));
    format!("{body} {}\n", check_of(&body))
}

fn check_of(body: &str) -> String {
    blake3::hash(body.as_bytes()).to_hex().chars().take(16).collect()
}

fn decode(text: &str, repository: &RepositoryId) -> Option<Seen> {
    let (body, check) = text.trim_end().rsplit_once(' ')?;
    let mut fields = body.split(' ');
    let (magic, id, seq, hash) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let whole = magic == MAGIC && id == repository.to_hex() && fields.next().is_none() && check == check_of(body);
    whole.then_some(Seen { seq: seq.parse().ok()?, hash: ChunkId::from_hex(hash).ok()?.0 })
}

/// What is remembered of `repository`.
pub(super) fn read(dir: &Path, repository: &RepositoryId) -> Option<Seen> {
    let path = path_of(dir, repository);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(%error, path = %path.display(), "the witness file cannot be read; going on without");
            }
            return None;
        }
    };
    let seen = decode(&text, repository);
    if seen.is_none() {
        tracing::warn!(path = %path.display(), "the witness file is damaged; going on without, and writing it anew");
    }
    seen
}

impl Repository {
    /// How the log as it was read stands to what is remembered in `dir`.
    ///
    /// # Errors
    /// The record seen cannot be read.
    pub fn witness_status(&self, dir: &Path) -> Result<WitnessStatus> {
        self.compare(read(dir, &self.id()))
    }

    /// Remembers the log as it is, whatever was seen before.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn accept_history(&self, dir: &Path) -> Result<()> {
        let Some(seen) = self.newest() else { return Ok(()) };
        let path = path_of(dir, &self.id());
        let failed = |e| Error::io("witness", "cannot write the witness file", e).with("file", path.display());
        std::fs::create_dir_all(dir).map_err(failed)?;
        let temporary = super::Temporary::beside(&path);
        std::fs::write(temporary.temp(), encode(&self.id(), &seen)).map_err(failed)?;
        temporary.replace().map_err(failed)
    }

    pub(super) fn seen_before(&self) -> Option<Seen> {
        read(self.env.witness_dir.as_deref()?, &self.id())
    }

    /// Refuses a log that is not the one seen before.
    pub(super) fn check_seen(&self, seen: Option<Seen>) -> Result<()> {
        let Some(error) = self.compare(seen)?.to_error() else { return Ok(()) };
        Err(if self.host().is_none() { error } else { error.with_hint(HOST_HINT) })
    }

    fn compare(&self, seen: Option<Seen>) -> Result<WitnessStatus> {
        let Some(Seen { seq, hash }) = seen else { return Ok(WitnessStatus::Unknown) };
        let (state, damaged) = (self.state(), self.damaged_records());
        if damaged.contains(&seq) {
            // Damage is named by itself.
            return Ok(WitnessStatus::Unknown);
        }
        let there = match state.next_seq() {
            records if records <= seq => return Ok(WitnessStatus::RolledBack { seen: seq, records }),
            records if records == seq + 1 => state.hash(),
            _ => match self.store.get_existing(&log_key(seq)?) {
                Err(error) if is_unreadable(&error) => return Ok(WitnessStatus::Unknown),
                read => *blake3::hash(&read?).as_bytes(),
            },
        };
        Ok(if there == hash { WitnessStatus::Agrees { seen: seq } } else { WitnessStatus::Forked { seen: seq } })
    }

    fn newest(&self) -> Option<Seen> {
        let state = self.state();
        state.next_seq().checked_sub(1).map(|seq| Seen { seq, hash: state.hash() })
    }

    /// Remembers the newest record folded, unless a later one is remembered already; failing is only a warning.
    pub(super) fn remember(&self) {
        let (Some(dir), Some(newest)) = (self.env.witness_dir.as_deref(), self.newest()) else { return };
        if !self.damaged_records().is_empty() || read(dir, &self.id()).is_some_and(|seen| seen.seq >= newest.seq) {
            return;
        }
        if let Err(error) = std::fs::create_dir_all(dir) {
            tracing::warn!(%error, path = %dir.display(), "the folder of witness files cannot be made");
            return;
        }
        write_atomically(&path_of(dir, &self.id()), encode(&self.id(), &newest).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_file_round_trips_and_every_changed_byte_is_noticed() {
        let (repository, seen) = (RepositoryId([7; 16]), Seen { seq: 12, hash: [9; 32] });
        let text = encode(&repository, &seen);
        assert_eq!(decode(&text, &repository), Some(seen));
        assert_eq!(decode(&text, &RepositoryId([8; 16])), None);
        for at in 0..text.len() - 1 {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 2;
            assert_eq!(decode(&String::from_utf8_lossy(&bad), &repository), None, "byte {at}");
            assert_eq!(decode(&text[..at], &repository), None, "cut at {at}");
        }
    }
}
