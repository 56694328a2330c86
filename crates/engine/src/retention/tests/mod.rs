//! The policy as tables, and against an oracle that knows nothing of how it is done.

mod calendar;
mod clocks;
mod guard;
mod oracle;
mod rules;

use super::*;
use crate::twins::Place;
use decube_backup_core::Timestamp;
use decube_backup_format::ids::SnapshotId;

/// The moment `text`, RFC 3339.
fn at(text: &str) -> Timestamp {
    text.parse::<jiff::Timestamp>().expect("a time").into()
}

/// A snapshot recorded at `text`, number `n` of the log.
fn subject(n: usize, text: &str) -> Subject {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    Subject {
        id: SnapshotId(id),
        place: Place::of_backup(n as u64),
        time: at(text),
        clock: ClockTrust::Believed,
        sources: Sources::Read,
        pinned: false,
        group: GroupKey::default(),
        tags: Vec::new(),
    }
}

fn subjects(times: &[&str]) -> Vec<Subject> {
    times.iter().enumerate().map(|(n, text)| subject(n, text)).collect()
}

/// Places of what `policy` keeps of `subjects`.
fn kept(subjects: &[Subject], policy: &Policy) -> Vec<usize> {
    let decisions = decide(subjects, policy);
    assert_eq!(decisions.len(), subjects.len());
    (0..subjects.len()).filter(|n| decisions[*n].fate() == Fate::Keep).collect()
}

fn policy(period: Period, n: u32) -> Policy {
    Policy::default().keeping(period, Limit::Newest(n))
}
