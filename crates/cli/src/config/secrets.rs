//! References to secrets, resolved at the moment of use: `${env:NAME}`, `${file:PATH}`, `${cmd:COMMAND}`.

use crate::config::model::SinkConfig;
use crate::{secret_bytes, surroundings};
use decube_backup_core::{Error, ErrorKind, Result};
use serde_json::Value;
use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
    File(&'a str),
    Command(&'a str),
}

/// Whether `text` is well-formed; nothing is looked up.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub(super) fn check(text: &str) -> Result<()> {
    parts(text).map(drop)
}

/// Whether `text` is nothing but references: it may be shown as it is.
pub(super) fn is_reference(text: &str) -> bool {
    parts(text).is_ok_and(|parts| !parts.is_empty() && parts.iter().all(|part| !matches!(part, Part::Text(_))))
}

/// Whether opening `sink` needs a reference resolved: a check shall run no commands.
pub(crate) fn has_references(sink: &SinkConfig) -> bool {
    fn within(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains("${"),
            Value::Array(items) => items.iter().any(within),
            Value::Object(map) => map.values().any(within),
            _ => false,
        }
    }
    sink.url.contains("${") || sink.options.values().any(within)
}

/// `text` with every reference replaced; relative files count from `directory`.
///
/// # Errors
/// `Invalid` for an unset variable or failing command, what reading the file yields.
pub(crate) fn resolve(text: &str, directory: &Path) -> Result<String> {
    let mut resolved = String::new();
    for part in parts(text)? {
        match part {
            Part::Text(text) => resolved.push_str(text),
            Part::Variable(name) => {
                let value = surroundings::text(name)?.ok_or_else(|| {
                    Error::new(ErrorKind::Invalid, "config", "environment variable is not set").with("name", name)
                })?;
                resolved.push_str(&value);
            }
            Part::File(file) => resolved.push_str(&first_line_of_file(&directory.join(file))?),
            Part::Command(command) => resolved.push_str(&first_line_of_command(command)?),
        }
    }
    Ok(resolved)
}

fn parts(text: &str) -> Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let invalid = |message| Error::new(ErrorKind::Invalid, "config", message);
        let end = match after.starts_with("cmd:") {
            true => {
                closing(after).ok_or_else(|| invalid("`${cmd:` without its `}`: braces in a command come in pairs"))?
            }
            false => after.find('}').ok_or_else(|| invalid("`${` without `}`"))?,
        };
        let (inner, behind) = (after.get(..end).unwrap_or(after), after.get(end + 1..).unwrap_or_default());
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(match inner.split_once(':') {
            Some(("env", name)) => Part::Variable(name),
            Some(("file", path)) => Part::File(path),
            Some(("cmd", command)) => Part::Command(command),
            _ => return Err(invalid("references are ${env:NAME}, ${file:PATH} and ${cmd:COMMAND}")),
        });
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// Where the brace stands that closes what was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1u32;
    let mut braces = text.match_indices(['{', '}']);
    braces.find_map(|(at, brace)| {
        open = if brace == "{" { open + 1 } else { open - 1 };
        (open == 0).then_some(at)
    })
}

/// The first line of a file.
///
/// # Errors
/// The file cannot be read, is not UTF-8 or has an empty first line.
pub(crate) fn first_line_of_file(file: &Path) -> Result<String> {
    let text = File::open(file)
        .and_then(secret_bytes::text)
        .map_err(|e| Error::io("secret", "cannot read the secret's file", e).with("file", file.display()))?;
    first_line(&text).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "secret", "the secret's file is empty").with("file", file.display())
    })
}

/// The first line a shell command prints.
///
/// # Errors
/// The command fails or prints nothing.
pub(crate) fn first_line_of_command(command: &str) -> Result<String> {
    let unrunnable = |e| Error::io("secret", "cannot run the secret's command", e);
    let mut running = Command::new("/bin/sh")
        .args(["-c", command])
        // What is piped in is somebody else's: content to back up.
        .stdin(if std::io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(unrunnable)?;
    let failed = |message| Error::new(ErrorKind::Invalid, "secret", message).with("command", format!("{command:?}"));
    let printed = running.stdout.take().map(secret_bytes::read).transpose();
    if printed.is_err() {
        // It may go on for ever; if it has ended, there is nothing to end.
        let _ = running.kill();
    }
    let status = running.wait().map_err(unrunnable)?;
    let printed = printed
        .map_err(|e| failed("what the secret's command prints cannot be read").with_source(e))?
        .unwrap_or_default();
    if !status.success() {
        return Err(failed("the secret's command failed").with("status", status));
    }
    let text = std::str::from_utf8(&printed).map_err(|_| failed("the secret's command printed no UTF-8"))?;
    first_line(text).ok_or_else(|| failed("the secret's command printed nothing"))
}

fn first_line(text: &str) -> Option<String> {
    text.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_where_they_stand() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("s"), "s3cret\nmore\n").expect("written");
        let cases = [("plain", "plain"), ("a${file:s}b", "as3cretb"), ("${cmd:echo x; echo y}", "x")];
        let in_pairs = [
            ("a${cmd:echo x y | awk '{print $2}'}b", "ayb"),
            ("${cmd:x=${HOME:-} && printf '{%s}' \"${x:+y}\"}${file:s}", "{y}s3cret"),
        ];
        for (text, expected) in cases.into_iter().chain(in_pairs) {
            assert_eq!(resolve(text, folder.path()).ok().as_deref(), Some(expected), "{text}");
        }
        for bad in [
            "${env:DECUBE_BACKUP_NOT_SET}",
            "${file:none}",
            "${cmd:false}",
            "${cmd:true}",
            "${x:y}",
            "${env:A",
            "${cmd:echo {}",
        ] {
            assert!(resolve(bad, folder.path()).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_pure_references_may_be_shown() {
        assert!(is_reference("${env:A}") && is_reference("${cmd:awk '{print $2}' s}"));
        assert!(!is_reference("x${env:A}") && !is_reference("x") && !is_reference(""));
    }
}
