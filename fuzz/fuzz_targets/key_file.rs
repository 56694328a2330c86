#![no_main]

use decube_backup_format::keyslot::KeyFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = KeyFile::parse(data) {
        assert!(KeyFile::parse(file.to_text().as_bytes()).is_ok());
    }
});
