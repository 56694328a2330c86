#![no_main]

use decube_backup_format::tree::{decode_inner, encode_inner};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(node) = decode_inner(data) {
        assert_eq!(encode_inner(node.height, &node.children), data);
    }
});
