//! Random histories of one repository, against a model as naive as can be: which snapshots there are, and what is in them.
//!
//! Several clients with caches and handles of their own back up, forget, undelete, prune and rotate keys; any call to the store may
//! fail before or after its effect, once or for good (then the process is gone and another one comes); clocks jump by
//! years. After each step every live snapshot is read back whole by somebody who knows nothing.

mod client;
mod commands;
#[path = "../common/mod.rs"]
mod common;

use client::Client;
use commands::{forget, prune, undelete};
use common::effort;
use common::made_up::{Behaviour, MadeUp, MadeUpFile};
use common::{Harness, noise, path, series, small_packs};
use decube_backup_core::Result;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::options::{BackupOptions, Snapshot, SnapshotFilter};
use decube_backup_engine::{Repository, backup, browse, dump, keys};
use decube_backup_format::ids::SnapshotId;
use decube_backup_testkit::{Fault, When};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Histories in continuous integration; about ten steps each.
const CASES: u32 = 400;
const CLIENTS: usize = 3;
const YEAR: i64 = 365 * 24 * 3600;

/// Name → (seed, length) of the content.
type Files = BTreeMap<String, (u64, u64)>;

/// What a client may be asked to do. A new command of the program is one more arm here and in [`World::act`].
#[derive(Clone, Debug)]
enum Op {
    /// A few files change, then their series is backed up.
    Backup {
        series: usize,
        edits: Vec<(u8, u64, u64)>,
    },
    Forget(prop::sample::Index),
    Undelete(prop::sample::Index),
    /// Space no live snapshot needs is freed.
    Prune,
    /// New packs get new keys.
    Rotate,
    /// The client's cache is lost.
    LoseCache,
    /// The client's clock jumps by that many years.
    Jump(i64),
}

/// What goes wrong meanwhile: the n-th call to the store fails, and all later ones if the process dies of it.
#[derive(Clone, Copy, Debug)]
struct Mishap {
    call: u64,
    when: When,
    fatal: bool,
}

#[derive(Clone, Debug)]
struct Step {
    client: usize,
    op: Op,
    mishap: Option<Mishap>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edit = (0..6u8, 0..5u64, prop_oneof![Just(0u64), 1..200u64, 300..4000u64, Just(70_000)]);
    let op = prop_oneof![
        6 => (0..2usize, prop::collection::vec(edit, 0..4)).prop_map(|(series, edits)| Op::Backup { series, edits }),
        3 => any::<prop::sample::Index>().prop_map(Op::Forget),
        2 => any::<prop::sample::Index>().prop_map(Op::Undelete),
        3 => Just(Op::Prune),
        1 => Just(Op::Rotate),
        1 => Just(Op::LoseCache),
        1 => (-20..20i64).prop_map(Op::Jump),
    ];
    let when = prop_oneof![Just(When::BeforeEffect), Just(When::AfterEffect)];
    let mishap = (0..24u64, when, any::<bool>()).prop_map(|(call, when, fatal)| Mishap { call, when, fatal });
    let step = (0..CLIENTS, op, prop::option::weighted(0.4, mishap));
    prop::collection::vec(step.prop_map(|(client, op, mishap)| Step { client, op, mishap }), 4..14)
}

struct World {
    store: Harness,
    clients: Vec<Client>,
    sources: [Files; 2],
    live: BTreeMap<SnapshotId, Files>,
    forgotten: BTreeMap<SnapshotId, Files>,
    seen: Seen,
}

impl World {
    fn new() -> Self {
        let store = Harness::with_repository(&small_packs());
        let clients = (0..CLIENTS).map(|_| Client::new(&store)).collect();
        let sources = [Files::from([("first".into(), (1, 900))]), Files::new()];
        Self { store, clients, sources, live: BTreeMap::new(), forgotten: BTreeMap::new(), seen: Seen::default() }
    }

