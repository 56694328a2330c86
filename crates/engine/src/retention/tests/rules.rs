//! Each rule by itself, and together.

use super::*;

const YEARS: [&str; 8] = [
    "2024-05-01T10:00:00Z",
    "2025-12-31T09:00:00Z",
    "2025-12-31T10:00:00Z",
    "2026-01-01T10:00:00Z",
    "2026-01-31T10:00:00Z",
    "2026-02-01T10:00:00Z",
    "2026-02-01T10:30:00Z",
    "2026-02-01T11:00:00Z",
];

#[test]
fn a_snapshot_of_a_missing_source_takes_no_place_and_goes_as_its_likes() {
    let mut all = subjects(&YEARS);
    for at in [3, 5, 6, 7] {
        all[at].sources = Sources::Missing;
    }
    let last = |n| Policy { last: Limit::Newest(n), ..Policy::default() };
    assert_eq!(kept(&all, &last(2)), [2, 4, 6, 7]);
    assert_eq!(kept(&all, &policy(Period::Day, 2)), [2, 4, 7]);
    all.iter_mut().for_each(|subject| subject.sources = Sources::Missing);
    assert_eq!(kept(&all, &last(2)), [6, 7], "among themselves they are as any others");
}

#[test]
fn the_newest_of_each_period_is_kept_and_empty_periods_do_not_count() {
    let all = subjects(&YEARS);
    let last = |n| Policy { last: Limit::Newest(n), ..Policy::default() };
    let unlimited = |period| Policy::default().keeping(period, Limit::Unlimited);
    for (name, policy, expected) in [
        ("last 1", last(1), vec![7]),
        ("last 3", last(3), vec![5, 6, 7]),
        ("last 99", last(99), (0..8).collect()),
        ("last unlimited", Policy { last: Limit::Unlimited, ..Policy::default() }, (0..8).collect()),
        ("hourly 1", policy(Period::Hour, 1), vec![7]),
        ("hourly 3", policy(Period::Hour, 3), vec![4, 6, 7]),
        ("daily 3", policy(Period::Day, 3), vec![3, 4, 7]),
        ("daily 5", policy(Period::Day, 5), vec![0, 2, 3, 4, 7]),
        ("weekly 2", policy(Period::Week, 2), vec![3, 7]),
        ("monthly 2", policy(Period::Month, 2), vec![4, 7]),
        ("yearly 2", policy(Period::Year, 2), vec![2, 7]),
        ("yearly unlimited", unlimited(Period::Year), vec![0, 2, 7]),
        ("daily 1 and yearly 2", policy(Period::Day, 1).keeping(Period::Year, Limit::Newest(2)), vec![2, 7]),
        ("no rule", Policy::default(), vec![]),
    ] {
        assert_eq!(kept(&all, &policy), expected, "{name}");
    }
}

