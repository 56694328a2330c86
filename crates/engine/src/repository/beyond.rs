//! Checkpoints that know of more records than the log has.
//!
//! *Invariant*: a checkpoint is stored only after the record it ends with, and opens only under the log key. One that ends with a
//! record the log does not have proves that records are lost: from the end of the log, as a store that was put back to an
//! older state has it, perhaps with others in their place by now. Such a log is a whole one by itself; going on with it would
//! give the numbers of lost records to new ones, and a prune would take what only they named for leftovers.
//!
//! Who opens a repository looks at the names of checkpoints, and reads those beyond the end; `verify`, `audit` and `prune` read
//! all that there are. From then on this handle does not write, and its cache is dropped, so that the next one looks again.

use super::{Repository, read_record};
use crate::segments::is_damage;
use decube_backup_core::sink::ObjectMeta;
use decube_backup_core::{Error, ErrorKind, Key, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::header::Access;
use decube_backup_format::ids::{log_key, parse_seq_key};
use std::sync::PoisonError;

/// Records that a checkpoint knows of and the log does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The checkpoint.
    pub(crate) checkpoint: Key,
    /// Records it was made of.
    known: u64,
    /// Records there are.
    records: u64,
}

impl Lost {
    /// What the checkpoint proves, for people.
    pub(crate) fn text(&self) -> String {
        let Self { known, records, .. } = self;
        match known > records {
            true => format!(
                "it is sound and proves that log records are lost: it was made of {known}, and there are {records}; what the lost \
                 ones said, such as new snapshots, is unknown"
            ),
            false => format!(
                "it is sound and proves that log records are lost: the {known} it was made of were others than those that are \
                 there; what the lost ones said, such as new snapshots, is unknown"
            ),
        }
    }

    pub(crate) fn to_error(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::Diverged, operation, "records are lost from the end of the log: a checkpoint knows of more")
            .with("key", &self.checkpoint)
            .with("known", self.known)
            .with("records", self.records)
            .with_hint(
                "nothing was changed, and restoring works; put the lost records (`log/`) back from a replica. If they are \
                 lost for good, `decube-backup audit --accept` goes on without them: what only they named is then a leftover \
                 for the next prune",
            )
    }
}

/// What an object under `ckpt/` is.
pub(crate) enum Judged {
    /// A checkpoint that this log continues.
    Continued,
    /// It knows of records that are lost.
    Beyond(Lost),
    /// The record it ends with cannot be read.
    Undecided,
    /// It is not there: the listing was stale.
    Gone,
    /// Its bytes are no checkpoint of this repository, or not the one its name says.
    Damaged(String),
    /// A newer program may be able to read it, or the disk cannot.
    Unreadable(String),
}

/// A checkpoint that opened: its key, the records it was made of, the last one's hash.
pub(super) struct Opened {
    pub key: Key,
    pub known: u64,
    pub hash: [u8; 32],
}

