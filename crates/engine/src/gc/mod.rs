//! Freeing space: what no live snapshot needs goes.
//!
//! ```text
//! mark (trees of live snapshots → one bit per index entry) → tally (needed bytes per pack) → choose
//!     → condemn → repack (copy, `Add`) → reclaim (one record, validated at its slot) → delete → compact the index
//! ```
//! *Invariant*: nothing is deleted that a `Reclaim` did not take out of force, and a `Reclaim` leaves every chunk of every
//! live snapshot a place. It holds beside any number of writers and other prunes, without locks and clocks: see
//! [`crate::rules`]. Stopped or killed anywhere, a prune loses nothing; the next one, by anyone, goes on from there.
//!
//! Memory: two bits and 12 bytes of segment table for each index entry and segment (100 million chunks in 6 million
//! segments: 100 MiB), the fences of the local index (0.25 bytes an entry), 110 bytes a pack; trees are walked a node at a
//! time, and nodes shared by snapshots are read once.
//!
//! | module | holds |
//! |---|---|
//! | [`reach`] | what a tree needs |
//! | [`mark`] | what live snapshots need, one bit for each entry of the index |
//! | [`tally`] | how much of each pack that is |
//! | [`choose`] | which packs go, which are copied |
//! | [`leftovers`] | objects in the store that are not in force |
//! | [`execute`] | the plan, carried out |
//! | [`repack`] | copying what is needed of packs that go |
//! | [`prove`] | the copy that stays is read before the other one goes |
//! | [`reclaim`] | the `Reclaim` record and what follows from it |
//! | [`compact`] | merging index segments |
//! | [`mod@unique`], [`mod@freed`] | what would be freed |
//!
//! *Deliberately absent*: any cached index. A wrong entry in a cache costs everyone else a duplicate or an error; here it
//! would cost data, so the index is loaded from the repository.

mod choose;
mod compact;
mod execute;
mod freed;
mod leftovers;
mod mark;
mod prove;
mod reach;
mod reclaim;
mod repack;
mod tally;
mod unique;

pub use choose::MaxUnused;
pub use execute::PruneReport;
pub use freed::freed;
pub use unique::{UniqueSize, unique};

use crate::index::bitmap::Bitmap;
use crate::repository::{Owners, Repository};
use choose::Policy;
use decube_backup_core::monitor::Monitor;
use decube_backup_core::sink::Support;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::header::Access;
use decube_backup_format::ids::PackName;
use leftovers::Leftovers;
use mark::Marks;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tally::PackUse;

/// Age at which an object that no record names is taken for the leftover of a crash.
pub const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// Choices of one prune.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// Bytes nobody needs that may stay.
    pub max_unused: MaxUnused,
    /// Stored bytes copied at most; `None` for any number.
    pub repack_bytes_max: Option<u64>,
    /// How long packs stay condemned before they are reclaimed: politeness to running backups, nothing more.
    pub grace: Duration,
    /// How long ago an object that no record names must have been stored to be taken for a leftover.
    pub orphan_age: Duration,
    /// Host recorded.
    pub host: String,
    /// User recorded.
    pub username: String,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            max_unused: MaxUnused::default(),
            repack_bytes_max: None,
            grace: Duration::ZERO,
            orphan_age: ORPHAN_AGE,
            host: String::new(),
            username: String::new(),
        }
    }
}

/// A number of objects and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Amount {
    /// Objects.
    pub count: u64,
    /// Their bytes in the store.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn of<'a>(packs: impl IntoIterator<Item = &'a PackUse>) -> Self {
        let mut amount = Self::default();
        packs.into_iter().for_each(|pack| amount.add(u64::from(pack.len)));
        amount
    }
}

/// Requests a plan costs when it is carried out; the fewest, if nobody interferes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Requests {
    /// Reads.
    pub gets: u64,
    /// Writes.
    pub puts: u64,
    /// Deletes.
    pub deletes: u64,
}

/// An amount of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Chunks, tree nodes included.
    pub chunks: u64,
    /// Bytes before compression.
    pub bytes_raw: u64,
    /// Bytes in packs: each chunk's share of its segment.
    pub bytes_stored: u64,
}

/// What a prune would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct PruneSummary {
    /// Live snapshots, all of whose content stays.
    pub snapshots: u64,
    /// Packs that stay as they are.
    pub packs_kept: Amount,
    /// Stored bytes in them that nobody needs.
    pub bytes_unused_kept: u64,
    /// Packs of which nothing is needed.
    pub packs_dead: Amount,
    /// Packs of which little is needed: that is copied to new ones.
    pub packs_sparse: Amount,
    /// Small packs copied together.
    pub packs_small: Amount,
    /// Stored bytes copied.
    pub bytes_copied: u64,
    /// Packs that no index segment knows: left alone.
    pub packs_unknown: Amount,
    /// Packs that go, but not before they were condemned long enough.
    pub packs_waiting: Amount,
    /// Leftovers of crashed uploads.
    pub orphans: Amount,
    /// Objects that no record names yet and that are too young to be leftovers.
    pub orphans_young: u64,
    /// Objects that an earlier prune took out of force and did not come to delete.
    pub unfinished: Amount,
    /// Superseded checkpoints.
    pub checkpoints: Amount,
    /// Index segments that are merged into few.
    pub indexes_merged: u64,
    /// Parity of packs that go.
    pub parity: Amount,
    /// Bytes the store gets back, about.
    pub bytes_freed: u64,
    /// What that costs.
    pub requests: Requests,
}

