//! Backing up with a write-only key.
//!
//! Everything goes the way it goes for others, but: packs are sealed to the reading key, in a run of their own; what
//! unchanged files hold is looked up chunk by chunk in the host's own packs; the tree before comes from the cache.

use super::Before;
use super::kept_tree::KeptTree;
use crate::options::BackupOptions;
use crate::pipeline::PackSealer;
use crate::repository::{Host, Repository};
use decube_backup_core::{Error, ErrorKind, Result};

/// Refuses what readers would ignore, and what takes reading.
pub(super) fn check(repo: &Repository, options: &BackupOptions) -> Result<()> {
    let Some(host) = repo.write_only_host() else { return Ok(()) };
    if options.host != host {
        return Err(Error::new(
            ErrorKind::Invalid,
            "backup",
            "this write-only key adds snapshots of another host only",
        )
        .with("host", &options.host)
        .with_hint(format!("give --host {host}, or use a key made for this host")));
    }
    if options.parent.is_some() {
        return Err(Error::new(ErrorKind::Invalid, "backup", "with a write-only key no parent can be chosen")
            .with_hint("what this host stored last is in its cache and is used by itself"));
    }
    Ok(())
}

/// What this host stored last of the series.
pub(super) fn before<'a>(
    repo: &'a Repository,
    host: &'a Host,
    options: &BackupOptions,
    name: &str,
) -> Option<Before<'a>> {
    let kept = KeptTree::open(repo, host, &repo.cache.tree(name, &options.host)?)?;
    Some(Before { snapshot: kept.snapshot, tree: kept.tree, kept: Some(kept) })
}

/// What seals the packs of one pass.
///
/// # Errors
/// No entropy.
pub(super) fn sealer(repo: &Repository) -> Result<PackSealer> {
    match repo.host() {
        Some(host) => Ok(PackSealer::Run { run: host.begin_run(repo)?, cipher: host.ring.cipher, mark: host.mark }),
        None => Ok(PackSealer::Keyring { keyring: repo.keyring()?, given: None }),
    }
}