#[test]
fn the_oldest_stays_while_a_count_is_not_used_up() {
    let all = subjects(&["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "2026-01-02T11:00:00Z"]);
    assert_eq!(kept(&all, &policy(Period::Day, 3)), [0, 1, 2]);
    assert_eq!(kept(&all, &policy(Period::Day, 2)), [1, 2]);
    assert_eq!(decide(&all, &policy(Period::Day, 3))[0].reasons, [Reason::Oldest(Period::Day)]);
}

#[test]
fn spans_count_from_the_newest_of_the_group_not_from_now() {
    let all = subjects(&YEARS);
    let span = |text| Some(Span::parse(text).expect("a span"));
    let within = |text| Policy { within: span(text), ..Policy::default() };
    let daily = |text| Policy::default().keeping_within(Period::Day, span(text));
    for (name, policy, expected) in [
        ("within 1h", within("1h"), vec![6, 7]),
        ("within 1d", within("1d"), vec![5, 6, 7]),
        ("within 1m", within("1m"), vec![4, 5, 6, 7]),
        ("within 1m1d", within("1m1d"), vec![3, 4, 5, 6, 7]),
        ("within 9y", within("9y"), (0..8).collect()),
        ("daily within 2d", daily("2d"), vec![4, 7]),
        // The oldest stays too: no count is used up.
        ("daily within 9y", daily("9y"), vec![0, 2, 3, 4, 7]),
    ] {
        assert_eq!(kept(&all, &policy), expected, "{name}");
    }
}

#[test]
fn tags_keep_what_has_all_of_one_list() {
    let mut all = subjects(&YEARS[..4]);
    all[0].tags = vec!["a".into(), "b".into()];
    all[1].tags = vec!["a".into()];
    all[2].tags = vec!["c".into()];
    let tags = |lists: &[&[&str]]| Policy {
        tags: lists.iter().map(|list| list.iter().map(|tag| (*tag).to_owned()).collect()).collect(),
        ..Policy::default()
    };
    assert_eq!(kept(&all, &tags(&[&["a", "b"]])), [0]);
    assert_eq!(kept(&all, &tags(&[&["a"], &["c"]])), [0, 1, 2]);
}

#[test]
fn groups_are_decided_each_on_its_own() {
    let mut all = subjects(&YEARS);
    for (n, subject) in all.iter_mut().enumerate() {
        subject.group.host = Some(if n % 2 == 0 { "even" } else { "odd" }.to_owned());
    }
    let last = Policy { last: Limit::Newest(1), ..Policy::default() };
    assert_eq!(kept(&all, &last), [6, 7]);
}

#[test]
fn pinned_snapshots_stay_and_count_like_others() {
    let mut all = subjects(&YEARS);
    all[0].pinned = true;
    all[7].pinned = true;
    assert_eq!(kept(&all, &policy(Period::Day, 2)), [0, 4, 7]);
    assert_eq!(kept(&all, &Policy::default()), [0, 7]);
}

#[test]
fn every_fate_has_its_reasons() {
    let mut all = subjects(&YEARS);
    all[3].pinned = true;
    let policy = Policy { last: Limit::Newest(2), ..policy(Period::Day, 2).keeping(Period::Month, Limit::Newest(3)) };
    let told: Vec<String> = decide(&all, &policy).iter().map(|d| d.told().join(", ")).collect();
    let expected = [
        "not among the last 2, older than 2 days, older than 3 months",
        "not among the last 2, older than 2 days, older than 3 months",
        "monthly",
        "pinned",
        "daily, monthly",
        "not among the last 2, not the newest of its day, not the newest of its month",
        "among the last",
        "among the last, daily, monthly",
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_guide_is_what_the_guide_says() {
    let guide = Policy::guide();
    let limits = Period::ALL.map(|period| guide.limit(period));
    let newest = |n| Limit::Newest(n);
    assert_eq!(limits, [Limit::Off, newest(30), newest(12), newest(12), newest(7)]);
    // Three years of a snapshot a day.
    let start: jiff::Timestamp = "2023-01-01T03:00:00Z".parse().expect("a time");
    let days: Vec<String> =
        (0..1096).map(|day| (start + jiff::SignedDuration::from_hours(24 * day)).to_string()).collect();
    let all = subjects(&days.iter().map(String::as_str).collect::<Vec<_>>());
    let count = kept(&all, &guide).len();
    // 30 days; 12 weeks and 12 months less what the days hold; 3 years less the newest; the very oldest.
    assert_eq!(count, 30 + 7 + 10 + 2 + 1, "{:?}", kept(&all, &guide));
}

#[test]
fn spans_are_read_as_restic_reads_them() {
    let shown = |text| Span::parse(text).map(|span| span.to_string()).ok();
    for (text, expected) in [
        ("2y5m7d3h", Some("2y5m7d3h")),
        ("6m", Some("6m")),
        ("6mo", Some("6m")),
        ("8w", Some("8w")),
        ("14 days", Some("14d")),
        ("1y 6 months", Some("1y6m")),
        ("36h", Some("36h")),
        ("30min", None),
        ("5s", None),
        ("14", None),
        ("d", None),
        ("", None),
        ("0d", None),
        ("1d1d", None),
        ("-3d", None),
        ("99999999999d", None),
    ] {
        assert_eq!(shown(text).as_deref(), expected, "{text:?}");
    }
}

#[test]
fn limits_are_read() {
    for (text, expected) in [
        ("0", Some(Limit::Off)),
        ("7", Some(Limit::Newest(7))),
        ("-1", Some(Limit::Unlimited)),
        ("unlimited", Some(Limit::Unlimited)),
        ("-2", None),
        ("x", None),
    ] {
        assert_eq!(Limit::parse(text).ok(), expected, "{text}");
    }
}

#[test]
fn groupings_are_read_and_told() {
    let manifest = decube_backup_format::manifest::SnapshotManifest {
        host: "h".into(),
        name: "n".into(),
        paths: vec!["/b".into(), "/a".into(), "/b".into()],
        ..Default::default()
    };
    for (text, told) in [
        ("host,name", "name \"n\", host \"h\""),
        ("", "all snapshots"),
        ("labels", "labels none"),
        ("paths", "paths /a /b"),
    ] {
        let by = GroupBy::parse(text).expect("legal");
        assert_eq!(by.key(&manifest).to_string(), told, "{text}");
    }
    assert_eq!(GroupBy::parse("host, name").ok(), Some(GroupBy::default()));
    assert!(GroupBy::parse("tags").is_err());
}
