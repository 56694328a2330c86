//! Metadata packs in the cache, byte for byte as in the repository: requests take time, and on many storages money.
//!
//! Backups read the tree before, whole; what they store of the next one they keep. Reading what is kept says nothing of the
//! repository, so whoever judges or repairs it reads past this.

use crate::repository::{Repository, write_atomically};
use bytes::Bytes;
use decube_backup_core::Result;
use decube_backup_format::ids::{PackKind, PackName, pack_key};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::SystemTime;

/// Room that all of them may take, bytes: the trees of some 50 million files. Those kept longest go first.
const KEPT_BYTES_MAX: u64 = 2 << 30;

/// What happens when a pack is asked for that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It is fetched whole and kept: most of it will be read.
    Fetch,
    /// What was asked for is read from the repository.
    Pass,
}

/// The metadata packs that one user of a repository keeps.
#[derive(Clone)]
pub(crate) struct KeptPacks {
    folder: PathBuf,
    absent: Absent,
}

impl KeptPacks {
    /// Those of `repo`; `None` without a cache, and for a host, which could not read them.
    pub(crate) fn of(repo: &Repository, absent: Absent) -> Option<Self> {
        if repo.host().is_some() {
            return None;
        }
        Some(Self { folder: repo.cache.packs()?, absent })
    }

    /// Removes what is no longer in the repository, and what there is no room for.
    pub(crate) fn tidy(&self, repo: &Repository) {
        let state = repo.state();
        let mut live: HashMap<String, u64> = HashMap::new();
        let packs = state.live_packs().filter(|(name, _)| name.kind == PackKind::Meta);
        live.extend(packs.map(|(name, info)| (name.id.to_hex(), u64::from(info.len))));
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for file in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let found = file.metadata().and_then(|meta| Ok((meta.modified()?, meta.len())));
            let is_whole = |len| file.file_name().to_str().and_then(|name| live.get(name)) == Some(&len);
            match found {
                Ok((when, len)) if is_whole(len) => kept.push((when, len, file.path())),
                // What cannot be removed costs room and nothing else.
                _ => _ = std::fs::remove_file(file.path()),
            }
        }
        kept.sort_unstable_by(|a, b| b.cmp(a));
        let mut room = KEPT_BYTES_MAX;
        for (_, len, path) in kept {
            match room.checked_sub(len) {
                Some(left) => room = left,
                None => _ = std::fs::remove_file(path),
            }
        }
    }

    /// Keeps a pack that is in the repository. What cannot be kept is only warned of.
    pub(crate) fn keep(&self, pack: &PackName, bytes: &[u8]) {
        if let Some(path) = self.path(pack) {
            write_atomically(&path, bytes);
        }
    }

    /// `len` bytes of `pack` from `offset`; `None` if it is not kept and shall not be.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) fn read(&self, repo: &Repository, pack: &PackName, offset: u64, len: u64) -> Result<Option<Bytes>> {
        let Some(path) = self.path(pack) else { return Ok(None) };
        if let Ok(file) = File::open(path) {
            let mut bytes = vec![0; len as usize];
            if file.read_exact_at(&mut bytes, offset).is_ok() {
                return Ok(Some(bytes.into()));
            }
        }
        if self.absent == Absent::Pass {
            return Ok(None);
        }
        let Some(whole) = repo.store.get(&pack_key(pack)?)? else { return Ok(None) };
        let part = offset as usize..offset.saturating_add(len) as usize;
        // A pack that is too short is not kept: who reads the range says what is wrong with it.
        if part.end > whole.len() {
            return Ok(None);
        }
        self.keep(pack, &whole);
        Ok(Some(whole.slice(part)))
    }

    /// Forgets a pack that did not open; whether it was kept.
    pub(super) fn discard(&self, pack: &PackName) -> bool {
        self.path(pack).is_some_and(|path| std::fs::remove_file(path).is_ok())
    }

    /// Where a pack is kept; `None` for one of content.
    fn path(&self, pack: &PackName) -> Option<PathBuf> {
        (pack.kind == PackKind::Meta).then(|| self.folder.join(pack.id.to_hex()))
    }
}
