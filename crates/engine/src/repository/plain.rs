//! Reading the log without any key, as far as its plain part tells.

use crate::store::{Store, is_unreadable};
use decube_backup_core::{Error, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{log_key, parse_seq_key};
use decube_backup_format::log::Envelope;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Folds the plain parts of the records that follow `state`, and shows those that count to `see`, which says whether to
/// go on. Returns what ended that, if it was neither `see` nor the end of the log.
///
/// # Errors
/// The store does not answer; what `see` yields.
pub(crate) fn fold_plain(
    store: &Store,
    state: &mut State,
    see: &mut dyn FnMut(&Envelope) -> Result<ControlFlow<()>>,
) -> Result<Option<Error>> {
    let mut chain = state.chain();
    loop {
        let bytes = match store.get(&log_key(state.next_seq())?) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) if is_unreadable(&error) => return Ok(Some(error)),
            Err(error) => return Err(error),
        };
        let folded = chain.accept(&bytes).and_then(|envelope| Ok((state.apply_plain(&envelope)?, envelope)));
        match folded {
            Err(error) => return Ok(Some(error)),
            // A write-only key signed it, and may not say this.
            Ok((Some(_), _)) => {}
            Ok((None, envelope)) => {
                if see(&envelope)?.is_break() {
                    return Ok(None);
                }
            }
        }
    }
}

/// Folds the plain parts of what is left behind what [`fold_plain`] ended at: records of writers that were admitted before
/// it, as without keys nobody knows whom a lost record admitted. Returns how many there are, and the numbers of those that are
/// damaged or missing; whole ones of others are neither.
///
/// # Errors
/// The store does not answer.
pub(crate) fn fold_plain_rest(store: &Store, state: &mut State) -> Result<(u64, Vec<u64>)> {
    let (mut folded, mut strange, mut damaged) = (0, 0u64, Vec::new());
    for seq in record_numbers(store, state.next_seq(), 0)? {
        let envelope = match store.get(&log_key(seq)?) {
            Err(error) if is_unreadable(&error) => None,
            read => read?.and_then(|bytes| Envelope::decode(&bytes).ok()),
        };
        // The last number there is has no next one: no log comes to it.
        let is_ours = |it: &Envelope| it.repository == state.repository() && it.seq == seq && seq < u64::MAX;
        let Some(envelope) = envelope.filter(is_ours) else {
            damaged.push(seq);
            continue;
        };
        if !state.writers().contains(&envelope.writer) && state.host(&envelope.writer).is_none() {
            strange += 1;
            continue;
        }
        if seq != state.next_seq() || envelope.prev != state.hash() {
            state.skip_to(&envelope);
        }
        state.apply_plain(&envelope)?;
        folded += 1;
    }
    if strange > 0 {
        tracing::warn!(
            records = strange,
            "without keys nobody knows whether records behind a damaged one are this repository's: what they name is not read"
        );
    }
    Ok((folded, damaged))
}

/// Numbers of lost records that are told one by one, of those that are missing in a row: who may write can store something
/// under any number.
const MISSING_TOLD_MAX: u64 = 1024;

/// Numbers from `from` on of records that are there, or missing before one that is or before `end`, ascending.
pub(crate) fn record_numbers(store: &Store, from: u64, end: u64) -> Result<Vec<u64>> {
    let listed = store.list("log/")?;
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

/// Whether a record is listed behind the one that would follow `state`.
///
/// # Errors
/// As listing yields.
pub(crate) fn goes_on_behind(store: &Store, state: &State) -> Result<bool> {
    let listed = store.list("log/")?;
    Ok(listed.iter().filter_map(|object| parse_seq_key(&object.key)).any(|seq| seq > state.next_seq()))
}

/// Whether any record listed can be read, sound or not.
///
/// # Errors
/// As listing yields.
pub(crate) fn gives_a_record(store: &Store) -> Result<bool> {
    let mut records = store.list("log/")?.into_iter().filter(|object| parse_seq_key(&object.key).is_some());
    Ok(records.any(|object| matches!(store.get(&object.key), Ok(Some(_)))))
}
