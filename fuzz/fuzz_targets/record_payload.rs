#![no_main]

use decube_backup_format::log::Envelope;
use decube_backup_fuzz::{KEY, record_with};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = record_with(data);
    let envelope = Envelope::decode(&whole).expect("the envelope is sound");
    let _ = envelope.open(&whole, &KEY);
});
