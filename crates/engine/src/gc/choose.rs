//! Which packs go, which are copied together, which stay: a pure function of how much of each is needed.

use super::tally::PackUse;
use decube_backup_format::ids::PackKind;

/// A pack shorter than this share of the size aimed at is small.
const SMALL_SHARE: u32 = 4;
/// So many small packs of one kind are worth one request each to make few of them.
pub(super) const SMALL_PACKS_MIN: usize = 8;

/// How many bytes nobody needs may stay in packs that are partly needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxUnused {
    /// This share of all packs that stay, percent, 0 to 100.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
    /// Any number: only packs that are wholly unused go, and nothing is copied.
    Unlimited,
}

impl Default for MaxUnused {
    fn default() -> Self {
        Self::Percent(5.0)
    }
}

/// What guides the choice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policy {
    pub max_unused: MaxUnused,
    /// Stored bytes copied at most; `None` for any number.
    pub repack_bytes_max: Option<u64>,
    /// Size aimed at of data and metadata packs, bytes.
    pub data_pack_bytes: u32,
    pub meta_pack_bytes: u32,
}

impl Policy {
    /// Size aimed at, bytes.
    pub(super) fn pack_bytes(&self, kind: PackKind) -> u32 {
        match kind {
            PackKind::Data => self.data_pack_bytes,
            PackKind::Meta => self.meta_pack_bytes,
        }
    }
}

/// What becomes of the packs, by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Nothing in them is needed.
    pub dead: Vec<usize>,
    /// What is needed of them is copied, because much is not.
    pub sparse: Vec<usize>,
    /// All of it is copied, because they are small and many.
    pub small: Vec<usize>,
    /// No index segment knows what is in them: left alone.
    pub unknown: Vec<usize>,
}

