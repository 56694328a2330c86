//! `backup`, and what `run` does for each source.

use crate::args::BackupArgs;
use crate::commands::listed::listed;
use crate::commands::report::{failing, rate, short};
use crate::exit::{Exit, Outcome};
use crate::local::{self, Paths};
use crate::output::{Bar, Format, Volume, problem_counts_json, problem_json};
use crate::session::Session;
use crate::{patterns, surroundings, units};
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::{Result, Source};
use decube_backup_engine::backup;
use decube_backup_engine::options::{BackupOptions, BackupReport, ChangeDetection, Effect};
use decube_backup_engine::repository::Repository;
use decube_backup_engine::select::parse_path;
use decube_backup_format::codec::Effort;
use decube_backup_sources::stream::{Attributes, EmptyInput, StreamSource};
use serde_json::json;
use std::sync::Arc;

/// Runs `backup`.
///
/// # Errors
/// What kept it from publishing a snapshot.
pub(super) fn run(session: &Session, args: &BackupArgs) -> Outcome {
    let mut paths = Paths {
        required: args.paths.clone(),
        optional: args.optional_source.clone(),
        directory: surroundings::working_directory()?,
        exclude: args.exclude.clone(),
    };
    // Before links are followed: as they are written.
    patterns::warnings(&paths).iter().for_each(|told| session.console.warn(told));
    paths.follow_links(&|told| session.console.warn(told));
    let mut options = BackupOptions {
        name: args.name.clone(),
        host: args.host.clone().unwrap_or_else(surroundings::host),
        username: surroundings::user(),
        labels: args.label.iter().cloned().collect(),
        tags: args.tag.clone(),
        time: args.time,
        excludes: paths.rules(),
        effort: effort(args.compression.0),
        ..choices(args.force, args.dry_run)
    };
    // A bad path or pattern is said before anybody is asked for a password.
    let source = match args.stdin {
        true => standard_input(session, args)?,
        false => local::source(&paths)?,
    };
    let source = if args.dry_run { told(session, source) } else { source };
    let mut repository = session.open_to_write()?;
    if let (None, Some(host)) = (&args.host, repository.write_only_host()) {
        options.host = host.to_owned();
    }
    if let Some(parent) = &args.parent {
        options.parent = Some(repository.select_whole(parent)?.id);
    }
    let report = one(session, &mut repository, &*source, &options)?;
    Ok(Exit::of_problems(&report.problems))
}

/// Standard input as the file that --stdin-filename names.
fn standard_input(session: &Session, args: &BackupArgs) -> Result<Box<dyn Source>> {
    let path = parse_path(args.stdin_filename.as_deref().unwrap_or("stdin").as_bytes())?;
    let input = surroundings::standard_input()?;
    let (uid, gid) = surroundings::owner();
    let attributes = Attributes { uid, gid, mtime: args.time.unwrap_or_else(|| session.clock.now()) };
    let stop = session.stop.clone();
    let empty = if args.force { EmptyInput::Stored } else { EmptyInput::Refused };
    Ok(Box::new(StreamSource::new(path, attributes, input, empty, Arc::new(move || stop.is_raised()))?))
}

/// `source` of a dry run, whose new and changed files are listed with -v.
pub(super) fn told(session: &Session, source: Box<dyn Source>) -> Box<dyn Source> {
    match session.console.volume() {
        Volume::Verbose => listed(source, session.console.clone()),
        _ => source,
    }
}

/// How hard to compress.
pub(super) fn effort(level: Option<i32>) -> Option<Effort> {
    level.map(Effort::Level)
}

/// Options from the two switches `backup` and `run` share.
pub(super) fn choices(read_all: bool, dry_run: bool) -> BackupOptions {
    BackupOptions {
        detection: if read_all { ChangeDetection::ReadAll } else { ChangeDetection::StatCache },
        effect: if dry_run { Effect::DryRun } else { Effect::Real },
        ..BackupOptions::default()
    }
}

