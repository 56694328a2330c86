//! Reading on past damaged log records.
//!
//! A record that is lost takes with it what it alone said: a snapshot's manifest, or which packs were
//! added. Records behind it still open under the log key, so their snapshots can be given back; index
//! segments the lost record would have named are found by listing, and count because they are sealed.
//! Such a handle reads only: appending to a log with a hole could contradict what the hole said.

use super::Repository;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{IndexId, log_key, parse_index_key, parse_seq_key};
use decube_backup_format::log::{Envelope, ObjectName, Payload};
use std::collections::BTreeSet;
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
        if let Some(error) = self.unrecorded_slot() {
            return Err(error);
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
        let (_, damaged) = fold_readable(self, &mut state)?;
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

/// Numbers of lost records that are told one by one, of those that are missing in a row: who may write can store something
/// under any number.
const MISSING_TOLD_MAX: u64 = 1024;

/// Numbers from `from` on of records that are there, or missing before one that is or before `end`, ascending.
pub(crate) fn record_numbers(repo: &Repository, from: u64, end: u64) -> Result<Vec<u64>> {
    let listed = repo.store.list("log/")?;
    let there: BTreeSet<u64> =
        listed.iter().filter_map(|object| parse_seq_key(&object.key)).filter(|seq| *seq >= from).collect();
    let (mut numbers, mut next) = (Vec::new(), from);
    for seq in there {
        numbers.extend((next..seq).take(MISSING_TOLD_MAX as usize));
        numbers.push(seq);
        next = seq.saturating_add(1);
    }
    numbers.extend((next..end).take(MISSING_TOLD_MAX as usize));
    Ok(numbers)
}

/// Folds the records from `state.next_seq()` on that open under the log key; returns how many did, and the others' numbers.
pub(crate) fn fold_readable(repo: &Repository, state: &mut State) -> Result<(u64, Vec<u64>)> {
    let (mut folded, mut damaged) = (0, Vec::new());
    // The listing says where to look; what counts is what each record says under its seal.
    for seq in record_numbers(repo, state.next_seq(), 0)? {
        let Some((envelope, payload)) = read_record(repo, state, seq) else {
            damaged.push(seq);
            continue;
        };
        if envelope.seq != state.next_seq() || envelope.prev != state.hash() {
            state.skip_to(&envelope);
        }
        state.apply_opened(&envelope, payload.as_ref())?;
        folded += 1;
    }
    Ok((folded, damaged))
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
