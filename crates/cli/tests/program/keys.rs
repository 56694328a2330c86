//! Keys and the audit trail on the command line.

use crate::world::{Said, World, contents};
use serde_json::Value;

const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33\n";
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

/// A repository with one snapshot.
fn backed_up() -> World {
    let world = World::with_repository();
    world.run(&["backup", "--name", "tree", "src"]).expect(0);
    world
}

fn without_key(world: &World, args: &[&str], input: &str) -> Said {
    let mut command = world.program("decube-backup");
    command.env_remove("DECUBE_BACKUP_KEY_FILE").args(args).write_stdin(input.to_owned());
    crate::world::said(&mut command)
}

fn keys(world: &World) -> Vec<Value> {
    let listed = world.run(&["key", "list", "--json"]).expect(0).json();
    listed[0].as_array().expect("an array").clone()
}

fn key_of_kind(world: &World, kind: &str) -> String {
    let found = keys(world).into_iter().find(|key| key["kind"] == kind).expect(kind);
    found["key"].as_str().expect("a name").to_owned()
}

#[test]
fn a_sheet_brings_everything_back_when_the_password_is_lost() {
    let world = backed_up();
    let (sheet, picture) = (world.shown("sheet.txt"), world.shown("sheet.svg"));
    world.run(&["key", "recovery", "export", "--output", &sheet, "--svg", &picture]).expect(0).says("safe");
    let again = world.run(&["key", "recovery", "export", "--output", &sheet]).expect(1);
    again.says("no key was added");
    assert_eq!(keys(&world).len(), 2);
    let text = std::fs::read_to_string(&sheet).expect("sheet");
    assert!(text.contains("key recovery use") && text.contains('▀') && text.contains("key 4: "), "{text}");
    assert!(std::fs::read_to_string(&picture).expect("picture").contains("<svg"));

    // Only restoring: the sheet as it is.
    let to = world.shown("to");
    without_key(&world, &["--recovery-key-file", &sheet, "restore", "tree:/", "-t", &to], "").expect(0);
    assert!(contents(&world.path("to")).iter().any(|(name, _)| name.ends_with("src/a/one.txt")));

    // Typed from paper, with an error in the third line.
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("key ")).collect();
    let typed = lines.join("\n").to_lowercase();
    let last = lines[2].chars().last().expect("a symbol");
    let other = if last == '0' { '2' } else { '0' };
    let wrong = [lines[0], lines[1], &format!("{}{other}", &lines[2][..lines[2].len() - 1]), lines[3]].join("\n");
    world.write("new-password", "a new password\n");
    let new = world.shown("new-password");
    let recover = ["key", "recovery", "use", "--new-password-file", &new];
    without_key(&world, &recover, &wrong).expect(1).says("line 3 of the recovery key is mistyped");
    without_key(&world, &recover, &typed).expect(0).says("added key");
    without_key(&world, &["-p", &new, "snapshots"], "").expect(0).says("1 snapshot");

    // Seen by others: the sheet is revoked.
    let slot = key_of_kind(&world, "recovery-sheet");
    world.run(&["key", "remove", &slot]).expect(0);
    without_key(&world, &["--recovery-key-file", &sheet, "snapshots"], "").expect(12);
}

#[test]
fn a_sheet_on_standard_output_is_whole_and_in_json_is_data() {
    let world = World::with_repository();
    let said = world.run(&["key", "recovery", "export", "--label", "safe 1"]).expect(0);
    without_key(&world, &["key", "recovery", "use", "--new-key-file", &world.shown("key")], &said.out).expect(0);
    let json = world.run(&["key", "recovery", "export", "--json"]).expect(0).json();
    assert_eq!(
        (json[0]["message_type"].as_str(), json[0]["lines"].as_array().map(Vec::len)),
        (Some("recovery_sheet"), Some(4))
    );
    let code = json[0]["code"].as_str().expect("a code").to_owned();
    without_key(&world, &["key", "recovery", "use", "--new-key-file", &world.shown("key")], &code).expect(0);
}

#[test]
fn a_public_key_opens_with_its_private_key() {
    let world = backed_up();
    world.write("identity", &format!("# created: today\n{IDENTITY}"));
    world.write("public", &format!("{RECIPIENT}\n"));
    let (identity, public) = (world.shown("identity"), world.shown("public"));
    without_key(&world, &["--identity-file", &identity, "snapshots"], "").expect(12);
    world.run(&["key", "add", "--recipient", &public, "--new-label", "ann"]).expect(0).says("recipient");
    assert_eq!(keys(&world).iter().filter(|key| key["recipient"] == RECIPIENT).count(), 1);
    without_key(&world, &["--identity-file", &identity, "snapshots"], "").expect(0).says("1 snapshot");
    world.run(&["key", "add", "--recipient", &identity]).expect(1).says("private key");
    world.run(&["key", "add", "--recipient", IDENTITY.trim()]).expect(1).says("private key");
    without_key(&world, &["--identity-file", &public, "snapshots"], "").expect(1).says("not an age identity");
}

