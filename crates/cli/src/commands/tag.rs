//! `tag`.

use crate::args::TagArgs;
use crate::exit::{Exit, Outcome};
use crate::output::Format;
use crate::session::Session;
use crate::units;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::options::TagChange;
use decube_backup_engine::tags;
use decube_backup_format::checkpoint::Pin;
use serde_json::json;
use std::collections::HashSet;

/// Changes tags, labels and pins.
///
/// # Errors
/// No such snapshot, nothing to change, or the log cannot be written.
pub(super) fn run(session: &Session, args: &TagArgs) -> Outcome {
    let set = args.set.as_ref().map(|tags| tags.iter().filter(|tag| !tag.is_empty()).cloned().collect());
    let changes = set.is_some() || !args.add.is_empty() || !args.remove.is_empty() || !args.label.is_empty();
    let pin = match (args.pin, args.unpin) {
        (true, _) => Some(args.until.map_or(Pin::Forever, Pin::Until)),
        (false, true) => Some(Pin::None),
        (false, false) => None,
    };
    if !changes && pin.is_none() {
        return Err(Error::new(ErrorKind::Invalid, "tag", "nothing to change")
            .with_hint("give --add, --remove, --set, --label, --pin or --unpin")
            .into());
    }
    if let Some(both) = args.add.iter().find(|tag| args.remove.contains(tag)) {
        return Err(Error::new(ErrorKind::Invalid, "tag", "the same tag is to be added and removed")
            .with("tag", both)
            .with_hint("nothing was changed; give one of --add and --remove")
            .into());
    }
    let change = TagChange {
        add: args.add.clone(),
        remove: args.remove.clone(),
        set,
        labels: args.label.iter().cloned().collect(),
    };
    let repository = session.open()?;
    let ids = args.snapshots.iter().map(|selector| Ok(repository.select_whole(selector)?.id));
    let mut ids = ids.collect::<Result<Vec<_>>>()?;
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    if changes {
        tags::change(&repository, &ids, &change)?;
    }
    if let Some(pin) = pin {
        tags::pin(&repository, &ids, pin)?;
    }
    let console = &session.console;
    match console.format() {
        Format::Json => {
            let changed: Vec<String> = ids.iter().map(|id| id.to_hex()).collect();
            console.json(&json!({"message_type": "summary", "changed_snapshots": changed}))?;
        }
        Format::Text => console.summary(format_args!("changed {}", units::count(ids.len() as u64, "snapshot")))?,
    }
    Ok(Exit::Done)
}
