//! When each snapshot was recorded, whatever its client's clock says.
//!
//! Three witnesses: the snapshot's own time (a claim), the time at which the store received its record, and the order of the log,
//! which nobody can bend. A claim within [`TOLERANCE_SECONDS`] of the store's time is believed. One that is not is flagged, and
//! its time is found thus:
//!
//! * Between two believed ones in the log, the longest run of claims that agrees with the log's order, and with the store
//!   not being earlier, is taken as it is. A log copied to another store without its times, whose records all seem to
//!   have arrived today, so keeps its history.
//! * Any other claim is replaced by the store's time, but no later than the next record whose time is known.
//!
//! Times never go back along the log. A store's time that is earlier than a believed one before it in the log is a mistake of the store
//! (its battery died) and counts for nothing. Where the store keeps no times, or such, a claim in the log's order and not in the future is
//! believed and not flagged; one out of order is flagged.

use decube_backup_core::Timestamp;

/// How far a client's clock may be from the store's, seconds: two hours, so that a clock kept in local time for one zone over
/// shows, and a slow last upload does not.
pub const TOLERANCE_SECONDS: i64 = 2 * 3600;

/// What is known of when a snapshot was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What the client says.
    pub claim: Timestamp,
    /// When the store received the record; `None` if it does not say.
    pub stored: Option<Timestamp>,
}

/// Whether a client's clock is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClockTrust {
    /// Nothing contradicts it.
    #[default]
    Believed,
    /// The store's time or the log's order contradicts it.
    Flagged,
}

/// When a snapshot counts as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Policy time; never goes back along the log.
    pub time: Timestamp,
    /// Whether the client's clock agrees.
    pub clock: ClockTrust,
}

/// The moment of each of `witnesses`, which are in log order. `now` bounds claims that no store's time does.
pub fn moments(witnesses: &[Witness], now: Timestamp) -> Vec<Moment> {
    let witnesses = &without_contradicted(witnesses);
    let anchored = |w: &Witness| w.stored.is_some_and(|stored| near(w.claim, stored));
    let latest = latest_possible(witnesses, now);
    let mut known: Vec<Option<Timestamp>> = witnesses.iter().map(|w| anchored(w).then_some(w.claim)).collect();
    let anchors: Vec<usize> = (0..witnesses.len()).filter(|at| known.get(*at).is_some_and(Option::is_some)).collect();
    let ends = anchors.iter().copied().chain([witnesses.len()]);
    let mut from = 0;
    let mut floor: Option<Timestamp> = None;
    for end in ends {
        let ceiling = known.get(end).copied().flatten();
        let candidates: Vec<(usize, Timestamp)> = (from..end)
            .filter_map(|at| {
                let (claim, latest) = (witnesses.get(at)?.claim, *latest.get(at)?);
                let bound = ceiling.map_or(latest, |ceiling| ceiling.min(latest));
                let fits = claim <= later(bound) && floor.is_none_or(|floor| later(claim) >= floor);
                fits.then_some((at, claim))
            })
            .collect();
        for (at, claim) in longest_run(&candidates) {
            if let Some(slot) = known.get_mut(at) {
                *slot = Some(claim);
            }
        }
        floor = ceiling.max(floor);
        from = end + 1;
    }
    settle(witnesses, &known, &latest)
}

/// The same without those of the store's times that an earlier record contradicts, of which store and client agreed.
fn without_contradicted(witnesses: &[Witness]) -> Vec<Witness> {
    let mut floor = None;
    let kept = witnesses.iter().map(|witness| {
        let stored = witness.stored.filter(|stored| floor.is_none_or(|floor: Timestamp| later(*stored) >= floor));
        if stored.is_some_and(|stored| near(witness.claim, stored)) {
            floor = floor.max(Some(witness.claim));
        }
        Witness { stored, ..*witness }
    });
    kept.collect()
}

/// Fills in what is not known, and lets nothing go back.
fn settle(witnesses: &[Witness], known: &[Option<Timestamp>], latest: &[Timestamp]) -> Vec<Moment> {
    let mut next = None;
    let mut moments: Vec<Moment> = Vec::with_capacity(witnesses.len());
    for ((witness, known), latest) in witnesses.iter().zip(known).zip(latest).rev() {
        let agrees = match witness.stored {
            Some(stored) => near(witness.claim, stored),
            None => known.is_some(),
        };
        let time = known.unwrap_or_else(|| next.map_or(*latest, |next: Timestamp| next.min(*latest)));
        next = known.or(next);
        moments.push(Moment { time, clock: if agrees { ClockTrust::Believed } else { ClockTrust::Flagged } });
    }
    moments.reverse();
    let mut before = None;
    for moment in &mut moments {
        moment.time = before.map_or(moment.time, |before: Timestamp| before.max(moment.time));
        before = Some(moment.time);
    }
    moments
}

/// By when each was recorded at the latest: its store's time, or that of the next one that has any, or `now`.
fn latest_possible(witnesses: &[Witness], now: Timestamp) -> Vec<Timestamp> {
    let mut bound = now;
    let mut latest: Vec<Timestamp> = witnesses
        .iter()
        .rev()
        .map(|witness| {
            bound = witness.stored.unwrap_or(bound);
            bound
        })
        .collect();
    latest.reverse();
    latest
}

/// The longest run of claims that do not go back; of several, one that ends earliest.
///
/// Source: Fredman, "On computing the length of longest increasing subsequences", Discrete Mathematics 11 (1975): one binary
/// search a claim.
fn longest_run(claims: &[(usize, Timestamp)]) -> Vec<(usize, Timestamp)> {
    // ends[n]: place of the earliest claim a run of n + 1 can end with.
    let mut ends: Vec<usize> = Vec::new();
    let mut previous: Vec<Option<usize>> = Vec::with_capacity(claims.len());
    for (at, (_, claim)) in claims.iter().enumerate() {
        let longer = ends.partition_point(|end| claims.get(*end).is_some_and(|(_, ended)| ended <= claim));
        previous.push(longer.checked_sub(1).and_then(|before| ends.get(before).copied()));
        match ends.get_mut(longer) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut run: Vec<(usize, Timestamp)> = Vec::with_capacity(ends.len());
    let mut place = ends.last().copied();
    while let Some(at) = place {
        run.extend(claims.get(at));
        place = previous.get(at).copied().flatten();
    }
    run.reverse();
    run
}

fn near(a: Timestamp, b: Timestamp) -> bool {
    later(a) >= b && later(b) >= a
}

fn later(time: Timestamp) -> Timestamp {
    Timestamp { seconds: time.seconds.saturating_add(TOLERANCE_SECONDS), ..time }
}
