//! Writing into the repository what was found: which packs are sound, which are damaged.
//!
//! Damage recorded keeps new snapshots from relying on it, and lets the next backup store again what its source still
//! has. Nothing else changes: a damaged pack stays in force, and what is left in it is still read.

use super::Findings;
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::PackName;
use decube_backup_format::log::Payload;
use std::collections::BTreeSet;

/// Records of sound packs in one run at most, give or take one.
const RECORDS_MAX: u64 = 16;
/// Fewer bytes than this are not worth a record of their own before the run's end.
const RECORD_BYTES_MIN: u64 = 1 << 30;
/// Packs after which others' records are looked for: one request.
const REFRESH_PACKS: u64 = 16;

/// Who records what was found.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Host, for the log.
    pub host: String,
    /// User, for the log.
    pub username: String,
}

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recorded {
    /// Packs read whole and found sound.
    pub verified: u64,
    /// Packs now known to be damaged that were not before.
    pub damaged: u64,
    /// Packs known to be damaged that turned out to be whole.
    pub healed: u64,
    /// Why not everything could be recorded.
    pub problem: Option<String>,
}

/// Collects what is found and appends it, in few records.
pub(super) struct Recorder<'a> {
    repo: &'a Repository,
    who: &'a Recording,
    begun: Timestamp,
    sound: Vec<PackName>,
    seen: u64,
    bytes: u64,
    record_bytes: u64,
    recorded: Recorded,
    healed: Vec<PackName>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(repo: &'a Repository, who: &'a Recording) -> Self {
        let total: u64 = repo.state().live_packs().map(|(_, info)| u64::from(info.len)).sum();
        Self {
            repo,
            who,
            begun: repo.env.clock.now(),
            sound: Vec::new(),
            seen: 0,
            bytes: 0,
            record_bytes: (total / RECORDS_MAX).max(RECORD_BYTES_MIN),
            recorded: Recorded::default(),
            healed: Vec::new(),
        }
    }

    /// The pack was read whole, and every byte is as written.
    pub(super) fn sound(&mut self, pack: PackName, bytes: u64) {
        if self.repo.state().is_damaged(&pack) {
            self.healed.push(pack);
        }
        self.sound.push(pack);
        self.bytes += bytes;
        self.seen += 1;
        if self.bytes >= self.record_bytes {
            self.record_sound();
        } else if self.seen.is_multiple_of(REFRESH_PACKS)
            && let Err(error) = self.repo.refresh()
        {
            tracing::debug!(error = %error.chain(), "what others verified is not known; reading on");
        }
    }

    /// Records what is left; says what was recorded in all.
    pub(super) fn finish(mut self, findings: &Findings) -> Recorded {
        self.record_judged(findings);
        self.record_sound();
        self.recorded
    }

    fn record_judged(&mut self, findings: &Findings) {
        let state = self.repo.state();
        let in_force = |pack: &&PackName| state.pack(pack).is_some();
        let new = findings.bad_packs.iter().filter(in_force).filter(|pack| !state.is_damaged(pack));
        let packs: Vec<PackName> = new.copied().collect();
        let healed = std::mem::take(&mut self.healed);
        if packs.is_empty() && healed.is_empty() {
            return;
        }
        let (damaged_count, healed_count) = (packs.len() as u64, healed.len() as u64);
        match record_damage(self.repo, self.who, packs, healed) {
            Ok(()) => {
                self.recorded.damaged += damaged_count;
                self.recorded.healed += healed_count;
            }
            Err(error) => self.recorded.problem = Some(error.chain()),
        }
    }

    fn record_sound(&mut self) {
        self.bytes = 0;
        let packs = std::mem::take(&mut self.sound);
        if packs.is_empty() || self.recorded.problem.is_some() {
            return;
        }
        let count = packs.len() as u64;
        match append(self.repo, self.who, Payload::Verified { packs, time: self.begun }) {
            Ok(()) => self.recorded.verified += count,
            Err(error) => {
                tracing::warn!(error = %error.chain(), "what was verified cannot be recorded; reading on");
                self.recorded.problem = Some(error.chain());
            }
        }
    }
}

/// Records that `packs` are damaged and that `healed` are not any more; those no longer in force are of no interest.
///
/// # Errors
/// What appending yields.
pub(crate) fn record_damage(
    repo: &Repository,
    who: &Recording,
    packs: impl IntoIterator<Item = PackName>,
    healed: Vec<PackName>,
) -> Result<()> {
    let packs: BTreeSet<PackName> = packs.into_iter().collect();
    append(repo, who, Payload::Damaged { packs: packs.into_iter().collect(), healed })
}

/// What was seen of a pack's bytes stays true whatever else was recorded: such a record always stands.
fn append(repo: &Repository, who: &Recording, payload: Payload) -> Result<()> {
    let stamp = repo.stamp(&who.host, &who.username);
    let record = NewRecord { payload, added: Vec::new(), reclaimed: Vec::new(), stamp };
    match repo.append(record, &mut |_: &State| Ok(Verdict::Stands))? {
        Appended::At(_) | Appended::Void => Ok(()),
    }
}
