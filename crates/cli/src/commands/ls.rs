//! `ls`.

use crate::args::LsArgs;
use crate::commands::entries::{Style, entry_json};
use crate::commands::report::snapshot_json;
use crate::exit::{Exit, Outcome};
use crate::output::Format;
use crate::session::Session;
use decube_backup_core::{EntryKind, EntryPath, Result};
use decube_backup_engine::browse::{self, Depth};

/// Lists a directory of a snapshot.
///
/// # Errors
/// No such snapshot or path, or the repository cannot be read.
pub(super) fn run(session: &Session, args: &LsArgs) -> Outcome {
    let repository = session.open()?;
    let (snapshot, mut path) = repository.select(&args.snapshot, args.time.timestamp)?;
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
    browse::list(&repository, &snapshot, &path, depth, &mut |found| match console.format() {
        // A directory that was asked for is shown by what is in it.
        _ if found.entry.path == path && found.entry.kind == EntryKind::Directory => Ok(()),
        Format::Text => console.line(style.line(&found.entry)),
        Format::Json => {
            let mut node = entry_json(&found.entry);
            node.insert("message_type".into(), "node".into());
            console.json_item(&node)
        }
    })?;
    Ok(Exit::Done)
}

/// `below`, as a person writes it, under `path`.
///
/// # Errors
/// It is not a legal path.
pub(super) fn join(path: &EntryPath, below: &str) -> Result<EntryPath> {
    let mut names = below.split('/').filter(|name| !name.is_empty() && *name != ".");
    names.try_fold(path.clone(), |path, name| path.join(name.as_bytes()))
}
