//! Putting right what can be put right, and saying file by file what cannot.
//!
//! *Invariant*: a repair only adds, and takes out of force what a record replaces in the same breath; nothing is deleted
//! but checkpoints, which follow from the log. What this program cannot parse and cannot prove to be damaged (a newer
//! format, a store that does not answer) is left alone. Every repair is a dry run unless told otherwise, may be stopped
//! anywhere, and run again.
//!
//! Callers open the repository without a cache folder: a repair believes the store alone.
//!
//! | module | puts right |
//! |---|---|
//! | [`index`](mod@index) | index segments, from the packs' own tables of contents |
//! | [`checkpoints`](mod@checkpoints) | stored checkpoints, from the log |
//! | [`packs`](mod@packs) | what is left in damaged packs goes into new ones |
//! | [`parity`](mod@parity) | packs get the parity they lack |
//! | [`snapshots`](mod@snapshots) | a damaged snapshot gets a twin that holds everything readable |

mod checkpoints;
mod index;
mod packs;
mod parity;
mod snapshots;

pub use checkpoints::{CheckpointsReport, checkpoints};
pub use index::{IndexReport, index};
pub use packs::{PacksReport, packs};
pub use parity::{ParityReport, parity};
pub use snapshots::{Damaged, DamagedSnapshot, Outcome, REPAIRED_TAG, SnapshotsOptions, SnapshotsReport, snapshots};

use crate::backup::dedup::Dedup;
use crate::index::LocalIndex;
use crate::options::{Effect, Subset, VerifyDepth};
use crate::pipeline::{AddedPack, ChunkWriter, PackSealer, WriterContext, WriterSettings};
use crate::repository::{Appended, NewRecord, Repository, Verdict};
use crate::verify::Recording;
use decube_backup_core::monitor::Monitor;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::header::Access;
use decube_backup_format::ids::PackName;
use decube_backup_format::log::{AddedObject, ObjectName, Payload};
use hashbrown::HashSet;
use std::sync::Arc;

/// How often a repair looks again because the log changed under it.
const ATTEMPTS_MAX: u32 = 5;

/// How content is looked at before a repair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Packs are there with their lengths; those known or suspected to be damaged are decoded.
    #[default]
    Structure,
    /// All packs are decoded.
    Read,
}

impl Content {
    fn depth(self) -> VerifyDepth {
        match self {
            // No bytes but those of suspects.
            Self::Structure => VerifyDepth::Data(Subset::Bytes(0)),
            Self::Read => VerifyDepth::Data(Subset::All),
        }
    }
}

/// Choices of a repair.
#[derive(Clone, Debug, Default)]
pub struct RepairOptions {
    /// Really write; the default of this type is not the default of the program.
    pub effect: Effect,
    /// How content is looked at.
    pub content: Content,
    /// Who repairs, for the log.
    pub who: Recording,
}

impl RepairOptions {
    /// Refuses to write where nothing may be written.
    fn check(&self, repo: &Repository) -> Result<()> {
        repo.check_reader(Access::Read)?;
        if self.effect == Effect::Real {
            repo.check_reader(Access::Write)?;
            repo.check_writable()?;
        }
        Ok(())
    }

    /// Says of an interruption what is kept.
    fn explained<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| match self.effect {
            Effect::Real => {
                let hint = "what it had recorded by then stays; run the same command again, and it does the rest";
                error.with_hint_if(ErrorKind::Interrupted, hint)
            }
            Effect::DryRun => error,
        })
    }

    fn record(
        &self,
        repo: &Repository,
        payload: Payload,
        added: Vec<AddedObject>,
        reclaimed: Vec<ObjectName>,
    ) -> NewRecord {
        NewRecord { payload, added, reclaimed, stamp: repo.stamp(&self.who.host, &self.who.username) }
    }

    /// Appends a record that stands whatever was recorded meanwhile.
    fn append(&self, repo: &Repository, payload: Payload) -> Result<()> {
        match repo.append(self.record(repo, payload, Vec::new(), Vec::new()), &mut |_| Ok(Verdict::Stands))? {
            Appended::At(_) | Appended::Void => Ok(()),
        }
    }
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Contended, "repair", "others changed the repository while it was being repaired")
        .with_hint("nothing is lost; run the same command again")
}

/// Whether a repair leaves content to `pack`: it stays, and what is said to be in it somebody said who can read it. What a
/// host with a write-only key says it stored need not be there; at worst it is stored twice.
fn may_rely(state: &State, pack: &PackName) -> bool {
    state.may_reuse(pack) && !state.is_hosted(pack)
}

/// Runs `work` with a writer of new packs; returns what it yields, the packs it made, and those relied on.
///
/// Nothing is relied on that lies in `bad` packs, in those the log says to avoid, or in those of hosts.
fn with_writer<T>(
    repo: &Repository,
    index: &Arc<LocalIndex>,
    bad: &(dyn Fn(&PackName) -> bool + Sync),
    monitor: &dyn Monitor,
    work: impl FnOnce(&mut Dedup<'_>) -> Result<T>,
) -> Result<(T, Vec<AddedPack>, HashSet<PackName>)> {
    let sealer = PackSealer::Keyring { keyring: repo.keyring()?, given: None };
    let context = WriterContext {
        store: &repo.store,
        sealer: &sealer,
        entropy: repo.env.entropy.as_ref(),
        repository: repo.id(),
        monitor,
        kept: None,
    };
    let state = repo.state();
    let excluded = |pack: &PackName| !may_rely(&state, pack) || bad(pack);
    std::thread::scope(|scope| {
        let writer = ChunkWriter::start(
            scope,
            context,
            WriterSettings::new(&repo.header, repo.store.capabilities().distance, &repo.env, None),
        );
        let load = Box::new(|| Ok(index.clone()));
        let mut dedup = Dedup::new(writer, load, &excluded, &|_| false, None, u64::MAX);
        let made = work(&mut dedup)?;
        let (added, deps) = dedup.finish()?;
        Ok((made, added, deps))
    })
}
