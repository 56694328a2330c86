//! Slots that anybody can store who may write: each asks for as much work as it says, and none delays who opens.

use crate::common::damage::put;
use crate::common::{Harness, key, password, small_packs};
use decube_backup_core::{Error, ErrorKind, Timestamp};
use decube_backup_engine::repository::{NewRecord, Verdict};
use decube_backup_engine::{Credentials, Repository};
use decube_backup_format::hash::Key32;
use decube_backup_format::ids::SlotId;
use decube_backup_format::keyslot::{KDF_DEFAULT, KdfCost, KeySlot, SlotKdf, SlotSecret};
use decube_backup_format::log::{AddedObject, ObjectName, Payload, SlotChange, Stamp};

/// Just dearer than a new one.
const DEAR: KdfCost = KdfCost { m_kib: KDF_DEFAULT.m_kib + 1, ..KDF_DEFAULT };
const CHEAP: KdfCost = KdfCost { m_kib: 8, t: 1, p: 1 };

/// The object of a slot that `password` opens to `keyring_key`.
fn slot(harness: &Harness, password: &str, cost: KdfCost, keyring_key: &Key32) -> Vec<u8> {
    let secret = SlotSecret::Password(password.as_bytes());
    let (id, time) = (harness.repository().id(), Timestamp::default());
    KeySlot::seal(id, secret, cost, "", time, keyring_key, harness.entropy.as_ref()).expect("sealed").0.encode()
}

/// Stores it under the name that `number` gives.
fn store(harness: &Harness, number: u64, bytes: &[u8]) -> SlotId {
    let id = SlotId(number.to_be_bytes());
    put(harness, &key(&format!("keys/{id}")), bytes.to_vec().into());
    id
}

/// Records that the slot is in force.
fn record(harness: &Harness, slot: SlotId, bytes: &[u8]) {
    let payload = Payload::KeySlot(SlotChange::Added { slot, label: String::new() });
    let added = vec![AddedObject::of(ObjectName::KeySlot(slot), bytes)];
    let record = NewRecord { payload, added, reclaimed: Vec::new(), stamp: Stamp::default() };
    harness.repository().append(record, &mut |_| Ok(Verdict::Stands)).expect("appended");
}

/// What the key file of `harness` leads to.
fn keyring_key(harness: &Harness) -> Key32 {
    let objects = harness.memory.objects();
    let slots = objects.iter().filter(|(key, _)| key.as_str().starts_with("keys/"));
    let slot = slots.map(|(_, bytes)| KeySlot::decode(bytes).expect("whole"));
    let slot = { slot }.find(|slot| matches!(slot.kdf, SlotKdf::KeyFile { .. })).expect("the first one");
    let file = if let Credentials::KeyFile(file) = &harness.credentials { Some(file) } else { None };
    let file = file.expect("opened by a key file");
    slot.open(SlotSecret::KeyFile(file), &harness.repository().id()).expect("its own").keyring_key
}

fn open(harness: &Harness, text: &str) -> Result<(), Error> {
    Repository::open(harness.somebody_else().environment(), &password(text)).map(drop)
}

/// A slot that is tried says that it leads to another repository's keyring.
fn is_tried(harness: &Harness, text: &str) -> bool {
    let error = open(harness, text).expect_err("no keyring");
    assert_eq!(error.kind(), ErrorKind::WrongKey, "{error:?}");
    let tried = error.to_string().contains("not of this repository");
    assert_eq!(!tried, error.to_string().contains("slots_not_of_this_log="), "{error:?}");
    tried
}

#[test]
fn a_dear_slot_is_tried_only_if_the_log_names_it() {
    let harness = Harness::with_repository(&small_packs());
    let strange = Key32([7; 32]);
    store(&harness, 1, &slot(&harness, "forged", CHEAP, &strange));
    assert!(is_tried(&harness, "forged"), "it costs nothing");
    let bytes = slot(&harness, "forged", DEAR, &strange);
    store(&harness, 1, &bytes);
    assert!(!is_tried(&harness, "forged"));
    // Other bytes under a name that is recorded are not what the record names.
    let own = slot(&harness, "own", DEAR, &keyring_key(&harness));
    let id = store(&harness, 2, &own);
    record(&harness, id, &own);
    store(&harness, 2, &bytes);
    assert!(!is_tried(&harness, "forged"));
    store(&harness, 2, &own);
    open(&harness, "own").expect("in force");
}

#[test]
fn of_many_cheap_slots_those_beyond_the_first_are_tried_only_if_the_log_names_them() {
    let harness = Harness::with_repository(&small_packs());
    let forged = slot(&harness, "forged", CHEAP, &Key32([7; 32]));
    let other = slot(&harness, "other", CHEAP, &Key32([7; 32]));
    (0..64).for_each(|number| _ = store(&harness, number, &other));
    store(&harness, 64, &forged);
    assert!(!is_tried(&harness, "forged"));
    let own = slot(&harness, "own", CHEAP, &keyring_key(&harness));
    let id = store(&harness, 65, &own);
    record(&harness, id, &own);
    open(&harness, "own").expect("in force");
}

#[test]
fn a_log_that_is_not_whole_keeps_no_slot_from_being_tried() {
    let harness = Harness::with_repository(&small_packs());
    let own = slot(&harness, "own", DEAR, &keyring_key(&harness));
    let id = store(&harness, 2, &own);
    record(&harness, id, &own);
    harness.backup(tempfile::tempdir().expect("temp").path(), "tree");
    harness.memory.flip_byte(&key("log/0000000000000001"), 300).expect("there");
    open(&harness, "own").expect("what added it is damaged");
    harness.memory.remove(&key("log/0000000000000001")).expect("there");
    open(&harness, "own").expect("what added it is lost");
}
