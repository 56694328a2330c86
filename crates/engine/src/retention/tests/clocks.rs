//! Clocks that are off by years, stores without times, logs copied to another store.

use super::super::timeline::TOLERANCE_SECONDS;
use super::*;

const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;
/// 2026-01-01.
const START: i64 = 1_767_225_600;

fn time(seconds: i64) -> Timestamp {
    Timestamp { seconds: START + seconds, nanoseconds: 0 }
}

/// `claim` and `stored`, seconds after [`START`].
fn said(claim: i64, stored: Option<i64>) -> Witness {
    Witness { claim: time(claim), stored: stored.map(time) }
}

/// Seconds after [`START`] and whether flagged.
fn judged(witnesses: &[Witness], now: i64) -> Vec<(i64, bool)> {
    let judged = moments(witnesses, time(now));
    judged.iter().map(|m| (m.time.seconds - START, m.clock == ClockTrust::Flagged)).collect()
}

#[test]
fn a_clock_near_the_stores_is_believed() {
    let near = [
        said(DAY - 30, Some(DAY)),
        said(2 * DAY + TOLERANCE_SECONDS, Some(2 * DAY)),
        said(3 * DAY - TOLERANCE_SECONDS, Some(3 * DAY)),
        said(4 * DAY - TOLERANCE_SECONDS - 1, Some(4 * DAY)),
    ];
    let flags: Vec<bool> = judged(&near, 9 * DAY).iter().map(|m| m.1).collect();
    assert_eq!(flags, [false, false, false, true]);
}

#[test]
fn bent_clocks_are_flagged_and_the_stores_time_counts() {
    for bent in [-30 * YEAR, -5 * YEAR, -3 * DAY, 3 * DAY, 5 * YEAR, 9000 * YEAR] {
        let mut all: Vec<Witness> = (0..10).map(|n| said(n * DAY - 60, Some(n * DAY))).collect();
        all[5].claim = time(5 * DAY + bent);
        all[9].claim = time(9 * DAY + bent);
        let judged = judged(&all, 10 * DAY);
        let flagged: Vec<usize> = (0..10).filter(|n| judged[*n].1).collect();
        assert_eq!(flagged, [5, 9], "{bent}");
        assert_eq!((judged[5].0, judged[9].0), (5 * DAY, 9 * DAY), "{bent}");
        assert_eq!(judged[8].0, 8 * DAY - 60, "{bent}");
    }
}

