//! What file systems have shown to keep of the attributes that they take.
//!
//! *Invariant*: what a file system drops without an error is said. An attribute is read back after it was set until the file system
//! has kept one that it cannot have kept by chance; from then on it is trusted. FAT, SMB and programs may show every file with the
//! same mode and owner, and keep times to two seconds.

use crate::kinds::Kind;
use decube_backup_core::entry::Timestamp;
use rustix::fs::{Statx, StatxFlags};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Units that times may be kept in, nanoseconds: NTFS and SMB, programs, exFAT, old ext, FAT.
const STEPS_NS: [u64; 6] = [100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];

/// By device number.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<HashMap<u64, Proof>>);

/// What one file system has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    pub(super) modes: bool,
    pub(super) owners: bool,
    pub(super) times: bool,
    /// Times are cut to multiples of it, nanoseconds.
    pub(super) step_ns: Option<u64>,
}

impl Proofs {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Proof>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, device: u64) -> Proof {
        self.all().get(&device).copied().unwrap_or_default()
    }

    /// Adds what was learned; whether it is news that times are cut.
    pub(super) fn learn(&self, device: u64, new: Proof) -> bool {
        let mut all = self.all();
        let proof = all.entry(device).or_default();
        let cut_before = proof.step_ns;
        proof.modes |= new.modes;
        proof.owners |= new.owners;
        proof.times |= new.times;
        proof.step_ns = proof.step_ns.max(new.step_ns);
        proof.step_ns != cut_before
    }

    /// The unit that times are kept in where `stat` is from, nanoseconds, as far as it is known.
    pub(super) fn step_ns(&self, device: u64, kind: Kind, stat: &Statx) -> u64 {
        let known = match kind {
            Kind::FAT => 2_000_000_000,
            // Inodes of 128 bytes have room for neither.
            Kind::EXT4 if !StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME) => 1_000_000_000,
            _ => 1,
        };
        self.of(device).step_ns.unwrap_or(1).max(known)
    }
}

/// The least unit that makes `wanted` into `got`.
pub(super) fn step_between(wanted: Timestamp, got: Timestamp) -> Option<u64> {
    STEPS_NS.into_iter().find(|step| wanted.cut_to(*step) == got)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_least_that_explains_the_time() {
        let time = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
        for (wanted, got, step) in [
            (time(5, 123_456_789), time(5, 123_456_700), Some(100)),
            (time(5, 123_456_789), time(5, 120_000_000), Some(10_000_000)),
            (time(5, 123_456_789), time(5, 0), Some(1_000_000_000)),
            (time(5, 123_456_789), time(4, 0), Some(2_000_000_000)),
            (time(-5, 1), time(-6, 0), Some(2_000_000_000)),
            (time(5, 0), time(7, 0), None),
        ] {
            assert_eq!(step_between(wanted, got), step, "{wanted:?}");
        }
    }
}
