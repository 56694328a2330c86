//! The command lines of the two small programs.

use crate::args::{GlobalArgs, HELP_COLUMNS, TimeArgs, subset_of};
use clap::{Parser, Subcommand};
use decube_backup_engine::options::Subset;
use std::path::PathBuf;

/// Named snapshots in three commands.
///
/// A shorter way to `decube-backup backup --name ID`, `restore` and `snapshots`; repository and
/// password are given the same way.
#[derive(Debug, Parser)]
#[command(name = "decub-snapshot", version, max_term_width = HELP_COLUMNS)]
#[command(after_help = "Examples:\n  decub-snapshot create snapshot-001 /var/lib/decube\n  decub-snapshot list\n  \
    decub-snapshot restore snapshot-001 /data/restore\n  \
    decub-snapshot restore snapshot-001 --timestamp 2024-01-15T10:30:00Z /data/restore")]
pub struct SmallSnapshotArgs {
    /// Options every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: SmallSnapshotCommand,
}

/// What to do with named snapshots.
#[derive(Debug, Subcommand)]
pub enum SmallSnapshotCommand {
    /// Snapshot paths under a name
    Create {
        /// Name of the snapshot; a name used before gets a new version
        #[arg(value_name = "ID", value_parser = crate::args::data::name)]
        id: String,
        /// What to snapshot
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Restore the newest version of a name
    Restore {
        /// Name or id of the snapshot, with an optional :PATH
        #[arg(value_name = "ID")]
        id: String,
        /// Directory to restore to; created if it is missing, else its own mode, owner and time stay
        #[arg(value_name = "DEST")]
        target: PathBuf,
        /// Choosing by time.
        #[command(flatten)]
        time: TimeArgs,
    },
    /// List snapshots
    List,
}

/// Integrity checks.
///
/// Exit code 0 means sound, 13 means damage or silent corruption was found.
#[derive(Debug, Parser)]
#[command(name = "decube-verify", version, max_term_width = HELP_COLUMNS)]
#[command(
    after_help = "Examples:\n  decube-verify --check-integrity\n  decube-verify --check-integrity --read-data\n  \
    decube-verify --check-integrity --read-data-subset 1/30\n  \
    decube-verify --data-dir /var/lib/decube\n\n\
    --data-dir lists what is missing, new, changed, and corrupted: content that differs while size and time do not."
)]
pub struct SmallVerifyArgs {
    /// Options every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// Check the repository: the log's chain, every object, trees and index
    #[arg(long, required_unless_present = "data_dir")]
    pub check_integrity: bool,
    /// Compare a live directory with its newest snapshot
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check_integrity", "read_data", "read_data_subset"])]
    pub data_dir: Option<PathBuf>,
    /// Compare with this snapshot instead
    #[arg(short, long, value_name = "SNAPSHOT", requires = "data_dir", conflicts_with = "check_integrity")]
    pub snapshot: Option<String>,
    /// Read and check all content too
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Read and check part of the content: group N/T of T, P% or a SIZE
    #[arg(long, value_name = "N/T|P%|SIZE", value_parser = subset_of)]
    pub read_data_subset: Option<Subset>,
}
