//! Reading on past damaged log records.
//!
//! A record that is lost takes with it what it alone said: a snapshot's manifest, or which packs were
//! added. Records behind it still open under the log key, so their snapshots can be given back; index
//! segments the lost record would have named are found by listing, and count because they are sealed.
//! Such a handle reads only: appending to a log with a hole could contradict what the hole said.

use super::Repository;
use super::plain::record_numbers;
use crate::segments::is_damage;
use crate::store::is_unreadable;
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
        if let Some(error) = self.unrecorded_slot() {
            return Err(error);
        }
        let damaged = self.damaged_records();
        let Some(seq) = damaged.first().copied() else { return Ok(()) };
        // Nothing that could be read comes behind it.
        let is_last = damaged.len() == 1 && self.state().next_seq() == seq;
        let hint = match is_last {
            true => {
                "restoring still works; put the record back from a replica. If there is none: it is the log's last one, so moving \
                 it away and `decube-backup audit --accept`, before anything else, goes on without what it said, such as the newest snapshot"
            }
            false => "restoring still works; put the record back from a replica, or start a new repository",
        };
        Err(Error::new(ErrorKind::Corrupt, "append", "the log is damaged: nothing can be added to this repository")
            .with("key", log_key(seq)?)
            .with_hint(hint))
    }

    /// Folds every readable record from where the state stands; `why` ended the sound part.
    pub(super) fn salvage(&self, why: Error) -> Result<()> {
        tracing::warn!(error = %why.chain(), "the log is damaged; reading what is left of it: there may be newer snapshots than are seen");
        let mut state = (*self.state()).clone();
        let (_, mut damaged) = fold_readable(self, &mut state)?;
        if damaged.is_empty() {
            match self.store.get(&log_key(state.next_seq())?) {
                // Something that is no object, which is not listed.
                Err(error) if error.kind() == ErrorKind::Corrupt => damaged.push(state.next_seq()),
                // Read the second time, or not even listed: the store does not know what it has.
                _ => return Err(why),
            }
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

/// What to say of a record that the store does not give.
pub(crate) fn unreadable_record(why: &Error) -> String {
    format!("log record cannot be read: {}", why.chain())
}

/// Folds the records from `state.next_seq()` on that open under the log key; returns how many did, and the others' numbers.
///
/// # Errors
/// `Io` if no record at all can be read, and of one the storage says so: that is no damage to records, and nothing may be
/// concluded from it. What the store yields that says nothing about a record.
pub(crate) fn fold_readable(repo: &Repository, state: &mut State) -> Result<(u64, Vec<u64>)> {
    let (mut folded, mut damaged, mut unread) = (0, Vec::new(), None);
    // The listing says where to look; what counts is what each record says under its seal.
    for seq in record_numbers(&repo.store, state.next_seq(), 0)? {
        let read = match record_at(repo, state, seq) {
            Err(error) if error.kind() == ErrorKind::Io => {
                unread.get_or_insert(error);
                None
            }
            Err(error) if is_unreadable(&error) => None,
            read => read?,
        };
        // The last number there is has no next one: no log comes to it.
        let Some((envelope, payload)) = read.filter(|_| seq < u64::MAX) else {
            damaged.push(seq);
            continue;
        };
        if envelope.seq != state.next_seq() || envelope.prev != state.hash() {
            state.skip_to(&envelope);
        }
        state.apply_opened(&envelope, payload.as_ref())?;
        folded += 1;
    }
    match unread {
        Some(error) if state.next_seq() == 0 => Err(error.with_hint(
            "nothing was changed; the storage gives no record of the log: check that it is whole and readable",
        )),
        _ => Ok((folded, damaged)),
    }
}

/// The record in slot `seq` if it is whole and ours, a host's or that of a holder of all keys; without a payload if a host
/// wrote it that cannot be opened.
pub(crate) fn read_record(repo: &Repository, state: &State, seq: u64) -> Option<(Envelope, Option<Payload>)> {
    record_at(repo, state, seq).ok()?
}

/// As [`read_record`].
///
/// # Errors
/// The store does not give it, or not what is needed to judge it.
fn record_at(repo: &Repository, state: &State, seq: u64) -> Result<Option<(Envelope, Option<Payload>)>> {
    let Some(bytes) = repo.store.get(&log_key(seq)?)? else { return Ok(None) };
    let Ok(envelope) = Envelope::decode(&bytes) else { return Ok(None) };
    let payload = match state.host(&envelope.writer) {
        Some(_) => match repo.open_record(state, &envelope, &bytes) {
            Ok(said) => said.map(|(_, payload)| payload),
            Err(error) if is_damage(&error) || error.kind() == ErrorKind::WrongKey => return Ok(None),
            Err(error) => return Err(error),
        },
        // Only who holds the log key seals under it: that admits the writer, whatever record said so is lost.
        None => match envelope.open(&bytes, repo.log_keys.log_key()) {
            Ok((_, payload)) => Some(payload),
            Err(_) => return Ok(None),
        },
    };
    let is_init = payload == Some(Payload::Init);
    let fits = envelope.repository == repo.id() && envelope.seq == seq && (seq == 0) == is_init;
    Ok(fits.then_some((envelope, payload)))
}
