//! `run`, asked to stop between two of its parts.

use crate::world::World;
use assert_cmd::cargo::cargo_bin;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const YAML: &str = "\
backup:
  sources:
    first: {paths: [src]}
    second: {paths: [src/a]}
  sinks:
    main: {url: repo, key_file: key}
  pipelines:
    a:
      sources: [first, second]
      sink: main
      retention: {keep_last: 1}
    b:
      sources: [second]
      sink: main
";

fn first_snapshot_is_there(world: &World) -> bool {
    world.run(&["snapshots", "-q", "--json", "--no-cache"]).json()[0].as_array().is_some_and(|all| all.len() == 1)
}

#[test]
fn what_was_not_begun_is_named_and_no_success() {
    let world = World::with_repository();
    world.write("conf.yaml", YAML);
    // A full pipe: after its first snapshot the program waits until somebody reads what it says of it.
    let (mut reader, mut writer) = std::io::pipe().expect("pipe");
    let full = rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("size");
    writer.write_all(&vec![b'\n'; full]).expect("filled");
    let mut command = Command::new(cargo_bin("decube-backup"));
    command.env_clear().current_dir(world.path("")).args(["--config", "conf.yaml", "--json", "run"]);
    command.env("HOME", world.path("home")).stdout(writer).stderr(Stdio::piped()).stdin(Stdio::null());
    let mut running = command.spawn().expect("started");
    drop(command);
    let mut looks = (0..3000).inspect(|_| std::thread::sleep(Duration::from_millis(20)));
    assert!(looks.any(|_| first_snapshot_is_there(&world)), "no snapshot is made");
    kill_process(Pid::from_child(&running), Signal::TERM).expect("signalled");
    let mut out = String::new();
    reader.read_to_string(&mut out).expect("read");
    let mut err = String::new();
    running.stderr.take().expect("piped").read_to_string(&mut err).expect("read");
    let code = running.wait().expect("ended").code();
    assert_eq!(code, Some(130), "{out}\n{err}");
    assert!(err.contains("not begun: a: second, a: (retention), b: second"), "{err}");
    let summary = out.lines().rfind(|line| line.contains("run_summary")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(summary).expect("JSON");
    let ended: Vec<_> = summary["results"].as_array().expect("list").iter().map(|line| &line["exit_code"]).collect();
    assert_eq!(ended, [0, 130, 130, 130], "{out}");
    assert_eq!(world.run(&["snapshots", "--json"]).expect(0).json()[0].as_array().expect("list").len(), 1);
}
