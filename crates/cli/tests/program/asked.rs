//! What a person at a terminal is asked.

use crate::world::{Said, World};
use rustix::termios::{Action, LocalModes, tcflow, tcgetattr};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// Runs `line` of a shell at a terminal.
fn terminal(world: &World, line: &str) -> Child {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", line, "/dev/null"]);
    command.env_remove("DECUBE_BACKUP_PASSWORD").env("DECUBE_BACKUP_REPOSITORY", world.path("repo"));
    command.env("HOME", world.path("home")).current_dir(world.path(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`script` of util-linux")
}

/// Runs `decube-backup` at a terminal at which `lines` are typed.
fn at_terminal(world: &World, args: &str, lines: &str) -> Said {
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    let mut running = terminal(world, &format!("{} {args}", program.display()));
    running.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("typed");
    let output = running.wait_with_output().expect("ran");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::new(),
    }
}

#[test]
fn a_mistyped_password_is_asked_for_again() {
    let world = World::with_password();
    let second = at_terminal(&world, "snapshots", "wrong\nright\n").expect(0);
    assert_eq!(second.out.matches("repository password: ").count(), 2, "{}", second.out);
    assert!(second.out.contains("type it again"), "{}", second.out);
    let never = at_terminal(&world, "snapshots", "one\ntwo\nthree\nright\n").expect(12);
    assert_eq!(never.out.matches("repository password: ").count(), 3, "{}", never.out);
    // What a file says does not change by asking again.
    world.write("password", "wrong\n");
    assert_eq!(world.run(&["snapshots", "--password-file", "password"]).expect(12).err.matches("error: ").count(), 1);
}

#[test]
fn a_control_character_is_never_left_out_of_a_password() {
    let world = World::new();
    // Nothing is set that nobody typed.
    let never = at_terminal(&world, "init", "a\x16\tb\na\x16\tb\na\x16\tb\n").expect(1);
    never.says("error: what was typed holds a control character").says("hint: a password that holds one");
    assert_eq!(
        (never.out.matches("password: ").count(), world.path("repo/format").exists()),
        (3, false),
        "{}",
        never.out
    );
    let second = at_terminal(&world, "init", "a\tb\nright\nright\n").expect(0);
    assert!(second.out.contains("type it again") && second.out.contains("again: "), "{}", second.out);
    world.write("password", "right\n");
    world.run(&["snapshots", "--password-file", "password"]).expect(0);
    // In a file it is part of the password.
    world.write("tabbed", "a\tb\n");
    world.run(&["key", "add", "--new-password-file", "tabbed", "--password-file", "password"]).expect(0);
    world.run(&["snapshots", "--password-file", "tabbed"]).expect(0);
    world.write("untabbed", "ab\n");
    world.run(&["snapshots", "--password-file", "untabbed"]).expect(12);
}

#[test]
fn an_input_that_ends_is_told_on_a_line_of_its_own() {
    let world = World::new();
    let ended = at_terminal(&world, "init", "\x04").expect(1);
    assert!(ended.out.contains("password: \r\nerror: "), "{:?}", ended.out);
}

/// Reads what is said until `text` is.
fn until(said: &mut String, running: &mut Child, text: &str) {
    let out = running.stdout.as_mut().expect("piped");
    let mut byte = [0];
    while !said.ends_with(text) {
        assert_ne!(out.read(&mut byte).expect("read"), 0, "no {text:?} in {said}");
        said.push(byte[0].into());
    }
}

fn pid(said: &str) -> String {
    said.split("pid=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a number").to_owned()
}

/// What is said when the prompt of `args` is ended by `interrupt`, which gets the program's process number and its terminal's
/// keyboard, with the state of the terminal afterwards.
fn interrupted(world: &World, args: &str, interrupt: impl FnOnce(&str, &mut dyn Write)) -> String {
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    // The shell outlives Ctrl-C, as that of a person does. Whoever runs the tests may ignore that a terminal hangs up (`nohup`).
    let inner = format!("echo pid=$$; exec env --default-signal=HUP {} {args}", program.display());
    let mut running = terminal(world, &format!("trap : INT; sh -c '{inner}'; echo code=$?; stty -a; echo end"));
    let mut said = String::new();
    until(&mut said, &mut running, "password: ");
    let mut keyboard = running.stdin.take().expect("piped");
    interrupt(&pid(&said), &mut keyboard);
    until(&mut said, &mut running, "end\r\n");
    drop(keyboard);
    assert!(running.wait().expect("ran").success(), "{said}");
    said
}

/// Sends `signal`; whether the program was still there.
fn send(pid: &str, signal: &str) -> bool {
    let sent = Command::new("kill").args([signal, pid]).stderr(Stdio::null()).status().expect("ran");
    sent.success()
}

#[test]
fn an_interrupted_prompt_leaves_the_terminal_as_it_was() {
    let world = World::with_password();
    // What is typed comes before a signal for sure only where that is typed too.
    let ctrl_c = |_: &str, keyboard: &mut dyn Write| keyboard.write_all(b"half of a pass\x03").expect("typed");
    let sigterm = |pid: &str, _: &mut dyn Write| assert!(send(pid, "-TERM"));
    let hang_up = |pid: &str, _: &mut dyn Write| assert!(send(pid, "-HUP"));
    // What only prints, and what already listens to signals when it asks; a password that exists, and one that is set.
    for args in ["snapshots", "backup src", "key add --password-file password"] {
        for said in
            [interrupted(&world, args, ctrl_c), interrupted(&world, args, sigterm), interrupted(&world, args, hang_up)]
        {
            assert!(said.contains("code=130"), "{args}: {said}");
            let (before, state) = said.split_once("code=130").expect("there");
            assert!(before.contains("hint: ") && !before.contains("half"), "{args}: {said}");
            for mode in [" echo ", " icanon ", " isig ", " -echonl ", "susp = ^Z", "quit = ^\\"] {
                assert!(state.replace("\r\n", " ").contains(mode), "{args}: {mode} in {state}");
            }
        }
    }
}

/// Two signals, of which the program sees the second before it can do anything about the first.
fn both_at_once(pid: &str, _: &mut dyn Write) {
    send(pid, "-STOP");
    let state = || std::fs::read_to_string(format!("/proc/{pid}/status")).expect("running");
    while !state().contains("State:\tT") {
        std::thread::yield_now();
    }
    ["-INT", "-TERM", "-CONT"].iter().for_each(|signal| assert!(send(pid, signal)));
}

/// One signal after the other until the program is gone, whose terminal takes no word meanwhile.
fn again_and_again(pid: &str, _: &mut dyn Write) {
    let terminal = std::fs::File::open(format!("/proc/{pid}/fd/0")).expect("the terminal");
    tcflow(&terminal, Action::OOff).expect("output is held");
    while send(pid, "-TERM") {}
    tcflow(&terminal, Action::OOn).expect("output goes on");
}

/// Of two pipelines the first backs up, and the second asks.
const TWO_PIPELINES: &str = "\
backup:
  sources: {data: {paths: [src]}}
  sinks: {known: {url: repo, password_file: password}, asked: {url: repo}}
  pipelines: {a: {sources: [data], sink: known}, b: {sources: [data], sink: asked}}
";

#[test]
fn a_second_signal_at_a_prompt_leaves_the_terminal_as_it_was() {
    let world = World::with_password();
    world.write("two.yaml", TWO_PIPELINES);
    // The last listens to signals already when it asks.
    for args in ["snapshots", "backup src", "key add --password-file password", "--config two.yaml run"] {
        for said in [interrupted(&world, args, both_at_once), interrupted(&world, args, again_and_again)] {
            let (_, state) = said.split_once("code=1").expect("130, or 143 where nobody listens to signals any more");
            assert!(state.replace("\r\n", " ").contains(" echo "), "{args}: {said}");
        }
    }
}

#[test]
fn a_signal_ends_a_prompt_that_a_held_terminal_does_not_show() {
    let world = World::with_password();
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    let inner = format!("echo pid=$$ ready; read line; exec {} snapshots", program.display());
    let mut running = terminal(&world, &format!("sh -c '{inner}'; stty -a; echo end"));
    let mut said = String::new();
    until(&mut said, &mut running, "ready\r\n");
    let pid = pid(&said);
    let terminal = std::fs::File::open(format!("/proc/{pid}/fd/0")).expect("the terminal");
    let echoes = || tcgetattr(&terminal).expect("a terminal").local_modes.contains(LocalModes::ECHO);
    tcflow(&terminal, Action::OOff).expect("output is held");
    let mut keyboard = running.stdin.take().expect("piped");
    keyboard.write_all(b"\n").expect("typed");
    while echoes() {
        std::thread::yield_now();
    }
    let ended = (0..1000).any(|_| !send(&pid, "-TERM"));
    tcflow(&terminal, Action::OOn).expect("output goes on");
    assert!(ended && echoes());
    until(&mut said, &mut running, "end\r\n");
    drop(keyboard);
    running.wait().expect("ran");
}

#[test]
fn one_signal_ends_a_prompt_after_which_the_terminal_was_held() {
    let world = World::with_password();
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    // What is said at the end goes to the terminal, or elsewhere.
    for (code, told) in [("code", ""), ("other", "2> told")] {
        let inner = format!("echo pid=$$; exec {} snapshots {told}", program.display());
        let mut running = terminal(&world, &format!("sh -c '{inner}'; echo $? > {code}; echo end"));
        let mut said = String::new();
        until(&mut said, &mut running, "password: ");
        let pid = pid(&said);
        let terminal = std::fs::File::open(format!("/proc/{pid}/fd/0")).expect("the terminal");
        tcflow(&terminal, Action::OOff).expect("output is held");
        send(&pid, "-TERM");
        let ended = (0..1000).any(|_| {
            // A look at the process costs some milliseconds: all of them are seconds.
            send(&pid, "-0");
            std::fs::read_to_string(world.path(code)).is_ok_and(|code| code == "130\n")
        });
        tcflow(&terminal, Action::OOn).expect("output goes on");
        assert!(ended, "{code}");
        until(&mut said, &mut running, "end\r\n");
        drop(running.stdin.take());
        running.wait().expect("ran");
    }
    assert!(std::fs::read_to_string(world.path("told")).expect("told").contains("interrupted while asking"));
}

#[test]
fn an_interrupted_run_does_not_say_that_nothing_was_changed() {
    let world = World::with_password();
    world.write("two.yaml", TWO_PIPELINES);
    let said = interrupted(&world, "--config two.yaml run", |_, keyboard| keyboard.write_all(b"\x03").expect("typed"));
    assert!(said.contains("hint: nothing of this pipeline was begun") && said.contains("code=130"), "{said}");
    assert!(!said.contains("nothing was changed"), "{said}");
    world.run(&["snapshots", "--password-file", "password"]).expect(0).says("1 snapshot");
}

#[test]
fn a_signal_ends_the_program_again_once_the_prompt_is_answered() {
    let world = World::with_password();
    world.run(&["backup", "src", "--password-file", "password"]).expect(0);
    // Dumping into a pipe of which one byte is read, it waits, and never asked to be told of signals.
    let program = assert_cmd::cargo::cargo_bin("decube-backup");
    let big = world.path("src/big.bin");
    let dump = format!("echo pid=$$ >&2; exec {} dump latest:{}", program.display(), big.display());
    let line = format!(
        "{{ sh -c '{dump}'; echo code=$? >&2; }} | {{ head -c 1 > /dev/null; echo got; read line; }}; echo end"
    );
    let mut running = terminal(&world, &line);
    let mut said = String::new();
    until(&mut said, &mut running, "password: ");
    let mut keyboard = running.stdin.take().expect("piped");
    keyboard.write_all(b"right\n").expect("typed");
    until(&mut said, &mut running, "got\r\n");
    assert!(send(&pid(&said), "-TERM"));
    keyboard.write_all(b"\n").expect("typed");
    until(&mut said, &mut running, "end\r\n");
    drop(keyboard);
    running.wait().expect("ran");
    assert!(said.contains("code=143"), "{said}");
}

#[test]
fn a_list_that_shows_no_more_than_the_way_says_how_to_see_the_rest() {
    let world = World::with_password();
    world.run(&["backup", "src", "-q", "--password-file", "password"]).expect(0);
    let hint = "hint: -R lists";
    at_terminal(&world, "ls latest --password-file password", "").expect(0).says(hint);
    let inside = format!("ls latest:{} --password-file password", world.shown("src"));
    for args in ["ls latest -R --password-file password", &inside] {
        let said = at_terminal(&world, args, "").expect(0);
        assert!(!said.out.contains(hint), "{}", said.out);
    }
    assert_eq!(world.run(&["ls", "latest", "--password-file", "password"]).expect(0).err, "");
}
