//! What ought to be in the repository, and whether it is.

use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::{noise, path};
use decube_backup_core::ErrorKind;
use decube_backup_core::entry::EntryPath;
use decube_backup_engine::options::Snapshot;
use decube_backup_engine::{Repository, browse, dump};
use decube_backup_format::ids::SnapshotId;
use std::collections::{BTreeMap, BTreeSet};

/// Seed and length of a file's content.
pub type Content = (u64, u64);
/// What a snapshot holds, by name.
pub type Files = BTreeMap<String, Content>;

#[derive(Default)]
pub struct Model {
    pub live: BTreeMap<SnapshotId, Files>,
    pub forgotten: BTreeMap<SnapshotId, Files>,
    /// All that was ever handed to a backup.
    pub ever: BTreeSet<Content>,
    /// What damage may have taken: it may be refused. Once it was read again it must not be.
    pub doubtful: BTreeSet<Content>,
}

impl Model {
    pub fn knows(&self, id: &SnapshotId) -> bool {
        self.live.contains_key(id) || self.forgotten.contains_key(id)
    }

    /// Reads every file of a live snapshot and compares it byte for byte; nothing else may be there.
    ///
    /// Says which contents were read, and which of those in doubt are refused.
    pub fn read_whole(&self, repo: &Repository, snapshot: &Snapshot) -> Read {
        let files = &self.live[&snapshot.id];
        assert!(names(repo, snapshot).iter().eq(files.keys()), "{:?}", names(repo, snapshot));
        let mut read = Read::default();
        for (name, content) in files {
            let mut bytes = Vec::new();
            match dump::dump_file(repo, snapshot, &path(name), &mut bytes) {
                Ok(_) => {
                    let whole = bytes == noise(content_seed(*content), content.1 as usize);
                    assert!(whole, "{name} of {} is not what was backed up", snapshot.id);
                    read.whole.insert(*content);
                }
                Err(error) => {
                    let doubtful = self.doubtful.contains(content) && is_damage(error.kind());
                    assert!(doubtful, "{name} of {}: {error:?}", snapshot.id);
                    read.refused.push((snapshot.id, name.clone()));
                }
            }
        }
        read
    }
}

#[derive(Default)]
pub struct Read {
    pub whole: BTreeSet<Content>,
    pub refused: Vec<(SnapshotId, String)>,
}

/// The files in a snapshot.
pub fn names(repo: &Repository, snapshot: &Snapshot) -> Vec<String> {
    let mut names = Vec::new();
    let listed = browse::list(repo, snapshot, &EntryPath::root(), browse::Depth::Recursive, &mut |entry| {
        names.push(entry.entry.path.to_string());
        Ok(())
    });
    listed.expect("every live snapshot can be listed");
    names.retain(|name| name.starts_with('f'));
    names
}

/// Kinds of errors that tell of damage: a flipped byte may look like a version of the future.
fn is_damage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported)
}

fn content_seed((seed, len): Content) -> u64 {
    // Another length is another change time, as on a real file system.
    seed + (len << 8)
}

pub fn source(files: &Files) -> MadeUp {
    let file = |(name, content): (&String, &Content)| MadeUpFile {
        path: path(name),
        seed: content_seed(*content),
        len: content.1,
        behaviour: Behaviour::Fine,
    };
    MadeUp::new(files.iter().map(file).collect())
}
