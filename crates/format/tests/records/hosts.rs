//! Write-only keys: slots and rings, how hosts are admitted, and their records.

use crate::fixtures::{FixedEntropy, KEYRING_KEY, Log, REPOSITORY, added, check_golden, commit, keyring, log_keys};
use crate::keys::{CHEAP, PASSWORD, key_file, with_checksum};
use decube_backup_core::{ErrorKind, Timestamp};
use decube_backup_format::checkpoint::State;
use decube_backup_format::hash::Key32;
use decube_backup_format::host::{HostAdmission, HostMark, HostRing, host_index_key};
use decube_backup_format::ids::{PackKind, PackName, SlotId};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::keyslot::{KeySlot, SlotSecret};
use decube_backup_format::log::{LogChain, LogKeys, ObjectName, Payload, SlotChange, WriterKey};
use decube_backup_format::pack::PackHeader;
use decube_backup_format::reading::{ReadingPublic, RunKeys, SealedToReader, Shared};
use decube_backup_format::seal::Cipher;

fn ring() -> HostRing {
    let keyring = keyring().with_reading_key(5, &FixedEntropy::default()).expect("rotated");
    let signing_seed = Key32([0x44; 32]);
    let writer = WriterKey::from_seed(&signing_seed).expect("key").id();
    HostRing {
        cipher: keyring.cipher,
        id_key: keyring.id_key.clone(),
        chunker_key: keyring.chunker_key.clone(),
        reader: keyring.reader().expect("a reading key"),
        index_key: host_index_key(&keyring.log_key, &writer),
        signing_seed,
        cache_key: Key32([0x55; 32]),
        root: LogKeys::new(&keyring).expect("keys").writer(),
        host: "alpha".into(),
    }
}

fn write_only_slot(secret: SlotSecret<'_>) -> KeySlot {
    let created = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
    let entropy = FixedEntropy::default();
    KeySlot::seal_ring(REPOSITORY, secret, CHEAP, "web", created, &ring(), &entropy).expect("sealed")
}

#[test]
fn the_bytes_of_rings_slots_and_reading_keys_are_settled() {
    let reading = keyring().with_reading_key(5, &FixedEntropy::default()).expect("rotated");
    check_golden(
        "keyring_reading",
        &reading.seal(&KEYRING_KEY, &REPOSITORY, &FixedEntropy::default()).expect("sealed"),
    );
    check_golden("host_ring", &ring().encode().expect("in bounds"));
    check_golden("slot_write_only", &write_only_slot(SlotSecret::KeyFile(&key_file())).encode());
}