impl Repository {
    /// Reads the checkpoint `key`, whose name says that it ends with record `seq`, and holds it against the log.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) fn judge_checkpoint(&self, key: &Key, seq: u64) -> Result<Judged> {
        let bytes = match self.store.get(key) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Judged::Gone),
            Err(error) if is_damage(&error) => return Ok(Judged::Unreadable(error.chain())),
            Err(error) => return Err(error),
        };
        let state = match State::decode(&bytes, self.log_keys.log_key(), &self.id()) {
            Ok(state) => state,
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Judged::Unreadable(error.chain())),
            Err(error) => return Ok(Judged::Damaged(error.chain())),
        };
        let opened = Opened { key: key.clone(), known: state.next_seq(), hash: state.hash() };
        let judged = self.compare_checkpoint(&opened)?;
        if matches!(judged, Judged::Beyond(_)) || opened.known.checked_sub(1) == Some(seq) {
            return Ok(judged);
        }
        Ok(Judged::Damaged(format!("it is the checkpoint of {} records", opened.known)))
    }

    /// How a checkpoint stands to the log; one that is ahead of what was folded is compared once more after folding, as it
    /// may have been stored since.
    pub(super) fn compare_checkpoint(&self, opened: &Opened) -> Result<Judged> {
        let Some(last) = opened.known.checked_sub(1) else { return Ok(Judged::Undecided) };
        // Of a log with holes nobody knows what it had; it is not written to either.
        if !self.damaged_records().is_empty() {
            return Ok(Judged::Undecided);
        }
        if self.state().next_seq() < opened.known {
            self.fold_new()?;
        }
        let state = self.state();
        let beyond = || {
            let lost = Lost { checkpoint: opened.key.clone(), known: opened.known, records: state.next_seq() };
            Ok(Judged::Beyond(lost))
        };
        match self.store.get(&log_key(last)?) {
            Ok(Some(bytes)) if *blake3::hash(&bytes).as_bytes() == opened.hash => Ok(Judged::Continued),
            // Another record, if it is one at all.
            Ok(Some(_)) if read_record(self, &state, last).is_some() => beyond(),
            Ok(None) if state.next_seq() < opened.known => beyond(),
            Ok(_) => Ok(Judged::Undecided),
            Err(error) if is_damage(&error) => Ok(Judged::Undecided),
            Err(error) => Err(error),
        }
    }

    /// Keeps this handle from writing, and the next one from trusting the cache.
    pub(crate) fn hold_lost(&self, lost: Lost) {
        tracing::warn!(key = %lost.checkpoint, "a checkpoint of this repository cannot be continued from: {}", lost.text());
        if let Some(path) = self.cache.state()
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "the cached state cannot be removed");
        }
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(lost);
    }

    pub(super) fn lost(&self) -> Option<Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a checkpoint was met that knows of records which the log lacks, or no record names the slot that opened the
    /// repository: such a handle only reads.
    pub fn lacks_records(&self) -> bool {
        self.lost().is_some() || self.is_unrecorded()
    }

    /// Looks for a checkpoint named after a record that the log does not have, among those `listed` if that was done already,
    /// and holds what it proves. A host, which cannot open it, believes the name: a record is there before any checkpoint of it.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) fn look_beyond_end(&self, listed: Option<Vec<ObjectMeta>>) -> Result<()> {
        if !self.damaged_records().is_empty() || self.lost().is_some() {
            return Ok(());
        }
        let listed = listed.map_or_else(|| self.store.list("ckpt/"), Ok)?;
        let named = listed.into_iter().filter_map(|object| Some((parse_seq_key(&object.key)?, object.key)));
        let mut end = self.state().next_seq();
        for (seq, key) in named {
            if seq < end {
                continue;
            }
            let judged = match self.host() {
                None => self.judge_checkpoint(&key, seq)?,
                Some(_) => {
                    self.fold_new()?;
                    let records = self.state().next_seq();
                    match seq < records {
                        true => Judged::Continued,
                        false => Judged::Beyond(Lost { checkpoint: key, known: seq.saturating_add(1), records }),
                    }
                }
            };
            if let Judged::Beyond(lost) = judged {
                self.hold_lost(lost);
                return Ok(());
            }
            end = self.state().next_seq();
        }
        Ok(())
    }

    /// Every checkpoint that knows of lost records.
    pub(crate) fn checkpoints_beyond(&self) -> Result<Vec<Lost>> {
        let mut found = Vec::new();
        for object in self.store.list("ckpt/")? {
            let Some(seq) = parse_seq_key(&object.key) else { continue };
            if let Judged::Beyond(lost) = self.judge_checkpoint(&object.key, seq)? {
                found.push(lost);
            }
        }
        Ok(found)
    }

    /// Goes on with the log as it is, for good: deletes every checkpoint that knows of lost records, and puts the slot that
    /// opened the repository in force if no record has. Says whether there was anything of the kind.
    ///
    /// # Errors
    /// The store does not answer, or does not allow deleting or adding.
    pub fn accept_lost_records(&self) -> Result<bool> {
        self.check_reader(Access::Write)?;
        let beyond = self.checkpoints_beyond()?;
        for lost in &beyond {
            tracing::debug!(key = %lost.checkpoint, "deleting the checkpoint: {}", lost.text());
            self.store.delete(&lost.checkpoint)?;
        }
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(self.record_own_slot()? || !beyond.is_empty())
    }
}