impl PruneSummary {
    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.requests == Requests::default()
    }
}

/// What a prune is going to do; nothing is written before [`PrunePlan::run`].
pub struct PrunePlan<'a> {
    repo: &'a Repository,
    options: PruneOptions,
    marks: Marks,
    kept: Bitmap,
    summary: PruneSummary,
    /// To be copied, in this order.
    sources: Vec<PackName>,
    /// To be reclaimed, sources included.
    going: BTreeSet<PackName>,
    leftovers: Leftovers,
    /// To be condemned. None is ever released: prune does not know why others condemned a pack.
    condemn: Vec<PackName>,
    lens: BTreeMap<PackName, u32>,
    /// Packs that stay, and their entries, after what is copied was copied.
    staying: (u64, u64),
}

/// Looks at what live snapshots need and plans what goes. Writes nothing; reads the index and trees, no content.
///
/// # Errors
/// `Corrupt` or what the store yields if a live snapshot cannot be read completely; `Interrupted`.
pub fn plan<'a>(repo: &'a Repository, options: &PruneOptions, monitor: &dyn Monitor) -> Result<PrunePlan<'a>> {
    repo.check_reader(Access::Gc)?;
    repo.check_writable()?;
    // What a lost record named would be taken for leftovers.
    repo.check_log_ends()?;
    let checkpoints = leftovers::superseded(repo)?;
    let (index, state) = reclaim::view(repo, Repository::index_anew)?;
    let mut marks = Marks::new(index, state.clone());
    marks.add_live(repo, monitor, &|_| false)?;
    let leftovers = Leftovers { checkpoints, ..leftovers::look(repo, &state, options.orphan_age)? };
    let tally = tally::tally(&marks, &leftovers.odd)?;
    let policy = Policy {
        max_unused: options.max_unused,
        repack_bytes_max: options.repack_bytes_max,
        data_pack_bytes: repo.header.pack_data_bytes,
        meta_pack_bytes: repo.header.pack_meta_bytes,
    };
    let mut choice = choose::choose(&tally.packs, &policy);
    keep_apart(&state, &tally.packs, &mut choice);
    let at =
        |places: &[usize]| -> Vec<PackUse> { places.iter().filter_map(|at| tally.packs.get(*at).copied()).collect() };
    let (dead, unknown) = (at(&choice.dead), at(&choice.unknown));
    let (sparse, small) = (at(&choice.sparse), at(&choice.small));
    let mut plan = PrunePlan {
        repo,
        options: options.clone(),
        kept: tally.kept,
        summary: PruneSummary::default(),
        sources: sparse.iter().chain(&small).map(|pack| pack.name).collect(),
        going: dead.iter().chain(&sparse).chain(&small).map(|pack| pack.name).collect(),
        leftovers,
        condemn: Vec::new(),
        staying: (0, 0),
        lens: tally.packs.iter().map(|pack| (pack.name, pack.len)).collect(),
        marks,
    };
    // Content and trees apart, each in the order of their names: a plan is the same each time.
    plan.sources.sort();
    let waits = plan.waiting()?;
    // Nobody has the time to rely on packs that go at once.
    if !options.grace.is_zero() || !plan.sources.is_empty() {
        plan.condemn = plan.going.iter().filter(|name| state.may_reuse(name)).copied().collect();
    }

    let stays = |pack: &&PackUse| pack.stored > 0 && !plan.going.contains(&pack.name);
    let goes_now = |pack: &&PackUse| !waits.contains(&pack.name);
    let copied = sparse.iter().chain(&small).map(|pack| pack.needed).sum();
    let mut summary = PruneSummary {
        snapshots: state.live_snapshots().count() as u64,
        packs_kept: Amount::of(tally.packs.iter().filter(stays)),
        bytes_unused_kept: tally.packs.iter().filter(stays).map(PackUse::unused).sum(),
        packs_dead: Amount::of(dead.iter().filter(goes_now)),
        packs_sparse: Amount::of(&sparse),
        packs_small: Amount::of(&small),
        bytes_copied: copied,
        packs_unknown: Amount::of(&unknown),
        packs_waiting: Amount::of(tally.packs.iter().filter(|pack| waits.contains(&pack.name))),
        orphans_young: plan.leftovers.young,
        ..PruneSummary::default()
    };
    plan.leftovers.orphans.iter().for_each(|(_, len)| summary.orphans.add(*len));
    plan.leftovers.deletable.iter().for_each(|(_, len)| summary.unfinished.add(*len));
    plan.leftovers.checkpoints.iter().for_each(|(_, len)| summary.checkpoints.add(*len));
    let copied_from = Amount::of(sparse.iter().chain(&small).filter(goes_now));
    let parity = plan.going.iter().filter(|pack| !waits.contains(pack)).filter_map(|pack| state.parity(pack));
    parity.for_each(|(_, info)| summary.parity.add(u64::from(info.len)));
    let gone =
        [summary.packs_dead, copied_from, summary.parity, summary.orphans, summary.unfinished, summary.checkpoints];
    summary.bytes_freed = gone.iter().map(|amount| amount.bytes).sum::<u64>().saturating_sub(copied);
    summary.requests = plan.requests(&sparse, &small, gone.iter().map(|amount| amount.count).sum(), &policy);
    plan.going.retain(|name| !waits.contains(name));
    let entries = |pack: &PackUse| if plan.going.contains(&pack.name) { pack.chunks_needed } else { pack.chunks };
    plan.staying = (
        tally.packs.iter().filter(|pack| !plan.going.contains(&pack.name)).count() as u64,
        tally.packs.iter().map(|pack| u64::from(entries(pack))).sum(),
    );
    summary.indexes_merged = compact::due(&state, plan.staying.0, plan.staying.1).len() as u64;
    if summary.indexes_merged > 0 {
        summary.requests.gets += summary.indexes_merged;
        summary.requests.deletes += summary.indexes_merged;
        summary.requests.puts += 2;
    }
    plan.summary = summary;
    Ok(plan)
}

