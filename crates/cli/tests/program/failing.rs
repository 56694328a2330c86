//! What goes wrong, by exit code.

use crate::world::{Said, World, contents, said};
use std::os::unix::fs::{FileExt, PermissionsExt};

#[test]
fn every_failure_has_its_code_and_says_what_to_do() {
    let world = World::with_repository();
    world.write("wrong", "not the password\n");
    world.write("empty", "");
    let cases: [(&[&str], i32, &str); 13] = [
        (&["-r", "none", "snapshots"], 10, "decube-backup init"),
        (&["-r", "none", "verify", "--scrub"], 10, "no repository"),
        (&["-p", "wrong", "snapshots"], 12, "hint:"),
        (&["-p", "empty", "snapshots"], 1, "is empty"),
        (&["-p", "missing", "snapshots"], 1, "missing"),
        (&["init"], 1, "already"),
        (&["backup", "missing"], 1, "--optional-source"),
        (&["backup"], 1, "Usage"),
        (&["backup", "src", "--threads", "9999"], 1, "0 to 256"),
        (&["backup", "src", "-e", "[z-a]"], 1, "[z-a]"),
        (&["restore", "latest", "-t", "out"], 1, "snapshot"),
        (&["ls", "nobody"], 1, "nobody"),
        (&["-r", "gopher:x", "snapshots"], 1, "known schemes: fs"),
    ];
    for (args, code, text) in cases {
        let answer = world.run(args);
        assert_eq!(answer.code, code, "{args:?}: {}", answer.err);
        assert!(answer.err.contains(text), "{args:?}: {text:?} in {}", answer.err);
        assert_eq!(answer.out, "", "{args:?}");
    }
}

#[test]
fn a_password_opens_and_a_wrong_one_does_not() {
    let world = World::new();
    let with = |password: &str, args: &[&str]| -> Said {
        said(world.program("decube-backup").env("DECUBE_BACKUP_PASSWORD", password).args(args))
    };
    with("right", &["init"]).expect(0).says("gone for good");
    with("right", &["snapshots"]).expect(0);
    with("wrong", &["snapshots"]).expect(12);
    // Nobody is asked where there is one already.
    world.run(&["init"]).expect(1).says("already");
    world.run(&["snapshots"]).expect(1).says("DECUBE_BACKUP_PASSWORD");
}

#[test]
fn where_there_is_no_repository_nobody_is_asked_for_a_password() {
    let world = World::new();
    let ways: [&[&str]; 5] = [
        &["snapshots"],
        &["-p", "missing", "snapshots"],
        &["--key-file", "missing", "verify"],
        &["--password-command", "touch asked; echo x", "restore", "latest", "-t", "out"],
        &["backup", "src"],
    ];
    for args in ways {
        world.run(args).expect(10).says("no repository");
    }
    assert!(!world.path("asked").exists());
}

#[test]
fn errors_are_json_for_programs() {
    let world = World::with_repository();
    let answer = world.run(&["-r", "none", "snapshots", "--json"]).expect(10);
    let error: serde_json::Value = serde_json::from_str(answer.err.trim()).expect("JSON");
    assert_eq!((&error["message_type"], &error["code"]), (&"exit_error".into(), &10.into()));
}

#[test]
fn who_can_keep_no_cache_is_told_once() {
    let world = World::with_repository();
    let homeless = |args: &[&str]| said(world.program("decube-backup").env_remove("HOME").args(args));
    let answer = homeless(&["backup", "src", "-q"]).expect(0);
    assert_eq!(answer.err.matches("no cache is kept").count(), 1, "{}", answer.err);
    answer.says("DECUBE_BACKUP_CACHE_DIR");
    assert_eq!(homeless(&["backup", "src", "-q", "--no-cache"]).expect(0).err, "");
    assert_eq!(homeless(&["backup", "src", "-q", "--cache-dir", "cache"]).expect(0).err, "");
    assert!(world.path("cache").exists());
}

#[test]
fn wrong_usage_is_json_for_programs() {
    let world = World::new();
    for args in [&["backup", "--json"][..], &["--json", "backup", "src", "--nonsense"], &["--json", "nothing"]] {
        let answer = world.run(args).expect(1);
        let error: serde_json::Value = serde_json::from_str(answer.err.trim()).expect("JSON");
        assert_eq!((&error["message_type"], &error["code"]), (&"exit_error".into(), &1.into()), "{args:?}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("Usage:")), "{error}");
    }
    said(world.program("decub-snapshot").args(["--json", "create"])).expect(1).says("exit_error");
}

#[test]
fn of_two_inits_at_once_one_wins() {
    let world = World::new();
    world.run(&["key", "generate", &world.shown("key")]).expect(0);
    let codes = std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| world.run(&["init"]).code));
        let mut codes = both.map(|one| one.join().expect("ran"));
        codes.sort_unstable();
        codes
    });
    assert_eq!(codes, [0, 1]);
    world.run(&["snapshots"]).expect(0);
}

