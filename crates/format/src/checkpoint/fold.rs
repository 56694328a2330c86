//! Folding records into a state.

use super::{ObjectInfo, Pin, SnapshotEntry, State, Visibility};
use crate::ids::{PackKind, ParityName, SnapshotId};
use crate::log::{AddedObject, Envelope, LabelChange, ObjectName, Payload, SnapshotEdit};
use crate::manifest::EncodedManifest;
use crate::wire::corrupt;
use decube_backup_core::Result;

impl State {
    /// Folds in the next record, which a [`crate::log::LogChain`] accepted. Unchanged on error. A host's record has the
    /// effect it may have, see [`Self::refusal`]: none if its plain part is refused, else its objects count.
    ///
    /// # Errors
    /// `Corrupt` if it is not the next record of this log, if record 0 is not `Init` or a later one is, if an
    /// object's length is beyond every bound, or if a manifest does not decode.
    pub fn apply(&mut self, envelope: &Envelope, payload: &Payload) -> Result<()> {
        if self.refusal(envelope, Some(payload)).is_some() {
            return self.apply_plain(envelope).map(drop);
        }
        self.check_next(envelope)?;
        if (envelope.seq == 0) != (*payload == Payload::Init) {
            return Err(corrupt("log record").with("reason", "not an init record at 0").with("seq", envelope.seq));
        }
        let commit = match payload {
            Payload::Commit { manifest } => Some(snapshot_entry(manifest, envelope.seq)?),
            _ => None,
        };
        self.fold_envelope(envelope);
        if let Some(entry) = commit {
            self.fold_commit(entry);
        } else {
            self.fold_payload(payload, envelope.seq);
        }
        Ok(())
    }

