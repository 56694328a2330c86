//! Development tasks: `cargo xtask <task>`.
//!
//! | module | task |
//! |---|---|
//! | [`tidy`] | the rules of the house that a program can check |
//! | [`mod@test`] | everything continuous integration runs, in order |
//! | [`prove`] | the tests that search, for longer |
//! | [`demo`] | backup, change, backup, restore, compare, verify, on real data |
//! | [`mod@bench`] | measures the binary, side by side with a baseline and with peers |
//! | [`compare`] | what a restored tree and its source differ in |
//! | [`host`] | what the tasks ask of the machine: clock, environment, processes |
//!
//! xtask stands outside the crate graph: nothing may depend on it.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

mod bench;
mod compare;
mod demo;
mod flags;
mod host;
mod prove;
mod test;
mod tidy;

use std::process::ExitCode;

/// What tasks fail with: a sentence for the person at the terminal.
type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const HELP: &str = "\
cargo xtask <task>

  test                     everything continuous integration runs; the last line is the summary
  tidy                     only the checks of layout, floors, manifests, words and links
  prove                    the tests that search (every interleaving, random histories, processes), for longer
       [--effort N]        N times as long as in `test` (default: 20)
       [--debug]           the build that `test` uses, instead of a fast one
  demo [FOLDER…]           back up, change, back up again, list, restore, compare, verify: real data
       [--dir DIR]         work below DIR instead of the system's temporary folder
       [--keep]            leave repository and restored files behind
  bench                    measure init, backups, restore and verify
       [--corpus A,B]      text, large, pages, incompressible, tiny (default: all)
       [--scale S]         size of the corpora, 1 = about 1 GiB together (default: 0.25)
       [--runs N]          repetitions, interleaved; medians are printed (default: 3)
       [--baseline BINARY] another build of decube-backup to compare with
       [--peers A,B|none]  restic, rustic, borg, bupstash (default: those on PATH)
       [--dir DIR]         work below DIR
       [--json FILE]       every single measurement (default: target/bench.json)
       [history]           many generations, then drop most and prune: ours, restic, rustic
                           [--generations N] [--keep N] [--max-unused P,P…], and the options above
       [--harness DIR]     run DIR/peers.py instead (or env DECUBE_BENCH_HARNESS); arguments
                           after -- are handed to it
  help                     this text
";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let task = if arguments.is_empty() { "help".to_owned() } else { arguments.remove(0) };
    let outcome = match task.as_str() {
        "test" => test::run(arguments),
        "tidy" => tidy::run(arguments),
        "prove" => prove::run(arguments),
        "demo" => demo::run(arguments),
        "bench" => bench::run(arguments),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("no such task: {other}; try: cargo xtask help").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error}");
            ExitCode::FAILURE
        }
    }
}
