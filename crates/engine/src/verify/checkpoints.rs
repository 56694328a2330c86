//! Stored checkpoints: derivable, so damage to one costs time and nothing else, but it is told. So is what one proves: that
//! records are lost which it knows of.

use super::Findings;
use crate::repository::Repository;
use crate::repository::beyond::{Judged, Lost};
use decube_backup_core::{Key, Result};
use decube_backup_format::ids::{parse_seq_key, slot_key};

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
    /// It knows of records that are lost.
    Beyond(Lost),
}

impl Fault {
    /// For people.
    fn text(&self) -> String {
        match self {
            Self::Damaged(text) | Self::Unreadable(text) => format!("the checkpoint cannot be used: {text}"),
            Self::Beyond(lost) => lost.text(),
        }
    }
}

/// All checkpoints listed, oldest first, each read and opened.
///
/// # Errors
/// The store does not answer.
pub(crate) fn stored_checkpoints(repo: &Repository) -> Result<Vec<StoredCheckpoint>> {
    repo.store.list("ckpt/")?.into_iter().map(|object| stored(repo, object.key)).collect()
}

fn stored(repo: &Repository, key: Key) -> Result<StoredCheckpoint> {
    let seq = parse_seq_key(&key);
    let fault = seq.map_or(Ok(None), |seq| fault_of(repo, &key, seq))?;
    Ok(StoredCheckpoint { key, seq, fault })
}

fn fault_of(repo: &Repository, key: &Key, seq: u64) -> Result<Option<Fault>> {
    Ok(match repo.judge_checkpoint(key, seq)? {
        // What is wrong with a record is told of by itself.
        Judged::Continued | Judged::Gone | Judged::Undecided => None,
        Judged::Beyond(lost) => Some(Fault::Beyond(lost)),
        Judged::Damaged(text) => Some(Fault::Damaged(text)),
        Judged::Unreadable(text) => Some(Fault::Unreadable(text)),
    })
}

/// Reads all of them: a newer one that is sound does not say that an older one is.
pub(super) fn check(repo: &Repository, findings: &mut Findings) -> Result<()> {
    for StoredCheckpoint { key, fault, .. } in stored_checkpoints(repo)? {
        let Some(fault) = fault else { continue };
        findings.damage(&key, fault.text());
        if let Fault::Beyond(lost) = fault {
            findings.report.records_lost = true;
            repo.hold_lost(lost);
        }
    }
    if let Some(text) = repo.unrecorded_text() {
        findings.damage(slot_key(&repo.slot.to_hex())?, text);
        findings.report.records_lost = true;
    }
    Ok(())
}
