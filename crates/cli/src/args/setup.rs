//! Arguments of the commands around configuration and the program itself.

use crate::args::ExcludeArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Arguments of `config`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  decube-backup --config backup.yaml config check\n  \
    decube-backup config show --origin\n  decube-backup config schema > config.schema.json")]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration file and say what is wrong where
    Check,
    /// Print the effective configuration, secrets masked
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON Schema of the configuration file
    Schema,
}

/// Arguments of `explain-exclude`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Give the same options as to `backup`, or the name of a configured source.\n\n\
    Examples:\n  decube-backup explain-exclude ~/src/a.o --source ~ -e '*.o'\n  \
    decube-backup explain-exclude /srv/db/tmp/x --configured data")]
pub struct ExplainArgs {
    /// Paths to explain
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// What would be backed up [default: the working directory]
    #[arg(long, value_name = "PATH")]
    pub source: Vec<PathBuf>,
    /// Use this source of the configuration
    #[arg(long, value_name = "NAME", conflicts_with = "source")]
    pub configured: Option<String>,
    /// What stays out.
    #[command(flatten)]
    pub exclude: ExcludeArgs,
}

/// The programs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgramArg {
    /// Everything
    #[default]
    DecubeBackup,
    /// Short commands for named snapshots
    DecubSnapshot,
    /// Integrity checks
    DecubeVerify,
}

/// Arguments of `completions`.
#[derive(Clone, Copy, Debug, Args)]
#[command(
    after_help = "Example:\n  decube-backup completions bash > ~/.local/share/bash-completion/completions/decube-backup"
)]
pub struct CompletionsArgs {
    /// Shell
    pub shell: clap_complete::Shell,
    /// Whose completions
    #[arg(long, value_name = "PROGRAM", value_enum, default_value_t)]
    pub program: ProgramArg,
}