#[test]
fn rotation_says_what_is_under_which_keys() {
    let world = backed_up();
    world.run(&["key", "rotate", "-n"]).expect(0).says("would be made");
    let versions = |args: &[&str]| {
        let said = world.run(&[&["key", "rotate", "--status", "--json"], args].concat()).expect(0).json();
        said[0]["versions"].as_array().expect("versions").clone()
    };
    assert_eq!(versions(&[]).len(), 1);
    world.run(&["key", "rotate"]).expect(0).says("generation 1 is in force");
    world.write("src/more.txt", "more\n");
    world.run(&["backup", "--name", "tree", "src"]).expect(0);
    let after = versions(&[]);
    assert_eq!((after.len(), &after[0]["certainty"], &after[1]["certainty"]), (2, &"exact".into(), &"at_most".into()));
    assert_eq!(versions(&["--exact"])[1]["certainty"], "exact");
    world.run(&["key", "rotate", "--status"]).expect(0).says("in use").says("--exact looks");
    world.run(&["verify", "--read-data"]).expect(0);
}

#[test]
fn revoking_names_what_ends_with_it_first() {
    let world = backed_up();
    for name in ["gone", "bystander"] {
        world.run(&["key", "generate", &world.shown(name)]).expect(0);
        world.run(&["key", "add", "--new-key-file", &world.shown(name), "--new-label", name]).expect(0);
    }
    let labelled = |label: &str| keys(&world).into_iter().find(|key| key["label"] == label).expect(label);
    let gone = labelled("gone")["key"].as_str().expect("a name").to_owned();
    let plan = world.run(&["key", "remove", &gone, "--rotate", "-n"]).expect(0);
    plan.says("would be removed").says("goes on").says("bystander");
    world.run(&["key", "remove", &gone, "--rotate"]).expect(1).says("bystander").says("--drop-others");
    assert_eq!(keys(&world).len(), 3);
    world.run(&["key", "remove", &gone, "--rotate", "--drop-others"]).expect(0).says("generation 1 is in force");
    assert_eq!(keys(&world).len(), 1);
    without_key(&world, &["--key-file", &world.shown("gone"), "snapshots"], "").expect(12);
    world.write("src/more.txt", "more\n");
    world.run(&["backup", "--name", "tree", "src"]).expect(0);
    world.run(&["verify", "--read-data"]).expect(0);
}

#[test]
fn the_audit_trail_tells_everything_and_a_rolled_back_repository_is_noticed() {
    let world = backed_up();
    let older = world.path("older");
    let copied = std::process::Command::new("cp").arg("-a").arg(world.path("repo")).arg(&older).status().expect("ran");
    assert!(copied.success());
    world.run(&["key", "rotate"]).expect(0);
    world.run(&["audit"]).expect(0).says("commit").says("keyring").says("3 records, 3 shown, all sound");
    let records = world.run(&["audit", "--kind", "commit,keyring", "--since", "1d", "--json"]).expect(0).json();
    assert_eq!(
        (records.len(), &records[0]["kind"], &records[0]["snapshots"][0]["name"]),
        (3, &"commit".into(), &"tree".into())
    );
    assert_eq!((&records[2]["records"], &records[2]["witness"]), (&3.into(), &"agrees".into()));
    assert!(records[0]["stored"].is_string() && records[0]["hostname"].is_string(), "{}", records[0]);

    std::fs::rename(world.path("repo"), world.path("newer")).expect("moved");
    std::fs::rename(&older, world.path("repo")).expect("moved");
    let refused = world.run(&["snapshots"]).expect(13);
    refused.says("rolled back").says("audit --accept");
    world.run(&["backup", "--name", "tree", "src"]).expect(13);
    let audit = world.run(&["audit", "--json"]).expect(13);
    assert_eq!(audit.summary()["witness"], "rolled_back");
    // Another host has nothing to compare with.
    world.run(&["--state-dir", &world.shown("elsewhere"), "snapshots"]).expect(0);
    world.run(&["audit", "--accept"]).expect(0).says("from now on this one counts");
    world.run(&["snapshots"]).expect(0).says("1 snapshot");
}

