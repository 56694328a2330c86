//! Loading the local index from index segments and the run in the cache.

use super::Repository;
use crate::index::{LocalIndex, MEMORY_ENTRIES_MAX, run::Run};
use crate::segments::SegmentReader;
use decube_backup_core::{ErrorKind as Kind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{IndexId, PackName, index_key};
use decube_backup_format::index::decode_index;
use decube_backup_format::pack::Footer;
use decube_backup_format::{ids, sealed};
use std::collections::HashSet;

/// What an index segment is sealed with.
pub(crate) fn index_associated(repo: &Repository, level: u8, id: &IndexId) -> Result<Vec<u8>> {
    Ok(sealed::aad("index", &repo.id(), ids::index_key(level, id)?.as_str()))
}

pub(super) fn load(repo: &Repository) -> Result<LocalIndex> {
    let state = repo.state();
    let path = repo.cache.index();
    let mut run = match &path {
        Some(path) => Run::open(path)?,
        None => None,
    };
    // A run may cover segments merged away since; their packs are still right. One that covers
    // segments of another history is useless.
    if run.as_ref().is_some_and(|run| run.covers().iter().any(|id| !state.indexes().any(|(_, i, _)| i.0 == *id))) {
        run = None;
    }
    let mut covered: HashSet<[u8; 16]> = run.as_ref().map(|r| r.covers().clone()).unwrap_or_default();
    let mut index = LocalIndex::new(run);
    let (mut temporary, mut damaged) = (None, false);
    let strays = repo.stray_indexes(&state)?;
    for (level, id) in state.indexes().map(|(level, id, _)| (level, id)).chain(strays.into_iter().map(|id| (0, id))) {
        if covered.contains(&id.0) {
            continue;
        }
        let tables = match index_segment(repo, level, &id) {
            Ok(tables) => tables,
            // A flipped byte may also look like a cipher of the future.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt | Kind::Unsupported | Kind::Io) => {
                tracing::warn!(error = %error.chain(), "an index segment is damaged; its packs say what is in them");
                damaged = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        for (pack, footer) in tables {
            if !state.is_reclaimed(&pack) {
                index.add(pack, &footer);
            }
        }
        covered.insert(id.0);
        if index.memory_entries() > MEMORY_ENTRIES_MAX {
            index.sort();
            let path = match (&path, &temporary) {
                (Some(path), _) => path.clone(),
                (None, Some(path)) => std::path::PathBuf::clone(path),
                (None, None) => temporary.insert(fallback_path(repo)?).clone(),
            };
            index.spill(&path, &covered)?;
        }
    }
    if damaged {
        from_packs(repo, &state, &mut index);
    }
    index.sort();
    if let Some(path) = temporary {
        // Still open: the space is freed when the index is dropped.
        let _ = std::fs::remove_file(path);
    }
    Ok(index)
}

/// The packs in one index segment with their tables of contents.
pub(crate) fn index_segment(repo: &Repository, level: u8, id: &IndexId) -> Result<Vec<(PackName, Footer)>> {
    let key = index_key(level, id)?;
    let bytes = repo.store.get_existing(&key)?;
    open_segment(repo, level, id, &bytes)
        .map_err(|e| e.with("key", &key).with_hint("run `decube-backup verify` to see what is affected"))
}

fn open_segment(repo: &Repository, level: u8, id: &IndexId, bytes: &[u8]) -> Result<Vec<(PackName, Footer)>> {
    let plain = sealed::open(&repo.held_keyring().index_key, &index_associated(repo, level, id)?, bytes)?;
    decode_index(&plain)
}

/// Adds the live packs that no readable index segment knows, from their own tables of contents.
fn from_packs(repo: &Repository, state: &State, index: &mut LocalIndex) {
    let known: HashSet<PackName> = index.packs().collect();
    let segments = SegmentReader::new(repo);
    for (name, info) in state.live_packs().filter(|(name, _)| !known.contains(name)) {
        match segments.pack(&name).and_then(|reader| segments.footer(&reader, u64::from(info.len))) {
            Ok(footer) => index.add(name, &footer),
            Err(error) => tracing::warn!(error = %error.chain(), pack = %name.id, "a pack cannot be indexed"),
        }
    }
}

/// Where a large index goes when there is no cache folder.
fn fallback_path(repo: &Repository) -> Result<std::path::PathBuf> {
    let mut random = [0; 8];
    repo.env.entropy.fill(&mut random)?;
    Ok(std::env::temp_dir().join(format!("decube-index-{}", ids::hex(&random))))
}

/// The table of contents of `pack` as an index segment has it; `None` if no readable segment does.
///
/// # Errors
/// Never for damage: that is what the caller is looking into.
pub(crate) fn indexed_footer(repo: &Repository, pack: &PackName) -> Result<Option<Footer>> {
    for (level, id, _) in repo.state().indexes() {
        let key = index_key(level, &id)?;
        let Some(bytes) = repo.store.get(&key)? else { continue };
        let footer = open_segment(repo, level, &id, &bytes)
            .ok()
            .and_then(|tables| tables.into_iter().find(|(name, _)| name == pack));
        if let Some((_, footer)) = footer {
            return Ok(Some(footer));
        }
    }
    Ok(None)
}
