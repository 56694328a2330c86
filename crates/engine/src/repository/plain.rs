//! Reading the log without any key, as far as its plain part tells.

use crate::store::{Store, is_unreadable};
use decube_backup_core::{Error, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{log_key, parse_seq_key};
use decube_backup_format::log::Envelope;
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
