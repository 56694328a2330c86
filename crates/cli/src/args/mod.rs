//! The command line: names, help, values. Nothing here does anything.
//!
//! Flags and environment variables carry restic's names where restic has them, with the prefix
//! `DECUBE_BACKUP_`. Global options work before and after the command.
//!
//! | module | holds |
//! |---|---|
//! | `global` | options every command takes |
//! | `data` | backup, run, restore, dump |
//! | `look` | snapshots, ls, find, diff, verify |
//! | `keep` | init, tag, sink |
//! | `key` | key, audit |
//! | `repair` | repair index, checkpoints, packs, snapshots |
//! | `retain` | forget, undelete |
//! | `setup` | config, explain-exclude, completions |
//! | `space` | prune, stats |
//! | `small` | the two small programs, `decub-snapshot` and `decube-verify` |

mod data;
mod global;
mod keep;
mod key;
mod look;
mod repair;
mod retain;
mod setup;
mod small;
mod space;

pub use data::{
    BackupArgs, Compression, DumpArgs, ExcludeArgs, OverwriteArg, OwnerArg, RestoreArgs, RunArgs, SparseArg, TimeArgs,
};
pub use global::GlobalArgs;
pub use keep::{CipherArg, InitArgs, SinkArgs, SinkCommand, TagArgs};
pub use key::{
    AddKeyArgs, AuditArgs, KeyArgs, KeyCommand, NewKeyArgs, RecoveryArgs, RecoveryCommand, RemoveKeyArgs, RotateArgs,
};
pub use look::{DiffArgs, FindArgs, KindArg, LsArgs, SizeBound, SnapshotsArgs, VerifyArgs, subset_of};
pub use repair::{ApplyArgs, RepairArgs, RepairCommand, RepairPacksArgs, RepairParityArgs, RepairSnapshotsArgs};
pub use retain::{ForgetArgs, GuardArgs, NamedPolicy, PolicyArgs, UndeleteArgs};
pub use setup::{CompletionsArgs, ConfigArgs, ConfigCommand, ExplainArgs, ProgramArg};
pub use small::{SmallSnapshotArgs, SmallSnapshotCommand, SmallVerifyArgs};
pub use space::{PruneArgs, StatsArgs};

use crate::surroundings;
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

/// Help is not wider: a longer line of an example would be broken, and could not be pasted.
const HELP_COLUMNS: usize = 100;

/// Encrypted, deduplicating, verified backups.
///
/// Every backup makes a snapshot: a full restore point that costs only what changed. Snapshots of one
/// name form a series; commands take `latest`, `latest~2`, NAME, NAME~1, NAME@TIME, HOST:NAME or an id, each
/// with an optional :PATH.
#[derive(Debug, Parser)]
#[command(name = "decube-backup", version, propagate_version = false, max_term_width = HELP_COLUMNS)]
#[command(after_help = "Start with:\n  export DECUBE_BACKUP_REPOSITORY=/srv/backup\n  \
    decube-backup init\n  decube-backup backup --name home ~\n  decube-backup snapshots\n  \
    decube-backup restore latest -t /tmp/restored\n\nExit codes are listed by --help and in the manual page.")]
pub struct Cli {
    /// Options every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a repository
    Init(InitArgs),
    /// Back up files and directories
    Backup(BackupArgs),
    /// Run the configured pipelines
    Run(RunArgs),
    /// List snapshots
    Snapshots(SnapshotsArgs),
    /// List files in a snapshot
    Ls(LsArgs),
    /// Find files in snapshots
    Find(FindArgs),
    /// Show what differs between two snapshots
    Diff(DiffArgs),
    /// Restore files from a snapshot
    Restore(RestoreArgs),
    /// Write a file, or a directory as tar, to standard output
    Dump(DumpArgs),
    /// Check the repository for damage
    #[command(visible_alias = "check")]
    Verify(VerifyArgs),
    /// Free the space that no snapshot needs any more
    Prune(PruneArgs),
    /// Put right what can be put right, and say what cannot
    Repair(RepairArgs),
    /// Show how much is stored
    Stats(StatsArgs),
    /// Manage passwords, key files and other keys
    Key(KeyArgs),
    /// Show and verify who did what, and when
    Audit(AuditArgs),
    /// Change tags, labels and pins of snapshots
    Tag(TagArgs),
    /// Hide snapshots, by name or by a retention policy
    Forget(ForgetArgs),
    /// Give back forgotten snapshots
    Undelete(UndeleteArgs),
    /// Check, show or describe the configuration
    Config(ConfigArgs),
    /// Check that a storage place keeps its promises
    Sink(SinkArgs),
    /// Say whether a path would be backed up, and why
    ExplainExclude(ExplainArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
    /// Print the version and what this program was built with
    Version,
}

/// The command of `decube-backup` with the exit codes in its long help.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let help = help.replace("\n\nExit codes are listed by --help and in the manual page.", "");
    command.after_long_help(format!("{help}\n\n{}", crate::exit::table_text()))
}

/// Reads the arguments of `decube-backup`.
///
/// # Errors
/// Wrong usage, or a request for help or version.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = without_empty_variables(command());
    let matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    // From the environment it is meant for other commands; typed here it is meant for this one.
    let given = matches.value_source("repo") == Some(ValueSource::CommandLine);
    if given && matches!(cli.command, Command::Run(_)) {
        let told = "--repo cannot be used with run: each pipeline backs up to the sink it names in the configuration";
        return Err(command.error(ErrorKind::ArgumentConflict, told));
    }
    Ok(cli)
}

