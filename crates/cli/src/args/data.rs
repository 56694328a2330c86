//! Arguments of the commands that move data.

use crate::units;
use clap::{Args, ValueEnum};
use decube_backup_core::Timestamp;
use decube_backup_engine::select;
use std::ffi::OsString;
use std::path::PathBuf;

/// What stays out of a backup.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Excluding")]
pub struct ExcludeArgs {
    /// Leave out what matches a gitignore pattern; `!` takes back, the last match wins
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Like --exclude, upper and lower case are the same
    #[arg(long, value_name = "PATTERN")]
    pub iexclude: Vec<String>,
    /// Read exclude patterns from a file
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// Honour ignore files of this name found in the tree, such as .gitignore
    #[arg(long, value_name = "NAME")]
    pub ignore_file: Vec<String>,
    /// Leave out the content of directories marked by a CACHEDIR.TAG
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out the content of directories that hold this name
    #[arg(long, value_name = "NAME")]
    pub exclude_if_present: Vec<String>,
    /// Leave out files larger than this
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub exclude_larger_than: Option<u64>,
    /// Leave out files flagged `no dump` (chattr +d)
    #[arg(long)]
    pub exclude_nodump: bool,
    /// Stay on the file systems the paths are on
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
}

/// Arguments of `backup`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:\n  \
    decube-backup backup --name home ~ --exclude-caches -e '*.o'\n  \
    decube-backup backup --name etc --tag daily --label site=berlin /etc\n  \
    decube-backup backup -n ~          what would be done, without writing\n  \
    set -o pipefail; pg_dump db | decube-backup backup --name db --stdin --stdin-filename db.sql\n\n\
    With --stdin, a program that dies looks like one that is done: what it wrote becomes a snapshot. `set -o pipefail` \
    lets the script see it. An input that cannot be read on is a failure: no snapshot is made. \
    Unreadable files do not stop a backup: they are listed, counted in the snapshot, and the exit code is 3. \
    Patterns are those of .gitignore; ask `explain-exclude` why a path stays out.")]
pub struct BackupArgs {
    /// What to back up
    #[arg(value_name = "PATH", required_unless_present_any = ["optional_source", "stdin"])]
    pub paths: Vec<PathBuf>,
    /// Back up standard input as one file instead
    #[arg(long, conflicts_with_all = ["paths", "optional_source", "ExcludeArgs"])]
    pub stdin: bool,
    /// Path of that file in the snapshot [default: stdin]
    #[arg(long, value_name = "NAME", requires = "stdin", conflicts_with_all = ["paths", "optional_source"])]
    pub stdin_filename: Option<String>,
    /// Back this up too if it exists; if not, say so and go on
    #[arg(long, value_name = "PATH")]
    pub optional_source: Vec<PathBuf>,
    /// Name of the series; made of the paths if not given
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
    /// Tag the snapshot; several are joined by commas or given again
    #[arg(long, value_delimiter = ',', value_parser = not_empty)]
    pub tag: Vec<String>,
    /// Label the snapshot
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub label: Vec<(String, String)>,
    /// Record this host [env: DECUBE_BACKUP_HOST] [default: this one]
    #[arg(short = 'H', long, value_parser = not_empty)]
    pub host: Option<String>,
    /// Record this time instead of now
    #[arg(long, value_parser = units::parse_time)]
    pub time: Option<Timestamp>,
    /// Compare with this snapshot instead of the newest of the same name and host
    #[arg(long, value_name = "SNAPSHOT")]
    pub parent: Option<String>,
    /// Read every file, even if size, times and inode say it is unchanged, and rely on no pack that is missing from the repository;
    /// a path in which nothing is any more is right so, and so is an empty standard input
    #[arg(short, long)]
    pub force: bool,
    /// Say what would be done, write nothing; with -v also which files are new or changed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// How hard to compress: auto, or a zstd level 1 to 19
    #[arg(long, value_name = "LEVEL", default_value = "auto", value_parser = compression)]
    pub compression: Compression,
    /// What stays out.
    #[command(flatten)]
    pub exclude: ExcludeArgs,
}

/// How hard to compress; `None` for the measured default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression(pub Option<i32>);

/// `auto` or a level.
///
/// # Errors
/// What does not fit, for clap.
pub fn compression(text: &str) -> Result<Compression, String> {
    match text.parse() {
        _ if text == "auto" => Ok(Compression(None)),
        Ok(level @ 1..=19) => Ok(Compression(Some(level))),
        _ => Err("give auto or a level from 1 to 19".to_owned()),
    }
}

