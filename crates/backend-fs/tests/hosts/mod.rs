//! Other processes and other file systems for the sink's tests.
//!
//! A child speaks to its parent in lines on standard output, and dies loudly.
#![allow(clippy::panic, clippy::print_stdout)]

mod mounts;

use super::{child_put, child_sink};
use bytes::Bytes;
use decube_backup_core::PutOutcome;
use std::io::{self, BufRead, BufReader, Error};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub use mounts::{Mounted, can_mount};

const THREADS: usize = 2;

/// What the process does when started as `child ACTION DIR ARGS…`.
pub fn child(args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["race", dir, racer, rounds] => race(Path::new(dir), racer, rounds.parse().expect("a number")),
        ["write", dir, round] => write(Path::new(dir), round),
        other => panic!("unknown child {other:?}"),
    }
}

/// Waits for a line, then puts every name; prints `RACER NAME` for each one won.
fn race(dir: &Path, racer: &str, rounds: usize) {
    println!("ready");
    io::stdin().read_line(&mut String::new()).expect("the parent lives");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let sink = child_sink(dir);
                let me = format!("{racer}{thread}");
                for round in 0..rounds {
                    let name = format!("race/{}/{round}", round % 3);
                    if child_put(&sink, &name, racer_bytes(&me).into()) == PutOutcome::Created {
                        println!("{me} {name}");
                    }
                }
            });
        }
    });
}

/// Puts objects for ever; prints a line once it has begun.
fn write(dir: &Path, round: &str) {
    let sink = child_sink(dir);
    println!("ready");
    for n in 0.. {
        let name = format!("w/{round}/{n}");
        child_put(&sink, &name, object_bytes(&name).into());
    }
}

/// What racer `name` stores: of a length of its own, so that a mixture would show.
pub fn racer_bytes(name: &str) -> Vec<u8> {
    let seed = name.bytes().fold(0usize, |sum, byte| sum * 7 + usize::from(byte));
    name.bytes().cycle().take(1000 + seed % 5000).collect()
}

/// What a writer stores under `name`: 1 MiB that follows from the name.
pub fn object_bytes(name: &str) -> Bytes {
    name.bytes().cycle().take(1 << 20).collect::<Vec<u8>>().into()
}

fn start(action: &str, dir: &Path, args: &[String]) -> io::Result<(Child, BufReader<impl io::Read + use<>>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", action]).arg(dir).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or(Error::other("no output"))?);
    let mut ready = String::new();
    lines.read_line(&mut ready)?;
    if ready == "ready\n" { Ok((child, lines)) } else { Err(Error::other(format!("child said {ready:?}"))) }
}

/// Starts `count` children, lets them go at once, and gives the lines each printed.
pub fn run_children(action: &str, dir: &Path, count: usize, args: &[String]) -> io::Result<Vec<Vec<String>>> {
    let start = |n: usize| {
        let args: Vec<String> = [format!("racer-{n}-")].iter().chain(args).cloned().collect();
        start(action, dir, &args)
    };
    let mut children: Vec<_> = (0..count).map(start).collect::<io::Result<_>>()?;
    // Closing standard input is the starting shot.
    children.iter_mut().for_each(|(child, _)| drop(child.stdin.take()));
    let mut printed = Vec::new();
    for (mut child, lines) in children {
        printed.push(lines.lines().collect::<io::Result<_>>()?);
        if !child.wait()?.success() {
            return Err(Error::other("child failed"));
        }
    }
    Ok(printed)
}

/// Starts one child and kills it once the directory has changed `steps` times or so.
pub fn run_and_kill(action: &str, dir: &Path, arg: &str, steps: u32) -> io::Result<()> {
    let (mut child, _lines) = start(action, dir, &[arg.to_owned()])?;
    // Looking at the directory takes a while of its own: the kill lands at ever other moments.
    for _ in 0..steps * 40 {
        let _seen = std::fs::read_dir(dir.join(".tmp")).map(Iterator::count);
    }
    child.kill()?;
    child.wait().map(drop)
}

impl Mounted {
    pub fn remount_read_only(&self) -> io::Result<()> {
        mounts::mount(&["-o", "remount,ro"], self.path())
    }
}
