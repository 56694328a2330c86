#![no_main]

use decube_backup_format::sealed;
use decube_backup_fuzz::KEY;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    assert!(sealed::open(&KEY, b"", data).is_err(), "nobody guesses a seal");
    let _ = sealed::commits_to(&KEY, data);
});
