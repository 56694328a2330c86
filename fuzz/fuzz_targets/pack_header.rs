#![no_main]

use decube_backup_format::pack::PackHeader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = PackHeader::decode(data) {
        assert_eq!(header.encode(), data[..PackHeader::BYTES]);
    }
});
