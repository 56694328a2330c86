//! Options every command takes.

use crate::output::{Format, Volume};
use crate::units;
use clap::{ArgAction, Args};
use std::path::PathBuf;

/// Options every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Repository: a directory, a URL such as fs:/srv/backup, or @NAME for a configured sink
    #[arg(short, long, global = true, value_name = "PLACE", env = "DECUBE_BACKUP_REPOSITORY", hide_env_values = true)]
    pub repo: Option<String>,
    /// Read the password from a file [env: DECUBE_BACKUP_PASSWORD_FILE]
    #[arg(short = 'p', long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Take the password from a command's output [env: DECUBE_BACKUP_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", conflicts_with = "password_file")]
    pub password_command: Option<String>,
    /// Unlock with a key file instead of a password [env: DECUBE_BACKUP_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password_file", "password_command"])]
    pub key_file: Option<PathBuf>,
    /// Unlock with the private key of a recipient, age or SSH [env: DECUBE_BACKUP_IDENTITY_FILE]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with_all = ["password_file", "password_command", "key_file"]
    )]
    pub identity_file: Option<PathBuf>,
    /// Unlock with a recovery sheet, typed into a file [env: DECUBE_BACKUP_RECOVERY_KEY_FILE]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with_all = ["password_file", "password_command", "key_file", "identity_file"]
    )]
    pub recovery_key_file: Option<PathBuf>,
    /// Configuration file, YAML or TOML
    #[arg(long, global = true, value_name = "FILE", env = "DECUBE_BACKUP_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Where caches live; safe to delete at any time
    #[arg(long, global = true, value_name = "DIR", env = "DECUBE_BACKUP_CACHE_DIR", hide_env_values = true)]
    pub cache_dir: Option<PathBuf>,
    /// Where this host remembers which log records it has seen
    #[arg(long, global = true, value_name = "DIR", env = "DECUBE_BACKUP_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
    /// Work without a cache
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// Say only what was asked for, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for diagnostics
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Print JSON lines for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Upload at most this many bytes a second, such as 10MiB
    #[arg(long, global = true, value_name = "RATE", value_parser = units::parse_size)]
    pub limit_upload: Option<u64>,
    /// Download at most this many bytes a second
    #[arg(long, global = true, value_name = "RATE", value_parser = units::parse_size)]
    pub limit_download: Option<u64>,
    /// Write parity for every new pack, percent of its length: repairs damage in place, not a lost disk; 0 for none
    #[arg(
        long,
        global = true,
        value_name = "PERCENT",
        value_parser = clap::value_parser!(u8).range(0..=100),
        env = "DECUBE_BACKUP_PARITY",
        hide_env_values = true
    )]
    pub parity: Option<u8>,
    /// Worker threads, at most 256; 0 for as many as there are cores, but no more than 32
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        value_parser = threads,
        env = "DECUBE_BACKUP_THREADS",
        hide_env_values = true
    )]
    pub threads: usize,
}

/// More threads only cost memory, and at some number the system has no more to give.
const THREADS_MAX: usize = 256;

fn threads(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| *number <= THREADS_MAX);
    number.ok_or_else(|| format!("{text:?} is not a number of threads; write 0 to {THREADS_MAX}, 0 for one a core"))
}

impl GlobalArgs {
    /// For whom the output is.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }

    /// How much is said.
    pub fn volume(&self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, _) => Volume::Quiet,
            (false, 0) => Volume::Normal,
            (false, _) => Volume::Verbose,
        }
    }
}
