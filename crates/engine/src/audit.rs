//! Who did what, and when: the log read as an audit trail.
//!
//! Every record is checked again from the first on, whatever the caches say: its signature, that it continues the one
//! before, that an admitted writer signed it, and that its payload was sealed by a holder of the log key. Behind a
//! damaged record the reading goes on with those that prove themselves by their seal, as a salvage does.
//!
//! Host, user, program and time of a record are what its writer said; the store's own time stands beside it.

use crate::odd_packs::odd_packs;
use crate::options::Damage;
use crate::repository::plain::record_numbers;
use crate::repository::{Repository, WitnessStatus, unreadable_record};
use crate::store::is_unreadable;
use crate::verify::{Recording, record_damage};
use decube_backup_core::monitor::{Monitor, check_stop};
use decube_backup_core::{Result, Timestamp};
use decube_backup_format::checkpoint::State;
use decube_backup_format::header::Access;
use decube_backup_format::ids::{PackName, SnapshotId, log_key, parse_seq_key, slot_key};
use decube_backup_format::log::{Envelope, LabelChange, ObjectName, Payload, RecordHash, SlotChange, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Damaged packs named one by one.
const NAMED_MAX: usize = 8;

/// One record, as far as it could be read.
pub(crate) struct Walked {
    pub seq: u64,
    /// Without what it says if a host wrote it that cannot be opened.
    pub record: Option<(Envelope, Option<(Stamp, Payload)>)>,
    /// The host with a write-only key that wrote it.
    pub host: Option<String>,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// What a walk came to.
pub(crate) struct WalkedLog {
    /// Number of records.
    records: u64,
    /// The last one's hash.
    head: RecordHash,
    /// Whether the log goes on from where the repository was opened: others may have added to it since.
    continues: bool,
}

/// Shows every record of the log to `visit`, in order, checked.
pub(crate) fn walk(repo: &Repository, visit: &mut dyn FnMut(Walked) -> Result<()>) -> Result<WalkedLog> {
    let (mut state, opened) = (State::new(repo.id()), repo.state());
    // A name behind the end tells that records before it are lost.
    let numbers = record_numbers(&repo.store, 0, opened.next_seq())?;
    let records = numbers.last().map_or(0, |last| last.saturating_add(1));
    let mut continues = false;
    for seq in numbers {
        let lost = |what: String| Walked { seq, record: None, host: None, damage: Some(what) };
        let walked = match repo.store.get(&log_key(seq)?) {
            Ok(None) => lost("log record is missing".to_owned()),
            Ok(Some(bytes)) => check(repo, &mut state, seq, &bytes),
            Err(error) if is_unreadable(&error) => lost(unreadable_record(&error)),
            Err(error) => return Err(error),
        };
        continues |= state.next_seq() == opened.next_seq() && state.hash() == opened.hash();
        visit(walked)?;
    }
    Ok(WalkedLog { records, head: state.hash(), continues })
}

fn check(repo: &Repository, state: &mut State, seq: u64, bytes: &[u8]) -> Walked {
    // A record before this one is lost: this one can only be judged by itself.
    let gap = state.next_seq() != seq;
    let accepted = if gap { Envelope::decode(bytes) } else { state.chain().accept(bytes) };
    let open = |envelope: Envelope| repo.open_record(state, &envelope, bytes).map(|said| (envelope, said));
    let (record, damage) = match accepted.and_then(open) {
        Ok(record) => (Some(record), None),
        Err(why) => (Envelope::decode(bytes).and_then(open).ok(), Some(why.chain())),
    };
    let misplaced =
        record.as_ref().is_some_and(|(envelope, _)| envelope.seq != seq || envelope.repository != repo.id());
    let record = record.filter(|_| !misplaced);
    let mut damage = damage.or_else(|| misplaced.then(|| "it is another record".to_owned()));
    if let Some((envelope, said)) = &record {
        if gap || damage.is_some() {
            state.skip_to(envelope);
        }
        let payload = said.as_ref().map(|(_, payload)| payload);
        let folded = match state.apply_opened(envelope, payload) {
            Ok(refusal) => refusal.map(str::to_owned),
            Err(why) => Some(why.chain()),
        };
        if let Some(why) = folded {
            damage.get_or_insert(why);
        }
    }
    let host = record.as_ref().and_then(|(envelope, _)| state.host(&envelope.writer)).map(|host| host.name.clone());
    Walked { seq, record, host, damage }
}

/// What is shown of the log. Everything is checked either way.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only records whose store time (or, without one, client time) is at or after this.
    pub since: Option<Timestamp>,
    /// Only records of these kinds ([`Payload::word`]); empty for all.
    pub kinds: BTreeSet<String>,
    /// Only records that name this host.
    pub host: Option<String>,
}

/// A record of the audit trail.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Its number.
    pub seq: u64,
    /// Its BLAKE3 hash, which the next record repeats.
    pub hash: [u8; 32],
    /// The public key that signed it.
    pub writer: [u8; 32],
    /// Who wrote it and when, as the writer said.
    pub stamp: Stamp,
    /// When the store says it was created.
    pub stored: Option<Timestamp>,
    /// Its kind.
    pub word: &'static str,
    /// Snapshots it is about, with the name where the record gives one.
    pub snapshots: Vec<(SnapshotId, Option<String>)>,
    /// Everything else it says, by a stable word.
    pub details: BTreeMap<&'static str, String>,
    /// Packs it adds.
    pub packs_added: u64,
    /// Bytes of all objects it adds.
    pub bytes_added: u64,
    /// Packs it reclaims.
    pub packs_reclaimed: u64,
    /// What is wrong with it, `None` for a record that was verified.
    pub damage: Option<String>,
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct AuditReport {
    /// Records there are.
    pub records: u64,
    /// Records shown.
    pub shown: u64,
    /// Hash of the last record: note it elsewhere, and nobody can rewrite what is before it.
    pub head: [u8; 32],
    /// Damaged, missing or forged records.
    pub damages: Vec<Damage>,
    /// Checkpoints that know of records which are lost.
    pub beyond: Vec<Damage>,
    /// How the log stands to what this host has seen of it.
    pub witness: WitnessStatus,
}

/// Verifies the whole log and shows the records that `filter` accepts to `visit`, in order; damaged ones always.
///
/// `witness_dir` is where this user's witness files are; `None` compares with nothing.
///
/// # Errors
/// The store cannot be read; what `visit` yields; `Interrupted`.
pub fn audit(
    repo: &Repository,
    filter: &AuditFilter,
    witness_dir: Option<&Path>,
    monitor: &dyn Monitor,
    visit: &mut dyn FnMut(&AuditEntry) -> Result<()>,
) -> Result<AuditReport> {
    repo.check_reader(Access::Read)?;
    let stored = stored_times(repo)?;
    let (mut damages, mut shown) = (Vec::new(), 0);
    let WalkedLog { records, head, continues } = walk(repo, &mut |walked| {
        check_stop(monitor)?;
        let Walked { seq, record, host, damage } = walked;
        if let Some(what) = &damage {
            damages.push(Damage { object: log_key(seq)?.to_string(), what: what.clone() });
        }
        let Some((envelope, said)) = record else { return Ok(()) };
        let mut entry = entry(&envelope, said, stored.get(&seq).copied(), damage)?;
        entry.details.extend(host.map(|host| ("write_only_key_of", host)));
        if filter.accepts(&entry) {
            shown += 1;
            visit(&entry)?;
        }
        Ok(())
    })?;
    if damages.is_empty() && !continues {
        let object = log_key(repo.state().next_seq().saturating_sub(1))?.to_string();
        damages.push(Damage { object, what: "the log is not the one read before".into() });
    }
    let witness = witness_dir.map_or(Ok(WitnessStatus::Unknown), |dir| repo.witness_status(dir))?;
    let beyond = repo.checkpoints_beyond()?.into_iter();
    let mut beyond: Vec<Damage> =
        beyond.map(|lost| Damage { object: lost.checkpoint.to_string(), what: lost.text() }).collect();
    if let Some(what) = repo.unrecorded_text() {
        beyond.push(Damage { object: slot_key(&repo.slot.to_hex())?.to_string(), what });
    }
    Ok(AuditReport { records, shown, head, damages, beyond, witness })
}

/// What a write-only key tells of the log, of which it reads no record: how many there are, that they follow each other and
/// are signed by who may, and how that stands to what this host has seen of it.
///
/// # Errors
/// The record seen cannot be read.
pub fn outline(repo: &Repository, witness_dir: Option<&Path>) -> Result<AuditReport> {
    let damaged = repo.damaged_records().into_iter();
    let what = "log record is damaged, or one before it is";
    let damages = damaged.map(|seq| Ok(Damage { object: log_key(seq)?.to_string(), what: what.into() }));
    let state = repo.state();
    Ok(AuditReport {
        records: state.next_seq(),
        shown: 0,
        head: state.hash(),
        damages: damages.collect::<Result<_>>()?,
        beyond: Vec::new(),
        witness: witness_dir.map_or(Ok(WitnessStatus::Unknown), |dir| repo.witness_status(dir))?,
    })
}

/// What going on with a log as it is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Something proved that records are lost.
    pub lost_records: bool,
    /// Packs that the log has in force and the storage has not, as one has after a prune whose record is lost; they were
    /// recorded as damaged.
    pub absent_packs: u64,
}

