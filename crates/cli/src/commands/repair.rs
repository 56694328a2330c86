//! `repair`.

use crate::args::{ApplyArgs, RepairCommand, RepairSnapshotsArgs};
use crate::commands::report::short;
use crate::exit::{Exit, Outcome};
use crate::output::{Bar, Format, problem_json, problem_text};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::Result;
use decube_backup_engine::options::{Damage, Effect};
use decube_backup_engine::repair::{self, Content, Damaged, DamagedSnapshot, RepairOptions, SnapshotsOptions};
use decube_backup_engine::verify::Recording;
use serde_json::{Value, json};

/// Lost entries listed for a person below their snapshot; all are told of while they are found.
const LOST_SHOWN: usize = 50;

/// Repairs, or says what a repair would do.
///
/// # Errors
/// The repository cannot be opened or read at all, or cannot be written with `--apply`.
pub(super) fn run(session: &Session, command: &RepairCommand) -> Outcome {
    match command {
        RepairCommand::Index(args) => index(session, args),
        RepairCommand::Checkpoints(args) => checkpoints(session, args),
        RepairCommand::Packs(args) => packs(session, &args.apply, args.read_data),
        RepairCommand::Parity(args) => parity(session, &args.apply, args.read_data),
        RepairCommand::Snapshots(args) => snapshots(session, args),
    }
}

fn options(args: &ApplyArgs, read_data: bool) -> RepairOptions {
    RepairOptions {
        effect: if args.apply { Effect::Real } else { Effect::DryRun },
        content: if read_data { Content::Read } else { Content::Structure },
        who: Recording { host: surroundings::host(), username: surroundings::user() },
    }
}

/// What is still wrong afterwards decides.
fn exit(sound: bool, args: &ApplyArgs, lost: bool) -> Exit {
    match (sound, args.apply, lost) {
        (true, ..) => Exit::Done,
        (false, false, _) => Exit::Damaged,
        (false, true, true) => Exit::Problems,
        (false, true, false) => Exit::Done,
    }
}

fn print_damages(session: &Session, what: &str, damages: &[Damage]) -> Result<()> {
    let lines =
        damages.iter().map(|damage| session.console.line(format_args!("{what}: {}: {}", damage.object, damage.what)));
    lines.collect()
}

fn close(session: &Session, args: &ApplyArgs, sound: bool) -> Result<()> {
    match (sound, args.apply) {
        (true, _) => session.console.summary("nothing to repair"),
        (false, true) => Ok(()),
        (false, false) => session.console.summary("nothing was changed; --apply repairs"),
    }
}

fn index(session: &Session, args: &ApplyArgs) -> Outcome {
    let repository = session.open_without_cache()?;
    let reporter = session.reporter("repair", Bar::Shown)?;
    let report = repair::index(&repository, &options(args, false), &reporter)?;
    drop(reporter);
    let sound = report.is_sound();
    let lost = !report.unreadable.is_empty() || !report.kept.is_empty();
    if session.console.format() == Format::Json {
        session.console.json(&json!({
            "message_type": "summary", "repair": "index", "dry_run": !args.apply, "sound": sound,
            "segments": report.segments, "damaged": report.damaged, "kept": report.kept,
            "packs_indexed": report.packs, "packs_unreadable": report.unreadable,
            "segments_retired": report.retired, "segments_written": report.written,
        }))?;
        return Ok(exit(sound, args, lost));
    }
    print_damages(session, "damaged", &report.damaged)?;
    print_damages(session, "left alone, may be of a newer program", &report.kept)?;
    print_damages(session, "cannot be indexed", &report.unreadable)?;
    if !sound {
        session.console.summary(format_args!(
            "{} in no readable index segment: {}; {} taken out of force{}",
            units::count(report.packs, "pack"),
            if args.apply { "indexed anew" } else { "would be indexed anew" },
            units::count(report.retired, "damaged segment"),
            if args.apply { "" } else { " then" },
        ))?;
    }
    close(session, args, sound)?;
    Ok(exit(sound, args, lost))
}

