//! One repository, its clients, and what is checked after each step.

mod harm;
mod hosts;

use crate::client::{Client, Role};
use crate::commands::{self, HOST_NAME};
use crate::common::{ALL_DATA, Harness, records, series, small_packs};
use crate::history::{Age, CLIENTS, HOST, History, Kind, Op, SERIES, Step};
use crate::model::{Files, Held, Model, Read, names, source};
use crate::seen::Seen;
use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, Key, Result};
use decube_backup_engine::options::{BackupOptions, Snapshot, SnapshotFilter, VerifyDepth};
use decube_backup_engine::repair::{self, SnapshotsOptions};
use decube_backup_engine::{Repository, backup, keys};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::log::Payload;
use decube_backup_testkit::Fault;
use harm::Hurt;
use hosts::HostKeys;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const YEAR: i64 = 365 * 24 * 3600;
/// Records of an old log after the first: the next one is followed by a checkpoint.
const OLD_RECORDS: usize = 30;

/// Of what the host writes, percent.
const HOST_PARITY: u8 = 10;

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
    /// What the clients with all keys back up, then the host's.
    sources: [Files; SERIES + 1],
    model: Model,
    /// Objects that went bad, as far as they still matter.
    hurt: BTreeMap<Key, Hurt>,
    /// Whether some pack in force that is lost is not known to be bad: then a backup may rely on it.
    unknown: bool,
    keys_added: u64,
    host: HostKeys,
    /// What the log said after the last step.
    state: Option<Arc<State>>,
    pub seen: Seen,
}

/// What a step says it did.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Done,
    Snapshot(SnapshotId),
    /// Whether it was shown again.
    Undeleted(bool),
    Found(Vec<String>),
    /// Parity that was missing or damaged was made.
    Parity,
}

impl World {
    pub fn new(stage: &Stage, history: &History) -> Self {
        let objects = if history.age == Age::Old { &stage.old } else { &stage.new };
        let store = stage.harness.on_image(objects.clone());
        let parity = (0..CLIENTS).map(|client| if client == 0 { history.parity } else { 0 });
        let clients = parity.map(|percent| Client::new(&store, Role::Administrator, percent));
        let clients = clients.chain([Client::new(&store, Role::Host, HOST_PARITY)]).collect();
        let sources = [Files::from([("f".into(), (1, 900))]), Files::new(), Files::from([("f".into(), (1, 900))])];
        let (model, hurt, seen, host) = (Model::default(), BTreeMap::new(), Seen::default(), HostKeys::default());
        Self { store, clients, sources, model, hurt, unknown: false, keys_added: 0, host, state: None, seen }
    }

    pub fn step(&mut self, step: &Step) {
        if self.hurt.values().any(Hurt::is_lost_pack) {
            self.model.doubt_the_unneeded();
        }
        let client = &self.clients[step.client];
        let fault = step.mishap.map(|m| {
            let fault = Fault::at(client.faulty.calls() + m.call, m.when);
            if m.fatal { fault.onwards() } else { fault }
        });
        client.faulty.set_fault(fault);
        let mut target = None;
        let mut outcome = self.act(step, &mut target);
        if step.client != HOST && outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::WrongKey) {
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
        self.state = Some(repo.state());
        self.seen.steps += 1;
        self.seen.failed += u64::from(outcome.is_err());
    }

    /// A prune goes by the index alone, and refuses one that is damaged: it says so and is repeated after a repair. A host
    /// is refused whose key is no more.
    fn may_refuse(&self, step: &Step, outcome: &Result<Told>) -> bool {
        let index_hurt = self.hurt.values().any(|hurt| hurt.kind == Kind::Index);
        match outcome.as_ref().map_err(|error| error.kind()) {
            Err(ErrorKind::Corrupt) => matches!(step.op, Op::Prune) && index_hurt,
            Err(ErrorKind::WrongKey) => step.client == HOST && !self.host.may_write(),
            _ => false,
        }
    }

