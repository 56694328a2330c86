//! Forgetting, pinning and giving back.

use crate::world::{World, contents};
use serde_json::{Value, json};

/// A repository with `n` snapshots named `tree`.
fn world(n: usize) -> World {
    let world = World::with_repository();
    (0..n).for_each(|_| drop(world.run(&["backup", "--name", "tree", "-q", "src"]).expect(0)));
    world
}

fn ids(world: &World, args: &[&str]) -> Vec<String> {
    let listed = world.run(&[&["snapshots", "--json"], args].concat()).expect(0).json();
    let all = listed[0].as_array().expect("an array").iter();
    all.map(|s| s["id"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_policy_is_shown_then_done_and_undone() {
    let world = world(4);
    let all = ids(&world, &[]);
    let before = contents(&world.path("repo"));
    let dry = world.run(&["forget", "--keep-last", "2", "-n"]).expect(0);
    dry.says("keep").says("drop").says("among the last").says("not among the last 2").says("dry run: 2 of 4 snapshots");
    dry.says("days and weeks are those of UTC").says("name \"tree\"");
    assert_eq!(contents(&world.path("repo")), before);
    let lines = world.run(&["forget", "--keep-last", "2", "--json"]).expect(0);
    let decisions: Vec<Value> = lines.json().into_iter().filter(|l| l["message_type"] == "decision").collect();
    assert_eq!(decisions.iter().map(|d| &d["action"]).collect::<Vec<_>>(), ["drop", "drop", "keep", "keep"]);
    assert_eq!(
        (&decisions[0]["reasons"], &decisions[0]["clock_deviates"]),
        (&json!(["not among the last 2"]), &json!(false))
    );
    assert_eq!(lines.summary()["forgotten"], json!(all[..2]));
    assert_eq!((ids(&world, &[]), ids(&world, &["--forgotten"])), (all[2..].to_vec(), all[..2].to_vec()));
    world.run(&["forget", "--keep-last", "2"]).expect(0).says("nothing to forget");
    world.run(&["undelete", &all[0], "-n"]).expect(0).says("dry run: 1 snapshot");
    world.run(&["undelete", &all[0], "tree"]).expect(0).says("gave back 2 snapshots");
    assert_eq!(ids(&world, &[]), all);
    world.run(&["undelete", &all[0]]).expect(1).says("no such forgotten snapshot").says("--forgotten");
}

#[test]
fn the_guard_refuses_with_a_code_of_its_own() {
    let world = world(5);
    let before = contents(&world.path("repo"));
    world.run(&["forget", "--keep-last", "1"]).expect(15).says("4 of 5 snapshots (80 %)").says("--allow-share 80");
    let listed = world.run(&["forget", "--keep-last", "1", "-n"]).expect(15);
    assert!(listed.out.matches("not among the last").count() == 4, "the list comes before the refusal: {}", listed.out);
    assert!(listed.err.contains("4 of 5"), "{}", listed.err);
    world
        .run(&["forget", "--name", "tree"])
        .expect(15)
        .says("leave no snapshot of name \"tree\"")
        .says("--allow-empty-group");
    let refused = world.run(&["forget", "--name", "tree", "--json"]).expect(15);
    assert_eq!(refused.summary()["forgotten"], json!([]));
    assert!(refused.err.contains("\"code\":15"), "{}", refused.err);
    assert_eq!(contents(&world.path("repo")), before);
    world.run(&["forget", "--keep-last", "1", "--allow-share", "80"]).expect(0).says("forgot 4 of 5");
    world.run(&["forget", "tree"]).expect(15);
    world.run(&["forget", "tree", "--allow-empty-group"]).expect(0).says("forgot 1 of 1");
}

#[test]
fn what_to_forget_must_be_said() {
    let world = world(2);
    world.run(&["forget"]).expect(1).says("nothing says what to forget").says("--policy guide");
    world.run(&["forget", "tree", "--keep-last", "1"]).expect(1).says("cannot be used with");
    world.run(&["forget", "tree", "--tag", "x"]).expect(1).says("cannot be used with");
    world.run(&["forget", "tree:/src"]).expect(1);
    world.run(&["forget", "tree", "nothing"]).expect(1).says("no such snapshot");
    world.run(&["forget", "--keep-within", "5min"]).expect(1).says("6m (months)");
    world.run(&["forget", "--keep-daily", "1", "--timezone", "Mars/Olympus"]).expect(1).says("no such time zone");
    world.run(&["forget", "--tag", "none"]).expect(0).says("nothing to forget of 2 snapshots");
    assert_eq!(ids(&world, &[]).len(), 2);
}

#[test]
fn pins_are_set_shown_and_taken_off() {
    let world = world(3);
    let all = ids(&world, &[]);
    world.run(&["tag", &all[0], "--pin"]).expect(0);
    world.run(&["tag", &all[1], "--pin", "--until", "2199-12-31"]).expect(0);
    world.run(&["snapshots"]).expect(0).says("pinned until 2199-12-31");
    let listed = &world.run(&["snapshots", "--json"]).expect(0).json()[0];
    let pins: Vec<(bool, bool)> = listed
        .as_array()
        .expect("an array")
        .iter()
        .map(|s| (s["pinned"] == true, s["pinned_until"].is_string()))
        .collect();
    assert_eq!(pins, [(true, false), (true, true), (false, false)]);
    world.run(&["forget", "--keep-last", "1"]).expect(0).says("pinned").says("nothing to forget");
    world.run(&["forget", &all[0]]).expect(15).says("pinned snapshots are not forgotten").says("--unpin");
    world.run(&["tag", &all[0], "--unpin"]).expect(0);
    world.run(&["forget", &all[0]]).expect(0).says("forgot 1 of 3");
    world.run(&["tag", &all[1], "--pin", "--until", "2001-01-01"]).expect(1).says("is past");
    world.run(&["tag", &all[1], "--until", "2199-01-01"]).expect(1);
    world.run(&["tag", &all[1], "--add", "a,b", "--remove", "c,b"]).expect(1).says("the same tag").says("tag=b");
}

#[test]
fn clocks_that_are_off_are_marked() {
    let world = world(1);
    world.run(&["backup", "--name", "tree", "-q", "--time", "2199-01-01T00:00:00Z", "src"]).expect(0);
    world.run(&["backup", "--name", "tree", "-q", "--time", "2001-01-01T00:00:00Z", "src"]).expect(0);
    world.run(&["snapshots"]).expect(0).says("clock (recorded ");
    let listed = &world.run(&["snapshots", "--json"]).expect(0).json()[0];
    let flags: Vec<&Value> = listed.as_array().expect("an array").iter().map(|s| &s["clock_deviates"]).collect();
    assert_eq!(flags, [false, true, true]);
    // The forged ones make the real one not go.
    let lines = world.run(&["forget", "--keep-last", "1", "--json", "-n"]).expect(0).json();
    let kept: Vec<&Value> = lines.iter().filter(|l| l["message_type"] == "decision").map(|l| &l["action"]).collect();
    assert_eq!(kept, ["keep", "drop", "keep"]);
}
