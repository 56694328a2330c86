//! How much may go in one run.
//!
//! A policy with a typing error, a filter that matches too much: both look like an order. So two things are never done without being
//! told so explicitly: leaving a group without any snapshot, and dropping more than a share of all snapshots. What a
//! person named one by one may be any share, but not the last of a group.

use super::group::GroupKey;
use std::collections::BTreeSet;
use std::fmt;

/// Fewer than so many dropped snapshots are never too large a share: half of two is one.
pub const SHARE_COUNT_MIN: usize = 3;
/// Largest share of all snapshots dropped in one run by default, percent.
pub const SHARE_PERCENT_DEFAULT: u8 = 50;

/// How much may go in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// Whether groups may be left without a snapshot.
    pub allow_empty_group: bool,
    /// Largest share of all live snapshots, percent; `None` for what was named one by one.
    pub share_percent_max: Option<u8>,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self { allow_empty_group: false, share_percent_max: Some(SHARE_PERCENT_DEFAULT) }
    }
}

/// Why nothing was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// These groups would have no snapshot left.
    EmptyGroups(Vec<GroupKey>),
    /// Too many at once.
    Share {
        /// Snapshots that would go.
        dropped: usize,
        /// All live snapshots of the repository.
        all: usize,
        /// What is allowed, percent.
        percent_max: u8,
    },
    /// Named snapshots are pinned; their ids.
    Pinned(Vec<decube_backup_format::ids::SnapshotId>),
}

impl Refusal {
    /// The share it was about to drop, percent, rounded up: as a limit it lets just this pass.
    pub fn share_percent(&self) -> Option<usize> {
        match self {
            Self::Share { dropped, all, .. } => Some(percent(*dropped, *all)),
            Self::EmptyGroups(_) | Self::Pinned(_) => None,
        }
    }

    /// What would allow it in the command `forget`.
    pub fn hint(&self) -> String {
        match self {
            Self::EmptyGroups(_) => {
                "nothing was forgotten; --allow-empty-group lets the last snapshots of a group go".into()
            }
            Self::Share { dropped, all, .. } => format!(
                "nothing was forgotten; look at the list with --dry-run, and if it is right allow it once with --allow-share {}",
                percent(*dropped, *all)
            ),
            Self::Pinned(_) => {
                "nothing was forgotten; take the pin off first: `decube-backup tag SNAPSHOT --unpin`".into()
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyGroups(groups) => {
                let shown: Vec<String> = groups.iter().take(3).map(ToString::to_string).collect();
                let more = if groups.len() > shown.len() { ", and others" } else { "" };
                write!(f, "this would leave no snapshot of {}{more}", shown.join("; "))
            }
            Self::Share { dropped, all, percent_max } => write!(
                f,
                "this would forget {dropped} of {all} snapshots ({} %), more than the {percent_max} % of one run",
                percent(*dropped, *all)
            ),
            Self::Pinned(ids) => {
                let shown: Vec<String> = ids.iter().take(3).map(|id| id.to_hex().chars().take(8).collect()).collect();
                let more = if ids.len() > shown.len() { " and others" } else { "" };
                write!(f, "pinned snapshots are not forgotten: {}{more}", shown.join(", "))
            }
        }
    }
}

/// `part` of `all` in percent, rounded up.
fn percent(part: usize, all: usize) -> usize {
    (part * 100).div_ceil(all.max(1))
}

/// What forbids to drop the snapshots of `dropped` while those of `kept` stay; both by group, and together all live ones.
pub fn check(kept: &[&GroupKey], dropped: &[&GroupKey], limits: &GuardLimits) -> Option<Refusal> {
    if !limits.allow_empty_group {
        let left: BTreeSet<&GroupKey> = kept.iter().copied().collect();
        let emptied: BTreeSet<&GroupKey> = dropped.iter().copied().filter(|group| !left.contains(group)).collect();
        if !emptied.is_empty() {
            return Some(Refusal::EmptyGroups(emptied.into_iter().cloned().collect()));
        }
    }
    let percent_max = limits.share_percent_max?;
    let (dropped, all) = (dropped.len(), dropped.len() + kept.len());
    let too_many = dropped >= SHARE_COUNT_MIN && dropped * 100 > usize::from(percent_max) * all;
    too_many.then_some(Refusal::Share { dropped, all, percent_max })
}