#[test]
fn a_write_only_slot_gives_a_ring_and_never_the_keyring_key() {
    for secret in [PASSWORD, SlotSecret::KeyFile(&key_file())] {
        let slot = write_only_slot(secret);
        assert_eq!(KeySlot::decode(&slot.encode()).expect("decodes"), slot);
        assert_eq!(slot.open_ring(secret, &REPOSITORY).expect("opens"), ring());
        assert_eq!(slot.open(secret, &REPOSITORY).expect_err("no keyring key").kind(), ErrorKind::WrongKey);
        let full =
            KeySlot::seal(REPOSITORY, secret, CHEAP, "", Timestamp::default(), &KEYRING_KEY, &FixedEntropy::default());
        assert_eq!(
            full.expect("sealed").0.open_ring(secret, &REPOSITORY).expect_err("no ring").kind(),
            ErrorKind::WrongKey
        );
        // Of the one kind passed off as the other the seal breaks.
        let mut bytes = slot.encode();
        bytes[10] -= 0x40;
        let forged = KeySlot::decode(&with_checksum(bytes)).and_then(|slot| slot.open(secret, &REPOSITORY));
        assert_eq!(forged.expect_err("forged").kind(), ErrorKind::Corrupt);
    }
    let bytes = ring().encode().expect("in bounds");
    for at in 0..bytes.len() {
        assert!(HostRing::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    let nameless = HostRing { host: String::new(), ..ring() };
    assert_eq!(nameless.encode().expect_err("no name").kind(), ErrorKind::Invalid);
}

#[test]
fn reading_keys_come_and_stay() {
    let (old, entropy) = (keyring(), FixedEntropy::default());
    assert_eq!(old.reader(), None);
    let new = old.with_reading_key(4, &entropy).expect("rotated").rotated(6, &entropy).expect("rotated");
    assert_eq!(new.reader().map(|reader| reader.version), Some(4));
    assert!(new.reading_key(4).is_some() && new.reading_key(6).is_none());
    let sealed = new.seal(&KEYRING_KEY, &REPOSITORY, &entropy).expect("sealed");
    assert_eq!(Keyring::open(&KEYRING_KEY, &REPOSITORY, 6, &sealed).expect("opens"), new);
}

#[test]
fn the_bytes_of_a_hosts_admission_and_record_are_settled() {
    let mut log = Log::new();
    let slot = SlotId([5; 8]);
    let change = SlotChange::HostAdded { slot, label: "web".into(), host: "alpha".into() };
    let seed = Key32([0x44; 32]);
    let writer = WriterKey::from_seed(&seed).expect("key").id();
    let builder = log.builder(&Payload::KeySlot(change), Vec::new(), Vec::new());
    log.push(&builder.admitting_host(HostAdmission { slot, writer }));
    let ring = HostRing {
        cipher: Cipher::Aes256Gcm,
        id_key: Key32([1; 32]),
        chunker_key: Key32([2; 32]),
        reader: ReadingPublic::of(3, &Key32([3; 32])),
        signing_seed: seed,
        index_key: Key32([4; 32]),
        cache_key: Key32([5; 32]),
        root: log.keys.writer(),
        host: "alpha".into(),
    };
    log.keys = LogKeys::of_host(&ring, &REPOSITORY, &log.entropy).expect("keys");
    let pack = PackName { kind: PackKind::Data, id: HostMark::of(&writer).pack(&log.entropy).expect("drawn") };
    log.append(&commit(1), vec![added(ObjectName::Pack(pack))], Vec::new());
    check_golden("record_admission", &log.records[1].bytes);
    check_golden("record_of_host", &log.records[2].bytes);
    // And both are accepted and do what they say.
    let (mut chain, mut state) = (LogChain::new(REPOSITORY), State::new(REPOSITORY));
    for record in &log.records {
        let envelope = chain.accept(&record.bytes).expect("accepted");
        let payload = match state.host(&envelope.writer) {
            None => envelope.open(&record.bytes, log_keys().log_key()).expect("opens").1,
            Some(_) => {
                let opened = envelope.open_by(&record.bytes, |aad, sealed| {
                    let object = SealedToReader::parse(sealed)?.expect("sealed to the reading key");
                    RunKeys::open(&Key32([3; 32]), &object.tag, &REPOSITORY)?.open_object(aad, &object)
                });
                opened.expect("opens").1
            }
        };
        assert_eq!(state.apply_opened(&envelope, Some(&payload)).expect("folded"), None);
    }
    assert!(state.is_hosted(&pack) && state.live_snapshots().count() == 1);
}

#[test]
fn the_bytes_of_what_a_run_seals_are_settled() {
    let entropy = FixedEntropy::default();
    let run = RunKeys::begin(&ReadingPublic::of(3, &Key32([3; 32])), &REPOSITORY, &entropy).expect("begun");
    let name = crate::fixtures::pack(2);
    check_golden("pack_header_of_run", &PackHeader::of_run(REPOSITORY, name, Cipher::Aes256Gcm, run.tag()).encode());
    check_golden("pack_family_of_run", &run.pack_family(PackKind::Data).0);
    let sealed = run.seal(Cipher::Aes256Gcm, b"aad", b"content", &entropy).expect("sealed");
    check_golden("sealed_to_reader", &sealed);
    let shared = Shared::seal(Cipher::Aes256Gcm, b"aad", b"content", &entropy, &Key32([4; 32]), |key| {
        run.seal(Cipher::Aes256Gcm, b"aad", &key.0, &entropy)
    });
    check_golden("sealed_for_two", &shared.expect("sealed"));
}
