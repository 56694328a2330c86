//! Keys: those in no slot in force open nothing, and those that let a host write open nothing else.

use super::{World, newcomer};
use crate::commands::{HOST_NAME, host_label, host_number};
use crate::common::key_file;
use crate::history::{HOST, Op, Step};
use decube_backup_core::ErrorKind;
use decube_backup_engine::options::SnapshotFilter;
use decube_backup_engine::{Repository, keys};
use std::collections::{BTreeMap, BTreeSet};

/// Number of the key file of the first key, less one.
const FIRST: u64 = 5000;

/// The host's keys, as the log has them, and what the host knows of them.
#[derive(Default)]
pub(super) struct HostKeys {
    /// Keys that were to be made.
    pub made: u64,
    /// Their slots, by the number of the key file.
    pub in_force: BTreeMap<u64, String>,
    /// The one the host was given last.
    pub in_use: Option<u64>,
    /// Whether nothing was stored by the one in use.
    pub is_fresh: bool,
}

impl HostKeys {
    /// Number of the key file made last.
    pub fn newest(&self) -> u64 {
        FIRST + self.made
    }

    /// Whether the key in use is in force.
    pub fn may_write(&self) -> bool {
        self.in_use.is_some_and(|number| self.in_force.contains_key(&number))
    }
}

impl World {
    /// Keys that are in no slot in force open nothing; those that never were read at most.
    pub(super) fn shut_out(&mut self, repo: &Repository, done: bool) {
        let labels: BTreeSet<String> = keys::list(repo).expect("slots").into_iter().map(|slot| slot.label).collect();
        let out = (1001..=1000 + self.keys_added).filter(|number| !labels.contains(&number.to_string()));
        for number in out {
            let opened = Repository::open(newcomer(&self.store).environment(), &key_file(number));
            // A slot of which no record tells may lead to a keyring that is no more.
            let kind = opened.as_ref().err().map(|error| error.kind());
            let refused = matches!(kind, Some(ErrorKind::WrongKey | ErrorKind::Corrupt));
            let only_reads = opened.as_ref().is_ok_and(Repository::lacks_records);
            assert!(refused || only_reads, "key {number} is in no slot: {:?}", opened.err());
        }
        // Whether the record was written is not known after a mishap: handles opened before may be shut out.
        self.seen.revoked += 1;
        self.seen.revocations += u64::from(done);
    }

    /// Follows which keys of the host are in force; the host is given the newest.
    pub(super) fn follow_host_keys(&mut self, step: &Step, done: bool, repo: &Repository) {
        let slots = keys::list(repo).expect("slots").into_iter().filter(|slot| slot.kind == "write-only");
        let mut listed = BTreeMap::new();
        for slot in slots {
            assert_eq!(slot.host.as_deref(), Some(HOST_NAME));
            listed.insert(host_number(&slot.label).expect("a label of ours"), slot.slot);
        }
        let before = std::mem::replace(&mut self.host.in_force, listed);
        let newest = self.host.newest();
        let host = &mut self.host;
        let gone: Vec<u64> = before.keys().filter(|number| !host.in_force.contains_key(number)).copied().collect();
        match step.op {
            Op::AddHostKey => {
                let is_there = host.in_force.contains_key(&newest);
                assert!(gone.is_empty() && (is_there || !done), "{}", host_label(newest));
                if is_there {
                    (host.in_use, host.is_fresh) = (Some(newest), true);
                    self.clients[HOST].hand(key_file(newest));
                    self.seen.host_keys += 1;
                }
            }
            Op::RemoveHostKey(_) => {
                let all_well = gone.len() == usize::from(!before.is_empty());
                assert!(all_well || (gone.is_empty() && !done), "{gone:?} of {before:?}");
                self.seen.host_keys_removed += gone.len() as u64;
            }
            // The reading key they seal to is replaced: all end, or none.
            _ => assert!(host.in_force.is_empty() || (gone.is_empty() && !done), "{gone:?} of {before:?}"),
        }
        for number in [newest].into_iter().filter(|_| self.host.made > 0).chain(gone) {
            let env = newcomer(&self.store).environment();
            let writing = Repository::open_to_write(env, || Ok(key_file(number))).map(drop);
            let refused = writing.as_ref().is_err_and(|error| error.kind() == ErrorKind::WrongKey);
            let in_force = self.host.in_force.contains_key(&number);
            assert!(if in_force { writing.is_ok() } else { refused }, "key {number}: {writing:?}");
        }
    }

    /// The host backs up once more, and stores nothing twice.
    pub(super) fn end_of_host(&mut self, hurt: bool) {
        // Nobody tells it of damage: it is given a new key, and stores all that it has.
        if hurt {
            self.step(&Step::calm(Op::AddHostKey));
        }
        let back_up = |edits| Step { client: HOST, ..Step::calm(Op::Backup { series: 0, edits }) };
        self.step(&back_up(vec![(0, 9, 500)]));
        if hurt || !self.host.may_write() {
            return;
        }
        self.step(&Step::calm(Op::Prune));
        self.step(&Step { client: HOST, ..Step::calm(Op::LoseCache) });
        self.step(&back_up(Vec::new()));
        let last = newcomer(&self.store).repository().snapshots(&SnapshotFilter::default()).pop().expect("its own");
        assert_eq!((last.manifest.stats.chunks_new, last.manifest.host.as_str()), (0, HOST_NAME));
    }
}
