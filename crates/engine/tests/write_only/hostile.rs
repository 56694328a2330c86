//! A host that was broken into: it has its key and may write any object.

mod forged;
mod lies;

use super::{HOST, World, back_up, live, open_host, ring, tree_of, world};
use crate::common::damage::{Damage, apply};
use crate::common::records::{forget, packs};
use crate::common::{Harness, key, key_file, noise, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, PutMode, Timestamp};
use decube_backup_engine::audit::{AuditFilter, audit};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::keys;
use decube_backup_format::checkpoint::{HOST_OBJECTS_MAX, State};
use decube_backup_format::codec::Codec;
use decube_backup_format::hash::Key32;
use decube_backup_format::host::{HostAdmission, HostMark, HostRing};
use decube_backup_format::ids::{
    PackId, PackKind, PackName, ParityId, ParityName, RepositoryId, ShortId, SlotId, index_key, log_key, pack_key,
};
use decube_backup_format::index::encode_index;
use decube_backup_format::keyring::Keyring;
use decube_backup_format::log::{
    AddedObject, LogKeys, ObjectName, Payload, RecordBuilder, SlotChange, SnapshotEdit, Stamp, WriterKey,
};
use decube_backup_format::manifest::SnapshotManifest;
use decube_backup_format::pack::Footer;
use decube_backup_format::reading::{RunKeys, Shared};
use decube_backup_format::seal::Cipher;
use decube_backup_format::sealed;
use decube_backup_testkit::SeededEntropy;

/// What the key file of the host gives away.
pub(super) struct Stolen {
    pub(super) ring: HostRing,
    pub(super) repository: RepositoryId,
    pub(super) entropy: SeededEntropy,
    pub(super) harness: Harness,
}

pub(super) fn steal(world: &World) -> Stolen {
    let repository = world.admin.repository().id();
    Stolen { ring: ring(world), repository, entropy: SeededEntropy::new(999), harness: world.admin.somebody_else() }
}

#[derive(Default)]
pub(super) struct Forged {
    pub(super) payload: Option<Payload>,
    pub(super) added: Vec<AddedObject>,
    pub(super) reclaimed: Vec<ObjectName>,
    pub(super) admits: Vec<[u8; 32]>,
    pub(super) hosts: Vec<HostAdmission>,
    /// Sealed for a reading key that there never was.
    pub(super) unreadable: bool,
}

fn says(payload: Payload) -> Forged {
    Forged { payload: Some(payload), ..Forged::default() }
}

impl Stolen {
    pub(super) fn mark(&self) -> HostMark {
        self.ring.mark().expect("a mark")
    }

    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let name = key(name);
        let put = self.harness.sink.put(&name, bytes::Bytes::from(bytes).into(), PutMode::CreateNew);
        self.harness.runtime.block_on(put).expect("stored");
    }

    /// Appends a record, whatever the rules say.
    pub(super) fn append(&self, state: &State, forged: Forged) {
        let stamp = Stamp { host: HOST.into(), ..Stamp::default() };
        let payload = forged.payload.unwrap_or(Payload::Add { run: [0; 16] });
        let builder =
            RecordBuilder::new(self.repository, &stamp, &payload, forged.added, forged.reclaimed, &self.entropy);
        let mut builder = builder.expect("built");
        for writer in forged.admits {
            builder = builder.admitting(writer);
        }
        for host in forged.hosts {
            builder = builder.admitting_host(host);
        }
        let mut ring = self.ring.clone();
        if forged.unreadable {
            ring.reader.version = 77;
        }
        let keys = LogKeys::of_host(&ring, &self.repository, &self.entropy).expect("keys");
        let built = builder.build(state.next_seq(), &state.hash(), &keys, &self.entropy).expect("built");
        self.put(log_key(state.next_seq()).expect("key").as_str(), built.bytes);
    }

    /// Stores an index segment that says what is in `packs`, and lists it for a record.
    pub(super) fn index(&self, tables: &[(PackName, Footer)]) -> AddedObject {
        let plain = encode_index(tables.iter().map(|(name, footer)| (*name, footer))).remove(0);
        let id = self.mark().index(&self.entropy).expect("drawn");
        let name = index_key(0, &id).expect("key");
        let aad = sealed::aad("index", &self.repository, name.as_str());
        let run = RunKeys::begin(&self.ring.reader, &self.repository, &self.entropy).expect("begun");
        let cipher = self.ring.cipher;
        let bytes = Shared::seal(cipher, &aad, &plain, &self.entropy, &self.ring.index_key, |key| {
            run.seal(cipher, &aad, &key.0, &self.entropy)
        });
        let bytes = bytes.expect("sealed");
        let object = AddedObject::of(ObjectName::Index { level: 0, id }, &bytes);
        self.put(name.as_str(), bytes);
        object
    }
}

