//! `diff`.

use crate::args::DiffArgs;
use crate::commands::report::short;
use crate::exit::{Exit, Outcome};
use crate::output::{Format, put_path};
use crate::session::Session;
use crate::units;
use decube_backup_core::{Entry, EntryPath, Error, ErrorKind};
use decube_backup_engine::browse;
use decube_backup_engine::options::Difference;
use serde_json::{Map, json};

#[derive(Default)]
struct Counts {
    added: u64,
    removed: u64,
    content: u64,
    attributes: u64,
    bytes_added: u64,
    bytes_removed: u64,
}

/// Shows what differs between two snapshots.
///
/// # Errors
/// No such snapshot, or the repository cannot be read.
pub(super) fn run(session: &Session, args: &DiffArgs) -> Outcome {
    let repository = session.open()?;
    let (first, path) = repository.select(args.first.as_encoded_bytes(), None)?;
    let (second, other) = repository.select(args.second.as_encoded_bytes(), None)?;
    if path != other && !other.is_root() && !path.is_root() {
        return Err(Error::new(ErrorKind::Invalid, "diff", "two different paths cannot be compared")
            .with("first", format_args!("/{path}"))
            .with("second", format_args!("/{other}"))
            .into());
    }
    let within: EntryPath = if path.is_root() { other } else { path };
    if !within.is_root() {
        // In one of the two it may well be missing: then it was added or removed.
        browse::entry(&repository, &first, &within).or_else(|_| browse::entry(&repository, &second, &within))?;
    }
    let console = &session.console;
    let mut counts = Counts::default();
    browse::diff(&repository, &first, &second, &mut |difference| {
        let (modifier, entry) = modifier(&difference);
        if !entry.path.is_within(&within) {
            return Ok(());
        }
        counts.add(&difference);
        match console.format() {
            Format::Text => console.line(format_args!("{modifier}  /{}", entry.path)),
            Format::Json => {
                let mut change = Map::new();
                change.insert("message_type".into(), "change".into());
                put_path(&mut change, &[b"/", entry.path.as_bytes()].concat());
                change.insert("modifier".into(), modifier.into());
                console.json_item(&change)
            }
        }
    })?;
    match console.format() {
        Format::Json => console.json(&json!({
            "message_type": "statistics",
            "source_snapshot": first.id.to_hex(),
            "target_snapshot": second.id.to_hex(),
            "added": counts.added,
            "removed": counts.removed,
            "changed": counts.content,
            "attributes": counts.attributes,
            "bytes_added": counts.bytes_added,
            "bytes_removed": counts.bytes_removed,
        }))?,
        Format::Text => console.summary(format_args!(
            "{} to {}: {} added ({}), {} removed ({}), {} changed, {} with other attributes",
            short(&first.id.to_hex()),
            short(&second.id.to_hex()),
            counts.added,
            units::size(counts.bytes_added),
            counts.removed,
            units::size(counts.bytes_removed),
            counts.content,
            counts.attributes,
        ))?,
    }
    Ok(Exit::Done)
}

impl Counts {
    fn add(&mut self, difference: &Difference) {
        match difference {
            Difference::Added(entry) => {
                self.added += 1;
                self.bytes_added = self.bytes_added.saturating_add(entry.kind.size());
            }
            Difference::Removed(entry) => {
                self.removed += 1;
                self.bytes_removed = self.bytes_removed.saturating_add(entry.kind.size());
            }
            Difference::Content(..) => self.content += 1,
            Difference::Attributes(..) => self.attributes += 1,
        }
    }
}

fn modifier(difference: &Difference) -> (&'static str, &Entry) {
    match difference {
        Difference::Added(entry) => ("+", entry),
        Difference::Removed(entry) => ("-", entry),
        Difference::Content(_, entry) => ("M", entry),
        Difference::Attributes(_, entry) => ("U", entry),
    }
}
