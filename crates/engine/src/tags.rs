//! Tags, labels and pins: what people call a snapshot, and what they want kept. Its id and content do not change.

use crate::options::TagChange;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{Pin, State, Visibility};
use decube_backup_format::header::Access;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::log::{LabelChange, Payload, SnapshotEdit};

/// Applies `change` to each of `snapshots`, one record each.
///
/// # Errors
/// `NotFound` for an unknown snapshot (nothing is changed then); what appending yields.
pub fn change(repo: &Repository, snapshots: &[SnapshotId], change: &TagChange) -> Result<()> {
    repo.check_reader(Access::Write)?;
    repo.refresh()?;
    let state = repo.state();
    let mut edits = Vec::new();
    for id in snapshots {
        let Some(snapshot) = state.snapshot(id) else {
            return Err(Error::new(ErrorKind::NotFound, "tag", "no such snapshot").with("snapshot", id));
        };
        let mut removed = change.remove.clone();
        let mut added = change.add.clone();
        if let Some(set) = &change.set {
            removed.extend(snapshot.manifest.tags.iter().filter(|t| !set.contains(t)).cloned());
            added.extend(set.iter().cloned());
        }
        let labels = change.labels.iter().map(|(k, v)| (k.clone(), LabelChange::Set(v.clone()))).collect();
        edits.push(SnapshotEdit { snapshot: *id, tags_removed: removed, tags_added: added, labels, name: None });
    }
    for edit in edits {
        let record = NewRecord {
            payload: Payload::TagChange(edit),
            added: Vec::new(),
            reclaimed: Vec::new(),
            stamp: repo.stamp("", ""),
        };
        repo.append(record, &mut |_| Ok(Verdict::Stands))?;
    }
    Ok(())
}

/// Pins each of `snapshots`, or takes the pin off with [`Pin::None`]; one record each, none where it is so already.
///
/// A pinned snapshot is dropped by no policy, and cannot be forgotten by name before it is unpinned.
///
/// # Errors
/// `NotFound` for a snapshot that is unknown or forgotten; those before it are changed then only if it was forgotten meanwhile. What
/// appending yields.
pub fn pin(repo: &Repository, snapshots: &[SnapshotId], pin: Pin) -> Result<()> {
    repo.check_reader(Access::Write)?;
    repo.refresh()?;
    let state = repo.state();
    if let Some(missing) = snapshots.iter().find(|id| !is_live(&state, id)) {
        return Err(not_live(missing));
    }
    for id in snapshots.iter().filter(|id| state.snapshot(id).is_some_and(|s| s.pin != pin)) {
        let payload = match pin {
            Pin::None => Payload::Unpin { snapshot: *id },
            Pin::Until(end) => Payload::Pin { snapshot: *id, until: Some(end) },
            Pin::Forever => Payload::Pin { snapshot: *id, until: None },
        };
        let record = NewRecord { payload, added: Vec::new(), reclaimed: Vec::new(), stamp: repo.stamp("", "") };
        // A pin on what was forgotten meanwhile would promise what nobody keeps.
        if repo.append(record, &mut |state| Ok(Verdict::of(is_live(state, id))))? == Appended::Void {
            return Err(not_live(id));
        }
    }
    Ok(())
}

fn is_live(state: &State, id: &SnapshotId) -> bool {
    state.snapshot(id).is_some_and(|s| s.visibility == Visibility::Live)
}

fn not_live(id: &SnapshotId) -> Error {
    Error::new(ErrorKind::NotFound, "pin", "no such snapshot, or it is forgotten")
        .with("snapshot", id.to_hex())
        .with_hint("`decube-backup undelete` gives back a forgotten one")
}
