//! Arguments of the commands that keep a repository.

use crate::units;
use clap::{Args, Subcommand, ValueEnum};

/// What seals packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CipherArg {
    /// Fastest where the CPU has AES instructions
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// Fastest elsewhere
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

/// Arguments of `init`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The password is asked for twice, or taken from --password-file, --password-command, --key-file \
    or the environment. Whoever loses it loses the data: keep a second key elsewhere (`key add`).\n\n\
    Examples:\n  decube-backup init -r /srv/backup\n  \
    decube-backup key generate ~/backup.key\n  \
    decube-backup init -r /srv/backup --key-file ~/backup.key"
)]
pub struct InitArgs {
    /// What seals the data
    #[arg(long, value_enum, default_value = "aes-256-gcm")]
    pub cipher: CipherArg,
    /// Size of data packs, 1MiB to 64MiB [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size_u32)]
    pub pack_size: Option<u32>,
    /// Average size of chunks, a power of two, 4KiB to 2MiB [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size_u32)]
    pub chunk_size: Option<u32>,
    /// Most bytes compressed together, 64KiB to 8MiB [default: 4MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size_u32)]
    pub segment_size: Option<u32>,
    /// Label of the first key
    #[arg(long, value_name = "TEXT", default_value = "first key")]
    pub key_label: String,
}

/// Arguments of `tag`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  decube-backup tag latest --add keep\n  \
    decube-backup tag home~1 home~2 --remove keep --label reason=migrated\n  \
    decube-backup tag home@2024-12-31 --pin --until 2032-12-31\n  decube-backup tag home@2024-12-31 --unpin\n\n\
    No retention policy forgets a pinned snapshot, and nobody can forget it before its pin is taken off.")]
pub struct TagArgs {
    /// Snapshots to change
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub snapshots: Vec<String>,
    /// Add tags
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = crate::args::data::not_empty)]
    pub add: Vec<String>,
    /// Remove tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub remove: Vec<String>,
    /// Replace all tags; an empty text removes them
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub set: Option<Vec<String>>,
    /// Set a label
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::args::data::key_value)]
    pub label: Vec<(String, String)>,
    /// Keep it, whatever a retention policy says
    #[arg(long, conflicts_with = "unpin")]
    pub pin: bool,
    /// With --pin: until the end of this day (UTC), this time, or so long from now (90d)
    #[arg(long, value_name = "TIME", requires = "pin", value_parser = crate::units::parse_end)]
    pub until: Option<decube_backup_core::Timestamp>,
    /// Take the pin off
    #[arg(long)]
    pub unpin: bool,
}

/// Arguments of `sink`.
#[derive(Clone, Debug, Args)]
pub struct SinkArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SinkCommand,
}

/// What to do with storage.
#[derive(Clone, Debug, Subcommand)]
pub enum SinkCommand {
    /// Check that a storage place keeps the promises a repository needs
    ///
    /// Works below a random prefix and removes what it wrote: safe beside a repository in use.
    Check {
        /// Storage place [default: the repository's]
        #[arg(value_name = "PLACE")]
        place: Option<String>,
        /// Fewer rounds and smaller objects
        #[arg(long)]
        quick: bool,
    },
}
