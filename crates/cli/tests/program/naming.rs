//! How snapshots are called, and what of them is meant.

use crate::world::{World, said};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

#[test]
fn a_path_where_snapshots_are_meant_as_a_whole_is_an_error() {
    let world = World::with_repository();
    world.run(&["backup", "src", "--name", "tree", "-q"]).expect(0);
    let inside = format!("latest:{}/a", world.shown("src"));
    let commands: [&[&str]; 8] = [
        &["tag", &inside, "--add", "x"],
        &["tag", &inside, "--pin"],
        &["forget", &inside],
        &["verify", "-s", &inside],
        &["stats", "--unique", &inside],
        &["repair", "snapshots", &inside],
        &["backup", "src", "--parent", &inside],
        &["tag", "latest:/none", "--add", "x"],
    ];
    for args in commands {
        world.run(args).expect(1).says("as a whole");
    }
    let listed = world.run(&["snapshots", "--json"]).expect(0).json();
    assert_eq!((listed[0].as_array().map(Vec::len), &listed[0][0]["tags"]), (Some(1), &serde_json::json!([])));
}

#[test]
fn find_looks_below_the_path_and_diff_wants_one_that_exists() {
    let world = World::with_repository();
    world.run(&["backup", "src", "--name", "tree", "-q"]).expect(0);
    let src = world.shown("src");
    let found = world.run(&["find", "*", "-s", &format!("tree:{src}/a"), "--type", "f"]).expect(0).out;
    assert!(found.contains("one.txt") && !found.contains("big.bin"), "{found}");
    world.run(&["find", "*", "-s", "tree:/none"]).expect(1).says("path=none");
    world.run(&["diff", "tree:/none", "tree"]).expect(1).says("path=none");
    world.run(&["backup", "src", "--name", "tree", "-e", "/a", "-q"]).expect(0);
    world.run(&["diff", &format!("tree~1:{src}/a"), "tree"]).expect(0).says("4 removed");
}

#[test]
fn names_nobody_can_select_are_refused() {
    let world = World::with_repository();
    for name in ["", "latest", "a~1", "a@2020-11-28", "host:latest"] {
        world.run(&["backup", "src", "--name", name]).expect(1).says("--name");
        said(world.program("decub-snapshot").args(["create", name, "src"])).expect(1);
    }
    world.run(&["backup", "src", "--host", ""]).expect(1).says("empty");
    world.run(&["backup", "src", "--tag", "a,,b"]).expect(1).says("empty");
    world.run(&["snapshots"]).expect(0).says("0 snapshots");
}

#[test]
fn a_shown_time_names_the_snapshot_it_is_shown_for() {
    let world = World::with_repository();
    for time in ["2020-11-27T22:30:00.7Z", "2020-11-28T10:00:00Z", "2020-11-28T23:30:00.5Z"] {
        world.run(&["backup", "src", "--name", "s", "--time", time, "-q"]).expect(0);
    }
    let list = |args: &[&str]| said(world.program("decube-backup").env("TZ", "Asia/Tokyo").args(args)).expect(0).out;
    let shown = list(&["snapshots"]);
    let times: Vec<&str> =
        shown.split_whitespace().filter(|word| word.starts_with("2020-") && word.ends_with('Z')).collect();
    assert_eq!(times, ["2020-11-27T22:30:00Z", "2020-11-28T10:00:00Z", "2020-11-28T23:30:00Z"]);
    let chosen = |args: &[&str]| list(&[args, &["--json"]].concat()).lines().next().map(str::to_owned);
    let ids: Vec<String> = times.iter().filter_map(|time| chosen(&["ls", &format!("s@{time}")])).collect();
    for (at, time) in times.iter().enumerate() {
        assert!(ids[at].contains(time.trim_end_matches('Z')), "{time}: {}", ids[at]);
        assert_eq!(chosen(&["ls", "s", "--as-of", time]).as_ref(), Some(&ids[at]));
    }
    // A date is the end of that day in both.
    for (date, at) in [("2020-11-28", 2), ("2020-11-27", 0)] {
        assert_eq!(chosen(&["ls", &format!("s@{date}")]).as_ref(), Some(&ids[at]));
        assert_eq!(chosen(&["ls", "s", "--as-of", date]).as_ref(), Some(&ids[at]));
    }
    world.run(&["ls", "s@garbage"]).expect(1).says("is not a time");
}

#[test]
fn names_that_are_no_text_are_asked_for_as_they_are() {
    let world = World::with_repository();
    let name = OsStr::from_bytes(b"no text \xff");
    std::fs::write(world.path("src").join(name), "found").expect("written");
    world.run(&["backup", "src", "-q"]).expect(0);
    let inside = world.path("src").join(name);
    let selector = OsString::from_vec([b"latest:", inside.as_os_str().as_bytes()].concat());
    let dumped = said(world.program("decube-backup").arg("dump").arg(&selector)).expect(0);
    assert_eq!(dumped.out, "found");
    said(world.program("decube-backup").arg("restore").arg(&selector).args(["-t", "to", "-q"])).expect(0);
    assert_eq!(std::fs::read(world.path("to").join(name)).expect("restored"), b"found");
    let mut explain = world.program("decube-backup");
    let explained = said(explain.arg("explain-exclude").arg(&inside)).expect(0);
    assert!(explained.out.lines().all(|line| line.matches("no text \\xff").count() == 2), "{}", explained.out);
    let explained = said(explain.arg("--json")).expect(0).json();
    assert!(explained[0]["path_hex"].as_str().is_some_and(|hex| hex.ends_with("6e6f207465787420ff")), "{explained:?}");
}

#[test]
fn a_link_whose_target_is_no_text_is_told_byte_for_byte() {
    let world = World::with_repository();
    let link = |name: &str, target: &[u8]| std::os::unix::fs::symlink(OsStr::from_bytes(target), world.path(name));
    link("src/odd", b"caf\xe9/\xff").expect("link");
    world.run(&["backup", "src", "-q"]).expect(0);
    let nodes = world.run(&["ls", "-R", "latest", "--json"]).expect(0).json();
    let of = |name: &str| nodes.iter().find(|node| node["name"] == name).expect("a node");
    assert_eq!(of("odd")["linktarget_hex"], "636166e92fff");
    assert_eq!(of("odd")["linktarget"], "caf\u{fffd}/\u{fffd}");
    assert_eq!((of("link")["linktarget"].as_str(), of("link").get("linktarget_hex")), (Some("one.txt"), None));
}

#[test]
fn a_time_before_the_first_version_is_told_whole() {
    let world = World::with_repository();
    world.run(&["backup", "src", "--name", "documents", "--time", "2026-11-23T10:00:00Z", "-q"]).expect(0);
    let told = world.run(&["ls", "documents@2026-11-22T03:00"]).expect(1);
    told.says("no version that old snapshot=\"documents@2026-11-22T03:00\"").says("2026-11-23T10:00:00");
    world.run(&["ls", "documents@2026-11-22T03:00:/src"]).expect(1).says("=\"documents@2026-11-22T03:00\"");
}