/// Takes small packs out of `choice` that would stay small: those of a host are put together with others of it only.
fn keep_apart(state: &State, packs: &[PackUse], choice: &mut choose::Choice) {
    let owners = Owners::of(state);
    let class = |at: usize| packs.get(at).map(|pack| (pack.name.kind, owners.owner(&pack.name.id.0)));
    let mut counts = BTreeMap::new();
    for at in &choice.small {
        *counts.entry(class(*at)).or_insert(0) += 1;
    }
    choice.small.retain(|at| counts.get(&class(*at)).is_some_and(|count| *count >= choose::SMALL_PACKS_MIN));
}

impl PrunePlan<'_> {
    /// What it would do.
    pub fn summary(&self) -> &PruneSummary {
        &self.summary
    }

    /// The packs that go and were not condemned long enough.
    fn waiting(&self) -> Result<BTreeSet<PackName>> {
        if self.options.grace.is_zero() {
            return Ok(BTreeSet::new());
        }
        let now = self.repo.env.clock.now().seconds;
        let grace = i64::try_from(self.options.grace.as_secs()).unwrap_or(i64::MAX);
        let mut times: BTreeMap<u64, Option<i64>> = BTreeMap::new();
        let mut waits = self.going.clone();
        for (name, seq) in self.marks.state.condemned_packs() {
            let time = match times.get(&seq) {
                Some(time) => *time,
                None => *times.entry(seq).or_insert(self.repo.recorded_at(seq)?.map(|time| time.seconds)),
            };
            if time.is_some_and(|time| now.saturating_sub(time) >= grace) {
                waits.remove(name);
            }
        }
        Ok(waits)
    }

    fn requests(&self, sparse: &[PackUse], small: &[PackUse], deletes: u64, policy: &Policy) -> Requests {
        let mut requests = Requests { deletes, ..Requests::default() };
        let mut copied = BTreeMap::new();
        let fetch_bytes = repack::fetch_bytes_max(self.repo.store.capabilities().distance);
        for pack in sparse.iter().chain(small) {
            // Header, table of contents, content.
            requests.gets += 2 + u64::from(pack.len).div_ceil(u64::from(fetch_bytes));
            *copied.entry(pack.name.kind).or_default() += pack.needed;
        }
        for (kind, bytes) in copied {
            requests.puts += u64::div_ceil(bytes, u64::from(policy.pack_bytes(kind)).max(1));
        }
        let records = [
            (!self.condemn.is_empty(), 1),
            // The index segment and the record.
            (!self.sources.is_empty(), 2),
            (!self.going.is_empty() || !self.leftovers.orphans.is_empty(), 1),
        ];
        requests.puts += records.iter().filter(|(is_due, _)| *is_due).map(|(_, puts)| puts).sum::<u64>();
        requests
    }

    fn check_deletable(&self) -> Result<()> {
        if self.repo.store.capabilities().mutable == Support::Yes {
            return Ok(());
        }
        Err(Error::new(ErrorKind::PermissionDenied, "prune", "this storage does not allow deleting")
            .with_hint("nothing was changed; prune with credentials that may delete"))
    }
}
