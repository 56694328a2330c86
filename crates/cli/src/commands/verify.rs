//! `verify`.

use crate::args::VerifyArgs;
use crate::commands::damage::hints;
use crate::commands::repair;
use crate::commands::report::{rate, short};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Bar, Console, Format, put_path};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::display::display_bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::options::{AffectedEntry, Subset, VerifyDepth, VerifyReport};
use decube_backup_engine::verify::{self, Budget, Overdue, Policy, Recording, VerifyOptions};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Entries listed for a person; JSON has all that were kept.
const ENTRIES_SHOWN: usize = 50;

/// Verifies the repository.
///
/// # Errors
/// It cannot be opened or read at all.
pub(crate) fn run(session: &Session, args: &VerifyArgs) -> Outcome {
    let Checked { report, overdue } = check(session, args).map_err(|failure| match failure.error.kind() {
        // Damage that keeps the repository from being opened is what was looked for.
        ErrorKind::Corrupt => Failure { exit: Exit::Damaged, ..failure },
        _ => failure,
    })?;
    if let (Some(problem), false) = (&report.recorded.problem, report.damages.is_empty()) {
        session.console.warn(format_args!("not everything could be recorded: {problem}"));
    }
    match session.console.format() {
        Format::Json => print_json(session, args, &report, overdue)?,
        Format::Text => {
            print_text(session, args, &report)?;
            print_recorded(session, args, &report, overdue)?;
        }
    }
    if args.repair && report.damages.iter().any(|damage| damage.object.starts_with("packs/")) {
        let repaired = repair::damaged_packs(session)?;
        let others = report.damages.iter().any(|damage| !damage.object.starts_with("packs/"));
        return Ok(if others { repaired.max(Exit::Damaged) } else { repaired });
    }
    if !report.damages.is_empty() {
        return Ok(Exit::Damaged);
    }
    match report.recorded.problem {
        None => Ok(Exit::Done),
        Some(problem) => {
            let error = Error::new(ErrorKind::Io, "verify", format!("not everything could be recorded: {problem}"));
            Err(error.with_hint("no damage was found; what is not recorded will be read again").into())
        }
    }
}

struct Checked {
    report: VerifyReport,
    /// Packs not read within the time asked for, if one was.
    overdue: Option<Overdue>,
}

fn check(session: &Session, args: &VerifyArgs) -> Outcome<Checked> {
    if args.scrub {
        let place = session.place()?;
        let environment = session.environment(&place)?;
        let reporter = session.reporter("verify", Bar::Shown)?;
        let scrubbed = verify::scrub(&environment, &reporter);
        let report = scrubbed.map_err(|e| Failure::opening(e.with("repository", place.shown())))?;
        return Ok(Checked { report, overdue: None });
    }
    let repository = session.open()?;
    let percent = args.budget_share;
    let budget = Budget { seconds: args.budget_time, bytes: args.budget_bytes, percent };
    let depth = match (args.read_data, args.read_data_subset, args.within) {
        (true, ..) => VerifyDepth::Data(Subset::All),
        (false, Some(subset), _) => VerifyDepth::Data(subset),
        (false, None, Some(within_s)) => VerifyDepth::Data(Subset::Due(Policy { within_s, budget })),
        (false, None, None) => VerifyDepth::Structure,
    };
    let selected = args.snapshot.iter().map(|selector| Ok(repository.select_whole(selector)?.id));
    let selected = selected.collect::<Result<Vec<_>>>()?;
    let options = VerifyOptions { depth, snapshots: (!selected.is_empty()).then_some(selected) };
    let reporter = session.reporter("verify", Bar::Shown)?;
    let report = match is_recorded(args) {
        true => {
            let who = Recording { host: surroundings::host(), username: surroundings::user() };
            verify::verify_and_record(&repository, &options, &who, &reporter)?
        }
        false => verify::verify(&repository, &options, &reporter)?,
    };
    let (state, now) = (repository.state(), session.clock.now());
    let overdue = args.within.map(|within| verify::overdue(&state, &report.damages, within, now)).transpose()?;
    Ok(Checked { report, overdue })
}

/// Whether what is found is written into the repository.
pub(super) fn is_recorded(args: &VerifyArgs) -> bool {
    args.record || args.repair || args.within.is_some()
}

fn print_json(session: &Session, args: &VerifyArgs, report: &VerifyReport, overdue: Option<Overdue>) -> Result<()> {
    let entries = |entries: &[AffectedEntry]| -> Vec<Value> {
        let shown = entries.iter().map(|entry| {
            let mut object = Map::new();
            object.insert("snapshot".into(), entry.snapshot.as_str().into());
            put_path(&mut object, &[b"/", entry.path.as_slice()].concat());
            Value::Object(object)
        });
        shown.collect()
    };
    session.console.json(&json!({
        "message_type": "summary",
        "sound": report.damages.is_empty(),
        "num_errors": report.damages.len(),
        "damages": report.damages,
        "repairable": report.repairable,
        "hints": hints(report, args.scrub),
        "affected": entries(&report.affected),
        "affected_count": report.affected_count,
        "not_hit": entries(&report.spared),
        "not_hit_count": report.spared_count,
        "read_data": args.read_data || args.read_data_subset.is_some() || args.within.is_some(),
        "scrub": args.scrub,
        "records": report.records,
        "snapshots": report.snapshots,
        "packs": report.packs,
        "packs_read": report.packs_read,
        "bytes_read": report.bytes_read,
        "chunks": report.chunks,
        "orphans": report.orphans,
        "recorded": is_recorded(args).then_some(&report.recorded),
        "verified_packs": report.freshness.verified_packs,
        "unverified_packs": report.freshness.unverified_packs,
        "unverified_bytes": report.freshness.unverified_bytes,
        "oldest_verified": report.freshness.oldest_verified.map(|time| time.to_string()),
        "overdue_packs": overdue.map(|overdue| overdue.unread + overdue.damaged),
        "overdue_damaged_packs": overdue.map(|overdue| overdue.damaged),
        "total_duration": report.seconds,
    }))
}

