//! `demo`: the main job on real data, shown step by step.
//!
//! Builds the release binary, makes an encrypted repository, backs up the workspace, a sample of awkward
//! files and the folders given; changes the sample; backs up again; lists; restores everything to a new
//! folder; compares byte for byte and attribute for attribute; verifies. Nothing that was given is written to.

mod sample;

use crate::Result;
use crate::compare::{Depth, differences};
use crate::flags::Flags;
use crate::host::{self, Watch};
use decube_backup_backend_fs::compare::{CompareOptions, Difference, compare_trees};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Left out of the workspace, in backup and comparison alike: what Cargo builds is large, and changes while it runs.
const LEFT_OUT: [&str; 2] = ["target", "fuzz/target"];

/// "Done, but something could not be read or restored": shown, and judged by the comparison.
const EXIT_WITH_PROBLEMS: i32 = 3;

pub(crate) fn run(arguments: Vec<String>) -> Result {
    let mut flags = Flags::new(arguments);
    let keep = flags.is_set("--keep");
    let below = flags.value("--dir")?.map_or_else(std::env::temp_dir, PathBuf::from).canonicalize()?;
    let given = flags.rest()?;
    let root = host::workspace_root()?;

    let mut scratch = tempfile::Builder::new().prefix("decube-demo-").tempdir_in(below)?;
    scratch.disable_cleanup(keep);
    let sample = scratch.path().join("sample");
    let mut sources = vec![root.clone(), sample.clone()];
    for folder in given {
        let folder = Path::new(&folder).canonicalize().map_err(|e| format!("{folder}: {e}"))?;
        if scratch.path().starts_with(&folder) {
            return Err(format!("{} holds the demo's own folder; choose another by --dir", folder.display()).into());
        }
        sources.push(folder);
    }

    title("Build");
    let watch = Watch::start();
    let binary = host::release_binary(&root)?;
    println!("{} in {}", binary.display(), host::seconds(watch.elapsed()));

    let demo = Demo { root, binary, scratch: scratch.path().to_owned() };
    let differences = demo.play(&sources, &sample)?;
    if keep {
        println!("\nkept: {}", scratch.path().display());
    }
    if differences == 0 { Ok(()) } else { Err(format!("{differences} differences").into()) }
}

struct Demo {
    root: PathBuf,
    binary: PathBuf,
    scratch: PathBuf,
}

impl Demo {
    fn play(&self, sources: &[PathBuf], sample: &Path) -> Result<usize> {
        sample::create(sample)?;
        title("Sources");
        let mut source_bytes = 0;
        for source in sources {
            let left_out: Vec<PathBuf> = self.left_out(source).iter().map(|path| source.join(path)).collect();
            let (files, bytes) = host::tree_size(source, &left_out)?;
            source_bytes += bytes;
            println!("{:>10}  {files:>7} files  {}", host::mib(bytes), source.display());
        }
        println!("Left out of the workspace: {}", LEFT_OUT.join(", "));

        title("Make an encrypted repository");
        self.step(&["init".into()])?;

        title("First backup");
        let first = self.backup(sources)?;
        let size_after_first = self.repository_bytes()?;

        title("Change something, back up again");
        sample::change(sample)?;
        let second = self.backup(sources)?;
        let size_after_second = self.repository_bytes()?;

        title("List");
        self.step(&["snapshots".into()])?;
        let listed = self.output(&["ls".into(), "-R".into(), "latest".into()])?;
        println!("{} entries listed", listed.lines().count());

        title("Restore to a new folder");
        let mut restored = Vec::new();
        let watch = Watch::start();
        for (number, source) in sources.iter().enumerate() {
            let goal = self.scratch.join(format!("restored-{number}"));
            let selector = format!("latest:{}", source.display());
            self.step(&["restore".into(), selector, "-t".into(), goal.display().to_string()])?;
            restored.push(goal);
        }
        let restore = watch.elapsed();

        title("Compare, byte for byte and attribute for attribute");
        let mut count = 0;
        for (source, goal) in sources.iter().zip(&restored) {
            let found = judge_twice(source, goal, self.left_out(source))?;
            println!("{:>6} differences  {}", found.len(), source.display());
            found.iter().take(20).for_each(|difference| println!("        {difference}"));
            count += found.len();
        }

        title("Verify: read, decrypt and check everything");
        let verify = self.step(&["verify".into(), "--read-data".into()])?;
        self.step(&["stats".into()])?;

        title("Summary");
        let rate = |time: Duration| source_bytes as f64 / f64::from(1 << 20) / time.as_secs_f64().max(0.001);
        println!("source            {:>12}", host::mib(source_bytes));
        println!("repository        {:>12}  after the first backup", host::mib(size_after_first));
        println!(
            "                  {:>12}  more after the second",
            host::mib(size_after_second.saturating_sub(size_after_first))
        );
        println!("first backup      {:>12}  {:.0} MiB/s", host::seconds(first), rate(first));
        println!("second backup     {:>12}", host::seconds(second));
        println!("restore           {:>12}  {:.0} MiB/s", host::seconds(restore), rate(restore));
        println!("verify            {:>12}  {:.0} MiB/s", host::seconds(verify), rate(verify));
        println!("differences       {count:>12}");
        Ok(count)
    }

