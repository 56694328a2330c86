//! Write-only keys: for hosts that add snapshots and read none.
//!
//! The first one brings a reading key: a further keyring generation. Each is a slot that holds a host's ring, and a record
//! that admits the host's signature for as long as the slot is in force, so that removing the slot ends it.

use super::put_slot;
use super::rotate::{Next, current, put_next};
use super::slots::info;
use crate::environment::Credentials;
use crate::options::KeySlotInfo;
use crate::repository::{Repository, host_index_key_of};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Key32;
use decube_backup_format::header::Access;
use decube_backup_format::host::HostRing;
use decube_backup_format::keyslot::{KDF_DEFAULT, KeySlot, random_slot_id};
use decube_backup_format::log::{SlotChange, WriterKey};

/// Adds a slot that `new`, a password or key file, opens to add snapshots of `host` and nothing else.
///
/// # Errors
/// `Invalid` for a label too long, a host without a name, or other secrets; `Contended` if keys were replaced meanwhile;
/// what storing yields.
pub fn add_write_only(repo: &Repository, new: &Credentials, host: &str, label: &str) -> Result<KeySlotInfo> {
    repo.check_reader(Access::Write)?;
    let (secret, entropy) = (new.secret()?, repo.env.entropy.as_ref());
    let mut held = current(repo)?;
    if held.reading_keys.is_empty() {
        put_next(repo, Next::ReadingKey)?;
        held = current(repo)?;
    }
    let missing = || Error::new(ErrorKind::Internal, "key", "the keyring has no reading key");
    let reader = held.reader().ok_or_else(missing)?;
    let (mut signing_seed, mut cache_key) = (Key32::default(), Key32::default());
    entropy.fill(&mut signing_seed.0)?;
    entropy.fill(&mut cache_key.0)?;
    let writer = WriterKey::from_seed(&signing_seed)?.id();
    let ring = HostRing {
        cipher: held.cipher,
        id_key: held.id_key.clone(),
        chunker_key: held.chunker_key.clone(),
        reader,
        signing_seed,
        index_key: host_index_key_of(repo, &writer)?,
        cache_key,
        root: repo.log_keys.writer(),
        host: host.to_owned(),
    };
    let id = random_slot_id(entropy)?;
    let slot = KeySlot::seal_ring(repo.id(), secret, KDF_DEFAULT, label, repo.env.clock.now(), &ring, entropy)?;
    let change = SlotChange::HostAdded { slot: id, label: label.to_owned(), host: host.to_owned() };
    put_slot(repo, &held, id, &slot, change, Some(ring.admission(id)?))?;
    Ok(info(repo, id, &slot))
}
