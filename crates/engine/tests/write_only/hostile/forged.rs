//! What a host can make with its key.

use super::*;
use crate::common::path;
use decube_backup_core::entry::{Entry, EntryKind, Metadata};
use decube_backup_format::hash::{ContentHasher, Domain};
use decube_backup_format::ids::{ChunkId, parity_key};
use decube_backup_format::pack::PackWriter;
use decube_backup_format::parity::{Overhead, ParityEncoder};
use decube_backup_format::tree::{Content, NodeWriter, TreeBuilder, TreeEntry, TreeRoot};

/// A pack of the host that is in the store.
pub(super) struct Stored {
    pub(super) name: PackName,
    pub(super) footer: Footer,
    /// It and its parity.
    pub(super) added: Vec<AddedObject>,
}

/// Ids as they are said, and bytes.
pub(super) type Chunks = Vec<(ShortId, Vec<u8>)>;

/// Nodes of a tree.
#[derive(Default)]
pub(super) struct Made(pub(super) Chunks);

impl NodeWriter for Made {
    fn put_node(&mut self, id: ChunkId, bytes: &[u8]) -> decube_backup_core::Result<()> {
        self.0.push((id.short(), bytes.to_vec()));
        Ok(())
    }
}

impl Stolen {
    pub(super) fn id(&self, domain: Domain, bytes: &[u8]) -> ChunkId {
        ContentHasher::new(&self.ring.id_key).id(domain, bytes)
    }

    /// Stores a pack with a segment for each of `chunks`, and its parity.
    pub(super) fn pack(&self, kind: PackKind, chunks: &Chunks) -> Stored {
        let run = RunKeys::begin(&self.ring.reader, &self.repository, &self.entropy).expect("begun");
        let name = PackName { kind, id: self.mark().pack(&self.entropy).expect("drawn") };
        let mut pack = PackWriter::of_run(self.repository, name, self.ring.cipher, &run, Vec::new());
        for (id, bytes) in chunks {
            let len = bytes.len() as u32;
            pack.append(Codec::Stored, bytes, len, &[(*id, len)]).expect("appended");
        }
        let pack = pack.finish().expect("finished");
        let parity = ParityName { pack: name, id: ParityId([7; 8]) };
        let (mut bytes, overhead) = (Vec::new(), Overhead::percent(10).expect("in range"));
        let encoded = ParityEncoder::new().encode(self.repository, name, &pack.bytes, pack.hash, overhead, &mut bytes);
        encoded.expect("encoded");
        let added = vec![
            AddedObject::of(ObjectName::Pack(name), &pack.bytes),
            AddedObject::of(ObjectName::Parity(parity), &bytes),
        ];
        self.put(pack_key(&name).expect("key").as_str(), pack.bytes);
        self.put(parity_key(&parity).expect("key").as_str(), bytes);
        Stored { name, footer: pack.footer, added }
    }

    /// Publishes a snapshot of `files` in these data packs, with such claims of what is in packs.
    pub(super) fn publish(
        &self,
        admin: &Harness,
        files: Vec<TreeEntry>,
        mut nodes: Made,
        packs: &[Stored],
        claims: &[(PackName, Footer)],
    ) {
        let tree = self.tree(files, &mut nodes);
        let meta = self.pack(PackKind::Meta, &nodes.0);
        let mut tables = claims.to_vec();
        tables.push((meta.name, meta.footer.clone()));
        let mut added: Vec<_> = packs.iter().chain([&meta]).flat_map(|pack| pack.added.clone()).collect();
        added.push(self.index(&tables));
        let manifest = SnapshotManifest { host: HOST.into(), name: "forged".into(), tree, ..Default::default() };
        let payload = Payload::Commit { manifest: manifest.encode().expect("encodes") };
        self.append(&admin.repository().state(), Forged { added, ..says(payload) });
    }

    fn tree(&self, files: Vec<TreeEntry>, nodes: &mut Made) -> TreeRoot {
        let mut tree = TreeBuilder::new(ContentHasher::new(&self.ring.id_key), &self.ring.chunker_key);
        let root = Entry { path: path(""), kind: EntryKind::Directory, meta: Metadata::default() };
        tree.push(TreeEntry { entry: root, content: Content::None }, nodes).expect("pushed");
        for file in files {
            tree.push(file, nodes).expect("pushed");
        }
        tree.finish(nodes).expect("finished")
    }
}

/// A file of such content.
pub(super) fn file(name: &str, content: Content) -> TreeEntry {
    let size = content.len().expect("a length");
    TreeEntry { entry: Entry { path: path(name), kind: EntryKind::File { size }, meta: Metadata::default() }, content }
}
