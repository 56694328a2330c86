//! The sealed part of a record: what it means, who wrote it and when.
//!
//! Bytes: `postcard(Versioned::V1((Stamp, Payload)))`. Variants and fields are only ever appended behind a new version
//! or a mandatory feature bit, because a reader that skips what it does not know would misjudge what is live.

use super::ObjectName;
use crate::ids::{PackName, SlotId, SnapshotId};
use crate::manifest::{EncodedManifest, RunId, TEXT_BYTES_MAX, decode_versioned, encode_versioned};
use crate::wire::corrupt;
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest payload before sealing, bytes.
pub(super) const PAYLOAD_BYTES_MAX: usize = 32 << 20;

/// Who wrote a record and when, as the client believes: for people, never for safety.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// When it was built.
    pub time: Timestamp,
    /// Host.
    pub host: String,
    /// User.
    pub username: String,
    /// Program and version.
    pub program: String,
}

/// What a record means. The objects it adds or reclaims are in its envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// The repository exists; always and only record 0. The envelope adds `format`, the keyring, the copies of both,
    /// and the first slot.
    Init,
    /// A snapshot exists.
    Commit {
        /// What it is; its hash is the snapshot's id.
        manifest: EncodedManifest,
    },
    /// Objects exist that no snapshot needs yet: progress of a long backup, output of a repack, merged indexes.
    Add {
        /// The backup run, as in its snapshot's manifest; zeros if no backup wrote it.
        run: RunId,
    },
    /// Snapshots are hidden.
    Forget {
        /// Which.
        snapshots: Vec<SnapshotId>,
    },
    /// Hidden snapshots are shown again.
    RestoreForgotten {
        /// Which.
        snapshots: Vec<SnapshotId>,
    },
    /// Advice to writers about packs to reuse no more.
    Condemn {
        /// To be avoided from now on.
        packs: Vec<PackName>,
        /// Condemned earlier, welcome again.
        released: Vec<PackName>,
    },
    /// The packs in the envelope's `reclaimed` may be deleted. Terminal.
    Reclaim,
    /// A snapshot is kept, whatever retention says.
    Pin {
        /// Which.
        snapshot: SnapshotId,
        /// Until when; `None` for ever.
        until: Option<Timestamp>,
    },
    /// A pin is taken back.
    Unpin {
        /// Which.
        snapshot: SnapshotId,
    },
    /// A keyring generation, added in the envelope, is the current one.
    Keyring {
        /// Which.
        generation: u32,
    },
    /// A key slot, added or reclaimed in the envelope.
    KeySlot(SlotChange),
    /// A snapshot's tags, labels or name change; its id does not.
    TagChange(SnapshotEdit),
    /// A remark for the audit trail.
    Note {
        /// One line.
        text: String,
    },
    /// What was found out about packs in force: some do not give back what was put into them.
    Damaged {
        /// Found damaged or missing. Nothing new relies on them; what is left in them is still read.
        packs: Vec<PackName>,
        /// Recorded as damaged earlier and since found whole, put back from a replica for instance.
        healed: Vec<PackName>,
    },
    /// Every byte of these packs was read, decoded and found to be what was written.
    Verified {
        /// Which.
        packs: Vec<PackName>,
        /// When their reading began, as the client believes: for policies, never for safety.
        time: Timestamp,
    },
}

/// A change of the key slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotChange {
    /// One more.
    Added {
        /// Its name.
        slot: SlotId,
        /// What a person calls it.
        label: String,
    },
    /// One fewer.
    Removed {
        /// Its name.
        slot: SlotId,
    },
    /// One more that adds snapshots of one host and reads none; the envelope admits the host.
    HostAdded {
        /// Its name.
        slot: SlotId,
        /// What a person calls it.
        label: String,
        /// Whose snapshots its owner may add.
        host: String,
    },
}

/// What becomes of one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelChange {
    /// It has this value.
    Set(String),
    /// It is gone.
    Remove,
}

/// A change of what a person calls a snapshot. Removals come first, then additions.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotEdit {
    /// Which.
    pub snapshot: SnapshotId,
    /// Tags to take off.
    pub tags_removed: Vec<String>,
    /// Tags to put on, once each.
    pub tags_added: Vec<String>,
    /// Labels to set or remove.
    pub labels: BTreeMap<String, LabelChange>,
    /// A new series name.
    pub name: Option<String>,
}

impl Payload {
    /// Stable lower-case word for listings.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Commit { .. } => "commit",
            Self::Add { .. } => "add",
            Self::Forget { .. } => "forget",
            Self::RestoreForgotten { .. } => "restore_forgotten",
            Self::Condemn { .. } => "condemn",
            Self::Reclaim => "reclaim",
            Self::Pin { .. } => "pin",
            Self::Unpin { .. } => "unpin",
            Self::Keyring { .. } => "keyring",
            Self::KeySlot(_) => "key_slot",
            Self::TagChange(_) => "tag_change",
            Self::Note { .. } => "note",
            Self::Damaged { .. } => "damaged",
            Self::Verified { .. } => "verified",
        }
    }

    /// The bytes to seal.
    pub(super) fn encode(&self, stamp: &Stamp) -> Result<Vec<u8>> {
        let too_long = |what| Error::new(ErrorKind::Invalid, "log", "record too long").with("what", what);
        let long = |text: &String| text.len() > TEXT_BYTES_MAX;
        let edit_long = match self {
            Self::TagChange(edit) => {
                edit.name.iter().chain(&edit.tags_added).chain(edit.labels.keys()).any(long)
                    || edit.labels.values().any(|change| matches!(change, LabelChange::Set(text) if long(text)))
            }
            Self::Note { text } | Self::KeySlot(SlotChange::Added { label: text, .. }) => long(text),
            Self::KeySlot(SlotChange::HostAdded { label, host, .. }) => long(label) || long(host),
            _ => false,
        };
        if edit_long || [&stamp.host, &stamp.username, &stamp.program].into_iter().any(long) {
            return Err(too_long("text"));
        }
        let bytes = encode_versioned(&(stamp, self))?;
        if bytes.len() > PAYLOAD_BYTES_MAX { Err(too_long("payload")) } else { Ok(bytes) }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<(Stamp, Self)> {
        let (stamp, payload): (Stamp, Self) = decode_versioned(bytes, PAYLOAD_BYTES_MAX, "log record payload")?;
        if let Self::Commit { manifest } = &payload {
            manifest.decode()?;
        }
        Ok((stamp, payload))
    }

    /// Only a `Reclaim` may reclaim packs; the header is never reclaimed.
    pub(super) fn check_against(&self, reclaimed: &[ObjectName]) -> Result<()> {
        let forbidden = |name: &ObjectName| match name {
            ObjectName::Pack(_) => *self != Self::Reclaim,
            ObjectName::Format => true,
            _ => false,
        };
        if reclaimed.iter().any(forbidden) {
            return Err(corrupt("log record").with("reason", "it reclaims what its kind may not"));
        }
        Ok(())
    }
}
