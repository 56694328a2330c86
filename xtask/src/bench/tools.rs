//! What is measured: our binary, another build of it, and peers; one command line per operation.

use crate::Result;
use crate::host;
use std::path::{Path, PathBuf};
use std::process::Command;

const PASSWORD: &str = "correct horse battery staple";
const SNAPSHOT: &str = "bench";

/// The peers a bench knows how to drive, by the name of their program.
pub(super) const PEERS: [&str; 4] = ["restic", "rustic", "borg", "bupstash"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Ours,
    Restic,
    Rustic,
    Borg,
    Bupstash,
}

/// One program under measurement.
#[derive(Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    program: PathBuf,
    dialect: Dialect,
}

/// What a tool is asked to do; each is one process and one row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Init,
    Backup1,
    NoChange,
    Backup2,
    Snapshots,
    Restore,
    Verify,
}

impl Operation {
    /// Before the corpus changes.
    pub(super) const FIRST: [Self; 3] = [Self::Init, Self::Backup1, Self::NoChange];
    /// After it.
    pub(super) const SECOND: [Self; 4] = [Self::Backup2, Self::Snapshots, Self::Restore, Self::Verify];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup1 => "backup1",
            Self::NoChange => "nochange",
            Self::Backup2 => "backup2",
            Self::Snapshots => "snapshots",
            Self::Restore => "restore",
            Self::Verify => "verify",
        }
    }
}

/// The folders of one tool in one run.
pub(super) struct Place {
    pub(super) repository: PathBuf,
    pub(super) home: PathBuf,
    pub(super) restored: PathBuf,
}

impl Place {
    /// Below `home`, with its folders made.
    pub(super) fn new(home: &Path) -> Result<Self> {
        let place =
            Self { repository: home.join("repository"), restored: home.join("restored"), home: home.to_owned() };
        std::fs::create_dir_all(&place.repository)?;
        std::fs::create_dir_all(&place.restored)?;
        Ok(place)
    }

    /// The same repository again, with caches and settings of its own, in `home`. Files of the repository are shared as hard
    /// links: no tool that is compared here changes one in place.
    pub(super) fn copy(&self, home: &Path) -> Result<Self> {
        let copy = Self::new(home)?;
        for entry in std::fs::read_dir(&self.home)? {
            let from = entry?.path();
            let how = if from == self.repository { "--archive --link" } else { "--archive" };
            let mut cp = Command::new("cp");
            host::run_quietly(cp.args(how.split(' ')).arg(&from).arg(home))?;
        }
        Ok(copy)
    }

    /// Where a command's messages go.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }
}

impl Tool {
    pub(super) fn ours(name: &str, program: PathBuf) -> Self {
        Self { name: name.to_owned(), program, dialect: Dialect::Ours }
    }

    /// A peer found on PATH.
    ///
    /// # Errors
    /// Nobody taught the bench that name, or it is not installed.
    pub(super) fn peer(name: &str) -> Result<Self> {
        let dialect = match name {
            "restic" => Dialect::Restic,
            "rustic" => Dialect::Rustic,
            "borg" => Dialect::Borg,
            "bupstash" => Dialect::Bupstash,
            _ => return Err(format!("no such peer: {name}; known: {}", PEERS.join(", ")).into()),
        };
        let program = host::find_program(name).ok_or_else(|| format!("{name} is not on PATH"))?;
        Ok(Self { name: name.to_owned(), program, dialect })
    }

    /// The command line of `operation` on `source`, an absolute path.
    pub(super) fn command(&self, operation: Operation, source: &Path, place: &Place) -> Command {
        let (source, restored) = (source.display().to_string(), place.restored.display().to_string());
        let latest = format!("latest:{source}");
        let repository = place.repository.display().to_string();
        let label = operation.name();
        let line: Vec<&str> = match self.dialect {
            Dialect::Ours => match operation {
                Operation::Init => vec!["-r", &repository, "-q", "init"],
                Operation::Snapshots => vec!["-r", &repository, "-q", "snapshots"],
                Operation::Restore => vec!["-r", &repository, "-q", "restore", &latest, "-t", &restored],
                Operation::Verify => vec!["-r", &repository, "-q", "verify", "--read-data"],
                _ => vec!["-r", &repository, "-q", "backup", "--name", SNAPSHOT, &source],
            },
            Dialect::Restic => match operation {
                Operation::Init => vec!["init", "-q"],
                Operation::Snapshots => vec!["snapshots"],
                Operation::Restore => vec!["restore", "-q", "latest", "--target", &restored],
                Operation::Verify => vec!["check", "-q", "--read-data"],
                _ => vec!["backup", "-q", &source],
            },
            Dialect::Rustic => match operation {
                Operation::Init => vec!["init"],
                Operation::Snapshots => vec!["snapshots"],
                Operation::Restore => vec!["restore", &latest, &restored],
                Operation::Verify => vec!["check", "--read-data"],
                _ => vec!["backup", &source],
            },
            Dialect::Borg => match operation {
                Operation::Init => vec!["init", "-e", "repokey", &repository],
                Operation::Snapshots => vec!["list"],
                Operation::Restore => vec!["extract", "::backup2"],
                Operation::Verify => vec!["check", "--verify-data"],
                // zstd 3 is what the others use; borg's own default is faster and larger.
                _ => vec!["create", "-C", "zstd,3", "::{label}", &source],
            },
            Dialect::Bupstash => match operation {
                Operation::Init => vec!["init"],
                Operation::Snapshots => vec!["list"],
                Operation::Restore => vec!["restore", "-q", "--into", &restored, "name=backup2"],
                Operation::Verify => vec!["get", "-q", "name=backup2"], // it has no check: reads all of one item
                _ => vec!["put", "-q", "name={label}", &source],
            },
        };
        let line: Vec<String> = line.iter().map(|argument| argument.replace("{label}", label)).collect();
        self.line(&line, place)
    }

