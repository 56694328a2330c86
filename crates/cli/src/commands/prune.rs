//! `prune`.

use crate::args::PruneArgs;
use crate::exit::{Exit, Outcome};
use crate::output::{Bar, Format, Table};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::Result;
use decube_backup_engine::Repository;
use decube_backup_engine::gc::{self, Amount, PruneOptions, PruneReport, PruneSummary};
use serde_json::json;
use std::time::Duration;

/// Frees what no live snapshot needs.
///
/// # Errors
/// A live snapshot cannot be read completely, others win every race for the log, the storage does not allow deleting.
pub(super) fn run(session: &Session, args: &PruneArgs) -> Outcome {
    free(session, &session.open()?, args)
}

/// As [`run`], in an open repository.
pub(super) fn free(session: &Session, repository: &Repository, args: &PruneArgs) -> Outcome {
    let usual = PruneOptions::default();
    let options = PruneOptions {
        max_unused: args.max_unused,
        repack_bytes_max: args.max_repack_size,
        grace: Duration::from_secs(args.grace),
        orphan_age: args.leftovers_older_than.map_or(usual.orphan_age, Duration::from_secs),
        host: surroundings::host(),
        username: surroundings::user(),
    };
    let reporter = session.reporter("prune", Bar::Shown)?;
    let plan = gc::plan(repository, &options, &reporter)?;
    let summary = *plan.summary();
    reporter.finish();
    print_plan(session, &summary)?;
    if args.dry_run {
        session.console.summary("dry run: nothing was changed")?;
        return Ok(Exit::Done);
    }
    let report = plan.run(&reporter)?;
    reporter.finish();
    print_report(session, &summary, &report)?;
    Ok(if report.packs_damaged > 0 { Exit::Problems } else { Exit::Done })
}

fn print_plan(session: &Session, plan: &PruneSummary) -> Result<()> {
    let console = &session.console;
    if console.format() == Format::Json {
        let mut value = serde_json::to_value(plan).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.insert("message_type".into(), "plan".into());
        }
        return console.json(&value);
    }
    if console.volume() == crate::output::Volume::Quiet {
        return Ok(());
    }
    let mut table = Table::new(&["Plan", ">Objects", ">Size"]);
    let mut row = |what: &str, amount: Amount| {
        if amount.count > 0 {
            table.row(vec![what.to_owned(), amount.count.to_string(), units::size(amount.bytes)]);
        }
    };
    row("packs that stay", plan.packs_kept);
    row("packs nobody needs: deleted", plan.packs_dead);
    row("packs mostly unused: the rest is copied", plan.packs_sparse);
    row("small packs: copied together", plan.packs_small);
    row("packs going after --grace", plan.packs_waiting);
    row("packs that no index knows: left alone", plan.packs_unknown);
    row("parity of packs that go: deleted", plan.parity);
    row("leftovers of interrupted uploads: deleted", plan.orphans);
    row("left by an earlier prune: deleted", plan.unfinished);
    row("superseded checkpoints: deleted", plan.checkpoints);
    if !table.is_empty() {
        table.print(console)?;
    }
    if plan.indexes_merged > 0 {
        console.summary(format_args!("{} to merge", units::count(plan.indexes_merged, "index segment")))?;
    }
    console.summary(format_args!(
        "{} live; {} unused in packs that stay; {} to copy; {} to free",
        units::count(plan.snapshots, "snapshot"),
        units::size(plan.bytes_unused_kept),
        units::size(plan.bytes_copied),
        units::size(plan.bytes_freed),
    ))?;
    let requests = &plan.requests;
    match plan.is_nothing() {
        true => console.summary("nothing to do"),
        false => console.summary(format_args!(
            "costs about {}, {} and {}",
            units::count(requests.gets, "read"),
            units::count(requests.puts, "write"),
            units::count(requests.deletes, "delete"),
        )),
    }
}

fn print_report(session: &Session, plan: &PruneSummary, report: &PruneReport) -> Result<()> {
    let console = &session.console;
    if console.format() == Format::Json {
        return console.json(&json!({
            "message_type": "summary",
            "packs_deleted": report.packs_deleted,
            "others_deleted": report.others_deleted,
            "bytes_deleted": report.bytes_deleted,
            "packs_written": report.packs_written,
            "bytes_written": report.bytes_written,
            "packs_spared": report.packs_spared,
            "packs_damaged": report.packs_damaged,
            "indexes_merged": report.indexes_merged,
            "total_duration": report.seconds,
        }));
    }
    if plan.is_nothing() {
        return Ok(());
    }
    console.summary(format_args!(
        "deleted {} and {} ({}), wrote {} ({}) in {}",
        units::count(report.packs_deleted, "pack"),
        units::count(report.others_deleted, "other object"),
        units::size(report.bytes_deleted),
        units::count(report.packs_written, "pack"),
        units::size(report.bytes_written),
        units::duration(report.seconds),
    ))?;
    if report.packs_damaged > 0 {
        let packs = units::count(report.packs_damaged, "damaged pack");
        console.warn(format_args!(
            "{packs} could not be copied or checked and stay; `verify --read-data` says what they hit"
        ));
    }
    match report.packs_spared {
        0 => Ok(()),
        n => console.summary(format_args!("{} stayed: needed by now, or damaged", units::count(n, "pack"))),
    }
}
