//! What came about in histories, counted: a search that never meets what it is for proves nothing.

/// How often what the histories are about came about.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub steps: u64,
    pub backups: u64,
    pub failed: u64,
    pub undeleted: u64,
    /// Undeletes of what was reclaimed.
    pub refused: u64,
    /// Packs.
    pub reclaimed: u64,
    /// Revocations begun.
    pub revoked: u64,
    pub revocations: u64,
    /// Objects that went bad.
    pub hurt: u64,
    /// Files that could not be read at the end of a step, because of damage.
    pub refused_reads: u64,
    /// Contents a backup stored again.
    pub healed: u64,
    /// Index segments a repair replaced.
    pub reindexed: u64,
    /// Chunks a repair took out of damaged packs.
    pub rescued: u64,
    /// Snapshots a repair made of damaged ones.
    pub twins: u64,
    /// Packs that went bad and that their parity brings back.
    pub spared: u64,
    /// Damaged packs that a repair read by their parity.
    pub rebuilt: u64,
    /// Parity objects a repair wrote.
    pub parities: u64,
    /// Backups by a write-only key.
    pub hosted: u64,
    /// Chunks these did not store again.
    pub host_reused: u64,
    /// Contents they stored again that damage may have taken.
    pub host_healed: u64,
    /// Backups that a write-only key was refused because it is in force no more.
    pub dismissed: u64,
    pub host_keys: u64,
    pub host_keys_removed: u64,
}

impl Seen {
    fn all(&mut self) -> [&mut u64; 23] {
        [
            &mut self.steps,
            &mut self.backups,
            &mut self.failed,
            &mut self.undeleted,
            &mut self.refused,
            &mut self.reclaimed,
            &mut self.revoked,
            &mut self.revocations,
            &mut self.hurt,
            &mut self.refused_reads,
            &mut self.healed,
            &mut self.reindexed,
            &mut self.rescued,
            &mut self.twins,
            &mut self.spared,
            &mut self.rebuilt,
            &mut self.parities,
            &mut self.hosted,
            &mut self.host_reused,
            &mut self.host_healed,
            &mut self.dismissed,
            &mut self.host_keys,
            &mut self.host_keys_removed,
        ]
    }

    pub fn add(&mut self, more: &Seen) {
        let mut more = more.clone();
        for (sum, n) in self.all().into_iter().zip(more.all()) {
            *sum += *n;
        }
    }

    pub fn assert_lively(&mut self) {
        assert!(self.all().iter().all(|n| **n > 0), "too tame: {self:?}");
    }
}