/// The name of a new snapshot.
pub(super) fn name(text: &str) -> Result<String, String> {
    match select::check_name(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("an empty text is none".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give KEY=VALUE".to_owned()),
    }
}

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each source of a pipeline becomes one snapshot, labelled with the source as its component, in the \
    repository of the pipeline's sink: -r is refused, and DECUBE_BACKUP_REPOSITORY is not used. \
    One that fails does not stop the others; the exit code is the worst. A pipeline with a retention policy then \
    forgets what the policy does not keep of what it made on this host, unless one of its backups failed; and nothing of \
    a source of which a path was missing or unreadable.\n\n\
    Examples:\n  decube-backup --config /etc/decube/backup.yaml run\n  decube-backup run databases -n"
)]
pub struct RunArgs {
    /// Pipelines to run [default: all]
    #[arg(value_name = "PIPELINE")]
    pub pipelines: Vec<String>,
    /// Say what would be done, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read every file, even if size, times and inode say it is unchanged; a path in which nothing is any more is right so
    #[arg(short, long)]
    pub force: bool,
}

/// Choosing a snapshot by time.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct TimeArgs {
    /// Take the newest matching snapshot at or before this time; a date is the end of that day, UTC
    #[arg(long, visible_alias = "as-of", value_name = "TIME", value_parser = units::parse_as_of)]
    pub timestamp: Option<Timestamp>,
}

/// What happens to files that exist already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OverwriteArg {
    /// Rewritten unless size and time say they are the same
    #[default]
    IfChanged,
    /// Rewritten if the snapshot's file is newer
    IfNewer,
    /// Always rewritten, only the parts that differ
    Always,
    /// Kept
    Never,
}

/// Who owns what is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OwnerArg {
    /// The recorded numbers
    #[default]
    Ids,
    /// The recorded names where this system knows them, else the numbers: for a system that gives them out anew. ACLs keep numbers
    Names,
    /// Whoever runs the restore
    Keep,
}

/// Where holes are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SparseArg {
    /// Where the original had them
    #[default]
    Recorded,
    /// Wherever there is a long run of zeros
    Zeros,
}

/// Arguments of `restore`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "With :PATH the content of PATH lands directly in the target; without it the whole tree \
    with its full paths.\n\nExamples:\n  \
    decube-backup restore latest -t /tmp/all\n  \
    decube-backup restore latest:/home/ann -t /home/ann --overwrite if-changed\n  \
    decube-backup restore db --timestamp '2024-01-15 10:30' -t /srv/db -n\n  \
    decube-backup restore home~1 -t /tmp/x --include '*.odt'")]
pub struct RestoreArgs {
    /// Snapshot: latest, latest~2, NAME, NAME~1, NAME@TIME, HOST:NAME or an id, each with an optional :PATH
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: OsString,
    /// Directory to restore to; created if it is missing, else its own mode, owner and time stay
    #[arg(short, long, value_name = "DIR")]
    pub target: PathBuf,
    /// Choosing by time.
    #[command(flatten)]
    pub time: TimeArgs,
    /// Restore only what matches a gitignore pattern; `/a/b` is anchored at the snapshot's root, whatever :PATH is
    #[arg(short, long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Do not restore what matches a gitignore pattern, anchored in the same way
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// What happens to files that exist already
    #[arg(long, value_enum, value_name = "WHEN", default_value = "if-changed")]
    pub overwrite: OverwriteArg,
    /// Delete what is in the restored directories but not in the snapshot
    #[arg(long)]
    pub delete: bool,
    /// Make holes of zeros
    #[arg(long, value_enum, value_name = "WHERE", default_value = "recorded", default_missing_value = "zeros", num_args = 0..=1, require_equals = true)]
    pub sparse: SparseArg,
    /// Who owns what is restored
    #[arg(long, value_enum, value_name = "WHO", default_value = "ids")]
    pub owner: OwnerArg,
    /// The same as --owner keep
    #[arg(long, conflicts_with = "owner")]
    pub no_owner: bool,
    /// Say what would be done, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Arguments of `dump`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  decube-backup dump latest:/etc/hosts\n  \
    decube-backup dump latest:/srv/db --archive tar | tar -t")]
pub struct DumpArgs {
    /// Snapshot and path: SNAPSHOT:PATH
    #[arg(value_name = "SNAPSHOT:PATH")]
    pub snapshot: OsString,
    /// Choosing by time.
    #[command(flatten)]
    pub time: TimeArgs,
    /// Write a directory or file as an archive of this kind
    #[arg(short, long, value_parser = ["tar"])]
    pub archive: Option<String>,
}
