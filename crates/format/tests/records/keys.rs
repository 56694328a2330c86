//! Header, key slots, key files and the keyring.

use crate::fixtures::{FixedEntropy, KEYRING_KEY, REPOSITORY, check_golden, keyring};
use decube_backup_core::{ErrorKind, Timestamp};
use decube_backup_format::chunker::{ARGMIN_CHUNKER_ID, ChunkerParams};
use decube_backup_format::hash::Key32;
use decube_backup_format::header::{Access, Features, HEADER_BYTES, Header};
use decube_backup_format::ids::{PackKind, RepositoryId};
use decube_backup_format::keyring::{Keyring, VersionedKey};
use decube_backup_format::keyslot::{Envelope, KdfCost, KeyFile, KeySlot, RecoveryKey, SlotSecret};
use decube_backup_format::log::LogKeys;
use proptest::prelude::*;

pub const CHEAP: KdfCost = KdfCost { m_kib: 64, t: 1, p: 1 };
const ENCLOSED: Key32 = Key32([0x33; 32]);
pub const PASSWORD: SlotSecret<'static> = SlotSecret::Password(b"correct horse");

fn header() -> Header {
    Header {
        repository: REPOSITORY,
        features: Features::default(),
        chunker_id: ARGMIN_CHUNKER_ID,
        chunker: ChunkerParams::DEFAULT,
        pack_data_bytes: 64 << 20,
        pack_meta_bytes: 16 << 20,
        segment_bytes: 1 << 20,
    }
}

fn slot(secret: SlotSecret<'_>) -> KeySlot {
    let created = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
    let entropy = FixedEntropy::default();
    KeySlot::seal(REPOSITORY, secret, CHEAP, "laptop", created, &KEYRING_KEY, &entropy).expect("sealed").0
}

fn recipient_slot() -> KeySlot {
    let created = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
    let envelope = Envelope { recipient: "age1example".into(), sealed: b"enclosed".to_vec() };
    let entropy = FixedEntropy::default();
    KeySlot::seal_in(REPOSITORY, envelope, &ENCLOSED, "phone", created, &KEYRING_KEY, &entropy).expect("sealed").0
}

fn sheet() -> RecoveryKey {
    RecoveryKey::generate(&FixedEntropy::default()).expect("fixed entropy")
}

pub fn key_file() -> KeyFile {
    KeyFile::generate(&FixedEntropy::default()).expect("fixed entropy")
}

/// Replaces the closing checksum by the right one.
pub fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 32);
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

#[test]
fn the_bytes_of_header_slots_and_keyring_are_settled() {
    check_golden("header", &header().encode().expect("in bounds"));
    check_golden("slot_password", &slot(PASSWORD).encode());
    check_golden("slot_key_file", &slot(SlotSecret::KeyFile(&key_file())).encode());
    check_golden("slot_recipient", &recipient_slot().encode());
    check_golden("slot_recovery", &slot(SlotSecret::Recovery(&sheet())).encode());
    let lines = sheet().to_lines().map(|line| line.as_str().to_owned()).join("\n");
    check_golden("recovery_key", format!("{lines}\n{}", sheet().to_code().as_str()).as_bytes());
    check_golden("key_file", key_file().to_text().as_bytes());
    check_golden("keyring", &keyring().seal(&KEYRING_KEY, &REPOSITORY, &FixedEntropy::default()).expect("sealed"));
    let rotated = keyring().rotated(5, &FixedEntropy::default()).expect("rotated");
    check_golden(
        "keyring_rotated",
        &rotated.seal(&KEYRING_KEY, &REPOSITORY, &FixedEntropy::default()).expect("sealed"),
    );
    check_golden("writer", &LogKeys::new(&keyring()).expect("keys").writer());
}

#[test]
fn a_header_round_trips_and_every_flipped_or_missing_byte_is_corrupt() {
    let bytes = header().encode().expect("in bounds");
    assert_eq!(bytes.len(), HEADER_BYTES);
    assert_eq!(Header::decode(&bytes).expect("decodes"), header());
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x40;
        assert_eq!(Header::decode(&bad).expect_err("flipped").kind(), ErrorKind::Corrupt, "byte {at}");
        assert_eq!(Header::decode(&bytes[..at]).expect_err("cut").kind(), ErrorKind::Corrupt, "cut at {at}");
    }
}

#[test]
fn a_whole_header_of_another_version_is_unsupported_and_senseless_sizes_are_corrupt() {
    let with = |at: usize, value: u8| {
        let mut bytes = header().encode().expect("in bounds");
        bytes[at] = value;
        Header::decode(&with_checksum(bytes)).expect_err("refused").kind()
    };
    assert_eq!(with(8, 2), ErrorKind::Unsupported);
    assert_eq!(with(55, 0xff), ErrorKind::Corrupt, "chunk minimum");
    assert_eq!(with(67, 0xff), ErrorKind::Corrupt, "data pack");
    let header = Header { segment_bytes: u32::MAX, ..header() };
    assert_eq!(header.encode().expect_err("refused").kind(), ErrorKind::Invalid);
}

