#![no_main]

use decube_backup_format::keyring::Keyring;
use decube_backup_format::seal::Cipher;
use decube_backup_format::sealed;
use decube_backup_fuzz::{KEY, NoEntropy, REPOSITORY};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let aad = sealed::aad("keyring", &REPOSITORY, "00000000");
    let bytes = sealed::seal(Cipher::Aes256Gcm, &KEY, &aad, data, &NoEntropy).expect("sealed");
    let _ = Keyring::open(&KEY, &REPOSITORY, 0, &bytes);
});
