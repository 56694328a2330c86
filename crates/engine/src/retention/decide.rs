//! Keep or drop: every rule is asked of every snapshot, newest first, and says why.
//!
//! Flagged snapshots take no place from others: whose clock is believed, and whose sources could all be read, is decided among
//! its likes, and only a flagged one is decided among all. So a snapshot with a bent time, or of a source that was not there,
//! never makes another go, and still goes when it would have anyway.
//! Twins take no place either: they are decided among all that are sound as they are, the others without them.
//!
//! Source of the rules: restic, `internal/restic/snapshot_policy.go`; like there, periods without a snapshot do not count, and
//! the oldest snapshot stays while a rule's count is not used up, so that history is as long as it can be.

use super::group::GroupKey;
use super::periods::{PeriodKey, instant, key};
use super::policy::{Limit, Period, Policy, Span};
use super::timeline::ClockTrust;
use crate::twins::Place;
use decube_backup_core::Timestamp;
use decube_backup_format::ids::SnapshotId;
use std::collections::BTreeMap;
use std::fmt;

/// A snapshot as a policy sees it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Which.
    pub id: SnapshotId,
    /// Its place among all: of two at the same time the later one is newer.
    pub place: Place,
    /// When it was recorded, as [`super::timeline`] judged.
    pub time: Timestamp,
    /// Whether its own clock is believed.
    pub clock: ClockTrust,
    /// Whether what was to be backed up was there.
    pub sources: Sources,
    /// Whether a pin is in force.
    pub pinned: bool,
    /// What it is compared with.
    pub group: GroupKey,
    /// Its tags.
    pub tags: Vec<String>,
}

/// Whether what a snapshot was to hold was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sources {
    /// All of it, as far as its backup knows.
    #[default]
    Read,
    /// A root did not exist or could not be read: what was in it is not in the snapshot.
    Missing,
}

/// What becomes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It is forgotten.
    Drop,
}

/// Why a snapshot stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// One of the newest.
    Last,
    /// The newest of its period.
    Newest(Period),
    /// The oldest of all, while periods are left.
    Oldest(Period),
    /// Younger than this before the newest.
    Within(Span),
    /// The newest of its period, younger than this before the newest.
    NewestWithin(Period, Span),
    /// It has these tags.
    Tags(Vec<String>),
    /// It is pinned.
    Pinned,
}

/// Why a rule does not keep a snapshot, or what else makes it go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// As many as this are newer.
    NotAmongLast(u32),
    /// A newer one is in the same period.
    NotNewest(Period),
    /// So many newer periods have a snapshot.
    UsedUp(Period, u32),
    /// Older than this before the newest.
    TooOld(Span),
    /// It lacks the tags.
    Untagged,
    /// It was named.
    Named,
    /// It matches the filter, and no policy was given.
    Matches,
}

/// What becomes of one snapshot, and why.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The snapshot.
    pub subject: Subject,
    /// Why it stays; empty if it goes.
    pub reasons: Vec<Reason>,
    /// What each rule has against it; also of rules that do not keep what another one keeps.
    pub against: Vec<Why>,
}

impl Decision {
    /// Keep or drop.
    pub fn fate(&self) -> Fate {
        if self.reasons.is_empty() { Fate::Drop } else { Fate::Keep }
    }