    /// Does what is asked. On an error the step may have had its effect or not; what the log says counts.
    fn act(&mut self, step: &Step, target: &mut Option<SnapshotId>) -> Result<Told> {
        let client = &mut self.clients[step.client];
        match &step.op {
            Op::Backup { series: which, edits } => {
                let which = if step.client == HOST { SERIES } else { *which };
                if step.client == HOST && self.host.in_use.is_none() {
                    return Ok(Told::Done);
                }
                let files = &mut self.sources[which];
                let edits = edits.iter().map(|(name, seed, len)| (format!("f{name}"), (*seed, *len)));
                files.extend(edits);
                self.model.ever.extend(files.values());
                let plain = series(&format!("series {which}"));
                let host = if step.client == HOST { HOST_NAME.into() } else { plain.host.clone() };
                let options = BackupOptions { progress_bytes: Some(40_000), host, ..plain };
                let report = backup::backup(client.repository()?, &source(files), &options, &Silent)?;
                self.seen.host_reused += if step.client == HOST { report.chunks_reused } else { 0 };
                Ok(Told::Snapshot(report.snapshot.expect("a snapshot")))
            }
            Op::Forget(which) => {
                let Some((id, _)) = nth(&self.model.live, which) else { return Ok(Told::Done) };
                *target = Some(id);
                commands::forget(client.repository()?, id).map(|()| Told::Done)
            }
            Op::Undelete(which) => {
                let Some((id, _)) = nth(&self.model.forgotten, which) else { return Ok(Told::Done) };
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
            Op::AddHostKey => {
                self.host.made += 1;
                commands::add_host_key(client.repository()?, self.host.newest()).map(|()| Told::Done)
            }
            Op::RemoveHostKey(which) => {
                let Some((_, slot)) = nth(&self.host.in_force, which) else { return Ok(Told::Done) };
                keys::remove(client.repository()?, &slot).map(|_| Told::Done)
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
                let report = repair::packs(client.bare()?, &commands::repairs(), &Silent)?;
                self.seen.rescued += report.saved;
                self.seen.rebuilt += report.rebuilt;
                Ok(Told::Done)
            }
            Op::RepairParity if client.harness.parity.is_none() => Ok(Told::Done),
            Op::RepairParity => {
                self.seen.parities += repair::parity(client.bare()?, &commands::repairs(), &Silent)?.written;
                Ok(Told::Parity)
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

    /// Follows what the log says came of the step.
    fn settle(&mut self, step: &Step, target: Option<SnapshotId>, outcome: &Result<Told>, repo: &Repository) {
        let listed = repo.snapshots(&SnapshotFilter::default());
        let (model, seen) = (&mut self.model, &mut self.seen);
        let appeared: Vec<&Snapshot> = listed.iter().filter(|s| !model.knows(&s.id)).collect();
        match (&step.op, target) {
            (Op::Backup { series, .. }, _) => {
                assert!(appeared.len() <= 1, "two snapshots of one backup");
                let made: Vec<SnapshotId> = appeared.iter().map(|s| s.id).collect();
                match outcome {
                    // A host without a key.
                    Ok(Told::Done) => assert!(made.is_empty() && self.host.in_use.is_none()),
                    Ok(told) => assert!(made.len() == 1 && *told == Told::Snapshot(made[0]), "{told:?} {made:?}"),
                    Err(_) => {}
                }
                let is_hosted = step.client == HOST;
                let which = if is_hosted { SERIES } else { *series };
                assert!(!is_hosted || made.is_empty() || self.host.may_write(), "by a key that is no more");
                let held = Held { is_hosted, files: self.sources[which].clone() };
                for id in made {
                    match is_hosted {
                        // A new key knows of no pack.
                        true if self.host.is_fresh => seen.host_healed += model.trust(&held),
                        // It sees no damage.
                        true => {}
                        // All damage was known: what the source still has was stored again.
                        false if !self.unknown => seen.healed += model.trust(&held),
                        false => {}
                    }
                    model.live.insert(id, held.clone());
                    seen.backups += 1;
                    seen.hosted += u64::from(is_hosted);
                }
                if is_hosted && self.host.in_use.is_some() {
                    self.host.is_fresh = false;
                    seen.dismissed += u64::from(!self.host.may_write());
                }
            }
            (Op::RepairSnapshots, _) => {
                for twin in appeared {
                    let original = &model.live[&twin.manifest.parent.expect("a twin's parent is the original")];
                    let is_hosted = original.is_hosted;
                    let kept: BTreeSet<String> = names(repo, twin).into_iter().collect();
                    let (files, lost): (Files, Files) =
                        original.files.clone().into_iter().partition(|(name, _)| kept.contains(name));
                    let (lost, held) = (Held { is_hosted, files: lost }, Held { is_hosted, files });
                    let doubtful = lost.in_chunks().filter(|content| model.doubtful.contains(content)).count();
                    assert!(doubtful == lost.files.len(), "lost in a twin: {lost:?}");
                    assert!(doubtful > 0, "a twin of a snapshot that is whole");
                    model.trust(&held);
                    model.live.insert(twin.id, held);
                    seen.twins += 1;
                }
            }
            (Op::Forget(_), Some(id)) => {
                let hidden = !listed.iter().any(|s| s.id == id);
                assert!(hidden || outcome.is_err(), "forgotten, and still there");
                if hidden {
                    let held = model.live.remove(&id).expect("it was live");
                    model.forgotten.insert(id, held);
                }
            }
            (Op::Undelete(_), Some(id)) => {
                let shown = listed.iter().any(|s| s.id == id);
                assert!(outcome.as_ref().is_ok_and(|told| *told == Told::Undeleted(shown)) || outcome.is_err());
                seen.refused += u64::from(!shown && outcome.is_ok());
                if shown {
                    seen.undeleted += 1;
                    let held = model.forgotten.remove(&id).expect("it was forgotten");
                    model.live.insert(id, held);
                }
            }
            (Op::Revoke, _) => {
                self.shut_out(repo, outcome.is_ok());
                self.follow_host_keys(step, outcome.is_ok(), repo);
            }
            (Op::AddHostKey | Op::RemoveHostKey(_), _) => self.follow_host_keys(step, outcome.is_ok(), repo),
            (Op::Verify, _) => {
                if let Ok(Told::Found(named)) = outcome {
                    self.assert_told(named, repo);
                }
            }
            _ => {}
        }
        self.forget_what_is_gone(repo);
        self.assert_repaired(step, outcome);
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
        if self.host.in_use.is_some() {
            self.end_of_host(hurt);
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

fn nth<K: Clone, V: Clone>(all: &BTreeMap<K, V>, which: &proptest::sample::Index) -> Option<(K, V)> {
    let nth = (!all.is_empty()).then(|| all.iter().nth(which.index(all.len())));
    nth.flatten().map(|(key, value)| (key.clone(), value.clone()))
}