#[test]
fn an_unknown_feature_bit_stops_what_needs_it_and_what_builds_on_that() {
    let check = |features, access| Header { features, ..header() }.check(access).map_err(|e| e.kind());
    let unsupported = Err(ErrorKind::Unsupported);
    for access in [Access::Read, Access::Write, Access::Gc] {
        assert_eq!(check(Features::default(), access), Ok(()));
        assert_eq!(check(Features { read: 1 << 63, ..Features::default() }, access), unsupported);
    }
    assert_eq!(check(Features { write: 1, ..Features::default() }, Access::Read), Ok(()));
    assert_eq!(check(Features { write: 1, ..Features::default() }, Access::Gc), unsupported);
    assert_eq!(check(Features { gc: 1, ..Features::default() }, Access::Write), Ok(()));
    let error = Header { features: Features { read: 4, ..Features::default() }, ..header() };
    let error = error.check(Access::Read).expect_err("unknown bit");
    assert!(error.to_string().contains("unknown_bits=0x0000000000000004"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_slot_opens_with_its_own_secret_only() {
    let file = key_file();
    let entropy = FixedEntropy::default();
    assert_eq!(KeyFile::generate(&entropy).expect("fixed entropy"), file);
    let stranger = KeyFile::generate(&entropy).expect("fixed entropy");
    let open =
        |slot: &KeySlot, secret| slot.open(secret, &REPOSITORY).map(|opened| opened.keyring_key).map_err(|e| e.kind());
    let (by_password, by_file) = (slot(PASSWORD), slot(SlotSecret::KeyFile(&file)));
    assert_eq!(open(&by_password, PASSWORD), Ok(KEYRING_KEY));
    assert_eq!(open(&by_file, SlotSecret::KeyFile(&file)), Ok(KEYRING_KEY));
    for (slot, secret) in [
        (&by_password, SlotSecret::Password(b"correct horsf")),
        (&by_password, SlotSecret::Password(b"")),
        (&by_password, SlotSecret::KeyFile(&file)),
        (&by_file, PASSWORD),
        (&by_file, SlotSecret::KeyFile(&stranger)),
    ] {
        assert_eq!(open(slot, secret), Err(ErrorKind::WrongKey));
    }
    let elsewhere = by_password.open(PASSWORD, &RepositoryId([1; 16])).expect_err("another repository");
    assert_eq!(elsewhere.kind(), ErrorKind::Corrupt);
}

#[test]
fn slots_for_public_keys_and_sheets_open_with_their_own_secret_only() {
    let stranger = RecoveryKey::generate(&FixedEntropy(7.into())).expect("fixed entropy");
    let open =
        |slot: &KeySlot, secret| slot.open(secret, &REPOSITORY).map(|opened| opened.keyring_key).map_err(|e| e.kind());
    let (sheet, enclosed, another) = (sheet(), ENCLOSED, Key32([1; 32]));
    let (for_key, for_sheet) = (recipient_slot(), slot(SlotSecret::Recovery(&sheet)));
    assert_eq!(open(&for_key, SlotSecret::Enveloped(&enclosed)), Ok(KEYRING_KEY));
    assert_eq!(open(&for_sheet, SlotSecret::Recovery(&sheet)), Ok(KEYRING_KEY));
    for (slot, secret) in [
        (&for_key, SlotSecret::Enveloped(&another)),
        (&for_key, SlotSecret::Recovery(&stranger)),
        (&for_key, PASSWORD),
        (&for_sheet, SlotSecret::Recovery(&stranger)),
        (&for_sheet, SlotSecret::Enveloped(&enclosed)),
    ] {
        assert_eq!(open(slot, secret), Err(ErrorKind::WrongKey));
    }
    for slot in [for_key, for_sheet] {
        let bytes = slot.encode();
        assert_eq!(KeySlot::decode(&bytes).expect("decodes"), slot);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x01;
            assert_eq!(KeySlot::decode(&bad).expect_err("flipped").kind(), ErrorKind::Corrupt, "byte {at}");
        }
    }
    let entropy = FixedEntropy::default();
    let long = Envelope { recipient: "x".repeat(4097), sealed: Vec::new() };
    let made = KeySlot::seal_in(REPOSITORY, long, &ENCLOSED, "", Timestamp::default(), &KEYRING_KEY, &entropy);
    assert_eq!(made.expect_err("too long").kind(), ErrorKind::Invalid);
}

#[test]
fn a_changed_envelope_breaks_the_seal() {
    let slot = recipient_slot();
    let bytes = slot.encode();
    let at = bytes.windows(8).position(|w| w == b"enclosed").expect("there");
    let mut bad = bytes;
    bad[at] ^= 1;
    let forged = KeySlot::decode(&with_checksum(bad)).expect("whole");
    let error = forged.open(SlotSecret::Enveloped(&ENCLOSED), &REPOSITORY).expect_err("forged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_slot_wrapped_anew_opens_with_the_same_secret_and_yields_the_other_key() {
    let opened = slot(PASSWORD).open(PASSWORD, &REPOSITORY).expect("opens");
    let entropy = FixedEntropy::default();
    let again = slot(PASSWORD).rewrap(&opened.kek, &Key32([9; 32]), &entropy).expect("wrapped");
    assert_eq!(again.open(PASSWORD, &REPOSITORY).expect("opens").keyring_key, Key32([9; 32]));
    let error = slot(PASSWORD).rewrap(&Key32([1; 32]), &Key32([9; 32]), &entropy).expect_err("another KEK");
    assert_eq!(error.kind(), ErrorKind::WrongKey);
}

#[test]
fn every_wrong_symbol_of_a_recovery_key_is_noticed_and_its_line_named() {
    let lines = sheet().to_lines().map(|line| line.as_str().to_owned());
    let parse = |lines: &[String; 4]| RecoveryKey::parse(&lines.join("\n"));
    assert_eq!(parse(&lines).expect("parses"), sheet());
    let named = |bad: &[String; 4], number: usize, context: &str| {
        let error = parse(bad).expect_err(context);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{context}");
        assert!(error.to_string().contains(&format!("line {number} ")), "{context}: {error}");
    };
    for line in 0..4 {
        let symbols: Vec<char> = lines[line].chars().collect();
        let places: Vec<usize> = (7..symbols.len()).filter(|at| symbols[*at] != ' ').collect();
        assert_eq!(places.len(), 10);
        for &at in &places {
            for other in "0123456789ABCDEFGHJKMNPQRSTVWXYZ!".chars().filter(|c| *c != symbols[at]) {
                let mut bad = symbols.clone();
                bad[at] = other;
                let mut all = lines.clone();
                all[line] = bad.iter().collect();
                named(&all, line + 1, &format!("line {line}, place {at}, {other}"));
            }
        }
        for pair in places.windows(2).filter(|pair| symbols[pair[0]] != symbols[pair[1]]) {
            let mut bad = symbols.clone();
            bad.swap(pair[0], pair[1]);
            let mut all = lines.clone();
            all[line] = bad.iter().collect();
            named(&all, line + 1, &format!("line {line}, swapped at {pair:?}"));
        }
    }
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    named(&swapped, 2, "lines in the wrong order");
}

#[test]
fn a_recovery_key_is_read_however_it_was_typed() {
    let lines = sheet().to_lines().map(|line| line.as_str().to_owned());
    let bare = lines.clone().map(|line| line.split_once(": ").expect("marked").1.to_owned());
    let sloppy = bare.join("\r\n\n  ").to_lowercase().replace(' ', "-").replace('0', "o").replace('1', "l");
    let whole = format!("# Sheet\nRepository: x\n\n  {}\n\nkey words: none\nQR ▀▄█", lines.join("\n  "));
    for text in [bare.join("\n"), sloppy, whole, format!("  {}  ", sheet().to_code().as_str())] {
        assert_eq!(RecoveryKey::parse(&text).expect(&text), sheet());
    }
    let (cut, doubled) = (lines[..3].join("\n"), lines.join("\n").repeat(2));
    for text in ["", "key 1: 0", &cut, &doubled, "DECUBE-RECOVERY-1:ABC"] {
        assert_eq!(RecoveryKey::parse(text).expect_err("not whole").kind(), ErrorKind::Invalid, "{text}");
    }
}

#[test]
fn a_rotated_keyring_keeps_everything_and_adds_a_key_of_each_kind() {
    let (old, entropy) = (keyring(), FixedEntropy::default());
    let new = old.rotated(4, &entropy).expect("rotated");
    assert!(new.same_repository(&old) && new.generation == 4);
    for kind in [PackKind::Data, PackKind::Meta] {
        assert_eq!(new.current_pack_key(kind).expect("some").version, 4);
        assert_eq!(new.pack_key(kind, 0).ok(), old.pack_key(kind, 0).ok());
    }
    assert_ne!(new.pack_key(PackKind::Data, 4).ok(), new.pack_key(PackKind::Meta, 4).ok());
    for generation in [0, 4] {
        assert!(new.rotated(generation, &entropy).is_err(), "not later");
    }
}

#[test]
fn a_damaged_slot_is_corrupt_and_never_a_wrong_password() {
    let bytes = slot(PASSWORD).encode();
    assert_eq!(KeySlot::decode(&bytes).expect("decodes"), slot(PASSWORD));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x01;
        assert_eq!(KeySlot::decode(&bad).expect_err("flipped").kind(), ErrorKind::Corrupt, "byte {at}");
        assert_eq!(KeySlot::decode(&bytes[..at]).expect_err("cut").kind(), ErrorKind::Corrupt, "cut at {at}");
    }
}

#[test]
fn a_forged_slot_never_yields_a_key() {
    let bytes = slot(PASSWORD).encode();
    for at in 0..bytes.len() - 32 {
        let mut bad = bytes.clone();
        bad[at] ^= 0x01;
        let kind = KeySlot::decode(&with_checksum(bad)).and_then(|slot| slot.open(PASSWORD, &REPOSITORY));
        let kind = kind.expect_err("forged").kind();
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::WrongKey), "byte {at}");
    }
}

