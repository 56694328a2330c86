//! Records and the chain.

use crate::fixtures::{
    FixedEntropy, Log, REPOSITORY, added_pack, check_golden, commit, index, init_objects, keyring, pack, stamp,
};
use decube_backup_core::ErrorKind;
use decube_backup_format::hash::Key32;
use decube_backup_format::ids::{ParityId, ParityName, RepositoryId, SnapshotId};
use decube_backup_format::log::{Envelope, LogChain, LogKeys, ObjectName, Payload, RecordBuilder};
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// Signs a changed record as whoever holds `seed`.
fn sign(seed: &[u8; 32], record: &[u8]) -> Vec<u8> {
    let key = Ed25519KeyPair::from_seed_unchecked(seed).expect("seed");
    let mut bytes = record[..record.len() - 96].to_vec();
    bytes.extend_from_slice(key.public_key().as_ref());
    let digest = blake3::derive_key("decube-backup 2026 v1 record signature", &bytes);
    bytes.extend_from_slice(key.sign(&digest).as_ref());
    bytes
}

/// The seed of the repository's own writer: what an insider could do.
fn insider() -> [u8; 32] {
    keyring().log_key.derive("decube-backup 2026 v1 writer signing key", &[]).0
}

fn sample() -> Log {
    let mut log = Log::new();
    log.append(&commit(1), vec![added_pack(1), added_pack(2), crate::fixtures::added(index(3))], Vec::new());
    log.append(&Payload::Reclaim, Vec::new(), vec![ObjectName::Pack(pack(2))]);
    log
}

#[test]
fn the_bytes_of_a_record_are_settled() {
    let log = sample();
    check_golden("record_init", &log.records[0].bytes);
    check_golden("record_commit", &log.records[1].bytes);
    check_golden("record_reclaim", &log.records[2].bytes);
}

#[test]
fn the_bytes_of_a_record_that_names_parity_are_settled() {
    let parity = |number| ObjectName::Parity(ParityName { pack: pack(number), id: ParityId([number + 7; 8]) });
    let mut log = Log::new();
    let added = [added_pack(1), added_pack(2), crate::fixtures::added(parity(1)), crate::fixtures::added(parity(2))];
    log.append(&Payload::Add { run: [3; 16] }, added.to_vec(), vec![parity(4)]);
    check_golden("record_parity", &log.records[1].bytes);
}

#[test]
fn the_bytes_of_what_is_said_of_packs_are_settled() {
    let mut log = Log::new();
    log.append(&Payload::Damaged { packs: vec![pack(1)], healed: vec![pack(2)] }, Vec::new(), Vec::new());
    log.append(&Payload::Verified { packs: vec![pack(2), pack(3)], time: stamp().time }, Vec::new(), Vec::new());
    check_golden("record_damaged", &log.records[1].bytes);
    check_golden("record_verified", &log.records[2].bytes);
}

#[test]
fn a_record_tells_its_objects_without_keys_and_its_meaning_with_them() {
    let log = sample();
    let mut chain = LogChain::new(REPOSITORY);
    for (seq, record) in log.records.iter().enumerate() {
        let envelope = chain.accept(&record.bytes).expect("continues");
        assert_eq!((envelope.seq, envelope.hash), (seq as u64, record.hash));
        assert_eq!((chain.next_seq(), chain.last_hash()), (seq as u64 + 1, record.hash));
    }
    let envelope = Envelope::decode(&log.records[1].bytes).expect("decodes");
    assert_eq!(envelope.added.len(), 3);
    assert_eq!(envelope.added[0], added_pack(1));
    let (who, payload) = envelope.open(&log.records[1].bytes, &keyring().log_key).expect("opens");
    assert_eq!((who, payload), (stamp(), commit(1)));
    let envelope = Envelope::decode(&log.records[2].bytes).expect("decodes");
    assert_eq!(envelope.reclaimed_packs().collect::<Vec<_>>(), [&pack(2)]);
    let wrong = envelope.open(&log.records[2].bytes, &Key32([1; 32])).expect_err("wrong key");
    assert_eq!(wrong.kind(), ErrorKind::Corrupt);
    let mixed = envelope.open(&log.records[1].bytes, &keyring().log_key).expect_err("another record");
    assert_eq!(mixed.kind(), ErrorKind::Corrupt);
}

