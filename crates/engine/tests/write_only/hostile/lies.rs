//! What a host says of its packs, and what is in them.

use super::forged::{Made, file};
use super::*;
use crate::common::{ALL_DATA, path, series};
use decube_backup_core::monitor::ProblemKind;
use decube_backup_engine::backup::backup;
use decube_backup_engine::dump::dump_tar;
use decube_backup_engine::options::{
    BackupOptions, Effect, RestoreOptions, SnapshotFilter, Subset, VerifyDepth, VerifyReport,
};
use decube_backup_engine::repair::{self, RepairOptions};
use decube_backup_engine::segments::SegmentReader;
use decube_backup_engine::stats::stats;
use decube_backup_engine::undelete::undelete;
use decube_backup_format::hash::Domain;
use decube_backup_format::ids::{ChunkId, parity_key};
use decube_backup_format::parity::Overhead;
use decube_backup_format::tree::{Content, Extent, ListChild, ListNode, NodeWriter, TreeRoot, encode_list};
use decube_backup_testkit::{Op, RecordingSink};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

fn affected(report: &VerifyReport) -> Vec<String> {
    report.affected.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

#[test]
fn parity_does_not_hide_what_was_wrong_before_it_was_made() {
    let world = world();
    let stolen = steal(&world);
    let (right, wrong) = (noise(41, 60_000), noise(42, 60_000));
    let ids = [&right, &noise(43, 60_000)].map(|bytes| stolen.id(Domain::Content, bytes));
    let pack = stolen.pack(PackKind::Data, &vec![(ids[0].short(), right), (ids[1].short(), wrong)]);
    let content = Content::Extents(ids.map(|id| Extent::Chunk { id, len: 60_000 }).to_vec());
    let claims = [(pack.name, pack.footer.clone())];
    let object = pack_key(&pack.name).expect("key");
    stolen.publish(&world.admin, vec![file("file", content)], Made::default(), &[pack], &claims);
    // As it was recorded, and with a bad sector that parity mends.
    for repairable in [0, 1] {
        let report = world.admin.verify(ALL_DATA);
        assert_eq!(affected(&report), ["file"], "{report:?}");
        assert_eq!(report.repairable.len(), repairable, "{report:?}");
        let said = format!("chunk {} does not match its id", ids[1].short());
        let found = report.damages.iter().filter(|found| found.object == object.as_str() && found.what == said);
        assert_eq!(found.count(), 1, "{report:?}");
        apply(&world.admin, &object, Damage::Flip(300));
    }
}

/// Repairs packs for good; what it found.
fn repaired(admin: &Harness) -> repair::PacksReport {
    let options = RepairOptions { effect: Effect::Real, content: repair::Content::Read, ..RepairOptions::default() };
    let dry = RepairOptions { effect: Effect::DryRun, ..options.clone() };
    let planned = repair::packs(&admin.repository(), &dry, &Silent).expect("planned");
    let report = repair::packs(&admin.repository(), &options, &Silent).expect("repaired");
    assert_eq!((planned.saved, planned.elsewhere, planned.lost), (report.saved, report.elsewhere, report.lost));
    report
}

/// Data packs that no host added.
fn data_packs(admin: &Harness) -> Vec<PackName> {
    let state = admin.repository().state();
    packs(admin).into_iter().filter(|pack| pack.kind == PackKind::Data && !state.is_hosted(pack)).collect()
}

/// A host says that a pack of its own, which is sound, holds everything that the packs `of` hold.
fn claim(world: &World, stolen: &Stolen, of: &[PackName]) {
    let pack = stolen.pack(PackKind::Data, &vec![(stolen.id(Domain::Content, b"x").short(), b"x".to_vec())]);
    let mut claimed = Footer::default();
    for footer in tables(&world.admin, of) {
        for chunk in footer.chunks {
            claimed.push(chunk.len + 16, chunk.len, Codec::Stored, &[(chunk.id, chunk.len)]);
        }
    }
    assert!(!claimed.chunks.is_empty());
    let mut added = pack.added;
    added.push(stolen.index(&[(pack.name, claimed)]));
    stolen.append(&world.admin.repository().state(), Forged { added, ..Forged::default() });
}

fn tables(admin: &Harness, packs: &[PackName]) -> Vec<Footer> {
    let repo = admin.repository();
    let segments = SegmentReader::new(&repo);
    let objects = admin.memory.objects();
    let table = |pack: &PackName| {
        let reader = segments.pack(pack).expect("opens");
        reader.footer_of(&objects[&pack_key(pack).expect("key")]).expect("a table")
    };
    packs.iter().map(table).collect()
}

#[test]
fn a_repair_leaves_nothing_to_packs_of_which_only_a_host_says_what_is_in_them() {
    let mut world = world();
    world.admin.parity = Overhead::percent(50).expect("in range");
    let tree = tree_of(&[("file", noise(51, 900_000))]);
    let admins = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    let damaged = data_packs(&world.admin);
    let chunks: usize = tables(&world.admin, &damaged).iter().map(|table| table.chunks.len()).sum();
    claim(&world, &steal(&world), &damaged);
    for pack in &damaged {
        apply(&world.admin, &pack_key(pack).expect("key"), Damage::Flip(500));
    }
    let report = repaired(&world.admin);
    assert_eq!((report.saved, report.elsewhere, report.lost), (chunks as u64, 0, 0), "{report:?}");
    // They may go, and their parity with them.
    for pack in &damaged {
        let parity = world.admin.repository().state().parity(pack).expect("parity").0;
        apply(&world.admin, &pack_key(pack).expect("key"), Damage::Remove);
        apply(&world.admin, &parity_key(&parity).expect("key"), Damage::Remove);
    }
    world.admin.somebody_else().assert_restores(&admins, tree.path(), "repaired");
}

#[test]
fn a_repair_reads_what_only_a_host_has_and_says_what_is_lost() {
    for honest in [true, false] {
        let world = world();
        let content = noise(52, 900_000);
        let tree = tree_of(&[("file", content.clone())]);
        let admins = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
        let damaged = data_packs(&world.admin);
        if honest {
            world.write("the same", &content);
            world.back_up();
        } else {
            claim(&world, &steal(&world), &damaged);
        }
        for pack in &damaged {
            apply(&world.admin, &pack_key(pack).expect("key"), Damage::Flip(500));
        }
        let report = repaired(&world.admin);
        assert_eq!((report.elsewhere, report.lost == 0), (0, honest), "{honest}: {report:?}");
        for pack in &damaged {
            apply(&world.admin, &pack_key(pack).expect("key"), Damage::Remove);
        }
        if honest {
            world.admin.somebody_else().assert_restores(&admins, tree.path(), "repaired");
        }
    }
}

/// By structure alone, by all data, and by a part of it that is nothing.
const DEPTHS: [VerifyDepth; 3] = [VerifyDepth::Structure, ALL_DATA, VerifyDepth::Data(Subset::Bytes(0))];

#[test]
fn what_only_a_host_says_it_has_spares_no_file() {
    let world = world();
    let tree = tree_of(&[("file", noise(61, 900_000))]);
    world.admin.backup(tree.path(), "admin");
    let lost = data_packs(&world.admin);
    claim(&world, &steal(&world), &lost);
    for depth in DEPTHS {
        let report = world.admin.verify(depth);
        let lies: Vec<_> = report.damages.iter().map(|found| (&found.object[..6], &found.what[..8])).collect();
        let expected = if depth == ALL_DATA { vec![("index/", "it names")] } else { vec![] };
        assert_eq!((lies, report.affected_count), (expected, 0), "{depth:?}: {report:?}");
    }
    for pack in &lost {
        apply(&world.admin, &pack_key(pack).expect("key"), Damage::Remove);
    }
    for depth in DEPTHS {
        let report = world.admin.verify(depth);
        assert!(affected(&report).iter().any(|path| path.ends_with("file")), "{depth:?}: {report:?}");
        assert_eq!(report.spared_count, 0, "{depth:?}: {report:?}");
    }
}

#[test]
fn what_a_host_really_has_spares_the_files_of_others() {
    let world = world();
    let content = noise(62, 900_000);
    let tree = tree_of(&[("file", content.clone())]);
    let admins = world.admin.backup(tree.path(), "admin").snapshot.expect("a snapshot");
    let lost = data_packs(&world.admin);
    world.write("the same", &content);
    world.back_up();
    for pack in &lost {
        apply(&world.admin, &pack_key(pack).expect("key"), Damage::Remove);
    }
    for depth in DEPTHS {
        let report = world.admin.verify(depth);
        assert_eq!(report.affected_count, 0, "{depth:?}: {report:?}");
        assert!(report.spared_count > 0, "{depth:?}: {report:?}");
    }
    world.admin.somebody_else().assert_restores(&admins, tree.path(), "by the host's packs");
}

/// A list of `fan_out` to the power of `height + 1` chunks of a byte in so few nodes as one for each level.
fn endless(stolen: &Stolen, nodes: &mut Made, id: ChunkId, fan_out: usize, height: u8) -> Content {
    let mut bytes = encode_list(&ListNode::Leaf(vec![Extent::Chunk { id, len: 1 }; fan_out]));
    let mut len = fan_out as u64;
    for height in 1..=height {
        let child = ListChild { id: stolen.id(Domain::Node, &bytes), len };
        nodes.put_node(child.id, &bytes).expect("kept");
        bytes = encode_list(&ListNode::Inner { height, children: vec![child; fan_out] });
        len *= fan_out as u64;
    }
    let root = stolen.id(Domain::Node, &bytes);
    nodes.put_node(root, &bytes).expect("kept");
    Content::List { root, len, height }
}

#[test]
fn list_nodes_that_name_each_other_over_and_over_are_read_once() {
    // Few enough for who does it the other way to end at all; and more than anybody ever reads.
    for (fan_out, height) in [(3, 11), (1024, 5)] {
        let world = world();
        let stolen = steal(&world);
        let id = stolen.id(Domain::Content, b"x");
        let mut pack = stolen.pack(PackKind::Data, &vec![(id.short(), b"x".to_vec())]);
        // Without its parity, which would bring it back.
        pack.added.truncate(1);
        let (name, claims) = (pack.name, [(pack.name, pack.footer.clone())]);
        let mut nodes = Made::default();
        let content = endless(&stolen, &mut nodes, id, fan_out, height);
        stolen.publish(&world.admin, vec![file("file", content)], nodes, &[pack], &claims);
        let recording = Arc::new(RecordingSink::new(world.admin.sink.clone()));
        let admin = world.admin.through(recording.clone());
        let few = u64::from(height) + 10;
        for whole in [true, false] {
            for depth in [VerifyDepth::Structure, VerifyDepth::Data(Subset::Bytes(0))] {
                recording.reset();
                let report = admin.verify(depth);
                assert_eq!(affected(&report).is_empty(), whole, "{fan_out} {depth:?}: {report:?}");
                let reads = recording.tally(Op::Get, "packs/m/").calls;
                assert!(reads <= 3 * few, "{fan_out} {depth:?}: {reads} reads for {few} nodes");
            }
            recording.reset();
            let options = RepairOptions { effect: Effect::DryRun, ..RepairOptions::default() };
            let report = repair::snapshots(&admin.repository(), &options, &Default::default(), &Silent);
            assert_eq!(report.expect("planned").damaged.is_empty(), whole, "{fan_out}");
            let reads = recording.tally(Op::Get, "packs/m/").calls;
            assert!(reads <= 3 * few, "{fan_out}: {reads} reads for {few} nodes");
            if whole {
                let forged = live(&world.admin).pop().expect("a snapshot");
                forget(&admin, forged);
                recording.reset();
                let shown = undelete(&admin.repository(), &[forged], Effect::Real, ("", ""), &Silent);
                assert_eq!(shown.expect("undeleted").shown, [forged]);
                let reads = recording.tally(Op::Get, "packs/m/").calls;
                assert!(reads <= 3 * few, "{fan_out}: {reads} reads for {few} nodes");
                apply(&world.admin, &pack_key(&name).expect("key"), Damage::Remove);
            }
        }
    }
}

#[test]
fn no_number_of_forged_times_bends_those_of_other_hosts() {
    let world = world();
    let stolen = steal(&world);
    let time = |seconds: i64| Timestamp { seconds, nanoseconds: 0 };
    let tree = tree_of(&[("file", noise(71, 1000))]);
    let real = [1_000_000, 2_000_000, 3_000_000].map(|seconds| {
        let options = BackupOptions { host: "admin".into(), time: Some(time(seconds)), ..series("tree") };
        let made = backup(&world.admin.repository(), &source_of(tree.path()), &options, &Silent);
        made.expect("backup").snapshot.expect("a snapshot")
    });
    for run in 0..4 {
        // All begun in 1970.
        let manifest =
            SnapshotManifest { host: HOST.into(), name: "tree".into(), run: [run; 16], ..Default::default() };
        let commit = Payload::Commit { manifest: manifest.encode().expect("encodes") };
        stolen.append(&world.admin.repository().state(), says(commit));
    }
    assert_eq!(live(&world.admin).len(), 7);
    let repo = world.admin.repository();
    let selected = |at: i64| repo.select("admin:tree", Some(time(at))).expect("named").0.id;
    assert_eq!([1_500_000, 2_500_000, 3_500_000].map(selected), real);
    assert_eq!(repo.select("admin:tree~2", None).expect("named").0.id, real[0]);
    // And its tree is taken for nobody else's.
    assert_eq!(repo.select("tree", None).expect_err("refused").kind(), ErrorKind::Invalid);
}

#[test]
fn numbers_that_a_host_makes_up_overflow_nothing() {
    let world = world();
    let stolen = steal(&world);
    let tree = TreeRoot { id: ChunkId([9; 32]), height: 0, entries: u64::MAX, bytes: u64::MAX };
    for run in 0..2 {
        let mut manifest = SnapshotManifest { host: HOST.into(), name: "tree".into(), tree, ..Default::default() };
        manifest.run = [run; 16];
        manifest.problems_total.insert(ProblemKind::Damaged, u64::MAX);
        let commit = Payload::Commit { manifest: manifest.encode().expect("encodes") };
        stolen.append(&world.admin.repository().state(), says(commit));
    }
    let impossible = |id| {
        let name = PackName { kind: PackKind::Data, id: PackId([id; 16]) };
        AddedObject { name: ObjectName::Pack(name), len: u64::MAX, hash: [1; 32] }
    };
    let added = vec![impossible(1), impossible(2)];
    stolen.append(&world.admin.repository().state(), Forged { added, ..Forged::default() });
    assert_eq!(live(&world.admin).len(), 2);
    assert_eq!(audited(&world.admin).len(), 1);
    let repo = world.admin.repository();
    assert_eq!(stats(&repo).expect("counted").bytes_logical, u64::MAX);
    assert_eq!(world.admin.verify(VerifyDepth::Structure).affected_count, u64::MAX);
    let options = RepairOptions { effect: Effect::Real, ..RepairOptions::default() };
    let report = repair::snapshots(&repo, &options, &Default::default(), &Silent).expect("repaired");
    assert!(report.damaged.len() == 2 && report.damaged.iter().all(|damaged| damaged.lost == u64::MAX), "{report:?}");
}

#[test]
fn two_files_under_the_label_of_one_come_back_as_two() {
    let world = world();
    let stolen = steal(&world);
    let named = |name: &str, content: &[u8]| {
        let mut named = file(name, Content::Inline(content.to_vec()));
        named.entry.meta.link_group = Some(path("a"));
        named
    };
    let files = [("a", b"one"), ("b", b"two"), ("c", b"one"), ("d", b"two")];
    let entries = files.iter().map(|(name, content)| named(name, *content)).collect();
    stolen.publish(&world.admin, entries, Made::default(), &[], &[]);
    let repo = world.admin.repository();
    let forged = repo.snapshots(&SnapshotFilter::default()).remove(0);
    let (to, report) = world.admin.restore_with(&forged.id, &RestoreOptions::default());
    assert!(report.problems.is_empty(), "{report:?}");
    let inode = |name: &str| std::fs::metadata(to.path().join(name)).expect("there").ino();
    let archive = tempfile::tempdir().expect("temp");
    let mut tar = Vec::new();
    let problems = dump_tar(&repo, &forged, &path(""), &mut tar, &Silent).expect("dumped");
    assert!(problems.is_empty(), "{problems:?}");
    tar::Archive::new(&tar[..]).unpack(archive.path()).expect("unpacked");
    for (name, content) in files {
        for folder in [to.path(), archive.path()] {
            assert_eq!(std::fs::read(folder.join(name)).expect("there"), content, "{name} in {}", folder.display());
        }
    }
    assert!(inode("a") == inode("c") && inode("b") == inode("d") && inode("a") != inode("b"));
}
