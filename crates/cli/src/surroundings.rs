//! What the process is given by its surroundings: the one module that reads the environment.
#![allow(clippy::disallowed_methods)]

use decube_backup_core::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The value of `name`; an empty one counts as not set.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether `name` is set to nothing.
pub(crate) fn is_empty(name: &OsStr) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// The value of `name` as text.
///
/// # Errors
/// `Invalid` if it is not UTF-8.
pub(crate) fn text(name: &str) -> Result<Option<String>> {
    let Some(value) = variable(name) else { return Ok(None) };
    value.into_string().map(Some).map_err(|_| no_text(name))
}

fn no_text(name: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, "environment", "environment variable is not UTF-8").with("name", name)
}

/// All variables whose name starts with `prefix`, sorted.
///
/// # Errors
/// `Invalid` if one of them is not UTF-8.
pub(crate) fn variables_with(prefix: &str) -> Result<Vec<(String, String)>> {
    let all = std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(prefix.as_bytes()));
    let texts = all.map(|(name, value)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Ok(name), _) => Err(no_text(name)),
        (Err(name), _) => Err(no_text(name.display())),
    });
    let mut found = texts.collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// Whether `stream`, one of the three standard ones, is closed: as the program starts, `/dev/null` is put in its place, open for
/// reading and writing. No shell redirects so; some that start programs do (Python's `DEVNULL`), to have nothing of the stream.
fn is_closed(stream: impl AsFd) -> bool {
    let both = rustix::fs::fcntl_getfl(&stream).is_ok_and(|flags| flags.contains(OFlags::RDWR));
    let device = rustix::fs::fstat(&stream).map(|stat| stat.st_rdev);
    both && device.is_ok_and(|device| rustix::fs::stat("/dev/null").is_ok_and(|null| null.st_rdev == device))
}

/// That there is a standard output, for what is told there and nowhere else, once.
///
/// # Errors
/// `Invalid` if it is closed.
pub(crate) fn check_output() -> Result<()> {
    if is_closed(std::io::stdout()) {
        return Err(Error::new(
            ErrorKind::Invalid,
            "output",
            "standard output is closed: what is to be kept would be lost",
        )
        .with_hint("nothing was done; give a file with --output, or redirect standard output to one"));
    }
    Ok(())
}

/// Standard input. One that is closed is not taken for an empty one.
///
/// # Errors
/// `Invalid` if there is none.
pub(crate) fn standard_input() -> Result<OwnedFd> {
    let failed = |e: std::io::Error| Error::io("backup", "cannot open standard input", e);
    let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    if is_closed(&input) {
        return Err(Error::new(ErrorKind::Invalid, "backup", "standard input is closed: there is nothing to back up")
            .with_hint("no snapshot was made; pipe the content in, or redirect it from a file (`< FILE`)"));
    }
    Ok(input)
}

/// The working directory.
///
/// # Errors
/// `Io` if it was removed or may not be read.
pub(crate) fn working_directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|e| Error::io("environment", "cannot tell the working directory", e))
}

fn below_home(variable_name: &str, below: &str) -> Option<PathBuf> {
    let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    let base = variable(variable_name).and_then(absolute);
    base.or_else(|| Some(variable("HOME").and_then(absolute)?.join(below)))
}

/// Where this user's caches belong (XDG Base Directory Specification).
pub(crate) fn cache_directory() -> Option<PathBuf> {
    Some(below_home("XDG_CACHE_HOME", ".cache")?.join("decube-backup"))
}

/// Where what this user must not lose lightly belongs (XDG Base Directory Specification).
pub(crate) fn state_directory() -> Option<PathBuf> {
    Some(below_home("XDG_STATE_HOME", ".local/state")?.join("decube-backup"))
}

/// Where this user's configuration belongs (XDG Base Directory Specification).
pub(crate) fn config_directory() -> Option<PathBuf> {
    Some(below_home("XDG_CONFIG_HOME", ".config")?.join("decube-backup"))
}

/// The name of this host.
pub(crate) fn host() -> String {
    variable("DECUBE_BACKUP_HOST")
        .map(|host| host.to_string_lossy().into_owned())
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Numeric user and group this process runs as.
pub(crate) fn owner() -> (u32, u32) {
    (uzers::get_effective_uid(), uzers::get_effective_gid())
}

/// The name of the user this process runs as, or the number.
pub(crate) fn user() -> String {
    let uid = uzers::get_current_uid();
    uzers::get_user_by_uid(uid).map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned())
}

/// Files that this program and its libraries may have open at once; a shell often allows fewer than the system does.
const OPEN_FILES: u64 = 4096;

/// With fewer than these what a command opens at once does not fit: it would wait for descriptors that nobody gives back.
const OPEN_FILES_MIN: u64 = 64;

/// That enough files may be open.
///
/// # Errors
/// `Invalid` if not.
pub(crate) fn check_open_files() -> Result<()> {
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) if limit < OPEN_FILES_MIN => {
            Err(Error::new(ErrorKind::Invalid, "start", "this process may open too few files")
                .with("limit", limit)
                .with("needed", OPEN_FILES_MIN)
                .with_hint("nothing was done; raise the limit (ulimit -n) and run it again"))
        }
        _ => Ok(()),
    }
}

/// Raises the number of files that may be open, as far as the system lets it.
pub(crate) fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Nofile);
    let wanted = allowed.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if allowed.current.is_some_and(|now| now < wanted) {
        // Where it is refused, there are fewer.
        let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..allowed });
    }
}
