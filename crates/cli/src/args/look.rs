//! Arguments of the commands that only look.

use crate::args::TimeArgs;
use crate::units;
use clap::{Args, ValueEnum};
use decube_backup_core::Timestamp;
use decube_backup_engine::options::Subset;
use std::ffi::OsString;

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
    pub snapshot: OsString,
    /// Path in the snapshot
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,
    /// What the backup could not read, instead of what it read
    #[arg(long, conflicts_with_all = ["long", "recursive"])]
    pub problems: bool,
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
    /// Look only in these snapshots, below :PATH if one is given [default: all]
    #[arg(short, long, value_name = "SNAPSHOT[:PATH]")]
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
#[command(after_help = "Lines start with + (only in the second), - (only in the first), M (content differs) \
    or U (only attributes differ).\n\nExample:\n  decube-backup diff latest~1 latest")]
pub struct DiffArgs {
    /// The older snapshot, with an optional :PATH
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub first: OsString,
    /// The newer snapshot
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub second: OsString,
}

/// Arguments of `verify`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Without options the structure is checked: the log's chain, every object present with its right \
    size, trees and index complete. Exit code 13 means damage; what it hits is listed.\n\nExamples:\n  \
    decube-backup verify\n  decube-backup verify --read-data\n  \
    decube-backup verify --read-data-subset 3/30      a thirtieth each day of the month\n  \
    decube-backup verify --read-data-subset 10GiB\n  \
    decube-backup verify --scrub                      needs no password\n  \
    decube-backup verify --within 30d --budget-time 2h   every byte within 30 days, two hours a night\n  \
    decube-backup verify --read-data --record         damage found is healed by the next backup\n\n\
    With --record and --within the repository itself remembers which packs were read and sound, and which are \
    damaged: all hosts share it, and nothing new relies on damaged packs. Without them nothing is written."
)]
pub struct VerifyArgs {
    /// Read and check all content
    #[arg(long, conflicts_with_all = ["read_data_subset", "scrub", "within"])]
    pub read_data: bool,
    /// Read and check part of the content: group N/T of T, P% or a SIZE
    #[arg(long, value_name = "N/T|P%|SIZE", value_parser = subset_of, conflicts_with_all = ["scrub", "within"])]
    pub read_data_subset: Option<Subset>,
    /// Check every pack's plain hash; needs no password or key
    #[arg(long, conflicts_with_all = ["snapshot", "record", "within"])]
    pub scrub: bool,
    /// Read what was not read for so long, such as 30d, the longest unread first, and record it
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub within: Option<u64>,
    /// Begin no pack after this time, such as 2h
    #[arg(long, value_name = "SPAN", value_parser = span, requires = "within")]
    pub budget_time: Option<u64>,
    /// Read at most about this much
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, requires = "within")]
    pub budget_bytes: Option<u64>,
    /// Read at most about this share of all packs: N/T or P%
    #[arg(long, value_name = "N/T|P%", value_parser = share_of, requires = "within")]
    pub budget_share: Option<f64>,
    /// Record in the repository which packs are sound and which are damaged
    #[arg(long)]
    pub record: bool,
    /// Store again what parity brings back of damaged packs, and what else is readable in them; implies --record
    #[arg(long, conflicts_with_all = ["scrub", "snapshot"])]
    pub repair: bool,
    /// Check only what these snapshots need
    #[arg(short, long, value_name = "SNAPSHOT")]
    pub snapshot: Vec<String>,
}

/// A span such as `30d`, in seconds.
fn span(text: &str) -> Result<u64, String> {
    units::parse_span_seconds(text).map_err(|_| format!("{text:?} is not a time span; write 30d, 12h or 90m"))
}

/// `n/t` or `p%`, in percent.
fn share_of(text: &str) -> Result<f64, String> {
    match subset_of(text) {
        Ok(Subset::Percent(percent)) => Ok(percent),
        Ok(Subset::Group { n, of }) => Ok(f64::from(n) * 100.0 / f64::from(of)),
        _ => Err(format!("{text:?} is not a share; write 1/20 or 5%")),
    }
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
    fn shares_and_spans_are_read() {
        assert_eq!([share_of("1/20"), share_of("2.5%")], [Ok(5.0), Ok(2.5)]);
        assert_eq!((span("30d"), span("90m")), (Ok(2_592_000), Ok(5400)));
        for bad in ["10GiB", "0%", "2/1", "x"] {
            assert!(share_of(bad).is_err(), "{bad}");
        }
        assert!(span("soon").is_err());
    }

    #[test]
    fn size_bounds_are_read() {
        assert_eq!(size_bound("+1k"), Ok(SizeBound::AtLeast(1024)));
        assert_eq!(size_bound("-1k"), Ok(SizeBound::AtMost(1024)));
        assert_eq!(size_bound("7"), Ok(SizeBound::Exactly(7)));
        assert!(size_bound("").is_err());
    }
}
