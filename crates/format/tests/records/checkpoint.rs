//! Folding the log.

use crate::fixtures::{
    FixedEntropy, Log, REPOSITORY, added, added_pack, commit, index, keyring, log_keys, manifest, pack,
};
use decube_backup_core::{ErrorKind, Timestamp};
use decube_backup_format::checkpoint::{Pin, State, Visibility};
use decube_backup_format::ids::{ParityId, ParityName, RepositoryId, SlotId, SnapshotId};
use decube_backup_format::log::{LabelChange, LogChain, ObjectName, Payload, SlotChange, SnapshotEdit};
use proptest::prelude::*;

fn snapshot_id(number: u8) -> SnapshotId {
    manifest(number).encode().expect("in bounds").id()
}

/// Folds records `from..` into `state`.
fn fold(state: &mut State, log: &Log, from: usize) {
    let mut chain = state.chain();
    for record in &log.records[from..] {
        let envelope = chain.accept(&record.bytes).expect("continues");
        let (_, payload) = envelope.open(&record.bytes, log.keys.log_key()).expect("opens");
        state.apply(&envelope, &payload).expect("folds");
    }
}

fn folded(log: &Log) -> State {
    let mut state = State::new(REPOSITORY);
    fold(&mut state, log, 0);
    state
}

fn through_bytes(state: &State) -> State {
    let bytes = state.encode(&log_keys(), &FixedEntropy::default()).expect("encodes");
    State::decode(&bytes, &keyring().log_key, &REPOSITORY).expect("decodes")
}

#[test]
fn a_forgotten_snapshot_is_hidden_until_restored() {
    let mut log = Log::new();
    log.append(&commit(1), Vec::new(), Vec::new());
    log.append(&commit(2), Vec::new(), Vec::new());
    log.append(&Payload::Forget { snapshots: vec![snapshot_id(1), SnapshotId([0; 32])] }, Vec::new(), Vec::new());
    let state = folded(&log);
    assert_eq!(state.live_snapshots().map(|s| s.seq).collect::<Vec<_>>(), [2]);
    assert_eq!(state.snapshot(&snapshot_id(1)).expect("known").visibility, Visibility::Forgotten { seq: 3 });
    log.append(&Payload::RestoreForgotten { snapshots: vec![snapshot_id(1)] }, Vec::new(), Vec::new());
    let state = folded(&log);
    assert_eq!(state.live_snapshots().map(|s| s.seq).collect::<Vec<_>>(), [1, 2], "log order, newest last");
    assert_eq!(state.forgotten_snapshots().count(), 0);
}

#[test]
fn a_reclaimed_pack_never_comes_back() {
    let mut log = Log::new();
    log.append(&Payload::Add { run: [1; 16] }, vec![added_pack(1), added_pack(2), added(index(1))], Vec::new());
    log.append(&Payload::Condemn { packs: vec![pack(1), pack(2)], released: Vec::new() }, Vec::new(), Vec::new());
    log.append(&Payload::Condemn { packs: Vec::new(), released: vec![pack(2)] }, Vec::new(), Vec::new());
    let state = folded(&log);
    assert!(!state.may_reuse(&pack(1)) && state.may_reuse(&pack(2)));
    assert_eq!(state.condemned_packs().collect::<Vec<_>>(), [(&pack(1), 2)]);
    assert_eq!(state.live_pack_count(), 2, "condemned is advice");
    log.append(&Payload::Reclaim, Vec::new(), vec![ObjectName::Pack(pack(1)), ObjectName::Pack(pack(9)), index(1)]);
    log.append(&Payload::Add { run: [1; 16] }, vec![added_pack(1), added_pack(9), added(index(1))], Vec::new());
    let state = folded(&log);
    for name in [pack(1), pack(9)] {
        assert!(state.is_reclaimed(&name) && state.pack(&name).is_none() && !state.may_reuse(&name));
    }
    assert_eq!(state.live_packs().map(|(name, _)| name).collect::<Vec<_>>(), [pack(2)]);
    assert_eq!(state.indexes().count(), 0);
    assert_eq!(state.retired_objects().collect::<Vec<_>>(), [&index(1)]);
    assert_eq!(state.condemned_packs().count(), 0);
}