/// Backs up one source and says what was done.
///
/// # Errors
/// What kept it from publishing a snapshot.
pub(super) fn one(
    session: &Session,
    repository: &mut Repository,
    source: &dyn Source,
    options: &BackupOptions,
) -> Result<BackupReport> {
    let reporter = session.reporter("backup", Bar::Shown)?;
    let report = backup::backup(repository, source, options, &reporter)?;
    reporter.finish();
    match session.console.format() {
        Format::Json => session.console.json(&summary_json(&report, options))?,
        Format::Text => summary_text(session, repository, &report, options)?,
    }
    Ok(report)
}

fn summary_json(report: &BackupReport, options: &BackupOptions) -> serde_json::Value {
    json!({
        "message_type": "summary",
        "dry_run": options.effect == Effect::DryRun,
        "snapshot_id": report.snapshot.map(|id| id.to_hex()),
        "name": report.name,
        "parent": report.parent.map(|id| id.to_hex()),
        "component": options.component,
        "pipeline": options.pipeline,
        "files_new": report.files_new,
        "files_changed": report.files_changed,
        "files_unmodified": report.files_unchanged,
        "files_healed": report.files_healed,
        "dirs": report.directories,
        "others": report.others,
        "total_entries": report.entries,
        "total_bytes_processed": report.bytes,
        "bytes_read": report.bytes_read,
        "data_added": report.bytes_new,
        "data_added_packed": report.bytes_stored,
        "data_blobs": report.chunks_new,
        "data_blobs_reused": report.chunks_reused,
        "packs_new": report.packs_new,
        "total_duration": report.seconds,
        "error_count": report.problems.iter().filter(|(kind, _)| kind.counts()).map(|(_, n)| n).sum::<u64>(),
        "problems": problem_counts_json(&report.problems),
        "problem_list": report.problem_list.iter().map(problem_json).collect::<Vec<_>>(),
    })
}

fn summary_text(
    session: &Session,
    repository: &Repository,
    report: &BackupReport,
    options: &BackupOptions,
) -> Result<()> {
    let console = &session.console;
    let files = format!(
        "files:    {} new, {} changed, {} unchanged; {}, {}",
        report.files_new,
        report.files_changed,
        report.files_unchanged,
        units::count(report.directories, "directory"),
        units::count(report.others, "other"),
    );
    console.summary(files)?;
    console.summary(format_args!(
        "content:  {} in all, {} read, {} new, {} stored",
        units::size(report.bytes),
        units::size(report.bytes_read),
        units::size(report.bytes_new),
        units::size(report.bytes_stored),
    ))?;
    if report.files_healed > 0 {
        let files = units::count(report.files_healed, "unchanged file");
        console.summary(format_args!("healed:   {files} read again, because packs with their content are damaged"))?;
    }
    if let Some(notes) = report.problems.get(&ProblemKind::Skipped).filter(|n| **n > 0) {
        console.summary(format_args!("skipped:  {}", units::count(*notes, "socket")))?;
    }
    if let Some(problems) = failing(&report.problems) {
        let readable = report.snapshot.filter(|_| repository.write_only_host().is_none());
        let listed = readable.map(|id| format!("; `ls {} --problems` lists them", short(&id.to_hex())));
        console.warn(format_args!("problems: {problems}{}", listed.unwrap_or_default()));
    }
    let speed = rate(report.bytes_read, report.seconds);
    let took = units::duration(report.seconds);
    match report.snapshot {
        Some(id) => console.summary(format_args!(
            "snapshot {} of \"{}\" saved in {took} ({speed})",
            short(&id.to_hex()),
            report.name
        )),
        None if options.effect == Effect::DryRun => {
            console.summary(format_args!("dry run of \"{}\": nothing was written ({took})", report.name))
        }
        None => console.summary(format_args!("no snapshot was made ({took})")),
    }
}
