#![no_main]

use decube_backup_format::checkpoint::State;
use decube_backup_format::seal::Cipher;
use decube_backup_format::sealed;
use decube_backup_fuzz::{KEY, NoEntropy, REPOSITORY};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let aad = sealed::aad("checkpoint", &REPOSITORY, "");
    let packed = zstd::bulk::compress(data, 1).expect("compressed");
    for plain in [data, &packed] {
        let bytes = sealed::seal(Cipher::Aes256Gcm, &KEY, &aad, plain, &NoEntropy).expect("sealed");
        let _ = State::decode(&bytes, &KEY, &REPOSITORY);
    }
});
