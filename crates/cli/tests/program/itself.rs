//! The program about itself.

use crate::world::World;

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
    world.run(&["version"]).expect(0).says("storage: fs");
    world.run(&["--version"]).expect(0).says(env!("CARGO_PKG_VERSION"));
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
fn storage_is_checked() {
    let world = World::new();
    let place = world.shown("store");
    let answer = world.run(&["sink", "check", &place, "--quick", "--json"]).expect(0);
    let lines = answer.json();
    assert!(lines.iter().filter(|line| line["outcome"] == "ok").count() > 10);
    assert_eq!(answer.summary()["passed"], true);
}
