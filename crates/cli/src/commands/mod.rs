//! One module a command: arguments to an engine call, its report to output and exit code.
//!
//! Of several commands: `report` (what they say alike), `damage` (what a person can do about it), `entries` (as lines and as
//! JSON), `listed` (a source that says what is being read).

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

use crate::args::{
    BackupArgs, Command, KeyCommand, RecoveryCommand, RepairCommand, RestoreArgs, SmallSnapshotCommand, SnapshotsArgs,
};
use crate::exit::Outcome;
use crate::session::Session;

/// Runs a command of `decube-backup`.
///
/// # Errors
/// What kept it from its end.
pub(crate) fn run(session: &Session, command: &Command) -> Outcome {
    if changes_something(command) {
        session.console.outlive_output();
    }
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

/// Whether `command` does something that stays done though nobody can be told of it. Of all others, dry runs among them,
/// the output is all there is.
fn changes_something(command: &Command) -> bool {
    match command {
        Command::Init(_) | Command::Tag(_) => true,
        Command::Backup(args) => !args.dry_run,
        Command::Run(args) => !args.dry_run,
        Command::Restore(args) => !args.dry_run,
        Command::Prune(args) => !args.dry_run,
        Command::Forget(args) => !args.dry_run,
        Command::Undelete(args) => !args.dry_run,
        Command::Verify(args) => verify::is_recorded(args),
        Command::Audit(args) => args.accept,
        Command::Repair(args) => match &args.command {
            RepairCommand::Index(apply) | RepairCommand::Checkpoints(apply) => apply.apply,
            RepairCommand::Packs(args) => args.apply.apply,
            RepairCommand::Parity(args) => args.apply.apply,
            RepairCommand::Snapshots(args) => args.apply.apply,
        },
        Command::Key(args) => match &args.command {
            KeyCommand::Add(_) | KeyCommand::Passwd(_) | KeyCommand::Generate { .. } => true,
            KeyCommand::Remove(args) => !args.dry_run,
            KeyCommand::Rotate(args) => !args.dry_run && !args.status,
            KeyCommand::Recovery(args) => match &args.command {
                // Without a file the sheet itself is the output.
                RecoveryCommand::Export { output, .. } => output.is_some(),
                RecoveryCommand::Use(_) => true,
            },
            KeyCommand::List => false,
        },
        Command::Snapshots(_)
        | Command::Ls(_)
        | Command::Find(_)
        | Command::Diff(_)
        | Command::Dump(_)
        | Command::Stats(_)
        | Command::Config(_)
        | Command::Sink(_)
        | Command::ExplainExclude(_)
        | Command::Completions(_)
        | Command::Man
        | Command::Version => false,
    }
}

/// Runs a command of `decub-snapshot`.
///
/// # Errors
/// What kept it from its end.
pub(crate) fn small_snapshot(session: &Session, command: SmallSnapshotCommand) -> Outcome {
    match command {
        SmallSnapshotCommand::Create { id, paths } => {
            run(session, &Command::Backup(BackupArgs { paths, name: Some(id), ..BackupArgs::default() }))
        }
        SmallSnapshotCommand::Restore { id, target, time } => {
            let args = RestoreArgs { snapshot: id.into(), target, time, ..RestoreArgs::default() };
            run(session, &Command::Restore(args))
        }
        SmallSnapshotCommand::List => run(session, &Command::Snapshots(SnapshotsArgs::default())),
    }
}
