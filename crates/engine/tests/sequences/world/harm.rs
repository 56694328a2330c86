//! Objects that go bad: what that may cost, and what is said of it.

use super::{Told, World};
use crate::common::damage::{self, Damage};
use crate::history::{Kind, Op, Step};
use decube_backup_core::{Key, Result};
use decube_backup_engine::Repository;
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{index_key, pack_key, parity_key};
use decube_backup_format::parity::Parity;
use std::collections::BTreeSet;

/// An object that went bad.
#[derive(Debug)]
pub(super) struct Hurt {
    pub kind: Kind,
    /// What was left of it.
    left: Option<bytes::Bytes>,
    /// Whether it is a pack that its parity brings back.
    is_spared: bool,
}

impl Hurt {
    /// Whether content may be lost by it.
    pub fn is_lost_pack(&self) -> bool {
        self.kind == Kind::Pack && !self.is_spared
    }
}

/// The pack of the parity `key`, or the parity of the pack.
fn partner(state: &State, key: &Key) -> Option<Key> {
    let pairs = state.parities().map(|(name, _)| (pack_key(&name.pack).expect("key"), parity_key(&name).expect("key")));
    pairs.into_iter().find_map(|(pack, parity)| match key {
        key if *key == pack => Some(parity),
        key if *key == parity => Some(pack),
        _ => None,
    })
}

/// Whether `parity` has a recovery shard for each shard in which `left` differs from `whole`.
fn suffices(parity: &[u8], whole: &[u8], left: &[u8]) -> bool {
    let parity = Parity::decode(parity).expect("parity that is whole");
    let shard_bytes = parity.head().shard_bytes as usize;
    let shards = whole.chunks(shard_bytes).enumerate();
    let damaged = shards.filter(|(n, shard)| left.get(n * shard_bytes..n * shard_bytes + shard.len()) != Some(shard));
    damaged.count() <= parity.head().recovery.len()
}

impl World {
    pub(super) fn hurt(&mut self, what: Kind, which: &proptest::sample::Index, how: Damage) {
        let objects = self.store.memory.objects();
        let of_kind = objects.keys().filter(|key| key.as_str().starts_with(what.prefix()));
        let whole: Vec<&Key> = of_kind.filter(|key| !self.hurt.contains_key(key)).collect();
        if whole.is_empty() {
            return;
        }
        let key = whole[which.index(whole.len())].clone();
        let partner = match what {
            Kind::Pack | Kind::Parity => self.state.as_ref().and_then(|state| partner(state, &key)),
            Kind::Index | Kind::Checkpoint => None,
        };
        damage::apply(&self.store, &key, how);
        let left = self.store.memory.objects().get(&key).cloned();
        let parity = partner.as_ref().filter(|parity| what == Kind::Pack && !self.hurt.contains_key(parity));
        let is_spared = parity
            .is_some_and(|parity| suffices(&objects[parity], &objects[&key], left.as_deref().unwrap_or_default()));
        if let Some(pack) = partner.and_then(|pack| self.hurt.get_mut(&pack)) {
            pack.is_spared = false;
        }
        self.hurt.insert(key, Hurt { kind: what, left, is_spared });
        // What is in a pack whose own table is damaged, the index alone may know.
        if what != Kind::Checkpoint && self.hurt.values().any(Hurt::is_lost_pack) {
            self.model.doubtful.extend(&self.model.ever);
        }
        self.seen.hurt += 1;
        self.seen.spared += u64::from(is_spared);
    }

    /// What is damaged was named, and nothing else, whatever call to the store failed.
    pub(super) fn assert_told(&self, named: &[String], repo: &Repository) {
        let hurt: BTreeSet<&str> = self.hurt.keys().map(Key::as_str).collect();
        assert!(named.iter().all(|object| hurt.contains(object.as_str())), "accused: {named:?} of {hurt:?}");
        for (key, hurt) in &self.hurt {
            let matters = match hurt.kind {
                // One that is gone is missed by nobody.
                Kind::Checkpoint => hurt.left.is_some(),
                Kind::Index | Kind::Pack | Kind::Parity => self.is_in_force(repo, key),
            };
            assert!(!matters || named.contains(&key.to_string()), "{key} is not named: {named:?}");
        }
    }

    fn is_in_force(&self, repo: &Repository, key: &Key) -> bool {
        let state = repo.state();
        let packs = state.live_packs().map(|(name, _)| pack_key(&name));
        let indexes = state.indexes().map(|(level, id, _)| index_key(level, &id));
        let parities = state.parities().map(|(name, _)| parity_key(&name));
        packs.chain(indexes).chain(parities).any(|other| other.expect("legal") == *key)
    }

    /// Damage that a prune or a repair took away; what of the rest nobody knows yet.
    pub(super) fn forget_what_is_gone(&mut self, repo: &Repository) {
        let objects = self.store.memory.objects();
        let mut hurt = std::mem::take(&mut self.hurt);
        hurt.retain(|key, hurt| match hurt.kind {
            // Made anew, it is what it was before.
            Kind::Checkpoint => objects.get(key) == hurt.left.as_ref(),
            Kind::Index | Kind::Pack | Kind::Parity => self.is_in_force(repo, key),
        });
        self.hurt = hurt;
        let known: BTreeSet<Key> =
            repo.state().damaged_packs().map(|(name, _)| pack_key(name).expect("legal")).collect();
        self.unknown = self.hurt.iter().any(|(key, hurt)| hurt.is_lost_pack() && !known.contains(key));
    }

    /// What a repair is for has come about.
    pub(super) fn assert_repaired(&self, step: &Step, outcome: &Result<Told>) {
        let is_hurt = |kind: Kind| self.hurt.values().any(|hurt| hurt.kind == kind);
        match (&step.op, outcome) {
            (Op::RepairIndex, Ok(_)) if !self.hurt.values().any(Hurt::is_lost_pack) => {
                assert!(!is_hurt(Kind::Index), "the index was repaired: {:?}", self.hurt);
            }
            // Parity is made of packs that are whole, and of no others.
            (Op::RepairParity, Ok(Told::Parity)) if !is_hurt(Kind::Pack) => {
                assert!(!is_hurt(Kind::Parity), "parity was repaired: {:?}", self.hurt);
            }
            _ => {}
        }
    }
}