#[test]
fn time_never_goes_back_along_the_log() {
    let claims = [5, 3, 900 * YEAR, -YEAR, 7, 6, 8, -900 * YEAR, i64::MAX / 4, 9];
    for stored in [None, Some(10 * DAY)] {
        let all: Vec<Witness> = claims.iter().map(|claim| said(*claim, stored)).collect();
        let judged = judged(&all, 10 * DAY);
        assert!(judged.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{judged:?}");
        assert!(judged.iter().all(|m| m.0 <= 10 * DAY + TOLERANCE_SECONDS), "{judged:?}");
    }
}

#[test]
fn without_store_times_the_logs_order_tells() {
    let claims = [0, DAY, 7 * YEAR, 2 * DAY, -7 * YEAR, 3 * DAY];
    let all: Vec<Witness> = claims.iter().map(|claim| said(*claim, None)).collect();
    let expected = [(0, false), (DAY, false), (2 * DAY, true), (2 * DAY, false), (3 * DAY, true), (3 * DAY, false)];
    assert_eq!(judged(&all, 4 * DAY), expected);
    // The newest of all cannot be out of order, but it can be in the future.
    assert_eq!(judged(&[said(0, None), said(7 * YEAR, None)], DAY), [(0, false), (DAY, true)]);
}

#[test]
fn a_log_copied_without_its_times_keeps_its_history() {
    let copied = 400 * DAY;
    let mut all: Vec<Witness> = (0..30).map(|n| said(n * DAY, Some(copied + n))).collect();
    let after: Vec<Witness> = (401..410).map(|n| said(n * DAY - 60, Some(n * DAY))).collect();
    all.extend(&after);
    let told = judged(&all, 410 * DAY);
    let times: Vec<i64> = told.iter().map(|m| m.0).collect();
    assert_eq!(times[..30], (0..30).map(|n| n * DAY).collect::<Vec<_>>());
    assert!(told[..30].iter().all(|m| m.1) && told[30..].iter().all(|m| !m.1));
    // Bent ones among them take a neighbour's time.
    all[10].claim = time(5 * YEAR);
    all[20].claim = time(-5 * YEAR);
    let told = judged(&all, 410 * DAY);
    assert_eq!((told[10].0, told[20].0), (11 * DAY, 21 * DAY));
    // The copy was made again and again, a month apart.
    let batches: Vec<Witness> = (0..90).map(|n| said(n * DAY, Some((n / 30 + 1) * 30 * DAY))).collect();
    let times: Vec<i64> = judged(&batches, 100 * DAY).iter().map(|m| m.0).collect();
    assert_eq!(times, (0..90).map(|n| n * DAY).collect::<Vec<_>>());
}

#[test]
fn one_wrong_time_of_the_store_harms_one_snapshot() {
    let mut all: Vec<Witness> = (0..10).map(|n| said(n * DAY, Some(n * DAY + 5))).collect();
    all[4].stored = Some(time(-50 * YEAR));
    all[7].stored = Some(time(50 * YEAR));
    let told = judged(&all, 10 * DAY);
    let flagged: Vec<usize> = (0..10).filter(|n| told[*n].1).collect();
    // The order of the log shows that the early one is the store's mistake; the late one could be the client's.
    assert_eq!(flagged, [7]);
    assert_eq!(told[4].0, 4 * DAY);
    assert_eq!(told[9].0, 9 * DAY);
    assert_eq!(told[5].0, 5 * DAY);
}

#[test]
fn a_store_whose_battery_died_for_a_while_loses_no_day() {
    for wrong in [-50 * YEAR, -YEAR, YEAR, 50 * YEAR] {
        let reset = |n: i64| if (10..40).contains(&n) { n * DAY + wrong } else { n * DAY };
        let all: Vec<Witness> = (0..50).map(|n| said(n * DAY - 60, Some(reset(n)))).collect();
        let told = judged(&all, 50 * DAY);
        let times: Vec<i64> = told.iter().map(|m| m.0).collect();
        assert_eq!(times, (0..50).map(|n| n * DAY - 60).collect::<Vec<_>>(), "{wrong}");
        // While it lasts, too.
        assert_eq!(judged(&all[..30], 30 * DAY)[29].0, 29 * DAY - 60, "{wrong}");
    }
}

/// A year of honest snapshots, one a day, and a flood of forged ones at its end.
#[test]
fn a_flood_of_forged_snapshots_makes_no_real_one_go() {
    let policies = [
        Policy { last: Limit::Newest(30), ..Policy::default() },
        policy(Period::Day, 30),
        Policy { within: Span::parse("30d").ok(), ..Policy::default() },
        Policy::guide(),
    ];
    let honest: Vec<Witness> = (0..365).map(|n| said(n * DAY - 60, Some(n * DAY))).collect();
    let real = |policy: &Policy, all: &[Witness]| {
        let subjects: Vec<Subject> = moments(all, time(366 * DAY))
            .iter()
            .enumerate()
            .map(|(n, m)| Subject { time: m.time, clock: m.clock, ..subject(n, "2026-01-01T00:00:00Z") })
            .collect();
        kept(&subjects, policy).into_iter().filter(|n| *n < 365).collect::<Vec<_>>()
    };
    for forge in
        [|n: i64| n * DAY + YEAR, |n: i64| 50 * YEAR + n * YEAR, |n: i64| n * DAY - 60, |n: i64| -(n * 40 * DAY)]
    {
        let flood = (1..360).map(|n| said(forge(n), Some(364 * DAY + 3600)));
        let all: Vec<Witness> = honest.iter().copied().chain(flood).collect();
        for policy in &policies {
            assert_eq!(real(policy, &all), real(policy, &honest), "{policy:?}");
        }
    }
}