/// Goes on with the log as it is, for good, and remembers it in `witness_dir`. No later backup relies on packs that are not
/// there; with a write-only key, which cannot tell, only this host forgets what it saw before.
///
/// # Errors
/// The store does not answer, or does not allow deleting or adding; the witness file cannot be written.
pub fn accept(repo: &Repository, witness_dir: &Path, who: &Recording) -> Result<Accepted> {
    let mut accepted = Accepted::default();
    if repo.host().is_none() {
        accepted.lost_records = repo.accept_lost_records()?;
        let state = repo.state();
        let mut absent = odd_packs(repo, &state)?;
        absent.retain(|pack| !state.is_damaged(pack));
        accepted.absent_packs = absent.len() as u64;
        if !absent.is_empty() {
            record_damage(repo, who, absent, Vec::new())?;
        }
    }
    repo.accept_history(witness_dir)?;
    Ok(accepted)
}

impl AuditFilter {
    fn accepts(&self, entry: &AuditEntry) -> bool {
        let time = entry.stored.unwrap_or(entry.stamp.time);
        entry.damage.is_some()
            || (self.since.is_none_or(|since| time >= since)
                && (self.kinds.is_empty() || self.kinds.contains(entry.word))
                && self.host.as_ref().is_none_or(|host| *host == entry.stamp.host))
    }
}

