//! The folded log: what a repository holds after record `seq`.
//!
//! [`State::apply`] folds one record after another; any two readers that folded the same records hold equal states.
//! A checkpoint is a state sealed under the log key, for a local cache or `ckpt/<seq>`; it can always be made again
//! from the log, so one that does not open is dropped, not repaired.
//!
//! Folding never judges: a record in the log is a fact. What contradicts an earlier record (a pack added after it was
//! reclaimed, a snapshot recorded twice) has no effect, because the earlier record stands.
//!
//! Memory: 55 to 75 bytes a live pack (30 more once it was verified, 80 more with parity) and about 20 a reclaimed one, so the 170 000 packs of a 10 TiB repository
//! take 12 MiB (twice that while a checkpoint is decoded), and about 1 KiB a snapshot: excludes and problem lists
//! stay in the log.
//!
//! | module | holds |
//! |---|---|
//! | `fold` | folding records into a state |
//! | `hosts` | what hosts with write-only keys may say, and for how long |
//! | `codec` | states as bytes |

mod codec;
mod fold;
mod hosts;

pub use hosts::{HOST_OBJECTS_MAX, Host};

use crate::ids::{IndexId, PackId, PackKind, PackName, ParityId, ParityName, RepositoryId, SlotId, SnapshotId};
use crate::log::{LogChain, ObjectName, RecordHash, WriterId};
use crate::manifest::SnapshotManifest;
use decube_backup_core::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Length and hash of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Length, bytes.
    pub len: u32,
    /// BLAKE3 of all of it.
    pub hash: [u8; 32],
}

/// Whether and until when a snapshot is kept against retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pin {
    /// Not pinned.
    #[default]
    None,
    /// Pinned until a moment.
    Until(Timestamp),
    /// Pinned until taken back.
    Forever,
}

/// Whether a snapshot is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// It counts.
    Live,
    /// Hidden by that record; its content may be reclaimed.
    Forgotten {
        /// Number of the record that hid it.
        seq: u64,
    },
}

/// One snapshot of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Hash of the manifest as recorded.
    pub id: SnapshotId,
    /// Number of its `Commit` record.
    pub seq: u64,
    /// The manifest with later tag changes applied, without excludes and problem list; those are in record `seq`.
    pub manifest: SnapshotManifest,
    /// Shown or hidden.
    pub visibility: Visibility,
    /// Kept against retention or not.
    pub pin: Pin,
}

/// What a repository holds after some record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    repository: RepositoryId,
    next_seq: u64,
    /// What `next_seq` was after the last record of a holder of all keys.
    full_seq: u64,
    hash: RecordHash,
    writers: BTreeSet<WriterId>,
    /// Hosts ever admitted.
    hosts: BTreeMap<WriterId, Host>,
    /// Live packs and index segments in force that a host's record added, and the number of that record.
    hosted: BTreeMap<PackName, u64>,
    hosted_indexes: BTreeMap<(u8, IndexId), u64>,
    format: Option<ObjectInfo>,
    format_copy: Option<ObjectInfo>,
    data_packs: BTreeMap<PackId, ObjectInfo>,
    meta_packs: BTreeMap<PackId, ObjectInfo>,
    condemned: BTreeMap<PackName, u64>,
    /// Live packs found damaged, and the record that last said so.
    damaged: BTreeMap<PackName, u64>,
    /// When a live pack was last read whole and found sound, Unix seconds.
    verified: BTreeMap<PackName, i64>,
    /// The parity of live packs that have one.
    parities: BTreeMap<PackName, (ParityId, ObjectInfo)>,
    reclaimed: BTreeSet<PackName>,
    indexes: BTreeMap<(u8, IndexId), ObjectInfo>,
    keyrings: BTreeMap<u32, ObjectInfo>,
    keyring_copies: BTreeMap<u32, ObjectInfo>,
    keyring_current: u32,
    slots: BTreeMap<SlotId, ObjectInfo>,
    checkpoints: BTreeMap<u64, ObjectInfo>,
    /// Objects other than packs that nobody may rely on, for the deleter.
    retired: BTreeSet<ObjectName>,
    /// In log order.
    snapshots: Vec<SnapshotEntry>,
    snapshot_at: BTreeMap<SnapshotId, usize>,
}

