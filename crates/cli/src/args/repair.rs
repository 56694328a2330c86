//! Arguments of `repair`.

use clap::{Args, Subcommand};

/// Arguments of `repair`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Every repair is a dry run until --apply is given, and says what it would do. Nothing is deleted \
    that cannot be made again; what this program cannot read, but cannot prove to be damaged, is left alone. \
    The local cache is not used.\n\nIn this order, after `verify --read-data`:\n  \
    decube-backup repair index --apply\n  \
    decube-backup repair packs --read-data --apply     what is left in damaged packs is kept\n  \
    decube-backup backup ...                           stores again what the sources still have\n  \
    decube-backup repair snapshots                     which files are lost for good\n\n\
    Exit code 13: there is something to repair. 3: repaired as far as possible, something is lost."
)]
pub struct RepairArgs {
    /// What to repair.
    #[command(subcommand)]
    pub command: RepairCommand,
}

/// What to repair.
#[derive(Clone, Debug, Subcommand)]
pub enum RepairCommand {
    /// Write index segments anew from the packs' own tables of contents
    Index(ApplyArgs),
    /// Remove damaged checkpoints and store the newest again
    Checkpoints(ApplyArgs),
    /// Store again what can be read from damaged packs, and mark these
    Packs(RepairPacksArgs),
    /// Write parity for packs that have none, or whose parity is missing or damaged
    Parity(RepairParityArgs),
    /// Make a copy of each damaged snapshot that holds everything readable
    Snapshots(RepairSnapshotsArgs),
}

/// Whether anything is written.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ApplyArgs {
    /// Really repair
    #[arg(long)]
    pub apply: bool,
    /// Say what would be done, write nothing; the default
    #[arg(short = 'n', long, conflicts_with = "apply")]
    pub dry_run: bool,
}

/// Arguments of `repair packs`.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(
    after_help = "Without --read-data packs that are missing, have a wrong length or are recorded as damaged are \
    looked at; with it every pack is read.\n\nExamples:\n  decube-backup repair packs\n  \
    decube-backup repair packs --read-data --apply"
)]
pub struct RepairPacksArgs {
    /// Whether anything is written.
    #[command(flatten)]
    pub apply: ApplyArgs,
    /// Read all content to find damage
    #[arg(long)]
    pub read_data: bool,
}

/// Arguments of `repair parity`.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(
    after_help = "How much is said by --parity, DECUBE_BACKUP_PARITY or the configuration. Every pack that needs parity is read \
    once. Without --read-data parity that is missing or has a wrong length is found; with it damaged parity too. \
    Parity repairs what rots in place; a pack that is gone, or a disk, it does not bring back.\n\nExamples:\n  \
    decube-backup repair parity --parity 10\n  \
    decube-backup repair parity --parity 10 --read-data --apply"
)]
pub struct RepairParityArgs {
    /// Whether anything is written.
    #[command(flatten)]
    pub apply: ApplyArgs,
    /// Read all parity to find damage
    #[arg(long)]
    pub read_data: bool,
}

/// Arguments of `repair snapshots`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "The copy has the name, host, labels and time of the original and the tag `repaired`; files that \
    cannot be given back whole are left out, and listed in it by path. The original stays unless --forget-damaged.\n\n\
    Examples:\n  decube-backup repair snapshots --read-data\n  \
    decube-backup repair snapshots latest --apply\n  decube-backup repair snapshots --apply --forget-damaged"
)]
pub struct RepairSnapshotsArgs {
    /// Only these snapshots [default: all]
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Whether anything is written.
    #[command(flatten)]
    pub apply: ApplyArgs,
    /// Read all content to find damage
    #[arg(long)]
    pub read_data: bool,
    /// Forget damaged snapshots that have a repaired copy, unless they are pinned
    #[arg(long, requires = "apply")]
    pub forget_damaged: bool,
}
