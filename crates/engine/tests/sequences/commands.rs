//! The program's own commands, as a client calls them.

use crate::common::key_file;
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::Repository;
use decube_backup_engine::forget::{ForgetOptions, Wanted};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::keys::{self, Others};
use decube_backup_engine::options::{Effect, Subset, VerifyDepth};
use decube_backup_engine::repair::{Content, RepairOptions};
use decube_backup_engine::retention::GuardLimits;
use decube_backup_engine::verify::{Recording, VerifyOptions, verify_and_record};
use decube_backup_format::ids::SnapshotId;
use std::time::Duration;

/// The host whose snapshots a write-only key adds.
pub const HOST_NAME: &str = "outpost";

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

/// Reads everything and records what is found; names the objects that are damaged.
pub fn verify(repo: &Repository) -> Result<Vec<String>> {
    let options = VerifyOptions { depth: VerifyDepth::Data(Subset::All), snapshots: None };
    let report = verify_and_record(repo, &options, &Recording::default(), &Silent)?;
    match report.recorded.problem {
        // Told, and no error of the command: everything was read.
        Some(problem) => Err(Error::new(ErrorKind::Unavailable, "verify", problem)),
        None => Ok(report.damages.into_iter().map(|damage| damage.object).collect()),
    }
}

/// The repairs as `--apply --read-data` does them.
pub fn repairs() -> RepairOptions {
    RepairOptions { effect: Effect::Real, content: Content::Read, ..RepairOptions::default() }
}

/// A key that nobody has yet, labelled so that it is known again.
pub fn add_key(repo: &Repository, number: u64) -> Result<()> {
    keys::add(repo, &key_file(number), &number.to_string()).map(drop)
}

/// Revokes some key that is not the one in use; other keys end too.
pub fn revoke(repo: &mut Repository) -> Result<()> {
    repo.refresh()?;
    let other = keys::list(repo)?.into_iter().find(|slot| !slot.current);
    let Some(other) = other else { return Ok(()) };
    keys::revoke(repo, &other.slot, Others::Drop).map(drop)
}

/// What a write-only key is labelled.
pub fn host_label(number: u64) -> String {
    format!("host {number}")
}

/// The number of a write-only key labelled so.
pub fn host_number(label: &str) -> Option<u64> {
    label.strip_prefix("host ")?.parse().ok()
}

/// A write-only key that nobody has yet.
pub fn add_host_key(repo: &Repository, number: u64) -> Result<()> {
    keys::add_write_only(repo, &key_file(number), HOST_NAME, &host_label(number)).map(drop)
}