fn print_entries(console: &Console, what: &str, entries: &[AffectedEntry], count: u64) -> Result<()> {
    for entry in entries.iter().take(ENTRIES_SHOWN) {
        console.line(format_args!("{what}: {} /{}", short(&entry.snapshot), display_bytes(&entry.path)))?;
    }
    let shown = entries.len().min(ENTRIES_SHOWN) as u64;
    if count > shown {
        let more = units::count(count - shown, "entry");
        console.line(format_args!("{what}: {more} more; --json lists the first {}", entries.len()))?;
    }
    Ok(())
}

fn print_text(session: &Session, args: &VerifyArgs, report: &VerifyReport) -> Result<()> {
    let console = &session.console;
    for damage in &report.damages {
        console.line(format_args!("damaged: {}: {}", damage.object, damage.what))?;
    }
    print_entries(console, "affected", &report.affected, report.affected_count)?;
    print_entries(console, "not hit, another copy is whole", &report.spared, report.spared_count)?;
    console.summary(format_args!(
        "checked {}, {}, {}; read {} of {} ({}) in {} ({})",
        units::count(report.records, "record"),
        units::count(report.snapshots, "snapshot"),
        units::count(report.chunks, "chunk"),
        report.packs_read,
        units::count(report.packs, "pack"),
        units::size(report.bytes_read),
        units::duration(report.seconds),
        rate(report.bytes_read, report.seconds),
    ))?;
    if report.orphans > 0 {
        let orphans = units::count(report.orphans, "object");
        console.summary(match report.damages.is_empty() {
            true => format!("{orphans} left by interrupted uploads: harmless"),
            // A record that cannot be read may well name them.
            false => format!("{orphans} named by no readable record"),
        })?;
    }
    if report.damages.is_empty() {
        let partly = args.read_data_subset.is_some() || args.within.is_some();
        let what = match (args.scrub, args.read_data, partly) {
            (true, ..) => "every object is as it was written",
            (_, true, _) => "the repository is sound, all content was read",
            (.., true) if report.packs_read == 0 => {
                "the repository's structure is sound; no pack was to be read, and no content was"
            }
            (.., true) => "the repository is sound, part of the content was read",
            _ => "the repository's structure is sound; --read-data reads the content too",
        };
        return console.summary(what);
    }
    // Several things may be wrong with one.
    let objects: BTreeSet<&str> = report.damages.iter().map(|damage| damage.object.as_str()).collect();
    let damages = units::count(objects.len() as u64, "damaged object");
    match report.affected_count {
        0 => console.warn(format_args!("{damages}; no file in a snapshot is known to be hit")),
        n => console.warn(format_args!("{damages}; {} cannot be given back whole", units::count(n, "entry"))),
    }
    if !report.repairable.is_empty() {
        let packs = units::count(report.repairable.len() as u64, "pack");
        console.warn(format_args!("parity brings {packs} of them back as written: no file is hit by these"));
    }
    for hint in hints(report, args.scrub) {
        console.stderr(format_args!("hint: {hint}"));
    }
    Ok(())
}

fn print_recorded(session: &Session, args: &VerifyArgs, report: &VerifyReport, overdue: Option<Overdue>) -> Result<()> {
    let (console, recorded, fresh) = (&session.console, &report.recorded, &report.freshness);
    if is_recorded(args) {
        console.summary(format_args!(
            "recorded: {} sound, {} newly found damaged, {} whole again",
            units::count(recorded.verified, "pack"),
            recorded.damaged,
            recorded.healed,
        ))?;
    }
    let Some(overdue) = overdue else { return Ok(()) };
    let oldest = fresh.oldest_verified.map_or_else(|| "never".to_owned(), units::time);
    console.summary(format_args!("the longest unread pack was read {oldest}"))?;
    if overdue.damaged > 0 {
        console.summary(format_args!(
            "{} not read within the time asked for because damaged or missing, as said above",
            units::count(overdue.damaged, "pack")
        ))?;
    }
    match overdue {
        Overdue { unread: 0, damaged: 0 } => console.summary("every byte was read within the time asked for"),
        Overdue { unread: 0, .. } => Ok(()),
        Overdue { unread, .. } => console.summary(format_args!(
            "{} not read within the time asked for: run it more often, or raise the budget",
            units::count(unread, "pack")
        )),
    }
}
