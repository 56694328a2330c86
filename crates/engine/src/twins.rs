//! Twins: copies that a repair made of damaged snapshots, and the places they take.
//!
//! *Invariant*: a twin stands where its original stands, right before it, whenever it was made. It tells of the same moment and has
//! nothing that the original lacks, so it never counts as newer than what came after its original, is no witness of
//! what time it was, and takes no place from another snapshot.
//!
//! A twin is known by what only a copy has in common with its original: the times to the nanosecond, host, user, paths and all
//! numbers of the run, and the original as its parent, with more lost than there. A tag says nothing: anybody may set it.

use decube_backup_core::Timestamp;
use decube_backup_core::monitor::ProblemKind;
use decube_backup_format::checkpoint::{SnapshotEntry, State};
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::manifest::{SnapshotManifest, SnapshotStats};
use std::collections::HashMap;

/// Where a snapshot stands among all: by the number of its record, a twin right before its original, of two twins the
/// one made later behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Record of the snapshot, or of the original.
    seq: u64,
    /// Record of a twin; beyond all records for what is none.
    made: u64,
}

impl Place {
    /// Of what a backup recorded as `seq`.
    pub fn of_backup(seq: u64) -> Self {
        Self { seq, made: u64::MAX }
    }

    /// Of what a repair recorded as `made`; the original is recorded as `seq`.
    pub fn of_twin(seq: u64, made: u64) -> Self {
        Self { seq, made }
    }

    /// Whether a repair made it.
    pub fn is_twin(&self) -> bool {
        self.made != u64::MAX
    }

    /// The same with a twin behind its original: what holds nothing known to be damaged comes last.
    pub(crate) fn by_wholeness(&self) -> (u64, u64) {
        (self.seq, self.made.wrapping_add(1))
    }
}

/// Which snapshots are twins, and of what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Twins {
    /// Id and record of the original that no repair made, by twin.
    originals: HashMap<SnapshotId, (SnapshotId, u64)>,
}

impl Twins {
    /// Of all snapshots of `state`, forgotten ones too.
    pub(crate) fn of(state: &State) -> Self {
        let mut twins = Self::default();
        // A twin comes after its original: that one's own original is known by then.
        for snapshot in state.snapshots() {
            let parent = snapshot.manifest.parent.as_ref().and_then(|parent| state.snapshot(parent));
            if let Some(parent) = parent.filter(|parent| is_copy(&snapshot.manifest, &parent.manifest)) {
                let original = twins.original(&parent.id).unwrap_or((parent.id, parent.seq));
                twins.originals.insert(snapshot.id, original);
            }
        }
        twins
    }

    /// Id and record of the first original of a twin; `None` for what is none.
    pub(crate) fn original(&self, id: &SnapshotId) -> Option<(SnapshotId, u64)> {
        self.originals.get(id).copied()
    }

    /// Whether both are the same backup or copies of it.
    pub(crate) fn are_kin(&self, a: &SnapshotId, b: &SnapshotId) -> bool {
        let first = |id: &SnapshotId| self.original(id).map_or(*id, |(original, _)| original);
        first(a) == first(b)
    }

    /// Where the snapshot `id` of record `seq` stands.
    pub(crate) fn place(&self, id: &SnapshotId, seq: u64) -> Place {
        match self.original(id) {
            Some((_, original)) => Place::of_twin(original, seq),
            None => Place::of_backup(seq),
        }
    }

    /// Snapshots that are no twins, in log order: each is a witness of its own.
    pub(crate) fn without<'s>(&self, state: &'s State) -> Vec<&'s SnapshotEntry> {
        state.snapshots().iter().filter(|snapshot| !self.originals.contains_key(&snapshot.id)).collect()
    }

    /// Every twin with what `of` knows of its original.
    pub(crate) fn known<T>(&self, of: impl Fn(&SnapshotId) -> Option<T>) -> Vec<(SnapshotId, T)> {
        self.originals.iter().filter_map(|(twin, (original, _))| Some((*twin, of(original)?))).collect()
    }
}

/// Whether `twin` is a copy that a repair made of `original`, its parent.
fn is_copy(twin: &SnapshotManifest, original: &SnapshotManifest) -> bool {
    type Run<'m> = (Timestamp, Timestamp, SnapshotStats, [&'m str; 3], &'m [String]);
    fn run(m: &SnapshotManifest) -> Run<'_> {
        (m.begun, m.ended, m.stats, [&m.host, &m.username, &m.program], &m.paths)
    }
    let lost = |m: &SnapshotManifest| m.problems_total.get(&ProblemKind::Damaged).copied().unwrap_or_default();
    run(twin) == run(original) && lost(twin) >= lost(original).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_all_of_the_run_and_less_of_the_content() {
        let time = |seconds| Timestamp { seconds, nanoseconds: 1 };
        let original = SnapshotManifest { begun: time(1), ended: time(2), host: "host".into(), ..Default::default() };
        let lacking = |lost| [(ProblemKind::Damaged, lost)].into();
        let copy = SnapshotManifest { tags: vec!["x".into()], problems_total: lacking(1), ..original.clone() };
        let check = |twin: &SnapshotManifest, original: &SnapshotManifest, expected| {
            assert_eq!(is_copy(twin, original), expected, "{twin:?} of {original:?}");
        };
        check(&copy, &original, true);
        check(&SnapshotManifest { problems_total: lacking(2), ..copy.clone() }, &copy, true);
        check(&copy, &copy, false);
        check(&SnapshotManifest { problems_total: lacking(u64::MAX), ..copy.clone() }, &copy, true);
        check(&SnapshotManifest { ended: time(3), ..copy.clone() }, &original, false);
        check(&SnapshotManifest { host: "other".into(), ..copy.clone() }, &original, false);
        let stats = SnapshotStats { files_new: 1, ..SnapshotStats::default() };
        check(&SnapshotManifest { stats, ..copy.clone() }, &original, false);
        check(&SnapshotManifest { problems_total: lacking(0), ..copy }, &original, false);
    }

    #[test]
    fn a_twin_is_before_its_original_and_behind_what_came_before_that() {
        let ordered = [Place::of_backup(3), Place::of_twin(5, 8), Place::of_twin(5, 11), Place::of_backup(5)];
        assert!(ordered.is_sorted() && ordered[3] < Place::of_backup(6), "{ordered:?}");
        assert!(Place::of_backup(5).by_wholeness() < Place::of_twin(5, 8).by_wholeness());
        assert!(Place::of_twin(5, 11).by_wholeness() < Place::of_backup(6).by_wholeness());
    }
}
