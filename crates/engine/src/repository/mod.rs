//! An open repository: keys, the folded log, the local cache.
//!
//! *Invariant*: everything this handle believes follows from log records `0..next_seq`, whose hash
//! chain it checked. Caches only shorten the way there; listings and clocks decide nothing.
//!
//! | module | holds |
//! |---|---|
//! | [`init`] | making a repository; two makers at once |
//! | [`copies`] | header and keyring, each kept twice |
//! | [`no_log`] | an init not finished, or a log that is lost |
//! | [`unlock`] | credentials → keyring |
//! | [`keyring`] | which generation of it is used |
//! | [`host`] | a handle opened with a write-only key |
//! | [`log`] | reading the tail, appending a record |
//! | [`plain`] | reading the log without keys |
//! | [`gap`] | whether the log ends where it seems to |
//! | [`beyond`] | checkpoints that know of lost records |
//! | [`cache`] | files under the cache directory |
//! | [`indexes`] | loading the local index |
//! | [`witness`] | what this user saw of the log before |
//! | [`salvage`] | reading on past damaged log records |

pub(crate) mod beyond;
mod cache;
pub(crate) mod copies;
mod gap;
mod host;
mod indexes;
mod init;
mod keyring;
mod log;
pub(crate) mod no_log;
pub(crate) mod plain;
mod salvage;
mod slot;
mod unlock;
mod witness;

use crate::environment::{Credentials, Environment};
use crate::index::LocalIndex;
use crate::options::Damage;
use crate::segments::is_damage;
use crate::store::Store;
use cache::Cache;
use copies::Found;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::chunker::{ARGMIN_CHUNKER_ID, Chunker};
use decube_backup_format::hash::{ContentHasher, Key32};
use decube_backup_format::header::{Access, Header};
use decube_backup_format::ids::{RepositoryId, SlotId};
use decube_backup_format::keyring::Keyring;
use decube_backup_format::log::{LogKeys, ObjectName};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub(crate) use cache::{Temporary, write_atomically};
pub(crate) use host::{Host, Owners, host_index_key_of};
pub(crate) use indexes::{index_associated, index_segment, indexed_footer, keep_segment, open_segment};
pub use log::{Appended, NewRecord, Verdict};
pub(crate) use salvage::{fold_readable, read_record, unreadable_record};
pub use witness::WitnessStatus;

/// An open repository.
pub struct Repository {
    pub(crate) env: Environment,
    pub(crate) store: Store,
    pub(crate) header: Header,
    /// `None` for a host with a write-only key, which has none.
    keyring: RwLock<Option<Arc<Keyring>>>,
    host: Option<Host>,
    pub(crate) keyring_key: Key32,
    pub(crate) kek: Key32,
    pub(crate) slot: SlotId,
    pub(crate) log_keys: LogKeys,
    pub(crate) hasher: ContentHasher,
    pub(crate) chunker: Chunker,
    pub(crate) cut_key: Key32,
    pub(crate) cache: Cache,
    state: RwLock<Arc<State>>,
    appending: Mutex<()>,
    damaged: Mutex<Vec<u64>>,
    /// Records that a checkpoint knows of and the log does not.
    lost: Mutex<Option<beyond::Lost>>,
    /// Whether no record names the slot that opened it.
    unrecorded: AtomicBool,
    damaged_originals: Vec<Damage>,
    index: Mutex<Option<Arc<LocalIndex>>>,
    /// Held while the index is loaded; never waited for while `index` is held.
    loading: Mutex<()>,
    /// Held while records are folded in: each is folded once, whoever asks.
    folding: Mutex<()>,
}

/// What opening with one secret or another yields.
struct Keys {
    log_keys: LogKeys,
    id_key: Key32,
    chunker_key: Key32,
    keyring: Option<Arc<Keyring>>,
    keyring_key: Key32,
    kek: Key32,
    slot: SlotId,
    host: Option<Host>,
}

impl Repository {
    /// Opens an existing repository and reads its log to the end.
    ///
    /// # Errors
    /// `NotFound` if there is none, `WrongKey` if no slot opens, `Unsupported` for a newer format,
    /// `Corrupt` if log or keys are damaged or gone; a header or keyring whose copy is sound is reported instead.
    pub fn open(env: Environment, credentials: &Credentials) -> Result<Self> {
        Self::open_with(env, || Ok(credentials.clone()))
    }

