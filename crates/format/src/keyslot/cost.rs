//! What deriving a key from a password costs.

use crate::hash::Key32;
use argon2::{Algorithm, Argon2, Params, Version};
use decube_backup_core::{Error, ErrorKind, Result};

/// Most Argon2 memory accepted from a slot, KiB: 1 GiB.
pub const KDF_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Most Argon2 passes accepted from a slot.
pub const KDF_PASSES_MAX: u32 = 16;
/// Most Argon2 lanes accepted from a slot.
pub const KDF_LANES_MAX: u32 = 16;

/// Cost of an Argon2id derivation (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfCost {
    /// Memory, KiB.
    pub m_kib: u32,
    /// Passes over it.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

/// Cost of new password slots: 19 MiB, 2 passes, 1 lane.
///
/// The first choice of the OWASP Password Storage Cheat Sheet (2023). More would be better against a weak password,
/// but every command pays it: this is 26 ms where the second recommendation of RFC 9106 §4 (64 MiB, 3 passes) is
/// 152 ms (docs/adr/0013). A slot records its own cost, so it can be raised at any time.
pub const KDF_DEFAULT: KdfCost = KdfCost { m_kib: 19 << 10, t: 2, p: 1 };

impl KdfCost {
    pub(super) fn in_bounds(self) -> bool {
        (1..=KDF_PASSES_MAX).contains(&self.t)
            && (1..=KDF_LANES_MAX).contains(&self.p)
            && (8 * self.p..=KDF_MEMORY_KIB_MAX).contains(&self.m_kib)
    }

    /// Whether it takes no more memory and no more work than `other`.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.m_kib <= other.m_kib && self.work() <= other.work()
    }

    /// Memory that is passed over, KiB.
    #[must_use]
    pub fn work(self) -> u64 {
        u64::from(self.m_kib) * u64::from(self.t)
    }

    /// The KEK of a password.
    pub(super) fn derive(self, salt: &[u8; 16], password: &[u8]) -> Result<Key32> {
        let failed = |error: argon2::Error| {
            Error::new(ErrorKind::Invalid, "open", format!("key derivation failed: {error}")).with("m_kib", self.m_kib)
        };
        let params = Params::new(self.m_kib, self.t, self.p, Some(32)).map_err(failed)?;
        let mut kek = Key32::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut kek.0)
            .map_err(failed)?;
        Ok(kek)
    }
}
