//! Selectors as data: what they pick, and what is said of those that pick nothing.

use super::*;
use decube_backup_format::checkpoint::{Pin, Visibility};
use decube_backup_format::ids::SnapshotId;

fn snapshots() -> Vec<(Timestamp, Snapshot)> {
    let make = |n: u8, name: &str, seconds| Snapshot {
        id: SnapshotId([n; 32]),
        seq: u64::from(n),
        manifest: SnapshotManifest {
            name: name.into(),
            begun: Timestamp { seconds, nanoseconds: 0 },
            ..SnapshotManifest::default()
        },
        pin: Pin::None,
        visibility: Visibility::Live,
    };
    let all = [make(0x1a, "db", 100), make(0x1b, "web", 200), make(0x2c, "db", 300)];
    all.map(|snapshot| (snapshot.manifest.begun, snapshot)).into()
}

#[test]
fn selectors_pick_what_they_say() {
    let all = snapshots();
    let cases = [
        ("latest", Some(0x2c)),
        ("latest~1", Some(0x1b)),
        ("latest~3", None),
        ("db", Some(0x2c)),
        ("db~1", Some(0x1a)),
        ("db@1970-01-01T00:02:00Z", Some(0x1a)),
        ("db@1970-01-01T00:00:02Z", None),
        ("1a1a", Some(0x1a)),
        ("2C2C2C", Some(0x2c)),
        ("ffff", None),
        ("nothing", None),
    ];
    for (selector, expected) in cases {
        assert_eq!(pick(&all, selector, None).ok().map(|s| s.id.0[0]), expected, "{selector}");
    }
    for (selector, told) in [("1a1", true), ("1a1a1b", false), ("nil", false)] {
        let error = pick(&all, selector, None).expect_err("no such one");
        assert_eq!(error.hint().is_some_and(|hint| hint.contains("at least 4 of its characters")), told, "{selector}");
    }
    let at = Some(Timestamp { seconds: 250, nanoseconds: 0 });
    assert_eq!(pick(&all, "latest", at).expect("found").id.0[0], 0x1b);
}

#[test]
fn one_hosts_tree_is_never_taken_for_anothers() {
    let mut all = snapshots();
    for (at, host) in ["alpha", "alpha", "beta"].into_iter().enumerate() {
        all[at].1.manifest.host = host.into();
    }
    let picked = |selector: &str| pick(&all, selector, None).map(|s| s.id.0[0]).map_err(|e| e.kind());
    assert_eq!(picked("db"), Err(ErrorKind::Invalid));
    assert_eq!(picked("db~1"), Err(ErrorKind::Invalid));
    assert_eq!(picked("alpha:db"), Ok(0x1a));
    assert_eq!(picked("beta:db"), Ok(0x2c));
    assert_eq!(picked("alpha:latest"), Ok(0x1b));
    assert_eq!(picked("alpha:latest~1"), Ok(0x1a));
    assert_eq!(picked("web"), Ok(0x1b));
    assert_eq!(picked("beta:web"), Err(ErrorKind::NotFound));
    assert_eq!(picked("latest"), Ok(0x2c));
    // A name that looks as if it were another host's.
    all[1].1.manifest.name = "beta:db".into();
    assert_eq!(pick(&all, "beta:db", None).map_err(|e| e.kind()).err(), Some(ErrorKind::Invalid));
}

#[test]
fn a_time_shown_without_fractions_names_what_it_was_shown_for() {
    let mut all = snapshots();
    all[0].0.nanoseconds = 700_000_000;
    assert_eq!(pick(&all, "db@1970-01-01T00:01:40Z", None).map(|s| s.id.0[0]).ok(), Some(0x1a));
    let told = |selector| pick(&all, selector, None).expect_err("none").to_string();
    assert!(told("db@garbage").contains("is not a time"), "{}", told("db@garbage"));
    assert!(!told("web@1969-01-01").contains("is not a time"), "{}", told("web@1969-01-01"));
}

#[test]
fn names_that_no_selector_means_are_refused() {
    for name in ["", " ", "latest", "alpha:latest", "a~1", "a@2024-01-15", "a@2024-01-15T10:30:00Z"] {
        assert_eq!(check_name(name).map_err(|e| e.kind()), Err(ErrorKind::Invalid), "{name:?}");
    }
    for name in ["a", "/home/ann", "a~", "~a", "ann@host", "a:b", "latest-db", "1a2b"] {
        assert!(check_name(name).is_ok(), "{name:?}");
    }
}

#[test]
fn times_are_read_as_people_write_them() {
    let seconds = |text| parse_time(text).map(|t| t.seconds).ok();
    assert_eq!(seconds("2024-01-15T10:30:00Z"), Some(1_705_314_600));
    assert_eq!(seconds("2024-01-15T12:30:00+02:00"), Some(1_705_314_600));
    assert_eq!(seconds("2024-01-15 10:30:00"), Some(1_705_314_600));
    assert_eq!(seconds("2024-01-15"), Some(1_705_363_199));
    assert_eq!(seconds("yesterday"), None);
}

#[test]
fn a_time_that_is_too_early_is_told_as_it_was_given() {
    let all = snapshots();
    let told = |selector: &str| {
        let mut missed = Missed::default();
        let colons = selector.rmatch_indices(':').map(|(at, _)| at);
        for cut in std::iter::once(selector.len()).chain(colons) {
            let left = selector.get(..cut).expect("a cut");
            missed.add(&all, left, pick(&all, left, None).expect_err("nothing is that old"));
        }
        missed.told().expect("told").to_string()
    };
    for (selector, expected) in [
        ("db@1969-11-22T03:00", "no version that old snapshot=\"db@1969-11-22T03:00\""),
        ("db@1969-11-22T03:00:07", "no version that old snapshot=\"db@1969-11-22T03:00:07\""),
        ("db@1969-11-22T03:00:/a:b", "no version that old snapshot=\"db@1969-11-22T03:00\""),
        ("db~7:/a:b", "no version that old snapshot=\"db~7\""),
        ("none@1969-11-22T03:00", "no such snapshot snapshot=\"none@1969-11-22T03:00\""),
        ("host:none@1969-11-22T03:00:/a", "no such snapshot snapshot=\"host\""),
        ("none:/a:b", "no such snapshot snapshot=\"none\""),
    ] {
        assert!(told(selector).contains(expected), "{selector}: {}", told(selector));
    }
}
