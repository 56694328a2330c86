//! Random histories of one repository, against a model as naive as can be: which snapshots there are, and what is in them.
//!
//! Several clients with caches and handles of their own back up, forget, undelete, prune, rotate and revoke keys, verify
//! and repair; one writes parity. A host backs up with a write-only key, which is made, removed, or ended by a revocation.
//! Any call to the store may fail before or after its effect, once or for good (then the process is gone and
//! another one comes); clocks jump by years; index segments, checkpoints, packs of content and their parity are deleted,
//! cut off and flipped. After each step every live snapshot is read back whole by somebody who knows nothing. What damage
//! took, and parity does not bring back, may be refused, never given back wrong, and is there again after the next backup
//! of a source that still has it: of the host's once it was given a new key.
//!
//! | module | holds |
//! |---|---|
//! | [`history`] | what happens: steps, drawn at random |
//! | [`world`] | the repository, its clients, and what is checked after each step |
//! | [`model`], [`seen`] | what ought to be there; what came about |
//! | [`client`], [`commands`] | who acts, and what the program does for them |

mod client;
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod history;
mod model;
mod seen;
mod world;

use common::effort;
use history::history;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use seen::Seen;
use std::cell::RefCell;
use world::{Stage, World};

/// Histories in continuous integration; about ten steps each.
const CASES: u32 = 2000;
/// Threads that go through them; a seed means the same on every machine.
const SHARDS: u32 = 4;

#[test]
fn whatever_happens_every_live_snapshot_is_what_was_backed_up() {
    let cases = effort::times(CASES);
    let seed = effort::seed();
    println!("{cases} histories, seed {seed:#x}: DECUBE_BACKUP_SEED={seed:#x} repeats them");
    let mut seen = Seen::default();
    let outcomes: Vec<Result<Seen, String>> = std::thread::scope(|scope| {
        let shards: Vec<_> =
            (0..SHARDS).map(|shard| scope.spawn(move || search(seed, shard, cases / SHARDS))).collect();
        shards.into_iter().map(|shard| shard.join().expect("no panic outside a history")).collect()
    });
    for outcome in outcomes {
        match outcome {
            Ok(more) => seen.add(&more),
            Err(why) => panic!("seed {seed:#x}: {why}"),
        }
    }
    println!("{seen:?}");
    seen.assert_lively();
}

/// Goes through `cases` histories; the first that fails is made as short as possible.
fn search(seed: u64, shard: u32, cases: u32) -> Result<Seen, String> {
    let config =
        ProptestConfig { cases, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() };
    let bytes: Vec<u8> = [seed, u64::from(shard), seed, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (stage, seen) = (Stage::new(), RefCell::new(Seen::default()));
    let outcome = runner.run(&history(), |history| {
        let mut world = World::new(&stage, &history);
        for step in &history.steps {
            world.step(step);
        }
        world.end();
        seen.borrow_mut().add(&world.seen);
        Ok(())
    });
    outcome.map(|()| seen.into_inner()).map_err(|error| error.to_string())
}
