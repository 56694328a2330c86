//! `snapshots`.

use crate::args::SnapshotsArgs;
use crate::commands::report::{print_snapshots, snapshot_json};
use crate::exit::{Exit, Outcome};
use crate::output::Format;
use crate::session::Session;
use decube_backup_engine::options::SnapshotFilter;
use serde_json::Value;

/// Lists snapshots, oldest first.
///
/// # Errors
/// The repository cannot be read.
pub(super) fn run(session: &Session, args: &SnapshotsArgs) -> Outcome {
    let repository = session.open()?;
    let snapshots = repository.snapshots(&SnapshotFilter {
        name: args.name.clone(),
        host: args.host.clone(),
        tags: args.tag.clone(),
        path: args.path.clone(),
        latest: args.latest,
    });
    match session.console.format() {
        Format::Json => session.console.json(&snapshots.iter().map(snapshot_json).collect::<Vec<Value>>())?,
        Format::Text => print_snapshots(&session.console, &snapshots)?,
    }
    Ok(Exit::Done)
}