    /// The reasons of its fate in words.
    pub fn told(&self) -> Vec<String> {
        match self.fate() {
            Fate::Keep => self.reasons.iter().map(ToString::to_string).collect(),
            Fate::Drop => self.against.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Decides for every one of `subjects`, group by group; in their order.
///
/// A policy without rules keeps pinned snapshots only.
pub fn decide(subjects: &[Subject], policy: &Policy) -> Vec<Decision> {
    let mut groups: BTreeMap<&GroupKey, Vec<usize>> = BTreeMap::new();
    for (at, subject) in subjects.iter().enumerate() {
        groups.entry(&subject.group).or_default().push(at);
    }
    let mut said: Vec<Said> = vec![Said::default(); subjects.len()];
    for mut members in groups.into_values() {
        members.sort_by_key(|at| subjects.get(*at).map(|s| std::cmp::Reverse((s.time, s.place))));
        let those = |may_take: &dyn Fn(&Subject) -> bool| -> Vec<usize> {
            members.iter().copied().filter(|at| subjects.get(*at).is_some_and(may_take)).collect()
        };
        let sound = |s: &Subject| s.clock == ClockTrust::Believed && s.sources == Sources::Read;
        let own = |s: &Subject| !s.place.is_twin();
        // First among all, then anew without those that take no place: what is said last counts.
        for list in [&members, &those(&own), &those(&sound), &those(&|s| sound(s) && own(s))] {
            let listed: Vec<&Subject> = list.iter().filter_map(|at| subjects.get(*at)).collect();
            for (at, answer) in list.iter().zip(ask(&listed, policy)) {
                if let Some(slot) = said.get_mut(*at) {
                    *slot = answer;
                }
            }
        }
    }
    subjects
        .iter()
        .zip(said)
        .map(|(subject, said)| {
            let mut reasons = said.reasons;
            if subject.pinned {
                reasons.push(Reason::Pinned);
            }
            Decision { subject: subject.clone(), reasons, against: said.against }
        })
        .collect()
}

/// What all rules say of one snapshot.
#[derive(Clone, Default)]
struct Said {
    reasons: Vec<Reason>,
    against: Vec<Why>,
}

/// A rule that counts periods, and how far it is.
struct Counter {
    period: Period,
    limit: Limit,
    left: Option<u32>,
    span: Option<Span>,
    /// With a span: only what is after this, if anything is before.
    after: Option<jiff::Timestamp>,
    previous: Option<PeriodKey>,
}

impl Counter {
    fn ask(&mut self, subject: &Subject, policy: &Policy, is_oldest: bool) -> Result<Reason, Why> {
        if let Some(span) = self.span
            && self.after.is_some_and(|after| instant(subject.time) <= after)
        {
            return Err(Why::TooOld(span));
        }
        if let (Some(0), Limit::Newest(n)) = (self.left, self.limit) {
            return Err(Why::UsedUp(self.period, n));
        }
        let period = key(self.period, subject.time, &policy.zone);
        let is_newest = self.previous != Some(period);
        if !is_newest && !is_oldest {
            return Err(Why::NotNewest(self.period));
        }
        self.previous = Some(period);
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(match (self.span, is_newest) {
            (_, false) => Reason::Oldest(self.period),
            (Some(span), true) => Reason::NewestWithin(self.period, span),
            (None, true) => Reason::Newest(self.period),
        })
    }
}

fn counters(policy: &Policy, newest: jiff::Timestamp) -> Vec<Counter> {
    let counted = Period::ALL.into_iter().filter(|p| policy.limit(*p) != Limit::Off).map(|period| {
        let limit = policy.limit(period);
        let left = match limit {
            Limit::Newest(n) => Some(n),
            Limit::Off | Limit::Unlimited => None,
        };
        Counter { period, limit, left, span: None, after: None, previous: None }
    });
    let spanned = Period::ALL.into_iter().filter_map(|period| {
        let span = policy.span(period)?;
        let after = span.before(newest, &policy.zone);
        Some(Counter { period, limit: Limit::Unlimited, left: None, span: Some(span), after, previous: None })
    });
    counted.chain(spanned).collect()
}

/// Asks all rules of `list`, which is newest first.
fn ask(list: &[&Subject], policy: &Policy) -> Vec<Said> {
    let Some(newest) = list.first().map(|s| instant(s.time)) else { return Vec::new() };
    let mut counters = counters(policy, newest);
    let within = policy.within.map(|span| (span, span.before(newest, &policy.zone)));
    let answers = list.iter().enumerate().map(|(nth, subject)| {
        let mut said = Said::default();
        let mut note = |answer: Result<Reason, Why>| match answer {
            Ok(reason) => said.reasons.push(reason),
            Err(why) => said.against.push(why),
        };
        match policy.last {
            Limit::Off => {}
            Limit::Newest(n) if nth as u64 >= u64::from(n) => note(Err(Why::NotAmongLast(n))),
            Limit::Newest(_) | Limit::Unlimited => note(Ok(Reason::Last)),
        }
        for counter in &mut counters {
            note(counter.ask(subject, policy, nth + 1 == list.len()));
        }
        if let Some((span, after)) = within {
            let is_young = after.is_none_or(|after| instant(subject.time) > after);
            note(if is_young { Ok(Reason::Within(span)) } else { Err(Why::TooOld(span)) });
        }
        if !policy.tags.is_empty() {
            let had = policy.tags.iter().find(|tags| tags.iter().all(|tag| subject.tags.contains(tag)));
            note(had.map_or(Err(Why::Untagged), |tags| Ok(Reason::Tags(tags.clone()))));
        }
        said
    });
    answers.collect()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("among the last"),
            Self::Newest(period) => write!(f, "{}", period.adverb()),
            Self::Oldest(period) => write!(f, "oldest {}", period.adverb()),
            Self::Within(span) => write!(f, "within {span}"),
            Self::NewestWithin(period, span) => write!(f, "{} within {span}", period.adverb()),
            Self::Tags(tags) => write!(f, "tag {}", tags.join(",")),
            Self::Pinned => f.write_str("pinned"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAmongLast(n) => write!(f, "not among the last {n}"),
            Self::NotNewest(period) => write!(f, "not the newest of its {}", period.noun()),
            Self::UsedUp(period, n) => write!(f, "older than {n} {}s", period.noun()),
            Self::TooOld(span) => write!(f, "older than {span}"),
            Self::Untagged => f.write_str("not tagged"),
            Self::Named => f.write_str("named"),
            Self::Matches => f.write_str("matches the filter"),
        }
    }
}
