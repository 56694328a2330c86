//! Damage, from finding it to living on.

use crate::world::World;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A repository with a snapshot of `src`, and its one data pack.
fn world() -> (World, PathBuf) {
    let world = World::with_repository();
    // Bytes without a pattern, so that most of the pack is content.
    let noise = (0..100_000u64)
        .map(|n| char::from(33 + (n.wrapping_mul(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8 % 90));
    world.write("src/noise", &noise.collect::<String>());
    world.run(&["backup", "src", "--name", "src", "-q"]).expect(0);
    let packs = world.path("repo/packs/d");
    let pack = crate::world::contents(&packs).into_iter().next().expect("a data pack");
    let path = packs.join(pack.0);
    (world, path)
}

fn spoil(path: &PathBuf) {
    let mut bytes = std::fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn damage_is_recorded_repaired_as_far_as_possible_and_healed_by_a_backup() {
    let (world, pack) = world();
    spoil(&pack);
    let found = world.run(&["verify", "--read-data", "--record", "--json"]).expect(13).summary();
    assert_eq!((&found["recorded"]["damaged"], &found["affected_count"]), (&1.into(), &2.into()), "{found}");
    world.run(&["stats"]).expect(0).says("packs known to be damaged");

    world.run(&["repair", "packs"]).expect(13).says("--apply repairs");
    world.run(&["repair", "packs", "--apply", "--json"]).expect(3);
    let lost = world.run(&["repair", "snapshots", "--json"]).expect(13);
    let line = lost.json().into_iter().find(|line| line["message_type"] == "damaged_snapshot").expect("a snapshot");
    assert_eq!((&line["entries_lost"], &line["outcome"]), (&2.into(), &"planned".into()), "{line}");
    assert!(line["lost"][1]["path"].as_str().expect("a path").ends_with("src/noise"), "{line}");

    let made = world.run(&["repair", "snapshots", "--apply"]).expect(3);
    made.says("repaired copy").says("src/noise");
    world.run(&["snapshots"]).expect(0).says("repaired");
    let again = world.run(&["repair", "snapshots", "--json"]).expect(3);
    let line = again.json().into_iter().find(|line| line["message_type"] == "damaged_snapshot").expect("a snapshot");
    assert_eq!(
        (&line["outcome"], &line["to_do"], &again.summary()["to_do"]),
        (&"known".into(), &false.into(), &0.into())
    );
    world.run(&["repair", "snapshots"]).expect(3).says("has a repaired copy already").says("nothing is left to do");
    world.run(&["repair", "snapshots", "--apply"]).expect(3);

    // The original is what a name means; its copy stands before it, and says that it lacks something.
    let copy = line["repaired"].as_str().expect("an id");
    let original = world.run(&["restore", "src", "-t", "original", "--json"]).expect(3).summary();
    assert_eq!((&original["snapshot_id"], &original["problems"]["damaged"]), (&line["id"], &2.into()), "{original}");
    let restored = world.run(&["restore", "src~1", "-t", "copy", "--json"]).expect(0);
    let summary = restored.summary();
    assert_eq!((&summary["snapshot_id"], &summary["snapshot_problems"]["damaged"]), (&copy.into(), &2.into()));
    let warned = world.run(&["restore", copy, "-t", "copy", "-n"]).expect(0);
    warned.says("the snapshot records problems of its making: 2 damaged").says("--problems");
    world.run(&["ls", "src~1", "--problems"]).expect(0).says("src/noise");

    let healed = world.run(&["backup", "src", "--name", "src", "--json"]).expect(0).summary();
    assert!(healed["data_added"].as_u64().expect("a number") > 0, "{healed}");
    let after = world.run(&["verify", "--read-data", "--json"]).expect(13).summary();
    assert_eq!(after["affected_count"], 0, "{after}");
    world.run(&["restore", "src", "-t", "out", "-q"]).expect(0);
    world.run(&["repair", "snapshots"]).expect(0).says("nothing to repair");
}

#[test]
fn index_and_checkpoints_are_repaired_and_a_sound_repository_has_nothing_to_repair() {
    let (world, _) = world();
    for command in [["repair", "index"], ["repair", "checkpoints"], ["repair", "packs"], ["repair", "snapshots"]] {
        world.run(&command).expect(0).says("nothing to repair");
    }
    let index = world.path("repo/index/0");
    let (name, _) = crate::world::contents(&index).into_iter().next().expect("an index segment");
    std::fs::remove_file(index.join(name)).expect("removed");
    world.run(&["verify"]).expect(13).says("repair index");
    world.run(&["repair", "index"]).expect(13).says("would be indexed anew");
    let done = world.run(&["repair", "index", "--apply", "--json"]).expect(0).summary();
    assert_eq!((&done["segments_retired"], &done["segments_written"]), (&1.into(), &1.into()), "{done}");
    world.run(&["verify", "--read-data"]).expect(0);
}

#[test]
fn what_is_given_back_damaged_is_said() {
    let (world, pack) = world();
    world.run(&["forget", "src", "--allow-empty-group"]).expect(0);
    std::fs::remove_file(&pack).expect("removed");
    let dry = world.run(&["undelete", "src", "-n", "--json"]).expect(3).summary();
    assert_eq!((&dry["damaged"][0]["files"], &dry["damaged"][0]["directory_parts"]), (&2.into(), &0.into()), "{dry}");
    let given = world.run(&["undelete", "src"]).expect(3);
    given.says("given back, but damaged: 2 files (").says("src/noise").says("gave back 1 snapshot");
    assert_eq!(world.run(&["snapshots", "--json"]).expect(0).json()[0].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_pack_that_is_missing_is_not_called_overdue_for_want_of_reading() {
    let (world, pack) = world();
    std::fs::remove_file(&pack).expect("removed");
    let said = world.run(&["verify", "--within", "30d"]).expect(13);
    said.says("1 pack not read within the time asked for because damaged or missing");
    assert!(!said.out.contains("run it more often"), "{}", said.out);
    let told = world.run(&["verify", "--within", "30d", "--json"]).expect(13).summary();
    assert_eq!((&told["overdue_packs"], &told["overdue_damaged_packs"]), (&1.into(), &1.into()), "{told}");
}

#[test]
fn a_policy_reads_in_parts_and_says_how_old_the_oldest_reading_is() {
    let (world, _) = world();
    let first = world.run(&["verify", "--within", "30d", "--budget-bytes", "1", "--json"]).expect(0).summary();
    assert_eq!(first["recorded"]["verified"], 1, "{first}");
    assert!(first["overdue_packs"].as_u64().expect("a number") > 0, "{first}");
    let rest = world.run(&["verify", "--within", "30d", "--json"]).expect(0).summary();
    assert_eq!((&rest["overdue_packs"], &rest["unverified_packs"]), (&0.into(), &0.into()), "{rest}");
    assert!(rest["oldest_verified"].is_string(), "{rest}");
    world.run(&["verify", "--within", "30d"]).expect(0).says("every byte was read within").says("read 0 of");
    let stats = world.run(&["stats", "--json"]).expect(0).json().remove(0);
    assert_eq!((&stats["unverified_packs"], &stats["damaged_packs"]), (&0.into(), &0.into()), "{stats}");
    world.run(&["verify", "--budget-time", "1h"]).expect(1).says("--within");
}

/// A sector of each pack is gone: nothing is lost, it is said so, and put right by one command.
#[test]
fn parity_brings_damage_back_and_verify_repairs_it() {
    let world = World::with_repository();
    let backup = |more: &[&str]| {
        let command = ["backup", "src", "--name", "src", "-q"];
        world.run(&[&command[..], more].concat()).expect(0);
    };
    world.write("src/text", &(0..60_000).map(|n| format!("line {n}\n")).collect::<String>());
    backup(&[]);
    assert!(!world.path("repo/parity").exists(), "nobody asked for it");
    world.run(&["repair", "parity"]).expect(1).says("--parity");
    world.run(&["repair", "parity", "--parity", "10"]).expect(13).says("would get it");
    world.run(&["repair", "parity", "--parity", "10", "--apply"]).expect(0).says("2 written");
    world.write("src/new", &(0..60_000).map(|n| format!("{n} is new\n")).collect::<String>());
    backup(&["--parity", "10"]);
    let packs = crate::world::contents(&world.path("repo/packs"));
    assert_eq!(crate::world::contents(&world.path("repo/parity")).len(), packs.len());
    world.run(&["stats"]).expect(0).says(&format!("for {} packs", packs.len()));

    for (name, mut bytes) in packs {
        let from = bytes.len() / 2 / 4096 * 4096;
        let to = bytes.len().min(from + 4096);
        bytes[from..to].fill(0);
        let path = world.path("repo/packs").join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
        std::fs::write(path, bytes).expect("written");
    }
    world.run(&["verify", "--scrub"]).expect(13).says("repairable by parity: 1 ranges");
    let found = world.run(&["verify", "--read-data", "--json"]).expect(13).summary();
    assert_eq!(
        (&found["affected_count"], found["repairable"].as_array().map(Vec::len)),
        (&0.into(), Some(4)),
        "{found}"
    );
    let restored = world.run(&["restore", "src", "-t", "out"]).expect(0);
    restored.says("read by its parity");
    let source = world.shown("src");
    let inside = format!("out{source}");
    assert_eq!(crate::world::contents(&world.path(&inside)), crate::world::contents(&world.path("src")));
    let dumped = world.run(&["dump", &format!("src:{source}/text")]).expect(0);
    assert_eq!(dumped.out.as_bytes(), std::fs::read(world.path("src/text")).expect("read"));

    let repaired = world.run(&["verify", "--read-data", "--repair", "--parity", "10"]).expect(0);
    repaired.says("repairable by parity").says("4 packs read whole by parity").says(" 0 lost");
    world.run(&["prune", "--max-unused", "0"]).expect(0);
    world.run(&["verify", "--read-data"]).expect(0).says("sound");
    let (packs, parity) = (world.path("repo/packs"), world.path("repo/parity"));
    assert_eq!(crate::world::contents(&packs).len(), crate::world::contents(&parity).len());
    world.run(&["backup", "src", "--name", "src", "--parity", "101"]).expect(1).says("101");
}
