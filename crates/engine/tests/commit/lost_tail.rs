//! A checkpoint that knows of records which are lost from the end of the log: told of, and not written over.

use crate::common::records::{append, forget};
use crate::common::{ALL_DATA, Harness, key, small_packs, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, Result};
use decube_backup_engine::audit::{self, Accepted, AuditFilter, audit};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{Effect, TagChange, VerifyDepth};
use decube_backup_engine::repair::{self, RepairOptions};
use decube_backup_engine::verify::Recording;
use decube_backup_engine::{Environment, Repository, tags};
use decube_backup_format::ids::{SnapshotId, checkpoint_key, log_key};
use decube_backup_format::log::Payload;
use std::ops::Range;

struct World {
    harness: Harness,
    tree: tempfile::TempDir,
    snapshot: SnapshotId,
}

/// An init, a commit and so many records in all.
fn world(records: u64) -> World {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), "content").expect("written");
    let snapshot = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    go_on(&harness.repository(), records);
    World { harness, tree, snapshot }
}

fn go_on(repo: &Repository, records: u64) {
    while repo.state().next_seq() < records {
        append(repo, Payload::Note { text: "so many".into() }, Vec::new());
    }
}

fn lose(harness: &Harness, records: Range<u64>) {
    records.for_each(|seq| harness.memory.remove(&log_key(seq).expect("key")).expect("there"));
}

fn name(seq: u64) -> String {
    checkpoint_key(seq).expect("key").to_string()
}

fn named(harness: &Harness, depth: VerifyDepth) -> Vec<String> {
    harness.verify(depth).damages.into_iter().map(|damage| damage.object).collect()
}

fn plan(repo: &Repository) -> Result<()> {
    gc::plan(repo, &PruneOptions::default(), &Silent).map(drop)
}

impl World {
    /// Whoever opens it as `user` does not write to it, again and again; what is there comes back.
    fn assert_refused(&self, user: &Harness, context: &str) {
        let before = user.memory.objects();
        for round in 0..2 {
            let refused = |outcome: Result<()>| {
                let error = outcome.expect_err(context);
                assert_eq!(error.kind(), ErrorKind::Diverged, "{context} {round}: {error:?}");
                assert!(error.hint().is_some_and(|hint| hint.contains("audit --accept")), "{context}: {error:?}");
            };
            refused(user.backup_source(&source_of(self.tree.path()), "tree").map(drop));
            let change = TagChange { add: vec!["x".into()], ..TagChange::default() };
            refused(tags::change(&user.repository(), &[self.snapshot], &change).map(drop));
            refused(plan(&user.repository()));
            user.assert_restores(&self.snapshot, self.tree.path(), context);
        }
        let bare = Environment { cache_dir: None, ..user.environment() };
        let bare = Repository::open(bare, &user.credentials).expect("readable");
        for effect in [Effect::DryRun, Effect::Real] {
            let options = RepairOptions { effect, ..RepairOptions::default() };
            let error = repair::checkpoints(&bare, &options, &Silent).expect_err(context);
            assert_eq!(error.kind(), ErrorKind::Diverged, "{context}: {error:?}");
        }
        assert_eq!(user.memory.objects(), before, "{context}: something was written");
    }
}

