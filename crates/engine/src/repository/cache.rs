//! Files under the cache directory: state, local index, index segments, metadata packs, stat caches, and which key slot
//! fits. All rebuildable; every failure to write one is a warning, never an error.

use decube_backup_format::host::HostMark;
use decube_backup_format::ids::{RepositoryId, SlotId, hex};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The file that names a key slot.
const SLOT: &str = "slot";

/// The cache folder of one repository.
pub(crate) struct Cache {
    dir: Option<PathBuf>,
}

impl Cache {
    /// That of a host if it has a mark.
    pub(super) fn new(base: Option<&Path>, repository: &RepositoryId, host: Option<HostMark>) -> Self {
        let name = match host {
            Some(mark) => format!("{}-{}", repository.to_hex(), mark.to_hex()),
            None => repository.to_hex(),
        };
        let dir = base.map(|base| base.join(name));
        let dir = dir.and_then(|dir| match std::fs::create_dir_all(&dir) {
            Ok(()) => Some(dir),
            Err(error) => {
                tracing::warn!(%error, path = %dir.display(), "the cache folder cannot be made; going on without");
                None
            }
        });
        Self { dir }
    }

    /// The slot that opened the repository last time from here, by a cache below `base`.
    pub(super) fn slot(base: Option<&Path>, repository: &RepositoryId) -> Option<SlotId> {
        let text = std::fs::read_to_string(base?.join(repository.to_hex()).join(SLOT)).ok()?;
        SlotId::from_hex(&text).ok()
    }

    /// Remembers the slot for [`Self::slot`].
    pub(super) fn remember_slot(&self, slot: SlotId) {
        let Some(path) = self.path(SLOT) else { return };
        let text = slot.to_hex();
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            write_atomically(&path, text.as_bytes());
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(name))
    }

    /// Where the folded state is kept.
    pub(super) fn state(&self) -> Option<PathBuf> {
        self.path("state")
    }

    /// The folder that keeps the local index.
    pub(super) fn index(&self) -> Option<PathBuf> {
        let folder = self.path("index.d")?;
        match std::fs::create_dir_all(&folder) {
            Ok(()) => Some(folder),
            Err(error) => {
                tracing::warn!(%error, path = %folder.display(), "the local index cannot be kept");
                None
            }
        }
    }

    /// The folder that keeps index segments as they are in the repository, by name.
    pub(super) fn segments(&self) -> Option<PathBuf> {
        let folder = self.path("segments.d")?;
        std::fs::create_dir_all(&folder).ok().map(|()| folder)
    }

    /// The folder that keeps metadata packs as they are in the repository, by id.
    pub(crate) fn packs(&self) -> Option<PathBuf> {
        let folder = self.path("packs.d")?;
        std::fs::create_dir_all(&folder).ok().map(|()| folder)
    }

    /// Where the stat cache of a series of backups is kept.
    pub(crate) fn stat(&self, name: &str, host: &str) -> Option<PathBuf> {
        self.of_series("stat", name, host)
    }

    /// Where a host keeps the tree it stored last of a series of backups.
    pub(crate) fn tree(&self, name: &str, host: &str) -> Option<PathBuf> {
        self.of_series("tree", name, host)
    }

    fn of_series(&self, what: &str, name: &str, host: &str) -> Option<PathBuf> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(host.as_bytes());
        self.path(&format!("{what}-{}", hex(&hasher.finalize().as_bytes()[..12])))
    }
}

/// A file in the making beside `path`, under a name that no other writer uses, in this process or another. Dropped
/// before it took the place of `path`, it is removed.
pub(crate) struct Temporary {
    temp: PathBuf,
    path: PathBuf,
}

impl Temporary {
    /// Names it; nothing is there yet.
    pub(crate) fn beside(path: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let extension = format!("tmp{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { temp: path.with_extension(extension), path: path.to_owned() }
    }

    /// Where it is made.
    pub(crate) fn temp(&self) -> &Path {
        &self.temp
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// The folder cannot be written; what was in its place stays.
    pub(crate) fn replace(self) -> std::io::Result<()> {
        std::fs::rename(&self.temp, &self.path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Mostly it is in its place by now.
        let _ = std::fs::remove_file(&self.temp);
    }
}

/// Replaces the file at `path` whole; a failure is only logged.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) {
    let temporary = Temporary::beside(path);
    if let Err(error) = std::fs::write(temporary.temp(), bytes).and_then(|()| temporary.replace()) {
        tracing::warn!(%error, path = %path.display(), "a cache file cannot be written");
    }
}
