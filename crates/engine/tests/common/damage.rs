//! Ways in which a stored object goes bad.

use super::Harness;
use decube_backup_core::Key;

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
    }
    .expect("damaged");
}
