//! The store's clock against the clients': when each record of the log arrived.
//!
//! One listing of `log/` tells. A listing is only a hint: a record it misses is judged by its neighbours, and a time too late or too early
//! moves a snapshot to another day at worst. No safety rests on it.

use crate::repository::Repository;
use crate::retention::{ClockTrust, Moment, Witness, moments};
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::checkpoint::{Pin, State};
use decube_backup_format::ids::{SnapshotId, log_key};
use std::collections::{BTreeMap, HashMap};

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
        let witnesses = state.snapshots().iter().map(|snapshot| {
            // Written right before the record: the nearest thing to the moment it was published.
            Ok(Witness { claim: snapshot.manifest.ended, stored: time_of(snapshot.seq)? })
        });
        let witnesses = witnesses.collect::<Result<Vec<_>>>()?;
        let judged = moments(&witnesses, now);
        let newest_record = state.next_seq().checked_sub(1).map(time_of).transpose()?.flatten();
        let log_now = judged.last().map(|moment| moment.time).max(newest_record);
        let moments = state.snapshots().iter().map(|snapshot| snapshot.id).zip(judged).collect();
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

/// When each snapshot counts as begun: when its client says, or when the next one in the log whose clock is believed
/// says, if that is earlier. One host's clock that is years ahead does not make its snapshot the newest for years. Asks
/// neither the store nor this host for the time.
pub(crate) fn beginnings(state: &State) -> HashMap<SnapshotId, Timestamp> {
    let never = Timestamp { seconds: i64::MAX / 4, nanoseconds: 0 };
    let claims: Vec<_> = state.snapshots().iter().map(|s| Witness { claim: s.manifest.begun, stored: None }).collect();
    let judged = state.snapshots().iter().zip(moments(&claims, never));
    judged.map(|(snapshot, moment)| (snapshot.id, snapshot.manifest.begun.min(moment.time))).collect()
}
