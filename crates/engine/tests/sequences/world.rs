//! One repository, its clients, and what is checked after each step.

use crate::client::Client;
use crate::commands;
use crate::common::damage::{self, Damage};
use crate::common::{ALL_DATA, Harness, key_file, records, series, small_packs};
use crate::history::{Age, CLIENTS, Kind, Op, SERIES, Step};
use crate::model::{Files, Model, Read, names, source};
use crate::seen::Seen;
use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, Key, Result};
use decube_backup_engine::options::{BackupOptions, Snapshot, SnapshotFilter, VerifyDepth};
use decube_backup_engine::repair::{self, SnapshotsOptions};
use decube_backup_engine::{Repository, backup, keys};
use decube_backup_format::ids::{SnapshotId, index_key, pack_key};
use decube_backup_format::log::Payload;
use decube_backup_testkit::Fault;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

const YEAR: i64 = 365 * 24 * 3600;
/// Records of an old log after the first: the next one is followed by a checkpoint.
const OLD_RECORDS: usize = 30;

type Objects = BTreeMap<Key, bytes::Bytes>;

/// What histories begin with, made once.
pub struct Stage {
    harness: Harness,
    new: Objects,
    old: Objects,
}

impl Stage {
    pub fn new() -> Self {
        let harness = Harness::with_repository(&small_packs());
        let new = harness.memory.objects();
        let repo = harness.repository();
        (0..OLD_RECORDS).for_each(|n| records::append(&repo, Payload::Note { text: n.to_string() }, Vec::new()));
        let old = harness.memory.objects();
        Self { harness, new, old }
    }
}

pub struct World {
    store: Harness,
    clients: Vec<Client>,
    sources: [Files; SERIES],
    model: Model,
    /// Objects that went bad, as far as they still matter.
    hurt: BTreeMap<Key, Hurt>,
    /// Whether some bad pack in force is not known to be bad: then a backup may rely on it.
    unknown: bool,
    keys_added: u64,
    pub seen: Seen,
}

/// An object that went bad.
#[derive(Debug)]
struct Hurt {
    kind: Kind,
    /// What was left of it.
    left: Option<bytes::Bytes>,
}

/// What a step says it did.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Done,
    Snapshot(SnapshotId),
    /// Whether it was shown again.
    Undeleted(bool),
    Found(Vec<String>),
}

impl World {
    pub fn new(stage: &Stage, age: Age) -> Self {
        let objects = if age == Age::Old { &stage.old } else { &stage.new };
        let store = stage.harness.on_image(objects.clone());
        let clients = (0..CLIENTS).map(|_| Client::new(&store)).collect();
        let sources = [Files::from([("f".into(), (1, 900))]), Files::new()];
        let (model, hurt, seen) = (Model::default(), BTreeMap::new(), Seen::default());
        Self { store, clients, sources, model, hurt, unknown: false, keys_added: 0, seen }
    }

