//! Arguments of the commands around keys and the audit trail.

use clap::{Args, Subcommand};
use decube_backup_core::Timestamp;
use std::path::PathBuf;

/// Arguments of `key`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  decube-backup key add --new-password-file second.txt --new-label ann\n  \
    decube-backup key add --recipient ~/.ssh/id_ed25519.pub\n  decube-backup key rotate\n  \
    decube-backup key remove 1a2b --rotate --drop-others\n  decube-backup key recovery export --output sheet.txt")]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys that open the repository; exit code 3 if one of them is damaged
    List,
    /// Add a password, key file or public key
    Add(AddKeyArgs),
    /// Remove a key; the last one stays
    Remove(RemoveKeyArgs),
    /// Replace the password this command was opened with, unless somebody else has meanwhile
    Passwd(NewKeyArgs),
    /// Make a key file; add it with `key add --new-key-file`, or give it to `init`
    Generate {
        /// File to create, mode 0600
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make new keys for what is stored from now on
    Rotate(RotateArgs),
    /// Make or use a recovery sheet: a key on paper
    Recovery(RecoveryArgs),
}

/// Where a new key comes from.
#[derive(Clone, Debug, Args)]
pub struct NewKeyArgs {
    /// Read the new password from a file
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// Take the new password from a command's output
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_password_file")]
    pub new_password_command: Option<String>,
    /// A key file made by `key generate`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_password_file", "new_password_command"])]
    pub new_key_file: Option<PathBuf>,
    /// Label of the new key
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub new_label: String,
}

/// Arguments of `key add`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "A recipient is a public key. Its owner opens the repository with --identity-file. \
    A write-only key is for a host that may be broken into: `backup` works with it and nothing else does.\n\n\
    Examples:\n  decube-backup key add --new-key-file ~/backup.key --new-label laptop\n  \
    decube-backup key add --recipient age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa\n  \
    decube-backup key add --recipient ~/.ssh/id_ed25519.pub --new-label ann\n  \
    decube-backup key add --write-only web1.key --for-host web1")]
pub struct AddKeyArgs {
    /// What is added.
    #[command(flatten)]
    pub new: NewKeyArgs,
    /// A public key instead: age1…, 'ssh-ed25519 …', 'ssh-rsa …', or a file with one
    #[arg(
        long,
        value_name = "KEY|FILE",
        conflicts_with_all = ["new_password_file", "new_password_command", "new_key_file"]
    )]
    pub recipient: Option<String>,
    /// Make a key file for a backup host: it adds snapshots of that host and reads none, not even its own
    #[arg(
        long,
        value_name = "FILE",
        requires = "for_host",
        conflicts_with_all = ["new_password_file", "new_password_command", "new_key_file", "recipient"]
    )]
    pub write_only: Option<PathBuf>,
    /// The host whose snapshots a write-only key adds, as its backups name it
    #[arg(long, value_name = "HOST", requires = "write_only")]
    pub for_host: Option<String>,
}

/// Arguments of `key remove`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Without --rotate the key opens nothing from now on, but whoever opened the repository with it may \
    have kept the keys behind it. With --rotate those are replaced too: nothing that the removed key ever \
    opened reads what is stored from now on. Keys whose secret is not known here (other passwords, key files \
    and recovery sheets) end as well and must be added again; public keys and the key in use go on. \
    What was stored before stays readable for who kept its keys and can still read the storage.\n\n\
    Examples:\n  decube-backup key remove 1a2b\n  decube-backup key remove 1a2b --rotate -n\n  \
    decube-backup key remove 1a2b --rotate --drop-others"
)]
pub struct RemoveKeyArgs {
    /// Key, as `key list` shows it
    #[arg(value_name = "KEY")]
    pub slot: String,
    /// Also replace the keys that it opened
    #[arg(long)]
    pub rotate: bool,
    /// Let keys end whose secret is not known here
    #[arg(long, requires = "rotate")]
    pub drop_others: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Arguments of `key rotate`.
#[derive(Clone, Copy, Debug, Args)]
#[command(
    after_help = "New packs use the new keys at once; those there are stay readable and keep theirs until they are \
    rewritten. Passwords and all other keys keep working. To shut somebody out, see `key remove --rotate`.\n\n\
    Examples:\n  decube-backup key rotate\n  decube-backup key rotate --status\n  \
    decube-backup key rotate --status --exact --json"
)]
pub struct RotateArgs {
    /// Show how much is stored under which keys, and change nothing
    #[arg(long)]
    pub status: bool,
    /// Read the header of every pack of which the log leaves a doubt: one request each
    #[arg(long, requires = "status")]
    pub exact: bool,
    /// Only say what would be done
    #[arg(short = 'n', long, conflicts_with = "status")]
    pub dry_run: bool,
}

/// Arguments of `key recovery`.
#[derive(Clone, Debug, Args)]
pub struct RecoveryArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RecoveryCommand,
}

/// What to do with a recovery sheet.
#[derive(Clone, Debug, Subcommand)]
pub enum RecoveryCommand {
    /// Add a key and print the sheet that holds it
    #[command(
        after_help = "The sheet opens the repository for whoever holds it. Print it, keep it in a safe, remove the file.\n\n\
        Examples:\n  decube-backup key recovery export | lp\n  \
        decube-backup key recovery export --output sheet.txt --svg sheet.svg"
    )]
    Export {
        /// Write the sheet to a new file, mode 0600, instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Also write the QR code as a picture to a new file, mode 0600
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Label of the key
        #[arg(long, value_name = "TEXT", default_value = "recovery sheet")]
        label: String,
    },
    /// Open the repository with a sheet and set a new password
    #[command(
        after_help = "Takes the sheet from --recovery-key-file, or asks for its four lines; a mistyped line is named. \
        To only read with a sheet, give --recovery-key-file FILE to any command.\n\n\
        Examples:\n  decube-backup key recovery use\n  \
        decube-backup --recovery-key-file sheet.txt key recovery use --new-password-file new.txt"
    )]
    Use(NewKeyArgs),
}

/// Arguments of `audit`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Every record is verified, whatever is shown: its signature, its place in the chain, its seal. Host, user \
    and the first time are what the writer said; the second time is the storage's. Exit code 13 means that \
    a record is damaged or forged, or that the log is not the one this host has seen before.\n\n\
    Examples:\n  decube-backup audit\n  decube-backup audit --since 7d --kind forget,reclaim,key_slot,keyring\n  \
    decube-backup audit --host alpha --json"
)]
pub struct AuditArgs {
    /// Only records since a time: RFC 3339, a date, or a span ago such as 7d
    #[arg(long, value_name = "TIME", value_parser = crate::units::parse_time)]
    pub since: Option<Timestamp>,
    /// Only records of these kinds: init, commit, add, forget, restore_forgotten, condemn, reclaim, pin, unpin,
    /// keyring, key_slot, tag_change, note, damaged, verified
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kind: Vec<String>,
    /// Only records of this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Go on with this log although another was seen before: after an older copy was put back on purpose, or
    /// although a checkpoint knows of records that are lost: such checkpoints are deleted
    #[arg(long)]
    pub accept: bool,
}
