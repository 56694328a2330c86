//! What the tasks ask of the machine: clock, environment, folders, processes.

use crate::Result;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A stopwatch.
pub(crate) struct Watch(Instant);

impl Watch {
    #[allow(clippy::disallowed_methods)] // elapsed time for a person to read
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// An environment variable.
#[allow(clippy::disallowed_methods)] // the one place in xtask that reads the environment
pub(crate) fn env(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    let own = env("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = PathBuf::from(own).join("..").canonicalize()?;
    if root.join("Cargo.lock").is_file() {
        Ok(root)
    } else {
        Err(format!("not a workspace: {}", root.display()).into())
    }
}

/// Cargo, at the workspace root.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(arguments);
    command
}

/// Where `program` lies on PATH.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = env("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Runs to the end; anything but success is an error that carries what the program said.
pub(crate) fn run_quietly(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot start {shown}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{shown}: {}\n{}", output.status, said.trim_end()).into())
}

/// Runs to the end with output passed through.
pub(crate) fn run_loudly(command: &mut Command) -> Result {
    let shown = show(command);
    let status = command.stdin(Stdio::null()).status().map_err(|e| format!("cannot start {shown}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}").into()) }
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::iter::once(program)
        .chain(command.get_args().map(|argument| argument.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Builds the release binary and says where it is.
pub(crate) fn release_binary(root: &Path) -> Result<PathBuf> {
    run_loudly(&mut cargo(root, &["build", "--release", "--locked", "--package", "decube-backup-cli"]))?;
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(root).no_deps().exec()?;
    let binary = metadata.target_directory.join("release/decube-backup").into_std_path_buf();
    if binary.is_file() { Ok(binary) } else { Err(format!("the build left no {}", binary.display()).into()) }
}

/// Files below `folder` and their apparent size, bytes; symlinks are not followed, nor are folders in `skip` entered.
pub(crate) fn tree_size(folder: &Path, skip: &[PathBuf]) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in folder.read_dir().map_err(|e| format!("cannot list {}: {e}", folder.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if !metadata.is_dir() {
            files += 1;
            bytes += metadata.len();
        } else if !skip.contains(&entry.path()) {
            let below = tree_size(&entry.path(), skip)?;
            files += below.0;
            bytes += below.1;
        }
    }
    Ok((files, bytes))
}

/// `12.3 MiB`.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// `1.234 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
