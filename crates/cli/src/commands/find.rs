//! `find`.

use crate::args::{FindArgs, KindArg};
use crate::commands::entries::{Style, entry_json};
use crate::commands::report::short;
use crate::exit::{Exit, Outcome};
use crate::globs::{Globs, Letters};
use crate::output::Format;
use crate::session::Session;
use crate::units;
use decube_backup_core::{Entry, EntryKind, EntryPath, Result};
use decube_backup_engine::browse;
use decube_backup_engine::options::{Snapshot, SnapshotFilter};
use serde_json::Value;

/// Finds entries in snapshots, newest first.
///
/// # Errors
/// A bad pattern, no such snapshot, or the repository cannot be read.
pub(super) fn run(session: &Session, args: &FindArgs) -> Outcome {
    let letters = if args.ignore_case { Letters::AnyCase } else { Letters::Exact };
    let globs = Globs::new(&args.patterns, letters)?;
    let repository = session.open()?;
    let mut snapshots: Vec<(Snapshot, EntryPath)> = match args.snapshot.is_empty() {
        true => {
            let all = repository.snapshots(&SnapshotFilter::default()).into_iter();
            all.map(|snapshot| (snapshot, EntryPath::root())).collect()
        }
        false => {
            let selected = args.snapshot.iter().map(|selector| {
                let (snapshot, path) = repository.select(selector, None)?;
                if !path.is_root() {
                    browse::entry(&repository, &snapshot, &path)?;
                }
                Ok((snapshot, path))
            });
            selected.collect::<Result<_>>()?
        }
    };
    snapshots.reverse();
    let (console, style) = (&session.console, Style::of(args.long));
    let json = console.format() == Format::Json;
    // Written as it is found: no memory holds all hits of a large repository.
    let write = |text: &str| if json { console.bytes(text.as_bytes()) } else { Ok(()) };
    write("[")?;
    let mut separator = "";
    for (snapshot, within) in &snapshots {
        let matcher = |entry: &Entry| entry.path.is_within(within) && globs.matches(entry) && wanted(args, entry);
        let id = snapshot.id.to_hex();
        let mut hits = 0u64;
        browse::find(&repository, snapshot, &matcher, &mut |found| {
            hits += 1;
            if json {
                write(&match hits {
                    1 => format!("{separator}{{\"snapshot\":\"{id}\",\"matches\":["),
                    _ => ",".to_owned(),
                })?;
                return write(&Value::Object(entry_json(&found.entry)).to_string());
            }
            if hits == 1 {
                let (name, time) = (&snapshot.manifest.name, units::time(snapshot.manifest.begun));
                console.talk(format_args!("in snapshot {} of \"{name}\", {time}:", short(&id)));
            }
            console.line(style.line(&found.entry))
        })?;
        if hits > 0 {
            write(&format!("],\"hits\":{hits}}}"))?;
            separator = ",";
        }
        console.flush()?;
    }
    write("]\n")?;
    Ok(Exit::Done)
}

fn wanted(args: &FindArgs, entry: &Entry) -> bool {
    let kind = args.r#type.is_none_or(|kind| match kind {
        KindArg::File => matches!(entry.kind, EntryKind::File { .. }),
        KindArg::Directory => entry.kind == EntryKind::Directory,
        KindArg::Link => matches!(entry.kind, EntryKind::Symlink { .. }),
        KindArg::Other => {
            matches!(entry.kind, EntryKind::Fifo | EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. })
        }
    });
    let sizes = args.size.is_empty()
        || matches!(entry.kind, EntryKind::File { size } if args.size.iter().all(|bound| bound.holds(size)));
    kind && sizes
        && args.newer.is_none_or(|time| entry.meta.mtime > time)
        && args.older.is_none_or(|time| entry.meta.mtime < time)
}
