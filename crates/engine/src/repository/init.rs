//! Making a repository.
//!
//! Write order: `format` (CreateNew: decides the id) → key slot → `keyring` (CreateNew) → the copies of
//! `format` and `keyring` → `log/0` (CreateNew: decides who made it). A crash leaves a beginning that the
//! next `init` completes if its credentials open what is there; of two at once, one wins and the other is
//! told.
//!
//! A copy is made of the bytes read back from the store, and originals never change once they are there:
//! whoever wins, all inits that get as far as the copies write the same bytes, and none of a lost race. A
//! copy that differs is damage, and ends the init before there is a record.

use super::copies::{self, Found};
use super::{Repository, no_log, unlock};
use crate::environment::{Credentials, Environment};
use crate::options::InitOptions;
use crate::store::Store;
use bytes::Bytes;
use decube_backup_core::{Error, ErrorKind, Key, PutMode, PutOutcome, Result};
use decube_backup_format::chunker::ARGMIN_CHUNKER_ID;
use decube_backup_format::hash::Key32;
use decube_backup_format::header::{Access, Features, Header};
use decube_backup_format::ids::{RepositoryId, SlotId, keyring_key, log_key, slot_key};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::keyslot::{KDF_DEFAULT, KeySlot, random_slot_id};
use decube_backup_format::log::{AddedObject, ObjectName, Payload, RecordBuilder};

/// Metadata packs are smaller: nodes are read one by one.
const META_PACK_BYTES: u32 = 8 << 20;

fn exists() -> Error {
    Error::new(ErrorKind::AlreadyExists, "init", "there already is a repository here")
        .with_hint("open it with its own password, or choose another place")
}

/// Says so of a place where a repository is or began, but its header is gone.
fn exists_damaged() -> Error {
    let what = "there already is a repository here, and its header `format` is missing or damaged";
    Error::new(ErrorKind::AlreadyExists, "init", what)
        .with_hint("nothing was changed; copy `copy/format` to `format`, or put it back from a replica")
}

fn damaged_beginning(key: &Key) -> Error {
    Error::new(ErrorKind::Corrupt, "init", "what an unfinished init left here is damaged")
        .with("key", key)
        .with_hint("unless another init is running, nothing is stored here yet: empty the place and run init again")
}

fn lost_race() -> Error {
    Error::new(ErrorKind::AlreadyExists, "init", "another init made a repository here at the same moment")
        .with_hint("that repository is complete: use it with its password")
}

impl Repository {
    /// Says whether `init` could make a repository or finish one; nothing is written.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one, `Corrupt` if there is one whose log is gone.
    pub fn refuse_existing(env: &Environment) -> Result<()> {
        let store = Store::new(env);
        if copies::has_log(&store)? { Err(exists()) } else { refuse_lost(&store) }
    }

    /// Makes a repository and opens it.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one or another init won; `Corrupt` if there is one whose log is gone; `Unsupported` if the store cannot create
    /// an object exactly once; what writing yields.
    pub fn init(env: Environment, credentials: &Credentials, options: &InitOptions) -> Result<Self> {
        let store = Store::new(&env);
        refuse_lost(&store)?;
        let header = decide_header(&env, &store, options)?;
        header.value.check(Access::Write)?;
        if copies::has_log(&store)? {
            return Err(exists());
        }
        let id = header.value.repository;
        let (unlocked, slot_bytes) =
            match unlock::unlock(&store, &id, credentials, &|_| true).and_then(unlock::Way::everything) {
                Ok(unlocked) => {
                    let bytes = store.get_existing(&slot_key(&unlocked.slot.to_hex())?)?;
                    (unlocked, bytes.to_vec())
                }
                Err(_) => make_keys(&env, &store, &id, credentials, options)?,
            };
        if unlocked.keyring.damage.is_some() {
            return Err(damaged_beginning(&ObjectName::Keyring(0).key()?));
        }
        let added = vec![
            AddedObject::of(ObjectName::Format, &header.bytes),
            AddedObject::of(ObjectName::Keyring(0), &unlocked.keyring.bytes),
            AddedObject::of(ObjectName::KeySlot(unlocked.slot), &slot_bytes),
            put_copy(&store, ObjectName::FormatCopy, &header.bytes)?,
            put_copy(&store, ObjectName::KeyringCopy(0), &unlocked.keyring.bytes)?,
        ];
        let repo = Self::assemble(env, store, header, unlock::Way::Everything(Box::new(unlocked)))?;
        let stamp = repo.stamp("", "");
        let record =
            RecordBuilder::new(repo.id(), &stamp, &Payload::Init, added, Vec::new(), repo.env.entropy.as_ref())?;
        let record = record.admitting(repo.log_keys.writer());
        repo.put_first_record(&record)?;
        repo.load_state()?;
        repo.check_slot_in_force()?;
        Ok(repo)
    }

    fn put_first_record(&self, record: &RecordBuilder) -> Result<()> {
        let built = record.build(0, &[0; 32], &self.log_keys, self.env.entropy.as_ref())?;
        let key = log_key(0)?;
        let put = self.store.put(&key, built.bytes.clone(), PutMode::CreateNew);
        // Lost, or our own first attempt whose answer got lost: the bytes tell.
        match (put, self.store.get(&key)) {
            (Ok(PutOutcome::Created), _) => Ok(()),
            (_, Ok(Some(there))) if there == built.bytes => Ok(()),
            (_, Ok(Some(_))) => Err(lost_race()),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(PutOutcome::AlreadyExists), Ok(None)) => {
                Err(Error::new(ErrorKind::Unavailable, "init", "the store says a record exists but does not give it")
                    .with("key", key))
            }
        }
    }
}

