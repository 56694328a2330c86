//! Objects of a repository that the file system does not give: what is lost with them, and that everything else goes on.

use crate::world::{World, contents};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The objects in a folder of the repository.
fn objects(world: &World, folder: &str) -> Vec<PathBuf> {
    let folder = world.path("repo").join(folder);
    contents(&folder).into_iter().map(|(name, _)| folder.join(name)).collect()
}

/// Puts a link to itself in the place of an object: looking at it fails, as with an inode that cannot be read.
fn put_a_loop(object: &Path) {
    std::fs::remove_file(object).expect("removed");
    symlink(object, object).expect("link");
}

#[test]
fn what_a_pattern_wants_comes_back_whatever_other_metadata_cannot_be_read() {
    let world = World::with_repository();
    // Where the tree is cut depends on the repository's keys: of so many, some nodes are not written anew.
    for n in 0..9000 {
        world.write(&format!("src/many/{n:04}"), "x");
    }
    world.run(&["backup", "src", "-q"]).expect(0);
    let old = objects(&world, "packs/m");
    world.write("src/zzz", "wanted");
    world.run(&["backup", "src", "-q"]).expect(0);
    old.iter().for_each(|pack| put_a_loop(pack));
    let wanted = |target: &str| world.path(target).join(world.shown("src").trim_start_matches('/')).join("zzz");
    for (target, args) in [("all", &[][..]), ("in", &["--include", "zzz"]), ("out", &["--exclude", "big.bin"])] {
        let args = [&["--no-cache", "restore", "latest", "-t", target], args].concat();
        world.run(&args).expect(3).says("entries from here on cannot be read");
        assert_eq!(std::fs::read_to_string(wanted(target)).expect(target), "wanted");
    }
}

#[test]
fn a_pack_that_cannot_be_looked_at_is_named_and_stops_neither_verify_nor_repair_nor_prune() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    let pack = objects(&world, "packs/d").pop().expect("a data pack");
    let fifo = |object: &Path| {
        std::fs::remove_file(object).expect("removed");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, object, kind, mode, 0).expect("FIFO");
    };
    for put_in_its_place in [put_a_loop as fn(&Path), fifo] {
        put_in_its_place(&pack);
        world.run(&["verify"]).expect(13).says("damaged: packs/d/").says("object cannot be read").says("big.bin");
        world.run(&["verify", "--scrub"]).expect(13).says("damaged: packs/d/").says("object cannot be read");
        world.run(&["repair", "packs"]).expect(13).says("packs/d/").says("object cannot be read");
        world.run(&["prune", "-n"]).expect(0);
        // A backup that reads everything asks for each pack too.
        world.run(&["backup", "--force", "src", "-q", "-n"]).expect(0);
    }
}