#[test]
fn a_log_that_ends_before_a_checkpoint_is_damaged_and_not_gone_on_with() {
    let world = world(40);
    let objects = world.harness.memory.objects();
    // Also if only the record is lost that the checkpoint ends with.
    for lost in [31..40, 5..40] {
        let context = format!("{lost:?}");
        let cut = world.harness.on_image(objects.clone());
        let (ahead, behind) = (cut.somebody_else(), cut.somebody_else());
        ahead.repository();
        lose(&cut, 2..40);
        behind.repository();
        for seq in 2..40 {
            let key = log_key(seq).expect("key");
            let bytes = objects[&key].clone();
            if !lost.contains(&seq) {
                crate::common::damage::put(&cut, &key, bytes);
            }
        }
        for (who, user) in [("stranger", &cut.somebody_else()), ("who saw more", &ahead), ("who saw less", &behind)] {
            let context = format!("{context} {who}");
            world.assert_refused(user, &context);
            for depth in [VerifyDepth::Structure, ALL_DATA] {
                assert_eq!(named(user, depth), [name(31)], "{context}");
            }
        }
        let repo = cut.somebody_else().repository();
        let report = audit(&repo, &AuditFilter::default(), None, &Silent, &mut |_| Ok(())).expect("audited");
        assert_eq!((report.damages.len(), report.beyond.len()), (0, 1), "{context}");
        assert!(repo.accept_lost_records().expect("accepted"), "{context}");
        for user in [&cut.somebody_else(), &ahead, &behind] {
            user.assert_sound(&context);
            plan(&user.repository()).expect(&context);
            let id = user.backup(world.tree.path(), "tree").snapshot.expect("a snapshot");
            user.assert_restores(&id, world.tree.path(), &context);
        }
    }
}

#[test]
fn a_log_that_goes_on_where_records_were_lost_is_no_better() {
    let world = world(20);
    let behind = world.harness.somebody_else().repository();
    go_on(&world.harness.repository(), 40);
    let checkpoint = world.harness.memory.objects()[&key(&name(31))].clone();
    lose(&world.harness, 20..40);
    // Who had it open already learns of it when its own checkpoint's name is taken.
    go_on(&behind, 32);
    assert!(behind.lacks_records());
    // As somebody leaves it who saw none of that.
    world.harness.memory.remove(&key(&name(31))).expect("there");
    go_on(&world.harness.somebody_else().repository(), 130);
    crate::common::damage::put(&world.harness, &key(&name(31)), checkpoint);
    for depth in [VerifyDepth::Structure, ALL_DATA] {
        assert_eq!(named(&world.harness.somebody_else(), depth), [name(31)]);
    }
    // Two newer ones are sound, and yet it is not one that may go.
    let stranger = world.harness.somebody_else();
    assert_eq!(plan(&stranger.repository()).expect_err("lost").kind(), ErrorKind::Diverged);
    assert!(stranger.memory.objects().contains_key(&key(&name(31))));
}

#[test]
fn what_else_lies_among_the_checkpoints_hides_none() {
    let foreign = ["ckpt/zz1", "ckpt/zz2", "ckpt/zz3", "ckpt/zz4"].map(String::from);
    let rubbish = [0xffc, 0xffd, 0xffe, 0xfff].map(name);
    for names in [foreign, rubbish] {
        let world = world(40);
        lose(&world.harness, 25..40);
        names.iter().for_each(|name| crate::common::damage::put(&world.harness, &key(name), "not a checkpoint".into()));
        world.assert_refused(&world.harness.somebody_else(), &names[0]);
    }
}

#[test]
fn a_checkpoint_that_was_stored_since_is_none_of_a_lost_record() {
    let world = world(20);
    let (one, other) = (world.harness.somebody_else(), world.harness.somebody_else());
    let (pruning, verifying) = (one.repository(), other.repository());
    go_on(&world.harness.repository(), 40);
    plan(&pruning).expect("nothing is lost");
    let report = decube_backup_engine::verify::verify(&verifying, &Default::default(), &Silent).expect("verified");
    assert!(report.damages.is_empty(), "{report:?}");
    assert!(!verifying.accept_lost_records().expect("none"));
}

