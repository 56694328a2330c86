//! The main job from init to restore.

use crate::world::{NOBODY, World, contents, said};
use serde_json::json;
use std::os::unix::fs::MetadataExt;

#[test]
fn what_is_backed_up_comes_back() {
    let world = World::with_repository();
    let src = world.shown("src");
    world.run(&["backup", "--name", "tree", "--tag", "x,y", "--label", "site=here", &src]).expect(0).says("saved");
    world.write("src/a/one.txt", "one and more\n");
    world.write("src/new.txt", "new\n");
    let summary = world.run(&["backup", "--name", "tree", "src", "--json"]).expect(0).summary();
    // Files as young as these may be read again: what did not change then counts as changed or unmodified.
    assert_eq!((&summary["files_new"], &summary["error_count"]), (&json!(1), &json!(0)), "{summary}");
    assert!(summary["files_changed"].as_u64() >= Some(1), "{summary}");

    let listed = world.run(&["snapshots", "--json"]).expect(0).json();
    let snapshots = listed[0].as_array().expect("an array");
    assert_eq!(snapshots.len(), 2);
    assert_eq!((&snapshots[0]["tags"], &snapshots[0]["labels"]), (&json!(["x", "y"]), &json!({"site": "here"})));
    world.run(&["snapshots", "--tag", "x"]).expect(0).says("1 snapshot");

    world.run(&["diff", "latest~1", "latest"]).expect(0).says("+  ").says("M  ").says("1 added");
    world.run(&["ls", "-l", &format!("latest:{src}/a")]).expect(0).says("two.rs").says("link -> one.txt");
    let nodes = world.run(&["ls", "-R", "latest", &src, "--json"]).expect(0).json();
    assert!(nodes.iter().any(|node| node["type"] == "file" && node["size"] == 13));
    let found = world.run(&["find", "*.rs", "--json"]).expect(0).json();
    assert_eq!(found[0][0]["hits"], 1);
    world.run(&["find", "*", "--size", "+100k", "--type", "f", "--snapshot", "latest"]).expect(0).says("big.bin");

    world.run(&["restore", &format!("latest:{src}"), "-t", &world.shown("out")]).expect(0);
    assert_eq!(contents(&world.path("out")), contents(&world.path("src")));
    world.run(&["restore", "tree~1", "-t", "old", "--include", "*.txt", "-q"]).expect(0);
    let old = contents(&world.path(&format!("old/{src}")));
    assert_eq!(old, [("a/one.txt".to_owned(), b"one\n".to_vec())]);

    let again = world.run(&["restore", &format!("latest:{src}"), "-t", "out", "-n", "--json"]).expect(0).summary();
    assert_eq!((&again["files_restored"], &again["files_unchanged"]), (&json!(0), &json!(4)), "{again}");

    let dumped = world.run(&["dump", &format!("latest:{src}/a/one.txt")]).expect(0);
    assert_eq!((dumped.out.as_str(), dumped.err.as_str()), ("one and more\n", ""));
    let verified = world.run(&["verify", "--read-data", "--json"]).expect(0).summary();
    assert_eq!((&verified["sound"], &verified["snapshots"]), (&json!(true), &json!(2)));
    let halves = ["1/2", "2/2"].map(|half| world.run(&["check", "--read-data-subset", half]).expect(0));
    assert!(halves.iter().any(|half| half.out.contains("part of the content")));
    world.run(&["check", "--read-data-subset", "65536/65536"]).expect(0).says("no pack was to be read");
    let stats = world.run(&["stats", "--json"]).expect(0).json();
    assert_eq!((&stats[0]["snapshots"], &stats[0]["message_type"]), (&json!(2), &json!("stats")));

    world.run(&["restore", "latest:/none", "-t", "new"]).expect(1).says("no such path");
    world
        .run(&["restore", "latest", "-t", "new", "--include", "/one.txt"])
        .expect(0)
        .says("nothing in the snapshot matches");
    let part = format!("latest:{src}/a");
    world
        .run(&["restore", &part, "-t", "new", "--include", "big.bin"])
        .expect(0)
        .says("nothing in the snapshot matches");
    assert!(contents(&world.path("new")).is_empty());
    assert!(!world.run(&["restore", &part, "-t", "new", "-i", "*.txt"]).expect(0).err.contains("matches"));
}

