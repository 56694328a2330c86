#![no_main]

use decube_backup_format::tree::{decode_leaf, encode_leaf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(entries) = decode_leaf(data) {
        assert_eq!(encode_leaf(&entries), data);
    }
});
