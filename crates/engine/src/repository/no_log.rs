//! What a place is whose log holds no record: an init that did not come to its end, or a repository that lost its log.
//!
//! *Invariant*: packs, index segments and checkpoints are written only once record 0 is there. Where one of them is and no
//! record, a log was lost (a copy that left out `log/`, a deleted folder), and nothing may be made in its place: a new log
//! would know none of what is stored, and the next prune would take it for leftovers.
//!
//! Nobody asks any of this of a repository with a log: it costs listings.

use super::copies::has_log;
use crate::store::Store;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::ids::{parse_index_key, parse_pack_key, parse_seq_key};

/// What is stored where there is no log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stored {
    packs: usize,
    index_segments: usize,
    checkpoints: usize,
}

impl Stored {
    fn count(store: &Store) -> Result<Self> {
        // By their names: a folder of somebody else's may be called `index` too.
        let packs = store.list("packs/")?.iter().filter(|object| parse_pack_key(&object.key).is_some()).count();
        let index_segments = store.list("index/")?.iter().filter(|o| parse_index_key(&o.key).is_some()).count();
        let checkpoints = store.list("ckpt/")?.iter().filter(|object| parse_seq_key(&object.key).is_some()).count();
        Ok(Self { packs, index_segments, checkpoints })
    }
}

/// What to say of a lost log; `None` if there is one, or nothing that needs one.
///
/// # Errors
/// As listing yields.
pub(crate) fn lost(store: &Store, operation: &'static str) -> Result<Option<Error>> {
    if has_log(store)? {
        return Ok(None);
    }
    let stored = Stored::count(store)?;
    // Asked again: another program may have made the repository, and filled it, since.
    if stored == Stored::default() || has_log(store)? {
        return Ok(None);
    }
    let what = "the repository's log is gone: without it nothing tells what is stored here";
    Ok(Some(
        Error::new(ErrorKind::Corrupt, operation, what)
            .with("missing", "log/")
            .with("packs", stored.packs)
            .with("index_segments", stored.index_segments)
            .with("checkpoints", stored.checkpoints)
            .with_hint(
                "nothing was changed; copy what is here before anything else, then put `log/` back from wherever this \
                 repository was copied from or to",
            ),
    ))
}

/// Why a repository without a first record does not open.
///
/// # Errors
/// As listing yields.
pub(crate) fn why(store: &Store) -> Result<Error> {
    Ok(lost(store, "open")?.unwrap_or_else(unfinished))
}

/// Why a repository without key slots does not open.
///
/// # Errors
/// As listing yields.
pub(super) fn no_slots(store: &Store) -> Result<Error> {
    if !has_log(store)? {
        return why(store);
    }
    Ok(Error::new(ErrorKind::Corrupt, "open", "the repository's key slots are gone: nothing opens it without one")
        .with("missing", "keys/")
        .with_hint(
            "nothing was changed; put `keys/` back from a copy of this repository. Each password, key file, private key and \
             recovery sheet opens its own slot there, and one of them is enough",
        ))
}

/// Said of what an init left that did not come to its end.
fn unfinished() -> Error {
    Error::new(ErrorKind::NotFound, "open", "the repository was never finished: it has no first record")
        .with_hint("run `decube-backup init` with the same password to finish it; nothing is stored in it yet")
}
