//! The commit log: folding its tail, appending to it.
//!
//! Appending is a race for the next slot that exactly one writer wins (`CreateNew`). Whoever loses
//! folds the winner's record, asks its own validation whether the record still stands, and tries the
//! next slot. Our own record is recognised by its nonce, so a lost acknowledgement is no lost race.

use super::beyond::{Judged, Opened};
use super::gap::Names;
use super::{Repository, cache, no_log};
use crate::rules;
use crate::store::is_unreadable;
use decube_backup_core::limits::LOG_APPEND_ATTEMPTS_MAX;
use decube_backup_core::sink::ObjectMeta;
use decube_backup_core::{Error, ErrorKind, Key, PutMode, PutOutcome, Result, Timestamp};
use decube_backup_format::checkpoint::State;
use decube_backup_format::header::Access;
use decube_backup_format::host::HostAdmission;
use decube_backup_format::ids::{IndexId, checkpoint_key, log_key, parse_seq_key};
use decube_backup_format::log::{AddedObject, Envelope, ObjectName, Payload, RecordBuilder, Stamp};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// Every so many records a checkpoint is stored, so that a new client does not read the whole log.
const CHECKPOINT_EVERY: u64 = 32;
/// Checkpoints that are tried, newest first, before the whole log is read: the newest may be damaged.
const CHECKPOINTS_TRIED_MAX: usize = 4;

/// A record to append.
pub struct NewRecord {
    /// What it means.
    pub payload: Payload,
    /// Objects it adds.
    pub added: Vec<AddedObject>,
    /// Objects it takes out of force.
    pub reclaimed: Vec<ObjectName>,
    /// Who appends it.
    pub stamp: Stamp,
}

/// Whether a record may still be appended after others were.
pub enum Verdict {
    /// It stands.
    Stands,
    /// Something it relies on is gone.
    Void,
}

impl Verdict {
    /// As a rule of [`crate::rules`] answered.
    pub fn of(stands: bool) -> Self {
        if stands { Self::Stands } else { Self::Void }
    }
}

/// How an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// In the log, in this slot.
    At(u64),
    /// Not appended: validation found it void.
    Void,
}

