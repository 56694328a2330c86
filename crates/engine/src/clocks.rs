//! The store's clock against the clients': when each record of the log arrived.
//!
//! One listing of `log/` tells. A listing is only a hint: a record it misses is judged by its neighbours, and a time too late or too early
//! moves a snapshot to another day at worst. No safety rests on it. A twin counts for the moment of its original and is no witness: it
//! repeats an old claim in a late record.

use crate::repository::Repository;
use crate::retention::{ClockTrust, Moment, Witness, moments};
use crate::twins::Twins;
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::checkpoint::{Pin, State};
use decube_backup_format::ids::{SnapshotId, log_key};
use std::collections::{BTreeMap, HashMap, HashSet};

/// When snapshots were recorded, and what time it is for the log.
#[derive(Clone, Debug)]
pub struct Clocks {
    moments: BTreeMap<SnapshotId, Moment>,
    now: Timestamp,
}

impl Clocks {
    /// Judges all snapshots of `repo`, forgotten ones too, as folded in so far.
    ///
    /// # Errors
    /// The log cannot be listed.
    pub fn read(repo: &Repository) -> Result<Self> {
        let listed = repo.store.list("log/")?;
        let stored: HashMap<_, _> = listed.into_iter().filter_map(|o| Some((o.key, o.modified_ms?))).collect();
        Self::judge(&repo.state(), &stored, repo.env.clock.now())
    }

    /// As [`Self::read`]; without the store's times if it cannot be listed, which is logged.
    pub fn read_or_guess(repo: &Repository) -> Self {
        Self::read(repo).unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "the log cannot be listed: clocks are judged by its order alone");
            let now = repo.env.clock.now();
            Self::judge(&repo.state(), &HashMap::new(), now).unwrap_or(Self { moments: BTreeMap::new(), now })
        })
    }

    fn judge(state: &State, stored: &HashMap<decube_backup_core::Key, i64>, now: Timestamp) -> Result<Self> {
        let time_of = |seq: u64| Ok(stored.get(&log_key(seq)?).copied().map(Timestamp::from_millis));
        let twins = Twins::of(state);
        let snapshots = twins.without(state);
        let witnesses = snapshots.iter().map(|snapshot| {
            // Written right before the record: the nearest thing to the moment it was published.
            Ok(Witness { claim: snapshot.manifest.ended, stored: time_of(snapshot.seq)? })
        });
        let witnesses = witnesses.collect::<Result<Vec<_>>>()?;
        let judged = moments(&witnesses, now);
        let newest_record = state.next_seq().checked_sub(1).map(time_of).transpose()?.flatten();
        let log_now = judged.last().map(|moment| moment.time).max(newest_record);
        let mut moments: BTreeMap<_, _> = snapshots.iter().map(|snapshot| snapshot.id).zip(judged).collect();
        let of_originals = twins.known(|original| moments.get(original).copied());
        moments.extend(of_originals);
        Ok(Self { moments, now: log_now.map_or(now, |log_now| log_now.min(now)) })
    }

    /// When `snapshot` was recorded; now, and believed, for one that was not known at the time of reading.
    pub fn moment(&self, snapshot: &SnapshotId) -> Moment {
        self.moments.get(snapshot).copied().unwrap_or(Moment { time: self.now, clock: ClockTrust::Believed })
    }

    /// The time of the log's newest record, but no later than this host's: what both have seen pass.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether `pin` is in force. Its end is measured with [`Self::now`]: one clock that is years ahead, this host's or the store's,
    /// ends no pin.
    pub fn in_force(&self, pin: Pin) -> bool {
        match pin {
            Pin::None => false,
            Pin::Until(end) => self.now < end,
            Pin::Forever => true,
        }
    }
}

/// When each snapshot counts as begun: when its client says, or earlier if others know better. Asks neither the store nor
/// this host for the time.
///
/// A host's claims are first judged by themselves: one that is later than the next believed one of that host counts as
/// that. Then hosts vote, each with one voice however many snapshots it has: a claim that is later than what other
/// hosts said afterwards counts as that if more hosts contradict it than bear it out. So one host's clock that is years ahead
/// does not make its snapshot the newest for years, and one that is years behind takes no other host's snapshots with
/// it. A host with a write-only key judges nobody but itself.
pub(crate) fn beginnings(state: &State) -> HashMap<SnapshotId, Timestamp> {
    let write_only: HashSet<&str> = state.hosts().map(|(_, host)| host.name.as_str()).collect();
    let twins = Twins::of(state);
    let snapshots = twins.without(state);
    let claims: Vec<_> = snapshots.iter().map(|s| (s.manifest.host.as_str(), s.manifest.begun)).collect();
    let begun = agreed(&claims, &|host| !write_only.contains(host));
    let mut begun: HashMap<_, _> = snapshots.iter().map(|snapshot| snapshot.id).zip(begun).collect();
    let of_originals = twins.known(|original| begun.get(original).copied());
    begun.extend(of_originals);
    begun
}

