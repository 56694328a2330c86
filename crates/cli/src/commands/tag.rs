//! `tag`.

use crate::args::TagArgs;
use crate::exit::{Exit, Outcome};
use crate::output::Format;
use crate::session::Session;
use crate::units;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::options::TagChange;
use decube_backup_engine::tags;
use serde_json::json;

/// Changes tags and labels.
///
/// # Errors
/// No such snapshot, nothing to change, or the log cannot be written.
pub(super) fn run(session: &Session, args: &TagArgs) -> Outcome {
    let set = args.set.as_ref().map(|tags| tags.iter().filter(|tag| !tag.is_empty()).cloned().collect());
    if set.is_none() && args.add.is_empty() && args.remove.is_empty() && args.label.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "tag", "nothing to change")
            .with_hint("give --add, --remove, --set or --label")
            .into());
    }
    let change = TagChange {
        add: args.add.clone(),
        remove: args.remove.clone(),
        set,
        labels: args.label.iter().cloned().collect(),
    };
    let repository = session.open()?;
    let ids = args.snapshots.iter().map(|selector| Ok(repository.select(selector, None)?.0.id));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    tags::change(&repository, &ids, &change)?;
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
