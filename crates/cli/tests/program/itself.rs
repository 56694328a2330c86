//! The program about itself.

use crate::world::{World, said};
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn help_manual_and_completions_tell_everything() {
    let world = World::new();
    world.run(&["--help"]).expect(0).says("explain-exclude").says("130  interrupted");
    world.run(&["-h"]).expect(0).says("DECUBE_BACKUP_PASSWORD_FILE");
    world.run(&["backup", "--help"]).expect(0).says("Examples:").says("gitignore").says("pipefail");
    world.run(&["man"]).expect(0).says(".TH").says("EXIT CODES").says("exclude\\-if\\-present").says("key generate");
    for shell in ["bash", "zsh", "fish"] {
        let script = world.run(&["completions", shell]).expect(0).out;
        assert!(script.contains("read-data-subset") && script.contains("stdin-filename"), "{shell}");
    }
    for (program, option) in [("decub-snapshot", "as-of"), ("decube-verify", "check-integrity")] {
        for shell in ["bash", "zsh", "fish"] {
            let script = world.run(&["completions", shell, "--program", program]).expect(0).out;
            assert!(script.contains(program) && script.contains(option), "{program} {shell}");
        }
    }
    world.run(&["version"]).expect(0).says("storage: fs");
    world.run(&["--version"]).expect(0).says(env!("CARGO_PKG_VERSION"));
}

#[test]
fn for_programs_every_line_about_the_program_is_json() {
    let world = World::new();
    for args in
        [&["man"][..], &["completions", "zsh"], &["completions", "bash", "--program", "decub-snapshot"], &["version"]]
    {
        let (plain, told) = (world.run(args).expect(0).out, world.run(&[&["--json"], args].concat()).expect(0).json());
        assert_eq!((told.len(), &told[0]["message_type"]), (1, &args[0].into()), "{args:?}");
        assert!(args[0] == "version" || told[0]["text"] == plain, "{args:?}");
    }
    let (plain, told) = (world.run(&["config", "schema"]), world.run(&["--json", "config", "schema"]).expect(0).json());
    assert_eq!(told, [serde_json::from_str::<serde_json::Value>(&plain.expect(0).out).expect("JSON")]);
}

#[test]
fn the_audit_says_which_kinds_of_records_there_are() {
    let help = World::new().run(&["audit", "--help"]).expect(0).out;
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let kinds = "init, commit, add, forget, restore_forgotten, condemn, reclaim, pin, unpin, keyring, key_slot, \
                 tag_change, note, damaged, verified";
    assert!(words.contains(kinds), "{help}");
}

#[test]
fn bash_completes_commands_options_and_values() {
    let world = World::new();
    let script = world.run(&["completions", "bash"]).expect(0).out;
    world.write("completions", &script);
    // What a person typed so far, the last word being completed, and what has to be among the proposals.
    for (typed, expected) in [
        ("decube-backup ver", "verify"),
        ("decube-backup backup --exc", "--exclude-if-present"),
        ("decube-backup -r /srv/b backup --exc", "--exclude-caches"),
        ("decube-backup restore --overwrite ", "if-newer"),
        ("decube-backup key r", "rotate"),
        ("decube-backup key recovery e", "export"),
        ("decube-backup explain-exclude --conf", "--configured"),
        ("decube-backup completions f", "fish"),
    ] {
        let complete = "source ./completions; function=$(complete -p decube-backup | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
            IFS=' ' read -r -a COMP_WORDS <<< \"$1\"; [[ $1 == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
            $function decube-backup \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = std::process::Command::new("bash")
            .args(["--norc", "-c", complete, "bash", typed])
            .current_dir(world.path(""))
            .output();
        let output = output.expect("bash ran");
        let proposed = String::from_utf8_lossy(&output.stdout);
        assert!(proposed.lines().any(|line| line == expected), "{typed:?}: {proposed} {output:?}");
    }
}