/// Damaged or forged records that an audit names.
pub(super) fn audited(admin: &Harness) -> Vec<String> {
    let report = audit(&admin.repository(), &AuditFilter::default(), None, &Silent, &mut |_| Ok(())).expect("audit");
    report.damages.into_iter().map(|damage| damage.object).collect()
}

fn everything(state: &State) -> (Vec<String>, Vec<String>, u32, Vec<String>) {
    let snapshots = state.snapshots().iter().map(|s| format!("{} {:?} {:?}", s.id, s.visibility, s.manifest.tags));
    let objects = state.objects().map(|(name, info)| format!("{name:?} {info:?}"));
    let writers = state.writers().iter().map(|w| format!("{w:?}")).chain(state.hosts().map(|h| format!("{h:?}")));
    (snapshots.collect(), objects.collect(), state.keyring_current(), writers.collect())
}

#[test]
fn a_forged_record_is_ignored_and_reported_and_the_log_goes_on() {
    let world = world();
    let own = world.back_up();
    let tree = tree_of(&[("file", noise(5, 100_000))]);
    let admins = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    let stolen = steal(&world);
    let state = world.admin.repository().state();
    let pack = *packs(&world.admin).iter().find(|pack| !state.is_hosted(pack)).expect("the admin's");
    let own_pack = *packs(&world.admin).iter().find(|pack| state.is_hosted(pack)).expect("the host's");
    let slot = state.slots().map(|(slot, _)| slot).find(|slot| slot.to_hex() != world.slot).expect("the admin's");
    let object = |name: ObjectName, len: u64| AddedObject { name, len, hash: [1; 32] };
    let parity_of = |pack| object(ObjectName::Parity(ParityName { pack, id: ParityId([1; 8]) }), 1);
    let new_pack = |id: [u8; 16]| ObjectName::Pack(PackName { kind: PackKind::Data, id: PackId(id) });
    let own_name = stolen.mark().pack(&stolen.entropy).expect("drawn");
    let manifest = |host: &str| SnapshotManifest { host: host.into(), name: "tree".into(), ..Default::default() };
    let stranger = WriterKey::from_seed(&Key32([9; 32])).expect("key").id();
    let forged: Vec<(&str, Forged)> = vec![
        ("forget", says(Payload::Forget { snapshots: vec![admins, own] })),
        ("undelete", says(Payload::RestoreForgotten { snapshots: vec![own] })),
        ("reclaim", Forged { reclaimed: vec![ObjectName::Pack(pack)], ..says(Payload::Reclaim) }),
        ("condemn", says(Payload::Condemn { packs: vec![pack], released: vec![] })),
        ("damaged", says(Payload::Damaged { packs: vec![pack], healed: vec![] })),
        ("verified", says(Payload::Verified { packs: vec![pack], time: Timestamp::default() })),
        ("pin", says(Payload::Pin { snapshot: own, until: None })),
        ("unpin", says(Payload::Unpin { snapshot: own })),
        (
            "tags",
            says(Payload::TagChange(SnapshotEdit {
                snapshot: own,
                tags_added: vec!["x".into()],
                ..Default::default()
            })),
        ),
        ("note", says(Payload::Note { text: "x".into() })),
        ("init", says(Payload::Init)),
        (
            "keyring",
            Forged { added: vec![object(ObjectName::Keyring(7), 1)], ..says(Payload::Keyring { generation: 7 }) },
        ),
        ("keyring that is there", says(Payload::Keyring { generation: 0 })),
        (
            "removed slot",
            Forged {
                reclaimed: vec![ObjectName::KeySlot(slot)],
                ..says(Payload::KeySlot(SlotChange::Removed { slot }))
            },
        ),
        (
            "retired index",
            Forged {
                reclaimed: state.indexes().map(|(level, id, _)| ObjectName::Index { level, id }).collect(),
                ..Forged::default()
            },
        ),
        (
            "added slot",
            Forged {
                added: vec![object(ObjectName::KeySlot(SlotId([8; 8])), 1)],
                ..says(Payload::KeySlot(SlotChange::Added { slot: SlotId([8; 8]), label: String::new() }))
            },
        ),
        (
            "renamed host",
            says(Payload::KeySlot(SlotChange::HostAdded {
                slot: SlotId::from_hex(&world.slot).expect("hex"),
                label: String::new(),
                host: "admin".into(),
            })),
        ),
        ("checkpoint", Forged { added: vec![object(ObjectName::Checkpoint(1), 1)], ..Forged::default() }),
        ("another's pack", Forged { added: vec![object(new_pack([3; 16]), 1)], ..Forged::default() }),
        ("parity of another's pack", Forged { added: vec![parity_of(pack)], ..Forged::default() }),
        ("other parity of its own pack", Forged { added: vec![parity_of(own_pack)], ..Forged::default() }),
        ("an impossible length", Forged { added: vec![object(new_pack(own_name.0), u64::MAX)], ..Forged::default() }),
        ("a writer", Forged { admits: vec![stranger], ..Forged::default() }),
        (
            "a host",
            Forged { hosts: vec![HostAdmission { slot: SlotId([8; 8]), writer: stranger }], ..Forged::default() },
        ),
        ("another host's snapshot", says(Payload::Commit { manifest: manifest("admin").encode().expect("encodes") })),
        ("a snapshot of no host", says(Payload::Commit { manifest: manifest("").encode().expect("encodes") })),
        ("nonsense", Forged { unreadable: true, ..Forged::default() }),
        (
            "more than a record may add",
            Forged {
                added: (0..=HOST_OBJECTS_MAX)
                    .map(|_| object(new_pack(stolen.mark().pack(&stolen.entropy).expect("drawn").0), 1))
                    .collect(),
                ..Forged::default()
            },
        ),
    ];
    let before = everything(&state);
    for (at, (name, forged)) in forged.into_iter().enumerate() {
        let repo = world.admin.repository();
        let seq = repo.state().next_seq();
        stolen.append(&repo.state(), forged);
        // Who has the repository open, who opens it, and who opens it without any cache.
        repo.refresh().expect(name);
        for repo in [repo, world.admin.repository(), world.admin.somebody_else().repository()] {
            let state = repo.state();
            assert_eq!(state.next_seq(), seq + 1, "{name}");
            assert!(repo.damaged_records().is_empty(), "{name}");
            assert_eq!(everything(&state), before, "{name}");
        }
        assert_eq!(audited(&world.admin).len(), at + 1, "{name}");
        assert_eq!(audited(&world.admin).pop(), Some(log_key(seq).expect("key").to_string()), "{name}");
    }
    world.admin.assert_sound("after all of it");
    // Everybody goes on, the honest rest of the host too.
    let later = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    world.admin.assert_restores(&later, tree.path(), "admin");
    world.admin.assert_restores(&world.back_up(), world.tree.path(), "host");
    world.admin.assert_restores(&admins, tree.path(), "earlier");
    keys::rotate(&world.admin.repository()).expect("rotated");
}

