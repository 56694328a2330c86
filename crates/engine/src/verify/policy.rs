//! Verification as a policy: every byte within so much time, a part in each run.
//!
//! When a pack was last read whole is in the log ([`Payload::Verified`]), so all hosts share it: whoever runs next takes
//! what was not looked at for the longest time, in an order of its own among equals, and passes over what another has
//! read meanwhile. A time in the future is no proof of anything: such a pack counts as never read.
//!
//! [`Payload::Verified`]: decube_backup_format::log::Payload

use super::packs::Packs;
use crate::options::Damage;
use crate::repository::Repository;
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{PackName, pack_key};
use std::collections::HashSet;

/// Hosts' clocks differ; a reading that lies further ahead than this is not believed, seconds.
const AHEAD_MAX_S: i64 = 86_400;

/// Every byte is to be read again within a time, and one run may do so much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The longest time between two readings of a byte, seconds. A pack is read again once nine tenths of it have
    /// passed, so that runs at intervals of up to a tenth keep it.
    pub within_s: u64,
    /// Where a run ends early.
    pub budget: Budget,
}

/// Bounds of one run; each reads one pack at least. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Time from the run's beginning after which no pack is begun, seconds.
    pub seconds: Option<u64>,
    /// Bytes of packs.
    pub bytes: Option<u64>,
    /// Bytes of packs, percent of all packs in force.
    pub percent: Option<f64>,
}

/// How long ago the content in force was read and found sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Freshness {
    /// Packs that were read whole at least once.
    pub verified_packs: u64,
    /// Packs that never were, or were found damaged since.
    pub unverified_packs: u64,
    /// Bytes of those.
    pub unverified_bytes: u64,
    /// When the pack that was not read for the longest time was read, of those that were; RFC 3339 in JSON.
    #[serde(serialize_with = "as_text")]
    pub oldest_verified: Option<Timestamp>,
}

fn as_text<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Age of the last reading, seconds; `None` if there is none to believe.
fn age_s(state: &State, pack: &PackName, now: Timestamp) -> Option<i64> {
    let age = now.seconds.saturating_sub(state.verified(pack)?);
    (age >= -AHEAD_MAX_S).then_some(age.max(0))
}

/// How long ago the content `state` has in force was read, seen at `now`.
pub fn freshness(state: &State, now: Timestamp) -> Freshness {
    let mut freshness = Freshness::default();
    let mut oldest = None;
    for (name, info) in state.live_packs() {
        match age_s(state, &name, now) {
            Some(age) => {
                freshness.verified_packs += 1;
                oldest = oldest.max(Some(age));
            }
            None => {
                freshness.unverified_packs += 1;
                freshness.unverified_bytes += u64::from(info.len);
            }
        }
    }
    freshness.oldest_verified =
        oldest.map(|age| Timestamp { seconds: now.seconds.saturating_sub(age), nanoseconds: 0 });
    freshness
}

/// Packs that are not read within a time: longer ago, or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Those that only nobody has read.
    pub unread: u64,
    /// Those that cannot be read whole: damaged or missing.
    pub damaged: u64,
}

/// Packs that are not read within `within_s`, seen at `now`; `damages` are those found by a verification, whether they
/// are recorded or not.
///
/// # Errors
/// `Internal` only.
pub fn overdue(state: &State, damages: &[Damage], within_s: u64, now: Timestamp) -> Result<Overdue> {
    let found: HashSet<&str> = damages.iter().map(|damage| damage.object.as_str()).collect();
    let mut overdue = Overdue::default();
    for (name, _) in state.live_packs() {
        if age_s(state, &name, now).is_some_and(|age| age.unsigned_abs() <= within_s) {
            continue;
        }
        let is_damaged = state.is_damaged(&name) || found.contains(pack_key(&name)?.as_str());
        *(if is_damaged { &mut overdue.damaged } else { &mut overdue.unread }) += 1;
    }
    Ok(overdue)
}

/// What a run should read, the longest unread first, equals in the order they come; as much as the budget has bytes.
pub(super) fn due(repo: &Repository, policy: &Policy, all: &mut Packs) {
    let (state, now) = (repo.state(), repo.env.clock.now());
    let total: u64 = all.iter().map(|(_, info)| u64::from(info.len)).sum();
    let age = |name: &PackName| age_s(&state, name, now);
    let is_due =
        |age: Option<i64>| age.is_none_or(|age| u128::from(age.unsigned_abs()) * 10 >= u128::from(policy.within_s) * 9);
    all.retain(|(name, _)| is_due(age(name)));
    all.sort_by_key(|(name, _)| std::cmp::Reverse(age(name).unwrap_or(i64::MAX)));
    let share = policy.budget.percent.map(|percent| (total as f64 * percent.clamp(0.0, 100.0) / 100.0) as u64);
    if let Some(bytes) = [policy.budget.bytes, share].into_iter().flatten().min() {
        let mut sum = 0u64;
        let fits = all.iter().take_while(|(_, info)| {
            let more = sum < bytes.max(1);
            sum += u64::from(info.len);
            more
        });
        let keep = fits.count();
        all.truncate(keep);
    }
}
