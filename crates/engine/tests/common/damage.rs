//! Ways in which a stored object goes bad.

use super::Harness;
use decube_backup_core::{Key, PutMode};

#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// The byte at this many thousandths of the object.
    Flip(usize),
    /// The byte this far from the end.
    FlipFromEnd(usize),
    /// Only this many thousandths stay.
    Truncate(usize),
    /// Only the last byte goes.
    Shorten,
    Remove,
    /// It holds what an older object of its kind holds, or if there is none another one.
    Replace,
}

pub const EVERY: &[Damage] = &[
    Damage::Flip(0),
    Damage::Flip(3),
    Damage::Flip(250),
    Damage::Flip(500),
    Damage::Flip(900),
    Damage::FlipFromEnd(1),
    Damage::FlipFromEnd(40),
    Damage::FlipFromEnd(80),
    Damage::Truncate(0),
    Damage::Truncate(500),
    Damage::Shorten,
    Damage::Remove,
];

/// Those, and the bytes of another object.
pub fn every() -> impl Iterator<Item = Damage> {
    EVERY.iter().copied().chain([Damage::Replace])
}

/// The object whose bytes `key` gets: the one before it of its kind, else the one after it, else any.
fn other(harness: &Harness, key: &Key) -> Key {
    let kind = |key: &Key| {
        let names = if key.as_str().starts_with("packs/") { 2 } else { 1 };
        key.as_str().split('/').take(names).map(str::to_owned).collect::<Vec<_>>()
    };
    // What is kept twice would be replaced by itself.
    let objects = harness.memory.objects();
    let differing = objects.iter().filter(|(other, bytes)| *other != key && **bytes != objects[key]);
    let keys: Vec<Key> = differing.map(|(other, _)| other.clone()).collect();
    let of_kind: Vec<&Key> = keys.iter().filter(|other| kind(other) == kind(key)).collect();
    let before = of_kind.iter().rev().find(|other| **other < key);
    before.or(of_kind.first()).copied().or(keys.first()).expect("another object").clone()
}

/// Swaps the bytes of two objects.
pub fn swap(harness: &Harness, one: &Key, two: &Key) {
    let objects = harness.memory.objects();
    put(harness, one, objects[two].clone());
    put(harness, two, objects[one].clone());
}

/// Replaces the object's bytes.
pub fn put(harness: &Harness, key: &Key, bytes: bytes::Bytes) {
    let put = harness.sink.put(key, bytes.into(), PutMode::Overwrite);
    harness.runtime.block_on(put).expect("put");
}

/// Damages the object `key`.
pub fn apply(harness: &Harness, key: &Key, damage: Damage) {
    let len = harness.memory.objects()[key].len();
    let memory = &harness.memory;
    match damage {
        Damage::Flip(part) => memory.flip_byte(key, len * part / 1000),
        Damage::FlipFromEnd(back) => memory.flip_byte(key, len.saturating_sub(back)),
        Damage::Truncate(part) => memory.truncate(key, len * part / 1000),
        Damage::Shorten => memory.truncate(key, len - 1),
        Damage::Remove => memory.remove(key),
        Damage::Replace => {
            put(harness, key, harness.memory.objects()[&other(harness, key)].clone());
            Ok(())
        }
    }
    .expect("damaged");
}
