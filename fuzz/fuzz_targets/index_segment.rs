#![no_main]

use decube_backup_format::index::decode_index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = decode_index(data);
});
