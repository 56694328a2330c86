//! What a host's key and everything it keeps on its disk give away: no content.

use super::{back_up, open_host, ring, world};
use crate::common::{key_file, source_of};
use decube_backup_core::monitor::Silent;
use decube_backup_core::{ErrorKind, Result};
use decube_backup_engine::audit::{AuditFilter, audit};
use decube_backup_engine::forget::{ForgetOptions, Wanted, forget};
use decube_backup_engine::gc::{self, PruneOptions};
use decube_backup_engine::options::{RestoreOptions, SnapshotFilter, TagChange, VerifyDepth};
use decube_backup_engine::verify::{VerifyOptions, verify};
use decube_backup_engine::{Repository, browse, dump, keys, restore, stats, tags};
use decube_backup_format::hash::Key32;
use decube_backup_format::ids::RepositoryId;
use decube_backup_format::pack::{PackHeader, PackReader};
use decube_backup_format::sealed;
use decube_backup_format::tree::{Content, decode_leaf};
use decube_backup_format::wire::Reader;

const MARKER: &str = "a secret that nobody shall read";

fn refused<T>(what: &str, outcome: Result<T>) {
    let error = outcome.err().expect(what);
    assert_eq!(error.kind(), ErrorKind::WrongKey, "{what}: {error:?}");
}

#[test]
fn no_command_but_backup_works_with_a_write_only_key() {
    let world = world();
    let id = world.back_up();
    refused("open", Repository::open(world.host.environment(), &key_file(2)));
    let error = Repository::open(world.host.environment(), &key_file(2)).err().expect("refused");
    assert!(error.to_string().contains("write-only") && error.hint().is_some(), "{error:?}");

    // With the handle that a backup gets, all else is refused too.
    let repo = open_host(&world.host).expect("open");
    let snapshot = world.admin.snapshot(&id);
    assert!(repo.snapshots(&SnapshotFilter::default()).is_empty());
    refused("select", repo.select("latest", None).map(drop));
    let root = crate::common::path("");
    refused("list", browse::list(&repo, &snapshot, &root, browse::Depth::Recursive, &mut |_| Ok(())).map(drop));
    refused("find", browse::entry(&repo, &snapshot, &crate::common::path("inline")).map(drop));
    let file = crate::common::inside(&world.tree.path().join("a/text"));
    refused("dump", dump::dump_file(&repo, &snapshot, &file, &mut Vec::new()));
    let to = tempfile::tempdir().expect("temp");
    let target = decube_backup_backend_fs::target::FsTarget::create(to.path(), Default::default()).expect("target");
    refused("restore", restore::restore(&repo, &snapshot, &RestoreOptions::default(), &target, &Silent));
    assert_eq!(std::fs::read_dir(to.path()).expect("listed").count(), 0);
    for depth in [VerifyDepth::Structure, crate::common::ALL_DATA] {
        refused("verify", verify(&repo, &VerifyOptions { depth, snapshots: None }, &Silent));
    }
    refused("stats", stats::stats(&repo));
    refused("audit", audit(&repo, &AuditFilter::default(), None, &Silent, &mut |_| Ok(())));
    refused("prune", gc::plan(&repo, &PruneOptions::default(), &Silent).map(drop));
    refused("forget", forget(&repo, &ForgetOptions::new(Wanted::Named(vec![id]))));
    refused("tag", tags::change(&repo, &[id], &TagChange::default()));
    refused("rotate", keys::rotate(&repo).map(drop));
    refused("add a key", keys::add(&repo, &key_file(5), "").map(drop));
    refused("add a write-only key", keys::add_write_only(&repo, &key_file(5), "x", "").map(drop));
    refused("remove a key", keys::remove(&repo, "0"));
}

