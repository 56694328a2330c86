//! Facts about trees; the stores and sample trees they share.

mod codec;
mod cursor;
mod diff;
mod golden;
mod list;
mod shape;

use super::{Content, Extent, NodeReader, NodeWriter, TreeBuilder, TreeEntry, TreeRoot};
use crate::hash::{ContentHasher, Domain, Key32};
use crate::ids::ChunkId;
use crate::wire::corrupt;
use bytes::Bytes;
use decube_backup_core::{Entry, EntryKind, EntryPath, Metadata, Result, Timestamp};
use std::cell::Cell;
use std::collections::BTreeMap;

/// Nodes in memory; counts what is read and written.
#[derive(Default)]
struct Store {
    nodes: BTreeMap<ChunkId, Bytes>,
    reads: Cell<usize>,
    puts: usize,
}

impl NodeWriter for Store {
    fn put_node(&mut self, id: ChunkId, bytes: &[u8]) -> Result<()> {
        assert_eq!(id, hasher().id(Domain::Node, bytes));
        self.puts += 1;
        self.nodes.insert(id, Bytes::copy_from_slice(bytes));
        Ok(())
    }
}

impl NodeReader for Store {
    fn node(&self, id: &ChunkId) -> Result<Bytes> {
        self.reads.set(self.reads.get() + 1);
        self.nodes.get(id).cloned().ok_or_else(|| corrupt("missing node"))
    }
}

impl Store {
    fn build(&mut self, entries: &[TreeEntry]) -> TreeRoot {
        self.build_with(&cut_key(), entries)
    }
    /// With a cut key that gives `many(30_000)` inner nodes below the root.
    fn build_tall(&mut self, entries: &[TreeEntry]) -> TreeRoot {
        self.build_with(&Key32([1; 32]), entries)
    }
    fn build_with(&mut self, cut_key: &Key32, entries: &[TreeEntry]) -> TreeRoot {
        let mut builder = TreeBuilder::new(hasher(), cut_key);
        for entry in entries {
            builder.push(entry.clone(), self).expect("legal entry");
        }
        builder.finish(self).expect("root")
    }
    /// Reads done by `work`.
    fn reads_of<T>(&self, work: impl FnOnce() -> T) -> (usize, T) {
        let before = self.reads.get();
        let out = work();
        (self.reads.get() - before, out)
    }
}

fn hasher() -> ContentHasher {
    ContentHasher::new(&Key32([1; 32]))
}

fn cut_key() -> Key32 {
    Key32([2; 32])
}

fn path(text: &str) -> EntryPath {
    EntryPath::new(text.as_bytes()).expect("legal path")
}

/// A well-mixed number for `n`.
fn noise(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn chunk_id(n: u64) -> ChunkId {
    ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn directory(name: &str) -> TreeEntry {
    let meta = Metadata { mode: 0o755, ..Metadata::default() };
    TreeEntry { entry: Entry { path: path(name), kind: EntryKind::Directory, meta }, content: Content::None }
}

/// A file of one chunk.
fn file(name: &str, size: u32, version: u64) -> TreeEntry {
    let seed = noise(version ^ u64::from(size) << 32);
    let mtime = Timestamp {
        seconds: 1_700_000_000 + (seed % 86_400) as i64,
        nanoseconds: (noise(seed) % 1_000_000_000) as u32,
    };
    let meta = Metadata { mode: 0o644, uid: 1000, gid: 1000, user: "ann".into(), mtime, ..Metadata::default() };
    let content = Content::Extents(vec![Extent::Chunk { id: chunk_id(version), len: size }]);
    TreeEntry { entry: Entry { path: path(name), kind: EntryKind::File { size: u64::from(size) }, meta }, content }
}

/// `n` files of 1 KiB, 500 to a directory, and their directories, in path order.
fn many(n: u64) -> Vec<TreeEntry> {
    let mut entries = vec![directory("")];
    for i in 0..n {
        if i % 500 == 0 {
            entries.push(directory(&format!("d{:04}", i / 500)));
        }
        entries.push(file(&format!("d{:04}/file-{:03}.dat", i / 500, i % 500), 1024, i));
    }
    entries
}
