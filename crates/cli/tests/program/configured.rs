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
    partly:
      sources: [logs, data]
      sink: main
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
    run(&["run", "decube"]).expect(0).says("not executed by this version: retention");
    let listed = run(&["-r", "@main", "snapshots", "--json"]).expect(0).json();
    let snapshot = &listed[0][0];
    let told = ["name", "component", "pipeline", "hostname"].map(|key| snapshot[key].as_str().unwrap_or_default());
    assert_eq!(told, ["decube-data", "data", "decube", "testhost"]);
    assert_eq!(snapshot["labels"]["tier"], "gold");
    assert!(!run(&["-r", "@main", "ls", "-R", "latest"]).expect(0).out.contains("big.bin"));
    run(&["run"]).expect(3).says("partly    logs");
    run(&["run", "nothing"]).expect(1).says("configured pipelines: decube, partly");
    run(&["explain-exclude", "src/big.bin", "--configured", "data"]).expect(0).says("excluded");
}

#[test]
fn configurations_are_checked_and_shown() {
    let world = world();
    world.run(&["--config", "conf.yaml", "config", "check"]).expect(0).says("2 sources, 2 sinks, 2 pipelines");
    let shown = world.run(&["--config", "conf.yaml", "config", "show", "--origin"]).expect(0);
    shown.says("conf.yaml:11").says("backup.pipelines.decube.name").says("default");
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
        ("labels:", "lables:", "bad.yaml:19: backup.pipelines.decube.lables: unknown field"),
        ("sources: [data]", "sources: [date]", "bad.yaml:17: backup.pipelines.decube.sources.0: there is no source"),
        ("['*.bin']", "['[z-a]']", "bad.yaml:5: backup.sources.data"),
        ("options: {}", "options: {nonsense: 1}", "bad.yaml:10: backup.sinks.main"),
    ] {
        world.write("bad.yaml", &YAML.replace(from, to));
        world.run(&["--config", "bad.yaml", "config", "check"]).expect(1).says(expected);
    }
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