#[test]
fn a_missing_optional_source_is_a_problem_and_not_a_failure() {
    let world = World::with_repository();
    let answer = world.run(&["backup", "src", "--optional-source", "missing", "--json"]).expect(3);
    assert_eq!(answer.summary()["problems"]["missing_source"], 1);
    assert!(answer.err.contains("missing_source"), "{}", answer.err);
    let path = &answer.summary()["problem_list"][0]["path"];
    assert!(path.as_str().is_some_and(|path| path.starts_with("/") && path.ends_with("/missing")), "{path}");
    world.run(&["snapshots"]).expect(0).says("1 missing source");
}

#[test]
fn an_unreadable_file_is_counted_and_everything_else_saved() {
    let world = World::with_repository();
    let path = world.path("src/a/one.txt");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("mode");
    let answer = world.run_as_ordinary_user(&["backup", "src", "--json"]).expect(3);
    assert_eq!(answer.summary()["problems"]["unreadable"], 1);
    assert!(answer.err.contains("\"kind\":\"unreadable\""), "{}", answer.err);
    world.run(&["ls", "-R", "latest"]).expect(0).says("two.rs");
    world.run(&["ls", "--problems"]).expect(0).says("unreadable: /").says("one.txt: ").says("ermission denied");
}

#[test]
fn damage_is_found_named_and_has_its_code() {
    let world = World::with_repository();
    // Bytes without a pattern, so that most of the pack is content.
    let noise = (0..100_000u64)
        .map(|n| char::from(33 + (n.wrapping_mul(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8 % 90));
    world.write("src/noise", &noise.collect::<String>());
    world.run(&["backup", "src", "-q"]).expect(0);
    let packs = world.path("repo/packs/d");
    let pack = crate::world::contents(&packs).into_iter().next().expect("a data pack");
    let whole = pack.1;
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let path = packs.join(&pack.0);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    std::fs::write(&path, bytes).expect("written");
    world.run(&["verify", "--scrub"]).expect(13).says("damaged: packs/d/");
    let report = world.run(&["verify", "--read-data", "--json"]).expect(13).summary();
    assert_eq!(report["sound"], false);
    assert!(report["affected_count"].as_u64() > Some(0), "{report}");
    world.run(&["verify", "--read-data"]).expect(13).says("`repair packs` keeps");
    // Damage nobody recorded is not healed: content is taken for stored. A new repository stores it, and the object can be
    // put back.
    world.run(&["backup", "--force", "src", "-q"]).expect(0);
    world.run(&["restore", "latest", "-t", "lacking", "-q"]).expect(3);
    world.run(&["-r", "new", "init"]).expect(0);
    world.run(&["-r", "new", "backup", "src", "-q"]).expect(0);
    world.run(&["-r", "new", "restore", "latest", "-t", "all", "-q"]).expect(0);
    std::fs::write(&path, whole).expect("put back");
    world.run(&["verify", "--read-data"]).expect(0);

    let record = world.path("repo/log/0000000000000001");
    std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o600)).expect("mode");
    std::fs::File::options().write(true).open(&record).and_then(|file| file.set_len(100)).expect("cut");
    world.run(&["--no-cache", "verify"]).expect(13).says("damaged: log/0000000000000001").says("nothing can be added");
    world.run(&["--no-cache", "snapshots"]).expect(3).says("the log is damaged");
    world.run(&["--no-cache", "backup", "src", "-q"]).expect(1).says("nothing can be added");
    world.run(&["verify", "--scrub"]).expect(13).says("damaged: log/0000000000000001").says("no readable record");
}

