//! Stored checkpoints: derivable, so damage to one costs time and nothing else, but it is told.

use super::Findings;
use crate::options::VerifyDepth;
use crate::repository::Repository;
use crate::segments::is_damage;
use decube_backup_core::{ErrorKind, Key, Result};
use decube_backup_format::checkpoint::State;

/// An object under `ckpt/`.
pub(crate) struct StoredCheckpoint {
    /// Where it is.
    pub(crate) key: Key,
    /// Number of the last record folded in, as its name says; `None` for a name no checkpoint has.
    pub(crate) seq: Option<u64>,
    /// What is wrong with it.
    pub(crate) fault: Option<Fault>,
}

/// What is wrong with a checkpoint.
pub(crate) enum Fault {
    /// Its bytes are no checkpoint of this repository, or not the one its name says.
    Damaged(String),
    /// A newer program may be able to read it, or the disk cannot.
    Unreadable(String),
}

impl Fault {
    /// For people.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Damaged(text) | Self::Unreadable(text) => text,
        }
    }
}

/// The newest `most` checkpoints listed, oldest first, each read and opened.
///
/// # Errors
/// The store does not answer.
pub(crate) fn stored_checkpoints(repo: &Repository, most: usize) -> Result<Vec<StoredCheckpoint>> {
    let listed = repo.store.list("ckpt/")?;
    let newest = listed.into_iter().rev().take(most).map(|object| {
        let name = object.key.as_str().strip_prefix("ckpt/").filter(|name| name.len() == 16);
        let seq = name.and_then(|name| u64::from_str_radix(name, 16).ok());
        let fault = seq.map_or(Ok(None), |seq| fault_of(repo, &object.key, seq))?;
        Ok(StoredCheckpoint { key: object.key, seq, fault })
    });
    let mut found: Vec<_> = newest.collect::<Result<_>>()?;
    found.reverse();
    Ok(found)
}

fn fault_of(repo: &Repository, key: &Key, seq: u64) -> Result<Option<Fault>> {
    let bytes = match repo.store.get(key) {
        Ok(Some(bytes)) => bytes,
        // A stale listing.
        Ok(None) => return Ok(None),
        Err(error) if is_damage(&error) => return Ok(Some(Fault::Unreadable(error.chain()))),
        Err(error) => return Err(error),
    };
    Ok(match State::decode(&bytes, repo.log_keys.log_key(), &repo.id()) {
        Ok(state) if state.next_seq().checked_sub(1) == Some(seq) => None,
        Ok(state) => Some(Fault::Damaged(format!("it is the checkpoint of {} records", state.next_seq()))),
        Err(error) if error.kind() == ErrorKind::Unsupported => Some(Fault::Unreadable(error.chain())),
        Err(error) => Some(Fault::Damaged(error.chain())),
    })
}

/// The newest one, which readers begin with; where content is read too, all.
pub(super) fn check(repo: &Repository, depth: VerifyDepth, findings: &mut Findings) -> Result<()> {
    let most = if matches!(depth, VerifyDepth::Structure) { 1 } else { usize::MAX };
    for checkpoint in stored_checkpoints(repo, most)? {
        if let Some(fault) = &checkpoint.fault {
            findings.damage(&checkpoint.key, format!("the checkpoint cannot be used: {}", fault.text()));
        }
    }
    Ok(())
}
