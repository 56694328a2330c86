//! Pipelines from a configuration file.

use crate::world::{World, said};

const YAML: &str = "\
other: {not: ours}
backup:
  host: testhost
  sources:
    data:
      paths: [src]
      exclude: ['*.bin']
    logs: {paths: [logs], optional: true}
    gone: {paths: [gone]}
  sinks:
    main:
      url: repo
      key_file: key
      options: {}
    secretive: {url: /nowhere, password: hunter2}
  pipelines:
    decube:
      sources: [data]
      sink: main
      labels: {tier: gold}
      transforms: [zstd:1, aes-256-gcm]
      retention: {keep_daily: 30}
      schedule: {full: '@daily'}
    partly:
      sources: [logs, data]
      sink: main
    broken:
      sources: [data, gone]
      sink: main
      retention: {keep_last: 1}
";

fn world() -> World {
    let world = World::with_repository();
    world.write("conf.yaml", YAML);
    world
}

#[test]
fn pipelines_run_and_the_worst_exit_wins() {
    let world = world();
    let run = |args: &[&str]| {
        let mut command = world.program("decube-backup");
        said(
            command
                .env_remove("DECUBE_BACKUP_REPOSITORY")
                .env_remove("DECUBE_BACKUP_KEY_FILE")
                .args(["--config", "conf.yaml"])
                .args(args),
        )
    };
    run(&["run", "decube"]).expect(0).says("not executed by this version: schedule");
    let listed = run(&["-r", "@main", "snapshots", "--json"]).expect(0).json();
    let snapshot = &listed[0][0];
    let told = ["name", "component", "pipeline", "hostname"].map(|key| snapshot[key].as_str().unwrap_or_default());
    assert_eq!(told, ["decube-data", "data", "decube", "testhost"]);
    assert_eq!(snapshot["labels"]["tier"], "gold");
    assert!(!run(&["-r", "@main", "ls", "-R", "latest"]).expect(0).out.contains("big.bin"));
    run(&["run", "partly"]).expect(3).says("partly    logs");
    assert!(!world.path("repo/parity").exists(), "nobody asked for it");
    world.write("src/more.txt", "more");
    let mut with_parity = world.program("decube-backup");
    with_parity.env_remove("DECUBE_BACKUP_REPOSITORY").env("DECUBE_BACKUP__SINKS__MAIN__PARITY", "10");
    said(with_parity.args(["--config", "conf.yaml", "run", "decube", "-q"])).expect(0);
    assert!(world.path("repo/parity").exists(), "configured for the sink");
    let mut wrong = world.program("decube-backup");
    wrong.env("DECUBE_BACKUP__SINKS__MAIN__PARITY", "101").args(["--config", "conf.yaml", "config", "check"]);
    said(&mut wrong).expect(1).says("more than 100 percent");
    run(&["run", "nothing"]).expect(1).says("configured pipelines: broken, decube, partly");
    run(&["explain-exclude", "src/big.bin", "--configured", "data"]).expect(0).says("excluded");
}

#[test]
fn a_pipeline_forgets_what_its_policy_does_not_keep() {
    let world = world();
    let run = |args: &[&str]| {
        let mut command = world.program("decube-backup");
        said(command.env_remove("DECUBE_BACKUP_REPOSITORY").args(["--config", "conf.yaml"]).args(args))
    };
    let count = |args: &[&str]| {
        let listed = run(&[&["-r", "@main", "snapshots", "--json"], args].concat()).expect(0).json();
        listed[0].as_array().expect("an array").len()
    };
    run(&["run", "decube"]).expect(0).says("(retention)");
    run(&["run", "decube", "-q"]).expect(0);
    world.run(&["backup", "--name", "decube-data", "-H", "testhost", "-q", "src"]).expect(0);
    run(&["run", "partly", "-q"]).expect(3);
    // The newest of the day stays, and the oldest of all; those of nobody and of other pipelines are none of its business.
    let third = run(&["run", "decube", "--json"]).expect(0).json();
    let summary = third.iter().find(|line| line["timezone"] == "UTC").expect("a summary");
    assert_eq!(
        (summary["forgotten"].as_array().map(Vec::len), &summary["considered"]),
        (Some(1), &serde_json::json!(3))
    );
    assert_eq!((count(&[]), count(&["--forgotten"])), (5, 1));
    run(&["run", "decube", "-n"])
        .expect(0)
        .says("(retention)")
        .says("dry run: 0 of 5")
        .says("a real run makes a snapshot first");
    // Another cipher than the repository's is not passed over.
    world.write("other.yaml", &YAML.replace("aes-256-gcm", "chacha20-poly1305"));
    world.run(&["--config", "other.yaml", "run", "decube"]).expect(1).says("another cipher");
    // Where a backup failed, nothing is forgotten.
    run(&["run", "broken", "-q"]).expect(1).says("pipeline=broken source=gone");
    let failed = run(&["run", "broken"]).expect(1);
    failed.says("nothing is forgotten, because a backup failed").says("`optional: true` for gone");
    // One line says nothing of the others, which were published.
    assert!(failed.out.lines().any(|line| line.ends_with("gone    failed")), "{}", failed.out);
    assert_eq!((count(&[]), count(&["--forgotten"])), (7, 1));
}