    fn step(&mut self, step: &Step) {
        let client = &self.clients[step.client];
        let fault = step.mishap.map(|m| {
            let fault = Fault::at(client.faulty.calls() + m.call, m.when);
            if m.fatal { fault.onwards() } else { fault }
        });
        client.faulty.set_fault(fault);
        let outcome = self.act(step);
        self.seen.steps += 1;
        self.seen.failed += u64::from(outcome.is_err());
        let client = &mut self.clients[step.client];
        client.faulty.set_fault(None);
        if outcome.is_err() && step.mishap.is_some_and(|m| m.fatal) {
            client.handle = None;
        }
        assert!(outcome.is_ok() || step.mishap.is_some(), "nothing went wrong, and yet: {outcome:?}");
        self.check();
    }

    /// Does what is asked. On an error the step may have had its effect or not; what the log says counts.
    fn act(&mut self, step: &Step) -> Result<()> {
        let client = &mut self.clients[step.client];
        match &step.op {
            Op::Backup { series: which, edits } => {
                let files = &mut self.sources[*which];
                for (name, seed, len) in edits {
                    files.insert(format!("f{name}"), (*seed, *len));
                }
                let (source, files) = (source(files), files.clone());
                let options = BackupOptions { progress_bytes: Some(40_000), ..series(&format!("series {which}")) };
                let made = client
                    .repository()
                    .and_then(|repo| backup::backup(repo, &source, &options, &Silent))
                    .map(|report| report.snapshot.expect("a snapshot"));
                let appeared: Vec<_> = self.listed().into_iter().filter(|id| !self.is_known(id)).collect();
                assert!(appeared.len() <= 1, "two snapshots of one backup");
                assert!(made.is_err() || appeared == made.iter().copied().collect::<Vec<_>>(), "{made:?}");
                self.seen.backups += appeared.len() as u64;
                self.live.extend(appeared.into_iter().map(|id| (id, files.clone())));
                made.map(drop)
            }
            Op::Forget(which) => {
                let Some(id) = nth(&self.live, which) else { return Ok(()) };
                let done = client.repository().and_then(|repo| forget(repo, id));
                let hidden = !self.listed().contains(&id);
                assert!(hidden || done.is_err(), "forgotten, and still there");
                if hidden {
                    let files = self.live.remove(&id).expect("it was live");
                    self.forgotten.insert(id, files);
                }
                done
            }
            Op::Undelete(which) => {
                let Some(id) = nth(&self.forgotten, which) else { return Ok(()) };
                let done = client.repository().and_then(|repo| undelete(repo, id));
                let shown = self.listed().contains(&id);
                assert!(done.is_err() || done.as_ref().is_ok_and(|undeleted| *undeleted == shown), "{done:?}");
                self.seen.refused += u64::from(!shown && done.is_ok());
                if shown {
                    self.seen.undeleted += 1;
                    let files = self.forgotten.remove(&id).expect("it was forgotten");
                    self.live.insert(id, files);
                }
                done.map(drop)
            }
            Op::Prune => {
                self.seen.reclaimed += client.repository().and_then(prune)?;
                Ok(())
            }
            Op::Rotate => client.repository().and_then(keys::rotate).map(drop),
            Op::LoseCache => {
                client.handle = None;
                client.harness = client.harness.somebody_else();
                Ok(())
            }
            Op::Jump(years) => {
                client.clock.fetch_add(years * YEAR, Ordering::SeqCst);
                Ok(())
            }
        }
    }

    fn is_known(&self, id: &SnapshotId) -> bool {
        self.live.contains_key(id) || self.forgotten.contains_key(id)
    }

    /// Live snapshots as somebody sees them who comes for the first time.
    fn listed(&self) -> BTreeSet<SnapshotId> {
        let repo = newcomer(&self.store).repository();
        repo.snapshots(&SnapshotFilter::default()).into_iter().map(|s| s.id).collect()
    }

    fn check(&self) {
        let repo = newcomer(&self.store).repository();
        let listed = repo.snapshots(&SnapshotFilter::default());
        assert!(listed.iter().map(|s| &s.id).eq(in_log_order(&listed, &self.live)), "{listed:?}");
        for snapshot in &listed {
            read_whole(&repo, snapshot, &self.live[&snapshot.id]).expect("every live snapshot can be read");
        }
    }
}

