//! `prove`: the tests that search, searching longer than continuous integration lets them.

use crate::flags::Flags;
use crate::{Result, host};

/// Package and test targets that go on for as long as they are asked to.
const SEARCHES: [(&str, &[&str]); 2] =
    [("decube-backup-engine", &["protocol", "sequences"]), ("decube-backup-cli", &["processes"])];
/// How many times the usual number of cases and rounds.
const EFFORT: u32 = 20;

pub(crate) fn run(arguments: Vec<String>) -> Result {
    let mut flags = Flags::new(arguments);
    let effort: u32 = flags.parsed("--effort", EFFORT)?;
    let profile: &[&str] = if flags.is_set("--debug") { &[] } else { &["--release"] };
    flags.end()?;
    let root = host::workspace_root()?;
    for (package, targets) in SEARCHES {
        let mut command = host::cargo(&root, &["test", "--locked", "--package", package]);
        command.args(profile);
        for target in targets {
            command.args(["--test", target]);
        }
        command.args(["--", "--nocapture"]).env("DECUBE_BACKUP_EFFORT", effort.to_string());
        host::run_loudly(&mut command)?;
    }
    Ok(())
}