/// When the store says each record was created.
fn stored_times(repo: &Repository) -> Result<BTreeMap<u64, Timestamp>> {
    let time =
        |ms: i64| Timestamp { seconds: ms.div_euclid(1000), nanoseconds: ms.rem_euclid(1000) as u32 * 1_000_000 };
    let listed = repo.store.list("log/")?;
    let times = listed.iter().filter_map(|object| Some((parse_seq_key(&object.key)?, time(object.modified_ms?))));
    Ok(times.collect())
}

fn entry(
    envelope: &Envelope,
    said: Option<(Stamp, Payload)>,
    stored: Option<Timestamp>,
    damage: Option<String>,
) -> Result<AuditEntry> {
    let mut details = BTreeMap::new();
    let unnamed = |ids: &[SnapshotId]| ids.iter().map(|id| (*id, None)).collect();
    let mut snapshots: Vec<(SnapshotId, Option<String>)> = Vec::new();
    let (stamp, payload) = said.map_or((Stamp::default(), None), |(stamp, payload)| (stamp, Some(payload)));
    let word = payload.as_ref().map_or("unreadable", Payload::word);
    match payload.unwrap_or(Payload::Note { text: String::new() }) {
        Payload::Commit { manifest } => {
            let (id, manifest) = (manifest.id(), manifest.decode()?);
            details.insert("bytes", manifest.tree.bytes.to_string());
            snapshots.push((id, Some(manifest.name)));
        }
        Payload::Forget { snapshots: ids } | Payload::RestoreForgotten { snapshots: ids } => snapshots = unnamed(&ids),
        Payload::Condemn { packs, released } => {
            details.extend([("condemned", number(&packs)), ("released", number(&released))]);
        }
        Payload::Damaged { packs, healed } => details.extend([("damaged", named(&packs)), ("healed", named(&healed))]),
        Payload::Verified { packs, .. } => _ = details.insert("verified", number(&packs)),
        Payload::Pin { snapshot, until } => {
            snapshots = unnamed(&[snapshot]);
            details.insert("until", until.map_or_else(|| "for ever".to_owned(), |until| until.to_string()));
        }
        Payload::Unpin { snapshot } => snapshots = unnamed(&[snapshot]),
        Payload::Keyring { generation } => _ = details.insert("generation", generation.to_string()),
        Payload::KeySlot(SlotChange::Added { slot, label }) => {
            details.extend([("added", slot.to_hex()), ("label", label)]);
        }
        Payload::KeySlot(SlotChange::HostAdded { slot, label, host }) => {
            details.extend([("added", slot.to_hex()), ("label", label), ("write_only_for", host)]);
        }
        Payload::KeySlot(SlotChange::Removed { slot }) => _ = details.insert("removed", slot.to_hex()),
        Payload::TagChange(edit) => {
            snapshots = unnamed(&[edit.snapshot]);
            let labels = edit.labels.iter().map(|(key, change)| match change {
                LabelChange::Set(value) => format!("{key}={value}"),
                LabelChange::Remove => format!("-{key}"),
            });
            details.insert("tags_added", edit.tags_added.join(","));
            details.insert("tags_removed", edit.tags_removed.join(","));
            details.insert("labels", labels.collect::<Vec<_>>().join(","));
        }
        Payload::Note { text } => _ = details.insert("text", text),
        // What they do is in the envelope.
        _ => {}
    }
    keys_changed(envelope, &mut details);
    let parity = envelope.added.iter().filter(|object| matches!(object.name, ObjectName::Parity(_))).count();
    details.insert("parity_added", if parity > 0 { parity.to_string() } else { String::new() });
    details.retain(|_, value| !value.is_empty());
    let packs = |name: &ObjectName| matches!(name, ObjectName::Pack(_));
    Ok(AuditEntry {
        seq: envelope.seq,
        hash: envelope.hash,
        writer: envelope.writer,
        stamp,
        stored,
        word,
        snapshots,
        details,
        packs_added: envelope.added.iter().filter(|object| packs(&object.name)).count() as u64,
        // Whoever signed said so: nothing is known of their sum.
        bytes_added: envelope.added.iter().fold(0, |sum, object| sum.saturating_add(object.len)),
        packs_reclaimed: envelope.reclaimed_packs().count() as u64,
        damage,
    })
}

/// How many; nothing for none.
fn number(packs: &[PackName]) -> String {
    if packs.is_empty() { String::new() } else { packs.len().to_string() }
}

/// The first few by name; nothing for none.
fn named(packs: &[PackName]) -> String {
    let mut names: Vec<String> = packs.iter().take(NAMED_MAX).map(|pack| pack.id.to_hex()).collect();
    if packs.len() > NAMED_MAX {
        names.push(format!("{} more", packs.len() - NAMED_MAX));
    }
    names.join(",")
}

/// Names the slots that a record adds and takes out of force, where its payload does not.
fn keys_changed(envelope: &Envelope, details: &mut BTreeMap<&'static str, String>) {
    let slot = |name: &ObjectName| if let ObjectName::KeySlot(slot) = name { Some(slot.to_hex()) } else { None };
    let added: Vec<String> = envelope.added.iter().filter_map(|object| slot(&object.name)).collect();
    let removed: Vec<String> = envelope.reclaimed.iter().filter_map(slot).collect();
    details.entry("added").or_insert_with(|| added.join(","));
    details.entry("removed").or_insert_with(|| removed.join(","));
}
