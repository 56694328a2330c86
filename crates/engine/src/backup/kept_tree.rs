//! The tree that a host with a write-only key stored last, in its cache.
//!
//! Such a host cannot read back what it stored. So that it need not read unchanged files, it keeps the nodes of the last
//! tree of each series, sealed under a key of its own: paths, attributes and chunk ids, but no content, because it
//! stores nothing inline. With it are kept the roots that were missing, which others read in the snapshot's record. Losing
//! the file costs reading every file once, and a root that is empty at that moment is not told of.
//!
//! File: magic | sealed node* | sealed table | offset of the table, u64.

use super::emptied::Missing;
use crate::repository::{Host, Repository, Temporary};
use bytes::Bytes;
use decube_backup_core::entry::EntryPath;
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::{ContentHasher, Domain};
use decube_backup_format::host::HostRing;
use decube_backup_format::ids::{ChunkId, SnapshotId};
use decube_backup_format::sealed;
use decube_backup_format::tree::{NodeReader, TreeRoot};
use decube_backup_format::wire::{Reader, Writer, corrupt};
use hashbrown::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const MAGIC: &[u8; 8] = b"DCTREE02";
const WHAT: &str = "kept tree";
/// Longest table read, bytes: a million nodes.
const TABLE_BYTES_MAX: u64 = 64 << 20;

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    len: u32,
}

/// What was stored last.
pub(super) struct KeptTree<'a> {
    /// The snapshot it became.
    pub snapshot: SnapshotId,
    /// Its root.
    pub tree: TreeRoot,
    /// What was missing in it.
    pub missing: Missing,
    file: File,
    places: HashMap<ChunkId, Place>,
    host: &'a Host,
    hasher: &'a ContentHasher,
    aad: Vec<u8>,
}

impl<'a> KeptTree<'a> {
    /// The tree at `path`, if it is whole and this host's.
    pub(super) fn open(repo: &'a Repository, host: &'a Host, path: &Path) -> Option<Self> {
        match Self::read(repo, host, path) {
            Ok(tree) => Some(tree),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(error = %error.chain(), path = %path.display(), "the tree stored last cannot be read; every file is read again");
                None
            }
        }
    }

    fn read(repo: &'a Repository, host: &'a Host, path: &Path) -> Result<Self> {
        let failed = |e| Error::io("backup", "cannot read the kept tree", e);
        let mut file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic).map_err(failed)?;
        let mut end = [0; 8];
        file.seek(SeekFrom::End(-8)).and_then(|_| file.read_exact(&mut end)).map_err(failed)?;
        let table_at = u64::from_le_bytes(end);
        let table_len = len.checked_sub(8).and_then(|end| end.checked_sub(table_at));
        let Some(table_len) = table_len.filter(|len| magic == *MAGIC && *len <= TABLE_BYTES_MAX) else {
            return Err(corrupt(WHAT));
        };
        let mut table = vec![0; table_len as usize];
        file.read_exact_at(&mut table, table_at).map_err(failed)?;
        let aad = HostRing::cache_aad(&repo.id(), WHAT);
        let plain = sealed::open(&host.ring.cache_key, &aad, &table)?;
        let mut reader = Reader::new(&plain, WHAT);
        let snapshot = SnapshotId(reader.array()?);
        let tree = TreeRoot {
            id: ChunkId(reader.array()?),
            height: reader.u8()?,
            entries: reader.u64()?,
            bytes: reader.u64()?,
        };
        let count = reader.count(44)?;
        let mut places = HashMap::with_capacity(count);
        for _ in 0..count {
            places.insert(ChunkId(reader.array()?), Place { offset: reader.u64()?, len: reader.u32()? });
        }
        let mut missing = Missing { complete: reader.u8()? == 1, paths: Vec::new() };
        for _ in 0..reader.count(1)? {
            missing.paths.push(reader.bytes(EntryPath::LEN_MAX)?.to_vec());
        }
        reader.finish()?;
        Ok(Self { snapshot, tree, missing, file, places, host, hasher: &repo.hasher, aad })
    }
}

