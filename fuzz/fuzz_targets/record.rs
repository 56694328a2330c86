#![no_main]

use decube_backup_format::log::{Envelope, LogChain};
use decube_backup_fuzz::{KEY, REPOSITORY, signed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Envelope::decode(data);
    let whole = signed(data);
    if let Ok(envelope) = Envelope::decode(&whole) {
        let _ = envelope.open(&whole, &KEY);
        let _ = LogChain::new(REPOSITORY).accept(&whole);
    }
});
