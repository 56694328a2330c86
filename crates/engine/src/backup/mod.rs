//! Taking a snapshot.
//!
//! ```text
//! scan → plan (merge with parent tree and stat cache) → readers (read, cut, hash) → builder (known or new, tree)
//!     → pipeline (compress, seal, pack, upload) → commit (index segment, then one log record)
//! ```
//! *Invariant*: the `Commit` record is appended only after everything its tree names is durable and,
//! at the very slot it takes, outside every pack a `Reclaim` took since we looked. A crash anywhere
//! leaves orphans, never a snapshot that cannot be restored.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | change detection |
//! | [`ahead`] | how much there is, for whoever watches |
//! | [`emptied`] | roots in which nothing is any more |
//! | [`heal`] | unchanged files whose stored content is damaged |
//! | [`read`] | the reader pool |
//! | [`stream`] | large files: read and cut in order, hashed by whoever is idle |
//! | [`build`] | the builder thread |
//! | [`dedup`] | known or new |
//! | [`commit`] | index segment, log record, re-validation |
//! | [`stat_cache`] | what was seen of each file last time |
//! | [`host`] | by a write-only key: whose snapshots, under which keys |
//! | [`kept_tree`] | the tree that such a host stored last, in its cache |

mod ahead;
mod build;
mod commit;
pub(crate) mod dedup;
mod dry;
mod emptied;
mod heal;
mod host;
mod kept_tree;
mod plan;
mod read;
pub mod stat_cache;
mod stream;

use crate::odd_packs::odd_packs;
use crate::options::{BackupOptions, BackupReport, ChangeDetection, Effect};
use crate::pipeline::{AddedPack, ChunkWriter, Failure, WriterContext, WriterSettings};
use crate::repository::Repository;
use crate::segments::{Absent, KeptPacks, Nodes};
use crate::twins::Twins;
use commit::{Commit, Committed, Run};
use crossbeam_channel::{bounded, unbounded};
use decube_backup_core::monitor::{Monitor, check_stop};
use decube_backup_core::source::{Scan, Source};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{SnapshotEntry, State, Visibility};
use decube_backup_format::header::Access;
use decube_backup_format::ids::{PackKind, PackName, SnapshotId};
use decube_backup_format::tree::{INLINE_BYTES_MAX, ListBuilder, NodeReader, TreeBuilder, TreeCursor, TreeRoot};
use hashbrown::HashSet;
use kept_tree::{Keeper, KeptTree};
use stat_cache::{StatCacheReader, StatCacheWriter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Work items in flight between planner and builder.
const ORDER_DEPTH: usize = 4;
/// How often a backup starts over because packs it relied on were reclaimed meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// What one pass over the source yields, before it is committed.
struct Pass<'a> {
    report: BackupReport,
    root: TreeRoot,
    added: Vec<AddedPack>,
    deps: HashSet<PackName>,
    stat: Option<StatCacheWriter>,
    kept: Option<Keeper<'a>>,
    /// A part of the parent's tree could not be read, of which that was not known before.
    found_damage: bool,
}

/// What a backup is compared with.
struct Before<'a> {
    snapshot: SnapshotId,
    tree: TreeRoot,
    /// Its nodes, if they cannot be read from the repository.
    kept: Option<KeptTree<'a>>,
}

/// What a pass goes by.
struct Basis<'a> {
    before: Option<Before<'a>>,
    /// A part of the repository could not be read: nothing is relied on that was not looked at.
    in_doubt: bool,
}