fn checkpoints(session: &Session, args: &ApplyArgs) -> Outcome {
    let repository = session.open_without_cache()?;
    let reporter = session.reporter("repair", Bar::Shown)?;
    let report = repair::checkpoints(&repository, &options(args, false), &reporter)?;
    drop(reporter);
    let sound = report.is_sound();
    if session.console.format() == Format::Json {
        session.console.json(&json!({
            "message_type": "summary", "repair": "checkpoints", "dry_run": !args.apply, "sound": sound,
            "checked": report.checked, "damaged": report.damaged, "kept": report.kept,
            "removed": report.removed, "stored_after_record": report.stored,
        }))?;
        return Ok(exit(sound, args, !report.kept.is_empty()));
    }
    print_damages(session, "damaged", &report.damaged)?;
    print_damages(session, "left alone", &report.kept)?;
    if args.apply && report.removed > 0 {
        let stored = report.stored.map_or_else(String::new, |seq| format!(", stored again after record {seq}"));
        session.console.summary(format_args!("removed {}{stored}", units::count(report.removed, "checkpoint")))?;
    }
    close(session, args, sound)?;
    Ok(exit(sound, args, !report.kept.is_empty()))
}

fn packs(session: &Session, args: &ApplyArgs, read_data: bool) -> Outcome {
    let repository = session.open_without_cache()?;
    let reporter = session.reporter("repair", Bar::Shown)?;
    let report = repair::packs(&repository, &options(args, read_data), &reporter)?;
    drop(reporter);
    let (sound, lost) = (report.damaged == 0, report.lost > 0 || report.opaque > 0);
    if session.console.format() == Format::Json {
        session.console.json(&json!({
            "message_type": "summary", "repair": "packs", "dry_run": !args.apply, "sound": sound,
            "damaged_packs": report.damaged, "damages": report.damages, "chunks_elsewhere": report.elsewhere,
            "chunks_saved": report.saved, "bytes_saved": report.saved_bytes, "chunks_lost": report.lost,
            "packs_without_contents": report.opaque, "packs_by_parity": report.rebuilt, "packs_written": report.written,
        }))?;
        return Ok(exit(sound, args, lost));
    }
    print_damages(session, "damaged", &report.damages)?;
    if !sound {
        session.console.summary(format_args!(
            "{}: {} whole elsewhere, {} ({}) {} in new packs, {} lost",
            units::count(report.damaged, "damaged pack"),
            units::count(report.elsewhere, "chunk"),
            report.saved,
            units::size(report.saved_bytes),
            if args.apply { "stored again" } else { "would be stored again" },
            report.lost,
        ))?;
        if report.rebuilt > 0 {
            let packs = units::count(report.rebuilt, "pack");
            session.console.summary(format_args!("{packs} read whole by parity"))?;
        }
        if report.opaque > 0 {
            let packs = units::count(report.opaque, "pack");
            session
                .console
                .summary(format_args!("{packs} without a readable table of contents: what they alone held is lost"))?;
        }
        if args.apply {
            session.console.summary(
                "nothing new relies on the damaged packs; the next backup stores again what its source still has",
            )?;
        }
    }
    close(session, args, sound)?;
    Ok(exit(sound, args, lost))
}

/// Stores again what can be read of packs recorded as damaged, by their parity too.
///
/// # Errors
/// The repository cannot be opened, read or written.
pub(super) fn damaged_packs(session: &Session) -> Outcome {
    packs(session, &ApplyArgs { apply: true, dry_run: false }, false)
}

fn parity(session: &Session, args: &ApplyArgs, read_data: bool) -> Outcome {
    let repository = session.open_without_cache()?;
    let reporter = session.reporter("repair", Bar::Shown)?;
    let report = repair::parity(&repository, &options(args, read_data), &reporter)?;
    drop(reporter);
    let (sound, lost) = (report.is_sound(), !report.unreadable.is_empty());
    if session.console.format() == Format::Json {
        session.console.json(&json!({
            "message_type": "summary", "repair": "parity", "dry_run": !args.apply, "sound": sound,
            "packs": report.packs, "packs_without": report.without, "damaged": report.damaged,
            "packs_damaged": report.unreadable, "parity_written": report.written, "bytes_written": report.bytes,
        }))?;
        return Ok(exit(sound, args, lost));
    }
    print_damages(session, "damaged", &report.damaged)?;
    print_damages(session, "no parity of a damaged pack; `repair packs` first", &report.unreadable)?;
    if !sound {
        session.console.summary(format_args!(
            "{} of {} without parity, {}; {}",
            report.without,
            units::count(report.packs, "pack"),
            units::count(report.damaged.len() as u64, "damaged parity object"),
            match args.apply {
                true => format!("{} written ({})", report.written, units::size(report.bytes)),
                false => "would get it".to_owned(),
            },
        ))?;
    }
    close(session, args, sound)?;
    Ok(exit(sound, args, lost))
}