    /// As [`Self::open`]; `credentials` is called only if there is a repository: nobody is asked for the password of
    /// nothing.
    ///
    /// # Errors
    /// As [`Self::open`], and what `credentials` yields.
    pub fn open_with(env: Environment, credentials: impl FnOnce() -> Result<Credentials>) -> Result<Self> {
        let repo = Self::open_to_write(env, credentials)?;
        if repo.host.is_none() { Ok(repo) } else { Err(unlock::write_only()) }
    }

    /// As [`Self::open_with`], for who only backs up: a write-only key does too, and gives a handle with which
    /// [`crate::backup`] works and nothing else.
    ///
    /// # Errors
    /// As there.
    pub fn open_to_write(env: Environment, credentials: impl FnOnce() -> Result<Credentials>) -> Result<Self> {
        let store = Store::new(&env);
        let header = copies::header(&store)?;
        let credentials = credentials()?;
        let outcome = Self::open_by(env.clone(), &credentials, header.clone());
        let Err(why) = outcome else { return outcome };
        // A header can be whole and yet not this repository's.
        if matches!(why.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)
            && let Ok(Some(copy)) = copies::other_header(&store, &header)
            && let Ok(repo) = Self::open_by(env, &credentials, copy)
        {
            return Ok(repo);
        }
        Err(why)
    }

    fn open_by(env: Environment, credentials: &Credentials, header: Found<Header>) -> Result<Self> {
        header.value.check(Access::Read)?;
        let store = Store::new(&env);
        let id = &header.value.repository;
        let remembered = Cache::slot(env.cache_dir.as_deref(), id);
        let mut way = match remembered.and_then(|slot| unlock::unlock_by(&store, id, credentials, slot)) {
            Some(way) => way,
            None => unlock::unlock(&store, id, credentials, &|_| true)?,
        };
        let mut superseded = Vec::new();
        let mut repo = loop {
            let repo = Self::assemble(env.clone(), store.clone(), header.clone(), way)?;
            match repo.load_state() {
                Ok(()) => break repo,
                // A revocation that was stopped left the slot to the keys before, and those do not open what hosts sealed
                // since. The same secret opens the slot that took its place.
                Err(error) if error.kind() == ErrorKind::WrongKey => {
                    superseded.push(repo.slot);
                    way = match unlock::unlock(&store, id, credentials, &|slot| !superseded.contains(slot)) {
                        Err(none) if none.kind() == ErrorKind::WrongKey => return Err(error),
                        other => other?,
                    };
                }
                Err(error) => return Err(error),
            }
        };
        copies::check_recorded(&header, &repo.state())?;
        if repo.host.is_some() {
            let Err(refused) = repo.check_host() else { return Ok(repo) };
            // A crash may have left a slot without a record, and the same key opens a sound one too.
            let state = repo.state();
            let in_force = |slot: &SlotId| state.has_slot(slot);
            let way = unlock::unlock(&store, &header.value.repository, credentials, &in_force).map_err(|_| refused)?;
            let repo = Self::assemble(env, store, header, way)?;
            repo.load_state()?;
            return repo.check_host().map(|()| repo);
        }
        repo.settle_slot(credentials)?;
        repo.cache.remember_slot(repo.slot);
        // The keyring that was the way in may have been taken out of force, and be half deleted.
        let state = repo.state();
        let retired = |object: &str| state.retired_objects().any(|o| o.key().is_ok_and(|key| key.as_str() == object));
        repo.damaged_originals.retain(|damage| !retired(&damage.object));
        match repo.follow_keyring() {
            Ok(damage) => repo.damaged_originals.extend(damage),
            // Nothing can be said of it now.
            Err(error) if !is_damage(&error) && error.kind() != ErrorKind::WrongKey => return Err(error),
            // Packs under earlier keys open all the same.
            Err(error) => repo.damaged_originals.push(Damage {
                object: ObjectName::Keyring(repo.state().keyring_current()).key()?.to_string(),
                what: format!("{}; what was stored since the last rotation cannot be read", error.chain()),
            }),
        }
        for Damage { object, what } in &repo.damaged_originals {
            tracing::error!(key = %object, "an object of the repository was read from its copy: {what}");
        }
        Ok(repo)
    }

