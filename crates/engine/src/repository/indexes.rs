//! Loading the local index from index segments and the run in the cache.

use super::{Repository, cache};
use crate::index::{LocalIndex, MEMORY_ENTRIES_MAX, run::Run};
use crate::segments::{SegmentReader, is_damage};
use bytes::Bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{ObjectInfo, State};
use decube_backup_format::ids::{IndexId, PackName, index_key};
use decube_backup_format::index::decode_index;
use decube_backup_format::log::ObjectName;
use decube_backup_format::pack::Footer;
use decube_backup_format::reading::Shared;
use decube_backup_format::{ids, sealed};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// An index segment up to this many bytes is kept in the cache; larger ones, merged, soon are in a run there.
const KEPT_BYTES_MAX: u32 = 1 << 20;
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
    let kept = if trust == Trust::Cache { Kept::new(repo, &state) } else { None };
    let recorded = state.indexes().map(|(level, id, info)| (level, id, Some(*info)));
    for (level, id, info) in recorded.chain(strays.into_iter().map(|(level, id)| (level, id, None))) {
        // A host opens its own alone.
        if covered.contains(&id.0) || repo.host().is_some_and(|host| !host.is_for_it(&id.0)) {
            continue;
        }
        let kept = kept.as_ref().zip(info);
        let tables = match kept
            .map_or_else(|| index_segment(repo, level, &id), |(kept, info)| kept.get(level, &id, &info))
        {
            Ok(tables) => tables,
            // Merged into another one since the log was read, which names that one.
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    && repo.is_out_of_force_by_now(&ObjectName::Index { level, id })? =>
            {
                return load(repo, trust);
            }
            Err(error) if is_damage(&error) => {
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
    if damaged && repo.host().is_none() {
        from_packs(repo, &state, &mut index)?;
    }
    index.sort();
    if let Some(folder) = temporary {
        // Still open: the space is freed when the index is dropped.
        let _ = std::fs::remove_dir_all(folder);
    }
    Ok(index)
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
    fetch(repo, level, id).map(|(tables, _)| tables)
}

/// The same, with its bytes.
fn fetch(repo: &Repository, level: u8, id: &IndexId) -> Result<(Vec<(PackName, Footer)>, Bytes)> {
    let key = index_key(level, id)?;
    let bytes = repo.store.get_existing(&key)?;
    let tables = open_segment(repo, level, id, &bytes)
        .map_err(|e| e.with("key", &key).with_hint("run `decube-backup verify` to see what is affected"))?;
    Ok((tables, bytes))
}

pub(crate) fn open_segment(
    repo: &Repository,
    level: u8,
    id: &IndexId,
    bytes: &[u8],
) -> Result<Vec<(PackName, Footer)>> {
    let shared = Shared::parse(bytes)?;
    let state = repo.state();
    // The host for which others wrote it could seal another table into it, but not before the log named its hash.
    let is_recorded = || state.index(level, id).is_some_and(|info| info.hash == *blake3::hash(bytes).as_bytes());
    if shared.is_some() && !is_recorded() {
        return Err(Error::new(ErrorKind::Corrupt, "index", "not the index segment that the log names"));
    }
    let plain = repo.open_shared(id, &index_associated(repo, level, id)?, bytes)?;
    let mut tables = decode_index(&plain)?;
    // A host speaks of the packs it has just stored: what it says of others could hide what is in them.
    if shared.is_some_and(|shared| shared.is_from_host()) {
        tables.retain(|(pack, _)| state.came_with(level, id, pack));
    }
    Ok(tables)
}

/// Adds the live packs that no readable index segment knows, from their own tables of contents.
fn from_packs(repo: &Repository, state: &State, index: &mut LocalIndex) -> Result<()> {
    let known: HashSet<PackName> = index.packs().collect();
    let segments = SegmentReader::new(repo);
    for (name, info) in state.live_packs().filter(|(name, _)| !known.contains(name)) {
        match segments.table(&name, u64::from(info.len)) {
            Ok(footer) => index.add(name, &footer),
            Err(error) if is_damage(&error) => {
                tracing::warn!(error = %error.chain(), pack = %name.id, "a pack cannot be indexed");
            }
            // Without an answer nothing may be said to be in no pack.
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Small index segments in the cache, byte for byte as in the repository: what the log says of one tells whether it is that.
struct Kept<'a> {
    repo: &'a Repository,
    folder: PathBuf,
}

impl<'a> Kept<'a> {
    /// Those no longer in force are removed; `None` if there is no cache.
    fn new(repo: &'a Repository, state: &State) -> Option<Self> {
        let folder = repo.cache.segments()?;
        let in_force: HashSet<String> = state.indexes().map(|(_, id, _)| id.to_hex()).collect();
        for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !file.file_name().to_str().is_some_and(|name| in_force.contains(name)) {
                // What cannot be removed costs room and nothing else.
                let _left = std::fs::remove_file(file.path());
            }
        }
        Some(Self { repo, folder })
    }

    fn get(&self, level: u8, id: &IndexId, info: &ObjectInfo) -> Result<Vec<(PackName, Footer)>> {
        let path = self.folder.join(id.to_hex());
        let is_it = |bytes: &[u8]| *blake3::hash(bytes).as_bytes() == info.hash;
        if info.len <= KEPT_BYTES_MAX
            && let Ok(bytes) = std::fs::read(&path)
            && is_it(&bytes)
        {
            return open_segment(self.repo, level, id, &bytes);
        }
        let (tables, bytes) = fetch(self.repo, level, id)?;
        if info.len <= KEPT_BYTES_MAX && is_it(&bytes) {
            cache::write_atomically(&path, &bytes);
        }
        Ok(tables)
    }
}

/// Keeps an index segment that was just stored in the cache, so that nobody here reads it back.
pub(crate) fn keep_segment(repo: &Repository, id: &IndexId, bytes: &[u8]) {
    if bytes.len() <= KEPT_BYTES_MAX as usize
        && let Some(folder) = repo.cache.segments()
    {
        cache::write_atomically(&folder.join(id.to_hex()), bytes);
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
