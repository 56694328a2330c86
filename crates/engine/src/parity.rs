//! Bringing damaged packs back by their parity.
//!
//! What comes out has the BLAKE3 that the log recorded of the pack, or it does not count: parity is believed in nothing.
//! The object in the store is not touched; who repairs stores its content again, under new names.
//!
//! Memory: a pack, its parity, and two to four times the pack while it is rebuilt, one at a time for each [`Shelf`], which then
//! keeps [`KEPT_MAX`] packs.

use crate::repository::Repository;
use crate::segments::{is_damage, locked};
use crate::store::{Store, is_unreadable};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{PackName, pack_key, parity_key};
use decube_backup_format::parity::{Parity, Rebuilt, SHARD_BYTES};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, Weak};

/// Rebuilt packs kept for who reads on in them.
const KEPT_MAX: usize = 2;
/// Read at once around what a disk does not give back, bytes.
const PIECE_BYTES: usize = 1 << 20;

/// The pack as it was when it was recorded; `None` if it has no parity.
///
/// # Errors
/// `Corrupt` or `NotFound` if pack and parity together are too damaged; that the store does not answer.
pub(crate) fn rebuild(store: &Store, state: &State, pack: &PackName) -> Result<Option<Rebuilt>> {
    let (Some(info), Some((name, parity_info))) = (state.pack(pack), state.parity(pack)) else { return Ok(None) };
    let key = parity_key(&name)?;
    let object = read_around(store, &key, parity_info.len as usize)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "parity", "the pack's parity is missing from the repository").with("key", &key)
    })?;
    let parity = Parity::decode(&object).map_err(|e| e.with("key", &key))?;
    let head = parity.head();
    if (head.repository, head.pack, head.pack_len, head.pack_hash) != (state.repository(), *pack, info.len, info.hash) {
        return Err(Error::new(ErrorKind::Corrupt, "parity", "the parity is another pack's").with("key", &key));
    }
    let left = read_around(store, &pack_key(pack)?, info.len as usize)?.unwrap_or_default();
    parity.rebuild(left).map(Some)
}

/// What can be read of an object of `len` bytes, zeros for the rest of it; `None` if it is absent.
///
/// # Errors
/// That the store does not answer. What it does not give back of an object is no error.
fn read_around(store: &Store, key: &Key, len: usize) -> Result<Option<Vec<u8>>> {
    match store.get(key) {
        Err(error) if is_unreadable(&error) => {}
        whole => return Ok(whole?.map(Vec::from)),
    }
    let mut bytes = vec![0; len];
    for (number, piece) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
        let from = number * PIECE_BYTES;
        if read_piece(store, key, from, piece)? {
            continue;
        }
        for (number, sector) in piece.chunks_mut(SHARD_BYTES).enumerate() {
            read_piece(store, key, from + number * SHARD_BYTES, sector)?;
        }
    }
    Ok(Some(bytes))
}

/// Whether the bytes from `from` on could be read into `into`, as far as the object goes.
fn read_piece(store: &Store, key: &Key, from: usize, into: &mut [u8]) -> Result<bool> {
    match store.get_range(key, from as u64, into.len() as u64) {
        Ok(bytes) => {
            into.iter_mut().zip(bytes.unwrap_or_default()).for_each(|(to, byte)| *to = byte);
            Ok(true)
        }
        Err(error) if is_unreadable(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Rebuilt packs at hand.
#[derive(Default)]
pub(crate) struct Shelf {
    packs: Mutex<Packs>,
    /// Held while a pack is rebuilt: it takes much memory.
    rebuilding: Mutex<()>,
}

#[derive(Default)]
struct Packs {
    /// The newest last.
    kept: VecDeque<Arc<Vec<u8>>>,
    /// Those and the ones that somebody is reading.
    at_hand: HashMap<PackName, Weak<Vec<u8>>>,
    /// Those that cannot be brought back.
    hopeless: HashSet<PackName>,
}

impl Shelf {
    /// The pack, if it was brought back and is at hand.
    pub(crate) fn get(&self, pack: &PackName) -> Option<Arc<Vec<u8>>> {
        locked(&self.packs).at_hand.get(pack)?.upgrade()
    }

    /// Brings the pack back; `None` if it has no parity, or not enough. It is at hand as long as what is returned is held.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) fn bring_back(&self, repo: &Repository, pack: &PackName) -> Result<Option<Arc<Vec<u8>>>> {
        let state = repo.state();
        if state.parity(pack).is_none() {
            return Ok(None);
        }
        let _one_at_a_time = locked(&self.rebuilding);
        if let Some(ready) = self.get(pack) {
            return Ok(Some(ready));
        }
        if locked(&self.packs).hopeless.contains(pack) {
            return Ok(None);
        }
        let rebuilt = match rebuild(&repo.store, &state, pack) {
            Ok(Some(rebuilt)) => rebuilt,
            Ok(None) => return Ok(None),
            Err(error) if is_damage(&error) => {
                tracing::warn!(pack = %pack.id, error = %error.chain(), "a damaged pack cannot be brought back by its parity");
                locked(&self.packs).hopeless.insert(*pack);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        tracing::warn!(
            pack = %pack.id,
            ranges = rebuilt.ranges.len(),
            bytes = rebuilt.damaged_bytes(),
            "a pack is damaged; it is read by its parity; `verify --read-data --repair` stores its content again"
        );
        let bytes = Arc::new(rebuilt.bytes);
        let mut packs = locked(&self.packs);
        packs.at_hand.retain(|_, pack| pack.strong_count() > 0);
        packs.at_hand.insert(*pack, Arc::downgrade(&bytes));
        packs.kept.push_back(bytes.clone());
        if packs.kept.len() > KEPT_MAX {
            packs.kept.pop_front();
        }
        Ok(Some(bytes))
    }
}