#[test]
fn the_manual_names_every_variable_that_is_read() {
    let manual = World::new().run(&["man"]).expect(0).out.replace("\\-", "-");
    for name in [
        "REPOSITORY",
        "IDENTITY_FILE",
        "RECOVERY_KEY_FILE",
        "STATE_DIR",
        "CACHE_DIR",
        "PARITY",
        "THREADS",
        "HOST",
        "LOG",
    ] {
        assert!(manual.contains(&format!("DECUBE_BACKUP_{name}\n")), "{name}");
    }
}

#[test]
fn storage_is_checked() {
    let world = World::new();
    let place = world.shown("store");
    let answer = world.run(&["sink", "check", &place, "--quick", "--json"]).expect(0);
    let lines = answer.json();
    assert!(lines.iter().filter(|line| line["outcome"] == "ok").count() > 10);
    assert_eq!(answer.summary()["passed"], true);
    assert!(!world.path("store").exists(), "what the check made is gone");
    world.run(&["sink", "check", "deep/er/store", "--quick", "-q"]).expect(0);
    assert!(!world.path("deep").exists());
    world.write("there/x", "x");
    world.run(&["sink", "check", "there/store", "--quick", "-q"]).expect(0);
    assert_eq!(crate::world::contents(&world.path("there")).len(), 1);
    assert!(!world.path("there/store").exists());
    // Where nothing can be written, that is said, once.
    let unsuitable = world.run(&["sink", "check", "there/x/store", "--quick"]).expect(1);
    assert!(unsuitable.out.is_empty() && unsuitable.err.matches("error: ").count() == 1, "{}", unsuitable.err);
}

/// Every literal that is some line's `message_type` in the sources below `directory`.
fn message_types(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            message_types(&path, found);
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("source");
        // As a key of `json!`, an index, a key that is inserted, or a field.
        for after in source.split("message_type").skip(1) {
            let value = after.trim_start_matches('"').trim_start_matches(".into()");
            let literal = value.trim_start_matches([']', ':', '=', '!', ',', ' ', '\n']).strip_prefix('"');
            found.extend(literal.and_then(|literal| literal.split('"').next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_message_type_is_in_the_manual() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut said = BTreeSet::new();
    message_types(&here.join("src"), &mut said);
    let manual = std::fs::read_to_string(here.join("../../docs/operators/cli.md")).expect("the manual");
    let table =
        manual.split_once("| `message_type` |").and_then(|(_, after)| after.split_once("\n\n")).expect("table").0;
    let first_columns = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
    let told: BTreeSet<String> =
        first_columns.flat_map(|c| c.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert!(said.len() > 25, "{said:?}");
    assert_eq!(said, told, "messages, and what docs/operators/cli.md says of them");
}

#[test]
fn a_log_filter_that_cannot_be_read_is_told_in_the_way_of_all_else() {
    let world = World::new();
    for (args, expected) in [
        (&["version"][..], "warning: DECUBE_BACKUP_LOG is taken for not set"),
        (&["version", "--json"], "{\"message\":\"DECUBE_BACKUP_LOG is taken for not set"),
    ] {
        let mut command = world.program("decube-backup");
        let said = said(command.env("DECUBE_BACKUP_LOG", "bogus=x=y").args(args)).expect(0);
        assert!(said.err.starts_with(expected) && said.err.lines().count() == 1, "{}", said.err);
    }
}

#[test]
fn a_variable_set_to_nothing_counts_as_not_set() {
    let world = World::with_repository();
    for (program, args) in [
        ("decube-backup", &["snapshots"][..]),
        ("decub-snapshot", &["list"]),
        ("decube-verify", &["--check-integrity"]),
    ] {
        let mut command = world.program(program);
        for name in ["CONFIG", "CACHE_DIR", "STATE_DIR", "THREADS", "PARITY", "HOST", "LOG", "PASSWORD"] {
            command.env(format!("DECUBE_BACKUP_{name}"), "");
        }
        said(command.args(args)).expect(0);
        said(command.env("DECUBE_BACKUP_REPOSITORY", "")).expect(1).says("no repository is given");
    }
}
