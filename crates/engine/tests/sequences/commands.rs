//! The program's own commands, as a client calls them.

use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, Result};
use decube_backup_engine::Repository;
use decube_backup_engine::forget::{ForgetOptions, Wanted};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::Effect;
use decube_backup_engine::retention::GuardLimits;
use decube_backup_format::ids::SnapshotId;
use std::time::Duration;

/// Hides the snapshot, though it may be the last of its group.
pub fn forget(repo: &Repository, id: SnapshotId) -> Result<()> {
    let limits = GuardLimits { allow_empty_group: true, ..GuardLimits::default() };
    let options = ForgetOptions { limits, ..ForgetOptions::new(Wanted::Named(vec![id])) };
    decube_backup_engine::forget::forget(repo, &options).map(drop)
}

/// Shows the snapshot again if all of it is still there; says whether.
pub fn undelete(repo: &Repository, id: SnapshotId) -> Result<bool> {
    match decube_backup_engine::undelete::undelete(repo, &[id], Effect::Real, ("host", "user"), &Silent) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Frees all that nobody needs, leftovers of crashes at once; says how many packs went.
pub fn prune(repo: &Repository) -> Result<u64> {
    let options =
        PruneOptions { max_unused: MaxUnused::Bytes(0), orphan_age: Duration::ZERO, ..PruneOptions::default() };
    let before = { repo.state().reclaimed_packs().len() };
    repo.refresh()?;
    gc::plan(repo, &options, &Silent)?.run(&Silent)?;
    Ok((repo.state().reclaimed_packs().len() - before) as u64)
}
