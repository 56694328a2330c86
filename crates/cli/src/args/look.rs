//! Arguments of the commands that only look.

use crate::args::TimeArgs;
use crate::units;
use clap::{Args, ValueEnum};
use decube_backup_core::Timestamp;
use decube_backup_engine::options::Subset;

/// Arguments of `snapshots`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  decube-backup snapshots\n  decube-backup snapshots --name home --latest 5 --json\n  \
    decube-backup snapshots --forgotten\n\n\
    The last column tells of pins, and of clocks that the repository's storage contradicts."
)]
pub struct SnapshotsArgs {
    /// Those forgotten and not yet gone instead: `undelete` gives them back
    #[arg(long)]
    pub forgotten: bool,
    /// Only of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Only of this host
    #[arg(short = 'H', long)]
    pub host: Option<String>,
    /// Only with all of these tags
    #[arg(long, value_delimiter = ',')]
    pub tag: Vec<String>,
    /// Only of this backed-up path
    #[arg(long)]
    pub path: Option<String>,
    /// Only the newest N of each name
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
}

/// Arguments of `ls`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  decube-backup ls latest:/home/ann\n  decube-backup ls -lR home~1 /etc")]
pub struct LsArgs {
    /// Snapshot, with an optional :PATH
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub snapshot: String,
    /// Path in the snapshot
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// Choosing by time.
    #[command(flatten)]
    pub time: TimeArgs,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// Everything below too
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// Kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Regular files
    #[value(name = "f", alias = "file")]
    File,
    /// Directories
    #[value(name = "d", alias = "dir")]
    Directory,
    /// Symbolic links
    #[value(name = "l", alias = "link")]
    Link,
    /// Pipes and devices
    #[value(name = "o", alias = "other")]
    Other,
}

/// Arguments of `find`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "A pattern without a slash is matched with names, one with a slash with whole paths.\n\n\
    Examples:\n  decube-backup find '*.odt'\n  decube-backup find '/home/*/.ssh/**' --snapshot latest\n  \
    decube-backup find '*' --size +1G --newer 7d --type f")]
pub struct FindArgs {
    /// Glob patterns; what matches one of them is found
    #[arg(value_name = "PATTERN", required = true)]
    pub patterns: Vec<String>,
    /// Upper and lower case are the same
    #[arg(short, long)]
    pub ignore_case: bool,
    /// Look only in these snapshots [default: all]
    #[arg(short, long, value_name = "SNAPSHOT")]
    pub snapshot: Vec<String>,
    /// Only what was modified after this time
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub newer: Option<Timestamp>,
    /// Only what was modified before this time
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub older: Option<Timestamp>,
    /// Only this kind of entry
    #[arg(long, value_enum)]
    pub r#type: Option<KindArg>,
    /// Only files of at least (+1M) or at most (-1M) this size
    #[arg(long, value_name = "[+-]SIZE", allow_hyphen_values = true, value_parser = size_bound)]
    pub size: Vec<SizeBound>,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
}

/// A bound on sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeBound {
    /// At least this many bytes.
    AtLeast(u64),
    /// At most this many bytes.
    AtMost(u64),
    /// Exactly this many bytes.
    Exactly(u64),
}

impl SizeBound {
    /// Whether `size` is within.
    pub fn holds(self, size: u64) -> bool {
        match self {
            Self::AtLeast(bytes) => size >= bytes,
            Self::AtMost(bytes) => size <= bytes,
            Self::Exactly(bytes) => size == bytes,
        }
    }
}

fn size_bound(text: &str) -> Result<SizeBound, String> {
    match text.split_at_checked(1) {
        Some(("+", rest)) => units::parse_size(rest).map(SizeBound::AtLeast),
        Some(("-", rest)) => units::parse_size(rest).map(SizeBound::AtMost),
        _ => units::parse_size(text).map(SizeBound::Exactly),
    }
}

/// Arguments of `diff`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Lines start with + (only in the second), - (only in the first), M (content differs)\n\
    or U (only attributes differ).\n\nExample:\n  decube-backup diff latest~1 latest")]
pub struct DiffArgs {
    /// The older snapshot, with an optional :PATH
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub first: String,
    /// The newer snapshot
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub second: String,
}

/// Arguments of `stats`.
#[derive(Clone, Copy, Debug, Args)]
pub struct StatsArgs {}

/// Arguments of `verify`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Without options the structure is checked: the log's chain, every object present with its right\n\
    size, trees and index complete. Exit code 13 means damage; what it hits is listed.\n\nExamples:\n  \
    decube-backup verify\n  decube-backup verify --read-data\n  \
    decube-backup verify --read-data-subset 3/30      a thirtieth each day of the month\n  \
    decube-backup verify --read-data-subset 10GiB\n  \
    decube-backup verify --scrub                      needs no password"
)]
pub struct VerifyArgs {
    /// Read and check all content
    #[arg(long, conflicts_with_all = ["read_data_subset", "scrub"])]
    pub read_data: bool,
    /// Read and check part of the content: group N/T of T, P% or a SIZE
    #[arg(long, value_name = "N/T|P%|SIZE", value_parser = subset_of, conflicts_with = "scrub")]
    pub read_data_subset: Option<Subset>,
    /// Check every pack's plain hash; needs no password or key
    #[arg(long, conflicts_with = "snapshot")]
    pub scrub: bool,
    /// Check only what these snapshots need
    #[arg(short, long, value_name = "SNAPSHOT")]
    pub snapshot: Vec<String>,
}

/// `n/t`, `p%` or a size.
///
/// # Errors
/// What does not fit, for clap.
pub fn subset_of(text: &str) -> Result<Subset, String> {
    let wrong = || format!("{text:?} is not a subset; write 1/10, 2.5% or 10GiB");
    if let Some((n, of)) = text.split_once('/') {
        return match (n.parse(), of.parse()) {
            (Ok(n), Ok(of)) if (1..=of).contains(&n) => Ok(Subset::Group { n, of }),
            _ => Err(wrong()),
        };
    }
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.trim().parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Subset::Percent(percent)),
            _ => Err(wrong()),
        };
    }
    match units::parse_size(text) {
        Ok(bytes) if bytes > 0 => Ok(Subset::Bytes(bytes)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_read() {
        assert_eq!(subset_of("2/5"), Ok(Subset::Group { n: 2, of: 5 }));
        assert_eq!(subset_of("2.5%"), Ok(Subset::Percent(2.5)));
        assert_eq!(subset_of("1GiB"), Ok(Subset::Bytes(1 << 30)));
        for bad in ["0/5", "6/5", "0%", "101%", "x", "", "1/0", "0"] {
            assert!(subset_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn size_bounds_are_read() {
        assert_eq!(size_bound("+1k"), Ok(SizeBound::AtLeast(1024)));
        assert_eq!(size_bound("-1k"), Ok(SizeBound::AtMost(1024)));
        assert_eq!(size_bound("7"), Ok(SizeBound::Exactly(7)));
        assert!(size_bound("").is_err());
    }
}