#[test]
fn parity_lives_and_dies_with_its_pack_and_the_last_named_counts() {
    let parity = |number, id| ParityName { pack: pack(number), id: ParityId([id; 8]) };
    let adds = |names: &[ParityName]| names.iter().map(|name| added(ObjectName::Parity(*name))).collect::<Vec<_>>();
    let add = Payload::Add { run: [1; 16] };
    let mut log = Log::new();
    let packs = vec![added_pack(1), added_pack(2)];
    log.append(&add, [packs, adds(&[parity(1, 1), parity(2, 2), parity(9, 9)])].concat(), Vec::new());
    let state = folded(&log);
    let names = |state: &State| state.parities().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&state), [parity(2, 2), parity(1, 1)], "in the order of packs; a pack nobody knows has none");
    assert!(state.is_retired(&ObjectName::Parity(parity(9, 9))));
    assert_eq!(state.objects().filter(|(name, _)| matches!(name, ObjectName::Parity(_))).count(), 2);
    assert_eq!(through_bytes(&state), state);

    log.append(&add, adds(&[parity(1, 3), parity(1, 3)]), Vec::new());
    log.append(&add, adds(&[parity(1, 1)]), Vec::new());
    let state = folded(&log);
    assert_eq!(state.parity(&pack(1)).map(|(name, _)| name), Some(parity(1, 3)), "a name is never used again");
    assert!(state.is_retired(&ObjectName::Parity(parity(1, 1))));

    log.append(&add, Vec::new(), vec![ObjectName::Parity(parity(1, 1)), ObjectName::Parity(parity(2, 2))]);
    let state = folded(&log);
    assert_eq!(names(&state), [parity(1, 3)], "what is replaced takes nothing with it");

    log.append(&Payload::Reclaim, Vec::new(), vec![ObjectName::Pack(pack(1))]);
    log.append(&add, adds(&[parity(1, 4)]), Vec::new());
    let state = folded(&log);
    assert_eq!(names(&state), []);
    for id in [1, 3, 4] {
        assert!(state.is_retired(&ObjectName::Parity(parity(1, id))), "{id}");
    }
    assert_eq!(through_bytes(&state), state);
}

#[test]
fn what_is_said_of_packs_holds_until_something_else_is_said() {
    let mut log = Log::new();
    let verified = |pack, seconds| Payload::Verified { packs: vec![pack], time: Timestamp { seconds, nanoseconds: 5 } };
    let damaged = |packs: &[_], healed: &[_]| Payload::Damaged { packs: packs.to_vec(), healed: healed.to_vec() };
    log.append(&Payload::Add { run: [1; 16] }, vec![added_pack(1), added_pack(2)], Vec::new());
    for payload in [verified(pack(1), 70), verified(pack(2), 80), verified(pack(2), 60), verified(pack(9), 60)] {
        log.append(&payload, Vec::new(), Vec::new());
    }
    let state = folded(&log);
    assert_eq!([1, 2, 9].map(|n| state.verified(&pack(n))), [Some(70), Some(60), None], "the last word counts");
    log.append(&damaged(&[pack(1), pack(9)], &[]), Vec::new(), Vec::new());
    let state = folded(&log);
    assert_eq!(state.damaged_packs().collect::<Vec<_>>(), [(&pack(1), 6)], "unknown packs are not damaged");
    assert!(state.is_damaged(&pack(1)) && !state.may_reuse(&pack(1)) && state.may_reuse(&pack(2)));
    assert_eq!(state.verified(&pack(1)), None);
    assert_eq!(state.live_pack_count(), 2, "what is left in a damaged pack is still read");
    assert_eq!(through_bytes(&state), state);
    log.append(&damaged(&[], &[pack(1)]), Vec::new(), Vec::new());
    assert!(folded(&log).may_reuse(&pack(1)));
    log.append(&damaged(&[pack(1), pack(2)], &[]), Vec::new(), Vec::new());
    log.append(&Payload::Reclaim, Vec::new(), vec![ObjectName::Pack(pack(1))]);
    log.append(&damaged(&[pack(1)], &[]), Vec::new(), Vec::new());
    assert_eq!(folded(&log).damaged_packs().collect::<Vec<_>>(), [(&pack(2), 8)], "a reclaimed pack is gone");
}