#[test]
fn a_lost_header_or_keyring_is_said_read_from_its_copy_and_copied_back() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    for name in ["format", "keyring/00000000"] {
        let (original, copy) = (world.path("repo").join(name), world.path("repo/copy").join(name));
        std::fs::remove_file(&original).expect("removed");
        // Also with -q, as in the nightly run that would be the only one to notice.
        let sound = format!("`copy/{name}` is sound: copy it to `{name}`");
        world.run(&["snapshots", "-q"]).expect(0).says(&sound).says("read from its copy");
        world.run(&["backup", "src", "-q"]).expect(0).says(&sound);
        world.run(&["verify"]).expect(13).says(&format!("damaged: {name}: object is missing; {sound}"));
        world.run(&["verify", "--scrub"]).expect(13).says(&format!("damaged: {name}: object is missing; {sound}"));
        world.run(&["init"]).expect(1).says("already");
        std::fs::write(&original, "rubbish").expect("written");
        world.run(&["verify"]).expect(13).says(&format!("damaged: {name}: ")).says(&sound);
        std::fs::remove_file(&original).expect("removed");
        std::fs::copy(copy, original).expect("copied");
        let answer = world.run(&["snapshots", "-q"]).expect(0);
        assert_eq!(answer.err, "");
        world.run(&["verify"]).expect(0);
    }
}

#[test]
fn a_repository_without_its_log_is_damaged_and_stays_as_it_is() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    std::fs::remove_dir_all(world.path("repo/log")).expect("removed");
    let before = crate::world::contents(&world.path("repo"));
    // A host that saw the log, and one that did not.
    for seen in [&["-q"][..], &["--no-cache", "--state-dir", "new"]] {
        let ways: [&[&str]; 6] = [
            &["snapshots"],
            &["backup", "src"],
            &["prune", "--leftovers-older-than", "0"],
            &["verify"],
            &["verify", "--scrub"],
            &["init"],
        ];
        for args in ways {
            let answer = world.run(&[args, seen].concat()).expect(13);
            answer.says("log is gone").says("missing=log/").says("put `log/` back");
            assert!(!answer.err.contains("never finished"), "{args:?}: {}", answer.err);
        }
    }
    assert_eq!(crate::world::contents(&world.path("repo")), before);
}

#[test]
fn a_log_that_lacks_what_a_checkpoint_knows_is_not_gone_on_with_before_that_is_accepted() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    let checkpoint = world.path("repo/ckpt/000000000000001f");
    for round in 0.. {
        if checkpoint.exists() {
            break;
        }
        world.run(&["tag", "latest", "--add", &format!("t{round}"), "-q"]).expect(0);
    }
    for seq in 20..32 {
        std::fs::remove_file(world.path(&format!("repo/log/{seq:016x}"))).expect("removed");
    }
    let elsewhere = ["--no-cache", "--state-dir", "new"];
    let run = |args: &[&str]| world.run(&[args, &elsewhere].concat());
    for args in [&["backup", "src"][..], &["prune"], &["forget", "latest", "--allow-empty-group"]] {
        run(args).expect(13).says("records are lost").says("audit --accept");
    }
    run(&["restore", "latest", "-t", &world.shown("to")]).expect(3);
    let verified = run(&["verify"]).expect(13);
    verified.says("proves that log records are lost").says("audit --accept");
    assert!(!verified.err.contains("repair checkpoints"), "{}", verified.err);
    run(&["audit"]).expect(13).says("proves that log records are lost");
    run(&["audit", "--accept"]).expect(0).says("settled ckpt/000000000000001f");
    assert!(!checkpoint.exists());
    run(&["verify"]).expect(0);
    run(&["backup", "src"]).expect(0);
}

#[test]
fn without_key_slots_it_is_not_the_password_that_is_wrong() {
    let world = World::with_repository();
    let keys = world.path("repo/keys");
    std::fs::rename(&keys, world.path("kept")).expect("moved");
    for args in [&["snapshots", "--no-cache"][..], &["verify", "--no-cache"], &["verify", "--scrub"]] {
        world.run(args).expect(13).says("keys/");
    }
    world.run(&["snapshots"]).expect(13).says("put `keys/` back");
    std::fs::rename(world.path("kept"), &keys).expect("moved");
    world.run(&["snapshots"]).expect(0);
    // Of an init that was killed before it had written one, nothing is lost.
    for name in ["keys", "keyring", "copy", "log"] {
        std::fs::remove_dir_all(world.path("repo").join(name)).expect("removed");
    }
    let stranger = |command: &str| world.run(&[command, "--no-cache", "--state-dir", "new"]);
    stranger("snapshots").expect(10).says("never finished").says("decube-backup init");
    stranger("init").expect(0);
    stranger("snapshots").expect(0);
}

