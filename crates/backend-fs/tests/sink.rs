//! The file system sink against the conformance suite, other processes, kill, and broken file systems.
//!
//! Its own harness: what this host cannot test shows as ignored, with the reason, never as passed.

mod hosts;

use decube_backup_backend_fs::sink::FsSink;
use decube_backup_core::sink::{ByteRange, PutMode, PutOutcome, Sink, SinkExt};
use decube_backup_core::{ErrorKind, Key, Rope};
use decube_backup_testkit::conformance::{Check, Options, Outcome, checks, run_check, skip_reason};
use hosts::{Mounted, child, run_children};
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Tested = Result<(), Failed>;

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("child") {
        return child(&args.collect::<Vec<_>>());
    }
    let root = rustix::process::geteuid().is_root();
    let mounts = hosts::can_mount();
    let mut trials: Vec<Trial> = checks().into_iter().map(conformance).collect();
    trials.extend([
        Trial::test("of_racing_processes_exactly_one_wins_each_name", racing_processes),
        Trial::test("a_killed_writer_leaves_only_whole_objects", killed_writers),
        Trial::test("leftovers_are_invisible_and_only_old_ones_removed", leftovers),
        Trial::test("a_missing_directory_reads_as_empty_and_is_made_private", missing_directory),
        Trial::test("foreign_files_are_not_objects", foreign_files),
        Trial::test("an_object_that_cannot_be_looked_at_hides_no_other_one", unlooked),
        Trial::test("a_name_through_or_onto_a_folder_is_refused", folders_in_the_way),
        needs(mounts, "a_full_file_system_says_what_was_kept", full_file_system),
        needs(mounts, "a_read_only_file_system_reads_and_says_so_on_write", read_only_file_system),
        needs(if root { Err("root may write anywhere") } else { Ok(()) }, "a_directory_without_permission", forbidden),
    ]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The trial, ignored with the reason where the host cannot give what it needs.
fn needs(host: Result<(), &'static str>, name: &str, run: fn() -> Tested) -> Trial {
    match host {
        Ok(()) => Trial::test(name, run),
        Err(reason) => Trial::test(name, run).with_kind(reason).with_ignored_flag(true),
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.expect("threads").block_on(work)
}

fn key(name: &str) -> Key {
    Key::new(name).expect("legal")
}

fn put(sink: &FsSink, name: &str, bytes: impl Into<Rope>, mode: PutMode) -> decube_backup_core::Result<PutOutcome> {
    on_runtime(sink.put(&key(name), bytes.into(), mode))
}

fn conformance(check: Check) -> Trial {
    let skipped = skip_reason(&FsSink::open("/nowhere").expect("a path"), &check);
    let trial = Trial::test(format!("conformance::{}", check.name), move || {
        let dir = tempfile::tempdir()?;
        let sink = Arc::new(FsSink::open(dir.path().join("repository"))?);
        let report = on_runtime(run_check(sink.clone(), &check, Options::default()));
        assert_eq!(report.outcome, Outcome::Passed);
        assert_eq!(report.leftovers, Vec::<String>::new());
        assert!(!sink.root().join("conformance").exists(), "empty folders stay behind");
        Ok(())
    });
    match skipped {
        None => trial,
        Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
    }
}

fn racing_processes() -> Tested {
    const ROUNDS: usize = 150;
    let dir = tempfile::tempdir()?;
    let wins = run_children("race", dir.path(), 4, &[ROUNDS.to_string()])?;
    assert_eq!(wins.iter().map(Vec::len).sum::<usize>(), ROUNDS, "one winner for each name");
    let sink = FsSink::open(dir.path())?;
    for (racer, name) in wins.iter().flatten().map(|line| line.split_once(' ').expect("racer and name")) {
        assert_eq!(&on_runtime(sink.get_existing(&key(name)))?[..], hosts::racer_bytes(racer), "{name}");
    }
    Ok(())
}

fn killed_writers() -> Tested {
    let dir = tempfile::tempdir()?;
    let sink = FsSink::open(dir.path())?;
    for round in 0..20 {
        hosts::run_and_kill("write", dir.path(), &round.to_string(), round)?;
        on_runtime(async {
            for meta in sink.list_sorted("").await? {
                let bytes = sink.get_existing(&meta.key).await?;
                assert_eq!(bytes, hosts::object_bytes(meta.key.as_str()), "{}", meta.key);
            }
            Ok::<_, decube_backup_core::Error>(())
        })?;
    }
    Ok(())
}

fn leftovers() -> Tested {
    let dir = tempfile::tempdir()?;
    let tmp = dir.path().join(".tmp");
    fs::create_dir(&tmp)?;
    for (name, hours) in [("1-old", 25u64), ("2-young", 23)] {
        let file = File::create(tmp.join(name))?;
        let written = file.metadata()?.modified()? - Duration::from_secs(hours * 3600);
        file.set_modified(written)?;
    }
    let sink = FsSink::open(dir.path())?;
    assert_eq!(on_runtime(sink.list_sorted(""))?, []);
    put(&sink, "a", "x", PutMode::CreateNew)?;
    let left: Vec<_> = fs::read_dir(&tmp)?.map(|entry| entry.map(|e| e.file_name())).collect::<Result<_, _>>()?;
    assert_eq!(left, ["2-young"]);
    assert_eq!(on_runtime(sink.list_sorted(""))?.len(), 1);
    Ok(())
}

fn missing_directory() -> Tested {
    let dir = tempfile::tempdir()?;
    let sink = FsSink::open(dir.path().join("not/yet"))?;
    assert_eq!(on_runtime(sink.get(&key("a"), ByteRange::Full))?, None);
    assert_eq!(on_runtime(sink.stat(&key("a")))?, None);
    assert_eq!(on_runtime(sink.list_sorted(""))?, []);
    on_runtime(sink.delete(&key("a")))?;
    assert!(!dir.path().join("not").exists(), "reading made something");
    put(&sink, "b/c", "x", PutMode::CreateNew)?;
    let mode = |path: &str| fs::metadata(sink.root().join(path)).map(|m| m.permissions().mode() & 0o7777);
    assert_eq!((mode("")?, mode("b")?, mode("b/c")?), (0o700, 0o700, 0o600));
    // The directory is taken away under an open sink.
    fs::remove_dir_all(sink.root())?;
    put(&sink, "b/d", "x", PutMode::Overwrite)?;
    assert_eq!(on_runtime(sink.list_sorted(""))?.len(), 1);
    Ok(())
}

fn foreign_files() -> Tested {
    let dir = tempfile::tempdir()?;
    let sink = FsSink::open(dir.path())?;
    for name in ["README", ".hidden", "lost+found", "core.1 (copy)"] {
        fs::write(dir.path().join(name), "x")?;
    }
    fs::create_dir(dir.path().join("Folder"))?;
    fs::write(dir.path().join("Folder/a"), "x")?;
    symlink("nowhere", dir.path().join("dangling"))?;
    symlink(".", dir.path().join("circle"))?;
    fs::create_dir(dir.path().join("elsewhere"))?;
    put(&sink, "elsewhere/a", "x", PutMode::CreateNew)?;
    symlink("elsewhere", dir.path().join("linked"))?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )?;
    let listed = on_runtime(sink.list_sorted("elsewhere"))?;
    assert_eq!(listed.len(), 1);
    let linked = on_runtime(sink.list_sorted("linked/"))?;
    assert_eq!(linked.iter().map(|m| m.key.as_str()).collect::<Vec<_>>(), ["linked/a"]);
    assert!(on_runtime(sink.list_sorted(""))?.iter().all(|m| m.key.as_str().ends_with("/a")));
    assert_eq!(on_runtime(sink.get(&key("dangling"), ByteRange::Full))?, None);
    let error = on_runtime(sink.get(&key("fifo"), ByteRange::Full)).expect_err("not an object");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    Ok(())
}

fn unlooked() -> Tested {
    let dir = tempfile::tempdir()?;
    let sink = FsSink::open(dir.path())?;
    for name in ["packs/a", "packs/c"] {
        put(&sink, name, "x", PutMode::CreateNew)?;
    }
    // As an inode that cannot be read: its name is there, and looking at it is an error.
    symlink("b", dir.path().join("packs/b"))?;
    let listed = on_runtime(sink.list_sorted("packs/"))?;
    let listed: Vec<_> = listed.iter().map(|object| (object.key.as_str(), object.len)).collect();
    assert_eq!(listed, [("packs/a", 1), ("packs/b", 0), ("packs/c", 1)]);
    assert_eq!(on_runtime(sink.stat(&key("packs/b"))).expect_err("not looked at").kind(), ErrorKind::Io);
    Ok(())
}

fn folders_in_the_way() -> Tested {
    let dir = tempfile::tempdir()?;
    let sink = FsSink::open(dir.path())?;
    put(&sink, "object", "x", PutMode::CreateNew)?;
    put(&sink, "folder/object", "x", PutMode::CreateNew)?;
    for mode in [PutMode::CreateNew, PutMode::Overwrite] {
        for name in ["folder", "object/inside", "object/inside/deeper"] {
            let error = put(&sink, name, "y", mode).expect_err("in the way");
            assert!(error.hint().is_some(), "{name} {error:?}");
        }
    }
    assert_eq!(on_runtime(sink.list_sorted(""))?.len(), 2);
    assert_eq!(fs::read_dir(dir.path().join(".tmp"))?.count(), 0);
    Ok(())
}

fn full_file_system() -> Tested {
    let mount = Mounted::tmpfs("size=1m")?;
    let sink = FsSink::open(mount.path())?;
    put(&sink, "kept", vec![1; 300_000], PutMode::CreateNew)?;
    for mode in [PutMode::CreateNew, PutMode::Overwrite] {
        let error = put(&sink, "large", vec![2; 2 << 20], mode).expect_err("full");
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("untouched")), "{error:?}");
        let error = put(&sink, "kept", vec![2; 2 << 20], PutMode::Overwrite).expect_err("full");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
    }
    assert_eq!(on_runtime(sink.get_existing(&key("kept")))?, vec![1; 300_000]);
    assert_eq!(fs::read_dir(mount.path().join(".tmp"))?.count(), 0, "the unfinished object takes room");
    put(&sink, "small", vec![3; 300_000], PutMode::CreateNew)?;
    assert_eq!(on_runtime(sink.list_sorted(""))?.len(), 2);
    Ok(())
}

