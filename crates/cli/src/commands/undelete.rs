//! `undelete`.

use crate::args::UndeleteArgs;
use crate::commands::report::short;
use crate::exit::{Exit, Outcome};
use crate::output::{Bar, Format};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::Result;
use decube_backup_engine::options::Effect;
use decube_backup_engine::undelete;
use serde_json::json;

/// Gives back forgotten snapshots.
///
/// # Errors
/// No such forgotten snapshot, content of one was reclaimed, or the log cannot be written.
pub(super) fn run(session: &Session, args: &UndeleteArgs) -> Outcome {
    let repository = session.open()?;
    let ids = args.snapshots.iter().map(|selector| Ok(repository.select_forgotten(selector)?.id));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    let effect = if args.dry_run { Effect::DryRun } else { Effect::Real };
    let reporter = session.reporter("undelete", Bar::Hidden)?;
    let by = (surroundings::host(), surroundings::user());
    let shown = undelete::undelete(&repository, &ids, effect, (&by.0, &by.1), &reporter)?;
    reporter.finish();
    let console = &session.console;
    if console.format() == Format::Json {
        let ids: Vec<String> = shown.iter().map(|id| id.to_hex()).collect();
        console.json(&json!({"message_type": "summary", "dry_run": args.dry_run, "undeleted": ids}))?;
        return Ok(Exit::Done);
    }
    for id in &shown {
        console.line(short(&id.to_hex()))?;
    }
    let count = units::count(shown.len() as u64, "snapshot");
    console.summary(match effect {
        Effect::Real => format!("gave back {count}"),
        Effect::DryRun => format!("dry run: {count} can be given back"),
    })?;
    Ok(Exit::Done)
}