#[test]
fn a_slot_that_asks_for_too_much_work_is_refused_before_any_is_done() {
    for (at, value) in [(27, u32::MAX), (27, (1 << 20) + 1), (27, 7), (31, 17), (31, 0), (35, 17), (35, 0)] {
        let mut bytes = slot(PASSWORD).encode();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let error = KeySlot::decode(&with_checksum(bytes)).expect_err("out of bounds");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{at} {value}");
    }
}

#[test]
fn reserved_slot_kinds_are_unsupported() {
    for kind in [0, 4, 255] {
        let mut bytes = slot(PASSWORD).encode();
        bytes[10] = kind;
        assert_eq!(KeySlot::decode(&with_checksum(bytes)).expect_err("kind").kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn a_mistyped_or_cut_key_file_is_named_as_such() {
    let text = key_file().to_text();
    assert_eq!(KeyFile::parse(text.as_bytes()).expect("parses"), key_file());
    assert_eq!(KeyFile::parse(text.replace('\n', "\r\n").as_bytes()).expect("parses"), key_file());
    assert_eq!(KeyFile::parse(text.trim_end().as_bytes()).expect("parses"), key_file());
    for at in 0..text.len() - 1 {
        let mut bad = text.as_bytes().to_vec();
        bad[at] ^= 0x02;
        assert_eq!(KeyFile::parse(&bad).expect_err("mistyped").kind(), ErrorKind::Invalid, "byte {at}");
        assert_eq!(KeyFile::parse(&text.as_bytes()[..at]).expect_err("cut").kind(), ErrorKind::Invalid);
    }
}

#[test]
fn a_keyring_opens_at_its_own_place_only_and_keeps_old_pack_keys() {
    let mut ring = keyring();
    ring.generation = 3;
    ring.data_keys.push(VersionedKey { version: 7, key: Key32([7; 32]) });
    let bytes = ring.seal(&KEYRING_KEY, &REPOSITORY, &FixedEntropy::default()).expect("sealed");
    let open = |key: &Key32, repository: &RepositoryId, generation| Keyring::open(key, repository, generation, &bytes);
    let opened = open(&KEYRING_KEY, &REPOSITORY, 3).expect("opens");
    assert_eq!(opened, ring);
    assert_eq!(opened.current_pack_key(PackKind::Data).expect("some").version, 7);
    assert_eq!(opened.pack_key(PackKind::Data, 0).expect("old"), &ring.data_keys[0].key);
    assert_eq!(opened.pack_key(PackKind::Meta, 7).expect_err("none").kind(), ErrorKind::Corrupt);
    for (key, repository, generation) in
        [(Key32([1; 32]), REPOSITORY, 3), (KEYRING_KEY, RepositoryId([1; 16]), 3), (KEYRING_KEY, REPOSITORY, 2)]
    {
        assert_eq!(open(&key, &repository, generation).expect_err("elsewhere").kind(), ErrorKind::Corrupt);
    }
    ring.data_keys.reverse();
    assert!(ring.seal(&KEYRING_KEY, &REPOSITORY, &FixedEntropy::default()).is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400), magic in 0..3usize) {
        let magic: &[u8] = [&b"DECUBEBK\x01\0"[..], b"DECUBEKS\x01\0", b""][magic];
        let bytes = with_checksum([magic, &body, &[0; 32]].concat());
        let _ = Header::decode(&bytes);
        let _ = KeySlot::decode(&bytes);
        let _ = KeyFile::parse(&body);
        let _ = RecoveryKey::parse(&String::from_utf8_lossy(&body));
        prop_assert!(Keyring::open(&KEYRING_KEY, &REPOSITORY, 0, &body).is_err());
    }
}
