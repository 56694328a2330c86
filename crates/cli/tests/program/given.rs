//! What opens a repository, given as a file, a command or a variable.

use crate::world::{World, said};
use assert_cmd::Command;

#[test]
fn what_never_ends_opens_nothing() {
    let world = World::with_password();
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    for given in [
        "--key-file /dev/zero",
        "--identity-file /dev/zero",
        "--recovery-key-file /dev/zero",
        "--password-file /dev/zero",
        "--password-command 'cat /dev/zero'",
        "key recovery use < /dev/zero",
    ] {
        // Whoever reads on is stopped before the machine is.
        let line = format!("ulimit -v 4000000; exec {} snapshots {given}", program.display());
        let line = if given.starts_with("key") { line.replace(" snapshots", "") } else { line };
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", world.path("home"));
        command.env("DECUBE_BACKUP_REPOSITORY", world.path("repo")).current_dir(world.path(""));
        said(&mut command).expect(1).says("larger than 1 MiB");
    }
}

#[test]
fn a_configuration_asks_for_no_more_than_it_may() {
    let world = World::with_password();
    let mut bomb = "l0: &l0 [x]\n".to_owned();
    for line in 1..=8 {
        let before = vec![format!("*l{}", line - 1); 9].join(", ");
        bomb.push_str(&format!("l{line}: &l{line} [{before}]\n"));
    }
    let anchored = "common: &common ['*.tmp', '*.o']\nbackup:\n  sources:\n    a: {paths: [src], exclude: *common}\n    \
                    b: {paths: [src/a], exclude: *common}\n";
    world.write("bomb.yaml", &format!("{bomb}{anchored}"));
    world.write("deep.yaml", &"- ".repeat(400_000));
    world.write("anchored.yaml", anchored);
    // Many values far within, behind long keys: nothing is kept of each that grows with the way to it.
    let keys: Vec<String> = (0..75).map(|n| format!("k{n}{}", "x".repeat(1000))).collect();
    let values = "1, ".repeat(100_000);
    let (open, close) = (keys.iter().map(|key| format!("{{{key}: ")).collect::<String>(), "}".repeat(75));
    world.write("wide.yaml", &format!("{anchored}other: {open}[{values}]{close}\n"));
    let source = "[backup.sources.a]\npaths = [\"src\"]\n";
    world.write("wide.toml", &format!("{source}[{}]\nx = [{values}]\n", keys.join(".")));
    // A key that looks like a place in a list.
    world.write("place.yaml", &format!("{anchored}'x[4000000000]': 1\n"));
    world.write("place.toml", &format!("\"x[4000000000]\" = 1\n{source}"));
    // Each line is as deep as may be, and of one alias.
    let stair = |n: usize| format!("l{}: &l{0} {}*l{n}{}\n", n + 1, "[".repeat(96), "]".repeat(96));
    world.write("stairs.yaml", &format!("l0: &l0 x\n{}", (0..31).map(stair).collect::<String>()));
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    for (given, code, expected) in [
        ("/dev/zero", 1, &["larger than 1 MiB", "file=/dev/zero", "hint: "][..]),
        ("<(yes)", 1, &["larger than 1 MiB"]),
        ("bomb.yaml", 1, &["stand for too much", "line=6", "bomb.yaml", "hint: "]),
        ("deep.yaml", 1, &["too deep", "deep.yaml", "hint: "]),
        ("stairs.yaml", 1, &["too deep", "line=3", "stairs.yaml", "hint: "]),
        ("wide.yaml", 0, &["2 sources"]),
        ("wide.toml", 0, &["1 source"]),
        ("place.yaml", 0, &["2 sources"]),
        ("place.toml", 0, &["1 source"]),
        ("anchored.yaml", 0, &["2 sources"]),
        ("<(cat anchored.yaml)", 0, &["2 sources"]),
    ] {
        let line = format!("ulimit -v 600000; exec {} --config {given} config check", program.display());
        let mut command = Command::new("bash");
        command.args(["-c", &line]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", world.path("home"));
        let answer = said(command.current_dir(world.path(""))).expect(code);
        expected.iter().for_each(|text| _ = answer.says(text));
    }
}

#[test]
fn a_password_comes_through_a_pipe() {
    let world = World::with_password();
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{} snapshots -p <(echo right)", program.display())]).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("HOME", world.path("home"));
    command.env("DECUBE_BACKUP_REPOSITORY", world.path("repo")).current_dir(world.path(""));
    said(&mut command).expect(0).says("0 snapshots");
}

#[test]
fn of_several_variables_the_first_in_the_manual_counts() {
    let manual = include_str!("../../../../docs/operators/cli.md");
    let table =
        manual.split("## Repository and password").nth(1).expect("there").split("\n\n").nth(1).expect("a table");
    let names =
        table.lines().filter_map(|row| Some(row.split("`DECUBE_BACKUP_").nth(1)?.split('`').next()?.to_owned()));
    let ways: Vec<String> = names.filter(|name| name != "REPOSITORY").collect();
    assert_eq!(ways.len(), 6, "{ways:?}");
    let world = World::with_password();
    for first in 0..ways.len() {
        let mut command = world.program("decube-backup");
        for way in &ways[first..] {
            let value = if way.ends_with("COMMAND") { format!("echo {way} >&2; false") } else { way.clone() };
            command.env(format!("DECUBE_BACKUP_{way}"), value);
        }
        let answer = said(command.arg("snapshots"));
        match ways[first].as_str() {
            "PASSWORD" => _ = answer.expect(12),
            way => _ = answer.expect(1).says(way),
        }
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_what_it_stands_before() {
    let world = World::with_password();
    let marked = |name: &str, text: &str| world.write(name, &format!("\u{feff}{text}"));
    marked("marked", "right\n");
    marked("marked.yaml", "backup:\n  sinks: {main: {url: repo, password_file: marked}}\n");
    marked("marked.toml", "[backup.sinks.main]\nurl = \"repo\"\npassword_file = \"marked\"\n");
    for args in [
        &["--password-file", "marked"][..],
        &["--password-command", "cat marked"],
        &["--config", "marked.yaml", "-r", "@main"],
        &["--config", "marked.toml", "-r", "@main"],
    ] {
        world.run(&[args, &["snapshots"]].concat()).expect(0);
    }
}
