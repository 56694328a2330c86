//! What ought to be in the repository, and whether it is.

use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::{noise, path};
use decube_backup_core::ErrorKind;
use decube_backup_core::entry::EntryPath;
use decube_backup_engine::options::Snapshot;
use decube_backup_engine::{Repository, browse, dump};
use decube_backup_format::ids::SnapshotId;
use decube_backup_format::tree::INLINE_BYTES_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// Seed and length of a file's content.
pub type Content = (u64, u64);
/// What a snapshot holds, by name.
pub type Files = BTreeMap<String, Content>;

/// One snapshot.
#[derive(Clone, Debug)]
pub struct Held {
    /// Whether a write-only key made it.
    pub is_hosted: bool,
    pub files: Files,
}

impl Held {
    /// The contents that lie in packs of data: others keep what is short in the tree, such a host does not.
    pub fn in_chunks(&self) -> impl Iterator<Item = &Content> {
        self.files.values().filter(|content| self.is_in_chunks(content))
    }

    fn is_in_chunks(&self, (_, len): &Content) -> bool {
        *len > if self.is_hosted { 0 } else { INLINE_BYTES_MAX as u64 }
    }
}

pub type Snapshots = BTreeMap<SnapshotId, Held>;

#[derive(Default)]
pub struct Model {
    pub live: Snapshots,
    pub forgotten: Snapshots,
    /// All that was ever handed to a backup.
    pub ever: BTreeSet<Content>,
    /// What damage may have taken, as far as it lies in packs of data: it may be refused. Once it was read again it must
    /// not be.
    pub doubtful: BTreeSet<Content>,
}

impl Model {
    pub fn knows(&self, id: &SnapshotId) -> bool {
        self.live.contains_key(id) || self.forgotten.contains_key(id)
    }

    /// What is in no live snapshot may be in a bad pack alone by now, and who backs it up again may not know.
    pub fn doubt_the_unneeded(&mut self) {
        let needed: BTreeSet<&Content> = self.live.values().flat_map(Held::in_chunks).collect();
        self.doubtful.extend(self.ever.iter().filter(|content| !needed.contains(content)));
    }

    /// All of `held` was stored anew, or was found where it can be relied on; says how much was doubtful.
    pub fn trust(&mut self, held: &Held) -> u64 {
        held.in_chunks().filter(|content| self.doubtful.remove(content)).count() as u64
    }

    /// Reads every file of a live snapshot and compares it byte for byte; nothing else may be there.
    ///
    /// Says which contents were read, and which of those in doubt are refused.
    pub fn read_whole(&self, repo: &Repository, snapshot: &Snapshot) -> Read {
        let held = &self.live[&snapshot.id];
        assert!(names(repo, snapshot).iter().eq(held.files.keys()), "{:?}", names(repo, snapshot));
        let mut read = Read::default();
        for (name, content) in &held.files {
            let mut bytes = Vec::new();
            match dump::dump_file(repo, snapshot, &path(name), &mut bytes) {
                Ok(_) => {
                    let whole = bytes == noise(content_seed(*content), content.1 as usize);
                    assert!(whole, "{name} of {} is not what was backed up", snapshot.id);
                    if held.is_in_chunks(content) {
                        read.whole.insert(*content);
                    }
                }
                Err(error) => {
                    let may_be_lost = self.doubtful.contains(content) && held.is_in_chunks(content);
                    let doubtful = may_be_lost && is_damage(error.kind());
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
