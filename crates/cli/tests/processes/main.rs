//! Many programs at once on one repository: what was reported as saved and not forgotten comes back.
//!
//! Each role runs the built program again and again until every writer has done its rounds; how many rounds is fixed,
//! and `cargo xtask prove` multiplies it. A role whose command this build does not have stays away.
#![cfg(feature = "fs")]

#[path = "../../../engine/tests/common/effort.rs"]
#[allow(dead_code)] // shared
mod effort;
#[path = "../program/world.rs"]
#[allow(dead_code)] // shared
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use world::{World, contents};

const WRITERS: u32 = 6;
/// Backups of each writer.
const ROUNDS: u32 = 12;

/// Somebody who works on the repository while the writers do.
struct Role {
    command: &'static str,
    count: u32,
    act: fn(&Scene, u32),
}

const ROLES: [Role; 4] = [
    Role { command: "verify", count: 1, act: verify },
    Role { command: "prune", count: 2, act: prune },
    Role { command: "forget", count: 1, act: forget },
    Role { command: "snapshots", count: 1, act: list },
];

/// A snapshot as its backup reported it: whose tree, and what was in it.
struct Saved {
    tree: String,
    content: Vec<(String, Vec<u8>)>,
}

struct Scene {
    world: World,
    saved: Mutex<BTreeMap<String, Saved>>,
    writing: AtomicU32,
}

#[test]
fn what_many_programs_at_once_report_as_saved_comes_back() {
    let world = World::with_repository();
    let scene = Scene { world, saved: Mutex::default(), writing: AtomicU32::new(WRITERS) };
    let rounds = effort::times(ROUNDS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let scene = &scene;
            scope.spawn(move || {
                let _done = Done(&scene.writing);
                (0..rounds).for_each(|round| write(scene, writer, round));
            });
        }
        for role in ROLES.iter().filter(|role| scene.world.run(&[role.command, "--help"]).code == 0) {
            for _ in 0..role.count {
                let scene = &scene;
                scope.spawn(move || {
                    // Bounded, whatever the writers do.
                    let turns = (0..rounds * 20).take_while(|_| scene.writing.load(Ordering::SeqCst) > 0);
                    turns.for_each(|turn| (role.act)(scene, turn));
                });
            }
        }
    });
    let Scene { world, saved, .. } = scene;
    let saved = saved.into_inner().expect("no panic");
    assert!(saved.len() >= WRITERS as usize, "only {} snapshots", saved.len());
    world.run(&["verify", "--read-data"]).expect(0);
    for (id, Saved { tree, content }) in &saved {
        let place = format!("{id}:{}", world.shown(tree));
        world.run(&["restore", &place, "-t", &format!("out/{id}"), "-q"]).expect(0);
        assert!(contents(&world.path(&format!("out/{id}"))) == *content, "{id} of {tree} differs");
    }
    println!("{} snapshots came back", saved.len());
}

/// Counted down also when a writer fails, so that nobody waits for it.
struct Done<'a>(&'a AtomicU32);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Backs a tree up of which some is its own and changes, and some everybody has.
fn write(scene: &Scene, writer: u32, round: u32) {
    let (world, tree) = (&scene.world, format!("tree{writer}"));
    world.write(&format!("{tree}/own/{round}"), &format!("{writer} in round {round} ").repeat(3000));
    world.write(&format!("{tree}/changing"), &format!("{writer} {round} ").repeat(20_000));
    world.write(&format!("{tree}/common/{}", round % 2), &format!("of all in {round} ").repeat(9000));
    world.write(&format!("{tree}/constant"), &"the same for ever ".repeat(7000));
    let content = contents(&world.path(&tree));
    let said = world.run(&["backup", "--name", &tree, &tree, "--json"]);
    // Space was reclaimed again and again meanwhile: said, and nothing is reported.
    if said.code == 11 {
        return;
    }
    let summary = said.expect(0).summary();
    let id = summary["snapshot_id"].as_str().expect("an id").to_owned();
    scene.saved.lock().expect("no panic").insert(id, Saved { tree, content });
}

fn verify(scene: &Scene, _: u32) {
    scene.world.run(&["verify", "-q"]).expect(0);
}

fn list(scene: &Scene, _: u32) {
    scene.world.run(&["snapshots", "--json"]).expect(0);
}

fn prune(scene: &Scene, _: u32) {
    let said = scene.world.run(&["prune", "--max-unused", "0", "-q"]);
    assert!([0, 11].contains(&said.code), "{}\n{}", said.out, said.err);
}

/// One snapshot that is not the last of its series: whether the program says so or not, it no longer counts.
fn forget(scene: &Scene, turn: u32) {
    let mut saved = scene.saved.lock().expect("no panic");
    let tree = format!("tree{}", turn % WRITERS);
    let mut of_tree = saved.iter().filter(|(_, s)| s.tree == tree).map(|(id, _)| id.clone());
    let (Some(id), Some(_)) = (of_tree.next(), of_tree.next()) else { return };
    saved.remove(&id);
    drop(saved);
    let said = scene.world.run(&["forget", &id]);
    assert!([0, 11, 15].contains(&said.code), "{}\n{}", said.out, said.err);
}
