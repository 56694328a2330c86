//! A repository, a tree and the programs, in a folder of their own.

use assert_cmd::Command;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// The user that owns nothing.
pub const NOBODY: u32 = 65_534;

/// A password-protected repository place and a small tree.
pub struct World {
    folder: tempfile::TempDir,
    key: PathBuf,
}

/// What a program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl World {
    /// A tree `src` and no repository yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let world = Self { key: folder.path().join("key"), folder };
        world.write("src/a/one.txt", "one\n");
        world.write("src/a/two.rs", "fn two() {}\n");
        world.write("src/big.bin", &"0123456789abcdef".repeat(20_000));
        std::os::unix::fs::symlink("one.txt", world.path("src/a/link")).expect("link");
        world
    }

    /// The same with a repository that a key file opens: nothing is spent on passwords.
    pub fn with_repository() -> Self {
        let world = Self::new();
        world.run(&["key", "generate", &world.shown("key")]).expect(0);
        world.run(&["init"]).expect(0);
        world
    }

    /// With a repository whose password is `right`, as the file `password` says.
    pub fn with_password() -> Self {
        let world = Self::new();
        world.write("password", "right\n");
        world.run(&["init", "--password-file", "password"]).expect(0);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn shown(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("directory");
        std::fs::write(path, content).expect("written");
    }

    /// A program that finds nothing of the user's own surroundings.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::cargo_bin(name).expect("built");
        command.env_clear().current_dir(self.folder.path());
        command.env("HOME", self.path("home")).env("DECUBE_BACKUP_REPOSITORY", self.path("repo"));
        if self.key.exists() {
            command.env("DECUBE_BACKUP_KEY_FILE", &self.key);
        }
        command
    }

    /// Runs `decube-backup` as somebody whom modes bind: `nobody`, if the tests run as root.
    pub fn run_as_ordinary_user(&self, args: &[&str]) -> Said {
        let probe = self.path("probe");
        std::fs::write(&probe, "").expect("written");
        let uid = std::fs::metadata(&probe).expect("there").uid();
        // Given away below, it would say the next time that nobody runs the tests.
        std::fs::remove_file(&probe).expect("removed");
        if uid != 0 {
            return self.run(args);
        }
        // The program itself may lie where only root looks. Copied by another process: a file that is still open
        // for writing in a child some other test is just starting cannot be executed.
        let program = self.path("program");
        let mut copy = std::process::Command::new("cp");
        assert!(copy.arg(assert_cmd::cargo::cargo_bin("decube-backup")).arg(&program).status().expect("ran").success());
        give_away(self.folder.path());
        let mut command = std::process::Command::new(program);
        command.uid(NOBODY).gid(NOBODY).env_clear().current_dir(self.folder.path()).args(args);
        command.env("HOME", self.path("home")).env("DECUBE_BACKUP_REPOSITORY", self.path("repo"));
        command.env("DECUBE_BACKUP_KEY_FILE", &self.key);
        said(&mut Command::from_std(command))
    }

    /// Runs `decube-backup` under the `limit` that the shell's `ulimit` sets.
    pub fn run_limited(&self, limit: &str, args: &[&str]) -> Said {
        let unlimited = self.program("decube-backup");
        let variables = unlimited.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut limited = Command::new("sh");
        limited.env_clear().envs(variables).current_dir(self.path(""));
        limited.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]).arg(unlimited.get_program()).args(args);
        said(&mut limited)
    }

    /// Runs `decube-backup`.
    pub fn run(&self, args: &[&str]) -> Said {
        said(self.program("decube-backup").args(args))
    }
}

fn give_away(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).expect("owner");
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).expect("directory") {
            give_away(&entry.expect("entry").path());
        }
    }
}

pub fn said(command: &mut Command) -> Said {
    let output = command.output().expect("ran");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

impl Said {
    /// Fails with everything that was said unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Every line of stdout as JSON.
    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// The line of stdout whose `message_type` is `summary`.
    pub fn summary(&self) -> Value {
        let mut summaries = self.json().into_iter().filter(|line| line["message_type"] == "summary");
        summaries.next_back().expect("a summary")
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.out.contains(text) || self.err.contains(text), "{text:?} in\n{}\n{}", self.out, self.err);
        self
    }
}

/// Content of every file below `root` by its relative path.
pub fn contents(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            found.push((name, std::fs::read(&path).expect("read")));
        }
    }
    found.sort();
    found
}