#[test]
fn tags_labels_name_and_pins_follow_the_log_and_the_id_stays() {
    let mut log = Log::new();
    log.append(&commit(1), Vec::new(), Vec::new());
    let edit = SnapshotEdit {
        snapshot: snapshot_id(1),
        tags_removed: vec!["nightly".into()],
        tags_added: vec!["kept".into(), "kept".into()],
        labels: [("tier".to_owned(), LabelChange::Remove), ("why".to_owned(), LabelChange::Set("audit".into()))].into(),
        name: Some("renamed".into()),
    };
    log.append(&Payload::TagChange(edit), Vec::new(), Vec::new());
    let until = Timestamp { seconds: 5, nanoseconds: 0 };
    log.append(&Payload::Pin { snapshot: snapshot_id(1), until: Some(until) }, Vec::new(), Vec::new());
    let state = folded(&log);
    let entry = state.snapshot(&snapshot_id(1)).expect("known");
    assert_eq!(entry.manifest.tags, ["kept"]);
    assert_eq!(entry.manifest.labels, [("why".to_owned(), "audit".to_owned())].into());
    assert_eq!((entry.manifest.name.as_str(), entry.pin), ("renamed", Pin::Until(until)));
    assert!(entry.manifest.excludes.is_empty() && entry.manifest.problems.is_empty());
    assert_eq!(entry.manifest.problems_total, manifest(1).problems_total);
    assert_eq!(through_bytes(&state), state);
    log.append(&Payload::Pin { snapshot: snapshot_id(1), until: None }, Vec::new(), Vec::new());
    assert_eq!(folded(&log).snapshots()[0].pin, Pin::Forever);
    log.append(&Payload::Unpin { snapshot: snapshot_id(1) }, Vec::new(), Vec::new());
    assert_eq!(folded(&log).snapshots()[0].pin, Pin::None);
}

#[test]
fn slots_and_keyrings_follow_the_log() {
    let mut log = Log::new();
    let (first, second) = (SlotId([5; 8]), SlotId([6; 8]));
    let change = SlotChange::Added { slot: second, label: "b".into() };
    log.append(&Payload::KeySlot(change), vec![added(ObjectName::KeySlot(second))], Vec::new());
    let change = SlotChange::Removed { slot: first };
    log.append(&Payload::KeySlot(change), Vec::new(), vec![ObjectName::KeySlot(first)]);
    log.append(&Payload::Keyring { generation: 9 }, Vec::new(), Vec::new());
    assert_eq!(folded(&log).keyring_current(), 0, "a generation that was never added");
    let both = [ObjectName::Keyring(1), ObjectName::KeyringCopy(1)].map(added).to_vec();
    log.append(&Payload::Keyring { generation: 1 }, both, Vec::new());
    let state = folded(&log);
    assert_eq!(state.slots().map(|(slot, _)| slot).collect::<Vec<_>>(), [second]);
    assert_eq!((state.keyring_current(), state.keyrings().count()), (1, 2));
    let keys: Vec<_> = state.objects().map(|(name, _)| name.key().expect("legal").as_str().to_owned()).collect();
    let expected = [
        "format",
        "copy/format",
        "keyring/00000000",
        "keyring/00000001",
        "copy/keyring/00000000",
        "copy/keyring/00000001",
        "keys/0606060606060606",
    ];
    assert_eq!(keys, expected);
    assert_eq!(through_bytes(&state), state);
}

#[test]
fn what_is_kept_twice_is_listed_twice_and_each_finds_the_other() {
    let state = folded(&Log::new());
    let twice: Vec<_> = state.objects().filter_map(|(name, info)| Some((name, name.twin()?, info))).collect();
    assert_eq!(twice.len(), 4);
    for (name, twin, info) in twice {
        assert_eq!(twin.twin(), Some(name));
        assert!(state.objects().any(|(other, same)| other == twin && same == info), "{twin:?}");
        let copy = [&name, &twin].map(|name| name.key().expect("legal").as_str().to_owned());
        assert!(copy[0] == format!("copy/{}", copy[1]) || copy[1] == format!("copy/{}", copy[0]), "{copy:?}");
    }
}

#[test]
fn a_snapshot_recorded_twice_counts_once() {
    let mut log = Log::new();
    log.append(&commit(1), Vec::new(), Vec::new());
    log.append(&Payload::Forget { snapshots: vec![snapshot_id(1)] }, Vec::new(), Vec::new());
    log.append(&commit(1), Vec::new(), Vec::new());
    let state = folded(&log);
    assert_eq!(state.snapshots().len(), 1);
    assert_eq!(state.snapshots()[0].seq, 1);
}

#[test]
fn a_record_that_is_not_the_next_is_refused_and_changes_nothing() {
    let mut log = Log::new();
    log.append(&commit(1), vec![added_pack(1)], Vec::new());
    let mut state = folded(&log);
    let before = state.clone();
    let mut chain = LogChain::new(REPOSITORY);
    for record in &log.records {
        let envelope = chain.accept(&record.bytes).expect("continues");
        assert!(state.apply(&envelope, &commit(2)).is_err());
        assert!(state.apply_plain(&envelope).is_err());
    }
    let mut fresh = State::new(REPOSITORY);
    let envelope = LogChain::new(REPOSITORY).accept(&log.records[0].bytes).expect("first");
    assert!(fresh.apply(&envelope, &commit(1)).is_err(), "record 0 must be init");
    assert_eq!((state, fresh), (before, State::new(REPOSITORY)));
}