impl NodeReader for KeptTree<'_> {
    fn node(&self, id: &ChunkId) -> Result<Bytes> {
        let place = self.places.get(id).ok_or_else(|| corrupt(WHAT).with("node", id))?;
        let mut sealed = vec![0; place.len as usize];
        self.file
            .read_exact_at(&mut sealed, place.offset)
            .map_err(|e| Error::io("backup", "cannot read the kept tree", e))?;
        let node = sealed::open(&self.host.ring.cache_key, &self.aad, &sealed)?;
        // Sealed nodes could have been exchanged.
        match self.hasher.id(Domain::Node, &node) == *id {
            true => Ok(node.into()),
            false => Err(corrupt(WHAT).with("node", id)),
        }
    }
}

/// Keeps the nodes of the tree that is being stored. What cannot be kept is only warned of.
pub(super) struct Keeper<'a> {
    host: &'a Host,
    entropy: &'a dyn Entropy,
    aad: Vec<u8>,
    file: Mutex<Option<Unfinished>>,
}

struct Unfinished {
    out: BufWriter<File>,
    at: u64,
    places: HashMap<ChunkId, Place>,
    temporary: Temporary,
}

impl<'a> Keeper<'a> {
    /// Keeps them at `path`, once there is a snapshot.
    pub(super) fn create(repo: &'a Repository, host: &'a Host, path: &Path) -> Self {
        let temporary = Temporary::beside(path);
        let begun = File::create(temporary.temp()).and_then(|file| {
            let mut out = BufWriter::with_capacity(128 << 10, file);
            out.write_all(MAGIC).map(|()| out)
        });
        let file = begun.inspect_err(warn).ok().map(|out| Unfinished {
            out,
            at: MAGIC.len() as u64,
            places: HashMap::new(),
            temporary,
        });
        let aad = HostRing::cache_aad(&repo.id(), WHAT);
        Self { host, entropy: repo.env.entropy.as_ref(), aad, file: Mutex::new(file) }
    }

    /// Keeps a node of the tree.
    pub(super) fn keep(&self, id: &ChunkId, node: &[u8]) {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = guard.as_mut().filter(|file| !file.places.contains_key(id)) else { return };
        let written = self.seal(node).and_then(|sealed| {
            file.out.write_all(&sealed)?;
            Ok(sealed.len())
        });
        match written {
            Ok(len) => {
                file.places.insert(*id, Place { offset: file.at, len: len as u32 });
                file.at += len as u64;
            }
            Err(error) => {
                warn(&error);
                *guard = None;
            }
        }
    }

    fn seal(&self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        sealed::seal(self.host.ring.cipher, &self.host.ring.cache_key, &self.aad, plain, self.entropy)
            .map_err(std::io::Error::other)
    }

    /// Makes it the tree stored last.
    pub(super) fn finish(self, snapshot: &SnapshotId, tree: &TreeRoot, missing: &Missing) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Unfinished { mut out, at, places, temporary }) = file else { return };
        let mut table = Vec::with_capacity(96 + places.len() * 44);
        table.extend_from_slice(&snapshot.0);
        table.extend_from_slice(&tree.id.0);
        table.write_u8(tree.height);
        table.write_u64(tree.entries);
        table.write_u64(tree.bytes);
        table.write_varint(places.len() as u64);
        for (id, place) in &places {
            table.extend_from_slice(&id.0);
            table.write_u64(place.offset);
            table.write_u32(place.len);
        }
        table.write_u8(u8::from(missing.complete));
        table.write_varint(missing.paths.len() as u64);
        missing.paths.iter().for_each(|path| table.write_bytes(path));
        let written = self.seal(&table).and_then(|sealed| {
            out.write_all(&sealed)?;
            out.write_all(&at.to_le_bytes())?;
            out.flush()?;
            temporary.replace()
        });
        if let Err(error) = written {
            warn(&error);
        }
    }
}

fn warn(error: &std::io::Error) {
    tracing::warn!(%error, "the tree cannot be kept; the next backup reads every file again");
}
