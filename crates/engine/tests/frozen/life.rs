//! `v1-life`: a repository that has been through everything: snapshots forgotten, given back, pinned and reclaimed, an
//! index merged, keys of every kind, rotated, damage found, put right and healed.

use crate::common::damage::put;
use crate::common::{ALL_DATA, Harness, password, records, small_packs};
use crate::{BEGIN, DAY_S, PASSWORD, assert_restores, day_of, source};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{Key, Timestamp};
use decube_backup_engine::forget::{ForgetOptions, Wanted, forget};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::keys::{Identities, Recipient};
use decube_backup_engine::options::{BackupOptions, Effect, SnapshotFilter, TagChange, VerifyDepth};
use decube_backup_engine::retention::GuardLimits;
use decube_backup_engine::undelete::undelete;
use decube_backup_engine::verify::{Recording, VerifyOptions, verify_and_record};
use decube_backup_engine::{Credentials, Environment, Repository, backup, keys, tags};
use decube_backup_format::checkpoint::Pin;
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::keyslot::{KeyFile, RecoveryKey};
use decube_backup_format::log::Payload;
use decube_backup_testkit::SeededEntropy;
use std::time::Duration;

/// For whoever finds it: it protects nothing but this.
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
/// Days on which a backup was made: enough for their index segments to be merged.
const DAYS: u64 = 18;
/// Forgotten, and their space reclaimed.
const GONE: [u64; 3] = [3, 4, 5];
/// Forgotten, and still there.
const HIDDEN: u64 = 6;
/// Forgotten and given back.
const BACK: u64 = 7;
const PINNED: u64 = 8;

/// What there was on that day: some that stays, some that changes.
fn files(day: u64) -> Vec<(&'static str, u64, u64)> {
    vec![("constant", 1, 3000), ("daily", 100 + day, 700 + day), ("folder/inline", 200 + day, 50 + day)]
}

fn key_file() -> KeyFile {
    KeyFile::generate(&SeededEntropy::new(78)).expect("key file")
}

fn recovery() -> RecoveryKey {
    RecoveryKey::generate(&SeededEntropy::new(79)).expect("recovery key")
}

fn back_up(repo: &Repository, day: u64) -> SnapshotId {
    let options = BackupOptions {
        name: Some("daily".into()),
        host: "museum".into(),
        time: Some(Timestamp { seconds: BEGIN + day as i64 * DAY_S, nanoseconds: 0 }),
        ..BackupOptions::default()
    };
    backup::backup(repo, &source(&files(day)), &options, &Silent).expect("backup").snapshot.expect("a snapshot")
}

fn drop_snapshots(repo: &Repository, ids: Vec<SnapshotId>) {
    let limits = GuardLimits { allow_empty_group: true, share_percent_max: None };
    let options = ForgetOptions { limits, ..ForgetOptions::new(Wanted::Named(ids)) };
    forget(repo, &options).expect("forgotten");
}

fn check_all(repo: &Repository) -> (u64, u64) {
    let options = VerifyOptions { depth: ALL_DATA, snapshots: None };
    let report = verify_and_record(repo, &options, &Recording::default(), &Silent).expect("verified");
    (report.recorded.damaged, report.recorded.healed)
}