/// Backs `source` up as a new snapshot.
///
/// # Errors
/// `NotFound` if a required root is missing, `Interrupted` on request, what storing yields; with a write-only key `Invalid`
/// for another host's snapshot, `WrongKey` if the key was removed. No
/// snapshot exists after an error; packs that were full and uploaded are recorded if the store still
/// answers, and the next backup reuses them. Problems with single entries are in the report, not errors.
pub fn backup(
    repo: &Repository,
    source: &dyn Source,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<BackupReport> {
    repo.header.check(Access::Write)?;
    repo.check_writable()?;
    host::check(repo, options)?;
    let begun = repo.env.clock.monotonic();
    let started = options.time.unwrap_or_else(|| repo.env.clock.now());
    let run = Run::new(repo, options.name.clone().unwrap_or_else(|| default_name(source)))?;
    let mut in_doubt = false;
    for attempt in 0..ATTEMPTS_MAX {
        repo.refresh()?;
        // Parent and count from one state: nothing reclaimed in between may go unnoticed.
        let state = repo.state();
        let before = match repo.host() {
            Some(host) => host::before(repo, host, options, &run.name),
            None => match choose_parent(&state, options, &run.name) {
                // It was there when the backup began. Forgotten since, it costs reading everything, and no more.
                Err(error) if attempt > 0 && error.kind() == ErrorKind::NotFound => None,
                chosen => chosen?.map(|p| Before { snapshot: p.id, tree: p.manifest.tree, kept: None }),
            },
        };
        let reclaimed = state.reclaimed_packs().len();
        drop(state);
        let (bytes, entries) = (before.as_ref().map(|b| b.tree.bytes), before.as_ref().map(|b| b.tree.entries));
        monitor.phase("backup", bytes, entries);
        let mut scan = source.scan()?;
        let parent = before.as_ref().map(|before| before.snapshot);
        let basis = Basis { before, in_doubt };
        let mut pass = run_pass(repo, &run, source, scan.as_mut(), options, &basis, monitor)?;
        pass.report.name = run.name.clone();
        pass.report.parent = parent;
        if options.effect == Effect::DryRun {
            (pass.report.packs_new, pass.report.bytes_stored) = (run.stored().packs, run.stored().bytes);
            pass.report.seconds = (repo.env.clock.monotonic() - begun).as_secs_f64();
            return Ok(pass.report);
        }
        // Nothing of a stream is taken over, and the little there is of its parent's tree is read before it.
        if pass.found_damage && !source.is_read_once() {
            // What lies before it was taken over unlooked at.
            tracing::warn!("as part of the parent snapshot cannot be read, all of it is checked");
            commit::record_progress(repo, &run, pass.added)?;
            in_doubt = true;
            continue;
        }
        // A host looked up all that it relies on, pack by pack.
        let relied_on = parent.filter(|_| repo.host().is_none());
        let commit = Commit { repo, run: &run, source, options, started, parent, relied_on, reclaimed };
        match commit.run(pass)? {
            Committed::Done(mut report) => {
                report.seconds = (repo.env.clock.monotonic() - begun).as_secs_f64();
                return Ok(*report);
            }
            Committed::Void => {
                tracing::info!("packs this backup relied on were reclaimed meanwhile; checking everything again")
            }
        }
    }
    Err(Error::new(ErrorKind::Contended, "backup", "space was reclaimed again and again while this backup ran")
        .with_hint("nothing is lost; run the backup again when no prune is running"))
}

/// Series name of a backup without one: the covered paths.
fn default_name(source: &dyn Source) -> String {
    let mut name = source.describe().paths.join(",");
    while name.len() > 200 {
        name.pop();
    }
    if name.is_empty() { "backup".into() } else { name }
}

/// Only a live snapshot: the content of a forgotten one may be gone.
fn choose_parent(state: &State, options: &BackupOptions, name: &str) -> Result<Option<SnapshotEntry>> {
    if let Some(id) = &options.parent {
        return match state.snapshot(id).filter(|s| s.visibility == Visibility::Live) {
            Some(entry) => Ok(Some(entry.clone())),
            None => {
                Err(Error::new(ErrorKind::NotFound, "backup", "the parent snapshot does not exist")
                    .with("snapshot", id))
            }
        };
    }
    let twins = Twins::of(state);
    let of_series = state.live_snapshots().filter(|s| s.manifest.name == name && s.manifest.host == options.host);
    // Of the newest and its twins, one that holds nothing known to be damaged: what it lacks is read again.
    Ok(of_series.max_by_key(|s| twins.place(&s.id, s.seq).by_wholeness()).cloned())
}

fn run_pass<'a>(
    repo: &'a Repository,
    run: &Run,
    source: &dyn Source,
    scan: &mut dyn Scan,
    options: &BackupOptions,
    basis: &Basis<'_>,
    monitor: &dyn Monitor,
) -> Result<Pass<'a>> {
    let (before, in_doubt) = (basis.before.as_ref(), basis.in_doubt);
    let dry = options.effect == Effect::DryRun;
    let store = if dry { dry::discarding(&repo.env) } else { repo.store.clone() };
    let stat_path = repo.cache.stat(&run.name, &options.host);
    let stat = stat_path.as_deref().filter(|_| !dry).and_then(|path| {
        StatCacheWriter::create(path)
            .inspect_err(|e| tracing::warn!(error = %e.chain(), "going on without a stat cache"))
            .ok()
    });
    // Without a stat cache nothing is recognised as unchanged; the parent then only tells new from changed.
    let known = before
        .filter(|_| options.detection == ChangeDetection::StatCache)
        .and_then(|before| StatCacheReader::open(stat_path.as_deref()?, &before.tree.id, before.tree.entries));
    let kept = KeptPacks::of(repo, Absent::Fetch);
    if let Some(kept) = &kept {
        kept.tidy(repo);
    }
    let stored = match before {
        // What the cache has says nothing of what the store has.
        Some(Before { kept: None, .. }) => {
            Some(Nodes::through(repo, kept.clone().filter(|_| !in_doubt))?.remembering())
        }
        _ => None,
    };
    let nodes: Option<&(dyn NodeReader + Sync)> = match before.and_then(|before| before.kept.as_ref()) {
        Some(kept) => Some(kept),
        None => stored.as_ref().map(|nodes| nodes as _),
    };
    let keeper = repo.host().filter(|_| !dry).and_then(|host| {
        let path = repo.cache.tree(&run.name, &options.host)?;
        Some(Keeper::create(repo, host, &path))
    });
    let inline_bytes_max = if repo.host().is_some() { 0 } else { INLINE_BYTES_MAX };
    let (chunker, hasher, arenas) = (&repo.chunker, &repo.hasher, unbounded());
    let readers = read::ReadContext { source, chunker, hasher, inline_bytes_max, monitor, arenas: &arenas };
    let settings = WriterSettings::new(&repo.header, store.capabilities().distance, &repo.env, options.effort);
    let sealer = host::sealer(repo)?;
    let context = WriterContext {
        store: &store,
        sealer: &sealer,
        entropy: repo.env.entropy.as_ref(),
        repository: repo.id(),
        monitor,
        kept: kept.as_ref().filter(|_| !dry),
    };
    // Whoever reads everything again does so because something is doubtful: a pack that is not there is not relied on.
    let odd = match options.detection {
        ChangeDetection::ReadAll if repo.host().is_none() => odd_packs(repo, &repo.state())?,
        _ => HashSet::new(),
    };
    if !odd.is_empty() {
        tracing::warn!(
            packs = odd.len(),
            "packs are missing or short; what they hold is stored again as far as it is in the source"
        );
    }
    // Where one node of the parent cannot be read, its tree is stored again as a whole: it is little.
    let is_doubtful = |pack: &PackName| {
        pack.kind == PackKind::Meta && (in_doubt || stored.as_ref().is_some_and(|nodes| nodes.has_lost()))
    };
    let excluded = |pack: &PackName| match repo.host() {
        Some(host) => !host.may_reuse(&repo.state(), pack),
        // Nobody who can read has looked at what a host wrote.
        None => {
            odd.contains(pack) || is_doubtful(pack) || !repo.state().may_reuse(pack) || repo.state().is_hosted(pack)
        }
    };
    let unsound = |pack: &PackName| match repo.host() {
        Some(_) => excluded(pack),
        None => repo.state().is_reclaimed(pack) || repo.state().is_damaged(pack) || repo.state().is_hosted(pack),
    };
    let healing = in_doubt || repo.state().damaged_packs().len() > 0 || !odd.is_empty();
    // Where packs are damaged, having read a node does not say that it may be relied on.
    let known_nodes =
        |id: &decube_backup_format::ids::ChunkId| !healing && stored.as_ref().is_some_and(|n| n.has_seen(id));
    let looked_up = Mutex::default();
    let health = match nodes {
        Some(nodes) if healing || repo.host().is_some() => Some(heal::Health {
            nodes,
            index: repo.index()?,
            excluded: &unsound,
            heals: healing,
            deps: repo.host().map(|_| &looked_up),
            keeper: keeper.as_ref(),
        }),
        _ => None,
    };
    let failure = Failure::default();
    let read_all = AtomicBool::new(false);

    let mut pass = std::thread::scope(|scope| {
        let writer = ChunkWriter::start(scope, context, settings);
        let (jobs, jobs_out) = bounded(ORDER_DEPTH);
        let (order, order_out) = bounded(ORDER_DEPTH);
        let (hashers, blocks) = bounded(0);
        for _ in 0..repo.env.workers() {
            let (jobs, hashers) = (jobs_out.clone(), hashers.clone());
            scope.spawn(move || readers.run(&jobs, &hashers));
        }
        scope.spawn(move || stream::hash_blocks(&blocks, hasher));
        drop(jobs_out);
        let search = (before.is_none() && monitor.wants_totals())
            .then(|| scope.spawn(|| ahead::count(source, monitor, &repo.env.runtime, &read_all)));
        let old =
            nodes.zip(before).map(|(nodes, before)| plan::Parent::new(TreeCursor::new(nodes, &before.tree), known));
        let unfinished = order.clone();
        let mut planner =
            plan::Planner::new(old, health, jobs, order, monitor, repo.env.clock.as_ref(), &repo.env.runtime);
        planner.emptied = emptied::Emptied::of(repo, source, options, before);
        let planner_failure = failure.clone();
        scope.spawn(move || {
            if let Err(error) = planner.run(scan) {
                planner_failure.set(error);
            }
            // The builder takes the end of the work for the end of the scan: it may see it only now.
            drop(unfinished);
        });
        let checkpoint: Box<dedup::Checkpoint<'_>> = Box::new(|added: Vec<AddedPack>| {
            run.count_packs(&added);
            commit::record_progress(repo, run, added)
        });
        let dedup = dedup::Dedup::new(
            writer,
            Box::new(|| repo.index()),
            &excluded,
            &known_nodes,
            (!dry).then_some(checkpoint),
            options.progress_bytes.unwrap_or(dedup::CHECKPOINT_BYTES),
        )
        .keeping(keeper.as_ref())
        .pacing(repo.env.clock.as_ref());
        let tree = TreeBuilder::new(repo.hasher.clone(), &repo.cut_key);
        let list = ListBuilder::new(repo.hasher.clone(), &repo.cut_key);
        let mut builder = build::Builder::new(dedup, tree, stat, readers, hashers, list);
        let built = builder.run(&order_out);
        drop(order_out);
        read_all.store(true, Ordering::Relaxed);
        // It must not tell totals of the next phase.
        let _ = search.map(std::thread::ScopedJoinHandle::join);
        // Also when asked for after the last entry: much may be waiting to be stored.
        let built = built.and_then(|()| check_stop(monitor));
        let so_far = failure.try_take().map_or(built, Err);
        let build::Built { mut report, root, added, deps, stat, stored } =
            builder.finish(so_far).map_err(|error| run.explain(error))?;
        run.count(stored);
        report.chunks_new = run.stored().chunks;
        report.bytes_new += run.stored().chunk_bytes;
        run.count_packs(&added);
        Ok(Pass { report, root, added, deps, stat, kept: None, found_damage: false })
    })?;
    pass.deps.extend(looked_up.into_inner().unwrap_or_else(PoisonError::into_inner));
    pass.kept = keeper;
    pass.found_damage = !in_doubt && stored.is_some_and(|nodes| nodes.has_lost());
    Ok(pass)
}
