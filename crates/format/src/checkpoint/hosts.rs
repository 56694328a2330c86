//! What hosts with write-only keys may say, and for how long.
//!
//! A host may have been broken into. So its records are judged: what is beyond its bounds has no effect, and the log goes
//! on behind it as if it said nothing. The objects that a record adds are judged by its plain part alone, which who holds
//! no keys sees too, so that all readers agree on which packs there are.

use super::State;
use crate::host::HostMark;
use crate::ids::{IndexId, PackName, SlotId};
use crate::log::{AddedObject, Envelope, ObjectName, Payload, SlotChange, WriterId};
use decube_backup_core::Result;
use std::collections::BTreeSet;

/// Objects that one record of a host adds at most: every reader remembers each of them.
pub const HOST_OBJECTS_MAX: usize = 1 << 16;

/// A host that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// It may write as long as this slot is in force.
    pub slot: SlotId,
    /// Whose snapshots it may add; empty for who read the plain log only.
    pub name: String,
}

impl State {
    /// Hosts ever admitted, by the key they sign with.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = (&WriterId, &Host)> {
        self.hosts.iter()
    }

    /// The host that signs by `writer`, admitted once; `None` for a holder of all keys.
    pub fn host(&self, writer: &WriterId) -> Option<&Host> {
        if self.writers.contains(writer) { None } else { self.hosts.get(writer) }
    }

    /// The host whose key slot this is.
    pub fn host_of_slot(&self, slot: &SlotId) -> Option<&Host> {
        self.hosts.values().find(|host| host.slot == *slot)
    }

    /// How many records there were after the last one of a holder of all keys: what came since, hosts said.
    pub fn full_seq(&self) -> u64 {
        self.full_seq
    }

    /// Whether a host's record added the pack: nobody who can read has looked at it, so nobody else relies on it.
    pub fn is_hosted(&self, pack: &PackName) -> bool {
        self.hosted.contains_key(pack)
    }

    /// Whether a host's record added the index segment together with the pack: what else it says does not count, lest a host
    /// that was broken into hides what it stored before.
    pub fn came_with(&self, level: u8, index: &IndexId, pack: &PackName) -> bool {
        let with = self.hosted_indexes.get(&(level, *index));
        with.is_some() && with == self.hosted.get(pack)
    }

    /// Why the next record has no effect, or not all it claims: it is a host's, and beyond its bounds. `None` for
    /// every other record. `payload` is `None` if it cannot be opened or read.
    pub fn refusal(&self, envelope: &Envelope, payload: Option<&Payload>) -> Option<&'static str> {
        let host = self.host(&envelope.writer)?;
        self.plain_refusal(envelope).or(match payload {
            None => Some("what it says cannot be opened"),
            Some(Payload::Add { .. }) => None,
            Some(Payload::Commit { manifest }) => match manifest.decode() {
                Ok(manifest) if manifest.host == host.name => None,
                _ => Some("a write-only key adds snapshots of its own host only"),
            },
            Some(_) => Some("a write-only key adds snapshots and does nothing else"),
        })
    }

    /// Folds in the next record as far as it could be opened, and says of a host's why it has no effect, or not all it
    /// claims: [`Self::apply`] with a payload, [`Self::apply_plain`] without.
    ///
    /// # Errors
    /// As these.
    pub fn apply_opened(&mut self, envelope: &Envelope, payload: Option<&Payload>) -> Result<Option<&'static str>> {
        let refusal = self.refusal(envelope, payload);
        match payload {
            Some(payload) => self.apply(envelope, payload)?,
            None => _ = self.apply_plain(envelope)?,
        }
        Ok(refusal)
    }

    /// As [`Self::refusal`], for what the plain part says.
    pub(super) fn plain_refusal(&self, envelope: &Envelope) -> Option<&'static str> {
        let host = self.host(&envelope.writer)?;
        let mark = HostMark::of(&envelope.writer);
        let pack = |object: &AddedObject| if let ObjectName::Pack(pack) = object.name { Some(pack) } else { None };
        let packs: BTreeSet<PackName> = envelope.added.iter().filter_map(pack).collect();
        // New names only, so that no later word changes what an earlier one said.
        let is_own = |name: &ObjectName| match name {
            ObjectName::Pack(pack) => mark.is_on(&pack.id.0) && self.pack(pack).is_none(),
            ObjectName::Index { level, id } => mark.is_on(&id.0) && self.index(*level, id).is_none(),
            ObjectName::Parity(parity) => packs.contains(&parity.pack),
            _ => false,
        };
        let is_own = |name: &ObjectName| is_own(name) && !self.is_out_of_force(name);
        if !self.slots.contains_key(&host.slot) {
            Some("its key was removed from the repository")
        } else if !envelope.reclaimed.is_empty() || !envelope.admits.is_empty() || !envelope.hosts.is_empty() {
            Some("a write-only key takes nothing out of force and admits nobody")
        } else if envelope.added.len() > HOST_OBJECTS_MAX {
            Some("a write-only key adds so many objects by one record only")
        } else if envelope.added.iter().any(|object| !is_own(&object.name) || u32::try_from(object.len).is_err()) {
            Some("a write-only key adds new packs, their parity and index segments of its own only")
        } else {
            None
        }
    }

    /// Notes what the record says of hosts, before its objects are folded in.
    pub(super) fn fold_hosts(&mut self, envelope: &Envelope) {
        for admission in &envelope.hosts {
            let host = Host { slot: admission.slot, name: String::new() };
            self.hosts.entry(admission.writer).or_insert(host);
        }
    }

    /// Notes which objects are a host's, after they were folded in: all of them were new.
    pub(super) fn fold_hosted(&mut self, envelope: &Envelope) {
        if self.host(&envelope.writer).is_none() {
            return;
        }
        for object in &envelope.added {
            match object.name {
                ObjectName::Pack(pack) => _ = self.hosted.insert(pack, envelope.seq),
                ObjectName::Index { level, id } => _ = self.hosted_indexes.insert((level, id), envelope.seq),
                _ => {}
            }
        }
    }

    /// Names the host that was admitted together with the slot.
    pub(super) fn fold_host_name(&mut self, change: &SlotChange) {
        if let SlotChange::HostAdded { slot, host: name, .. } = change {
            for host in self.hosts.values_mut().filter(|host| host.slot == *slot && host.name.is_empty()) {
                host.name.clone_from(name);
            }
        }
    }
}