    fn left_out(&self, source: &Path) -> &'static [&'static str] {
        if source == self.root { &LEFT_OUT } else { &[] }
    }

    fn backup(&self, sources: &[PathBuf]) -> Result<Duration> {
        let mut arguments = vec!["backup".to_owned()];
        arguments.extend(sources.iter().map(|source| source.display().to_string()));
        arguments.extend(["--name", "demo"].map(str::to_owned));
        for path in LEFT_OUT {
            arguments.extend(["--exclude".to_owned(), self.root.join(path).display().to_string()]);
        }
        self.step(&arguments)
    }

    /// Runs one command, shown as one would type it, with its output and time.
    fn step(&self, arguments: &[String]) -> Result<Duration> {
        println!("$ decube-backup {}", arguments.join(" "));
        let watch = Watch::start();
        let status = self.command(arguments).status()?;
        let time = watch.elapsed();
        match status.code() {
            Some(0) => println!("  {}", host::seconds(time)),
            Some(EXIT_WITH_PROBLEMS) => println!("  {}, with problems (see above)", host::seconds(time)),
            _ => return Err(format!("decube-backup {}: {status}", arguments.join(" ")).into()),
        }
        Ok(time)
    }

    fn output(&self, arguments: &[String]) -> Result<String> {
        println!("$ decube-backup {}", arguments.join(" "));
        host::run_quietly(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("-r").arg(self.repository()).args(arguments).stdin(Stdio::null());
        command.env("DECUBE_BACKUP_PASSWORD", "demo").env("DECUBE_BACKUP_CACHE_DIR", self.scratch.join("cache"));
        command
    }

    fn repository(&self) -> PathBuf {
        self.scratch.join("repository")
    }

    fn repository_bytes(&self) -> Result<u64> {
        let (objects, bytes) = host::tree_size(&self.repository(), &[])?;
        println!("repository: {objects} objects, {}", host::mib(bytes));
        Ok(bytes)
    }
}

/// The file-system backend's own comparison knows every attribute; the other one shares no code with the
/// program, so that an attribute the program cannot see is missed by one of them only.
fn judge_twice(source: &Path, goal: &Path, left_out: &[&str]) -> Result<Vec<String>> {
    let mut found = differences(source, goal, Depth::Attributes, left_out)?;
    let is_left_out = |difference: &Difference| {
        let path = Path::new(OsStr::from_bytes(difference.path.as_bytes()));
        left_out.iter().any(|left_out| path.starts_with(left_out))
    };
    let own = compare_trees(source, goal, CompareOptions::default())?;
    found.extend(own.iter().filter(|difference| !is_left_out(difference)).map(ToString::to_string));
    Ok(found)
}

fn title(text: &str) {
    println!("\n── {text}");
}
