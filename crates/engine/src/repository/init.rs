//! Making a repository.
//!
//! Write order: `format` (CreateNew: decides the id) → key slot → `keyring` (CreateNew) → `log/0`
//! (CreateNew: decides who made it). A crash leaves a beginning that the next `init` completes if its
//! credentials open what is there; of two at once, one wins and the other is told.

use super::{Repository, format_key, unlock};
use crate::environment::{Credentials, Environment};
use crate::options::InitOptions;
use crate::store::Store;
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

fn lost_race() -> Error {
    Error::new(ErrorKind::AlreadyExists, "init", "another init made a repository here at the same moment")
        .with_hint("that repository is complete: use it with its password")
}

impl Repository {
    /// Makes a repository and opens it.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one or another init won; `Unsupported` if the store cannot create
    /// an object exactly once; what writing yields.
    pub fn init(env: Environment, credentials: &Credentials, options: &InitOptions) -> Result<Self> {
        let store = Store::new(&env);
        let (header, format_bytes) = decide_header(&env, &store, options)?;
        header.check(Access::Write)?;
        if store.stat(&log_key(0)?)?.is_some() {
            return Err(exists());
        }
        let (unlocked, slot_bytes) = match unlock::unlock(&store, &header.repository, credentials, &|_| true) {
            Ok(unlocked) => {
                let bytes = store.get_existing(&slot_key(&unlocked.slot.to_hex())?)?;
                (unlocked, bytes.to_vec())
            }
            Err(_) => make_keys(&env, &store, &header.repository, credentials, options)?,
        };
        let keyring_bytes = store.get_existing(&keyring_key(0)?)?;
        let added = vec![
            AddedObject::of(ObjectName::Format, &format_bytes),
            AddedObject::of(ObjectName::Keyring(0), &keyring_bytes),
            AddedObject::of(ObjectName::KeySlot(unlocked.slot), &slot_bytes),
        ];
        let repo = Self::assemble(env, store, header, unlocked)?;
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

/// Writes `format`, or takes the one an unfinished init left.
fn decide_header(env: &Environment, store: &Store, options: &InitOptions) -> Result<(Header, Vec<u8>)> {
    let key = format_key()?;
    if let Some(bytes) = store.get(&key)? {
        return Ok((Header::decode(&bytes)?, bytes.to_vec()));
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
    Ok((Header::decode(&there)?, there.to_vec()))
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
    if store.stat(&keyring_key(0)?)?.is_some() {
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
    let slot = KeySlot::seal(*repository, credentials.secret(), KDF_DEFAULT, label, env.clock.now(), &key, entropy)?;
    let slot_bytes = slot.encode();
    store.put(&slot_key(&slot_id.to_hex())?, slot_bytes.clone(), PutMode::CreateNew)?;
    let keyring = Keyring::generate(options.cipher, entropy)?;
    let bytes = keyring.seal(&key, repository, entropy)?;
    let put = store.put(&keyring_key(0)?, bytes, PutMode::CreateNew);
    // Whoever's keyring is there decides; after an error only reading tells.
    match unlock::open_keyring(store, repository, &key) {
        Ok(keyring) => Ok((unlock::Unlocked { keyring, keyring_key: key, slot: slot_id }, slot_bytes)),
        Err(_) if matches!(put, Ok(PutOutcome::AlreadyExists)) => Err(lost_race()),
        Err(error) => Err(put.err().unwrap_or(error)),
    }
}