#[test]
fn a_folder_with_the_files_of_others_takes_no_repository() {
    let world = World::new();
    world.run(&["key", "generate", &world.shown("key")]).expect(0);
    world.write("full/thesis.tex", "years of work");
    world.write("full/index/page.html", "");
    let before = crate::world::contents(&world.path("full"));
    world.run(&["-r", "full", "init"]).expect(1).says("thesis.tex").says("needs one of its own").says("empty folder");
    assert_eq!(crate::world::contents(&world.path("full")), before);
    // A fresh file system, and what an init left that was killed, are as good as empty.
    std::fs::create_dir_all(world.path("disk/lost+found")).expect("made");
    world.run(&["-r", "disk", "init"]).expect(0);
    std::fs::remove_dir_all(world.path("disk/log")).expect("removed");
    world.run(&["-r", "disk", "init", "--state-dir", "new", "--no-cache"]).expect(0);
    // Where a repository is, that is said.
    world.write("disk/README", "whose it is");
    world.run(&["-r", "disk", "init"]).expect(1).says("already");
    world.run(&["-r", "disk", "snapshots", "--state-dir", "new", "--no-cache"]).expect(0);
}

#[test]
fn diagnostics_are_json_for_programs() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    std::fs::remove_file(world.path("repo/format")).expect("removed");
    for args in [&["snapshots", "--json"][..], &["snapshots", "--json", "-vv"]] {
        let answer = world.run(args).expect(0);
        let lines =
            answer.err.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"));
        let log = lines.filter(|line| line["message_type"] == "log").collect::<Vec<_>>();
        let error = log.iter().find(|line| line["level"] == "error").expect("an error");
        assert_eq!(error["fields"]["key"], "format");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("read from its copy")), "{error}");
        assert_eq!(error.get("target").is_some(), args.contains(&"-vv"));
    }
    world.run(&["snapshots"]).expect(0).says("ERROR an object of the repository was read from its copy");
}

#[test]
fn a_file_that_may_not_get_so_long_costs_no_other() {
    let world = World::with_repository();
    world.run(&["backup", "src"]).expect(0);
    // 100 or 200 KiB, as the shell counts.
    world.run_limited("-f 200", &["restore", "latest", "-t", "out"]).expect(3).says("big.bin");
    let place = world.path("out").join(world.path("src/a/one.txt").strip_prefix("/").expect("absolute"));
    assert_eq!(std::fs::read(place).expect("restored"), b"one\n");
}

#[test]
fn with_too_few_open_files_it_does_nothing_and_with_few_everything() {
    let world = World::with_repository();
    // More files than stay open: all begin alike, so that one piece is written to each.
    for n in 0..200u64 {
        let file = std::fs::File::create(world.path(&format!("src/{n:03}"))).expect("file");
        file.write_all_at(&[7; 20_000], 0).expect("written");
        // What no compression makes small: it lies in other segments.
        let step = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let odd: Vec<u8> = std::iter::successors(Some(n), step).skip(1).take(20_000).map(|x| (x >> 56) as u8).collect();
        file.write_all_at(&odd, 1 << 20).expect("written");
        world.write(&format!("src/d{n:03}/file"), "content\n");
    }
    world.run(&["backup", "src"]).expect(0);
    for command in [&["restore", "latest", "-t", "out"][..], &["backup", "src"], &["verify", "--read-data"]] {
        world.run_limited("-n 16", command).expect(1).says("ulimit -n");
        assert!(!world.path("out").exists());
    }
    for command in [&["restore", "latest", "-t", "out"][..], &["backup", "src"], &["verify", "--read-data"]] {
        world.run_limited("-n 64", command).expect(0);
    }
    let restored = world.path("out").join(world.path("src").strip_prefix("/").expect("absolute"));
    assert!(contents(&restored) == contents(&world.path("src")));
}

#[test]
fn a_verification_that_cannot_be_recorded_fails_with_its_result() {
    let world = World::with_repository();
    world.run(&["backup", "src", "-q"]).expect(0);
    std::fs::set_permissions(world.path("repo/log"), std::fs::Permissions::from_mode(0o500)).expect("mode");
    let said = world.run_as_ordinary_user(&["verify", "--read-data", "--record", "--json"]).expect(1);
    assert_eq!(said.summary()["sound"], true);
    let last: serde_json::Value = serde_json::from_str(said.err.lines().next_back().expect("a line")).expect("JSON");
    assert_eq!((&last["message_type"], &last["code"]), (&"exit_error".into(), &1.into()));
    assert!(last["message"].as_str().is_some_and(|told| told.starts_with("not everything could be recorded: ")));
}

#[test]
fn a_pattern_written_as_a_path_is_told_once_with_the_one_meant() {
    let world = World::with_repository();
    let said = world.run(&["backup", "src", "-q", "-e", "src/a", "-e", "./big.bin"]).expect(0);
    said.says("the pattern \"src/a\" matches nothing").says("Write \"/a\"").says("Write \"/big.bin\"");
    assert_eq!(said.err.lines().count(), 2, "{}", said.err);
}