#[test]
fn a_target_that_was_there_keeps_its_own_mode() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::with_repository();
    let set = |name: &str, mode| {
        std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode)).expect("mode");
    };
    let mode = |name: &str| std::fs::metadata(world.path(name)).expect("there").permissions().mode() & 0o7777;
    set("src/a", 0o711);
    world.run(&["backup", "--name", "tree", "src"]).expect(0);
    std::fs::create_dir(world.path("there")).expect("directory");
    set("there", 0o755);
    let part = format!("latest:{}/a", world.shown("src"));
    world.run(&["restore", &part, "-t", "there"]).expect(0);
    world.run(&["restore", &part, "-t", "made"]).expect(0);
    world.run(&["restore", &format!("{part}/one.txt"), "-t", "of a file"]).expect(0);
    world.run(&["restore", "latest", "-t", "whole"]).expect(0);
    assert_eq!(["there", "made", "of a file", "whole"].map(mode), [0o755, 0o711, 0o700, 0o700]);
}

#[test]
fn owners_come_back_by_number_by_name_or_not_at_all() {
    let world = World::with_repository();
    world.write("tree/file", "content");
    let own = std::fs::metadata(world.path("tree/file")).expect("there").uid();
    // Only root gives files away.
    let given = std::os::unix::fs::lchown(world.path("tree/file"), Some(NOBODY), None).map_or(own, |()| NOBODY);
    let tree = world.shown("tree");
    world.run(&["backup", &tree]).expect(0);
    let owners =
        [vec![], vec!["--owner", "ids"], vec!["--owner", "names"], vec!["--owner", "keep"], vec!["--no-owner"]];
    for (owner, expected) in owners.iter().zip([given, given, given, own, own]) {
        let to = format!("to-{}", owner.concat());
        world.run(&[&["restore", &format!("latest:{tree}"), "-t", &to], owner.as_slice()].concat()).expect(0);
        assert_eq!(std::fs::metadata(world.path(&to).join("file")).expect("there").uid(), expected, "{owner:?}");
    }
    world.run(&["restore", "latest", "-t", "to", "--owner", "ids", "--no-owner"]).expect(1).says("cannot be used with");
}

#[test]
fn a_dumped_tree_is_a_tar_archive() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    let output = world.program("decube-backup").args(["dump", "latest", "--archive", "tar"]).output().expect("ran");
    assert!(output.status.success());
    let whole = output.stdout.windows(5).any(|bytes| bytes == b"ustar") && output.stdout.len().is_multiple_of(512);
    assert!(whole, "{} bytes", output.stdout.len());
}

#[test]
fn quiet_says_nothing_and_dry_runs_write_nothing() {
    let world = World::with_repository();
    let before = contents(&world.path("repo"));
    let dry = world.run(&["backup", "-n", "--json", "src"]).expect(0).summary();
    assert_eq!((&dry["snapshot_id"], &dry["files_new"]), (&json!(null), &json!(3)));
    let listed = world.run(&["backup", "-n", "-v", "src"]).expect(0);
    listed.says(&format!("would back up {}/a/one.txt\n", world.shown("src")));
    assert_eq!(listed.err.matches("would back up").count(), 3, "{}", listed.err);
    assert!(!world.run(&["backup", "-n", "src"]).expect(0).err.contains("would back up"));
    assert_eq!(contents(&world.path("repo")), before);
    world.run(&["-q", "backup", "src"]).expect(0);
    let restored = world.run(&["restore", "latest", "-t", "not there", "-n", "--delete", "--json"]).expect(0).summary();
    assert_eq!((&restored["dry_run"], &restored["files_restored"]), (&json!(true), &json!(3)));
    assert!(!world.path("not there").exists());
    let quiet = world.run(&["-q", "backup", "src"]).expect(0);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
}

