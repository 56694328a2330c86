//! What a verification looks at and finds.

use crate::verify::{Freshness, Policy, Recorded};

/// How much a verification looks at.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum VerifyDepth {
    /// Log chain, objects present with the right sizes, trees and index complete.
    #[default]
    Structure,
    /// Plus the plain hash of every pack; needs no content keys.
    Scrub,
    /// Plus every segment decoded and every chunk's id recomputed.
    Data(Subset),
}

/// Which packs a data verification reads.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Subset {
    /// All.
    #[default]
    All,
    /// Group `n` of `of` (1-based), a fixed partition: running all groups reads everything once.
    Group {
        /// Which group, 1 ..= of.
        n: u32,
        /// Number of groups.
        of: u32,
    },
    /// A random part, percent of packs.
    Percent(f64),
    /// A random part of about this many bytes.
    Bytes(u64),
    /// What a policy asks for, the longest unread first.
    Due(Policy),
}

/// One thing wrong with the repository.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// The object, by its key.
    pub object: String,
    /// What is wrong, one line.
    pub what: String,
}

/// A damaged pack that its parity brings back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Repairable {
    /// The pack, by its key.
    pub object: String,
    /// Stretches of it that are damaged.
    pub ranges: u64,
    /// Bytes in them, in whole shards.
    pub bytes: u64,
}

/// A file whose stored content is damaged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AffectedEntry {
    /// Snapshot id, hex.
    pub snapshot: String,
    /// Path, raw bytes.
    pub path: Vec<u8>,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Everything wrong; empty means sound.
    pub damages: Vec<Damage>,
    /// Damaged packs that their parity brings back; among the damages too, but no entry is affected by them.
    pub repairable: Vec<Repairable>,
    /// Entries that cannot be given back whole, the first thousand.
    pub affected: Vec<AffectedEntry>,
    /// How many there are.
    pub affected_count: u64,
    /// Entries that are given back whole although a stored copy of their content is damaged, because
    /// another pack holds it too; the first thousand.
    pub spared: Vec<AffectedEntry>,
    /// How many there are.
    pub spared_count: u64,
    /// Log records checked.
    pub records: u64,
    /// Snapshots whose trees were walked.
    pub snapshots: u64,
    /// Packs checked.
    pub packs: u64,
    /// Packs whose bytes were read.
    pub packs_read: u64,
    /// Bytes read from the sink.
    pub bytes_read: u64,
    /// Chunks whose id was recomputed.
    pub chunks: u64,
    /// Objects present but named by no record (crashed uploads), informational.
    pub orphans: u64,
    /// Whether a checkpoint knows of log records that are lost; it is among the damages.
    pub records_lost: bool,
    /// What of it was recorded in the log.
    pub recorded: Recorded,
    /// How long ago the packs in force were read whole.
    pub freshness: Freshness,
    /// Wall time, seconds.
    pub seconds: f64,
}