    pub fn step(&mut self, step: &Step) {
        let client = &self.clients[step.client];
        let fault = step.mishap.map(|m| {
            let fault = Fault::at(client.faulty.calls() + m.call, m.when);
            if m.fatal { fault.onwards() } else { fault }
        });
        client.faulty.set_fault(fault);
        let mut target = None;
        let mut outcome = self.act(step, &mut target);
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::WrongKey) {
            // Keys were replaced under the handle: "run the command again".
            let client = &mut self.clients[step.client];
            assert!(self.seen.revoked > 0, "{outcome:?}");
            client.handle = None;
            outcome = self.act(step, &mut target);
        }
        let client = &mut self.clients[step.client];
        client.faulty.set_fault(None);
        if outcome.is_err() && step.mishap.is_some_and(|m| m.fatal) {
            client.handle = None;
        }
        let may_fail = step.mishap.is_some() || self.may_refuse(step, &outcome);
        assert!(outcome.is_ok() || may_fail, "nothing went wrong, and yet {:?}: {outcome:?}", step.op);
        let repo = newcomer(&self.store).repository();
        self.settle(step, target, &outcome, &repo);
        self.check(&repo);
        self.seen.steps += 1;
        self.seen.failed += u64::from(outcome.is_err());
    }

    /// A prune goes by the index alone, and refuses one that is damaged: it says so and is repeated after a repair.
    fn may_refuse(&self, step: &Step, outcome: &Result<Told>) -> bool {
        let index_hurt = self.hurt.values().any(|hurt| hurt.kind == Kind::Index);
        let corrupt = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt);
        matches!(step.op, Op::Prune) && index_hurt && corrupt
    }

    /// Does what is asked. On an error the step may have had its effect or not; what the log says counts.
    fn act(&mut self, step: &Step, target: &mut Option<SnapshotId>) -> Result<Told> {
        let client = &mut self.clients[step.client];
        match &step.op {
            Op::Backup { series: which, edits } => {
                let files = &mut self.sources[*which];
                let edits = edits.iter().map(|(name, seed, len)| (format!("f{name}"), (*seed, *len)));
                files.extend(edits);
                self.model.ever.extend(files.values());
                let options = BackupOptions { progress_bytes: Some(40_000), ..series(&format!("series {which}")) };
                let report = backup::backup(client.repository()?, &source(files), &options, &Silent)?;
                Ok(Told::Snapshot(report.snapshot.expect("a snapshot")))
            }
            Op::Forget(which) => {
                let Some(id) = nth(&self.model.live, which) else { return Ok(Told::Done) };
                *target = Some(id);
                commands::forget(client.repository()?, id).map(|()| Told::Done)
            }
            Op::Undelete(which) => {
                let Some(id) = nth(&self.model.forgotten, which) else { return Ok(Told::Done) };
                *target = Some(id);
                commands::undelete(client.repository()?, id).map(Told::Undeleted)
            }
            Op::Prune => {
                self.seen.reclaimed += commands::prune(client.repository()?)?;
                Ok(Told::Done)
            }
            Op::Rotate => keys::rotate(client.repository()?).map(|_| Told::Done),
            Op::Revoke => {
                self.keys_added += 1;
                commands::add_key(client.repository()?, 1000 + self.keys_added)?;
                commands::revoke(client.repository()?).map(|()| Told::Done)
            }
            Op::Verify => commands::verify(client.repository()?).map(Told::Found),
            Op::RepairIndex => {
                self.seen.reindexed += repair::index(client.bare()?, &commands::repairs(), &Silent)?.retired;
                Ok(Told::Done)
            }
            Op::RepairCheckpoints => {
                repair::checkpoints(client.bare()?, &commands::repairs(), &Silent).map(|_| Told::Done)
            }
            Op::RepairPacks => {
                self.seen.rescued += repair::packs(client.bare()?, &commands::repairs(), &Silent)?.saved;
                Ok(Told::Done)
            }
            Op::RepairSnapshots => {
                let choice = SnapshotsOptions::default();
                repair::snapshots(client.bare()?, &commands::repairs(), &choice, &Silent).map(|_| Told::Done)
            }
            Op::Damage { what, which, how } => {
                self.hurt(*what, which, *how);
                Ok(Told::Done)
            }
            Op::LoseCache => {
                client.handle = None;
                client.harness = client.harness.somebody_else();
                Ok(Told::Done)
            }
            Op::Jump(years) => {
                client.clock.fetch_add(years * YEAR, Ordering::SeqCst);
                Ok(Told::Done)
            }
        }
    }

    fn hurt(&mut self, what: Kind, which: &proptest::sample::Index, how: Damage) {
        let objects = self.store.memory.objects().into_keys().filter(|key| key.as_str().starts_with(what.prefix()));
        let whole: Vec<Key> = objects.filter(|key| !self.hurt.contains_key(key)).collect();
        if whole.is_empty() {
            return;
        }
        let key = whole[which.index(whole.len())].clone();
        damage::apply(&self.store, &key, how);
        let left = self.store.memory.objects().get(&key).cloned();
        self.hurt.insert(key, Hurt { kind: what, left });
        // What is in a pack whose own table is damaged, the index alone may know.
        if what != Kind::Checkpoint && self.hurt.values().any(|hurt| hurt.kind == Kind::Pack) {
            self.model.doubtful.extend(&self.model.ever);
        }
        self.seen.hurt += 1;
    }

    /// Follows what the log says came of the step.
    fn settle(&mut self, step: &Step, target: Option<SnapshotId>, outcome: &Result<Told>, repo: &Repository) {
        let listed = repo.snapshots(&SnapshotFilter::default());
        let (model, seen) = (&mut self.model, &mut self.seen);
        let appeared: Vec<&Snapshot> = listed.iter().filter(|s| !model.knows(&s.id)).collect();
        match (&step.op, target) {
            (Op::Backup { series, .. }, _) => {
                assert!(appeared.len() <= 1, "two snapshots of one backup");
                let made: Vec<SnapshotId> = appeared.iter().map(|s| s.id).collect();
                if let Ok(told) = outcome {
                    assert!(made.iter().all(|id| *told == Told::Snapshot(*id)) && made.len() == 1, "{told:?} {made:?}");
                }
                for id in made {
                    let files = &self.sources[*series];
                    if !self.unknown {
                        // All damage was known: what the source still has was stored again.
                        let before = model.doubtful.len();
                        model.doubtful.retain(|content| !files.values().any(|of_file| of_file == content));
                        seen.healed += (before - model.doubtful.len()) as u64;
                    }
                    model.live.insert(id, files.clone());
                    seen.backups += 1;
                }
            }
            (Op::RepairSnapshots, _) => {
                for twin in appeared {
                    let original = &model.live[&twin.manifest.parent.expect("a twin's parent is the original")];
                    let kept: BTreeSet<String> = names(repo, twin).into_iter().collect();
                    let (files, lost): (Files, Files) =
                        original.clone().into_iter().partition(|(name, _)| kept.contains(name));
                    assert!(lost.values().all(|content| model.doubtful.contains(content)), "lost in a twin: {lost:?}");
                    assert!(!lost.is_empty(), "a twin of a snapshot that is whole");
                    model.doubtful.retain(|content| !files.values().any(|of_file| of_file == content));
                    model.live.insert(twin.id, files);
                    seen.twins += 1;
                }
            }
            (Op::Forget(_), Some(id)) => {
                let hidden = !listed.iter().any(|s| s.id == id);
                assert!(hidden || outcome.is_err(), "forgotten, and still there");
                if hidden {
                    let files = model.live.remove(&id).expect("it was live");
                    model.forgotten.insert(id, files);
                }
            }
            (Op::Undelete(_), Some(id)) => {
                let shown = listed.iter().any(|s| s.id == id);
                assert!(outcome.as_ref().is_ok_and(|told| *told == Told::Undeleted(shown)) || outcome.is_err());
                seen.refused += u64::from(!shown && outcome.is_ok());
                if shown {
                    seen.undeleted += 1;
                    let files = model.forgotten.remove(&id).expect("it was forgotten");
                    model.live.insert(id, files);
                }
            }
            (Op::Revoke, _) => self.shut_out(repo, outcome.is_ok()),
            (Op::Verify, _) => {
                if let Ok(Told::Found(named)) = outcome {
                    self.assert_told(named, repo);
                }
            }
            _ => {}
        }
        self.forget_what_is_gone(repo);
        let index_hurt = self.hurt.values().any(|hurt| hurt.kind == Kind::Index);
        let packs_hurt = self.hurt.values().any(|hurt| hurt.kind == Kind::Pack);
        if matches!(step.op, Op::RepairIndex) && outcome.is_ok() && !packs_hurt {
            assert!(!index_hurt, "the index was repaired: {:?}", self.hurt);
        }
    }

    /// Keys that are in no slot in force open nothing.
    fn shut_out(&mut self, repo: &Repository, done: bool) {
        let labels: BTreeSet<String> = keys::list(repo).expect("slots").into_iter().map(|slot| slot.label).collect();
        let out = (1001..=1000 + self.keys_added).filter(|number| !labels.contains(&number.to_string()));
        for number in out {
            let opened = Repository::open(newcomer(&self.store).environment(), &key_file(number));
            // A slot of which no record tells may lead to a keyring that is no more.
            let kind = opened.as_ref().err().map(|error| error.kind());
            let refused = matches!(kind, Some(ErrorKind::WrongKey | ErrorKind::Corrupt));
            assert!(refused, "key {number} is in no slot: {:?}", opened.err());
        }
        // Whether the record was written is not known after a mishap: handles opened before may be shut out.
        self.seen.revoked += 1;
        self.seen.revocations += u64::from(done);
    }

    /// What is damaged was named, and nothing else, whatever call to the store failed.
    fn assert_told(&self, named: &[String], repo: &Repository) {
        let hurt: BTreeSet<&str> = self.hurt.keys().map(Key::as_str).collect();
        assert!(named.iter().all(|object| hurt.contains(object.as_str())), "accused: {named:?} of {hurt:?}");
        for (key, hurt) in &self.hurt {
            let matters = match hurt.kind {
                // One that is gone is missed by nobody.
                Kind::Checkpoint => hurt.left.is_some(),
                Kind::Index | Kind::Pack => self.is_in_force(repo, key),
            };
            assert!(!matters || named.contains(&key.to_string()), "{key} is not named: {named:?}");
        }
    }

    fn is_in_force(&self, repo: &Repository, key: &Key) -> bool {
        let state = repo.state();
        let packs = state.live_packs().map(|(name, _)| pack_key(&name));
        let indexes = state.indexes().map(|(level, id, _)| index_key(level, &id));
        packs.chain(indexes).any(|other| other.expect("legal") == *key)
    }

    /// Damage that a prune or a repair took away; what of the rest nobody knows yet.
    fn forget_what_is_gone(&mut self, repo: &Repository) {
        let objects = self.store.memory.objects();
        let mut hurt = std::mem::take(&mut self.hurt);
        hurt.retain(|key, hurt| match hurt.kind {
            // Made anew, it is what it was before.
            Kind::Checkpoint => objects.get(key) == hurt.left.as_ref(),
            Kind::Index | Kind::Pack => self.is_in_force(repo, key),
        });
        self.hurt = hurt;
        let known: BTreeSet<Key> =
            repo.state().damaged_packs().map(|(name, _)| pack_key(name).expect("legal")).collect();
        self.unknown = self.hurt.iter().any(|(key, hurt)| hurt.kind == Kind::Pack && !known.contains(key));
    }

    /// Reads every live snapshot as somebody does who comes for the first time; says what is refused.
    fn check(&mut self, repo: &Repository) -> BTreeSet<(SnapshotId, String)> {
        let listed = repo.snapshots(&SnapshotFilter::default());
        let ids: BTreeSet<SnapshotId> = listed.iter().map(|s| s.id).collect();
        assert!(ids.iter().eq(self.model.live.keys()) && listed.len() == ids.len(), "{listed:?}");
        let mut refused = BTreeSet::new();
        let mut whole = BTreeSet::new();
        for snapshot in &listed {
            let read: Read = self.model.read_whole(repo, snapshot);
            refused.extend(read.refused);
            whole.extend(read.whole);
        }
        self.seen.refused_reads += refused.len() as u64;
        self.model.doubtful.retain(|content| !whole.contains(content));
        refused
    }

    /// Whatever went wrong: repairs and the next backups work, and what verify announces is what cannot be read.
    pub fn end(&mut self) {
        let hurt = !self.hurt.is_empty();
        let repairs = [Op::Verify, Op::RepairPacks, Op::RepairIndex, Op::RepairCheckpoints].into_iter();
        let backups = (0..SERIES).map(|series| Op::Backup { series, edits: vec![(0, 9, 500)] });
        for op in repairs.filter(|_| hurt).chain(backups).chain(hurt.then_some(Op::RepairIndex)) {
            self.step(&Step::calm(op));
        }
        let user = newcomer(&self.store);
        let refused = self.check(&user.repository());
        for depth in [VerifyDepth::Structure, ALL_DATA] {
            let report = user.verify(depth);
            let announced: BTreeSet<(String, String)> = report
                .affected
                .iter()
                .map(|at| (at.snapshot.clone(), String::from_utf8(at.path.clone()).expect("plain names")))
                .collect();
            let expected = refused.iter().map(|(id, name)| (id.to_hex(), name.clone())).collect();
            assert_eq!(announced, expected, "{depth:?}");
            let hurt = |object: &str| self.hurt.keys().any(|key| key.as_str() == object);
            assert!(report.damages.iter().all(|d| hurt(&d.object)), "{:?} of {:?}", report.damages, self.hurt);
        }
    }
}

fn newcomer(store: &Harness) -> Harness {
    Harness { cache: None, ..store.through(store.memory.clone()) }
}

fn nth(snapshots: &BTreeMap<SnapshotId, Files>, which: &proptest::sample::Index) -> Option<SnapshotId> {
    (!snapshots.is_empty()).then(|| snapshots.keys().nth(which.index(snapshots.len())).copied()).flatten()
}
