//! A source that is not there makes no snapshot of it go.

use crate::world::{Said, World};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

const YAML: &str = "\
backup:
  host: testhost
  sources:
    logs: {paths: [logs], optional: true}
    data: {paths: [src], ignore_files: [.rules]}
  sinks:
    main: {url: repo, key_file: key}
  pipelines:
    both:
      sources: [logs, data]
      sink: main
      retention: {keep_last: 3}
";

fn world() -> World {
    let world = World::with_repository();
    world.write("conf.yaml", YAML);
    world.write("logs/today", "much\n");
    world
}

fn run(world: &World) -> Said {
    world.run_as_ordinary_user(&["--config", "conf.yaml", "run"])
}

/// Of each live snapshot its name and whether a source was missing, in log order.
fn live(world: &World) -> Vec<(String, bool)> {
    let listed = &world.run(&["snapshots", "--json"]).expect(0).json()[0];
    let all = listed.as_array().expect("an array").iter();
    all.map(|s| (s["name"].as_str().expect("a name").to_owned(), s["problems"]["missing_source"] == 1)).collect()
}

#[test]
fn a_source_that_is_missing_or_unreadable_makes_no_snapshot_of_it_go() {
    for hide in [
        // As a mount point without its disk.
        |world: &World| std::fs::remove_file(world.path("logs/today")).expect("removed"),
        |world: &World| std::fs::remove_dir_all(world.path("logs")).expect("removed"),
        |world: &World| {
            let mode = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(world.path("logs"), mode).expect("mode");
        },
    ] {
        let world = world();
        (0..3).for_each(|_| drop(run(&world).expect(0)));
        hide(&world);
        for _ in 0..4 {
            let said = run(&world).expect(3);
            said.says("1 missing source").says("pipeline both: nothing is forgotten of logs");
            said.says("(retention)  nothing is forgotten of logs: a path was missing or unreadable");
        }
        let count =
            |name: &str, missing: bool| live(&world).iter().filter(|s| **s == (name.to_owned(), missing)).count();
        assert_eq!((count("both-logs", false), count("both-logs", true), count("both-data", false)), (3, 4, 3));
        // By hand too: what is not there takes no place, and goes before its likes.
        let said = world.run(&["forget", "--name", "both-logs", "--keep-last", "2", "--json"]).expect(0).json();
        let missing: Vec<&Value> =
            said.iter().map(|line| &line["source_missing"]).filter(|told| told.is_boolean()).collect();
        assert_eq!(missing, [false, false, false, true, true, true, true]);
        assert_eq!((count("both-logs", false), count("both-logs", true)), (2, 2));
        std::fs::set_permissions(world.path("logs"), std::fs::Permissions::from_mode(0o755)).unwrap_or_default();
    }
}

#[test]
fn a_path_that_lies_in_another_is_missed_as_well() {
    let world = world();
    world.write("conf.yaml", &YAML.replace("[src]", "[src, src/disk]"));
    world.write("src/disk/precious", "content\n");
    (0..3).for_each(|_| drop(run(&world).expect(0)));
    // As a mount point without its disk.
    std::fs::remove_file(world.path("src/disk/precious")).expect("removed");
    for _ in 0..4 {
        run(&world).expect(3).says("pipeline both: nothing is forgotten of data");
    }
    let whole = live(&world).into_iter().filter(|s| *s == ("both-data".to_owned(), false));
    assert_eq!(whole.count(), 3);
}

#[test]
fn what_is_unreadable_below_a_path_or_says_what_to_ignore_holds_nothing_back() {
    let world = world();
    world.write("src/.rules", "*.bin\n");
    for name in ["src/.rules", "src/a"] {
        std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(0o000)).expect("mode");
    }
    (0..4).for_each(|_| drop(run(&world).expect(3)));
    assert_eq!(live(&world).iter().filter(|s| s.0 == "both-data").count(), 3);
    std::fs::set_permissions(world.path("src/a"), std::fs::Permissions::from_mode(0o755)).expect("mode");
}

#[test]
fn an_ignore_file_that_is_none_keeps_nothing_from_being_deleted() {
    let world = World::with_repository();
    world.write("src/.rules/x", "a directory\n");
    world.run(&["backup", "src", "--ignore-file", ".rules"]).expect(0);
    std::os::unix::fs::symlink("one.txt", world.path("src/a/.rules")).expect("link");
    let said = world.run(&["backup", "src", "--ignore-file", ".rules"]).expect(3);
    said.says("/.rules: its lines are not applied: it is a symbolic link").says("--problems` lists them");
    let restore =
        || world.run(&["restore", &format!("latest:{}", world.shown("src")), "-t", "out", "--delete"]).expect(0);
    restore();
    for new in ["out/.rules/new", "out/a/new"] {
        world.write(new, "of later\n");
    }
    restore();
    assert!(!world.path("out/.rules/new").exists() && !world.path("out/a/new").exists());
}