fn snapshots(session: &Session, args: &RepairSnapshotsArgs) -> Outcome {
    let repository = session.open_without_cache()?;
    let selected = args.snapshots.iter().map(|selector| Ok(repository.select_whole(selector)?.id));
    let selected = selected.collect::<Result<Vec<_>>>()?;
    let choice = SnapshotsOptions {
        only: (!selected.is_empty()).then_some(selected),
        damaged: if args.forget_damaged { Damaged::Forget } else { Damaged::Keep },
    };
    let reporter = session.reporter("repair", Bar::Shown)?;
    let report = repair::snapshots(&repository, &options(&args.apply, args.read_data), &choice, &reporter)?;
    drop(reporter);
    let sound = report.damaged.is_empty();
    let to_do = report.damaged.iter().filter(|damaged| damaged.to_do).count();
    let exit = match (sound, to_do) {
        (true, _) => Exit::Done,
        // What is lost stays lost; a run that writes would change nothing.
        (false, 0) => Exit::Problems,
        (false, _) => Exit::Damaged,
    };
    if session.console.format() == Format::Json {
        for damaged in &report.damaged {
            session.console.json(&snapshot_json(damaged))?;
        }
        session.console.json(&json!({
            "message_type": "summary", "repair": "snapshots", "dry_run": !args.apply.apply, "sound": sound,
            "checked": report.checked, "damaged_snapshots": report.damaged.len(), "to_do": to_do,
            "lost_entries": report.damaged.iter().fold(0u64, |sum, d| sum.saturating_add(d.lost)),
        }))?;
        return Ok(exit);
    }
    for damaged in &report.damaged {
        print_snapshot(session, damaged)?;
    }
    session.console.summary(format_args!(
        "looked at {}, {} damaged",
        units::count(report.checked, "snapshot"),
        report.damaged.len()
    ))?;
    if !sound && to_do == 0 && !args.apply.apply {
        session.console.summary("nothing was changed, and nothing is left to do: what can be read has its copies")?;
    } else {
        close(session, &args.apply, sound)?;
    }
    Ok(exit)
}

fn outcome(damaged: &DamagedSnapshot) -> (&'static str, Option<String>) {
    match damaged.outcome {
        repair::Outcome::Planned => ("planned", None),
        repair::Outcome::Made(twin) => ("made", Some(twin.to_hex())),
        repair::Outcome::Known(twin) => ("known", Some(twin.to_hex())),
        repair::Outcome::Nothing => ("nothing", None),
    }
}

fn snapshot_json(damaged: &DamagedSnapshot) -> Value {
    let (outcome, repaired) = outcome(damaged);
    json!({
        "message_type": "damaged_snapshot", "id": damaged.id.to_hex(), "name": damaged.name,
        "time": damaged.time.to_string(), "entries_kept": damaged.entries, "bytes_kept": damaged.bytes,
        "entries_lost": damaged.lost, "lost": damaged.problems.iter().map(problem_json).collect::<Vec<_>>(),
        "outcome": outcome, "repaired": repaired, "forgotten": damaged.forgotten, "to_do": damaged.to_do,
    })
}

fn print_snapshot(session: &Session, damaged: &DamagedSnapshot) -> Result<()> {
    let console = &session.console;
    console.line(format_args!(
        "snapshot {} ({}, {}): {} whole, {} lost",
        short(&damaged.id.to_hex()),
        damaged.name,
        units::time(damaged.time),
        units::count(damaged.entries, "entry"),
        damaged.lost,
    ))?;
    for problem in damaged.problems.iter().take(LOST_SHOWN) {
        console.line(format_args!("  {}", problem_text(problem)))?;
    }
    let more = damaged.problems.len().saturating_sub(LOST_SHOWN);
    if more > 0 {
        console.line(format_args!("  {more} more; --json lists them"))?;
    }
    let (_, twin) = outcome(damaged);
    let twin = twin.as_deref().map(short).unwrap_or_default();
    match damaged.outcome {
        repair::Outcome::Planned => console.line("  would be copied without what is lost")?,
        repair::Outcome::Made(_) => console.line(format_args!("  repaired copy: {twin}"))?,
        repair::Outcome::Known(_) => console.line(format_args!("  has a repaired copy already: {twin}"))?,
        repair::Outcome::Nothing => console.line("  nothing of it can be read: left as it is")?,
    }
    if damaged.forgotten {
        console.line("  the damaged one is forgotten")?;
    }
    Ok(())
}
