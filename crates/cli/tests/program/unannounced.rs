//! Files whose size is given as 0 and that have content: what Linux shows below `/proc`.
#![cfg(target_os = "linux")]

use crate::world::World;

fn dumped(world: &World, what: &str) -> Vec<u8> {
    world.program("decube-backup").args(["dump", what]).output().expect("ran").stdout
}

#[test]
fn content_that_no_size_announced_is_stored() {
    let world = World::with_repository();
    // The second is given in one read or not whole; the third is longer than a first read.
    let files = ["/proc/version", "/proc/sys/kernel/pid_max", "/proc/self/smaps"];
    let paths: Vec<String> = files.iter().map(|file| file.replace("self", &std::process::id().to_string())).collect();
    let arguments: Vec<&str> = paths.iter().map(String::as_str).collect();
    for _ in 0..2 {
        world.run(&[&["backup", "-q", "--name", "proc"], &arguments[..]].concat()).expect(0);
        for path in &paths {
            let (stored, now) = (dumped(&world, &format!("latest:{path}")), std::fs::read(path).expect("read"));
            match path.ends_with("smaps") {
                // Its numbers change while the test runs.
                true => assert!(stored.len() > 4096 && stored.ends_with(b"\n"), "{} bytes", stored.len()),
                false => assert_eq!(stored, now, "{path}"),
            }
        }
        world.run(&["verify", "--read-data", "-q"]).expect(0);
    }
}

#[test]
fn content_without_end_is_a_problem_that_is_counted() {
    let world = World::with_repository();
    // One word for each page a process may have: a quarter of a terabyte.
    let endless = format!("/proc/{}/pagemap", std::process::id());
    let said = world.run(&["backup", "--json", &endless, "src"]).expect(3);
    said.says("its size is given as 0, but it has content without end");
    assert_eq!(said.summary()["files_new"], 3);
}
