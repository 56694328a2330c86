//! Reading on past damaged log records.
//!
//! A record that is lost takes with it what it alone said: a snapshot's manifest, or which packs were
//! added. Records behind it still open under the log key, so their snapshots can be given back; index
//! segments the lost record would have named are found by listing, and count because they are sealed.
//! Such a handle reads only: appending to a log with a hole could contradict what the hole said.

use super::Repository;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{IndexId, log_key, parse_index_key};
use decube_backup_format::log::{Envelope, ObjectName, Payload};
use std::sync::PoisonError;

impl Repository {
    /// Numbers of log records that are damaged or missing; empty in a sound repository.
    pub fn damaged_records(&self) -> Vec<u64> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses to write to a log that is damaged or lacks records.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if let Some(lost) = self.lost() {
            return Err(lost.to_error("append"));
        }
        let Some(seq) = self.damaged_records().first().copied() else { return Ok(()) };
        Err(Error::new(ErrorKind::Corrupt, "append", "the log is damaged: nothing can be added to this repository")
            .with("key", log_key(seq)?)
            .with_hint("restoring still works; put the record back from a replica, or start a new repository"))
    }

    /// Folds every readable record from where the state stands; `why` ended the sound part.
    pub(super) fn salvage(&self, why: Error) -> Result<()> {
        tracing::warn!(error = %why.chain(), "the log is damaged; reading what is left of it: there may be newer snapshots than are seen");
        let mut state = (*self.state()).clone();
        let damaged = fold_readable(self, &mut state)?;
        if damaged.is_empty() {
            return Err(why);
        }
        *self.damaged.lock().unwrap_or_else(PoisonError::into_inner) = damaged;
        self.set_state(state);
        self.drop_index();
        Ok(())
    }

    /// Index segments that no readable record names.
    pub(super) fn stray_indexes(&self, state: &State) -> Result<Vec<(u8, IndexId)>> {
        if self.damaged_records().is_empty() {
            return Ok(Vec::new());
        }
        let named = |id: &IndexId| {
            state.indexes().any(|(_, known, _)| known == *id)
                || state.retired_objects().any(|o| matches!(o, ObjectName::Index { id: gone, .. } if gone == id))
        };
        let listed = self.store.list("index/")?;
        Ok(listed.iter().filter_map(|o| parse_index_key(&o.key)).filter(|(_, id)| !named(id)).collect())
    }
}

/// Folds the records from `state.next_seq()` on that open under the log key; returns the others' numbers.
pub(crate) fn fold_readable(repo: &Repository, state: &mut State) -> Result<Vec<u64>> {
    let mut damaged = Vec::new();
    // The listing says how far the log goes; what counts is what each record says under its seal.
    let last = repo.store.list("log/")?.last().and_then(|o| {
        let number = o.key.as_str().strip_prefix("log/")?;
        u64::from_str_radix(number, 16).ok()
    });
    for seq in state.next_seq()..last.map_or(0, |last| last.saturating_add(1)) {
        match read_record(repo, state, seq) {
            Some((envelope, payload)) => {
                if envelope.seq != state.next_seq() || envelope.prev != state.hash() {
                    state.skip_to(&envelope);
                }
                state.apply_opened(&envelope, payload.as_ref())?;
            }
            None => damaged.push(seq),
        }
    }
    Ok(damaged)
}

/// The record in slot `seq` if it is whole and ours, a host's or that of a holder of all keys; without a payload if a host
/// wrote it that cannot be opened.
pub(crate) fn read_record(repo: &Repository, state: &State, seq: u64) -> Option<(Envelope, Option<Payload>)> {
    let bytes = repo.store.get(&log_key(seq).ok()?).ok()??;
    let envelope = Envelope::decode(&bytes).ok()?;
    let payload = match state.host(&envelope.writer) {
        Some(_) => repo.open_record(state, &envelope, &bytes).ok()?.map(|(_, payload)| payload),
        // Only who holds the log key seals under it: that admits the writer, whatever record said so is lost.
        None => Some(envelope.open(&bytes, repo.log_keys.log_key()).ok()?.1),
    };
    let is_init = payload == Some(Payload::Init);
    let fits = envelope.repository == repo.id() && envelope.seq == seq && (seq == 0) == is_init;
    fits.then_some((envelope, payload))
}
