//! Every decoder on seeded mutations of sound bytes: the checks of the fuzz targets, in every build.
//!
//! The same mutants every time, so a failure repeats; it names decoder, seed and round. Longer and cleverer runs
//! are cargo-fuzz's (`fuzz/README.md`), which calls the same checks.

mod mutate;
mod seeds;
#[path = "../../../../fuzz/src/lib.rs"]
mod shared;

use mutate::Mutator;
use shared::checks;

/// Mutants per decoder.
const ROUNDS: u32 = 8000;

/// Every seed is accepted, and whatever the mutants are, `check` holds.
fn check(name: &str, check: fn(&[u8]) -> bool, seeds: &[Vec<u8>]) {
    for (number, seed) in seeds.iter().enumerate() {
        assert!(check(seed), "{name}: seed {number} is refused, so its mutants would test nothing");
    }
    for round in 0..ROUNDS {
        let mutant = Mutator::new(name, round).mutant(seeds);
        let outcome = std::panic::catch_unwind(|| check(&mutant));
        assert!(outcome.is_ok(), "{name}: round {round} of {} bytes: {mutant:02x?}", mutant.len());
    }
}

macro_rules! decoders {
    ($($name:ident: $check:ident,)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), checks::$check, &seeds::$name());
            }
        )*
    };
}

decoders! {
    format_header: format_header,
    key_slot: key_slot,
    key_file: key_file,
    recovery_key: recovery_key,
    keyring: keyring,
    host_ring: host_ring,
    sealed_object: sealed_object,
    sealed_to_reader: sealed_to_reader,
    record: record,
    record_payload: record_payload,
    manifest: manifest,
    checkpoint: checkpoint,
    pack_header: pack_header_bytes,
    pack_footer: pack_footer,
    pack_tail: pack_tail,
    pack: pack,
    parity: parity,
    parity_object: parity_object,
    segment: segment,
    index_segment: index_segment,
    tree_leaf: tree_leaf,
    tree_inner: tree_inner,
    list_node: list_node,
}

/// A decoder without its line above would be fuzzed by nobody until someone installs cargo-fuzz.
#[test]
fn every_fuzz_target_has_a_test_here() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/fuzz_targets");
    let here = include_str!("main.rs");
    for target in std::fs::read_dir(root).expect("the fuzz targets") {
        let target = target.expect("entry").file_name().into_string().expect("UTF-8");
        let name = target.trim_end_matches(".rs");
        assert!(here.contains(&format!("    {name}: ")), "{name}");
    }
}