#[test]
fn a_prune_keeps_the_newest_checkpoints_that_are_of_use() {
    let world = world(130);
    let objects = world.harness.memory.objects();
    let checkpoints = |harness: &Harness| {
        let objects = harness.memory.objects();
        let names = objects.keys().map(|key| key.as_str().to_owned()).filter(|name| name.starts_with("ckpt/"));
        names.collect::<Vec<_>>()
    };
    let all: Vec<String> = [31, 63, 95, 127].map(name).into();
    assert_eq!(checkpoints(&world.harness), all);
    let last_of = |seq| log_key(seq).expect("key").to_string();
    for (broken, stay) in [
        (vec![], &all[2..]),
        (vec![name(127)], &all[1..]),
        (vec![name(95), name(127)], &all[..]),
        (vec![name(63), name(95), name(127)], &all[..]),
        (vec![name(31)], &all[2..]),
        // Who reads no record but those behind its cache prunes beside a damaged one.
        (vec![last_of(127)], &all[..]),
        (vec![last_of(63)], &all[..]),
    ] {
        let user = world.harness.on_image(objects.clone());
        user.repository();
        broken.iter().for_each(|name| user.memory.flip_byte(&key(name), 60).expect("there"));
        let repo = user.repository();
        let plan = gc::plan(&repo, &PruneOptions::default(), &Silent).expect("plan");
        plan.run(&Silent).expect("pruned");
        assert_eq!(checkpoints(&user), stay, "{broken:?}");
    }
}

#[test]
fn what_else_lies_among_the_records_hides_none() {
    let foreign = ["log/zzz", "log/ffffffffffffffff", "log/fffffffffffffff", "log/readme.txt"];
    for name in foreign {
        let world = world(6);
        let harness = &world.harness;
        let newest = harness.backup(world.tree.path(), "again").snapshot.expect("a snapshot");
        crate::common::damage::put(harness, &key(name), "not a record".into());
        let is_number = name == "log/ffffffffffffffff";
        // Before anything is lost it is in nobody's way, unless its name is that of a record.
        if !is_number {
            harness.assert_sound(name);
        }
        lose(harness, 3..5);
        let reader = harness.somebody_else();
        for snapshot in [&world.snapshot, &newest] {
            reader.assert_restores(snapshot, world.tree.path(), name);
        }
        let mut damaged = named(&reader, VerifyDepth::Structure);
        damaged.retain(|object| object != name);
        assert!(["log/0000000000000003", "log/0000000000000004"].iter().all(|lost| damaged.contains(&(*lost).into())));
        assert!(damaged.len() <= if is_number { 1100 } else { 2 }, "{name}: {}", damaged.len());
        let trail = audit(&reader.repository(), &AuditFilter::default(), None, &Silent, &mut |_| Ok(())).expect("read");
        assert!(!trail.damages.is_empty(), "{name}");
        assert!(plan(&reader.repository()).is_err(), "{name}: nothing is deleted by such a log");
    }
}

#[test]
fn what_a_lost_prune_deleted_is_relied_on_no_more_once_the_log_is_accepted() {
    let harness = Harness::with_repository(&small_packs());
    let tree = tempfile::tempdir().expect("temp");
    std::fs::write(tree.path().join("file"), crate::common::noise(3, 300_000)).expect("written");
    let snapshot = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    forget(&harness, snapshot);
    let all = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    gc::plan(&harness.repository(), &all, &Silent).and_then(|plan| plan.run(&Silent)).expect("pruned");
    let packs =
        |harness: &Harness| harness.memory.objects().keys().filter(|key| key.as_str().starts_with("packs/d/")).count();
    assert_eq!(packs(&harness), 0);
    let last = harness.repository().state().next_seq() - 1;
    lose(&harness, last..last + 1);
    let witness = tempfile::tempdir().expect("temp");
    let accept = |harness: &Harness| audit::accept(&harness.repository(), witness.path(), &Recording::default());
    let user = harness.somebody_else();
    let accepted = accept(&user).expect("accepted");
    assert!(accepted.absent_packs > 0, "{accepted:?}");
    assert_eq!(accept(&user).expect("again"), Accepted::default());
    let next = user.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    user.assert_restores(&next, tree.path(), "what is there no more was stored again");
}
