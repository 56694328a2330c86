#![no_main]

use decube_backup_format::manifest::EncodedManifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Recorded as a postcard byte string inside the payload of a Commit record.
    let recorded = postcard::to_allocvec(data).expect("bytes can be written");
    let manifest: EncodedManifest = postcard::from_bytes(&recorded).expect("bytes can be read");
    if let Ok(snapshot) = manifest.decode() {
        let _ = snapshot.encode();
    }
});
