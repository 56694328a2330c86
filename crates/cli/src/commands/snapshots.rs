//! `snapshots`.

use crate::args::SnapshotsArgs;
use crate::commands::report::{judged_json, print_snapshots};
use crate::exit::{Exit, Outcome};
use crate::output::Format;
use crate::session::Session;
use decube_backup_engine::clocks::Clocks;
use decube_backup_engine::options::SnapshotFilter;
use serde_json::Value;

/// Lists snapshots, oldest first.
///
/// # Errors
/// The repository cannot be read.
pub(super) fn run(session: &Session, args: &SnapshotsArgs) -> Outcome {
    let repository = session.open()?;
    let filter = SnapshotFilter {
        name: args.name.clone(),
        host: args.host.clone(),
        tags: args.tag.clone(),
        path: args.path.clone(),
        latest: args.latest,
        ..SnapshotFilter::default()
    };
    let snapshots = if args.forgotten { repository.forgotten(&filter) } else { repository.snapshots(&filter) };
    let clocks = Clocks::read_or_guess(&repository);
    match session.console.format() {
        Format::Json => {
            let lines: Vec<Value> = snapshots.iter().map(|snapshot| judged_json(snapshot, &clocks)).collect();
            session.console.json(&lines)?;
        }
        Format::Text => print_snapshots(&session.console, &snapshots, &clocks)?,
    }
    Ok(Exit::Done)
}
