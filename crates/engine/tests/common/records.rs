//! Records that no command of the program under test writes here, or not at that moment.

use super::Harness;
use decube_backup_engine::Repository;
use decube_backup_engine::repository::{Appended, NewRecord, Verdict};
use decube_backup_format::ids::{PackName, SnapshotId};
use decube_backup_format::log::{ObjectName, Payload, Stamp};
use std::collections::BTreeSet;

/// Appends `payload`, whatever it breaks.
pub fn append(repo: &Repository, payload: Payload, reclaimed: Vec<ObjectName>) {
    repo.refresh().expect("readable");
    let stamp = Stamp { host: "elsewhere".into(), ..Stamp::default() };
    let record = NewRecord { payload, added: Vec::new(), reclaimed, stamp };
    let appended = repo.append(record, &mut |_| Ok(Verdict::Stands)).expect("appended");
    assert!(matches!(appended, Appended::At(_)));
}

/// The packs in force.
pub fn packs(harness: &Harness) -> BTreeSet<PackName> {
    harness.repository().state().live_packs().map(|(name, _)| name).collect()
}

pub fn forget(harness: &Harness, snapshot: SnapshotId) {
    append(&harness.repository(), Payload::Forget { snapshots: vec![snapshot] }, Vec::new());
}

/// Shows a forgotten snapshot again, as is right only while all its content is there.
pub fn show_again(harness: &Harness, snapshot: SnapshotId) {
    append(&harness.repository(), Payload::RestoreForgotten { snapshots: vec![snapshot] }, Vec::new());
}
