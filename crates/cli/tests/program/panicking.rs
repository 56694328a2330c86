//! A program that is wrong itself ends, and says so.
#![allow(clippy::disallowed_methods, clippy::panic)]

use crate::world::said;
use assert_cmd::Command;
use decube_backup_core::Registry;
use std::ffi::OsString;

/// Set in the process that panics: the arguments it is run with.
const ARGUMENTS: &str = "ARGUMENTS_OF_WHO_PANICS";

/// A storage that waits for a thread which dies without a word.
fn wrong_registry() -> Registry {
    let mut registry = Registry::new();
    let added = registry.add_sink("wrong", |_, _| {
        let (keep, never) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(|| panic!("a thread\nis wrong"));
        let _ = never.recv();
        drop(keep);
        unreachable!("nobody sends")
    });
    added.expect("no such scheme yet");
    registry
}

#[test]
fn a_panic_of_any_thread_ends_the_process_at_once_and_says_so() {
    if let Some(arguments) = std::env::var_os(ARGUMENTS) {
        let arguments = arguments.to_string_lossy().split(' ').map(OsString::from).collect::<Vec<_>>();
        decube_backup_cli::run(wrong_registry(), arguments);
        unreachable!("the process ended");
    }
    for (arguments, expected) in [
        ("decube-backup -r wrong:x snapshots", "error: internal error: a thread is wrong at=crates/cli/tests"),
        ("decube-backup -r wrong:x snapshots --json", "\"message_type\":\"exit_error\""),
    ] {
        let mut program = Command::new(std::env::current_exe().expect("this test"));
        program.args([
            "--exact",
            "panicking::a_panic_of_any_thread_ends_the_process_at_once_and_says_so",
            "--nocapture",
        ]);
        let answer = said(program.env(ARGUMENTS, arguments)).expect(1);
        answer.says(expected).says("report it");
    }
}