/// The model's snapshots as the list has them, and any it lacks.
fn in_log_order<'a>(
    listed: &'a [Snapshot],
    live: &'a BTreeMap<SnapshotId, Files>,
) -> impl Iterator<Item = &'a SnapshotId> {
    let there = |id: &SnapshotId| listed.iter().any(|s| s.id == *id);
    listed.iter().map(|s| &s.id).filter(|id| live.contains_key(id)).chain(live.keys().filter(move |id| !there(id)))
}

fn newcomer(store: &Harness) -> Harness {
    Harness { cache: None, ..store.through(store.memory.clone()) }
}

fn nth(snapshots: &BTreeMap<SnapshotId, Files>, which: &prop::sample::Index) -> Option<SnapshotId> {
    (!snapshots.is_empty()).then(|| snapshots.keys().nth(which.index(snapshots.len())).copied()).flatten()
}

fn content_seed((seed, len): (u64, u64)) -> u64 {
    // Another length is another change time, as on a real file system.
    seed + (len << 8)
}

fn source(files: &Files) -> MadeUp {
    let file = |(name, content): (&String, &(u64, u64))| MadeUpFile {
        path: path(name),
        seed: content_seed(*content),
        len: content.1,
        behaviour: Behaviour::Fine,
    };
    MadeUp::new(files.iter().map(file).collect())
}

/// Reads every file and compares it byte for byte; nothing else may be there.
fn read_whole(repo: &Repository, snapshot: &Snapshot, files: &Files) -> Result<()> {
    let mut names = Vec::new();
    browse::list(
        repo,
        snapshot,
        &decube_backup_core::entry::EntryPath::root(),
        browse::Depth::Recursive,
        &mut |entry| {
            names.push(entry.entry.path.to_string());
            Ok(())
        },
    )?;
    assert!(names.iter().filter(|name| name.starts_with('f')).eq(files.keys()), "{names:?}");
    for (name, content) in files {
        let mut bytes = Vec::new();
        dump::dump_file(repo, snapshot, &path(name), &mut bytes)?;
        assert!(bytes == noise(content_seed(*content), content.1 as usize), "{name} of {}", snapshot.id);
    }
    Ok(())
}

/// How often what the histories are about came about.
#[derive(Debug, Default)]
struct Seen {
    steps: u64,
    backups: u64,
    failed: u64,
    undeleted: u64,
    refused: u64,
    reclaimed: u64,
}

#[test]
fn whatever_happens_every_live_snapshot_is_what_was_backed_up() {
    let cases = effort::times(CASES);
    let seed = effort::seed();
    println!("{cases} histories, seed {seed:#x}: DECUBE_BACKUP_SEED={seed:#x} repeats them");
    let config =
        ProptestConfig { cases, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() };
    let bytes: Vec<u8> = seed.to_le_bytes().repeat(4);
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let seen = RefCell::new(Seen::default());
    let outcome = runner.run(&steps(), |steps| {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        // Whatever went wrong, the next backup works, and nothing is damaged.
        for series in 0..world.sources.len() {
            world.step(&Step { client: 0, op: Op::Backup { series, edits: vec![(0, 9, 500)] }, mishap: None });
        }
        newcomer(&world.store).assert_sound("after a history");
        seen.borrow_mut().add(&world.seen);
        Ok(())
    });
    let seen = seen.into_inner();
    println!("{seen:?}");
    if let Err(error) = outcome {
        panic!("seed {seed:#x}: {error}");
    }
    let Seen { backups, failed, undeleted, refused, reclaimed, .. } = seen;
    assert!([backups, failed, undeleted, refused, reclaimed].iter().all(|n| *n > 0), "too tame: {seen:?}");
}

impl Seen {
    fn add(&mut self, more: &Seen) {
        self.steps += more.steps;
        self.backups += more.backups;
        self.failed += more.failed;
        self.undeleted += more.undeleted;
        self.refused += more.refused;
        self.reclaimed += more.reclaimed;
    }
}
