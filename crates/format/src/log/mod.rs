//! The commit log: records that are the only authority on what a repository holds.
//!
//! A record is `envelope ‖ sealed payload ‖ writer's public key ‖ signature`. The envelope is plain: it names every
//! object added and reclaimed with length and hash, so scrubbing and replicating need no keys. The payload says what
//! it means and is sealed with the envelope as additional data. Records are chained by hash, and each is signed by
//! a writer that an earlier record (the first: itself) admitted.
//!
//! | part | holds |
//! |---|---|
//! | [`Envelope`] | the plain part, checked and decoded |
//! | [`Payload`], [`Stamp`] | the sealed part |
//! | [`RecordBuilder`] | makes a record for a slot, again for the next one after a lost race |
//! | [`LogChain`] | accepts records in order |
//!
//! *Deliberately absent*: which slot to try and what to do about a lost race (the engine), what records add up to
//! (`checkpoint`).

mod builder;
mod envelope;
mod payload;

pub use builder::{BuiltRecord, LogKeys, RecordBuilder, WriterKey};
pub use envelope::{AddedObject, Envelope, ObjectName};
pub use payload::{LabelChange, Payload, SlotChange, SnapshotEdit, Stamp};

use crate::ids::RepositoryId;
use crate::wire::corrupt;
use decube_backup_core::{Error, Result};
use std::collections::BTreeSet;

/// A writer's Ed25519 public key.
pub type WriterId = [u8; 32];

/// BLAKE3 of a whole record, and of nothing before the first: zeros.
pub type RecordHash = [u8; 32];

/// Accepts records in order; each must continue the one before and come from an admitted writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChain {
    repository: RepositoryId,
    next_seq: u64,
    last_hash: RecordHash,
    writers: BTreeSet<WriterId>,
    /// Hosts ever admitted. What they may say, and until when, is for the state to judge: a record that one of them signed
    /// takes its place in the log whatever it says, so that none of them can make the log unreadable.
    hosts: BTreeSet<WriterId>,
}

impl LogChain {
    /// An empty log of `repository`.
    pub fn new(repository: RepositoryId) -> Self {
        Self { repository, next_seq: 0, last_hash: [0; 32], writers: BTreeSet::new(), hosts: BTreeSet::new() }
    }

    /// Continues after the last record folded into a state.
    pub(crate) fn resume(
        repository: RepositoryId,
        next_seq: u64,
        last_hash: RecordHash,
        writers: BTreeSet<WriterId>,
        hosts: BTreeSet<WriterId>,
    ) -> Self {
        Self { repository, next_seq, last_hash, writers, hosts }
    }

    /// Checks that `bytes` are the next record and moves on to the one after; unchanged on error.
    ///
    /// # Errors
    /// `Corrupt` for a record that is damaged, another repository's, out of order, not chained to the one before
    /// or signed by a stranger; `Unsupported` for another version.
    pub fn accept(&mut self, bytes: &[u8]) -> Result<Envelope> {
        let refused = |error: Error| error.with("seq", self.next_seq);
        let envelope = Envelope::decode(bytes).map_err(refused)?;
        let first = envelope.seq == 0 && envelope.admits.contains(&envelope.writer);
        let reason = if envelope.repository != self.repository {
            "it belongs to another repository"
        } else if envelope.seq != self.next_seq {
            "it has another number"
        } else if envelope.prev != self.last_hash {
            "it does not continue the record before"
        } else if !first && !self.writers.contains(&envelope.writer) && !self.hosts.contains(&envelope.writer) {
            "it is signed by an unknown writer"
        } else {
            let Some(next_seq) = envelope.seq.checked_add(1) else {
                return Err(refused(corrupt("log record")));
            };
            self.next_seq = next_seq;
            self.last_hash = envelope.hash;
            // A host admits nobody.
            if first || self.writers.contains(&envelope.writer) {
                self.writers.extend(&envelope.admits);
                self.hosts.extend(envelope.hosts.iter().map(|host| host.writer));
            }
            return Ok(envelope);
        };
        Err(refused(corrupt("log record").with("reason", reason)))
    }

    /// Number of the record expected next.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Hash of the last record accepted; zeros before the first.
    pub fn last_hash(&self) -> RecordHash {
        self.last_hash
    }
}