#[test]
fn excludes_are_honoured_and_explained() {
    let world = World::with_repository();
    world.write("src/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    world.write("src/cache/x", "x");
    world.write("rules", "*.bin\n");
    let excludes = ["-e", "*.rs", "--iexclude", "ONE.*", "--exclude-file", "rules", "--exclude-caches"];
    world.run(&[&["backup", "src"], &excludes[..]].concat()).expect(0);
    let listed = world.run(&["ls", "-R", "latest"]).expect(0).out;
    let kept: Vec<&str> = ["two.rs", "one.txt", "big.bin", "cache/x", "CACHEDIR.TAG", "a/link"]
        .into_iter()
        .filter(|name| listed.contains(name))
        .collect();
    assert_eq!(kept, ["CACHEDIR.TAG", "a/link"]);
    let explained =
        world.run(&[&["explain-exclude", "src/big.bin", "--source", "src"], &excludes[..]].concat()).expect(0);
    explained.says("rules:1");
}

#[test]
fn sockets_and_missing_paths_are_explained() {
    let world = World::new();
    let _socket = std::os::unix::net::UnixListener::bind(world.path("src/socket")).expect("socket");
    world.run(&["explain-exclude", "src/socket"]).expect(0).says("excluded at").says("it is a socket");
    world.run(&["explain-exclude", "src/none", "-e", "none"]).expect(0).says("no such path").says("excluded at");
    let json = world.run(&["explain-exclude", "src/none", "src/big.bin", "src/socket", "--json"]).expect(0).json();
    let verdicts: Vec<_> = json.iter().map(|line| line["verdict"].as_str().unwrap_or_default()).collect();
    assert_eq!(verdicts, ["missing", "included", "excluded"]);
    assert_eq!(json[0]["message_type"], "explanation");
}

#[test]
fn a_link_to_a_directory_is_followed_with_a_slash_and_told_of_without() {
    let world = World::with_repository();
    std::os::unix::fs::symlink("src", world.path("link")).expect("link");
    world
        .run(&["backup", "link", "--name", "bare", "-q"])
        .expect(0)
        .says("only the link itself")
        .says("link/ for what");
    assert!(!world.run(&["ls", "-R", "bare"]).expect(0).out.contains("one.txt"));
    assert_eq!(world.run(&["backup", "link/", "--name", "followed", "-q"]).expect(0).err, "");
    world.run(&["ls", "-R", "followed"]).expect(0).says("src/a/one.txt");
    assert_eq!(world.run(&["backup", "src/", "--name", "plain", "-q"]).expect(0).err, "");
}

#[test]
fn keys_open_and_stop_opening() {
    let world = World::with_repository();
    world.write("pw", "first password\n");
    world.write("pw2", "second password\n");
    world.run(&["key", "add", "--new-password-file", "pw", "--new-label", "spare"]).expect(0);
    world.run(&["-p", "pw", "snapshots"]).expect(0);
    world.run(&["-p", "pw", "key", "passwd", "--new-password-file", "pw2"]).expect(0);
    world.run(&["--password-command", "cat pw", "snapshots"]).expect(12);
    world
        .run(&["key", "passwd", "--new-password-file", "pw"])
        .expect(1)
        .says("not opened with a password")
        .says("key add");
    let renamed = ["-p", "pw2", "key", "passwd", "--new-password-file", "pw2", "--new-label", "fresh", "--json"];
    assert_eq!(world.run(&renamed).expect(0).json()[0]["label"], "fresh");
    world.run(&["-p", "pw2", "key", "passwd"]).expect(1).says("--new-password-file");
    let made = world.run(&["key", "generate", "third", "--json"]).expect(0).json();
    assert_eq!((&made[0]["action"], &made[0]["file"]), (&json!("generated"), &json!("third")));
    let keys = world.run(&["--password-command", "cat pw2", "key", "list", "--json"]).expect(0).json();
    let keys = keys[0].as_array().expect("an array");
    assert_eq!(keys.len(), 2);
    let file_slot = keys.iter().find(|key| key["kind"] == "key-file").expect("the key file's");
    world.run(&["-p", "pw2", "key", "remove", file_slot["key"].as_str().expect("text")]).expect(0);
    world.run(&["snapshots"]).expect(12);
    let last = keys.iter().find(|key| key["current"] == true).expect("the password's");
    world.run(&["-p", "pw2", "key", "remove", last["key"].as_str().expect("text")]).expect(1);
}

#[test]
fn tags_and_labels_change() {
    let world = World::with_repository();
    world.run(&["backup", "src", "--tag", "a", "-q"]).expect(0);
    world.run(&["tag", "latest", "--add", "b", "--remove", "a", "--label", "k=v"]).expect(0);
    let listed = world.run(&["snapshots", "--json"]).expect(0).json();
    assert_eq!((&listed[0][0]["tags"], &listed[0][0]["labels"]), (&json!(["b"]), &json!({"k": "v"})));
    world.run(&["tag", "latest"]).expect(1).says("nothing to change");
}

#[test]
fn the_small_programs_do_the_same() {
    let world = World::with_repository();
    let snapshot = |args: &[&str]| said(world.program("decub-snapshot").args(args));
    snapshot(&["create", "snapshot-001", "src"]).expect(0).says("snapshot-001");
    snapshot(&["list"]).expect(0).says("snapshot-001");
    snapshot(&["restore", "snapshot-001", &world.shown("out")]).expect(0);
    assert_eq!(contents(&world.path(&format!("out/{}", world.shown("src")))), contents(&world.path("src")));
    snapshot(&["restore", "snapshot-001", "--timestamp", "2001-01-01T00:00:00Z", "none"]).expect(1);
    let verify = |args: &[&str]| said(world.program("decube-verify").args(args));
    verify(&["--check-integrity", "--read-data"]).expect(0).says("sound");
    verify(&[]).expect(1);
}

#[test]
fn a_live_directory_is_compared_with_its_newest_snapshot() {
    let world = World::with_repository();
    let long: String = (0..200_000).map(|n: u32| format!("{n}\n")).collect();
    world.write("src/long", &long);
    world.write("src/small", "few bytes");
    world.write("src/holes", "");
    std::fs::File::options().write(true).open(world.path("src/holes")).and_then(|f| f.set_len(5 << 20)).expect("hole");
    world.run(&["backup", "src", "--name", "data", "-q"]).expect(0);
    world.write("other/x", "x");
    world.run(&["backup", "other", "-q"]).expect(0);
    let verify = |args: &[&str]| said(world.program("decube-verify").args(args));
    let counts = |said: &crate::world::Said| said.summary()["deviations"].clone();
    let none = json!({"missing": 0, "new": 0, "changed": 0, "corrupted": 0});
    assert_eq!(counts(&verify(&["--data-dir", "src", "--json"]).expect(0)), none);

    // Changed with and without a trace.
    let rewrite = |name: &str, content: &[u8]| {
        let path = world.path(name);
        let time = std::fs::metadata(&path).and_then(|m| m.modified()).expect("time");
        std::fs::write(&path, content).expect("written");
        std::fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(time)).expect("time");
    };
    let mut flipped = long.into_bytes();
    flipped[700_000] ^= 1;
    rewrite("src/long", &flipped);
    rewrite("src/small", b"few bites");
    let mut ones = vec![0; 5 << 20];
    ones[4 << 20] = 1;
    rewrite("src/holes", &ones);
    world.write("src/a/two.rs", "fn other() {}\n");
    world.write("src/added", "x");
    std::fs::remove_file(world.path("src/a/one.txt")).expect("removed");
    let told = verify(&["--data-dir", &world.shown("src")]).expect(13);
    for (what, name) in [
        ("corrupted", "long"),
        ("corrupted", "small"),
        ("corrupted", "holes"),
        ("changed", "a/two.rs"),
        ("new", "added"),
        ("missing", "a/one.txt"),
    ] {
        told.says(&format!("{what}: {}/{name}\n", world.shown("src")));
    }
    assert_eq!(told.out.lines().filter(|line| !line.starts_with("compared")).count(), 6, "{}", told.out);
    verify(&["--data-dir", "src", "--snapshot", "data", "-q"]).expect(13).says("suspect the disk");
    verify(&["--data-dir", "home-of-nobody"]).expect(1).says("cannot look into");
    verify(&["--data-dir", &world.shown("repo")]).expect(1).says("no snapshot holds this directory");
    verify(&["--data-dir", "src", "--check-integrity"]).expect(1).says("Usage");
}