#[test]
fn every_flipped_or_missing_byte_breaks_the_signature() {
    for record in sample().records {
        for at in 0..record.bytes.len() {
            let mut bad = record.bytes.clone();
            bad[at] ^= 0x80;
            assert_eq!(Envelope::decode(&bad).expect_err("flipped").kind(), ErrorKind::Corrupt, "byte {at}");
            assert!(Envelope::decode(&record.bytes[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn a_changed_record_signed_anew_is_refused_by_the_chain_or_the_seal() {
    let log = sample();
    let original = &log.records[1].bytes;
    for (seed, who) in [([1; 32], "stranger"), (insider(), "insider")] {
        for at in 0..original.len() - 96 {
            let mut bad = original.clone();
            bad[at] ^= 0x01;
            let bad = sign(&seed, &bad);
            let mut chain = LogChain::new(REPOSITORY);
            chain.accept(&log.records[0].bytes).expect("first");
            let before = chain.clone();
            match chain.accept(&bad) {
                Err(_) => assert_eq!(chain, before, "unchanged on error"),
                Ok(envelope) => {
                    assert_eq!(who, "insider", "byte {at}");
                    assert!(envelope.open(&bad, &keyring().log_key).is_err(), "byte {at}");
                }
            }
        }
        let mut chain = LogChain::new(REPOSITORY);
        chain.accept(&log.records[0].bytes).expect("first");
        assert_eq!(chain.accept(&sign(&seed, original)).is_ok(), who == "insider");
    }
}

#[test]
fn a_first_record_taken_over_by_a_stranger_is_refused() {
    let log = sample();
    let error = LogChain::new(REPOSITORY).accept(&sign(&[1; 32], &log.records[0].bytes)).expect_err("not admitted");
    assert!(error.to_string().contains("unknown writer"), "{error}");
}

#[test]
fn an_admitted_writer_may_sign_what_follows() {
    let mut log = Log::new();
    let guest = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("seed");
    let mut id = [0; 32];
    id.copy_from_slice(guest.public_key().as_ref());
    let note = Payload::Note { text: "a guest".into() };
    let admits = log.builder(&note, Vec::new(), Vec::new()).admitting(id);
    log.push(&admits);
    log.append(&note, Vec::new(), Vec::new());
    let mut chain = LogChain::new(REPOSITORY);
    chain.accept(&log.records[0].bytes).expect("first");
    chain.accept(&log.records[1].bytes).expect("admits");
    chain.accept(&sign(&[1; 32], &log.records[2].bytes)).expect("signed by the guest");
}

#[test]
fn records_out_of_order_left_out_or_from_elsewhere_are_refused() {
    let (log, mut other) = (sample(), Log::new());
    other.append(&commit(2), Vec::new(), Vec::new());
    let mut chain = LogChain::new(REPOSITORY);
    assert!(chain.accept(&log.records[1].bytes).is_err(), "out of order");
    chain.accept(&log.records[0].bytes).expect("first");
    assert!(chain.accept(&log.records[0].bytes).is_err(), "again");
    assert!(chain.accept(&log.records[2].bytes).is_err(), "left out");
    chain.accept(&log.records[1].bytes).expect("second");
    other.append(&commit(3), Vec::new(), Vec::new());
    let forked = chain.accept(&other.records[2].bytes).expect_err("another history");
    assert!(forked.to_string().contains("does not continue") && forked.to_string().contains("seq=2"), "{forked}");
    let foreign = LogChain::new(RepositoryId([9; 16])).accept(&log.records[0].bytes).expect_err("foreign");
    assert!(foreign.to_string().contains("another repository"), "{foreign}");
}

#[test]
fn a_lost_race_rebuilds_the_same_record_for_the_next_slot() {
    let mut log = Log::new();
    let ours = log.builder(&commit(1), vec![added_pack(4)], Vec::new());
    let lost = ours.build(1, &log.records[0].hash, &log.keys, &log.entropy).expect("builds");
    log.append(&commit(2), Vec::new(), Vec::new());
    log.push(&ours);
    let (first, second) = (Envelope::decode(&lost.bytes), Envelope::decode(&log.records[2].bytes));
    let (first, second) = (first.expect("decodes"), second.expect("decodes"));
    assert_eq!((first.nonce, first.seq), (ours.nonce(), 1));
    assert_eq!((second.nonce, second.seq), (ours.nonce(), 2));
    let key = keyring().log_key;
    assert_eq!(first.open(&lost.bytes, &key).ok(), second.open(&log.records[2].bytes, &key).ok());
}

#[test]
fn only_a_reclaim_record_may_reclaim_packs() {
    let build = |payload: &Payload, reclaimed| {
        RecordBuilder::new(REPOSITORY, &stamp(), payload, init_objects(), vec![reclaimed], &FixedEntropy::default())
    };
    assert!(build(&commit(1), ObjectName::Pack(pack(1))).is_err());
    assert!(build(&Payload::Reclaim, ObjectName::Format).is_err());
    assert!(build(&Payload::Reclaim, ObjectName::Pack(pack(1))).is_ok());
    assert!(build(&Payload::Add { run: [0; 16] }, index(1)).is_ok());
}

#[test]
fn a_text_too_long_for_a_record_is_refused() {
    let note = Payload::Note { text: "x".repeat(5000) };
    let built = RecordBuilder::new(REPOSITORY, &stamp(), &note, Vec::new(), Vec::new(), &FixedEntropy::default());
    assert_eq!(built.expect_err("too long").kind(), ErrorKind::Invalid);
}

#[test]
fn a_list_of_every_pack_of_a_large_repository_fits_one_record() {
    let packs = vec![pack(1); 640_000];
    let payload = Payload::Condemn { packs, released: Vec::new() };
    let log = Log::new();
    let record = log.builder(&payload, Vec::new(), Vec::new()).build(1, &log.records[0].hash, &log.keys, &log.entropy);
    let bytes = record.expect("fits").bytes;
    let envelope = Envelope::decode(&bytes).expect("decodes");
    assert_eq!(envelope.open(&bytes, &keyring().log_key).expect("opens").1, payload);
}

#[test]
fn keys_are_not_shown() {
    let keys = LogKeys::new(&keyring()).expect("keys");
    let shown = format!("{keys:?} {:?}", Payload::Forget { snapshots: vec![SnapshotId([1; 32])] });
    assert!(shown.contains("***"), "{shown}");
}

proptest! {
    #[test]
    fn hostile_envelopes_with_a_good_signature_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        tail in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = sample().records[1].bytes.clone();
        for (at, value) in changes {
            let at = 8 + at.index(bytes.len() - 104);
            bytes[at] = value;
        }
        bytes.truncate(8 + cut.index(bytes.len() - 8));
        bytes.extend_from_slice(&tail);
        bytes.extend_from_slice(&[0; 96]);
        let bytes = sign(&[1; 32], &bytes);
        if let Ok(envelope) = Envelope::decode(&bytes) {
            prop_assert!(envelope.open(&bytes, &keyring().log_key).is_err());
        }
        let _ = Envelope::decode(&tail);
    }
}
