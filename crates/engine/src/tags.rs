//! Tags and labels: what people call a snapshot. Its id and content do not change.

use crate::options::TagChange;
use crate::repository::{NewRecord, Repository, Verdict};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::header::Access;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::log::{LabelChange, Payload, SnapshotEdit};

/// Applies `change` to each of `snapshots`, one record each.
///
/// # Errors
/// `NotFound` for an unknown snapshot (nothing is changed then); what appending yields.
pub fn change(repo: &Repository, snapshots: &[SnapshotId], change: &TagChange) -> Result<()> {
    repo.header.check(Access::Write)?;
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