pub fn make(harness: &Harness, env: Environment) {
    let repo = Repository::init(env, &password(PASSWORD), &small_packs()).expect("init");
    let ids: Vec<SnapshotId> = (0..DAYS).map(|day| back_up(&repo, day)).collect();
    let at = |day: u64| ids[day as usize];

    keys::add(&repo, &Credentials::KeyFile(key_file()), "key file").expect("added");
    keys::add(&repo, &Credentials::Recovery(recovery()), "sheet").expect("added");
    keys::add_recipient(&repo, &Recipient::parse(RECIPIENT).expect("recipient"), "age").expect("added");
    let other = KeyFile::generate(&SeededEntropy::new(80)).expect("key file");
    let slot = keys::add(&repo, &Credentials::KeyFile(other), "removed").expect("added").slot;
    keys::remove(&repo, &slot).expect("removed");
    keys::rotate(&repo).expect("rotated");

    let labels = [("ward".to_owned(), "east".to_owned())].into();
    let change = TagChange { add: vec!["kept".into()], labels, ..TagChange::default() };
    tags::change(&repo, &[at(2)], &change).expect("tagged");
    tags::pin(&repo, &[at(PINNED)], Pin::Forever).expect("pinned");
    let until = Timestamp { seconds: BEGIN + 1000 * DAY_S, nanoseconds: 0 };
    tags::pin(&repo, &[at(9)], Pin::Until(until)).expect("pinned");
    tags::pin(&repo, &[at(9)], Pin::None).expect("unpinned");
    records::append(&repo, Payload::Note { text: "moved to the new building".into() }, Vec::new());

    // A pack found damaged, and put back from a replica.
    let pack = packs(harness).remove(0);
    let whole = harness.memory.objects()[&pack].clone();
    harness.memory.flip_byte(&pack, whole.len() / 2).expect("damaged");
    assert_eq!(check_all(&repo), (1, 0));
    put(harness, &pack, whole);
    assert_eq!(check_all(&repo), (0, 1));

    drop_snapshots(&repo, GONE.map(at).to_vec());
    let options =
        PruneOptions { max_unused: MaxUnused::Bytes(0), orphan_age: Duration::ZERO, ..PruneOptions::default() };
    gc::plan(&repo, &options, &Silent).expect("plan").run(&Silent).expect("pruned");
    drop_snapshots(&repo, vec![at(HIDDEN), at(BACK)]);
    undelete(&repo, &[at(BACK)], Effect::Real, ("museum", "keeper"), &Silent).expect("given back");

    // Damage that the next backup of the source heals; the pack stays on the list.
    let before = packs(harness);
    back_up(&repo, DAYS);
    let own = packs(harness).into_iter().find(|pack| !before.contains(pack)).expect("a pack of its own");
    harness.memory.flip_byte(&own, 100).expect("damaged");
    assert_eq!(check_all(&repo), (1, 0));
    back_up(&repo, DAYS);
}

fn packs(harness: &Harness) -> Vec<Key> {
    harness.memory.objects().into_keys().filter(|key| key.as_str().starts_with("packs/d/")).collect()
}

pub fn check(harness: &Harness, context: &str) {
    let identity = Credentials::Identities(Identities::parse(IDENTITY).expect("identity"));
    let others = [Credentials::KeyFile(key_file()), Credentials::Recovery(recovery()), identity];
    for credentials in [password(PASSWORD)].into_iter().chain(others) {
        let user = Harness { credentials, ..harness.somebody_else() };
        let repo = user.repository();
        let live = repo.snapshots(&SnapshotFilter { name: Some("daily".into()), ..SnapshotFilter::default() });
        let missing = |day: &u64| GONE.contains(day) || *day == HIDDEN;
        let mut days: Vec<u64> = (0..=DAYS).filter(|day| !missing(day)).collect();
        days.push(DAYS);
        assert_eq!(live.iter().map(day_of).collect::<Vec<_>>(), days, "{context}");
        for snapshot in &live {
            assert_restores(&user, snapshot, &files(day_of(snapshot)), context);
        }
        let find = |day: u64| live.iter().find(|s| day_of(s) == day).expect("live");
        assert_eq!((find(PINNED).pin, find(9).pin), (Pin::Forever, Pin::None), "{context}");
        assert_eq!((&find(2).manifest.tags[..], &*find(2).manifest.labels["ward"]), (&["kept".into()][..], "east"));
        assert_eq!(repo.state().keyring_current(), 1, "{context}");
        for depth in [VerifyDepth::Structure, ALL_DATA] {
            let report = user.verify(depth);
            let known = repo.state().damaged_packs().len();
            assert!(report.affected_count == 0 && report.damages.len() <= 4 * known, "{context}: {report:?}");
            assert!(report.damages.iter().all(|d| d.object.starts_with("packs/d/")), "{context}: {report:?}");
        }
    }
    // On a copy, so that the next one finds what this one found.
    let user = Harness { credentials: password(PASSWORD), ..harness.on_image(harness.memory.objects()) };
    let repo = user.repository();
    let hidden: Vec<SnapshotId> = repo.state().forgotten_snapshots().map(|s| s.id).collect();
    let answer = undelete(&repo, &hidden, Effect::Real, ("museum", "keeper"), &Silent);
    assert!(answer.is_err(), "{context}: what was reclaimed came back");
    let state = repo.state();
    let day = |at: Timestamp| ((at.seconds - BEGIN) / DAY_S) as u64;
    let hidden = state.forgotten_snapshots().find(|s| day(s.manifest.begun) == HIDDEN).expect("known").id;
    if !context.ends_with("used") {
        undelete(&repo, &[hidden], Effect::Real, ("museum", "keeper"), &Silent).expect("given back");
        let snapshot = user.snapshot(&hidden);
        assert_restores(&user, &snapshot, &files(HIDDEN), context);
    }
}
