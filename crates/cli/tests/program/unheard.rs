//! Nobody takes what is said: what was done stays done, and the exit code tells of the work.

use crate::world::{Said, World, said};
use assert_cmd::cargo::cargo_bin;
use std::process::{Command, Stdio};

/// Runs `decube-backup` with `out` as its standard output.
fn into(world: &World, args: &[&str], out: impl Into<Stdio>) -> Said {
    let mut command = Command::new(cargo_bin("decube-backup"));
    command.env_clear().current_dir(world.path("")).args(args).stdout(out).stderr(Stdio::piped());
    command.env("HOME", world.path("home")).env("DECUBE_BACKUP_REPOSITORY", world.path("repo"));
    command.env("DECUBE_BACKUP_KEY_FILE", world.path("key"));
    let output = command.output().expect("ran");
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    Said { code: output.status.code().unwrap_or(-1), out: String::new(), err }
}

/// A device that takes nothing.
fn full() -> std::fs::File {
    std::fs::File::options().write(true).open("/dev/full").expect("a full device")
}

/// A pipe at whose other end nobody reads any more.
fn closed() -> std::io::PipeWriter {
    std::io::pipe().expect("pipe").1
}

fn snapshots(world: &World) -> usize {
    world.run(&["snapshots", "--json"]).expect(0).json()[0].as_array().expect("an array").len()
}

#[test]
fn a_snapshot_that_stdout_did_not_hear_of_is_named_on_stderr() {
    let world = World::with_repository();
    let said = into(&world, &["backup", "src", "--name", "home"], full()).expect(3);
    said.says("what was done is done").says("No space left").says("of \"home\" saved in");
    assert!(!said.err.contains("error:"), "{}", said.err);
    let said = into(&world, &["backup", "src", "--json"], full()).expect(3);
    let line = said.err.lines().next_back().expect("a line");
    let warning: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(warning["message_type"], "warning");
    let id = warning["unwritten"][0]["snapshot_id"].as_str().expect("the summary").to_owned();
    world.run(&["ls", &id]).expect(0);
    assert_eq!(snapshots(&world), 2);
    // What says nothing has nothing to lose.
    assert_eq!(into(&world, &["backup", "src", "-q"], full()).expect(0).err, "");
}

#[test]
fn commands_that_change_something_end_as_their_work_does() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    let work: [&[&str]; 9] = [
        &["backup", "src"],
        &["tag", "latest", "--add", "t"],
        &["forget", "latest~1"],
        &["restore", "latest", "-t", "out"],
        &["-r", "new", "init"],
        &["prune"],
        &["key", "generate", "other"],
        &["key", "add", "--new-key-file", "other"],
        &["verify", "--record"],
    ];
    for args in work {
        let said = into(&world, args, full()).expect(3);
        assert!(said.err.starts_with("warning: what was done is done"), "{args:?}: {}", said.err);
    }
    world.run(&["-r", "new", "snapshots"]).expect(0);
    assert!(world.path("out").exists());
    world.run(&["snapshots", "--forgotten", "--json"]).expect(0);
    assert_eq!(snapshots(&world), 1);
    world.run(&["ls", "latest", "--json"]).expect(0).says("\"tags\":[\"t\"]");
    std::fs::remove_dir_all(world.path("new")).expect("removed");
    std::fs::remove_file(world.path("other")).expect("removed");
    for args in work.into_iter().filter(|args| !args.contains(&"latest~1") && args[0] != "key") {
        assert_eq!(into(&world, args, closed()).expect(0).err, "", "{args:?}");
    }
    let said = into(&world, &["backup", "src", "--optional-source", "missing", "--json"], closed()).expect(3);
    said.says("missing_source");
}

#[test]
fn commands_whose_output_is_all_there_is_fail_without_it() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    let output: [&[&str]; 8] = [
        &["--help"],
        &["--version"],
        &["ls", "latest"],
        &["snapshots"],
        &["backup", "src", "-n"],
        &["forget", "--keep-last", "1", "-n"],
        &["verify"],
        &["stats"],
    ];
    for args in output {
        into(&world, args, full()).expect(1).says("cannot write to standard output");
        assert_eq!(into(&world, args, closed()).expect(1).err, "", "{args:?}");
    }
    // A key whose sheet nobody has was added all the same.
    for out in [Stdio::from(full()), Stdio::from(closed())] {
        into(&world, &["key", "recovery", "export"], out)
            .expect(3)
            .says("the key was added, but its sheet is incomplete");
    }
}

#[test]
fn a_closed_output_costs_no_key_its_sheet_and_nothing_else_its_work() {
    let world = World::with_repository();
    // Without a standard output.
    let without = |args: &[&str]| {
        let program = world.program("decube-backup");
        let variables = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut shell = assert_cmd::Command::new("sh");
        shell.env_clear().envs(variables).current_dir(world.path(""));
        said(shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(program.get_program()).args(args))
    };
    without(&["backup", "src", "-q"]).expect(0);
    assert_eq!(snapshots(&world), 1);
    let keys = || world.run(&["key", "list", "--json"]).expect(0).json()[0].as_array().expect("an array").len();
    let before = keys();
    without(&["key", "recovery", "export"]).expect(1).says("standard output is closed").says("nothing was done");
    assert_eq!(keys(), before);
    without(&["key", "recovery", "export", "--output", "sheet"]).expect(0);
    assert_eq!(keys(), before + 1);
    // Whoever wants no output gets none, and the exit code.
    for args in [&["verify"][..], &["ls", "latest"], &["--help"]] {
        without(args).expect(0);
    }
}