#[test]
fn what_nobody_needs_is_planned_measured_and_pruned() {
    let world = World::with_repository();
    world.run(&["backup", "src", "--name", "tree", "-q"]).expect(0);
    world.write("src/new.txt", &"quite new\n".repeat(9000));
    world.run(&["backup", "src", "--name", "tree", "-q"]).expect(0);
    let unique = world.run(&["stats", "--unique", "--json"]).expect(0).json();
    assert_eq!(unique.iter().filter(|line| line["message_type"] == "unique").count(), 2, "{unique:?}");
    let newest = world.run(&["stats", "--freed", "latest", "--json"]).expect(0).json();
    let newest = newest.iter().find(|line| line["message_type"] == "freed").expect("a size");
    assert!(newest["bytes_raw"].as_u64() > Some(90_000), "{newest}");
    world.run(&["stats", "--freed", &format!("latest:{}/new.txt", world.shown("src"))]).expect(0).says("in the store");
    world.run(&["stats", "--unique", "tree"]).expect(0).says("tree");
    world.run(&["stats", "latest"]).expect(1).says("--freed");

    let before = contents(&world.path("repo"));
    world.run(&["prune", "-n"]).expect(0).says("packs that stay").says("nothing to do").says("dry run");
    let plan = world.run(&["prune", "--json"]).expect(0).json();
    assert!(plan.iter().any(|line| line["message_type"] == "plan" && line["snapshots"] == 2), "{plan:?}");
    assert!(plan.iter().any(|line| line["message_type"] == "summary" && line["packs_deleted"] == 0), "{plan:?}");
    assert_eq!(contents(&world.path("repo")), before, "nothing was to be done");
    world.run(&["prune", "--max-unused", "lots"]).expect(1).says("unlimited");
    world.run(&["-q", "prune", "--grace", "0s", "--max-unused", "0"]).expect(0);
}