fn read_only_file_system() -> Tested {
    let mount = Mounted::tmpfs("size=1m")?;
    let sink = FsSink::open(mount.path())?;
    put(&sink, "a", "x", PutMode::CreateNew)?;
    mount.remount_read_only()?;
    for sink in [sink, FsSink::open(mount.path())?] {
        assert_eq!(&on_runtime(sink.get_existing(&key("a")))?[..], b"x");
        assert_eq!(on_runtime(sink.list_sorted(""))?.len(), 1);
        assert_denied(put(&sink, "b", "x", PutMode::CreateNew));
        assert_denied(put(&sink, "a", "y", PutMode::Overwrite));
        assert_denied(on_runtime(sink.delete(&key("a"))));
    }
    Ok(())
}

fn forbidden() -> Tested {
    let dir = tempfile::tempdir()?;
    let sink = FsSink::open(dir.path().join("locked"))?;
    put(&sink, "a", "x", PutMode::CreateNew)?;
    let set_mode = |mode| fs::set_permissions(sink.root(), fs::Permissions::from_mode(mode));
    set_mode(0o500)?;
    let write = (put(&sink, "b", "x", PutMode::CreateNew), on_runtime(sink.delete(&key("a"))));
    set_mode(0)?;
    let read = (on_runtime(sink.get(&key("a"), ByteRange::Full)), on_runtime(sink.list_sorted("")));
    set_mode(0o700)?;
    assert_denied(write.0);
    assert_denied(write.1);
    assert_denied(read.0);
    assert_denied(read.1);
    Ok(())
}

fn assert_denied<T: std::fmt::Debug>(answer: decube_backup_core::Result<T>) {
    let error = answer.expect_err("denied");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
}

/// A sink on `dir` for a child process.
fn child_sink(dir: &Path) -> FsSink {
    FsSink::open(dir).expect("a path")
}

/// One put in a child process.
fn child_put(sink: &FsSink, name: &str, bytes: Rope) -> PutOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(sink.put(&key(name), bytes, PutMode::CreateNew)).expect("put")
}