impl State {
    /// Before the first record.
    pub fn new(repository: RepositoryId) -> Self {
        Self {
            repository,
            next_seq: 0,
            full_seq: 0,
            hash: [0; 32],
            writers: BTreeSet::new(),
            hosts: BTreeMap::new(),
            hosted: BTreeMap::new(),
            hosted_indexes: BTreeMap::new(),
            format: None,
            format_copy: None,
            data_packs: BTreeMap::new(),
            meta_packs: BTreeMap::new(),
            condemned: BTreeMap::new(),
            damaged: BTreeMap::new(),
            verified: BTreeMap::new(),
            parities: BTreeMap::new(),
            reclaimed: BTreeSet::new(),
            indexes: BTreeMap::new(),
            keyrings: BTreeMap::new(),
            keyring_copies: BTreeMap::new(),
            keyring_current: 0,
            slots: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            retired: BTreeSet::new(),
            snapshots: Vec::new(),
            snapshot_at: BTreeMap::new(),
        }
    }

    /// Whose state this is.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }
    /// Number of the next record: how many are folded in.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }
    /// Hash of the last record folded in; zeros before the first.
    pub fn hash(&self) -> RecordHash {
        self.hash
    }
    /// A chain that accepts what comes next.
    pub fn chain(&self) -> LogChain {
        let hosts = self.hosts.keys().copied().collect();
        LogChain::resume(self.repository, self.next_seq, self.hash, self.writers.clone(), hosts)
    }
    /// Writers admitted, other than hosts: holders of all keys.
    pub fn writers(&self) -> &BTreeSet<WriterId> {
        &self.writers
    }
    /// The plain header as the first record lists it.
    pub fn format(&self) -> Option<&ObjectInfo> {
        self.format.as_ref()
    }

    /// All snapshots, hidden ones too, in log order.
    pub fn snapshots(&self) -> &[SnapshotEntry] {
        &self.snapshots
    }
    /// Snapshots that count, in log order: newest last.
    pub fn live_snapshots(&self) -> impl DoubleEndedIterator<Item = &SnapshotEntry> {
        self.snapshots.iter().filter(|s| s.visibility == Visibility::Live)
    }
    /// Hidden snapshots, in log order.
    pub fn forgotten_snapshots(&self) -> impl DoubleEndedIterator<Item = &SnapshotEntry> {
        self.snapshots.iter().filter(|s| s.visibility != Visibility::Live)
    }
    /// The snapshot `id`, hidden or not.
    pub fn snapshot(&self, id: &SnapshotId) -> Option<&SnapshotEntry> {
        self.snapshots.get(*self.snapshot_at.get(id)?)
    }

    /// Packs added and not reclaimed, by name; condemned ones too.
    pub fn live_packs(&self) -> impl Iterator<Item = (PackName, &ObjectInfo)> {
        let data = self.data_packs.iter().map(|(id, info)| (PackName { kind: PackKind::Data, id: *id }, info));
        data.chain(self.meta_packs.iter().map(|(id, info)| (PackName { kind: PackKind::Meta, id: *id }, info)))
    }
    /// How many [`Self::live_packs`] there are.
    pub fn live_pack_count(&self) -> usize {
        self.data_packs.len() + self.meta_packs.len()
    }
    /// A pack added and not reclaimed.
    pub fn pack(&self, name: &PackName) -> Option<&ObjectInfo> {
        self.packs(name.kind).get(&name.id)
    }
    /// Whether a new snapshot may rely on the pack: added, not reclaimed, neither condemned nor known to be damaged.
    pub fn may_reuse(&self, name: &PackName) -> bool {
        self.pack(name).is_some() && !self.condemned.contains_key(name) && !self.damaged.contains_key(name)
    }
    /// Whether the pack is live and the last word on it is that it is damaged.
    pub fn is_damaged(&self, name: &PackName) -> bool {
        self.damaged.contains_key(name)
    }
    /// Live packs known to be damaged and the record that last said so of each.
    pub fn damaged_packs(&self) -> impl ExactSizeIterator<Item = (&PackName, u64)> {
        self.damaged.iter().map(|(name, seq)| (name, *seq))
    }
    /// When the live pack was last read whole and found sound, Unix seconds by the clock of who read it; `None` if
    /// never, or if it was found damaged since.
    pub fn verified(&self, name: &PackName) -> Option<i64> {
        self.verified.get(name).copied()
    }
    /// The parity object of a live pack that has one.
    pub fn parity(&self, pack: &PackName) -> Option<(ParityName, &ObjectInfo)> {
        self.parities.get(pack).map(|(id, info)| (ParityName { pack: *pack, id: *id }, info))
    }
    /// The parity objects of live packs, by pack.
    pub fn parities(&self) -> impl ExactSizeIterator<Item = (ParityName, &ObjectInfo)> {
        self.parities.iter().map(|(pack, (id, info))| (ParityName { pack: *pack, id: *id }, info))
    }
    /// Whether the pack was ever reclaimed, added before or not.
    pub fn is_reclaimed(&self, name: &PackName) -> bool {
        self.reclaimed.contains(name)
    }
    /// Packs ever reclaimed: the deleter's work list.
    pub fn reclaimed_packs(&self) -> impl ExactSizeIterator<Item = &PackName> {
        self.reclaimed.iter()
    }
    /// Condemned live packs and the record that last condemned each.
    pub fn condemned_packs(&self) -> impl ExactSizeIterator<Item = (&PackName, u64)> {
        self.condemned.iter().map(|(name, seq)| (name, *seq))
    }

