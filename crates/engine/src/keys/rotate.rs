//! New pack keys: a further keyring generation.
//!
//! Write order: `keyring/<generation>` (CreateNew) → its copy, of the bytes read back → the `Keyring` record, which puts
//! it in force. A crash before the record leaves an object that nobody uses and whose number nobody takes again. Of two
//! rotations at once one appends first; the other finds the generation it began with superseded, and begins anew on top.

use crate::repository::{Appended, NewRecord, Repository, Verdict, copies};
use decube_backup_core::{Error, ErrorKind, PutMode, Result};
use decube_backup_format::hash::Key32;
use decube_backup_format::header::Access;
use decube_backup_format::keyring::Keyring;
use decube_backup_format::log::{AddedObject, ObjectName, Payload};
use std::sync::Arc;

/// Other rotations that may come in between before this one gives up.
const ATTEMPTS_MAX: u32 = 16;

/// What a rotation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The keyring generation in force now; also the version of its new pack keys.
    pub generation: u32,
    /// Number of the record that put it in force.
    pub seq: u64,
}

/// A keyring stored twice, not yet in force.
pub(super) struct Stored {
    pub keyring: Keyring,
    pub objects: [AddedObject; 2],
}

/// Makes new pack keys: packs begun from now on use them, those there are stay as they are.
///
/// # Errors
/// `Contended` if other rotations came in between again and again; `WrongKey` if keys were replaced since this handle
/// was opened; what storing yields. After an error the new keys may be in force or not; either way everything opens.
pub fn rotate(repo: &Repository) -> Result<Rotation> {
    put_next(repo, Next::PackKeys)
}

/// What a further generation brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// New pack keys.
    PackKeys,
    /// New pack keys, and a new reading key, to which hosts with write-only keys made from then on seal.
    ReadingKey,
}

/// Puts a further generation in force.
///
/// # Errors
/// As [`rotate`].
pub(super) fn put_next(repo: &Repository, next: Next) -> Result<Rotation> {
    repo.check_reader(Access::Write)?;
    for _ in 0..ATTEMPTS_MAX {
        let held = current(repo)?;
        let stored = store_next(repo, &held, &repo.keyring_key, next)?;
        let generation = stored.keyring.generation;
        let record = NewRecord {
            payload: Payload::Keyring { generation },
            added: stored.objects.to_vec(),
            reclaimed: Vec::new(),
            stamp: repo.stamp("", ""),
        };
        let unchanged = held.generation;
        if let Appended::At(seq) =
            repo.append(record, &mut |state| Ok(Verdict::of(state.keyring_current() == unchanged)))?
        {
            repo.hold_keyring(stored.keyring);
            return Ok(Rotation { generation, seq });
        }
    }
    Err(Error::new(ErrorKind::Contended, "rotate", "other rotations came in between again and again")
        .with("attempts", ATTEMPTS_MAX)
        .with_hint("keys were rotated by the others; run `key rotate --status` to see"))
}

/// The keyring in force, which changes build on.
pub(super) fn current(repo: &Repository) -> Result<Arc<Keyring>> {
    repo.check_writable()?;
    repo.refresh()?;
    repo.follow_keyring()?;
    repo.held_keyring()
}

/// Stores the generation after `held`, sealed under `key`, and its copy.
pub(super) fn store_next(repo: &Repository, held: &Keyring, key: &Key32, next: Next) -> Result<Stored> {
    let entropy = repo.env.entropy.as_ref();
    // Names of other rotations that were stopped are taken, and so is what somebody puts there who wants to be in the way.
    let listed = copies::keyring_generations(&repo.store)?;
    let mut generation = held.generation;
    for _ in 0..ATTEMPTS_MAX {
        generation = (generation..=u32::MAX)
            .skip(1)
            .find(|next| !listed.contains(next))
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "rotate", "there are no further keyring generations"))?;
        let keyring = match next {
            Next::PackKeys => held.rotated(generation, entropy)?,
            Next::ReadingKey => held.with_reading_key(generation, entropy)?,
        };
        let bytes = keyring.seal(key, &repo.id(), entropy)?;
        let (name, copy) = (ObjectName::Keyring(generation), ObjectName::KeyringCopy(generation));
        let put = repo.store.put(&name.key()?, bytes.clone(), PutMode::CreateNew);
        // After an error only reading tells; a name taken by others is left to them.
        match repo.store.get(&name.key()?)? {
            Some(there) if there == bytes => {}
            Some(_) => continue,
            None => {
                put?;
                return Err(Error::new(ErrorKind::Unavailable, "rotate", "a keyring just stored cannot be read back")
                    .with("key", name.key()?)
                    .with_hint("nothing has changed; run the command again"));
            }
        }
        repo.store.put(&copy.key()?, bytes.clone(), PutMode::CreateNew)?;
        if repo.store.get_existing(&copy.key()?)? == bytes {
            return Ok(Stored { keyring, objects: [AddedObject::of(name, &bytes), AddedObject::of(copy, &bytes)] });
        }
    }
    Err(Error::new(ErrorKind::Contended, "rotate", "others took every keyring number")
        .with_hint("nothing has changed; run the command again"))
}
