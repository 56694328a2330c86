//! `undelete`.

use crate::args::UndeleteArgs;
use crate::commands::report::short;
use crate::exit::{Exit, Outcome};
use crate::output::{Bar, Format};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::Result;
use decube_backup_engine::options::Effect;
use decube_backup_engine::undelete::{self, DamagedContent};
use serde_json::{Value, json};

/// Gives back forgotten snapshots.
///
/// # Errors
/// No such forgotten snapshot, content of one was reclaimed, or the log cannot be written. Damage is told of, with exit code 3.
pub(super) fn run(session: &Session, args: &UndeleteArgs) -> Outcome {
    let repository = session.open()?;
    let ids = args.snapshots.iter().map(|selector| Ok(repository.select_forgotten(selector)?.id));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    let effect = if args.dry_run { Effect::DryRun } else { Effect::Real };
    let reporter = session.reporter("undelete", Bar::Hidden)?;
    let by = (surroundings::host(), surroundings::user());
    let given = undelete::undelete(&repository, &ids, effect, (&by.0, &by.1), &reporter)?;
    reporter.finish();
    let console = &session.console;
    let exit = if given.damaged.is_empty() { Exit::Done } else { Exit::Problems };
    if console.format() == Format::Json {
        let ids: Vec<String> = given.shown.iter().map(|id| id.to_hex()).collect();
        let damaged: Vec<_> = given.damaged.iter().map(damaged_json).collect();
        console.json(&json!({
            "message_type": "summary", "dry_run": args.dry_run, "undeleted": ids, "damaged": damaged,
        }))?;
        return Ok(exit);
    }
    for id in &given.shown {
        console.line(short(&id.to_hex()))?;
    }
    for damaged in &given.damaged {
        console.warn(text(damaged, effect));
    }
    let count = units::count(given.shown.len() as u64, "snapshot");
    console.summary(match effect {
        Effect::Real => format!("gave back {count}"),
        Effect::DryRun => format!("dry run: {count} can be given back"),
    })?;
    Ok(exit)
}

fn damaged_json(damaged: &DamagedContent) -> Value {
    json!({
        "id": damaged.snapshot.to_hex(), "files": damaged.files, "directory_parts": damaged.directory_parts,
        "first": damaged.first,
    })
}

fn text(damaged: &DamagedContent, effect: Effect) -> String {
    let id = damaged.snapshot.to_hex();
    let what = [(damaged.files, "file"), (damaged.directory_parts, "directory part")];
    let what = what.iter().filter(|(count, _)| *count > 0).map(|(count, what)| units::count(*count, what));
    let first = if damaged.first.is_empty() { String::new() } else { format!(" ({}, …)", damaged.first.join(", ")) };
    format!(
        "{} {}, but damaged: {}{first} in packs that are missing or damaged; `repair snapshots {}` says what is lost",
        short(&id),
        match effect {
            Effect::Real => "given back",
            Effect::DryRun => "can be given back",
        },
        what.collect::<Vec<_>>().join(", "),
        short(&id),
    )
}
