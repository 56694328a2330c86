//! Loading the local index from index segments and the run in the cache.

use super::Repository;
use crate::index::{LocalIndex, MEMORY_ENTRIES_MAX, run::Run};
use crate::segments::SegmentReader;
use decube_backup_core::{Error, ErrorKind as Kind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{IndexId, PackName, index_key};
use decube_backup_format::index::decode_index;
use decube_backup_format::log::ObjectName;
use decube_backup_format::pack::Footer;
use decube_backup_format::{ids, sealed};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Reclaimed packs that a run in the cache may always have; more than a third of its packs, and it is made anew.
const GONE_PACKS_MAX: usize = 64;

/// What an index segment is sealed with.
pub(crate) fn index_associated(repo: &Repository, level: u8, id: &IndexId) -> Result<Vec<u8>> {
    Ok(sealed::aad("index", &repo.id(), ids::index_key(level, id)?.as_str()))
}

/// Whether what an earlier run left in the cache is made use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// As far as it fits the log: a wrong entry costs a duplicate or an error.
    Cache,
    /// Only what is sealed in the repository: whoever reclaims relies on every entry.
    Repository,
}

pub(super) fn load(repo: &Repository, trust: Trust) -> Result<LocalIndex> {
    let state = repo.state();
    let folder = repo.cache.index();
    let runs = match &folder {
        Some(folder) if trust == Trust::Cache => useful_runs(&state, folder),
        _ => Vec::new(),
    };
    let mut covered: HashSet<[u8; 16]> = runs.iter().flat_map(Run::covers).copied().collect();
    // Covered by what is in memory.
    let mut recent = HashSet::new();
    let mut index = LocalIndex::new(runs);
    // A merged index segment says again what those say that it replaces.
    let mut known: HashSet<PackName> = index.packs().collect();
    let (mut temporary, mut damaged) = (None, false);
    let strays = repo.stray_indexes(&state)?;
    for (level, id) in state.indexes().map(|(level, id, _)| (level, id)).chain(strays) {
        if covered.contains(&id.0) {
            continue;
        }
        let tables = match index_segment(repo, level, &id) {
            Ok(tables) => tables,
            // Merged into another one since the log was read, which names that one.
            Err(error) if error.kind() == Kind::NotFound && is_retired_by_now(repo, level, id)? => {
                return load(repo, trust);
            }
            // A flipped byte may also look like a cipher of the future.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt | Kind::Unsupported | Kind::Io) => {
                tracing::warn!(error = %error.chain(), "an index segment is damaged; its packs say what is in them");
                damaged = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        for (pack, footer) in tables {
            if !state.is_reclaimed(&pack) && known.insert(pack) {
                index.add(pack, &footer);
            }
        }
        covered.insert(id.0);
        recent.insert(id.0);
        if index.memory_entries() > MEMORY_ENTRIES_MAX {
            index.sort();
            let folder = match (&folder, &temporary) {
                (Some(folder), _) => folder.clone(),
                (None, Some(folder)) => PathBuf::clone(folder),
                (None, None) => temporary.insert(fallback_folder(repo)?).clone(),
            };
            index.spill(&folder, std::mem::take(&mut recent))?;
        }
    }
    if damaged {
        from_packs(repo, &state, &mut index);
    }
    index.sort();
    if let Some(folder) = temporary {
        // Still open: the space is freed when the index is dropped.
        let _ = std::fs::remove_dir_all(folder);
    }
    Ok(index)
}

fn is_retired_by_now(repo: &Repository, level: u8, id: IndexId) -> Result<bool> {
    repo.refresh()?;
    Ok(repo.state().is_retired(&ObjectName::Index { level, id }))
}

/// The runs in `folder` that are of this history and mostly of packs still there, each index segment once; the others are
/// removed: they are not whole, of another history, or were made by two processes at once.
///
/// A run may cover segments merged away since: their packs are still right.
fn useful_runs(state: &State, folder: &Path) -> Vec<Run> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "run"));
    let mut runs = Vec::new();
    for path in files {
        match Run::open(&path) {
            Ok(Some(run)) => runs.push(run),
            _ => _ = std::fs::remove_file(&path),
        }
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
    let retired =
        state.retired_objects().filter_map(|o| if let ObjectName::Index { id, .. } = o { Some(id.0) } else { None });
    let recorded: HashSet<[u8; 16]> = state.indexes().map(|(_, id, _)| id.0).chain(retired).collect();
    let mut covered: HashSet<[u8; 16]> = HashSet::new();
    runs.retain(|run| {
        let gone = run.packs().filter(|pack| state.is_reclaimed(pack)).count();
        let fits = run.covers().iter().all(|id| recorded.contains(id) && !covered.contains(id));
        let useful = fits && gone <= GONE_PACKS_MAX.max(run.packs().count() / 3);
        match useful {
            true => covered.extend(run.covers()),
            false => _ = std::fs::remove_file(run.path()),
        }
        useful
    });
    runs
}

/// The packs in one index segment with their tables of contents.
pub(crate) fn index_segment(repo: &Repository, level: u8, id: &IndexId) -> Result<Vec<(PackName, Footer)>> {
    let key = index_key(level, id)?;
    let bytes = repo.store.get_existing(&key)?;
    open_segment(repo, level, id, &bytes)
        .map_err(|e| e.with("key", &key).with_hint("run `decube-backup verify` to see what is affected"))
}

pub(crate) fn open_segment(
    repo: &Repository,
    level: u8,
    id: &IndexId,
    bytes: &[u8],
) -> Result<Vec<(PackName, Footer)>> {
    let plain = sealed::open(&repo.held_keyring().index_key, &index_associated(repo, level, id)?, bytes)?;
    decode_index(&plain)
}

/// Adds the live packs that no readable index segment knows, from their own tables of contents.
fn from_packs(repo: &Repository, state: &State, index: &mut LocalIndex) {
    let known: HashSet<PackName> = index.packs().collect();
    let segments = SegmentReader::new(repo);
    for (name, info) in state.live_packs().filter(|(name, _)| !known.contains(name)) {
        match segments.table(&name, u64::from(info.len)) {
            Ok(footer) => index.add(name, &footer),
            Err(error) => tracing::warn!(error = %error.chain(), pack = %name.id, "a pack cannot be indexed"),
        }
    }
}

/// Where a large index goes when there is no cache folder.
fn fallback_folder(repo: &Repository) -> Result<PathBuf> {
    let mut random = [0; 8];
    repo.env.entropy.fill(&mut random)?;
    let folder = std::env::temp_dir().join(format!("decube-index-{}", ids::hex(&random)));
    std::fs::create_dir(&folder).map_err(|e| {
        Error::io("index cache", "cannot make a folder for the local index", e).with("path", folder.display())
    })?;
    Ok(folder)
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
