//! `audit`.

use super::report;
use crate::args::AuditArgs;
use crate::credentials::Asking;
use crate::exit::{Exit, Outcome};
use crate::output::{Bar, Console, Format};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::display::display_line;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::Environment;
use decube_backup_engine::audit::{AuditEntry, AuditFilter, AuditReport, accept, audit, outline};
use decube_backup_engine::options::Damage;
use decube_backup_engine::repository::WitnessStatus;
use decube_backup_engine::verify::Recording;
use decube_backup_format::ids::hex;
use serde_json::json;

/// Lists and verifies the log; with a write-only key, which reads none of it, `--accept` accepts it for this host.
///
/// # Errors
/// The repository cannot be read; `--accept` of a damaged log.
pub(super) fn run(session: &Session, args: &AuditArgs) -> Outcome {
    let place = session.place()?;
    // Opened without comparing: what was seen before is part of what is reported.
    let environment = Environment { witness_dir: None, ..session.environment(&place)? };
    let repository = match args.accept {
        // What a host has seen it may forget with any key: nothing in the repository changes by that.
        true => session.open_with_any_key(&place, environment)?,
        false => session.open_by(&place, environment, || session.credentials(&place, Asking::Once))?,
    };
    let witness_dir = session.witness_directory();
    let filter = AuditFilter { since: args.since, kinds: args.kind.iter().cloned().collect(), host: args.host.clone() };
    let console = &session.console;
    let monitor = session.reporter("audit", Bar::Hidden)?;
    let is_reader = repository.write_only_host().is_none();
    let report = match is_reader {
        true => audit(&repository, &filter, witness_dir.as_deref(), &monitor, &mut |entry| show(console, entry))?,
        false => outline(&repository, witness_dir.as_deref())?,
    };
    if args.accept {
        if let Some(damage) = report.damages.first() {
            return Err(Error::new(ErrorKind::Diverged, "audit", "this log is damaged, and is not accepted")
                .with("key", &damage.object)
                .with_hint("`decube-backup audit` names every damaged record")
                .into());
        }
        let dir = witness_dir.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "audit", "there is no place to remember it").with_hint("give --state-dir")
        })?;
        let who = Recording { host: surroundings::host(), username: surroundings::user() };
        let accepted = accept(&repository, &dir, &who)?;
        if accepted.lost_records {
            session.log_is_accepted();
        }
        if accepted.absent_packs > 0 {
            console.warn(format_args!(
                "{} of this log cannot be found, and no backup relies on them any more: run the usual backups, then \
                 `decube-backup verify` names what they cost",
                units::count(accepted.absent_packs, "pack")
            ));
        }
    }
    summary(console, args, &report)?;
    let diverged = !args.accept && (report.witness.to_error().is_some() || !report.beyond.is_empty());
    Ok(if diverged || !report.damages.is_empty() { Exit::Damaged } else { Exit::Done })
}

fn show(console: &Console, entry: &AuditEntry) -> Result<()> {
    let stamp = &entry.stamp;
    if console.format() == Format::Json {
        let snapshots = entry.snapshots.iter().map(|(id, name)| json!({"id": id.to_hex(), "name": name}));
        return console.json_item(&json!({
            "message_type": "record",
            "seq": entry.seq,
            "kind": entry.word,
            "time": stamp.time.to_string(),
            "stored": entry.stored.map(|time| time.to_string()),
            "hostname": stamp.host,
            "username": stamp.username,
            "program_version": stamp.program,
            "writer": hex(&entry.writer),
            "hash": hex(&entry.hash),
            "snapshots": snapshots.collect::<Vec<_>>(),
            "details": entry.details,
            "packs_added": entry.packs_added,
            "bytes_added": entry.bytes_added,
            "packs_reclaimed": entry.packs_reclaimed,
            "damage": entry.damage,
        }));
    }
    let stored = entry.stored.map_or_else(|| "-".to_owned(), units::time);
    let who = match (stamp.username.as_str(), stamp.host.as_str()) {
        ("", "") => "-".to_owned(),
        (user, host) => display_line(format_args!("{user}@{host}")).to_string(),
    };
    let text = format!(
        "{:>6}  {}  {stored}  {who:<20}  {:<17}  {}",
        entry.seq,
        units::time(stamp.time),
        entry.word,
        what(entry)
    );
    console.line(text.trim_end())?;
    match &entry.damage {
        Some(damage) => console.line(format_args!("        DAMAGED: {damage}")),
        None => Ok(()),
    }
}

/// What a record did, for people.
fn what(entry: &AuditEntry) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (id, name) in &entry.snapshots {
        let id = id.to_hex();
        let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        parts.push(format!("{}{name}", report::short(&id)));
    }
    parts.extend(
        entry
            .details
            .iter()
            .filter(|(word, _)| **word != "bytes")
            .map(|(word, value)| format!("{} {value}", word.replace('_', " "))),
    );
    if entry.packs_added > 0 {
        parts.push(format!("{} stored in {}", units::size(entry.bytes_added), units::count(entry.packs_added, "pack")));
    }
    if entry.packs_reclaimed > 0 {
        parts.push(format!("{} reclaimed", units::count(entry.packs_reclaimed, "pack")));
    }
    parts.join(", ")
}

fn summary(console: &Console, args: &AuditArgs, report: &AuditReport) -> Result<()> {
    let witness = match report.witness {
        WitnessStatus::Unknown => "unknown",
        WitnessStatus::Agrees { .. } => "agrees",
        WitnessStatus::RolledBack { .. } => "rolled_back",
        WitnessStatus::Forked { .. } => "forked",
    };
    if console.format() == Format::Json {
        let named = |damages: &[Damage]| -> Vec<_> {
            damages.iter().map(|d| json!({"object": d.object, "what": d.what})).collect()
        };
        return console.json(&json!({
            "message_type": "summary",
            "records": report.records,
            "shown": report.shown,
            "head": hex(&report.head),
            "damages": named(&report.damages),
            "checkpoints_beyond": named(&report.beyond),
            "witness": witness,
            "accepted": args.accept,
        }));
    }
    for damage in &report.damages {
        console.line(format_args!("damaged: {}: {}", damage.object, damage.what))?;
    }
    for Damage { object, what } in &report.beyond {
        match args.accept {
            true => console.warn(format_args!("settled {object}: {what}")),
            false => console.warn(format_args!("{object}: {what}")),
        }
    }
    if !args.accept && !report.beyond.is_empty() {
        console.warn(
            "put the lost records back from a replica; if they are lost for good, `decube-backup audit --accept` goes on \
             without them, and what only they named is then a leftover for the next prune",
        );
    }
    if let Some(error) = report.witness.to_error() {
        match args.accept {
            true => console.warn("another log was seen before; from now on this one counts"),
            false => {
                console.warn(&error);
                console.warn(error.hint().unwrap_or_default());
            }
        }
    }
    let sound = if report.damages.is_empty() { "all sound" } else { "not sound" };
    console.summary(format_args!(
        "{}, {} shown, {sound}; the last one is {}",
        units::count(report.records, "record"),
        report.shown,
        hex(&report.head)
    ))
}