pub(super) fn choose(packs: &[PackUse], policy: &Policy) -> Choice {
    let mut choice = Choice::default();
    let mut used = Vec::new();
    for (at, pack) in packs.iter().enumerate() {
        match (pack.stored, pack.needed) {
            (0, _) => choice.unknown.push(at),
            (_, 0) => choice.dead.push(at),
            _ => used.push((at, pack)),
        }
    }
    let needed: u64 = used.iter().map(|(_, pack)| pack.needed).sum();
    let mut unused: u64 = used.iter().map(|(_, pack)| pack.unused()).sum();
    let allowed = match policy.max_unused {
        MaxUnused::Unlimited => u64::MAX,
        MaxUnused::Bytes(bytes) => bytes,
        // A share of what is there afterwards, not of what is needed.
        MaxUnused::Percent(percent) if percent >= 100.0 => u64::MAX,
        MaxUnused::Percent(percent) => (needed as f64 * percent.max(0.0) / (100.0 - percent.max(0.0))) as u64,
    };
    let mut budget = policy.repack_bytes_max.unwrap_or(u64::MAX);
    // Most bytes freed for each byte copied first.
    used.sort_by(|(_, a), (_, b)| {
        let gain = |pack: &PackUse| pack.unused() as f64 / pack.needed as f64;
        gain(b).total_cmp(&gain(a)).then(a.name.cmp(&b.name))
    });
    used.retain(|(at, pack)| {
        // Whoever condemned it had a reason, perhaps damage: what is whole of it moves.
        let is_going = pack.is_condemned && policy.max_unused != MaxUnused::Unlimited;
        if !(is_going || (unused > allowed && pack.unused() > 0)) || pack.needed > budget {
            return true;
        }
        unused -= pack.unused();
        budget -= pack.needed;
        choice.sparse.push(*at);
        false
    });
    if policy.max_unused == MaxUnused::Unlimited {
        return choice;
    }
    for kind in [PackKind::Data, PackKind::Meta] {
        let small_bytes = policy.pack_bytes(kind) / SMALL_SHARE;
        let is_small = |pack: &PackUse| pack.name.kind == kind && pack.len < small_bytes;
        let small: Vec<_> = used.iter().filter(|(_, pack)| is_small(pack)).collect();
        if small.len() < SMALL_PACKS_MIN {
            continue;
        }
        for (at, pack) in small {
            if pack.needed <= budget {
                budget -= pack.needed;
                choice.small.push(*at);
            }
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;
    use decube_backup_format::ids::{PackId, PackName};

    const POLICY: Policy = Policy {
        max_unused: MaxUnused::Percent(5.0),
        repack_bytes_max: None,
        data_pack_bytes: 100,
        meta_pack_bytes: 100,
    };

    /// Packs of 100 stored bytes of which so many are needed.
    fn packs(needed: &[u64]) -> Vec<PackUse> {
        let pack = |(n, needed): (u8, &u64)| PackUse {
            name: PackName { kind: PackKind::Data, id: PackId([n; 16]) },
            len: 120,
            is_condemned: false,
            stored: 100,
            needed: *needed,
            chunks: 10,
            chunks_needed: (*needed).min(10) as u32,
        };
        (0..).zip(needed).map(pack).collect()
    }

    fn chosen(needed: &[u64], policy: Policy) -> (Vec<usize>, Vec<usize>) {
        let choice = choose(&packs(needed), &policy);
        (choice.dead, choice.sparse)
    }

    #[test]
    fn the_emptiest_packs_are_copied_until_little_is_unused() {
        for (policy, sparse) in [
            (POLICY, vec![2, 3]),
            (Policy { max_unused: MaxUnused::Unlimited, ..POLICY }, vec![]),
            (Policy { max_unused: MaxUnused::Percent(100.0), ..POLICY }, vec![]),
            (Policy { max_unused: MaxUnused::Percent(0.0), ..POLICY }, vec![2, 3, 4]),
            (Policy { max_unused: MaxUnused::Bytes(51), ..POLICY }, vec![2]),
            (Policy { repack_bytes_max: Some(55), ..POLICY }, vec![2]),
            (Policy { repack_bytes_max: Some(5), ..POLICY }, vec![]),
        ] {
            assert_eq!(chosen(&[100, 0, 10, 50, 99], policy), (vec![1], sparse), "{policy:?}");
        }
        assert_eq!(chosen(&[100, 100], Policy { max_unused: MaxUnused::Percent(0.0), ..POLICY }), (vec![], vec![]));
    }

    #[test]
    fn a_condemned_pack_goes_even_if_all_of_it_is_needed() {
        let mut packs = packs(&[100, 100]);
        packs[1].is_condemned = true;
        assert_eq!(choose(&packs, &POLICY).sparse, [1]);
        let unlimited = Policy { max_unused: MaxUnused::Unlimited, ..POLICY };
        assert_eq!(choose(&packs, &unlimited).sparse, Vec::<usize>::new());
    }

    #[test]
    fn many_small_packs_are_copied_together_and_few_are_not() {
        let small = |count: usize, policy: Policy| {
            let mut packs = packs(&vec![100; count]);
            packs.iter_mut().for_each(|pack| pack.len = 24);
            packs[0].len = 25;
            choose(&packs, &policy).small
        };
        assert_eq!(small(SMALL_PACKS_MIN, POLICY), Vec::<usize>::new());
        assert_eq!(small(SMALL_PACKS_MIN + 1, POLICY), (1..=SMALL_PACKS_MIN).collect::<Vec<_>>());
        let unlimited = Policy { max_unused: MaxUnused::Unlimited, ..POLICY };
        assert_eq!(small(SMALL_PACKS_MIN + 1, unlimited), Vec::<usize>::new());
    }

    #[test]
    fn a_pack_that_no_index_knows_is_left_alone() {
        let mut packs = packs(&[0, 0]);
        packs[1].stored = 0;
        let choice = choose(&packs, &POLICY);
        assert_eq!((choice.dead, choice.unknown), (vec![0], vec![1]));
    }
}