#[test]
fn a_host_that_was_dismissed_adds_nothing_more() {
    let world = world();
    let own = world.back_up();
    let stolen = steal(&world);
    let opened = open_host(&world.host).expect("open");
    keys::remove(&world.admin.repository(), &world.slot).expect("removed");
    // Its program says so.
    let tree = source_of(world.tree.path());
    let late = decube_backup_engine::backup::backup(&opened, &tree, &crate::common::series("tree"), &Silent);
    assert_eq!(late.expect_err("refused").kind(), ErrorKind::WrongKey);
    assert_eq!(open_host(&world.host).err().expect("refused").kind(), ErrorKind::WrongKey);
    // And what its key signs all the same does not count.
    let manifest = SnapshotManifest { host: HOST.into(), name: "tree".into(), ..Default::default() };
    let commit = says(Payload::Commit { manifest: manifest.encode().expect("encodes") });
    let state = world.admin.repository().state();
    stolen.append(&state, commit);
    assert_eq!(live(&world.admin), [own]);
    assert_eq!(audited(&world.admin), [log_key(state.next_seq()).expect("key").to_string()]);
    world.admin.assert_restores(&own, world.tree.path(), "what it added before");
    world.admin.assert_sound("dismissed");
}

#[test]
fn nobody_relies_on_what_a_host_says_it_stored() {
    let world = world();
    let content = noise(31, 500_000);
    world.write("known", &content);
    world.back_up();
    // What it says it stored is not what it stored.
    for pack in packs(&world.admin) {
        apply(&world.admin, &pack_key(&pack).expect("key"), Damage::Remove);
    }
    let tree = tree_of(&[("the same", content)]);
    let report = world.admin.backup(tree.path(), "admin");
    assert_eq!(report.bytes_new, 500_000);
    world.admin.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "admin");
    // Nor does another host.
    keys::add_write_only(&world.admin.repository(), &key_file(3), HOST, "").expect("added");
    let other = Harness { credentials: key_file(3), ..world.admin.somebody_else() };
    let report = back_up(&other, &source_of(tree.path()), "other").expect("backup");
    assert_eq!(report.bytes_new, 500_000);
    world.admin.assert_restores(&report.snapshot.expect("a snapshot"), tree.path(), "the other host");
}

