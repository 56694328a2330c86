//! `test`: everything continuous integration runs, in order.
//!
//! A step that fails does not stop the next one: one run shows all that is wrong. The last line sums up every
//! `test result:` line; a failed step without one counts as one failure, so the line is never green by mistake.

use crate::flags::Flags;
use crate::host::{self, Watch};
use crate::{Result, tidy};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Programs tests call and the Debian package each comes from.
const PROGRAMS: [(&str, &str); 10] = [
    ("cc", "gcc"),
    ("make", "make"),
    ("git", "git"),
    ("strace", "strace"),
    ("setfacl", "acl"),
    ("getfattr", "attr"),
    ("chattr", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkntfs", "ntfs-3g"),
];

const CLI: [&str; 4] = ["check", "--locked", "--package", "decube-backup-cli"];

/// Numbers of the summary line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

pub(crate) fn run(arguments: Vec<String>) -> Result {
    Flags::new(arguments).end()?;
    let root = host::workspace_root()?;
    let watch = Watch::start();
    let mut tally = Tally::default();

    step(&mut tally, "programs the tests need", |_| install_programs());
    cargo_step(&mut tally, &root, &["fmt", "--all", "--check"]);
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    cargo_step(&mut tally, &root, &clippy);
    step(&mut tally, "tidy", |_| tidy::run(Vec::new()));
    cargo_step(&mut tally, &root, &[&CLI[..], &["--no-default-features"]].concat());
    cargo_step(&mut tally, &root, &CLI);
    cargo_step(&mut tally, &root, &[&CLI[..], &["--all-features"]].concat());
    // A workspace of its own, which nothing else compiles.
    let fuzz = ["check", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"];
    cargo_step(&mut tally, &root, &fuzz);
    step(&mut tally, "cargo doc, warnings as errors", |tally| {
        let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"];
        // The map of a folder leads to its modules, which are private.
        let lints = "-D warnings -A rustdoc::private-intra-doc-links";
        counted(tally, host::cargo(&root, &arguments).env("RUSTDOCFLAGS", lints))
    });
    cargo_step(&mut tally, &root, &["test", "--workspace", "--locked", "--no-fail-fast"]);

    println!("\n== all steps took {}", host::seconds(watch.elapsed()));
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    std::io::stdout().flush()?;
    if tally.failed == 0 { Ok(()) } else { Err("not everything passed".into()) }
}

fn cargo_step(tally: &mut Tally, root: &Path, arguments: &[&str]) {
    let title = format!("cargo {}", arguments.join(" "));
    step(tally, &title, |tally| counted(tally, &mut host::cargo(root, arguments)));
}

fn step(tally: &mut Tally, title: &str, work: impl FnOnce(&mut Tally) -> Result) {
    println!("\n== {title}");
    let (watch, failed_before) = (Watch::start(), tally.failed);
    let outcome = work(tally);
    let time = host::seconds(watch.elapsed());
    match outcome {
        Ok(()) => println!("== ok, {time}: {title}"),
        Err(error) => {
            tally.failed = tally.failed.max(failed_before + 1);
            println!("== FAILED, {time}: {title}: {error}");
        }
    }
}

/// Runs `command`, shows its output and adds up its `test result:` lines.
fn counted(tally: &mut Tally, command: &mut Command) -> Result {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("no standard output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(result) = parse_result(&line) {
            tally.passed += result.passed;
            tally.failed += result.failed;
            tally.skipped += result.skipped;
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; …`
fn parse_result(line: &str) -> Option<Tally> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    let mut tally = Tally::default();
    for part in rest.split(['.', ';']) {
        let Some((number, word)) = part.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match word {
            "passed" => tally.passed = number,
            "failed" => tally.failed = number,
            "ignored" => tally.skipped = number,
            _ => {}
        }
    }
    Some(tally)
}

/// Installs what is missing, where that is possible; tests that lack a program say so themselves.
fn install_programs() -> Result {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| host::find_program(program).is_none()).collect();
    if missing.is_empty() {
        println!("all there");
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let is_root = host::run_quietly(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root || host::find_program("apt-get").is_none() {
        println!("missing, and not installed (that needs root and apt-get): {}", packages.join(" "));
        println!("tests that need them are reported as skipped");
        return Ok(());
    }
    let apt = |arguments: &[&str]| {
        host::run_quietly(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    let install = [&["install", "--yes", "--no-install-recommends"], &packages[..]].concat();
    if apt(&install).is_err() {
        let updated = apt(&["update"]).and_then(|_| apt(&install));
        if let Err(error) = updated {
            println!("cannot install {}: {error}", packages.join(" "));
            return Ok(());
        }
    }
    println!("installed {}", packages.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.51s";
        assert_eq!(parse_result(line), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(parse_result("test keys ... ok"), None);
    }

    #[test]
    fn a_step_that_fails_without_a_result_line_counts_once() {
        let mut tally = Tally::default();
        step(&mut tally, "x", |_| Err("no".into()));
        step(&mut tally, "y", |tally| {
            tally.failed += 2;
            Err("two tests".into())
        });
        assert_eq!(tally.failed, 3);
    }
}
