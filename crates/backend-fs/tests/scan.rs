//! A scan yields everything, once, in path order, and goes on past what it cannot read.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Needs, Scratch, as_user, below, drain, options, path, path_of, scan, source};
use decube_backup_backend_fs::source::exclude::Pattern;
use decube_backup_backend_fs::source::{FileSystems, FsSource, MissingRoots};
use decube_backup_backend_fs::torture::{self, Scale};
use decube_backup_core::ErrorKind;
use decube_backup_core::entry::EntryKind;
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::source::{ScanItem, Source};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn main() {
    common::main(&[
        ("a_scan_finds_what_a_naive_walk_finds_in_path_order", Needs::Root, finds_everything_in_order),
        ("the_smallest_look_ahead_never_blocks", Needs::Nothing, smallest_look_ahead_never_blocks),
        ("a_dropped_scan_ends_its_threads", Needs::Nothing, dropped_scan_ends),
        ("directories_above_the_roots_are_entries_too", Needs::Nothing, ancestors_are_entries),
        ("links_above_a_root_are_resolved_and_a_root_that_is_one_is_kept", Needs::Nothing, links_and_roots),
        ("a_missing_root_fails_the_scan_or_is_reported", Needs::Nothing, missing_roots),
        ("a_single_file_can_be_a_root", Needs::Nothing, file_root),
        ("other_file_systems_keep_their_mount_point_only", Needs::Nothing, other_file_systems),
        ("an_unreadable_directory_is_a_problem_in_its_place", Needs::Root, unreadable_directory),
        ("names_and_times_are_those_of_the_system", Needs::Nothing, metadata_is_right),
    ]);
}

fn naive(root: &Path, found: &mut BTreeSet<Vec<u8>>) {
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        found.insert(entry.path().as_os_str().as_bytes()[1..].to_vec());
        if entry.file_type().unwrap().is_dir() {
            naive(&entry.path(), found);
        }
    }
}

fn finds_everything_in_order() {
    let scratch = Scratch::new();
    torture::build(scratch.path(), Scale { wide_entries: 5000, depth: 20, sparse_bytes: 1 << 20 }).unwrap();
    for index in 0..1500 {
        scratch.file(&format!("many/{index}/{}/file", index % 7), "");
    }
    let mut expected = BTreeSet::new();
    naive(scratch.path(), &mut expected);
    let mut above = Some(scratch.path());
    while let Some(directory) = above.filter(|d| *d != Path::new("/")) {
        expected.insert(directory.as_os_str().as_bytes()[1..].to_vec());
        above = directory.parent();
    }
    for threads in [1, 2, 7] {
        let source = FsSource::new({
            let mut options = options(scratch.path());
            options.scan_threads = threads;
            options
        });
        let items = scan(&source.unwrap());
        for pair in items.windows(2) {
            assert!(path(path_of(&pair[0])) < path(path_of(&pair[1])), "{pair:?}");
        }
        let found: BTreeSet<Vec<u8>> = items.iter().map(|item| path_of(item).to_vec()).collect();
        assert!(found == expected, "{:?}", found.symmetric_difference(&expected).collect::<Vec<_>>());
        let problems = items.iter().filter(|item| matches!(item, ScanItem::Problem(_))).count();
        assert_eq!(problems, 1, "the socket");
    }
}

fn smallest_look_ahead_never_blocks() {
    let scratch = Scratch::new();
    for index in 0..300 {
        scratch.file(&format!("{}/{}/{index}", index % 3, index % 11), "");
    }
    for index in 0..3000 {
        scratch.file(&format!("1/5/large/{index}"), "");
        if index % 50 == 0 {
            scratch.file(&format!("1/5/large/directory {index}/file"), "");
        }
    }
    let count = |ahead, threads| {
        let mut options = options(scratch.path());
        (options.entries_ahead_max, options.scan_threads) = (ahead, threads);
        scan(&FsSource::new(options).unwrap()).len()
    };
    let all = count(1 << 20, 2);
    assert!(all > 3300);
    for (ahead, threads) in [(0, 1), (1, 1), (1, 4), (1000, 3), (2000, 8)] {
        assert_eq!(count(ahead, threads), all, "{ahead} {threads}");
    }
}

fn dropped_scan_ends() {
    let scratch = Scratch::new();
    torture::build(scratch.path(), Scale::SMALL).unwrap();
    for taken in 0..2 {
        let mut scan = source(scratch.path()).scan().unwrap();
        for _ in 0..taken {
            futures::executor::block_on(scan.next()).unwrap();
        }
        // Joins them; a thread that does not end fails the test by its time.
        drop(scan);
    }
}

fn ancestors_are_entries() {
    let scratch = Scratch::new();
    scratch.file("a/one/file", "");
    scratch.file("a/two/file", "");
    scratch.file("a/two/nested/file", "");
    scratch.file("a/unrelated/file", "");
    let mut options = options(&scratch.join("a/two"));
    options.roots.extend([scratch.join("a/one"), scratch.join("a/two/nested"), scratch.join("a/./one/../one")]);
    let source = FsSource::new(options).unwrap();
    let (entries, problems) = below(scratch.path(), scan(&source));
    assert_eq!(problems, []);
    let told = ["a/one", "a/two", "a/two/nested"].map(|root| path(&scratch.join(root).as_os_str().as_bytes()[1..]));
    assert_eq!(source.describe().roots, told, "each once");
    let found: Vec<_> = entries.iter().map(|(path, _)| path.to_string()).collect();
    let expected = ["", "a", "a/one", "a/one/file", "a/two", "a/two/file", "a/two/nested", "a/two/nested/file"];
    assert_eq!(found, expected);
}

