#![no_main]

use decube_backup_format::header::Header;
use decube_backup_fuzz::with_checksum;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Header::decode(data);
    let whole = with_checksum(b"DECUBEBK", data);
    if let Ok(header) = Header::decode(&whole) {
        assert_eq!(header.encode().expect("what was decoded can be encoded"), whole);
    }
});