#[test]
fn a_prune_keeps_the_copy_that_is_there() {
    let world = world();
    let content = noise(32, 500_000);
    let tree = tree_of(&[("known", content.clone()), ("other", noise(33, 300_000))]);
    let admins = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    world.write("known", &content);
    let own = world.back_up();
    let hosted: Vec<PackName> = {
        let state = world.admin.repository().state();
        state.live_packs().map(|(name, _)| name).filter(|name| state.is_hosted(name)).collect()
    };
    forget(&world.admin, own);
    // Packs of its own that hold nothing of what they say; their size is right.
    for pack in hosted.iter().filter(|pack| pack.kind == PackKind::Data) {
        apply(&world.admin, &pack_key(pack).expect("key"), Damage::Flip(200));
    }
    for _ in 0..2 {
        let repo = world.admin.somebody_else().repository();
        let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
        gc::plan(&repo, &options, &Silent).expect("planned").run(&Silent).expect("pruned");
        world.admin.assert_restores(&admins, tree.path(), "pruned");
    }
}

#[test]
fn what_a_host_says_of_others_packs_does_not_count() {
    let world = world();
    world.back_up();
    let tree = tree_of(&[("file", noise(34, 400_000))]);
    let admins = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    let stolen = steal(&world);
    let state = world.admin.repository().state();
    let mut tables = Vec::new();
    for pack in packs(&world.admin).into_iter().filter(|pack| !state.is_hosted(pack)) {
        let mut footer = Footer::default();
        footer.push(100, 84, Codec::Stored, &[(ShortId([7; 16]), 84)]);
        tables.push((pack, footer));
    }
    // Often enough that one of them comes before the true ones.
    for _ in 0..6 {
        let object = stolen.index(&tables);
        stolen.append(&world.admin.repository().state(), Forged { added: vec![object], ..Forged::default() });
    }
    let stranger = world.admin.somebody_else();
    stranger.assert_restores(&admins, tree.path(), "restored");
    let again = stranger.backup(tree.path(), "again");
    assert_eq!(again.bytes_new, 0, "its own index segments still say where everything is");
    world.admin.assert_sound("with lies about");
}

#[test]
fn a_host_adds_nothing_to_a_log_that_somebody_else_began() {
    let world = world();
    // Who runs the storage knows the repository's id and everything plain; keys of his own he can make.
    let repository = world.admin.repository().id();
    let his =
        LogKeys::new(&Keyring::generate(Cipher::Aes256Gcm, &SeededEntropy::new(5)).expect("keyring")).expect("keys");
    let mut objects = world.admin.memory.objects();
    let slot = ObjectName::KeySlot(SlotId::from_hex(&world.slot).expect("hex"));
    let added = AddedObject::of(slot, &objects[&key(&format!("keys/{}", world.slot))]);
    let header = AddedObject::of(ObjectName::Format, &objects[&key("format")]);
    let first = WriterKey::from_seed(&Key32([9; 32])).expect("key");
    let stolen = steal(&world);
    let admission =
        HostAdmission { slot: SlotId::from_hex(&world.slot).expect("hex"), writer: stolen.ring.writer().expect("key") };
    let builder = RecordBuilder::new(
        repository,
        &Stamp::default(),
        &Payload::Init,
        vec![header, added],
        Vec::new(),
        &SeededEntropy::new(6),
    );
    let builder = builder.expect("built").admitting(his.writer()).admitting(first.id()).admitting_host(admission);
    let built = builder.build(0, &[0; 32], &his, &SeededEntropy::new(7)).expect("built");
    objects.retain(|name, _| !name.as_str().starts_with("log/") && !name.as_str().starts_with("ckpt/"));
    objects.insert(log_key(0).expect("key"), built.bytes.into());
    let led = Harness { credentials: key_file(2), ..world.host.on_image(objects) };
    assert_eq!(open_host(&led).err().expect("refused").kind(), ErrorKind::Corrupt);
}
