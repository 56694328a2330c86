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