#[test]
fn a_run_says_what_is_refused_in_its_own_words() {
    let world = world();
    let few = YAML.replace("{keep_daily: 30}", "{keep_last: 1}").replace("    broken:\n", "    in-vain:\n");
    world.write("conf.yaml", &few.replace("decube:\n      sources", "my-files:\n      sources"));
    let run = |args: &[&str]| world.run(&[&["--config", "conf.yaml"], args].concat());
    run(&["run", "my-files"]).expect(0).says("DECUBE_BACKUP_REPOSITORY is not used");
    assert!(!run(&["run", "my-files", "-q"]).expect(0).err.contains("DECUBE"));
    let elsewhere = world.shown("elsewhere");
    run(&["run", "-r", &elsewhere]).expect(1).says("--repo cannot be used with run");
    // What was forgotten one by one comes back, and would go all at once.
    (0..3).for_each(|_| drop(run(&["run", "my-files", "-q"]).expect(0)));
    for id in world.run(&["snapshots", "--forgotten", "--json"]).expect(0).json()[0].as_array().expect("an array") {
        world.run(&["undelete", id["id"].as_str().expect("an id"), "-q"]).expect(0);
    }
    let refused = run(&["run", "my-files", "-q"]).expect(15);
    refused.says("pipeline=my-files").says("`run my-files -n`");
    refused.says("DECUBE_BACKUP__PIPELINES__MY_FILES__RETENTION__ALLOW_SHARE=84").says("allow_share: 84");
    assert!(!refused.err.contains("--allow-share") && !refused.err.contains("--dry-run"), "{}", refused.err);
    let json = run(&["run", "my-files", "--json", "-n"]).expect(15);
    assert!(json.err.contains("exit_error") && json.err.contains("pipeline=my-files"), "{}", json.err);
    let mut allowed = world.program("decube-backup");
    allowed.env("DECUBE_BACKUP__PIPELINES__MY_FILES__RETENTION__ALLOW_SHARE", "86");
    said(allowed.args(["--config", "conf.yaml", "run", "my-files"])).expect(0).says("forgot 6 of 7");
}

#[test]
fn a_run_advises_no_variable_that_nobody_can_set() {
    let world = world();
    let keep = |newest: &str| {
        let retention = format!("{{keep_last: {newest}, allow_share: 50}}");
        world.write("conf.yaml", &YAML.replace("{keep_daily: 30}", &retention).replace("decube:", "my--files:"));
        world.run(&["--config", "conf.yaml", "run", "my--files", "-q"])
    };
    (0..4).for_each(|_| drop(keep("9").expect(0)));
    let refused = keep("1").expect(15);
    refused.says("if it is right allow it with `allow_share: ");
    assert!(!refused.err.contains("DECUBE_BACKUP__"), "{}", refused.err);
}