#[test]
fn a_host_with_a_write_only_key_goes_on_after_a_roll_back_that_it_accepts() {
    let world = World::with_repository();
    let (key, state) = (world.shown("web.key"), world.shown("web state"));
    world.run(&["key", "add", "--write-only", &key, "--for-host", "web1"]).expect(0);
    let older = world.path("older");
    let copied = std::process::Command::new("cp").arg("-a").arg(world.path("repo")).arg(&older).status().expect("ran");
    assert!(copied.success());
    let host = |args: &[&str]| without_key(&world, &[&["--key-file", &key, "--state-dir", &state], args].concat(), "");
    host(&["backup", "--name", "tree", "src"]).expect(0);
    std::fs::rename(world.path("repo"), world.path("newer")).expect("moved");
    std::fs::rename(&older, world.path("repo")).expect("moved");
    host(&["backup", "--name", "tree", "src"])
        .expect(13)
        .says("rolled back")
        .says("audit --accept")
        .says("this key too");
    host(&["audit"]).expect(12).says("write-only");
    let before = contents(&world.path("repo"));
    host(&["audit", "--accept"]).expect(0).says("from now on this one counts").says("3 records, 0 shown");
    assert_eq!(contents(&world.path("repo")), before);
    host(&["backup", "--name", "tree", "src"]).expect(0).says("saved");
    world.run(&["verify", "--read-data"]).expect(0);
    world.run(&["snapshots", "--host", "web1"]).expect(0).says("1 snapshot");
    // What is damaged is not accepted by it either.
    let record = world.path("repo/log/0000000000000003");
    let mut bytes = std::fs::read(&record).expect("a record");
    bytes[300] ^= 1;
    std::fs::remove_file(&record).expect("removed");
    std::fs::write(&record, bytes).expect("written");
    host(&["--no-cache", "audit", "--accept"]).expect(13).says("is not accepted");
}

#[test]
fn a_write_only_key_backs_up_and_does_nothing_else() {
    let world = World::with_repository();
    let key = world.shown("web.key");
    let add = ["key", "add", "--write-only", &key, "--for-host", "web1", "--new-label", "the web server"];
    world.run(&add).expect(0).says("move it to web1");
    world.run(&add).expect(1).says("cannot write the file");
    world.run(&["key", "add", "--write-only", &key]).expect(1).says("--for-host");
    let listed = keys(&world);
    let found = listed.iter().find(|listed| listed["kind"] == "write-only").expect("listed");
    assert_eq!((&found["host"], &found["label"]), (&"web1".into(), &"the web server".into()));
    world.run(&["key", "list"]).expect(0).says("write-only for web1");

    let host = |args: &[&str]| without_key(&world, &[&["--key-file", &key], args].concat(), "");
    // The key knows its host; another one is refused.
    host(&["backup", "--name", "tree", "src"]).expect(0).says("saved");
    let second = host(&["backup", "--name", "tree", "src", "--json"]).expect(0).json();
    let summary = second.iter().find(|line| line["message_type"] == "summary").expect("a summary");
    assert_eq!((&summary["bytes_read"], &summary["data_added"]), (&0.into(), &0.into()));
    host(&["backup", "--host", "other", "src"]).expect(1).says("--host web1");
    let id = summary["snapshot_id"].as_str().expect("an id").to_owned();
    let to = world.shown("to");
    for args in [
        &["snapshots"][..],
        &["ls", "latest"],
        &["find", "*"],
        &["restore", "latest", "-t", &to],
        &["dump", "latest:src"],
        &["diff", "latest~1", "latest"],
        &["stats"],
        &["verify"],
        &["forget", &id],
        &["prune"],
        &["undelete", &id],
        &["tag", &id, "--add", "x"],
        &["key", "list"],
        &["key", "add", "--recipient", RECIPIENT],
        &["key", "rotate"],
        &["key", "recovery", "export"],
        &["audit"],
        &["repair", "index"],
        &["backup", "--parent", "latest", "src"],
    ] {
        host(args).expect(12).says("write-only");
    }
    host(&["verify", "--scrub"]).expect(0);

    // Who has another key reads it all, and takes the right to write back.
    world.run(&["snapshots", "--host", "web1"]).expect(0).says("2 snapshots");
    world.run(&["restore", &format!("{id}:/"), "-t", &to]).expect(0);
    assert!(contents(&world.path("to")).iter().any(|(name, _)| name.ends_with("src/a/one.txt")));
    world.run(&["verify", "--read-data"]).expect(0);
    let slot = key_of_kind(&world, "write-only");
    world.run(&["key", "remove", &slot]).expect(0).says("adds nothing from now on");
    host(&["backup", "src"]).expect(12);
    world.run(&["audit"]).expect(0).says("web1");
}
