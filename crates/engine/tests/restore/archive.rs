//! A dumped tree, unpacked by the system's own `tar`.

use crate::common::bad_sectors::BadSectors;
use crate::common::{Harness, Scratch, inside, noise, small_packs, source_of};
use decube_backup_backend_fs::compare::{CompareOptions, compare_trees};
use decube_backup_backend_fs::torture::{self, Scale};
use decube_backup_core::entry::EntryPath;
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Silent};
use decube_backup_core::{ErrorKind, Key};
use decube_backup_engine::browse;
use decube_backup_engine::dump::{dump_file, dump_tar};
use decube_backup_engine::options::InitOptions;
use rustix::fs::XattrFlags;
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

#[test]
fn tar_unpacks_a_dump_with_everything_that_tar_knows() {
    let tree = Scratch::new();
    // No deeper than a path may be long.
    torture::build(tree.path(), Scale { depth: 20, ..Scale::SMALL }).expect("built");
    // What a path would be tidied to is another target.
    for (n, target) in ["a//b", "//x", "/", "./././y", &"long/".repeat(60)].iter().enumerate() {
        std::os::unix::fs::symlink(target, tree.path().join(format!("odd link {n}"))).expect("link");
    }
    let harness = Harness::with_repository(&InitOptions::default());
    let id = harness.backup_source(&source_of(tree.path()), "torture").expect("backup").snapshot.expect("a snapshot");
    let to = Scratch::new();
    let archive = to.path().join("archive.tar");
    let mut out = fs::File::create(&archive).expect("file");
    let subtree = inside(tree.path());
    let lost = dump_tar(&harness.repository(), &harness.snapshot(&id), &subtree, &mut out, &Silent).expect("dumped");
    assert!(lost.is_empty(), "{lost:?}");
    let unpacked = to.path().join("unpacked");
    fs::create_dir(&unpacked).expect("folder");
    let options = ["--same-permissions", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "-xf"];
    let done = Command::new("tar").args(options).arg(&archive).arg("-C").arg(&unpacked).output().expect("tar ran");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let root = unpacked.join(tree.path().strip_prefix("/").expect("absolute"));
    let differences = compare_trees(tree.path(), &root, CompareOptions::default()).expect("comparable");
    // An archive has no place for inode flags.
    let differences: Vec<_> = differences.iter().filter(|d| !d.what.starts_with("inode flags")).collect();
    assert!(differences.is_empty(), "{differences:?}");
}

#[derive(Default)]
struct Listener(Mutex<Vec<Problem>>);

impl Monitor for Listener {
    fn problem(&self, problem: &Problem) {
        self.0.lock().expect("lock").push(problem.clone());
    }
}

#[test]
fn what_is_lost_is_told_and_takes_nothing_with_it() {
    let tree = tempfile::tempdir().expect("temp");
    let content = noise(1, 3_000_000);
    fs::write(tree.path().join("long"), &content).expect("file");
    fs::write(tree.path().join("other"), noise(2, 100_000)).expect("file");
    let odd = rustix::fs::setxattr(tree.path().join("other"), "user.a=%b", b"value", XattrFlags::empty());
    let harness = Harness::with_repository(&small_packs());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let mut objects = harness.memory.objects();
    let key = objects.keys().find(|key| key.as_str().starts_with("packs/d/")).expect("a pack").clone();
    let mut bytes = objects[&key].to_vec();
    bytes[5000] ^= 1;
    objects.insert(key, bytes.into());
    let damaged = harness.on_image(objects);
    let (mut archive, listener) = (Vec::new(), Listener::default());
    let root = EntryPath::root();
    let lost = dump_tar(&damaged.repository(), &damaged.snapshot(&id), &root, &mut archive, &listener).expect("dumped");
    let told = listener.0.into_inner().expect("lock");
    assert_eq!(told, lost);
    assert_eq!(told.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::Damaged], "{told:?}");
    assert!(told[0].path.ends_with(b"/long") || told[0].path.ends_with(b"/other"), "{told:?}");
    let to = tempfile::tempdir().expect("temp");
    let file = to.path().join("archive.tar");
    fs::write(&file, &archive).expect("file");
    let options = ["--xattrs", "--xattrs-include=*", "-xf"];
    let done = Command::new("tar").args(options).arg(&file).arg("-C").arg(to.path()).output().expect("tar ran");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let unpacked = to.path().join(tree.path().strip_prefix("/").expect("absolute"));
    let back = fs::read(unpacked.join("long")).expect("file");
    let differing = back.iter().zip(&content).filter(|(a, b)| a != b).count();
    assert!(back.len() == content.len() && differing < content.len() / 2, "{differing} bytes");
    if odd.is_ok() {
        let mut value = [0; 16];
        let len = rustix::fs::getxattr(unpacked.join("other"), "user.a=%b", &mut value).expect("attribute");
        assert_eq!(&value[..len], b"value");
    }
}

