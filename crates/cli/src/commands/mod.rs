//! One module a command: arguments to an engine call, its report to output and exit code.

mod about;
mod audit;
mod backup;
mod configuration;
mod damage;
mod diff;
mod dump;
mod entries;
mod find;
mod forget;
mod init;
mod key;
mod listed;
mod live;
mod ls;
mod prune;
mod recovery;
mod repair;
mod report;
mod restore;
mod run_pipelines;
mod sink;
mod snapshots;
mod stats;
mod tag;
mod undelete;
mod verify;

pub(crate) use live::run as compare_live;
pub(crate) use verify::run as verify;

use crate::args::{BackupArgs, Command, RestoreArgs, SmallSnapshotCommand, SnapshotsArgs};
use crate::exit::Outcome;
use crate::session::Session;

/// Runs a command of `decube-backup`.
///
/// # Errors
/// What kept it from its end.
pub(crate) fn run(session: &Session, command: &Command) -> Outcome {
    match command {
        Command::Init(args) => init::run(session, args),
        Command::Backup(args) => backup::run(session, args),
        Command::Run(args) => run_pipelines::run(session, args),
        Command::Snapshots(args) => snapshots::run(session, args),
        Command::Ls(args) => ls::run(session, args),
        Command::Find(args) => find::run(session, args),
        Command::Diff(args) => diff::run(session, args),
        Command::Restore(args) => restore::run(session, args),
        Command::Dump(args) => dump::run(session, args),
        Command::Verify(args) => verify::run(session, args),
        Command::Prune(args) => prune::run(session, args),
        Command::Repair(args) => repair::run(session, &args.command),
        Command::Stats(args) => stats::run(session, args),
        Command::Key(args) => key::run(session, &args.command),
        Command::Audit(args) => audit::run(session, args),
        Command::Tag(args) => tag::run(session, args),
        Command::Forget(args) => forget::run(session, args),
        Command::Undelete(args) => undelete::run(session, args),
        Command::Config(args) => configuration::run(session, &args.command),
        Command::Sink(args) => sink::run(session, &args.command),
        Command::ExplainExclude(args) => configuration::explain(session, args),
        Command::Completions(args) => about::completions(session, args),
        Command::Man => about::man(session),
        Command::Version => about::version(session),
    }
}

/// Runs a command of `decub-snapshot`.
///
/// # Errors
/// What kept it from its end.
pub(crate) fn small_snapshot(session: &Session, command: SmallSnapshotCommand) -> Outcome {
    match command {
        SmallSnapshotCommand::Create { id, paths } => {
            backup::run(session, &BackupArgs { paths, name: Some(id), ..BackupArgs::default() })
        }
        SmallSnapshotCommand::Restore { id, target, time } => {
            restore::run(session, &RestoreArgs { snapshot: id.into(), target, time, ..RestoreArgs::default() })
        }
        SmallSnapshotCommand::List => snapshots::run(session, &SnapshotsArgs::default()),
    }
}
