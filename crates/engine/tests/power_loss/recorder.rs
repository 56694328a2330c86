//! What a process asks the kernel to do to a folder, in order: recorded by `strace`, not by the program's own account.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Everything that changes a file system or makes a change durable. `?` where not every machine has the call.
const CALLS: &str = "?open,openat,?creat,write,writev,pwrite64,pwritev,?pwritev2,ftruncate,truncate,fallocate,\
                     ?copy_file_range,?sendfile,fsync,fdatasync,?sync_file_range,syncfs,sync,?link,linkat,?symlink,\
                     symlinkat,?rename,renameat,?renameat2,?unlink,unlinkat,?mkdir,mkdirat,?rmdir";
/// No write of the jobs is longer.
const STRING_BYTES_MAX: usize = 8 << 20;

/// One call that succeeded, on a path below the folder watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Create(PathBuf),
    Write {
        path: PathBuf,
        offset: usize,
        bytes: Vec<u8>,
    },
    Sync(PathBuf),
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink(PathBuf),
    MakeFolder(PathBuf),
    RemoveFolder(PathBuf),
    /// The program told its user something.
    Said(Vec<u8>),
}

/// A call, and the lines of the record between which it ran.
#[derive(Clone, Debug)]
pub struct Event {
    pub call: Call,
    pub begun: usize,
    pub done: usize,
}

/// Whether processes can be recorded here; if not, why.
pub fn unusable() -> Option<String> {
    let output = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(format!("strace cannot be run: {error}")),
    }
}

/// Runs `program` and returns what it did below `watched`, by the order in which calls ended.
pub fn record(program: &Command, watched: &Path) -> Vec<Event> {
    let scratch = tempfile::tempdir().expect("temp");
    let record = scratch.path().join("record");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-xx", "-qq", "--seccomp-bpf", "-s"]).arg(STRING_BYTES_MAX.to_string());
    command.arg("-e").arg(format!("trace={CALLS}")).arg("-o").arg(&record).arg(program.get_program());
    command.args(program.get_args());
    for (name, value) in program.get_envs() {
        command.env(name, value.expect("a value"));
    }
    let output = command.stdin(Stdio::null()).output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&std::fs::read_to_string(record).expect("only ASCII"), watched)
}

fn parse(record: &str, watched: &Path) -> Vec<Event> {
    let (mut events, mut unfinished) = (Vec::new(), std::collections::HashMap::new());
    for (at, line) in record.lines().enumerate() {
        let (thread, rest) = line.split_once(' ').expect("a thread");
        let rest = rest.trim_start();
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (at, begin.to_owned()));
            continue;
        }
        let (begun, whole) = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => {
                let (begun, begin) = unfinished.remove(thread).expect("begun");
                (begun, begin + end)
            }
            None => (at, rest.to_owned()),
        };
        if let Some(call) = understand(&whole, watched) {
            events.push(Event { call, begun, done: at });
        }
    }
    events
}

/// `name(arguments) = value`; `None` if it failed or does not concern `watched`.
fn understand(text: &str, watched: &Path) -> Option<Call> {
    let (head, value) = text.rsplit_once(" = ")?;
    if value.starts_with(['-', '?']) {
        return None;
    }
    let (name, arguments) = head.split_once('(')?;
    assert!(!arguments.contains("\"..."), "a string was cut: {name}");
    let (strings, files) = (strings(arguments, '"', '"'), strings(arguments, '<', '>'));
    let path = |bytes: &[u8]| PathBuf::from(String::from_utf8(bytes.to_vec()).expect("plain names"));
    let named = |n: usize| path(&strings[n]);
    let opened = || files.first().map(|bytes| path(bytes)).unwrap_or_default();
    let call = match name {
        "openat" | "open" | "creat" if arguments.contains("O_CREAT") || name == "creat" => {
            assert!(!arguments.contains("O_TRUNC") || !named(0).starts_with(watched), "{text:.200}");
            Call::Create(named(0))
        }
        "openat" | "open" => return None,
        "write" if arguments.starts_with("1<") => Call::Said(strings[0].clone()),
        "pwrite64" => {
            // The end of a call that another one interrupted is padded with blanks.
            let arguments = arguments.trim_end().trim_end_matches(')').trim_end();
            let offset = arguments.rsplit(", ").next()?.parse().expect("an offset");
            Call::Write { path: opened(), offset, bytes: strings[0].clone() }
        }
        "fsync" | "fdatasync" => Call::Sync(opened()),
        "link" | "linkat" => Call::Link { from: named(0), to: named(1) },
        "rename" | "renameat" | "renameat2" => Call::Rename { from: named(0), to: named(1) },
        "unlink" | "unlinkat" if !arguments.contains("AT_REMOVEDIR") => Call::Unlink(named(0)),
        "rmdir" | "unlinkat" => Call::RemoveFolder(named(0)),
        "mkdir" | "mkdirat" => Call::MakeFolder(named(0)),
        _ => {
            // Whoever adds a way of writing teaches it to this recorder.
            let all = strings.iter().chain(&files);
            let concerns =
                all.into_iter().any(|bytes| String::from_utf8_lossy(bytes).starts_with(&*watched.to_string_lossy()));
            assert!(!concerns, "an unknown way to change the repository: {text:.300}");
            return None;
        }
    };
    let concerns = match &call {
        Call::Said(_) => true,
        Call::Create(path) | Call::Sync(path) | Call::Unlink(path) | Call::MakeFolder(path) => {
            path.starts_with(watched)
        }
        Call::RemoveFolder(path) | Call::Write { path, .. } => path.starts_with(watched),
        Call::Link { from, to } | Call::Rename { from, to } => from.starts_with(watched) || to.starts_with(watched),
    };
    concerns.then_some(call)
}

/// The `\xHH` strings between `open` and `close`.
fn strings(text: &str, open: char, close: char) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(open) {
        let Some((inside, after)) = after.split_once(close) else { break };
        // Flags such as `a<<b` hold no such string.
        if inside.is_empty() || inside.starts_with("\\x") {
            let bytes = inside.split("\\x").skip(1).map(|hex| u8::from_str_radix(hex, 16).expect("hex"));
            found.push(bytes.collect());
        }
        rest = after;
    }
    found
}