#[test]
fn only_what_is_damaged_is_called_so_and_a_storage_that_does_not_answer_ends_a_dump() {
    let tree = tempfile::tempdir().expect("temp");
    fs::write(tree.path().join("file"), noise(1, 100_000)).expect("file");
    let harness = Harness::with_repository(&InitOptions::default());
    let id = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    for (kind, told) in [
        (ErrorKind::PermissionDenied, Some(ProblemKind::Unreadable)),
        (ErrorKind::Io, Some(ProblemKind::Damaged)),
        (ErrorKind::Corrupt, Some(ProblemKind::Damaged)),
        (ErrorKind::Unavailable, None),
    ] {
        for prefix in ["packs/m/", "packs/d/"] {
            let fails = move |key: &Key| key.as_str().starts_with(prefix);
            let sink = BadSectors::in_objects(harness.sink.clone(), kind, fails);
            let user = harness.somebody_else().through(Arc::new(sink));
            let (repo, snapshot, mut out) = (user.repository(), user.snapshot(&id), Vec::new());
            let listener = Listener::default();
            let dumped = dump_tar(&repo, &snapshot, &EntryPath::root(), &mut out, &listener);
            let kinds: Vec<_> = listener.0.into_inner().expect("lock").iter().map(|problem| problem.kind).collect();
            assert_eq!(kinds, Vec::from_iter(told), "{kind:?} {prefix}");
            assert_eq!(dumped.map_err(|error| error.kind()).err(), told.is_none().then_some(kind), "{prefix}");
            let file = inside(&tree.path().join("file"));
            let error = dump_file(&repo, &snapshot, &file, &mut out).expect_err("not read");
            assert_eq!(error.kind(), kind, "{prefix}");
        }
    }
}

#[test]
fn where_a_pack_with_nodes_is_gone_the_rest_is_found() {
    let tree = tempfile::tempdir().expect("temp");
    for n in 0..3000 {
        fs::write(tree.path().join(format!("{n:04}")), noise(n, 40)).expect("file");
    }
    let harness = Harness::with_repository(&small_packs());
    harness.backup(tree.path(), "tree");
    fs::write(tree.path().join("1500"), noise(9999, 41)).expect("file");
    harness.backup(tree.path(), "tree");
    fs::write(tree.path().join("2900"), noise(9998, 41)).expect("file");
    let last = harness.backup(tree.path(), "tree").snapshot.expect("a snapshot");
    let objects = harness.memory.objects();
    let mut seen = 0;
    // The third snapshot shares all but a few nodes with the others.
    for key in objects.keys().filter(|key| key.as_str().starts_with("packs/m/")) {
        let mut image = objects.clone();
        image.remove(key);
        let user = harness.on_image(image);
        let (repo, snapshot) = (user.repository(), user.snapshot(&last));
        let mut found = Vec::new();
        let visited = browse::find(&repo, &snapshot, &|_| true, &mut |entry| {
            found.push(entry.entry.path.clone());
            Ok(())
        });
        match visited {
            Ok(()) => assert!(found.len() > 3000, "{key}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}: {error:?}");
                seen += usize::from(found.iter().any(|path| path.name() == b"2999") && found.len() > 100);
            }
        }
    }
    assert!(seen > 0, "no missing pack left anything behind the gap");
}