/// A host's believed claims and their places in the log; both ascend.
type Run = Vec<(usize, Timestamp)>;

/// When each of `claims`, the hosts' in log order, counts for; only hosts that `votes` accepts judge others.
fn agreed(claims: &[(&str, Timestamp)], votes: &dyn Fn(&str) -> bool) -> Vec<Timestamp> {
    let never = Timestamp { seconds: i64::MAX / 4, nanoseconds: 0 };
    let mut of_host: BTreeMap<&str, Run> = BTreeMap::new();
    for (at, (host, claim)) in claims.iter().enumerate() {
        of_host.entry(host).or_default().push((at, *claim));
    }
    let mut begun: Vec<Timestamp> = claims.iter().map(|(_, claim)| *claim).collect();
    for run in of_host.values_mut() {
        let witnesses: Vec<Witness> = run.iter().map(|(_, claim)| Witness { claim: *claim, stored: None }).collect();
        let judged = moments(&witnesses, never);
        for ((at, claim), moment) in run.iter().zip(&judged) {
            if let Some(begun) = begun.get_mut(*at) {
                *begun = moment.time.min(*claim);
            }
        }
        let mut judged = judged.iter();
        run.retain(|_| judged.next().is_some_and(|moment| moment.clock == ClockTrust::Believed));
    }
    let voters: Vec<(&str, &Run)> =
        of_host.iter().filter(|(host, _)| votes(host)).map(|(host, run)| (*host, run)).collect();
    for (at, begun) in begun.iter_mut().enumerate() {
        let Some((host, _)) = claims.get(at) else { continue };
        // Of each other host, what it said last before and first after.
        let around = voters.iter().filter(|(other, _)| other != host).map(|(_, run)| {
            let next = run.partition_point(|(place, _)| *place < at);
            let said = |place: Option<usize>| place.and_then(|place| run.get(place)).map(|(_, claim)| *claim);
            (said(next.checked_sub(1)), said(Some(next)))
        });
        let around: Vec<_> = around.collect();
        let own = of_host.get(host).map(Vec::as_slice).unwrap_or_default();
        let mut earlier: Vec<Timestamp> = around.iter().filter_map(|(_, next)| *next).filter(|n| n < begun).collect();
        earlier.sort_unstable();
        earlier.dedup();
        for bound in earlier {
            let against = around.iter().filter(|(_, next)| next.is_some_and(|next| next <= bound)).count();
            let others = around.iter().filter(|(last, _)| last.is_some_and(|last| last > bound)).count();
            let itself = own.iter().any(|(place, claim)| *place != at && *claim > bound);
            if against > others + usize::from(itself) {
                *begun = bound;
                break;
            }
        }
    }
    begun
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(claims: &[(&str, i64)], expected: &[i64]) {
        let time = |seconds: i64| Timestamp { seconds, nanoseconds: 0 };
        let claims: Vec<_> = claims.iter().map(|(host, seconds)| (*host, time(*seconds))).collect();
        let begun: Vec<i64> = agreed(&claims, &|host| host != "write-only").iter().map(|begun| begun.seconds).collect();
        assert_eq!(begun, expected, "{claims:?}");
    }

    #[test]
    fn one_host_is_judged_by_the_longest_run_of_its_claims() {
        check(&[("a", 10), ("a", 20), ("a", 999), ("a", 30), ("a", 40), ("a", 5)], &[10, 20, 30, 30, 40, 5]);
    }

    #[test]
    fn a_host_that_is_ahead_is_brought_back_by_others() {
        check(&[("a", 10), ("b", 999), ("a", 20)], &[10, 20, 20]);
        check(&[("b", 999), ("a", 20)], &[20, 20]);
        check(&[("b", 5), ("a", 10), ("b", 999), ("a", 20)], &[5, 10, 20, 20]);
        check(&[("write-only", 999), ("a", 20)], &[20, 20]);
    }

    #[test]
    fn a_host_that_is_behind_takes_nobody_with_it_however_often_it_says_so() {
        check(&[("a", 10), ("a", 20), ("a", 30), ("b", 0), ("b", 0), ("b", 0), ("b", 0)], &[10, 20, 30, 0, 0, 0, 0]);
        check(&[("b", 0), ("a", 10), ("b", 0), ("a", 20), ("b", 0), ("b", 0)], &[0, 10, 0, 20, 0, 0]);
        check(&[("a", 10), ("c", 11), ("b", 0), ("a", 20), ("b", 0)], &[10, 11, 0, 20, 0]);
        check(&[("a", 10), ("write-only", 0), ("write-only", 0)], &[10, 0, 0]);
    }

    #[test]
    fn two_hosts_outvote_one() {
        check(&[("a", 10), ("b", 900), ("b", 901), ("a", 20), ("c", 21)], &[10, 21, 21, 20, 21]);
    }
}