/// Reads the arguments of a small program.
///
/// # Errors
/// As [`parse`].
pub fn parse_small<P: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<P, clap::Error> {
    P::from_arg_matches(&without_empty_variables(P::command()).try_get_matches_from(args)?)
}

/// A variable that is set to nothing counts as not set, as it does for a shell's `${NAME:-}`.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| match arg.get_env() {
        Some(name) if surroundings::is_empty(name) => arg.env(Resettable::Reset),
        _ => arg,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn no_example_in_the_help_is_broken() {
        fn check(command: &clap::Command, broken: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            broken.extend(
                help.lines()
                    .filter(|line| line.starts_with(' ') && line.chars().count() > HELP_COLUMNS)
                    .map(str::to_owned),
            );
            command.get_subcommands().for_each(|inner| check(inner, broken));
        }
        for mut command in [command(), SmallSnapshotArgs::command(), SmallVerifyArgs::command()] {
            command.build();
            let mut broken = Vec::new();
            check(&command, &mut broken);
            assert!(broken.is_empty(), "{broken:#?}");
        }
    }

    #[test]
    fn global_options_work_before_and_after_the_command() {
        for line in ["decube-backup -r R -q backup --name bench P", "decube-backup backup P --name bench -r R -q"] {
            let cli = parsed(line).expect("legal");
            assert_eq!((cli.global.repo.as_deref(), cli.global.quiet), (Some("R"), true), "{line}");
            let Command::Backup(backup) = cli.command else { panic!("{line}") };
            assert_eq!((backup.name.as_deref(), backup.paths.len()), (Some("bench"), 1), "{line}");
        }
    }

    #[test]
    fn a_repository_on_the_command_line_is_refused_by_run_alone() {
        for line in ["decube-backup -r R run", "decube-backup run --repo R p", "decube-backup run -r @main"] {
            let error = parsed(line).expect_err(line);
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{line}");
        }
        assert!(parsed("decube-backup run p").is_ok() && parsed("decube-backup config check -r R").is_ok());
    }

    #[test]
    fn every_line_of_the_manual_is_accepted() {
        let lines = [
            "decube-backup init --cipher chacha20-poly1305 --pack-size 32MiB --chunk-size 64KiB --segment-size 1MiB",
            "decube-backup backup -n -x -e *.o --iexclude *.TMP --exclude-file f --exclude-caches --tag a,b --label k=v P Q",
            "decube-backup backup --optional-source Q --compression 9 --force --host h --time now P",
            "decube-backup backup --stdin --stdin-filename db/dump.sql --name db --tag t",
            "decube-backup restore latest:/p -t D --include a --exclude b --overwrite if-newer --delete --sparse --no-owner -n",
            "decube-backup restore n --timestamp 2024-01-15T10:30:00Z -t D",
            "decube-backup restore n --as-of 2h -t D",
            "decube-backup ls -l -R latest /p --json",
            "decube-backup find *.rs --newer 2d --older now --type f --size +1M --snapshot latest",
            "decube-backup check --read-data-subset 1/5",
            "decube-backup verify --read-data-subset 2.5% --snapshot latest",
            "decube-backup verify --scrub",
            "decube-backup verify --within 30d --budget-time 2h --budget-bytes 10GiB --budget-share 1/20",
            "decube-backup verify --read-data --record",
            "decube-backup repair index --apply",
            "decube-backup repair checkpoints -n",
            "decube-backup repair packs --read-data --apply",
            "decube-backup repair snapshots latest home~1 --read-data --apply --forget-damaged",
            "decube-backup dump latest:/p --archive tar",
            "decube-backup key add --new-key-file k --new-label l",
            "decube-backup key generate k",
            "decube-backup key add --recipient age1x --new-label l",
            "decube-backup key remove 1a --rotate --drop-others -n",
            "decube-backup key rotate",
            "decube-backup key rotate --status --exact",
            "decube-backup key recovery export --output o --svg s --label l",
            "decube-backup key recovery use --new-password-file f --recovery-key-file r",
            "decube-backup audit --since 7d --kind commit,forget --host h --identity-file i --state-dir d",
            "decube-backup audit --accept",
            "decube-backup tag latest --add a --remove b --label k=v",
            "decube-backup tag latest --pin --until 2030-01-01",
            "decube-backup tag latest --unpin",
            "decube-backup forget home~3 1a2b3c4d -n",
            "decube-backup forget --host h --name n --tag a,b --label k=v --path /p --policy guide --timezone UTC",
            "decube-backup forget --keep-last 3 --keep-hourly 24 --keep-daily unlimited --keep-weekly -1 --keep-monthly 12",
            "decube-backup forget --keep-within 1y6m --keep-within-hourly 2d --keep-within-daily 14d --keep-within-weekly 8w",
            "decube-backup forget --keep-yearly 7 --keep-tag a,b --keep-tag c --group-by host,name,labels,paths",
            "decube-backup forget --tag tmp --allow-empty-group --allow-share 100",
            "decube-backup snapshots --forgotten",
            "decube-backup undelete 1a2b3c4d home",
            "decube-backup config show --origin",
            "decube-backup sink check fs:/p",
            "decube-backup explain-exclude /p/x --source /p -e *.o",
            "decube-backup run a b -n",
            "decube-backup stats --unique latest home~1",
            "decube-backup stats --freed latest:/p home",
            "decube-backup prune -n --max-unused 10% --max-repack-size 20GiB --grace 12h",
        ];
        for line in lines {
            if let Err(error) = parsed(line) {
                panic!("{line}: {error}");
            }
        }
    }
}
