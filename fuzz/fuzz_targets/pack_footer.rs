#![no_main]

use decube_backup_format::pack::Footer;
use decube_backup_format::wire::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(data, "pack footer");
    let _ = Footer::decode_from(&mut reader);
});