#[test]
fn the_repository_is_not_restored_over_nor_deleted() {
    let world = World::new();
    world.run(&["key", "generate", &world.shown("key")]).expect(0);
    let inside = world.shown("src/srv/repo");
    let run = |args: &[&str]| world.run(&[&["-r", &inside][..], args].concat());
    run(&["init"]).expect(0);
    run(&["backup", "src", "-q", "--exclude", "/srv/repo", "--name", "without"]).expect(0);
    run(&["backup", "src", "-q", "--name", "with"]).expect(0);
    world.write("src/extra", "x");
    let snapshot = |name: &str| format!("{name}:{}", world.shown("src"));
    for name in ["without", "with"] {
        let restored = run(&["restore", &snapshot(name), "-t", "src", "--delete"]).expect(0);
        restored.says("the repository lies in the target");
        run(&["verify", "--read-data"]).expect(0).says("the repository is sound");
    }
    assert!(!world.path("src/extra").exists());
    // However it is spelled.
    std::os::unix::fs::symlink("src", world.path("by-link")).expect("link");
    run(&["restore", &snapshot("without"), "-t", "by-link", "--delete"]).expect(0).says("lies in the target");
    let before = contents(&world.path("src/srv/repo"));
    for target in ["src/srv/repo", "src/srv/repo/new", "by-link/srv/repo/packs"] {
        run(&["restore", &snapshot("without"), "-t", target, "--delete"]).expect(1).says("lies in the repository");
    }
    assert_eq!(contents(&world.path("src/srv/repo")), before);
}

#[test]
fn what_opens_the_repository_is_not_deleted_by_a_restore() {
    let world = World::new();
    for name in ["src/mykey", "src/older"] {
        world.run(&["key", "generate", &world.shown(name)]).expect(0);
    }
    world.write("src/pass", "word\n");
    let run = |args: &[&str]| world.run(&[args, &["-q"]].concat()).expect(0);
    run(&["init", "--key-file", "src/mykey"]);
    run(&["key", "add", "--key-file", "src/mykey", "--new-password-file", "src/pass"]);
    run(&["backup", "src", "--exclude", "pass", "--exclude", "mykey", "--key-file", "src/mykey"]);
    let snapshot = format!("latest:{}", world.shown("src"));
    world.write("src/extra", "x");
    run(&["restore", &snapshot, "-t", "src", "--delete", "--key-file", "src/mykey"]);
    assert!(world.path("src/mykey").exists() && !world.path("src/extra").exists());
    assert!(!world.path("src/pass").exists(), "this restore did not use it");
    world.write("src/pass", "word\n");
    run(&["restore", &snapshot, "-t", "src", "--delete", "-p", "src/pass"]);
    assert!(world.path("src/pass").exists() && !world.path("src/mykey").exists());
}

#[test]
fn hits_are_written_as_they_are_found() {
    let world = World::with_repository();
    (0..3000).for_each(|n| world.write(&format!("src/many/{n}"), ""));
    world.run(&["backup", "src", "-q"]).expect(0);
    let many: Vec<&str> = std::iter::repeat_n(["-s", "latest"], 40).flatten().collect();
    let args = [&["--threads", "1", "--json", "find", "*"], &many[..]].concat();
    // With all hits in memory it was half as much again.
    let found = world.run_limited("-v 450000", &args).expect(0).json();
    let found = found[0].as_array().expect("an array");
    assert_eq!(found.len(), 40);
    for of_one in found {
        assert_eq!(of_one["hits"].as_u64(), of_one["matches"].as_array().map(|matches| matches.len() as u64));
    }
    assert_eq!(world.run(&["--json", "find", "no such name"]).expect(0).out, "[]\n");
}