fn links_and_roots() {
    let scratch = Scratch::new();
    scratch.file("real/file", "");
    symlink("real", scratch.join("link")).unwrap();
    let found = |root: &str| {
        let (entries, _) = below(scratch.path(), scan(&source(&scratch.join(root))));
        entries.into_iter().map(|(path, s)| (path.to_string(), s.entry.kind.letter())).collect::<Vec<_>>()
    };
    assert_eq!(found("link"), [(String::new(), 'd'), ("link".into(), 'l')]);
    assert_eq!(found("link/file"), [(String::new(), 'd'), ("real".into(), 'd'), ("real/file".into(), '-')]);
}

fn missing_roots() {
    let scratch = Scratch::new();
    scratch.file("there", "");
    let mut options = options(&scratch.join("there"));
    options.roots.push(scratch.join("not there"));
    let error = FsSource::new(options.clone()).unwrap().scan().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    options.missing_roots = MissingRoots::Report;
    let (entries, problems) = below(scratch.path(), scan(&FsSource::new(options).unwrap()));
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::MissingSource]);
    assert!(problems[0].path.ends_with(b"not there"));
    assert!(entries.iter().any(|(path, _)| path.to_string() == "there"));
    // So is one whose parents are not there, or no directories; they themselves are not missed.
    for gone in ["gone/deep/down", "there/deep/down"] {
        let mut options = common::options(&scratch.join("there"));
        (options.roots, options.missing_roots) =
            (vec![scratch.join("there"), scratch.join(gone)], MissingRoots::Report);
        let (_, problems) = below(scratch.path(), scan(&FsSource::new(options).unwrap()));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.starts_with("source is missing"), "{problems:?}");
    }
    // One that lies in another one is missed as well.
    let mut options = common::options(scratch.path());
    options.roots.extend([scratch.join("not there/at all"), scratch.join("not there/at all")]);
    options.roots.push(scratch.join("there"));
    let error = FsSource::new(options.clone()).unwrap().scan().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    options.missing_roots = MissingRoots::Report;
    let (entries, problems) = below(scratch.path(), scan(&FsSource::new(options).unwrap()));
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::MissingSource]);
    assert!(problems[0].path.ends_with(b"not there/at all"));
    assert_eq!(entries.len(), 2);
    // So is one that is there, but excluded by what counts for the one around it.
    scratch.file("out/deep/file", "");
    let mut options = common::options(scratch.path());
    options.roots.extend([scratch.join("out/deep"), scratch.join("there")]);
    options.exclude.patterns.push(Pattern::new("/out"));
    let (entries, problems) = below(scratch.path(), scan(&FsSource::new(options).unwrap()));
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::MissingSource]);
    assert!(problems[0].path.ends_with(b"out/deep") && problems[0].message.contains("\"/out\""), "{problems:?}");
    assert_eq!(entries.len(), 2);
}

fn file_root() {
    let scratch = Scratch::new();
    let file = scratch.file("file", "content");
    let (entries, problems) = below(&file, scan(&source(&file)));
    assert_eq!((entries.len(), problems.len()), (1, 0));
    assert_eq!(entries[0].1.entry.kind, EntryKind::File { size: 7 });
}

fn other_file_systems() {
    // Every Linux has /proc mounted in a directory of another file system.
    let mut options = options(Path::new("/proc"));
    options.roots = vec!["/".into()];
    options.file_systems = FileSystems::OfRoots;
    options.exclude.patterns = ["/*", "!/proc"].map(Pattern::new).to_vec();
    let found: Vec<_> =
        scan(&FsSource::new(options).unwrap()).iter().map(|item| path(path_of(item)).to_string()).collect();
    assert_eq!(found, ["", "proc"]);
}

fn unreadable_directory() {
    let scratch = Scratch::new();
    for name in ["a/file", "closed/file", "z/file"] {
        scratch.file(name, "content");
    }
    for (name, mode) in [("closed", 0o700), ("z/file", 0o600), (".", 0o755)] {
        std::fs::set_permissions(scratch.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    as_user(|| {
        let source = source(scratch.path());
        let items = drain(&mut *source.scan().unwrap());
        let shown: Vec<_> = items
            .iter()
            .filter_map(|item| {
                let path =
                    path(path_of(item)).strip(&path(scratch.path().to_str().unwrap().trim_start_matches('/')))?;
                Some(format!("{path}{}", if matches!(item, ScanItem::Problem(_)) { " problem" } else { "" }))
            })
            .collect();
        assert_eq!(shown, ["", "a", "a/file", "closed", "closed problem", "z", "z/file"]);
        let Some(ScanItem::Entry(last)) = items.last() else { panic!() };
        let error = source.open(last).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    });
}

fn metadata_is_right() {
    let scratch = Scratch::new();
    let file = scratch.file("file", "four");
    let std = std::fs::metadata(&file).unwrap();
    let (entries, _) = below(&file, scan(&source(&file)));
    let scanned = &entries[0].1;
    let (meta, identity) = (&scanned.entry.meta, scanned.identity.unwrap());
    assert_eq!((meta.mode, meta.uid, meta.gid), (std.mode() & 0o7777, std.uid(), std.gid()));
    assert_eq!((meta.mtime.seconds, i64::from(meta.mtime.nanoseconds)), (std.mtime(), std.mtime_nsec()));
    assert_eq!((identity.dev, identity.inode, identity.links), (std.dev(), std.ino(), 1));
    assert_eq!(identity.ctime_ns, std.ctime() * 1_000_000_000 + std.ctime_nsec());
    if std.uid() == 0 {
        assert_eq!((&*meta.user, &*meta.group), ("root", "root"));
    }
}
