//! Measures one process: wall and processor time, peak memory.
//!
//! GNU time reports all of it exactly where it is installed. Without it `/proc` is polled: the counters
//! of an ended process stay readable until it is waited for, its peak memory only until just before, so the
//! latter is then a lower bound.

use crate::Result;
use crate::host::{self, Watch};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What one command took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) wall_s: f64,
    /// User and system.
    pub(super) cpu_s: f64,
    pub(super) rss_mib: f64,
}

impl Cost {
    /// Counts a later command in: times add up, peaks do not.
    pub(super) fn add(&mut self, more: &Self) {
        self.wall_s += more.wall_s;
        self.cpu_s += more.cpu_s;
        self.rss_mib = self.rss_mib.max(more.rss_mib);
    }
}

const GNU_TIME: &str = "/usr/bin/time";
const POLL: Duration = Duration::from_millis(1);
/// `USER_HZ`: fixed by the Linux user-space interface, whatever the kernel's own tick is.
const TICKS_PER_S: f64 = 100.0;

/// Runs `command`; what it says goes to `log`, what it outputs nowhere.
///
/// # Errors
/// It cannot be started, or ends with anything but success; the error carries the end of the log.
pub(super) fn run(command: &Command, log: &Path) -> Result<Cost> {
    let report = log.with_extension("time");
    let with_gnu_time = Path::new(GNU_TIME).is_file();
    let mut wrapped = if with_gnu_time {
        let mut time = Command::new(GNU_TIME);
        time.args(["-q", "-f", "%U %S %M", "-o"]).arg(&report).arg(command.get_program());
        time
    } else {
        Command::new(command.get_program())
    };
    wrapped.args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(log)?);

    let watch = Watch::start();
    let mut child = wrapped.spawn().map_err(|e| format!("cannot start {}: {e}", host::show(command)))?;
    let mut cost = Cost::default();
    if !with_gnu_time {
        cost = poll(child.id());
    }
    let status = child.wait()?;
    cost.wall_s = watch.elapsed().as_secs_f64();
    if !status.success() {
        let said = fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<&str> = said.lines().rev().take(8).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        return Err(format!("{}: {status}\n{tail}", host::show(command)).into());
    }
    if with_gnu_time {
        let text = fs::read_to_string(&report)?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [user, system, rss_kib] = numbers[..] else { return Err(format!("GNU time said {text:?}").into()) };
        cost.cpu_s = user + system;
        cost.rss_mib = rss_kib / 1024.0;
    }
    Ok(cost)
}

/// Watches process `id` until it ends, and leaves it to be waited for.
fn poll(id: u32) -> Cost {
    let mut cost = Cost::default();
    loop {
        let Some((ended, cpu_s)) = fs::read_to_string(format!("/proc/{id}/stat")).ok().and_then(|s| parse_stat(&s))
        else {
            return cost;
        };
        cost.cpu_s = cpu_s;
        if ended {
            return cost;
        }
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
        cost.rss_mib = cost.rss_mib.max(kib.unwrap_or_default() / 1024.0);
        std::thread::sleep(POLL);
    }
}

/// Whether the process has ended, and its processor seconds so far, from `/proc/PID/stat`.
fn parse_stat(stat: &str) -> Option<(bool, f64)> {
    // The name in parentheses may hold anything, blanks and parentheses included: start behind the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    Some((matches!(*fields.first()?, "Z" | "X"), (ticks(11)? + ticks(12)?) / TICKS_PER_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_odd_names_are_read() {
        let line = "77 (a ) b) Z 1 77 77 0 -1 4 0 0 0 0 150 50 0 0 20 0 1 0";
        assert_eq!(parse_stat(line), Some((true, 2.0)));
        assert_eq!(parse_stat("77 (x"), None);
    }

    #[test]
    fn a_failing_command_is_an_error_with_its_last_words() {
        let scratch = tempfile::tempdir().expect("a folder");
        let log = scratch.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck >&2; exit 3"]);
        let error = run(&command, &log).expect_err("exit code 3").to_string();
        assert!(error.contains("no such luck"), "{error}");
        let mut command = Command::new("sh");
        command.args(["-c", "exit 0"]);
        assert!(run(&command, &log).expect("success").wall_s > 0.0);
    }
}
