//! What names of others do to a terminal: nothing.

use crate::world::World;
use std::os::unix::ffi::OsStrExt;

/// Moves the cursor, renames the window, forges a line, turns the direction of writing, and is one C1 control.
const ODD: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\r\n\u{202e}y\u{9b}1m\u{2028}z";

/// Whether a terminal would do something else with `text` than showing it.
fn is_obeyed(text: &str) -> bool {
    let turning =
        |c| matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|c| turning(c) || c.is_control() && c != '\n')
}

fn odd_world() -> World {
    let world = World::with_repository();
    world.write(&format!("src/{ODD}"), "one\n");
    let invalid = std::ffi::OsStr::from_bytes(b"odd\x9b\xff");
    std::fs::write(world.path("src").join(invalid), "two\n").expect("written");
    std::os::unix::fs::symlink(ODD, world.path("src/odd link")).expect("link");
    let label = format!("k={ODD}");
    world.run(&["backup", "src", "--name", ODD, "--host", ODD, "--tag", ODD, "--label", &label]).expect(0);
    world.run(&["key", "generate", &world.shown("second")]).expect(0);
    world.run(&["key", "add", "--new-key-file", &world.shown("second"), "--new-label", ODD]).expect(0);
    world
}

#[test]
fn names_of_others_are_shown_and_not_obeyed() {
    let world = odd_world();
    let target = world.shown(&format!("t{ODD}"));
    let odd_path = format!("latest:/{ODD}");
    let odd_inside = format!("{ODD}:/x");
    let odd_option = format!("--{ODD}");
    let cases: &[&[&str]] = &[
        &["snapshots"],
        &["ls", "latest", "-R"],
        &["ls", "latest", "-R", "-l"],
        &["find", "*", "-l"],
        &["diff", "latest", "latest"],
        &["audit"],
        &["find", "*", "-s", ODD],
        &["forget", "--keep-last", "1", "-n"],
        &["forget", "--keep-last", "1", "-n", "--group-by", "host,name"],
        &["tag", &odd_inside, "--add", "t"],
        &["key", "remove", "second", "-n"],
        &["key", "recovery", "export", "--label", ODD],
        &["stats"],
        &["key", "list"],
        &["tag", "latest", "--add", ODD],
        &["verify"],
        &["explain-exclude", "--source", "src", "-e", "x*", &format!("src/{ODD}")],
        &["restore", "latest", "-t", &target],
        &["restore", "latest", "-t", &target, "-n", "-v"],
        &["backup", "src", "-n", "-v", "--name", ODD],
        // Errors: what is not there, what is no path, what is no option.
        &["ls", ODD],
        &["ls", &odd_path],
        &["forget", ODD, "-n"],
        &["key", "remove", ODD],
        &["-r", ODD, "snapshots"],
        &["--key-file", ODD, "snapshots"],
        &["--config", ODD, "config", "check"],
        &["snapshots", &odd_option],
    ];
    for args in cases {
        let said = world.run(args);
        assert!(!is_obeyed(&said.out) && !is_obeyed(&said.err), "{args:?}\n{:?}\n{:?}", said.out, said.err);
        // One way of showing them, that of the manual.
        assert!(!said.out.contains("\\u{") && !said.err.contains("\\u{"), "{args:?}\n{}\n{}", said.out, said.err);
        assert!(!said.out.lines().chain(said.err.lines()).any(|line| line.starts_with('y')), "{args:?} forges a line");
    }
    let listed = world.run(&["snapshots"]).expect(0).out;
    assert_eq!(listed.matches("x\\x1b[2J").count(), 4, "name, host, a tag and a label: {listed}");
    world.run(&["key", "list"]).expect(0).says("x\\x1b[2J");
    let odd = "\"x\\x1b[2J\\x1b]0;t\\x07\\x0d\\x0a\\xe2\\x80\\xaey\\xc2\\x9b1m\\xe2\\x80\\xa8z\"";
    world.run(&["backup", "src", "--name", ODD, "--host", ODD]).expect(0).says(&format!(" of {odd} saved"));
    world.run(&["find", "*", "-s", ODD]).expect(0).says(&format!(" of {odd}, "));
    world.run(&["restore", ODD, "-t", &target, "-n"]).expect(0).says(&format!(" of {odd} to "));
    world.run(&["ls", &format!("{ODD}~9")]).expect(1).says(&format!("snapshot={}~9\"", odd.trim_end_matches('"')));
    world.run(&["ls", ODD, "-R"]).expect(0).says("\\xe2\\x80\\xaey\\xc2\\x9b1m");
}

#[test]
fn names_of_others_are_exact_for_programs() {
    let world = odd_world();
    let listed = world.run(&["--json", "snapshots"]).expect(0).json();
    let snapshot = &listed[0][0];
    for (key, value) in [("name", &snapshot["name"]), ("host", &snapshot["hostname"]), ("tag", &snapshot["tags"][0])] {
        assert_eq!(value, ODD, "{key}");
    }
    assert_eq!(snapshot["labels"]["k"], ODD);
    let nodes = world.run(&["--json", "ls", "latest", "-R"]).expect(0).json();
    assert!(nodes.iter().any(|node| node["name"] == ODD), "{nodes:?}");
    let missing = world.run(&["--json", "ls", ODD, &format!("no{ODD}")]).expect(1).err;
    let missing: serde_json::Value = serde_json::from_str(missing.trim()).expect("a JSON line");
    assert_eq!(missing["message_type"], "exit_error");
}