#[test]
fn the_key_opens_nothing_that_is_stored_but_its_own_tables() {
    let world = world();
    world.write("secret", MARKER.as_bytes());
    world.back_up();
    let ring = ring(&world);
    let secrets: Vec<Key32> = vec![
        ring.id_key.clone(),
        ring.chunker_key.clone(),
        ring.signing_seed.clone(),
        ring.index_key.clone(),
        ring.cache_key.clone(),
        Key32(ring.reader.key),
        ring.cache_key.derive("decube-backup 2026 v1 host cache", b"state"),
    ];
    let mut sealed_objects = 0;
    for (name, bytes) in world.admin.memory.objects() {
        for secret in &secrets {
            if name.as_str().starts_with("packs/") {
                let header = PackHeader::decode(&bytes).expect("header");
                let opened = PackReader::new(header, secret).and_then(|reader| reader.footer_of(&bytes));
                assert!(opened.is_err(), "{name}");
            }
            // Wherever in the object something sealed may begin.
            for at in 0..bytes.len().min(400) {
                assert!(
                    !sealed::commits_to(secret, &bytes[at..]).unwrap_or(false) || is_own_table(name.as_str()),
                    "{name} {at}"
                );
            }
            sealed_objects += 1;
        }
    }
    assert!(sealed_objects > 50);
}

fn is_own_table(name: &str) -> bool {
    name.starts_with("index/")
}

#[test]
fn the_cache_holds_paths_and_ids_and_no_content() {
    let world = world();
    world.write("secret", MARKER.as_bytes());
    world.write("b/longer secret", MARKER.repeat(100).as_bytes());
    world.back_up();
    let repository = world.admin.repository().id();
    let ring = ring(&world);
    let cache = world.host.cache.as_ref().expect("a cache").path();
    let (mut files, mut entries) = (0, 0);
    for folder in std::fs::read_dir(cache).expect("listed").map(|entry| entry.expect("entry").path()) {
        for file in std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("entry").path()) {
            if file.is_dir() {
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&file).expect("readable");
            let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            // Nothing is plain, paths neither.
            assert!(!has(&bytes, MARKER) && !has(&bytes, "longer"), "{}", file.display());
            if file.file_name().expect("name").to_string_lossy().starts_with("tree-") {
                entries += opened_entries(&bytes, &ring, &repository);
            }
        }
    }
    assert!(files >= 3 && entries > 40, "{files} files, {entries} entries");
}

/// What whoever has the key reads in the tree that a host keeps.
fn opened_entries(bytes: &[u8], ring: &decube_backup_format::host::HostRing, repository: &RepositoryId) -> usize {
    let aad = decube_backup_format::host::HostRing::cache_aad(repository, "kept tree");
    let end = u64::from_le_bytes(*bytes.last_chunk().expect("an offset")) as usize;
    let table = sealed::open(&ring.cache_key, &aad, &bytes[end..bytes.len() - 8]).expect("opens");
    let mut reader = Reader::new(&table, "table");
    reader.take(32 + 32 + 1 + 8 + 8).expect("root");
    let mut entries = 0;
    for _ in 0..reader.count(44).expect("nodes") {
        reader.take(32).expect("id");
        let (at, len) = (reader.u64().expect("offset") as usize, reader.u32().expect("length") as usize);
        let node = sealed::open(&ring.cache_key, &aad, &bytes[at..at + len]).expect("opens");
        assert!(!node.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()));
        for entry in decode_leaf(&node).unwrap_or_default() {
            assert!(!matches!(entry.content, Content::Inline(_)), "{:?}", entry.entry.path);
            entries += 1;
        }
    }
    entries
}

#[test]
fn a_cache_that_was_tampered_with_costs_reading_only() {
    let world = world();
    world.back_up();
    let cache = world.host.cache.as_ref().expect("a cache").path();
    let folder = std::fs::read_dir(cache).expect("listed").next().expect("a folder").expect("entry").path();
    let tree = std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("entry").path());
    let tree = tree.into_iter().find(|path| path.to_string_lossy().contains("/tree-")).expect("a kept tree");
    let whole = std::fs::read(&tree).expect("readable");
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        for bytes in [&bad[..], &whole[..at]] {
            std::fs::write(&tree, bytes).expect("written");
            let report = back_up(&world.host, &source_of(world.tree.path()), "tree").expect("backup");
            assert_eq!(report.bytes_new, 0, "byte {at}");
        }
    }
    let last = *super::live(&world.admin).last().expect("a snapshot");
    world.admin.assert_restores(&last, world.tree.path(), "the last");
}
