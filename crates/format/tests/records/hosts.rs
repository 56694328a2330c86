//! Hosts with write-only keys: how they are admitted, and their records.

use crate::fixtures::{FixedEntropy, Log, REPOSITORY, added, check_golden, commit, log_keys};
use decube_backup_format::checkpoint::State;
use decube_backup_format::hash::Key32;
use decube_backup_format::host::{HostAdmission, HostMark, HostRing};
use decube_backup_format::ids::{PackKind, PackName, SlotId};
use decube_backup_format::log::{LogChain, LogKeys, ObjectName, Payload, SlotChange, WriterKey};
use decube_backup_format::pack::PackHeader;
use decube_backup_format::reading::{ReadingPublic, RunKeys, SealedToReader, Shared};
use decube_backup_format::seal::Cipher;

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