impl Repository {
    /// Who and when, for a record; the environment's author where nobody is named.
    pub(crate) fn stamp(&self, host: &str, username: &str) -> Stamp {
        let or_author = |named: &str, author: &str| if named.is_empty() { author } else { named }.to_owned();
        Stamp {
            time: self.env.clock.now(),
            host: or_author(host, &self.env.author.host),
            username: or_author(username, &self.env.author.username),
            program: concat!("decube-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// When record `seq` was written: by the store's time if it has one, else as its writer says. `None` if it cannot be read.
    pub(crate) fn recorded_at(&self, seq: u64) -> Result<Option<Timestamp>> {
        let key = log_key(seq)?;
        if let Some(time) = self.store.stat(&key)?.and_then(|object| object.modified_ms) {
            return Ok(Some(Timestamp { seconds: time.div_euclid(1000), nanoseconds: 0 }));
        }
        let bytes = match self.store.get(&key) {
            Err(error) if is_unreadable(&error) => None,
            read => read?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let said = Envelope::decode(&bytes).and_then(|envelope| self.open_record(&self.state(), &envelope, &bytes));
        Ok(said.ok().flatten().map(|(stamp, _)| stamp.time))
    }

    /// Folds the log from the best starting point there is.
    pub(super) fn load_state(&self) -> Result<()> {
        let seen = self.seen_before();
        let cached = self.cached_state();
        // Who knows nothing of a log looks at all of its names once.
        let names = if cached.is_some() { Names::NearTheEnd } else { Names::All };
        // A listing from before the log is folded does for both: a checkpoint is stored after its records.
        let checkpoints = if cached.is_none() { self.store.list("ckpt/").ok() } else { None };
        let mut unlike = Vec::new();
        let listed = checkpoints.as_deref().unwrap_or_default();
        if let Some(state) = cached.or_else(|| self.stored_checkpoint(listed, &mut unlike)) {
            self.set_state(state);
        }
        let from = self.state().next_seq();
        // Folding checks that the log continues this state; what it ends with needs no second look.
        let confirmed = seen.is_some_and(|seen| from == seen.seq + 1 && self.state().hash() == seen.hash);
        match self.fold_new().and_then(|_| self.check_no_gap(names)) {
            Err(error) if is_unreadable(&error) => {
                self.salvage(error)?;
                return self.check_seen(seen);
            }
            other => other?,
        }
        if self.state().next_seq() == 0 {
            // Whoever saw the log and finds none of it learns that it is gone, not that it is an older one.
            let why = no_log::why(&self.store)?;
            return if why.kind() == ErrorKind::Corrupt { Err(why) } else { self.check_seen(seen).and(Err(why)) };
        }
        if !confirmed {
            self.check_seen(seen)?;
        }
        for checkpoint in unlike {
            if let Judged::Beyond(lost) = self.compare_checkpoint(&checkpoint)? {
                self.hold_lost(lost);
                return Ok(());
            }
        }
        self.look_beyond_end(checkpoints)?;
        if self.lost().is_none() {
            if self.state().next_seq() > from {
                self.save_state();
            }
            self.remember();
        }
        Ok(())
    }

    /// The cached state if the log still continues it.
    fn cached_state(&self) -> Option<State> {
        let bytes = std::fs::read(self.cache.state()?).ok()?;
        let state = State::decode(&bytes, self.log_keys.log_key(), &self.id()).ok()?;
        self.continues(&state).then_some(state)
    }

    /// The newest of the stored ones `listed` that the log continues; `unlike` gets those before it that open and do not seem to be continued.
    fn stored_checkpoint(&self, listed: &[ObjectMeta], unlike: &mut Vec<Opened>) -> Option<State> {
        if self.host().is_some() {
            return None;
        }
        // The listing is only a hint at which names to try; what counts is the sealed content.
        let mut open = |key: &Key| {
            let bytes = self.store.get(key).ok()??;
            let state = State::decode(&bytes, self.log_keys.log_key(), &self.id()).ok()?;
            if self.continues(&state) {
                return Some(state);
            }
            unlike.push(Opened { key: key.clone(), known: state.next_seq(), hash: state.hash() });
            None
        };
        let named = listed.iter().rev().filter(|object| parse_seq_key(&object.key).is_some());
        named.take(CHECKPOINTS_TRIED_MAX).find_map(|object| open(&object.key))
    }

    /// Whether the record `state` ends with is the one in the repository.
    fn continues(&self, state: &State) -> bool {
        let last = state.next_seq().checked_sub(1).and_then(|seq| log_key(seq).ok());
        let there = last.and_then(|key| self.store.get(&key).ok().flatten());
        let same = there.is_some_and(|bytes| *blake3::hash(&bytes).as_bytes() == state.hash());
        if !same {
            tracing::warn!(
                seq = state.next_seq(),
                "the repository's log does not continue what was seen before; reading it anew"
            );
        }
        same
    }

    fn save_state(&self) {
        let Some(path) = self.cache.state() else { return };
        match self.state().encode(&self.log_keys, self.env.entropy.as_ref()) {
            Ok(bytes) => cache::write_atomically(&path, &bytes),
            Err(error) => tracing::warn!(error = %error.chain(), "the state cannot be cached"),
        }
    }

    /// Folds records appended since the last look; says how many.
    ///
    /// # Errors
    /// `Corrupt` if the chain is broken; what reading yields.
    pub fn refresh(&self) -> Result<u64> {
        let folded = self.fold_new()?;
        if folded > 0 {
            self.remember();
        }
        Ok(folded)
    }

    /// Whether a record takes `name` out of force, one appended by now included: what is missing then was pruned, not lost.
    ///
    /// # Errors
    /// As [`Self::refresh`].
    pub(crate) fn is_out_of_force_by_now(&self, name: &ObjectName) -> Result<bool> {
        self.refresh()?;
        Ok(self.state().is_out_of_force(name))
    }

    pub(super) fn fold_new(&self) -> Result<u64> {
        if !self.damaged_records().is_empty() {
            return Ok(0);
        }
        let mut folded = 0;
        self.fold_tail(&self.one_folder(), &mut |_| folded += 1)?;
        Ok(folded)
    }

    /// Keeps other threads from folding: two that fold the same record would find the log out of order, and who waits
    /// for its own record must see it go by.
    fn one_folder(&self) -> MutexGuard<'_, ()> {
        self.folding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds what was appended since, showing each record's envelope to `see`.
    fn fold_tail(&self, _one_folder: &MutexGuard<'_, ()>, see: &mut dyn FnMut(&Envelope)) -> Result<()> {
        let mut chain = self.state().chain();
        while let Some(bytes) = self.store.get(&log_key(self.state().next_seq())?)? {
            let envelope = chain.accept(&bytes)?;
            self.fold(&envelope, &bytes)?;
            see(&envelope);
        }
        Ok(())
    }

    fn fold(&self, envelope: &Envelope, bytes: &[u8]) -> Result<()> {
        // Opened before the lock is taken: it may read the keyring.
        let said = self.open_record(&self.state(), envelope, bytes)?;
        let mut guard = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let refusal = self.apply_said(Arc::make_mut(&mut guard), envelope, said.as_ref())?;
        drop(guard);
        if let Some(why) = refusal {
            tracing::error!(
                seq = envelope.seq,
                "a record of a host with a write-only key has no effect: {why}; see `decube-backup audit`"
            );
        }
        if !envelope.added.is_empty() || !envelope.reclaimed.is_empty() {
            self.drop_index();
        }
        Ok(())
    }

    /// Appends `record`; before every attempt `validate` sees the state it would follow. A record that adds an index
    /// segment which was taken out of force is void without asking.
    ///
    /// # Errors
    /// `Contended` after too many lost races; what the store yields. After an error the record may or
    /// may not be in the log; its objects are safe either way.
    pub fn append(&self, record: NewRecord, validate: &mut dyn FnMut(&State) -> Result<Verdict>) -> Result<Appended> {
        self.append_admitting(record, None, validate)
    }

    /// As [`Self::append`], of a record that also admits `host`.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn append_admitting(
        &self,
        record: NewRecord,
        host: Option<HostAdmission>,
        validate: &mut dyn FnMut(&State) -> Result<Verdict>,
    ) -> Result<Appended> {
        let _one_at_a_time = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_writable()?;
        let NewRecord { payload, added, reclaimed, stamp } = record;
        if !matches!(payload, Payload::Commit { .. } | Payload::Add { .. }) || !reclaimed.is_empty() {
            self.check_reader(Access::Write)?;
        }
        let indexes: Vec<(u8, IndexId)> = added.iter().filter_map(|object| object.name.index()).collect();
        // A prune may have taken a slot that waited for its record for a leftover.
        let is_slot = |name: &ObjectName| matches!(name, ObjectName::KeySlot(_));
        let slots: Vec<ObjectName> = added.iter().map(|object| object.name).filter(is_slot).collect();
        let entropy = self.env.entropy.clone();
        let mut builder = RecordBuilder::new(self.id(), &stamp, &payload, added, reclaimed, entropy.as_ref())?;
        if let Some(host) = host {
            builder = builder.admitting_host(host);
        }
        for attempt in 0..LOG_APPEND_ATTEMPTS_MAX {
            // One state for all of it: another thread may fold more records into this handle at any moment, and the
            // slot must be the one that was validated.
            let state = self.state();
            self.check_admitted(&state)?;
            let stands =
                rules::indexes_stand(state.as_ref(), &indexes) && !slots.iter().any(|slot| state.is_retired(slot));
            if let (false, _) | (_, Verdict::Void) = (stands, validate(&state)?) {
                return Ok(Appended::Void);
            }
            let (seq, full_seq) = (state.next_seq(), state.full_seq());
            let built = builder.build(seq, &state.hash(), &self.log_keys, entropy.as_ref())?;
            drop(state);
            let key = log_key(seq)?;
            let folder = self.one_folder();
            let put = self.store.put(&key, built.bytes.clone(), PutMode::CreateNew);
            if let Err(error) = &put {
                tracing::debug!(error = %error.chain(), seq, "appending failed; looking whether the record is there");
            }
            let ours = match &put {
                // What was just put need not be read, nor what others appended since.
                Ok(PutOutcome::Created) => self.fold_next(&folder, &built.bytes).map(|()| Some(seq)),
                _ => self.fold_until_nonce(&folder, &builder.nonce(), seq),
            };
            drop(folder);
            match (put, ours) {
                (_, Ok(Some(at))) => {
                    self.save_state();
                    self.remember();
                    self.store_checkpoint(full_seq, at);
                    return Ok(Appended::At(at));
                }
                (Err(error), _) | (_, Err(error)) => return Err(error),
                (Ok(PutOutcome::Created), Ok(None)) => {
                    return Err(Error::new(ErrorKind::Internal, "append", "a record just created is not in the log")
                        .with("seq", seq));
                }
                (Ok(PutOutcome::AlreadyExists), Ok(None)) => self.pause(attempt)?,
            }
        }
        Err(Error::new(ErrorKind::Contended, "append", "other writers took every log slot")
            .with("attempts", LOG_APPEND_ATTEMPTS_MAX)
            .with_hint("nothing is lost: what was uploaded is reused; run the same command again"))
    }

    /// Folds the record that follows, whose bytes are at hand.
    fn fold_next(&self, _one_folder: &MutexGuard<'_, ()>, bytes: &[u8]) -> Result<()> {
        let envelope = self.state().chain().accept(bytes)?;
        self.fold(&envelope, bytes)
    }

    /// Folds the tail; the slot of the record with `nonce` if it is there at or after `from`.
    fn fold_until_nonce(&self, folder: &MutexGuard<'_, ()>, nonce: &[u8; 16], from: u64) -> Result<Option<u64>> {
        let mut found = None;
        self.fold_tail(folder, &mut |envelope| {
            if envelope.nonce == *nonce && envelope.seq >= from {
                found = Some(envelope.seq);
            }
        })?;
        Ok(found)
    }

    /// Waits a random time that grows with the attempts, up to 100 ms.
    fn pause(&self, attempt: u32) -> Result<()> {
        let mut random = [0; 2];
        self.env.entropy.fill(&mut random)?;
        let bound_us = 200u64 << attempt.min(9);
        std::thread::sleep(Duration::from_micros((u64::from(u16::from_le_bytes(random)) * bound_us) >> 16));
        Ok(())
    }

    /// Stores a checkpoint now and then; derivable, so failing is only a warning. `full_seq`: how many records there were
    /// after the one before this one that was no host's.
    fn store_checkpoint(&self, full_seq: u64, seq: u64) {
        // A host's state lacks what it cannot read, so the next who can read makes up for what hosts left out.
        let due = full_seq / CHECKPOINT_EVERY != (seq + 1) / CHECKPOINT_EVERY;
        if self.host().is_some() || !due || self.state().next_seq() != seq + 1 {
            return;
        }
        let put = self
            .state()
            .encode(&self.log_keys, self.env.entropy.as_ref())
            .and_then(|bytes| self.store.put(&checkpoint_key(seq)?, bytes, PutMode::CreateNew));
        let judged = match put {
            Ok(PutOutcome::Created) => return,
            // Perhaps of other records than those that are there now.
            Ok(PutOutcome::AlreadyExists) => checkpoint_key(seq).and_then(|key| self.judge_checkpoint(&key, seq)),
            Err(error) => Err(error),
        };
        match judged {
            Ok(Judged::Beyond(lost)) => self.hold_lost(lost),
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error.chain(), "a checkpoint could not be stored"),
        }
    }
}
