//! `v1-hosts`: hosts that only write, and parity for every pack: a host that is still there and one that was dismissed,
//! what they added repacked by a prune, and keys rotated under them.

use crate::common::{Harness, password, records, small_packs};
use crate::{BEGIN, DAY_S, PASSWORD, assert_restores, day_of, source};
use decube_backup_core::Timestamp;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::options::{BackupOptions, SnapshotFilter};
use decube_backup_engine::{Credentials, Environment, Repository, backup, keys};
use decube_backup_format::ids::{SnapshotId, pack_key};
use decube_backup_format::keyslot::KeyFile;
use decube_backup_format::pack::PackHeader;
use decube_backup_format::parity::Overhead;
use decube_backup_testkit::SeededEntropy;
use std::sync::Arc;
use std::time::Duration;

/// The administrator's, whose tree has some of the same content.
const MUSEUM: &str = "museum";
const ANNEX: &str = "annex";
/// Its key was removed; what it had added stays.
const CLOSED: &str = "closed";
/// Days on which every host made a backup.
const DAYS: u64 = 15;
/// The annex's snapshots that were forgotten, and their space reclaimed.
const GONE: [u64; 2] = [1, 2];

fn key_file(host: &str) -> Credentials {
    Credentials::KeyFile(KeyFile::generate(&SeededEntropy::new(host.len() as u64)).expect("key file"))
}

/// What the host had on that day: some that all have, some that stays, some that changes.
fn files(host: &str, day: u64) -> Vec<(&'static str, u64, u64)> {
    let seed = 1000 * host.len() as u64;
    vec![("all", 1, 4000), ("constant", seed, 3000), ("daily", seed + 100 + day, 700 + day), ("inline", seed + day, 40)]
}

fn back_up(repo: &Repository, host: &str, day: u64) -> SnapshotId {
    let options = BackupOptions {
        name: Some("daily".into()),
        host: host.into(),
        time: Some(Timestamp { seconds: BEGIN + day as i64 * DAY_S, nanoseconds: 0 }),
        ..BackupOptions::default()
    };
    backup::backup(repo, &source(&files(host, day)), &options, &Silent).expect("backup").snapshot.expect("a snapshot")
}

pub fn make(harness: &Harness, env: Environment) {
    let env = Environment { parity: Overhead::percent(10).expect("in range"), ..env };
    let repo = Repository::init(env.clone(), &password(PASSWORD), &small_packs()).expect("init");
    let open = |host: &str, seed: u64| {
        let entropy = Arc::new(SeededEntropy::new(seed));
        let cache = harness.somebody_else().environment().cache_dir;
        Repository::open_to_write(Environment { entropy, cache_dir: cache, ..env.clone() }, || Ok(key_file(host)))
    };
    back_up(&repo, MUSEUM, 0);
    let slots =
        [ANNEX, CLOSED].map(|host| keys::add_write_only(&repo, &key_file(host), host, host).expect("added").slot);
    let mut annexes = Vec::new();
    let [annex, closed] = [(ANNEX, 3001), (CLOSED, 3002)].map(|(host, seed)| open(host, seed).expect("open"));
    for day in 0..DAYS {
        annexes.push(back_up(&annex, ANNEX, day));
        back_up(&closed, CLOSED, day);
    }
    keys::remove(&repo, &slots[1]).expect("removed");

    for day in GONE {
        records::forget(harness, annexes[day as usize]);
    }
    let options =
        PruneOptions { max_unused: MaxUnused::Bytes(0), orphan_age: Duration::ZERO, ..PruneOptions::default() };
    repo.refresh().expect("refreshed");
    gc::plan(&repo, &options, &Silent).expect("plan").run(&Silent).expect("pruned");
    keys::rotate(&repo).expect("rotated");
    back_up(&open(ANNEX, 3003).expect("open"), ANNEX, DAYS);
    repo.refresh().expect("refreshed");
    back_up(&repo, MUSEUM, DAYS);
}

/// The days of which there is a snapshot, by host.
fn expected() -> [(&'static str, Vec<u64>); 3] {
    let annex = (0..=DAYS).filter(|day| !GONE.contains(day)).collect();
    [(MUSEUM, vec![0, DAYS]), (ANNEX, annex), (CLOSED, (0..DAYS).collect())]
}

pub fn check(harness: &Harness, context: &str) {
    assert_gives_all_back(harness, context);
    harness.assert_sound(context);

    // A byte of every pack that has parity is damaged, and nothing is lost.
    let mut objects = harness.memory.objects();
    let state = harness.repository().state();
    assert!(state.parities().len() > 3, "{context}");
    for (parity, _) in state.parities() {
        let object = objects.get_mut(&pack_key(&parity.pack).expect("key")).expect("stored");
        let mut bytes = object.to_vec();
        bytes[PackHeader::BYTES + 1] ^= 1;
        *object = bytes.into();
    }
    assert_gives_all_back(&harness.on_image(objects), &format!("{context}, damaged"));

    // On a copy, so that the next one finds what this one found: the annex goes on, the other host does not.
    let copy = harness.on_image(harness.memory.objects());
    let open = |host: &str| Repository::open_to_write(copy.somebody_else().environment(), || Ok(key_file(host)));
    assert!(open(CLOSED).is_err(), "{context}: a removed key opens");
    let id = back_up(&open(ANNEX).expect("open"), ANNEX, DAYS + 1);
    assert_restores(&copy, &copy.snapshot(&id), &files(ANNEX, DAYS + 1), context);
}

fn assert_gives_all_back(harness: &Harness, context: &str) {
    let user = harness.somebody_else();
    let repo = user.repository();
    for (host, days) in expected() {
        let filter =
            SnapshotFilter { host: Some(host.into()), name: Some("daily".into()), ..SnapshotFilter::default() };
        let live = repo.snapshots(&filter);
        assert_eq!(live.iter().map(day_of).collect::<Vec<_>>(), days, "{context}: {host}");
        for snapshot in &live {
            assert_restores(&user, snapshot, &files(host, day_of(snapshot)), context);
        }
    }
}
