#![no_main]

use decube_backup_format::keyslot::KeySlot;
use decube_backup_fuzz::with_checksum;
use libfuzzer_sys::fuzz_target;

// Opening is left out: the derivation is slow by intent, and its cost is bounded by what decode accepts.
fuzz_target!(|data: &[u8]| {
    let _ = KeySlot::decode(data);
    let whole = with_checksum(b"DECUBEKS", data);
    if let Ok(slot) = KeySlot::decode(&whole) {
        assert_eq!(slot.encode(), whole);
    }
});
