//! Keys of which something is damaged, stuck, or refused.

use crate::world::World;
use serde_json::Value;

/// A repository with a second key; the names of the one in use and of that.
fn world() -> (World, String, String) {
    let world = World::with_repository();
    world.run(&["key", "generate", &world.shown("second")]).expect(0);
    world.run(&["key", "add", "--new-key-file", &world.shown("second")]).expect(0);
    let listed = world.run(&["key", "list", "--json"]).expect(0).json();
    let name = |current: bool| {
        let found = listed[0].as_array().expect("an array").iter().find(|key| key["current"] == current);
        found.expect("listed")["key"].as_str().expect("a name").to_owned()
    };
    let (own, other) = (name(true), name(false));
    (world, own, other)
}

#[test]
fn a_damaged_key_is_named_and_everything_goes_on() {
    let (world, own, other) = world();
    std::fs::remove_file(world.path(&format!("repo/keys/{other}"))).expect("removed");
    let said = world.run(&["key", "list"]).expect(3);
    said.says("damaged").says(&format!("key {other} is damaged and opens nothing: its object is missing"));
    let listed = &world.run(&["key", "list", "--json"]).expect(3).json()[0];
    let told = |at: &str| listed.as_array().expect("an array").iter().find(|key| key["key"] == at).expect("it").clone();
    assert_eq!((&told(&other)["kind"], &told(&other)["created"]), (&"damaged".into(), &Value::Null));
    assert_eq!(told(&own)["damage"], Value::Null);
    world.run(&["key", "remove", &own]).expect(1).says("the last key").says("damaged does not count");
    world.run(&["key", "remove", &own, "-n"]).expect(1).says("the last key");
    world.run(&["key", "remove", &other, "--rotate", "-n"]).expect(0).says("would be removed");
    world.run(&["key", "remove", &other]).expect(0);
    world.run(&["key", "list"]).expect(0);
    world.run(&["verify"]).expect(0);
}

#[test]
fn a_dry_run_of_a_removal_plans_that_and_no_rotation() {
    let (world, own, other) = world();
    let said = world.run(&["key", "remove", &own, "-n"]).expect(0);
    said.says("would be removed");
    assert!(!said.out.contains("goes on") && !said.out.contains("ended"), "{}", said.out);
    world.run(&["key", "remove", &own, "--rotate", "-n"]).expect(1).says("opened with the key to be revoked");
    world.run(&["key", "remove", &other[..4], "-n"]).expect(0).says(&other);
    world.run(&["key", "list"]).expect(0).says(&own).says(&other);
}

#[test]
fn a_write_only_key_that_is_not_added_leaves_no_file() {
    let world = World::with_repository();
    let (file, long) = (world.shown("web.key"), "x".repeat(70_000));
    let add = ["key", "add", "--write-only", &file, "--for-host", "web1"];
    world.run(&[&add[..], &["--new-label", &long]].concat()).expect(1);
    assert!(!world.path("web.key").exists());
    world.run(&add).expect(0);
    assert!(world.path("web.key").exists());
}

#[test]
fn a_new_password_of_blanks_is_refused() {
    let world = World::with_repository();
    world.write("blanks", " \t \n");
    let blanks = world.shown("blanks");
    world.run(&["key", "add", "--new-password-file", &blanks]).expect(1).says("only of blanks");
    let mut fresh = world.program("decube-backup");
    fresh.env_remove("DECUBE_BACKUP_KEY_FILE").args(["-r", "fresh", "-p", &blanks, "init"]);
    crate::world::said(&mut fresh).expect(1).says("only of blanks");
    assert!(!world.path("fresh").exists());
}
