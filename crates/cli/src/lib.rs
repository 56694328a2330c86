//! Floor 3: the command line. Arguments, configuration, wiring, output; no logic of its own.
//!
//! A run passes `args` (what is wanted) → `session` (repository, credentials, runtime, made when
//! first needed) → `commands` (one engine call each) → `output` (people or JSON) → `exit` (the code).
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`config`] | the configuration file |
//! | [`output`] | console, tables, progress |
//! | [`exit`] | the table of exit codes |
//! | [`units`] | sizes, times and durations as text |
//! | [`signals`] | Ctrl-C |
//! | `panics` | what is said and done when the program itself is wrong |
//! | `session` | what commands share |
//! | `credentials` | passwords and key files |
//! | `prompt` | asking a person for a password |
//! | `secret_bytes` | reading what may hold a secret, within bounds |
//! | `commands` | one module a command |
//! | `local` | files of this machine as source and target (feature `fs`) |
//! | `globs` | patterns that choose entries of a snapshot |
//! | `patterns` | patterns of what stays out that match nothing |
//! | `surroundings` | environment variables, host, user: the only reader of the environment |
//!
//! Third parties ship their own binary: they add their backends to [`builtin_registry`] and call [`run`].
//!
//! *Deliberately absent*: anything worth calling without a terminal; that is the engine's.

pub mod args;
mod commands;
pub mod config;
mod credentials;
pub mod exit;
mod globs;
mod local;
pub mod output;
mod panics;
mod patterns;
mod prompt;
mod secret_bytes;
mod session;
pub mod signals;
mod surroundings;
pub mod units;

use crate::exit::{Exit, Failure, Outcome};
use crate::output::Format;
use decube_backup_core::{Error, ErrorKind, Registry};
use session::Session;
use std::ffi::OsString;
use std::process::ExitCode;

/// The backends this program was built with.
pub fn builtin_registry() -> Registry {
    let mut registry = Registry::new();
    let registered = local::register(&mut registry);
    assert!(registered.is_ok(), "no two of our own backends share a scheme: {registered:?}");
    registry
}

/// Runs `decube-backup` with `args`, the program's name first. From then on a panic of any thread ends the process.
pub fn run(registry: Registry, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (args, format) = beginning(args);
    match args::parse(args) {
        Ok(cli) => finish(Session::new(registry, cli.global), |session| commands::run(session, &cli.command)),
        Err(error) => usage(&error, format),
    }
}

/// Runs `decub-snapshot` with `args`.
pub fn run_snapshot(registry: Registry, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (args, format) = beginning(args);
    match args::parse_small::<args::SmallSnapshotArgs>(args) {
        Ok(cli) => finish(Session::new(registry, cli.global), |session| commands::small_snapshot(session, cli.command)),
        Err(error) => usage(&error, format),
    }
}

/// Runs `decube-verify` with `args`.
pub fn run_verify(registry: Registry, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (args, format) = beginning(args);
    match args::parse_small::<args::SmallVerifyArgs>(args) {
        Ok(args::SmallVerifyArgs { data_dir: Some(directory), snapshot, global, .. }) => {
            let compare = |session: &Session| commands::compare_live(session, &directory, snapshot.as_deref());
            finish(Session::new(registry, global), compare)
        }
        Ok(cli) => {
            let verify = args::VerifyArgs {
                read_data: cli.read_data,
                read_data_subset: cli.read_data_subset,
                ..args::VerifyArgs::default()
            };
            finish(Session::new(registry, cli.global), |session| commands::verify(session, &verify))
        }
        Err(error) => usage(&error, format),
    }
}

fn finish(session: Session, command: impl FnOnce(&Session) -> Outcome) -> ExitCode {
    output::listen_to_traces(&session.console, session.global.verbose);
    let console = session.console.clone();
    let outcome = command(&session);
    // What was printed before a failure belongs to it.
    let flushed = console.flush();
    let outcome = outcome.and_then(|exit| Ok(flushed.map(|()| exit.max(session.exit_at_best()).max(console.end()))?));
    session.end();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => failed(&console, &failure),
    }
}

fn failed(console: &output::Console, failure: &Failure) -> ExitCode {
    console.failure(failure);
    failure.exit.into()
}

/// The arguments, and for whom the output is: known before they are understood, for what goes wrong until then.
fn beginning(args: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Format) {
    let args: Vec<OsString> = args.into_iter().collect();
    let json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let format = if json { Format::Json } else { Format::Text };
    panics::end_the_process(format);
    surroundings::allow_open_files();
    signals::outlive_long_files();
    (args, format)
}

fn usage(error: &clap::Error, format: Format) -> ExitCode {
    let console = output::Console::new(format, output::Volume::Normal);
    if !error.use_stderr() {
        return match console.written(error.print()) {
            Ok(()) => Exit::Done.into(),
            Err(error) => failed(&console, &error.into()),
        };
    }
    match format {
        // An argument may be the name of a file that somebody else made.
        Format::Text => error.render().to_string().lines().for_each(|line| console.stderr(line)),
        Format::Json => console.failure(&usage_failure(error)),
    }
    Exit::Failed.into()
}

/// What clap says, its paragraphs in one line, the usage as the hint.
fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let (message, hint) = text.split_once("\n\n").unwrap_or((&text, ""));
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = line(message.strip_prefix("error: ").unwrap_or(message));
    Error::new(ErrorKind::Invalid, "usage", message).with_hint(line(hint)).into()
}
