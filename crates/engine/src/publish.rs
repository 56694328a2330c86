//! From durable packs to records that name them: index segments first, then the record.

use crate::pipeline::{AddedPack, tables};
use crate::repository::{Appended, NewRecord, Owners, Repository, Verdict, index_associated, keep_segment};
use crate::rules;
use decube_backup_core::{Error, ErrorKind, PutMode, PutOutcome, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{IndexId, PackName, index_key};
use decube_backup_format::index::encode_index;
use decube_backup_format::log::{AddedObject, ObjectName, Payload, WriterId};
use decube_backup_format::manifest::RunId;
use decube_backup_format::pack::Footer;
use std::collections::BTreeMap;

/// Level of the index segments that backups and repacking write; merged ones have the next.
pub(crate) const LEVEL_NEW: u8 = 0;

/// How often packs are recorded anew because some of them, or their index segment, were reclaimed meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// What a record of `added` lists: the packs, their parity, and the index segments that were stored for them (several for very many).
///
/// # Errors
/// What storing yields.
pub(crate) fn objects(repo: &Repository, added: &[AddedPack]) -> Result<Vec<AddedObject>> {
    let packs = added.iter().map(|p| AddedObject { name: ObjectName::Pack(p.name), len: p.len, hash: p.hash });
    let indexes = index(repo, LEVEL_NEW, tables(added))?;
    Ok(packs.chain(added.iter().filter_map(|p| p.parity)).chain(indexes).collect())
}

/// Stores index segments of `level` that hold `tables`; lists them for a record. Tables of a host's packs come into segments
/// of their own, which the host can open too.
///
/// # Errors
/// What storing yields.
pub(crate) fn index<'a>(
    repo: &Repository,
    level: u8,
    tables: impl ExactSizeIterator<Item = (PackName, &'a Footer)>,
) -> Result<Vec<AddedObject>> {
    let owners = Owners::of(&repo.state());
    let mut groups: BTreeMap<Option<WriterId>, Vec<(PackName, &Footer)>> = BTreeMap::new();
    for (name, footer) in tables {
        groups.entry(owners.owner(&name.id.0)).or_default().push((name, footer));
    }
    let entropy = repo.env.entropy.as_ref();
    let mut objects = Vec::new();
    let each = |(owner, tables): (Option<WriterId>, Vec<(PackName, &Footer)>)| {
        encode_index(tables.into_iter()).into_iter().map(move |plain| (owner, plain))
    };
    for (owner, plain) in groups.into_iter().flat_map(each) {
        let mut id = IndexId::default();
        match &owner {
            // The handle's own if it is that host's, else given to it.
            Some(owner) => id = repo.mark_for(owner).index(entropy)?,
            None => entropy.fill(&mut id.0)?,
        }
        let key = index_key(level, &id)?;
        let associated = index_associated(repo, level, &id)?;
        let bytes = repo.seal_index(owner.as_ref(), &associated, &plain)?;
        objects.push(AddedObject::of(ObjectName::Index { level, id }, &bytes));
        keep_segment(repo, &id, &bytes);
        if repo.store.put(&key, bytes, PutMode::CreateNew)? == PutOutcome::AlreadyExists {
            return Err(Error::new(ErrorKind::AlreadyExists, "commit", "a random index name is taken").with("key", key));
        }
    }
    Ok(objects)
}

/// Bytes of the index segments among `objects`.
pub(crate) fn index_bytes(objects: &[AddedObject]) -> u64 {
    objects.iter().filter(|o| matches!(o.name, ObjectName::Index { .. })).map(|o| o.len).sum()
}

/// What [`record_packs`] wrote.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Packs that are in a record now.
    pub packs: Vec<AddedPack>,
    /// Bytes of index segments stored.
    pub index_bytes: u64,
}

/// Records packs that no snapshot needs yet with an `Add`, so that their chunks are found. Those reclaimed by then, as
/// leftovers, are left out; nothing is written for no packs.
///
/// Afterwards each of `added` was recorded or is reclaimed: who relies on them finds out which when it commits. One that
/// is neither would be relied on and in no record.
///
/// # Errors
/// `Contended`, in the name of `operation`, if packs or their index segments were reclaimed again and again; what storing
/// and appending yield.
pub(crate) fn record_packs(
    repo: &Repository,
    run: RunId,
    mut added: Vec<AddedPack>,
    operation: &'static str,
) -> Result<Recorded> {
    let mut index_bytes = 0;
    for _ in 0..ATTEMPTS_MAX {
        let state = repo.state();
        added.retain(|pack| !state.is_reclaimed(&pack.name));
        drop(state);
        if added.is_empty() {
            return Ok(Recorded { packs: added, index_bytes });
        }
        let objects = objects(repo, &added)?;
        index_bytes += self::index_bytes(&objects);
        let record = NewRecord {
            payload: Payload::Add { run },
            added: objects,
            reclaimed: Vec::new(),
            stamp: repo.stamp("", ""),
        };
        // An own pack was reclaimed after it was uploaded at the earliest, so counting from the very beginning is right.
        let mut validate = |state: &State| {
            let packs = added.iter().map(|p| &p.name);
            Ok(Verdict::of(rules::commit_stands(state, 0, packs, None)))
        };
        if let Appended::At(_) = repo.append(record, &mut validate)? {
            return Ok(Recorded { packs: added, index_bytes });
        }
    }
    Err(Error::new(ErrorKind::Contended, operation, "what was uploaded was taken for garbage again and again")
        .with_hint(format!("nothing is lost; run the {operation} again when nobody else prunes")))
}
