//! The header and the keyring, which are kept twice.
//!
//! *Invariant*: a copy counts by the proof its original counts by, and by no other. A header has its
//! checksum and, once the log is folded, the hash that record 0 lists; a keyring has its seal. So a copy
//! that is stale, damaged or another repository's is refused like such an original.
//!
//! While the originals are sound nobody reads the copies but verification.

use super::no_log;
use crate::options::Damage;
use crate::store::{Store, is_unreadable};
use bytes::Bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::hash::Key32;
use decube_backup_format::header::Header;
use decube_backup_format::ids::{RepositoryId, log_key, parse_seq_key};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::log::ObjectName;
use decube_backup_format::sealed;
use std::collections::BTreeSet;

const REPLICA_HINT: &str = "nothing was changed; put `format` back from a replica of this repository";

/// An object that is kept twice, from whichever place it was read.
#[derive(Clone)]
pub(crate) struct Found<T> {
    /// What it says.
    pub value: T,
    /// Its bytes, the same in both places.
    pub bytes: Bytes,
    /// What is wrong with the original, if this is the copy.
    pub damage: Option<Damage>,
}

/// The header, from its copy if the original is missing or damaged.
///
/// # Errors
/// `NotFound` if there is no repository; `Corrupt` if neither is whole or the log is gone too; `Unsupported` for a newer format.
pub(crate) fn header(store: &Store) -> Result<Found<Header>> {
    let found = find(store, &ObjectName::Format, &Header::decode).map_err(|e| match e.kind() {
        ErrorKind::Corrupt => e.with_hint(REPLICA_HINT),
        _ => e,
    })?;
    match found {
        Some(found) => Ok(found),
        None if has_log(store)? => {
            let what = "the repository's header is missing, and so is its copy";
            Err(Error::new(ErrorKind::Corrupt, "open", what)
                .with("key", ObjectName::Format.key()?)
                .with("copy", ObjectName::FormatCopy.key()?)
                .with_hint(REPLICA_HINT))
        }
        None => Err(no_log::lost(store, "open")?.unwrap_or_else(|| {
            Error::new(ErrorKind::NotFound, "open", "there is no repository here")
                .with_hint("check the address; to make a new repository run `decube-backup init`")
        })),
    }
}

/// The header's copy if it is whole and other bytes than `original`, which turned out not to be this repository's.
///
/// # Errors
/// As reading it yields.
pub(crate) fn other_header(store: &Store, original: &Found<Header>) -> Result<Option<Found<Header>>> {
    if original.damage.is_some() {
        return Ok(None);
    }
    let Some(copy) = read(store, &ObjectName::FormatCopy, &Header::decode)? else { return Ok(None) };
    let damage = Some(damage(&ObjectName::Format, &ObjectName::FormatCopy, "not this repository's header")?);
    Ok((copy.bytes != original.bytes).then_some(Found { damage, ..copy }))
}

/// Compares a header with what record 0, folded into `state`, lists; without record 0 there is nothing to compare.
///
/// # Errors
/// `Corrupt` if it is another one.
pub(crate) fn check_recorded(header: &Found<Header>, state: &State) -> Result<()> {
    if state.format().is_none_or(|recorded| blake3::hash(&header.bytes) == recorded.hash) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "open", "the repository's header is not the one its log lists")
        .with("key", ObjectName::Format.key()?)
        .with_hint(REPLICA_HINT))
}

/// The keyring `generation` that opens under `key`, from its copy if the original does not; it must have the hash
/// `recorded`, if that is known.
///
/// # Errors
/// `NotFound` if an unfinished init left none; `Corrupt` if the log is gone as well, `Corrupt` or `Unsupported` if neither opens.
pub(crate) fn keyring(
    store: &Store,
    repository: &RepositoryId,
    key: &Key32,
    generation: u32,
    recorded: Option<&[u8; 32]>,
) -> Result<Found<Keyring>> {
    let name = ObjectName::Keyring(generation);
    let accept = |bytes: &[u8]| {
        if recorded.is_some_and(|hash| blake3::hash(bytes) != *hash) {
            return Err(Error::new(ErrorKind::Corrupt, "open", "not the keyring that the log lists"));
        }
        Keyring::open(key, repository, generation, bytes)
    };
    match find(store, &name, &accept)? {
        Some(found) => Ok(found),
        None if has_log(store)? => {
            Err(Error::new(ErrorKind::Corrupt, "open", "the keyring is missing, and so is its copy")
                .with("key", name.key()?)
                .with("copy", ObjectName::KeyringCopy(generation).key()?))
        }
        None => Err(no_log::why(store)?),
    }
}

