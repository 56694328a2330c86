//! A host that was broken into claims that its packs hold what others stored.

use super::hostile::{Forged, Stolen, audited, steal};
use super::{World, back_up, live, tree_of, world};
use crate::common::records::{forget, packs};
use crate::common::{Harness, key_file, noise, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::keys::{self, Others};
use decube_backup_format::codec::Codec;
use decube_backup_format::hash::{ContentHasher, Domain};
use decube_backup_format::ids::{IndexId, PackId, PackKind, PackName, ShortId, log_key, pack_key};
use decube_backup_format::log::{AddedObject, ObjectName};
use decube_backup_format::pack::{Footer, PackWriter};
use decube_backup_format::reading::RunKeys;
use std::time::Duration;

/// Too large for its tree, too small to be cut.
const CHUNK_BYTES: usize = 10_000;

fn prune(admin: &Harness) {
    let repo = admin.somebody_else().repository();
    let options =
        PruneOptions { max_unused: MaxUnused::Bytes(0), orphan_age: Duration::ZERO, ..PruneOptions::default() };
    gc::plan(&repo, &options, &Silent).expect("planned").run(&Silent).expect("pruned");
}

impl Stolen {
    fn id_of(&self, chunk: &[u8]) -> ShortId {
        ContentHasher::new(&self.ring.id_key).id(Domain::Content, chunk).short()
    }

    /// Stores a sound pack of one chunk, named before all others, and records it with an index segment that says it holds
    /// `claimed` instead.
    fn claim(&self, claimed: &[u8]) {
        let (mut id, other) = (self.mark().pack(&self.entropy).expect("drawn"), noise(77, claimed.len()));
        id.0[..10].fill(0);
        let name = PackName { kind: PackKind::Data, id: PackId(id.0) };
        let run = RunKeys::begin(&self.ring.reader, &self.repository, &self.entropy).expect("begun");
        let mut pack = PackWriter::of_run(self.repository, name, self.ring.cipher, &run, Vec::new());
        let len = claimed.len() as u32;
        pack.append(Codec::Stored, &other, len, &[(self.id_of(&other), len)]).expect("appended");
        let pack = pack.finish().expect("finished");
        let mut lie = pack.footer.clone();
        lie.chunks[0].id = self.id_of(claimed);
        let added = vec![AddedObject::of(ObjectName::Pack(name), &pack.bytes), self.index(&[(name, lie)])];
        self.put(pack_key(&name).expect("key").as_str(), pack.bytes);
        self.append(&self.harness.repository().state(), Forged { added, ..Forged::default() });
    }
}

/// An administrator's snapshot of one chunk, which a host claims to hold.
fn claimed() -> (World, tempfile::TempDir, decube_backup_format::ids::SnapshotId) {
    let world = world();
    let chunk = noise(41, CHUNK_BYTES);
    let tree = tree_of(&[("file", chunk.clone())]);
    let admins = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    steal(&world).claim(&chunk);
    assert_eq!(audited(&world.admin), [""; 0], "the record is well within the host's bounds");
    (world, tree, admins)
}

#[test]
fn a_prune_relies_on_no_claim_while_the_key_is_in_force() {
    let (world, tree, admins) = claimed();
    for round in 0..3 {
        prune(&world.admin);
        world.admin.somebody_else().assert_restores(&admins, tree.path(), &format!("round {round}"));
    }
}

#[test]
fn a_prune_relies_on_no_claim_once_the_key_is_removed() {
    let (world, tree, admins) = claimed();
    keys::remove(&world.admin.repository(), &world.slot).expect("removed");
    for round in 0..3 {
        prune(&world.admin);
        world.admin.somebody_else().assert_restores(&admins, tree.path(), &format!("round {round}"));
    }
}

/// What a host stored before it was broken into is worth as much as anybody's.
#[test]
fn a_prune_relies_on_no_claim_of_what_the_host_itself_stored_earlier() {
    let world = world();
    let chunk = noise(42, CHUNK_BYTES);
    let tree = tree_of(&[("file", chunk.clone())]);
    let own = back_up(&world.host, &source_of(tree.path()), "own").expect("backup").snapshot.expect("a snapshot");
    steal(&world).claim(&chunk);
    for removed in [false, true] {
        if removed {
            keys::remove(&world.admin.repository(), &world.slot).expect("removed");
        }
        for _ in 0..2 {
            prune(&world.admin);
            world.admin.somebody_else().assert_restores(&own, tree.path(), &format!("removed: {removed}"));
        }
    }
}

#[test]
fn a_host_cannot_hide_what_it_stored_earlier() {
    let world = world();
    let own = world.back_up();
    let stolen = steal(&world);
    let mut empty = Footer::default();
    empty.push(100, 84, Codec::Stored, &[(ShortId([7; 16]), 84)]);
    let tables: Vec<_> = packs(&world.admin).into_iter().map(|pack| (pack, empty.clone())).collect();
    for _ in 0..6 {
        let object = stolen.index(&tables);
        stolen.append(&world.admin.repository().state(), Forged { added: vec![object], ..Forged::default() });
    }
    world.admin.somebody_else().assert_restores(&own, world.tree.path(), "with lies about");
    prune(&world.admin);
    world.admin.somebody_else().assert_restores(&own, world.tree.path(), "pruned");
    world.admin.assert_sound("with lies about");
}

/// Names that a prune draws for a host are none of the host's: it could see them in the store before they are recorded.
#[test]
fn a_host_cannot_take_what_a_prune_wrote_for_it() {
    let world = world();
    world.write("b/more", &noise(43, 60_000));
    let first = world.back_up();
    world.write("b/more", &noise(44, 60_000));
    let own = world.back_up();
    forget(&world.admin, first);
    prune(&world.admin);
    let state = world.admin.repository().state();
    let given: Vec<PackName> = packs(&world.admin).into_iter().filter(|pack| !state.is_hosted(pack)).collect();
    let stolen = steal(&world);
    let indexes: Vec<IndexId> = state.indexes().map(|(_, id, _)| id).filter(|id| !stolen.mark().is_on(&id.0)).collect();
    assert!(!given.is_empty() && !indexes.is_empty());
    let like = |id: &[u8; 16], first: u8| [&[first; 10][..], &id[10..]].concat().try_into().expect("16 bytes");
    let mut tried = Vec::new();
    for id in given.iter().map(|pack| pack.id.0).chain(indexes.iter().map(|id| id.0)) {
        for level in [0, 1, 9] {
            tried.push(ObjectName::Index { level, id: IndexId(id) });
            tried.push(ObjectName::Index { level, id: IndexId(like(&id, 0)) });
        }
        tried.push(ObjectName::Pack(PackName { kind: PackKind::Data, id: PackId(like(&id, 0)) }));
    }
    for name in tried {
        let repo = world.admin.repository();
        let (before, seq) = (repo.state(), repo.state().next_seq());
        stolen
            .append(&before, Forged { added: vec![AddedObject { name, len: 9, hash: [1; 32] }], ..Forged::default() });
        repo.refresh().expect("refreshed");
        let objects = |state: &decube_backup_format::checkpoint::State| state.objects().count();
        assert_eq!(objects(&before), objects(&repo.state()), "{name:?}");
        assert_eq!(audited(&world.admin).pop(), Some(log_key(seq).expect("key").to_string()), "{name:?}");
    }
    world.admin.somebody_else().assert_restores(&own, world.tree.path(), "untouched");
}

#[test]
fn nonsense_of_a_host_outlives_a_revocation_and_locks_nobody_out() {
    let world = world();
    let own = world.back_up();
    let stolen = steal(&world);
    stolen.append(&world.admin.repository().state(), Forged { unreadable: true, ..Forged::default() });
    let mut repo = world.admin.repository();
    let other = keys::add(&repo, &key_file(9), "other").expect("added").slot;
    keys::revoke(&mut repo, &other, Others::Drop).expect("revoked");
    assert_eq!(live(&world.admin.somebody_else()), [own]);
    world.admin.somebody_else().assert_restores(&own, world.tree.path(), "revoked");
    world.admin.somebody_else().assert_sound("revoked");
}
