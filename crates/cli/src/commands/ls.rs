//! `ls`.

use crate::args::LsArgs;
use crate::commands::entries::{Style, entry_json};
use crate::commands::report::snapshot_json;
use crate::exit::{Exit, Outcome};
use crate::output::{Format, problem_json, problem_text};
use crate::session::Session;
use decube_backup_core::monitor::Problem;
use decube_backup_core::{EntryKind, EntryPath, Result};
use decube_backup_engine::browse::{self, Depth};
use decube_backup_format::manifest::SnapshotManifest;
use std::ffi::OsStr;
use std::io::IsTerminal;

/// Lists a directory of a snapshot.
///
/// # Errors
/// No such snapshot or path, or the repository cannot be read.
pub(super) fn run(session: &Session, args: &LsArgs) -> Outcome {
    let repository = session.open()?;
    let (snapshot, mut path) = repository.select(args.snapshot.as_encoded_bytes(), args.time.timestamp)?;
    if let Some(below) = &args.path {
        path = join(&path, below)?;
    }
    let depth = if args.recursive { Depth::Recursive } else { Depth::Children };
    let (console, style) = (&session.console, Style::of(args.long));
    if console.format() == Format::Json {
        let mut head = snapshot_json(&snapshot);
        head["message_type"] = "snapshot".into();
        console.json(&head)?;
    }
    if args.problems {
        return problems(session, &browse::whole_manifest(&repository, &snapshot)?, &path);
    }
    let (mut listed, mut directories) = (0u64, 0u64);
    browse::list(&repository, &snapshot, &path, depth, &mut |found| {
        // A directory that was asked for is shown by what is in it.
        if found.entry.path == path && found.entry.kind == EntryKind::Directory {
            return Ok(());
        }
        listed += 1;
        directories += u64::from(found.entry.kind == EntryKind::Directory);
        match console.format() {
            Format::Text => console.line(style.line(&found.entry)),
            Format::Json => {
                let mut node = entry_json(&found.entry);
                node.insert("message_type".into(), "node".into());
                console.json_item(&node)
            }
        }
    })?;
    // Of what was backed up, nothing is seen yet.
    if (listed, directories) == (1, 1) && !args.recursive && std::io::stdout().is_terminal() {
        console.flush()?;
        console.talk("hint: -R lists all that is in it; SNAPSHOT:/PATH what is in a directory");
    }
    Ok(Exit::Done)
}

/// What the backup of a snapshot had to say of entries at and below `path`, notes included.
fn problems(session: &Session, manifest: &SnapshotManifest, path: &EntryPath) -> Outcome {
    let console = &session.console;
    let of_path = |problem: &&Problem| {
        path.is_root() || EntryPath::new(problem.path.clone()).is_ok_and(|place| place.is_within(path))
    };
    for problem in manifest.problems.iter().filter(of_path) {
        match console.format() {
            Format::Text => console.line(problem_text(problem))?,
            Format::Json => {
                let mut object = problem_json(problem);
                object["message_type"] = "problem".into();
                console.json(&object)?;
            }
        }
    }
    let total: u64 = manifest.problems_total.values().sum();
    let listed = manifest.problems.len() as u64;
    if total > listed {
        console.warn(format_args!("the snapshot names the first {listed} of {total}"));
    }
    Ok(Exit::Done)
}

/// `below`, as a person writes it, under `path`.
///
/// # Errors
/// It is not a legal path.
pub(super) fn join(path: &EntryPath, below: &OsStr) -> Result<EntryPath> {
    let names = below.as_encoded_bytes().split(|byte| *byte == b'/');
    let mut names = names.filter(|name| !name.is_empty() && *name != b".");
    names.try_fold(path.clone(), |path, name| path.join(name))
}