    fn assemble(env: Environment, store: Store, header: Found<Header>, way: unlock::Way) -> Result<Self> {
        let Found { value: header, damage, .. } = header;
        if header.chunker_id != ARGMIN_CHUNKER_ID {
            return Err(Error::new(ErrorKind::Unsupported, "open", "repository cuts content with an unknown chunker")
                .with("chunker", header.chunker_id)
                .with_hint("a newer program made it: use that program"));
        }
        let id = header.repository;
        let mut damaged_originals: Vec<Damage> = damage.into_iter().collect();
        let Keys { log_keys, id_key, chunker_key, keyring, keyring_key, kek, slot, host } = match way {
            unlock::Way::Everything(unlocked) => {
                let unlock::Unlocked { keyring: Found { value: keyring, damage, .. }, keyring_key, kek, slot } =
                    *unlocked;
                damaged_originals.extend(damage);
                Keys {
                    log_keys: LogKeys::new(&keyring)?,
                    id_key: keyring.id_key.clone(),
                    chunker_key: keyring.chunker_key.clone(),
                    keyring: Some(Arc::new(keyring)),
                    keyring_key,
                    kek,
                    slot,
                    host: None,
                }
            }
            unlock::Way::Host(ring, slot) => Keys {
                log_keys: LogKeys::of_host(&ring, &id, env.entropy.as_ref())?,
                id_key: ring.id_key.clone(),
                chunker_key: ring.chunker_key.clone(),
                keyring: None,
                keyring_key: Key32::default(),
                kek: Key32::default(),
                slot,
                host: Some(Host::new(*ring)?),
            },
        };
        // What a host keeps is sealed under another key than what the owner of the same machine keeps.
        let cache = Cache::new(env.cache_dir.as_deref(), &id, host.as_ref().map(|host| host.mark));
        let chunker = Chunker::new(&chunker_key, header.chunker)?;
        Ok(Self {
            log_keys,
            hasher: ContentHasher::new(&id_key).knowing_zeros(chunker.zeros()),
            chunker,
            cut_key: chunker_key.derive("decube-backup 2026 v1 tree cut", &[]),
            state: RwLock::new(Arc::new(State::new(header.repository))),
            appending: Mutex::new(()),
            damaged: Mutex::new(Vec::new()),
            lost: Mutex::new(None),
            unrecorded: AtomicBool::new(false),
            damaged_originals,
            index: Mutex::new(None),
            loading: Mutex::new(()),
            folding: Mutex::new(()),
            env,
            store,
            header,
            keyring: RwLock::new(keyring),
            host,
            keyring_key,
            kek,
            slot,
            cache,
        })
    }

    /// Header and keyring, if they were missing or damaged when this handle was opened and their copies stand in;
    /// empty in a sound repository. Nothing is at risk while the copies last, so writing goes on.
    pub fn damaged_originals(&self) -> &[Damage] {
        &self.damaged_originals
    }

    /// Its random name.
    pub fn id(&self) -> RepositoryId {
        self.header.repository
    }

    /// Everything the log says so far.
    ///
    /// A snapshot: records folded in later do not show in it.
    pub fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_state(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    /// Sizes fixed at `init`.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The local index, loaded on first use.
    ///
    /// # Errors
    /// An index segment is missing or damaged.
    pub fn index(&self) -> Result<Arc<LocalIndex>> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.index.lock().unwrap_or_else(PoisonError::into_inner).clone();
        loaded.map_or_else(|| self.load_index(indexes::Trust::Cache), Ok)
    }

    /// The local index, loaded from the repository alone whatever the cache holds.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub(crate) fn index_anew(&self) -> Result<Arc<LocalIndex>> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.load_index(indexes::Trust::Repository)
    }

    fn load_index(&self, trust: indexes::Trust) -> Result<Arc<LocalIndex>> {
        let seq = self.state().next_seq();
        let index = Arc::new(indexes::load(self, trust)?);
        let mut slot = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        // What was folded in meanwhile may have added packs: then this one is used, and not kept.
        *slot = (self.state().next_seq() == seq).then(|| index.clone());
        Ok(index)
    }

    /// Forgets the loaded index: records were folded in that add or reclaim packs.
    pub(crate) fn drop_index(&self) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