/// A new log beside what another one named would make leftovers of all that is stored.
fn refuse_lost(store: &Store) -> Result<()> {
    no_log::lost(store, "init")?.map_or(Ok(()), Err)
}

/// Writes `format`, or takes the one an unfinished init left.
fn decide_header(env: &Environment, store: &Store, options: &InitOptions) -> Result<Found<Header>> {
    let key = ObjectName::Format.key()?;
    // Asked before `format` is read: whoever wrote a copy or a record had written `format` before.
    let begun = store.stat(&ObjectName::FormatCopy.key()?)?.is_some() || copies::has_log(store)?;
    match store.get(&key)? {
        Some(bytes) => match Header::decode(&bytes) {
            Err(error) if begun && error.kind() == ErrorKind::Corrupt => return Err(exists_damaged()),
            decoded => return Ok(Found { value: decoded?, bytes, damage: None }),
        },
        None if begun => return Err(exists_damaged()),
        None => {}
    }
    let mut repository = RepositoryId::default();
    env.entropy.fill(&mut repository.0)?;
    let header = Header {
        repository,
        features: Features::default(),
        chunker_id: ARGMIN_CHUNKER_ID,
        chunker: options.chunker,
        pack_data_bytes: options.pack_bytes,
        pack_meta_bytes: META_PACK_BYTES.min(options.pack_bytes),
        segment_bytes: options.segment_bytes,
    };
    let bytes = header.encode()?;
    if store.put(&key, bytes.clone(), PutMode::CreateNew)? == PutOutcome::Created {
        probe_create(store, &key, &bytes)?;
    }
    let there = store.get_existing(&key)?;
    Ok(Found { value: Header::decode(&there)?, bytes: there, damage: None })
}

/// Writes the copy `name` of an original whose `bytes` were read back, or finds it written.
fn put_copy(store: &Store, name: ObjectName, bytes: &Bytes) -> Result<AddedObject> {
    let key = name.key()?;
    let put = store.put(&key, bytes.clone(), PutMode::CreateNew)?;
    if put == PutOutcome::AlreadyExists && store.get_existing(&key)? != *bytes {
        return Err(damaged_beginning(&key));
    }
    Ok(AddedObject::of(name, bytes))
}

/// Creating the same object again must lose: without that, two writers could both take a log slot.
fn probe_create(store: &Store, key: &Key, bytes: &[u8]) -> Result<()> {
    if store.put(key, bytes.to_vec(), PutMode::CreateNew)? == PutOutcome::AlreadyExists {
        return Ok(());
    }
    store.delete(key)?;
    Err(Error::new(ErrorKind::Unsupported, "init", "this store does not refuse to create an object that exists")
        .with_hint("such a store cannot be shared safely and is not used; nothing was left in it"))
}

fn make_keys(
    env: &Environment,
    store: &Store,
    repository: &RepositoryId,
    credentials: &Credentials,
    options: &InitOptions,
) -> Result<(unlock::Unlocked, Vec<u8>)> {
    let entropy = env.entropy.as_ref();
    let there = |name: ObjectName| Ok::<_, Error>(store.stat(&name.key()?)?.is_some());
    if there(ObjectName::Keyring(0))? || there(ObjectName::KeyringCopy(0))? {
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            "init",
            "another init with other credentials began a repository here",
        )
        .with_hint(
            "if that init is not running any more, nothing is stored here yet: empty the place and run init again",
        ));
    }
    let mut key = Key32::default();
    entropy.fill(&mut key.0)?;
    let slot_id: SlotId = random_slot_id(entropy)?;
    let label = &options.key_label;
    let (slot, kek) =
        KeySlot::seal(*repository, credentials.secret()?, KDF_DEFAULT, label, env.clock.now(), &key, entropy)?;
    let slot_bytes = slot.encode();
    store.put(&slot_key(&slot_id.to_hex())?, slot_bytes.clone(), PutMode::CreateNew)?;
    let keyring = Keyring::generate(options.cipher, entropy)?;
    let bytes = keyring.seal(&key, repository, entropy)?;
    let put = store.put(&keyring_key(0)?, bytes, PutMode::CreateNew);
    // Whoever's keyring is there decides; after an error only reading tells.
    match copies::keyring(store, repository, &key, 0, None) {
        Ok(keyring) => {
            let unlocked = unlock::Unlocked { keyring, keyring_key: key, kek, slot: slot_id };
            Ok((unlocked, slot_bytes))
        }
        Err(error) if matches!(put, Ok(PutOutcome::AlreadyExists)) => {
            // Another's keyring: nothing will ever open by this slot. If it stays, a prune deletes it.
            if error.kind() == ErrorKind::Corrupt {
                let _ = store.delete(&slot_key(&slot_id.to_hex())?);
            }
            Err(lost_race())
        }
        Err(error) => Err(put.err().unwrap_or(error)),
    }
}
