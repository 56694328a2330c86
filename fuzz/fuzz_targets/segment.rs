#![no_main]

use decube_backup_format::codec::Decompressor;
use libfuzzer_sys::fuzz_target;

// A frame may claim any length; the footer bounds what is asked for.
fuzz_target!(|data: &[u8]| {
    let mut output = Vec::new();
    if let Ok(mut decompressor) = Decompressor::new() {
        for len in [0, 1, 64 << 10, 8 << 20] {
            if decompressor.decompress(data, len, &mut output).is_ok() {
                assert_eq!(output.len(), len);
            }
        }
    }
});