    fn line(&self, line: &[impl AsRef<std::ffi::OsStr>], place: &Place) -> Command {
        let mut command = Command::new(&self.program);
        command.args(line);
        // Borg unpacks into the current folder; nobody else minds.
        command.current_dir(&place.restored);
        self.environment(&mut command, place);
        command
    }

    /// Whether a prune of this tool keeps the newest few snapshots and is told how much unused space may stay, so that it can
    /// be compared.
    pub(super) fn can_prune(&self) -> bool {
        matches!(self.dialect, Dialect::Ours | Dialect::Restic | Dialect::Rustic)
    }

    /// Drops all but the newest `keep` snapshots and frees what only they used, but for `unused` percent of what stays; empty
    /// if it cannot.
    pub(super) fn prune(&self, keep: usize, unused: u32, place: &Place) -> Vec<Command> {
        let (keep, repository) = (keep.to_string(), place.repository.display().to_string());
        let ours = ["-r", &repository, "-q"];
        let unused = format!("{unused}%");
        let lines: Vec<Vec<&str>> = match self.dialect {
            Dialect::Ours => vec![
                [&ours[..], &["forget", "--name", SNAPSHOT, "--keep-last", &keep, "--allow-share", "100"]].concat(),
                [&ours[..], &["prune", "--max-unused", &unused]].concat(),
            ],
            Dialect::Restic => vec![vec!["forget", "-q", "--keep-last", &keep, "--prune", "--max-unused", &unused]],
            // By default it stops after a tenth of the repository.
            Dialect::Rustic => {
                let prune = ["--prune", "--instant-delete", "--max-repack", "unlimited", "--max-unused", &unused];
                vec![[&["forget", "--keep-last", &keep][..], &prune].concat()]
            }
            Dialect::Borg | Dialect::Bupstash => Vec::new(),
        };
        lines.iter().map(|line| self.line(line, place)).collect()
    }

    /// What must happen outside the measured time before the first operation.
    pub(super) fn prepare(&self, place: &Place) -> Result {
        if self.dialect == Dialect::Bupstash {
            let mut key = Command::new(&self.program);
            host::run_quietly(key.arg("new-key").arg("-o").arg(place.home.join("key")))?;
        }
        Ok(())
    }

    fn environment(&self, command: &mut Command, place: &Place) {
        let cache = place.home.join("cache");
        command.env("HOME", &place.home).env("XDG_CACHE_HOME", &cache);
        match self.dialect {
            Dialect::Ours => {
                command.env("DECUBE_BACKUP_PASSWORD", PASSWORD).env("DECUBE_BACKUP_CACHE_DIR", &cache);
            }
            Dialect::Restic => {
                command.env("RESTIC_REPOSITORY", &place.repository).env("RESTIC_PASSWORD", PASSWORD);
                command.env("RESTIC_CACHE_DIR", &cache);
            }
            Dialect::Rustic => {
                command.env("RUSTIC_REPOSITORY", &place.repository).env("RUSTIC_PASSWORD", PASSWORD);
                command.env("RUSTIC_CACHE_DIR", &cache).env("RUSTIC_NO_PROGRESS", "true");
            }
            Dialect::Borg => {
                command.env("BORG_REPO", &place.repository).env("BORG_PASSPHRASE", PASSWORD);
                command.env("BORG_BASE_DIR", &place.home);
            }
            Dialect::Bupstash => {
                command.env("BUPSTASH_REPOSITORY", place.repository.join("r"));
                command.env("BUPSTASH_KEY", place.home.join("key"));
            }
        }
    }

    /// Where `source`'s content appears after a restore.
    pub(super) fn restored(&self, source: &Path, place: &Place) -> PathBuf {
        match self.dialect {
            Dialect::Restic | Dialect::Borg => place.restored.join(source.strip_prefix("/").unwrap_or(source)),
            Dialect::Ours | Dialect::Rustic | Dialect::Bupstash => place.restored.clone(),
        }
    }
}