#[test]
fn the_plain_parts_alone_tell_which_objects_exist() {
    let mut log = Log::new();
    log.append(&commit(1), vec![added_pack(1), added_pack(2)], Vec::new());
    log.append(&Payload::Reclaim, Vec::new(), vec![ObjectName::Pack(pack(2))]);
    let (mut chain, mut state) = (LogChain::new(REPOSITORY), State::new(REPOSITORY));
    for record in &log.records {
        state.apply_plain(&chain.accept(&record.bytes).expect("continues")).expect("folds");
    }
    assert!(state.objects().eq(folded(&log).objects()));
    assert_eq!(state.snapshots().len(), 0);
}

#[test]
fn a_damaged_checkpoint_or_anothers_is_corrupt() {
    let mut log = Log::new();
    log.append(&commit(1), vec![added_pack(1)], Vec::new());
    let bytes = folded(&log).encode(&log.keys, &log.entropy).expect("encodes");
    let kind = |bytes: &[u8], repository| {
        State::decode(bytes, &keyring().log_key, &repository).map(|_| ()).map_err(|e| e.kind())
    };
    assert_eq!(kind(&bytes, REPOSITORY), Ok(()));
    assert_eq!(kind(&bytes, RepositoryId([9; 16])), Err(ErrorKind::Corrupt));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        assert!(kind(&bad, REPOSITORY).is_err(), "byte {at}");
        assert!(kind(&bytes[..at], REPOSITORY).is_err(), "cut at {at}");
    }
}

fn any_record() -> impl Strategy<Value = (Payload, Vec<u8>, Vec<u8>)> {
    let number = 0..6u8;
    let numbers = || proptest::collection::vec(0..12u8, 0..4);
    prop_oneof![
        (number.clone(), numbers()).prop_map(|(n, added)| (commit(n), added, Vec::new())),
        numbers().prop_map(|added| (Payload::Add { run: [0; 16] }, added, Vec::new())),
        number.clone().prop_map(|n| (Payload::Forget { snapshots: vec![snapshot_id(n)] }, Vec::new(), Vec::new())),
        number.clone().prop_map(|n| (
            Payload::RestoreForgotten { snapshots: vec![snapshot_id(n)] },
            Vec::new(),
            Vec::new()
        )),
        (numbers(), numbers()).prop_map(|(packs, released)| {
            let names = |numbers: Vec<u8>| numbers.into_iter().map(pack).collect();
            (Payload::Condemn { packs: names(packs), released: names(released) }, Vec::new(), Vec::new())
        }),
        numbers().prop_map(|reclaimed| (Payload::Reclaim, Vec::new(), reclaimed)),
        (numbers(), numbers()).prop_map(|(packs, healed)| {
            let names = |numbers: Vec<u8>| numbers.into_iter().map(pack).collect();
            (Payload::Damaged { packs: names(packs), healed: names(healed) }, Vec::new(), Vec::new())
        }),
        (numbers(), -9..9i64).prop_map(|(packs, seconds)| {
            let packs = packs.into_iter().map(pack).collect();
            (Payload::Verified { packs, time: Timestamp { seconds, nanoseconds: 0 } }, Vec::new(), Vec::new())
        }),
        number.prop_map(|n| (Payload::Pin { snapshot: snapshot_id(n), until: None }, Vec::new(), Vec::new())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn folding_on_from_a_checkpoint_equals_folding_from_the_start(
        records in proptest::collection::vec(any_record(), 0..20),
        at in any::<prop::sample::Index>(),
    ) {
        let mut log = Log::new();
        let cut = at.index(records.len() + 1);
        let mut early = None;
        for (n, (payload, added, reclaimed)) in records.iter().enumerate() {
            if n == cut {
                early = Some((through_bytes(&folded(&log)), log.records.len()));
            }
            let added = added.iter().map(|n| added_pack(*n)).collect();
            let reclaimed = reclaimed.iter().map(|n| ObjectName::Pack(pack(*n))).collect();
            log.append(payload, added, reclaimed);
        }
        let whole = folded(&log);
        if let Some((mut state, from)) = early {
            fold(&mut state, &log, from);
            prop_assert_eq!(&state, &whole);
        }
        prop_assert_eq!(&through_bytes(&whole), &whole);
        for (name, _) in whole.live_packs() {
            prop_assert!(!whole.is_reclaimed(&name));
        }
        prop_assert!(whole.live_snapshots().is_sorted_by_key(|s| s.seq));
    }
}