/// The keyring of the latest generation that opens under `key`; `None` if none does.
///
/// Only a way in, and the last resort where records are lost: the log decides which generation counts.
///
/// # Errors
/// As listing and reading yield.
pub(crate) fn newest_keyring(store: &Store, repository: &RepositoryId, key: &Key32) -> Result<Option<Found<Keyring>>> {
    for generation in keyring_generations(store)?.into_iter().rev() {
        if let Ok(found) = keyring(store, repository, key, generation, None) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether there are keyrings, each with the same bytes as its copy, and all are sealed under other keys than `key`: then
/// it is not damage that keeps them shut.
///
/// # Errors
/// As listing and reading yield.
pub(crate) fn keyrings_are_anothers(store: &Store, key: &Key32) -> Result<bool> {
    let generations = keyring_generations(store)?;
    for generation in &generations {
        let bytes = |name: ObjectName| store.get(&name.key()?);
        let original = bytes(ObjectName::Keyring(*generation))?;
        let is_anothers = original.as_ref().is_some_and(|bytes| sealed::commits_to(key, bytes).is_ok_and(|own| !own));
        if !is_anothers || bytes(ObjectName::KeyringCopy(*generation))? != original {
            return Ok(false);
        }
    }
    Ok(!generations.is_empty())
}

/// Generations of which an object is listed, original or copy, recorded or not, ascending.
///
/// # Errors
/// As listing yields.
pub(crate) fn keyring_generations(store: &Store) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for prefix in ["keyring/", "copy/keyring/"] {
        let listed = store.list(prefix)?;
        found.extend(listed.iter().filter_map(|o| u32::from_str_radix(o.key.as_str().strip_prefix(prefix)?, 16).ok()));
    }
    Ok(found)
}

/// Whether any log record is here: then so is a repository, whatever else is lost.
///
/// # Errors
/// As looking yields.
pub(crate) fn has_log(store: &Store) -> Result<bool> {
    // The first look is certain; the listing finds a log that has lost its beginning. What else lies there is no record.
    Ok(store.stat(&log_key(0)?)?.is_some() || store.list("log/")?.iter().any(|o| parse_seq_key(&o.key).is_some()))
}

/// What to say of a damaged object whose `twin` is sound: true of either of the two.
pub(crate) fn twin_is_sound(object: &str, twin: &str) -> String {
    format!("`{twin}` is sound: copy it to `{object}`")
}

fn damage(original: &ObjectName, copy: &ObjectName, why: &str) -> Result<Damage> {
    let (object, copy) = (original.key()?.to_string(), copy.key()?.to_string());
    let what = format!("{why}; {}", twin_is_sound(&object, &copy));
    Ok(Damage { object, what })
}

/// The original if `accept` takes it, else the copy if `accept` takes that; `None` if both are missing.
///
/// # Errors
/// What is wrong with the original, or with the copy of a missing one.
fn find<T>(store: &Store, original: &ObjectName, accept: &dyn Fn(&[u8]) -> Result<T>) -> Result<Option<Found<T>>> {
    let why = match read(store, original, accept) {
        Ok(None) => None,
        Err(error) if is_unreadable(&error) => Some(error),
        settled => return settled,
    };
    let Some(copy) = original.twin() else { return why.map_or(Ok(None), Err) };
    match (read(store, &copy, accept), why) {
        (Ok(Some(found)), why) => {
            let why = why.map_or_else(|| "object is missing".to_owned(), |error| error.chain());
            Ok(Some(Found { damage: Some(damage(original, &copy, &why)?), ..found }))
        }
        (_, Some(why)) => Err(why),
        (failed, None) => failed,
    }
}

fn read<T>(store: &Store, name: &ObjectName, accept: &dyn Fn(&[u8]) -> Result<T>) -> Result<Option<Found<T>>> {
    let key = name.key()?;
    let Some(bytes) = store.get(&key)? else { return Ok(None) };
    let value = accept(&bytes).map_err(|e| e.with("key", key))?;
    Ok(Some(Found { value, bytes, damage: None }))
}
