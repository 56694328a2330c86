//! What happens to a repository, drawn at random.

use crate::common::damage::Damage;
use decube_backup_testkit::When;
use proptest::prelude::*;
use proptest::sample::Index;

/// Clients with all keys.
pub const CLIENTS: usize = 3;
/// The client after those: a host with a write-only key. It backs up, and nothing else.
pub const HOST: usize = CLIENTS;
pub const SERIES: usize = 2;

/// What a client may be asked to do. A new command of the program is one more arm here and in `World::act`.
#[derive(Clone, Debug)]
pub enum Op {
    /// A few files change, then their series is backed up. The host has one of its own.
    Backup {
        series: usize,
        /// Name, seed, length.
        edits: Vec<(u8, u64, u64)>,
    },
    Forget(Index),
    Undelete(Index),
    /// Space no live snapshot needs is freed.
    Prune,
    /// New packs get new keys.
    Rotate,
    /// A further key is added, another one revoked: `key remove --rotate`.
    Revoke,
    /// The host gets a write-only key, another one if it has any.
    AddHostKey,
    /// One of the host's keys is removed; the host is not told.
    RemoveHostKey(Index),
    /// Everything is read, and what is found is recorded.
    Verify,
    RepairIndex,
    RepairCheckpoints,
    RepairPacks,
    RepairParity,
    RepairSnapshots,
    /// An object goes bad.
    Damage {
        what: Kind,
        which: Index,
        how: Damage,
    },
    /// The client's cache is lost.
    LoseCache,
    /// The client's clock jumps by that many years.
    Jump(i64),
}

/// Objects that may go bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Index,
    Checkpoint,
    /// Content; trees are for the damage matrix, because without one nobody can say what ought to be in it.
    Pack,
    Parity,
}

impl Kind {
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Index => "index/",
            Self::Checkpoint => "ckpt/",
            Self::Pack => "packs/d/",
            Self::Parity => "parity/",
        }
    }
}

/// What goes wrong meanwhile: the n-th call to the store fails, and all later ones if the process dies of it.
#[derive(Clone, Copy, Debug)]
pub struct Mishap {
    pub call: u64,
    pub when: When,
    pub fatal: bool,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub client: usize,
    pub op: Op,
    pub mishap: Option<Mishap>,
}

impl Step {
    /// `op` by the first client, and all goes well.
    pub fn calm(op: Op) -> Self {
        Self { client: 0, op, mishap: None }
    }
}

/// Where a history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Nothing but record 0.
    New,
    /// A log that gets its first checkpoint soon.
    Old,
}

#[derive(Clone, Debug)]
pub struct History {
    pub age: Age,
    /// Of what the first client writes, percent.
    pub parity: u8,
    pub steps: Vec<Step>,
}

pub fn history() -> impl Strategy<Value = History> {
    let age = prop_oneof![3 => Just(Age::New), 1 => Just(Age::Old)];
    // What one sector takes, or a copy.
    let parity = prop_oneof![Just(10), Just(100)];
    let steps = prop::collection::vec(step(), 4..12);
    (age, parity, any::<bool>(), steps).prop_map(|(age, parity, has_host, mut steps)| {
        if has_host {
            steps.insert(0, Step::calm(Op::AddHostKey));
        }
        History { age, parity, steps }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let edit = (0..6u8, 0..5u64, prop_oneof![Just(0u64), 1..200u64, 300..4000u64, Just(70_000)]);
    let op = prop_oneof![
        12 => (0..SERIES, prop::collection::vec(edit, 0..4)).prop_map(|(series, edits)| Op::Backup { series, edits }),
        6 => any::<Index>().prop_map(Op::Forget),
        4 => any::<Index>().prop_map(Op::Undelete),
        6 => Just(Op::Prune),
        2 => Just(Op::Rotate),
        2 => Just(Op::Revoke),
        1 => Just(Op::AddHostKey),
        1 => any::<Index>().prop_map(Op::RemoveHostKey),
        2 => Just(Op::Verify),
        2 => Just(Op::RepairIndex),
        1 => Just(Op::RepairCheckpoints),
        2 => Just(Op::RepairPacks),
        1 => Just(Op::RepairParity),
        3 => Just(Op::RepairSnapshots),
        5 => damage(),
        2 => Just(Op::LoseCache),
        2 => (-20..20i64).prop_map(Op::Jump),
    ];
    let when = prop_oneof![Just(When::BeforeEffect), Just(When::AfterEffect)];
    let call = prop_oneof![4 => 0..24u64, 1 => 24..70u64];
    let mishap = (call, when, any::<bool>()).prop_map(|(call, when, fatal)| Mishap { call, when, fatal });
    let step = (0..=HOST, op, prop::option::weighted(0.4, mishap));
    step.prop_map(|(client, op, mishap)| {
        let is_hosts = matches!(op, Op::Backup { .. } | Op::LoseCache | Op::Jump(_));
        Step { client: if is_hosts { client } else { client % CLIENTS }, op, mishap }
    })
}

fn damage() -> impl Strategy<Value = Op> {
    let what = prop_oneof![4 => Just(Kind::Index), 2 => Just(Kind::Checkpoint), 5 => Just(Kind::Pack), 1 => Just(Kind::Parity)];
    let how = prop_oneof![
        2 => Just(Damage::Remove),
        1 => Just(Damage::Truncate(500)),
        2 => (0..1000usize).prop_map(Damage::Flip),
        1 => (1..90usize).prop_map(Damage::FlipFromEnd),
    ];
    (what, any::<Index>(), how).prop_map(|(what, which, how)| Op::Damage { what, which, how })
}