    /// Index segments in force, by level and name.
    pub fn indexes(&self) -> impl ExactSizeIterator<Item = (u8, IndexId, &ObjectInfo)> {
        self.indexes.iter().map(|((level, id), info)| (*level, *id, info))
    }
    /// An index segment in force.
    pub fn index(&self, level: u8, id: &IndexId) -> Option<&ObjectInfo> {
        self.indexes.get(&(level, *id))
    }
    /// Key slots in force.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = (SlotId, &ObjectInfo)> {
        self.slots.iter().map(|(slot, info)| (*slot, info))
    }
    /// Whether a key slot is in force.
    pub fn has_slot(&self, slot: &SlotId) -> bool {
        self.slots.contains_key(slot)
    }
    /// Keyring generations in force.
    pub fn keyrings(&self) -> impl ExactSizeIterator<Item = (u32, &ObjectInfo)> {
        self.keyrings.iter().map(|(generation, info)| (*generation, info))
    }
    /// The keyring generation to use for new objects.
    pub fn keyring_current(&self) -> u32 {
        self.keyring_current
    }
    /// Checkpoints stored in the repository, by record.
    pub fn checkpoints(&self) -> impl ExactSizeIterator<Item = (u64, &ObjectInfo)> {
        self.checkpoints.iter().map(|(seq, info)| (*seq, info))
    }
    /// Parity, index segments, slots, keyrings and checkpoints taken out of force, for the deleter.
    pub fn retired_objects(&self) -> impl ExactSizeIterator<Item = &ObjectName> {
        self.retired.iter()
    }
    /// Whether such an object other than a pack was taken out of force: a record that adds it has no effect on it.
    /// Parity goes with its pack.
    pub fn is_retired(&self, name: &ObjectName) -> bool {
        let with_pack = matches!(name, ObjectName::Parity(parity) if self.reclaimed.contains(&parity.pack));
        with_pack || self.retired.contains(name)
    }
    /// Whether a record took the object out of force, added before or not: it may be gone at any moment.
    pub fn is_out_of_force(&self, name: &ObjectName) -> bool {
        match name {
            ObjectName::Pack(pack) => self.is_reclaimed(pack),
            other => self.is_retired(other),
        }
    }
    /// Every object in force with its length and hash, for structure checks, scrubbing and replication.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectName, &ObjectInfo)> {
        let format = self.format.iter().map(|info| (ObjectName::Format, info));
        let format_copy = self.format_copy.iter().map(|info| (ObjectName::FormatCopy, info));
        let packs = self.live_packs().map(|(name, info)| (ObjectName::Pack(name), info));
        let indexes = self.indexes().map(|(level, id, info)| (ObjectName::Index { level, id }, info));
        let keyrings = self.keyrings().map(|(generation, info)| (ObjectName::Keyring(generation), info));
        let keyring_copies = self.keyring_copies.iter().map(|(at, info)| (ObjectName::KeyringCopy(*at), info));
        let slots = self.slots().map(|(slot, info)| (ObjectName::KeySlot(slot), info));
        let checkpoints = self.checkpoints().map(|(seq, info)| (ObjectName::Checkpoint(seq), info));
        let parities = self.parities().map(|(name, info)| (ObjectName::Parity(name), info));
        let twice = format.chain(format_copy).chain(keyrings).chain(keyring_copies);
        twice.chain(slots).chain(indexes).chain(packs).chain(parities).chain(checkpoints)
    }

    fn packs(&self, kind: PackKind) -> &BTreeMap<PackId, ObjectInfo> {
        match kind {
            PackKind::Data => &self.data_packs,
            PackKind::Meta => &self.meta_packs,
        }
    }
}
