//! Standard input as what is backed up.

use crate::world::{Said, World, contents, said};
use assert_cmd::cargo::cargo_bin;
use std::process::{Command, Stdio};

/// Runs `decube-backup` with `input` as its standard input.
fn fed(world: &World, args: &[&str], input: impl Into<Stdio>) -> Said {
    let mut command = Command::new(cargo_bin("decube-backup"));
    command.env_clear().current_dir(world.path("")).args(args).stdin(input);
    command.env("HOME", world.path("home")).env("DECUBE_BACKUP_REPOSITORY", world.path("repo"));
    command.env("DECUBE_BACKUP_KEY_FILE", world.path("key"));
    let output = command.output().expect("ran");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs it at the end of a pipe through which `content` comes.
fn piped(world: &World, args: &[&str], content: &[u8]) -> Said {
    use std::io::Write;
    let (input, mut output) = std::io::pipe().expect("pipe");
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || output.write_all(content));
        let said = fed(world, args, input);
        // A program that does not want its input closes the pipe.
        let _ = writer.join().expect("no panic");
        said
    })
}

fn dumped(world: &World, what: &str) -> Vec<u8> {
    let output = world.program("decube-backup").args(["dump", what]).output().expect("ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn what_is_piped_in_comes_out_again() {
    let world = World::with_repository();
    let long: Vec<u8> = (0..1_500_000u32).flat_map(u32::to_le_bytes).collect();
    let name = ["--stdin", "--stdin-filename", "db/dump.sql"];
    for (number, content) in [&long[..], b"", b"x", &long[..300], &long[..1 << 20], &long].into_iter().enumerate() {
        let force = if content.is_empty() { &["--force"][..] } else { &[] };
        let said =
            piped(&world, &[&["backup", "--name", "db", "--json"], &name[..], force].concat(), content).expect(0);
        let summary = said.summary();
        assert_eq!((&summary["total_bytes_processed"], &summary["error_count"]), (&content.len().into(), &0.into()));
        assert!(dumped(&world, "db:/db/dump.sql") == content, "input {number}");
    }
    // The same bytes cost nothing the second time.
    let again = piped(&world, &["backup", "--stdin", "--json"], &long).expect(0).summary();
    assert_eq!((&again["data_added"], &again["name"]), (&0.into(), &"/stdin".into()));
    assert!(dumped(&world, "latest:stdin") == long);
    world.run(&["restore", "db~5:/db", "-t", "out", "-q"]).expect(0);
    assert!(std::fs::read(world.path("out/dump.sql")).expect("restored") == long);
    world.run(&["verify", "--read-data"]).expect(0);
}

#[test]
fn a_file_as_standard_input_is_read_to_its_end() {
    let world = World::with_repository();
    let file = std::fs::File::open(world.path("src/big.bin")).expect("file");
    fed(&world, &["backup", "--stdin", "-q"], file).expect(0);
    assert!(dumped(&world, "latest:/stdin") == std::fs::read(world.path("src/big.bin")).expect("file"));
}

#[test]
fn an_input_that_cannot_be_read_makes_no_snapshot() {
    let world = World::with_repository();
    let directory = std::fs::File::open(world.path("src")).expect("directory");
    fed(&world, &["backup", "--stdin"], directory).expect(1).says("cannot read the input").says("hint: no snapshot");
    assert_eq!(world.run(&["snapshots", "--json"]).expect(0).json(), [serde_json::json!([])]);
}

#[test]
fn an_input_in_which_nothing_is_makes_no_snapshot() {
    let world = World::with_repository();
    for args in [&["backup", "--stdin"][..], &["backup", "--stdin", "--json"]] {
        piped(&world, args, b"").expect(1).says("nothing came in").says("--force");
    }
    assert_eq!(world.run(&["snapshots", "--json"]).expect(0).json(), [serde_json::json!([])]);
    piped(&world, &["backup", "--stdin", "--force"], b"").expect(0);
    assert_eq!(dumped(&world, "latest:stdin"), b"");
}

#[test]
fn a_closed_input_is_not_an_empty_one() {
    let world = World::with_repository();
    let closed = |input: &str| {
        let mut command = Command::new("sh");
        let program = cargo_bin("decube-backup");
        command
            .env_clear()
            .current_dir(world.path(""))
            .arg("-c")
            .arg(format!("exec \"$0\" backup --stdin {input}"))
            .arg(program);
        command.env("HOME", world.path("home")).env("DECUBE_BACKUP_REPOSITORY", world.path("repo"));
        command.env("DECUBE_BACKUP_KEY_FILE", world.path("key"));
        said(&mut assert_cmd::Command::from_std(command))
    };
    for input in ["<&-", "--force <&-"] {
        closed(input).expect(1).says("standard input is closed").says("hint: no snapshot was made");
    }
    assert_eq!(world.run(&["snapshots", "--json"]).expect(0).json(), [serde_json::json!([])]);
    // Redirected on purpose it is as good as any other file.
    closed("--force </dev/null").expect(0);
}

#[test]
fn a_password_command_does_not_eat_the_input() {
    let world = World::with_repository();
    world.write("pw", "secret\n");
    world.run(&["key", "add", "--new-password-file", "pw"]).expect(0);
    piped(&world, &["backup", "--stdin", "-q", "--password-command", "cat >/dev/null; cat pw"], b"content").expect(0);
    assert_eq!(dumped(&world, "latest:stdin"), b"content");
}

#[test]
fn standard_input_goes_with_nothing_else() {
    let world = World::with_repository();
    let cases: [&[&str]; 8] = [
        &["--stdin", "src"],
        &["--stdin", "--optional-source", "src"],
        &["--stdin", "-e", "*.o"],
        &["--stdin", "--exclude-caches"],
        &["--stdin", "-x"],
        &["--stdin-filename", "x"],
        &["src", "--stdin-filename", "x"],
        &["--stdin", "--stdin-filename", "a/../b"],
    ];
    for args in cases {
        let said = piped(&world, &[&["backup"], args].concat(), b"content").expect(1);
        assert!(said.err.contains("Usage") || said.err.contains("not a legal entry path"), "{args:?}: {}", said.err);
    }
    piped(&world, &["backup", "--stdin", "--stdin-filename", "/"], b"content").expect(1).says("needs a file name");
}

#[test]
fn a_damaged_parent_keeps_no_stream_from_being_stored() {
    let world = World::with_repository();
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    piped(&world, &["backup", "--stdin", "-q"], &content).expect(0);
    let metas = world.path("repo/packs/m");
    for (name, mut bytes) in contents(&metas) {
        let middle = bytes.len() / 4;
        bytes[middle..middle + 8].fill(0x55);
        std::fs::write(metas.join(name), bytes).expect("damaged");
    }
    // What the cache has of them is whole.
    std::fs::remove_dir_all(world.path("home/.cache")).expect("a cache");
    let said = piped(&world, &["backup", "--stdin"], &content).expect(0);
    said.says("part of the parent snapshot cannot be read");
    assert!(dumped(&world, "latest:/stdin") == content);
}
