//! What a person at a terminal is asked.

use crate::world::{Said, World};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs `decube-backup` at a terminal at which `lines` are typed.
fn at_terminal(world: &World, args: &str, lines: &str) -> Said {
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &format!("{} {args}", program.display()), "/dev/null"]);
    command.env_remove("DECUBE_BACKUP_PASSWORD").env("DECUBE_BACKUP_REPOSITORY", world.path("repo"));
    command.env("HOME", world.path("home")).current_dir(world.path(""));
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`script` of util-linux");
    running.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("typed");
    let output = running.wait_with_output().expect("ran");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::new(),
    }
}

#[test]
fn a_mistyped_password_is_asked_for_again() {
    let world = World::new();
    world.write("password", "right\n");
    world.run(&["init", "--password-file", "password"]).expect(0);
    let second = at_terminal(&world, "snapshots", "wrong\nright\n").expect(0);
    assert_eq!(second.out.matches("repository password: ").count(), 2, "{}", second.out);
    assert!(second.out.contains("type it again"), "{}", second.out);
    let never = at_terminal(&world, "snapshots", "one\ntwo\nthree\nright\n").expect(12);
    assert_eq!(never.out.matches("repository password: ").count(), 3, "{}", never.out);
    // What a file says does not change by asking again.
    world.write("password", "wrong\n");
    assert_eq!(world.run(&["snapshots", "--password-file", "password"]).expect(12).err.matches("error: ").count(), 1);
}