    /// Folds in the plain part alone, for who holds no keys, and of a host's record that cannot be opened: objects are
    /// known then, snapshots are not. Says of a host's record why its plain part has no effect.
    ///
    /// # Errors
    /// As [`Self::apply`], for the plain part.
    pub fn apply_plain(&mut self, envelope: &Envelope) -> Result<Option<&'static str>> {
        self.check_next(envelope)?;
        let refusal = self.plain_refusal(envelope);
        self.fold_envelope(envelope);
        Ok(refusal)
    }

    /// Goes on with `envelope` as the next record although records before it are damaged or missing.
    ///
    /// For reading what is left only: what the skipped records said is unknown, so nothing may be appended
    /// to such a state. The caller vouches for the record by having opened its payload with the log key.
    pub fn skip_to(&mut self, envelope: &Envelope) {
        self.next_seq = envelope.seq;
        self.full_seq = envelope.seq;
        self.hash = envelope.prev;
        if !self.hosts.contains_key(&envelope.writer) {
            self.writers.insert(envelope.writer);
        }
    }

    fn check_next(&self, envelope: &Envelope) -> Result<()> {
        let next = envelope.repository == self.repository
            && envelope.seq == self.next_seq
            && envelope.prev == self.hash
            && envelope.seq < u64::MAX;
        let fits = |object: &AddedObject| u32::try_from(object.len).is_ok();
        if !next || !(self.plain_refusal(envelope).is_some() || envelope.added.iter().all(fits)) {
            return Err(corrupt("log record").with("reason", "not the next record").with("seq", envelope.seq));
        }
        Ok(())
    }

    fn fold_envelope(&mut self, envelope: &Envelope) {
        if self.plain_refusal(envelope).is_some() {
            (self.next_seq, self.hash) = (envelope.seq.saturating_add(1), envelope.hash);
            return;
        }
        self.fold_hosts(envelope);
        for object in &envelope.added {
            self.fold_added(object);
        }
        self.fold_hosted(envelope);
        for name in &envelope.reclaimed {
            self.fold_reclaimed(name);
        }
        self.writers.extend(&envelope.admits);
        self.next_seq = envelope.seq.saturating_add(1);
        self.hash = envelope.hash;
        if self.host(&envelope.writer).is_none() {
            self.full_seq = self.next_seq;
        }
    }

    fn fold_added(&mut self, object: &AddedObject) {
        // Lengths were checked to fit.
        let info = ObjectInfo { len: u32::try_from(object.len).unwrap_or(u32::MAX), hash: object.hash };
        if self.is_retired(&object.name) {
            return;
        }
        match object.name {
            ObjectName::Format => _ = self.format.get_or_insert(info),
            ObjectName::FormatCopy => _ = self.format_copy.get_or_insert(info),
            ObjectName::Pack(name) if self.reclaimed.contains(&name) => {}
            ObjectName::Pack(name) => {
                let packs = match name.kind {
                    PackKind::Data => &mut self.data_packs,
                    PackKind::Meta => &mut self.meta_packs,
                };
                packs.entry(name.id).or_insert(info);
            }
            ObjectName::Index { level, id } => _ = self.indexes.entry((level, id)).or_insert(info),
            ObjectName::Keyring(generation) => _ = self.keyrings.entry(generation).or_insert(info),
            ObjectName::KeyringCopy(generation) => _ = self.keyring_copies.entry(generation).or_insert(info),
            ObjectName::KeySlot(slot) => _ = self.slots.entry(slot).or_insert(info),
            ObjectName::Checkpoint(seq) => _ = self.checkpoints.entry(seq).or_insert(info),
            ObjectName::Parity(name) => self.fold_parity(name, info),
        }
    }

    /// A pack has one parity object, the one named last: it may replace a damaged one.
    fn fold_parity(&mut self, name: ParityName, info: ObjectInfo) {
        if self.pack(&name.pack).is_none() {
            self.retired.insert(ObjectName::Parity(name));
            return;
        }
        let before = self.parities.get(&name.pack).map(|(id, _)| *id);
        if before == Some(name.id) {
            return;
        }
        self.parities.insert(name.pack, (name.id, info));
        if let Some(id) = before {
            self.retired.insert(ObjectName::Parity(ParityName { pack: name.pack, id }));
        }
    }

    fn fold_reclaimed(&mut self, name: &ObjectName) {
        match name {
            ObjectName::Format | ObjectName::FormatCopy => return,
            ObjectName::Pack(pack) => {
                match pack.kind {
                    PackKind::Data => self.data_packs.remove(&pack.id),
                    PackKind::Meta => self.meta_packs.remove(&pack.id),
                };
                self.condemned.remove(pack);
                self.damaged.remove(pack);
                self.verified.remove(pack);
                self.hosted.remove(pack);
                if let Some((id, _)) = self.parities.remove(pack) {
                    self.retired.insert(ObjectName::Parity(ParityName { pack: *pack, id }));
                }
                self.reclaimed.insert(*pack);
                return;
            }
            ObjectName::Index { level, id } => {
                self.hosted_indexes.remove(&(*level, *id));
                self.indexes.remove(&(*level, *id))
            }
            ObjectName::Keyring(generation) => self.keyrings.remove(generation),
            ObjectName::KeyringCopy(generation) => self.keyring_copies.remove(generation),
            ObjectName::KeySlot(slot) => self.slots.remove(slot),
            ObjectName::Checkpoint(seq) => self.checkpoints.remove(seq),
            ObjectName::Parity(name) => {
                let is_it = self.parities.get(&name.pack).is_some_and(|(id, _)| *id == name.id);
                if is_it { self.parities.remove(&name.pack).map(|(_, info)| info) } else { None }
            }
        };
        self.retired.insert(*name);
    }

    fn fold_commit(&mut self, entry: SnapshotEntry) {
        if !self.snapshot_at.contains_key(&entry.id) {
            self.snapshot_at.insert(entry.id, self.snapshots.len());
            self.snapshots.push(entry);
        }
    }

    fn fold_payload(&mut self, payload: &Payload, seq: u64) {
        match payload {
            Payload::Forget { snapshots } => {
                for id in snapshots {
                    self.update(id, |s| {
                        if s.visibility == Visibility::Live {
                            s.visibility = Visibility::Forgotten { seq };
                        }
                    });
                }
            }
            Payload::RestoreForgotten { snapshots } => {
                for id in snapshots {
                    self.update(id, |s| s.visibility = Visibility::Live);
                }
            }
            Payload::Condemn { packs, released } => {
                for pack in released {
                    self.condemned.remove(pack);
                }
                for pack in packs {
                    if self.pack(pack).is_some() {
                        self.condemned.insert(*pack, seq);
                    }
                }
            }
            Payload::Damaged { packs, healed } => {
                for pack in healed {
                    self.damaged.remove(pack);
                }
                for pack in packs {
                    if self.pack(pack).is_some() {
                        self.damaged.insert(*pack, seq);
                        self.verified.remove(pack);
                    }
                }
            }
            Payload::Verified { packs, time } => {
                for pack in packs {
                    if self.pack(pack).is_some() {
                        self.verified.insert(*pack, time.seconds);
                    }
                }
            }
            Payload::Pin { snapshot, until } => {
                self.update(snapshot, |s| s.pin = until.map_or(Pin::Forever, Pin::Until));
            }
            Payload::Unpin { snapshot } => self.update(snapshot, |s| s.pin = Pin::None),
            Payload::Keyring { generation } => {
                if self.keyrings.contains_key(generation) {
                    self.keyring_current = *generation;
                }
            }
            Payload::TagChange(edit) => self.update(&edit.snapshot, |s| apply_edit(s, edit)),
            Payload::KeySlot(change) => self.fold_host_name(change),
            // The envelope says all there is to know.
            Payload::Init | Payload::Add { .. } | Payload::Reclaim => {}
            Payload::Commit { .. } | Payload::Note { .. } => {}
        }
    }

    fn update(&mut self, id: &SnapshotId, change: impl FnOnce(&mut SnapshotEntry)) {
        if let Some(entry) = self.snapshot_at.get(id).and_then(|at| self.snapshots.get_mut(*at)) {
            change(entry);
        }
    }
}

fn snapshot_entry(manifest: &EncodedManifest, seq: u64) -> Result<SnapshotEntry> {
    let id = manifest.id();
    let manifest = manifest.decode().map_err(|e| e.with("seq", seq))?.into_summary();
    Ok(SnapshotEntry { id, seq, manifest, visibility: Visibility::Live, pin: Pin::None })
}

fn apply_edit(entry: &mut SnapshotEntry, edit: &SnapshotEdit) {
    let manifest = &mut entry.manifest;
    manifest.tags.retain(|tag| !edit.tags_removed.contains(tag));
    for tag in &edit.tags_added {
        if !manifest.tags.contains(tag) {
            manifest.tags.push(tag.clone());
        }
    }
    for (label, change) in &edit.labels {
        match change {
            LabelChange::Set(value) => _ = manifest.labels.insert(label.clone(), value.clone()),
            LabelChange::Remove => _ = manifest.labels.remove(label),
        }
    }
    if let Some(name) = &edit.name {
        manifest.name.clone_from(name);
    }
}
