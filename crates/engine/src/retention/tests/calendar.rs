//! Days that are 23 or 25 hours long, weeks that begin last year.

use super::*;

/// Central European time by its rule: no time zone database is needed.
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

fn in_berlin(policy: Policy) -> Policy {
    Policy { zone: zone_named(BERLIN).expect("a rule"), ..policy }
}

fn unlimited(period: Period) -> Policy {
    Policy::default().keeping(period, Limit::Unlimited)
}

#[test]
fn a_day_is_the_zones_day() {
    // 23:30 and 00:30 in Berlin, summer; in UTC the same day.
    let all = subjects(&["2026-07-01T10:00:00Z", "2026-07-01T21:30:00Z", "2026-07-01T22:30:00Z"]);
    assert_eq!(kept(&all, &policy(Period::Day, 1)), [2]);
    assert_eq!(kept(&all, &in_berlin(policy(Period::Day, 2))), [1, 2]);
}

#[test]
fn the_hour_that_comes_twice_counts_twice() {
    // 2026-10-25: 03:00 summer time becomes 02:00. 02:30 comes twice.
    let all =
        subjects(&["2026-10-24T22:30:00Z", "2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    assert_eq!(kept(&all, &in_berlin(policy(Period::Hour, 2))), [2, 3]);
    // One day of 25 hours, not two.
    assert_eq!(kept(&all[1..], &in_berlin(policy(Period::Day, 1))), [2]);
}

#[test]
fn the_hour_that_is_left_out_is_nobodys() {
    // 2026-03-29: 02:00 becomes 03:00. One of the last winter hour, one of the first summer hour.
    let all = subjects(&["2026-03-29T00:10:00Z", "2026-03-29T00:50:00Z", "2026-03-29T01:10:00Z"]);
    assert_eq!(kept(&all, &in_berlin(policy(Period::Hour, 2))), [1, 2]);
    // The first hour and the last of the day of 23.
    let all =
        subjects(&["2026-03-28T22:59:00Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:00Z", "2026-03-29T22:00:00Z"]);
    assert_eq!(kept(&all, &in_berlin(policy(Period::Day, 3))), [0, 2, 3]);
}

#[test]
fn spans_of_days_are_calendar_days() {
    // The day of 23 hours lies between: one day before Sunday noon is Saturday noon, 23 hours earlier.
    let all = subjects(&["2026-03-28T10:59:59Z", "2026-03-28T11:00:01Z", "2026-03-29T10:00:00Z"]);
    let within = Policy { within: Span::parse("1d").ok(), ..Policy::default() };
    assert_eq!(kept(&all, &in_berlin(within.clone())), [1, 2]);
    assert_eq!(kept(&all, &within), [0, 1, 2], "in UTC it is 24 hours");
}

#[test]
fn weeks_are_iso_weeks_across_the_new_year() {
    // 2024-12-30 (Monday) to 2025-01-05 is week 1 of 2025; 2023-01-01 is a Sunday of week 52 of 2022.
    let all =
        subjects(&["2024-12-29T12:00:00Z", "2024-12-30T12:00:00Z", "2025-01-01T12:00:00Z", "2025-01-05T12:00:00Z"]);
    assert_eq!(kept(&all[1..], &policy(Period::Week, 1)), [2]);
    assert_eq!(kept(&all, &policy(Period::Week, 2)), [0, 3]);
    let all = subjects(&["2022-12-26T12:00:00Z", "2023-01-01T12:00:00Z", "2023-01-02T12:00:00Z"]);
    assert_eq!(kept(&all[..2], &policy(Period::Week, 1)), [1]);
    assert_eq!(kept(&all, &policy(Period::Week, 1)), [2]);
    // Week 53 of 2020 and week 1 of 2021 are two; so are week 1 of 2024 and of 2025.
    let all = subjects(&["2021-01-03T12:00:00Z", "2021-01-04T12:00:00Z"]);
    assert_eq!(kept(&all, &unlimited(Period::Week)), [0, 1]);
}

#[test]
fn years_before_christ_and_beyond_the_calendar_do_no_harm() {
    let mut all = subjects(&["2026-01-01T00:00:00Z"; 4]);
    let moment = |seconds| Timestamp { seconds, nanoseconds: 999_999_999 };
    for (subject, seconds) in all.iter_mut().zip([i64::MIN, -62_200_000_000, 0, i64::MAX]) {
        subject.time = moment(seconds);
    }
    for period in Period::ALL {
        assert_eq!(kept(&all, &in_berlin(unlimited(period))), [0, 1, 2, 3], "{period:?}");
        let span = Span::parse("100000y100000m100000w100000d100000h").ok();
        assert_eq!(kept(&all, &Policy::default().keeping_within(period, span)), [0, 1, 2, 3], "{period:?}");
    }
}

#[test]
fn zones_are_named() {
    assert_eq!(zone_named("UTC").ok(), Some(Policy::default().zone));
    assert!(zone_named("local").is_ok());
    assert!(zone_named("Nowhere/Atlantis").is_err());
}
