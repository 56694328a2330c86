#![no_main]

use decube_backup_format::tree::{decode_list, encode_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(node) = decode_list(data) {
        assert_eq!(encode_list(&node), data);
    }
});