#[test]
fn configurations_are_checked_and_shown() {
    let world = world();
    world.run(&["--config", "conf.yaml", "config", "check"]).expect(0).says("3 sources, 2 sinks, 3 pipelines");
    let shown = world.run(&["--config", "conf.yaml", "config", "show", "--origin"]).expect(0);
    shown.says("conf.yaml:12").says("backup.pipelines.decube.name").says("default");
    assert!(!shown.out.contains("hunter2"));
    let mut overridden = world.program("decube-backup");
    overridden.env("DECUBE_BACKUP__SINKS__MAIN__URL", "elsewhere").args([
        "--config",
        "conf.yaml",
        "config",
        "show",
        "--origin",
    ]);
    said(&mut overridden).expect(0).says("variable DECUBE_BACKUP__SINKS__MAIN__URL");
    for (from, to, expected) in [
        ("labels:", "lables:", "bad.yaml:20: backup.pipelines.decube.lables: unknown field"),
        ("sources: [data]", "sources: [date]", "bad.yaml:18: backup.pipelines.decube.sources.0: there is no source"),
        ("{keep_daily: 30}", "{keep_within: 30min}", "bad.yaml:22: backup.pipelines.decube.retention.keep_within"),
        ("{keep_daily: 30}", "{keep_daily: 1, timezone: Mars}", "retention.timezone: no such time zone"),
        ("{keep_daily: 30}", "{policy: guru}", "retention.policy: the one policy with a name is guide"),
        ("{keep_daily: 30}", "{keep_tags: [a]}", "bad.yaml:22: backup.pipelines.decube.retention: this keeps nothing"),
        ("['*.bin']", "['[z-a]']", "bad.yaml:5: backup.sources.data"),
        ("options: {}", "options: {nonsense: 1}", "bad.yaml:11: backup.sinks.main"),
    ] {
        world.write("bad.yaml", &YAML.replace(from, to));
        world.run(&["--config", "bad.yaml", "config", "check"]).expect(1).says(expected);
    }
    for (from, to, expected) in [
        ("url: repo", "url: ''", "bad.yaml:12: backup.sinks.main.url: the place is empty"),
        (
            "      sources: [data]\n",
            "      sources: [data]\n      name: latest\n",
            "backup.pipelines.decube.name: `latest`",
        ),
        (
            "      sources: [data]\n",
            "      sources: [data]\n      name: ''\n",
            "backup.pipelines.decube.name: the name is empty",
        ),
        (
            "      sources: [data]\n",
            "      sources: [data]\n      tags: ['']\n",
            "backup.pipelines.decube.tags: an empty tag",
        ),
        (
            "retention: {keep_daily: 30}",
            "retention: [3]",
            "bad.yaml:22: backup.pipelines.decube.retention: keys and values",
        ),
        (
            "schedule: {full: '@daily'}",
            "schedule: []",
            "bad.yaml:23: backup.pipelines.decube.schedule: keys and values",
        ),
        ("password: hunter2", "password: 20351", "backup.sinks.secretive.password: a text is wanted here"),
    ] {
        world.write("bad.yaml", &YAML.replace(from, to));
        let answer = world.run(&["--config", "bad.yaml", "config", "check"]).expect(1);
        assert!(!answer.says(expected).err.contains("20351"), "{}", answer.err);
    }
    // Blank only once it is looked up: the repository is not the directory of the file.
    world.write("blank.yaml", &YAML.replace("url: repo", "url: \"${cmd:echo ' '}\""));
    let blank = world.run(&["--config", "blank.yaml", "run", "decube"]).expect(1);
    blank.says("the configured place is empty");
    let mut mistyped = world.program("decube-backup");
    mistyped.env("DECUBE_BACKUP__SINKS__MIAN__URL", "elsewhere").args(["--config", "conf.yaml", "config", "check"]);
    said(&mut mistyped).expect(1).says("DECUBE_BACKUP__SINKS__MIAN__URL").says("known sinks: main, secretive");
    world.run(&["--config", "none.yaml", "config", "check"]).expect(1).says("none.yaml");
    world.run(&["config", "check"]).expect(1).says("DECUBE_BACKUP_CONFIG");
}

#[test]
fn the_shipped_examples_are_right() {
    let world = World::new();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for example in std::fs::read_dir(examples).expect("examples") {
        let example = example.expect("entry").path();
        world.run(&["--config", example.to_str().expect("UTF-8"), "config", "check"]).expect(0);
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn the_published_schema_is_current() {
    let published = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.schema.json");
    let schema = World::new().run(&["config", "schema"]).expect(0).out;
    let told = "renew it: decube-backup config schema > docs/config.schema.json";
    assert_eq!(std::fs::read_to_string(published).expect("published"), schema, "{told}");
}

#[test]
fn a_variable_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let world = world();
    let mut command = world.program("decube-backup");
    command.env("DECUBE_BACKUP__SINKS__MAIN__URL", std::ffi::OsStr::from_bytes(b"\xff"));
    let said = said(command.args(["--config", "conf.yaml", "config", "check"])).expect(1);
    said.says("environment variable is not UTF-8 name=DECUBE_BACKUP__SINKS__MAIN__URL");
}

#[test]
fn a_link_that_leads_nowhere_is_no_configuration_and_told() {
    let world = world();
    std::fs::create_dir_all(world.path("home/.config/decube-backup")).expect("made");
    let place = world.path("home/.config/decube-backup/config.yaml");
    std::os::unix::fs::symlink("../../gone.yaml", &place).expect("link");
    let told =
        format!("warning: no configuration is read at {}: it is a symbolic link that leads nowhere", place.display());
    world.run(&["config", "check"]).expect(1).says(&told).says("no configuration file is given");
    // Where none is needed nothing is said.
    assert_eq!(world.run(&["snapshots"]).expect(0).err, "");
}
