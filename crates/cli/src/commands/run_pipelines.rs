//! `run`: configured pipelines, source by source.

use crate::args::{ExcludeArgs, RunArgs};
use crate::commands::forget::Listing;
use crate::commands::{backup, forget};
use crate::config::model::{PipelineConfig, RetentionConfig};
use crate::config::{self, Configuration};
use crate::exit::{Exit, Failure, Outcome};
use crate::local::{self, Paths};
use crate::output::{Format, Table};
use crate::session::Session;
use crate::{patterns, surroundings, units};
use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::forget::{ForgetOptions, Wanted};
use decube_backup_engine::options::{BackupOptions, BackupReport, Effect, SnapshotFilter};
use decube_backup_engine::repository::Repository;
use decube_backup_engine::retention::Refusal;
use decube_backup_format::seal::Cipher;
use serde_json::json;
use std::path::PathBuf;

/// How one source of one pipeline ended.
struct Line {
    pipeline: String,
    source: String,
    exit: Exit,
    /// What the exit does not say.
    note: Option<String>,
}

/// What stands for a source where a pipeline forgets.
const RETENTION: &str = "(retention)";
const NOT_BEGUN: &str = "not begun: interrupted before";

/// How a part of a pipeline ends that a stop came before.
fn not_begun() -> Outcome<(Exit, Option<String>)> {
    Ok((Exit::Interrupted, Some(NOT_BEGUN.to_owned())))
}

fn say_what_was_not_begun(session: &Session, lines: &[Line]) {
    let not = lines.iter().filter(|line| line.note.as_deref() == Some(NOT_BEGUN));
    let not: Vec<String> = not.map(|line| format!("{}: {}", line.pipeline, line.source)).collect();
    if !not.is_empty() {
        session.console.warn(format_args!("interrupted; not begun: {}", not.join(", ")));
    }
}

/// Runs pipelines. One that fails does not stop the others.
///
/// # Errors
/// The configuration is wrong, or has no such pipeline.
pub(super) fn run(session: &Session, args: &RunArgs) -> Outcome {
    let configuration = session.required_configuration()?;
    let known = &configuration.backup.pipelines;
    if let Some(unknown) = args.pipelines.iter().find(|name| !known.contains_key(*name)) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(Error::new(ErrorKind::Invalid, "run", "no such pipeline is configured")
            .with("pipeline", unknown)
            .with_hint(format!("configured pipelines: {}", names.join(", ")))
            .into());
    }
    if known.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "run", "no pipeline is configured")
            .with("file", configuration.file.display())
            .into());
    }
    if configuration.backup.monitoring.as_ref().is_some_and(|monitoring| monitoring.enabled) {
        session.console.warn("configured but not executed by this version: monitoring");
    }
    // Given on the command line it is refused before.
    if session.global.repo.is_some() {
        session.console.talk("DECUBE_BACKUP_REPOSITORY is not used: each pipeline backs up to its own sink");
    }
    let mut lines = Vec::new();
    let wanted = known.iter().filter(|(name, _)| args.pipelines.is_empty() || args.pipelines.contains(name));
    for (name, pipeline) in wanted {
        run_one(session, configuration, args, name, pipeline, &mut lines);
    }
    say_what_was_not_begun(session, &lines);
    summary(session, &lines)?;
    Ok(lines.iter().map(|line| line.exit).max().unwrap_or(Exit::Done))
}

fn run_one(
    session: &Session,
    configuration: &Configuration,
    args: &RunArgs,
    name: &str,
    pipeline: &PipelineConfig,
    lines: &mut Vec<Line>,
) {
    let mut ended = |source: &str, outcome: Outcome<(Exit, Option<String>)>| {
        let (exit, note) = outcome.unwrap_or_else(|Failure { error, exit }| {
            let error = error.with("pipeline", name);
            let error =
                if pipeline.sources.iter().any(|known| known == source) { error.with("source", source) } else { error };
            let failure = Failure { error, exit };
            session.console.failure(&failure);
            (failure.exit, None)
        });
        lines.push(Line { pipeline: name.to_owned(), source: source.to_owned(), exit, note });
        exit
    };
    if session.stop.is_raised() {
        for part in pipeline.sources.iter().map(String::as_str).chain(pipeline.retention.as_ref().map(|_| RETENTION)) {
            ended(part, not_begun());
        }
        return;
    }
    say_what_is_not_executed(session, name, pipeline);
    let opened = session
        .place_configured(&pipeline.sink)
        .map_err(Failure::from)
        .and_then(|place| session.open_to_write_at(&place));
    let opened = opened.and_then(|repository| {
        check_cipher(&repository, pipeline)?;
        Ok(repository)
    });
    let mut repository = match opened {
        Ok(repository) => repository,
        Err(Failure { error, exit }) => {
            // Others may have changed something.
            let error = error.with_hint_if(ErrorKind::Interrupted, "nothing of this pipeline was begun");
            ended("-", Err(Failure { error, exit }));
            return;
        }
    };
    let (mut missing, mut failed) = (Vec::new(), false);
    for source in &pipeline.sources {
        if session.stop.is_raised() {
            failed = true;
            ended(source, not_begun());
            continue;
        }
        session.console.talk(format_args!("{name}: {source}"));
        let report = back_up(session, configuration, args, (name, pipeline), source, &mut repository);
        let outcome = report.map(|report| {
            if report.problems.contains_key(&ProblemKind::MissingSource) {
                missing.push(source.clone());
            }
            (Exit::of_problems(&report.problems), None)
        });
        failed |= !matches!(ended(source, outcome), Exit::Done | Exit::Problems);
    }
    if let Some(retention) = &pipeline.retention {
        if session.stop.is_raised() {
            ended(RETENTION, not_begun());
            return;
        }
        // What was not backed up must not lose what there is of it.
        if failed {
            session.console.warn(format_args!("pipeline {name}: nothing is forgotten, because a backup failed"));
            return;
        }
        let spared = Spared { missing, of: pipeline.sources.len() };
        ended(RETENTION, retain(session, configuration, args, (name, retention), &spared, &repository));
    }
}

/// Sources whose snapshots stay, because not all of their roots could be read in this run.
struct Spared {
    missing: Vec<String>,
    /// Of how many sources in all.
    of: usize,
}

impl Spared {
    fn told(&self) -> Option<String> {
        let names = self.missing.join(", ");
        (!self.missing.is_empty()).then(|| format!("nothing is forgotten of {names}: a path was missing or unreadable"))
    }
}

/// A repository has one cipher, chosen when it was made: another one that is asked for is not passed over in silence.
fn check_cipher(repository: &Repository, pipeline: &PipelineConfig) -> Result<()> {
    let own = match repository.cipher()? {
        Cipher::Aes256Gcm => "aes-256-gcm",
        Cipher::ChaCha20Poly1305 => "chacha20-poly1305",
    };
    match config::cipher(&pipeline.transforms).filter(|named| *named != own) {
        None => Ok(()),
        Some(named) => {
            Err(Error::new(ErrorKind::Invalid, "run", "the transforms name another cipher than the repository's")
                .with("transforms", named)
                .with("repository", own)
                .with_hint("leave the cipher out, or name the repository's; another one takes a new repository"))
        }
    }
}

/// Forgets what the pipeline `name` made on this host and its policy does not keep.
fn retain(
    session: &Session,
    configuration: &Configuration,
    args: &RunArgs,
    (name, retention): (&str, &RetentionConfig),
    spared: &Spared,
    repository: &Repository,
) -> Outcome<(Exit, Option<String>)> {
    let host = host_of(configuration);
    let note = spared.told();
    if let Some(note) = &note {
        session.console.warn(format_args!("pipeline {name}: {note}"));
    }
    let exit = if note.is_some() { Exit::Problems } else { Exit::Done };
    if spared.missing.len() == spared.of {
        return Ok((exit, note));
    }
    let policy = config::retention::policy(retention)?;
    let zone = forget::zone_shown(&policy, retention.timezone.as_deref());
    let filter = SnapshotFilter {
        pipeline: Some(name.to_owned()),
        host: Some(host.clone()),
        not_components: spared.missing.clone(),
        ..SnapshotFilter::default()
    };
    let options = ForgetOptions {
        limits: config::retention::limits(retention),
        effect: if args.dry_run { Effect::DryRun } else { Effect::Real },
        ..forget::options(Wanted::Policy(filter, Box::new(policy)), host)
    };
    let report = decube_backup_engine::forget::forget(repository, &options)?;
    forget::show(session, &report, &options, Some(&zone), Listing::Dropped)?;
    if args.dry_run {
        session.console.talk("a real run makes a snapshot first, and decides with that one among them");
    }
    report.check().map_err(|error| match &report.refusal {
        Some(refusal) => error.with_hint(hint(refusal, name, configuration)),
        None => error,
    })?;
    Ok((exit, note))
}

/// What would let the guard of `forget` pass in a run of the pipeline `name`.
fn hint(refusal: &Refusal, name: &str, configuration: &Configuration) -> String {
    match refusal {
        Refusal::Share { .. } => {
            let share = refusal.share_percent().unwrap_or(100);
            let once = configuration.variable_of_pipeline(name, "RETENTION__ALLOW_SHARE");
            let once = once.map(|variable| format!("once with the variable {variable}={share}, or for good "));
            format!(
                "nothing was forgotten; look at the list with `run {name} -n`, and if it is right allow it {}with \
                 `allow_share: {share}` in the pipeline's retention",
                once.unwrap_or_default()
            )
        }
        Refusal::EmptyGroups(_) | Refusal::Pinned(_) => {
            "nothing was forgotten; a pipeline lets no last snapshot of a group go: if that is meant, use `forget`"
                .to_owned()
        }
    }
}

fn host_of(configuration: &Configuration) -> String {
    configuration.backup.host.clone().unwrap_or_else(surroundings::host)
}

fn back_up(
    session: &Session,
    configuration: &Configuration,
    args: &RunArgs,
    (name, pipeline): (&str, &PipelineConfig),
    source: &str,
    repository: &mut Repository,
) -> Outcome<BackupReport> {
    let mut paths = paths_of(configuration, source)?;
    // Before links are followed: as they are written.
    patterns::warnings(&paths).iter().for_each(|told| session.console.warn(told));
    paths.follow_links(&|told| session.console.warn(told));
    let host = match (&configuration.backup.host, repository.write_only_host()) {
        (None, Some(host)) => host.to_owned(),
        _ => host_of(configuration),
    };
    // Checked again: which host it is a key may have said.
    let named = config::snapshot_name(pipeline, name, source, &host)?;
    let level = config::effort(&pipeline.transforms).map_err(|e| Error::new(ErrorKind::Invalid, "config", e))?;
    let options = BackupOptions {
        name: Some(named),
        host,
        username: surroundings::user(),
        labels: pipeline.labels.clone(),
        tags: pipeline.tags.clone(),
        component: Some(source.to_owned()),
        pipeline: Some(name.to_owned()),
        excludes: paths.rules(),
        effort: backup::effort(level),
        ..backup::choices(args.force, args.dry_run)
    };
    let files = local::source(&paths).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error.with_hint(format!(
            "nothing of it was backed up; if it may be missing, declare `optional: true` for {source}"
        )),
        _ => error,
    })?;
    let files = if args.dry_run { backup::told(session, files) } else { files };
    Ok(backup::one(session, repository, &*files, &options)?)
}

/// The paths of the configured source `name`.
///
/// # Errors
/// There is no such source.
pub(super) fn paths_of(configuration: &Configuration, name: &str) -> Result<Paths> {
    let source = configuration.backup.sources.get(name).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "config", "no such source is configured")
            .with("source", name)
            .with("file", configuration.file.display())
    })?;
    let larger_than = source.exclude_larger_than.as_deref().map(units::parse_size).transpose();
    let larger_than = larger_than.map_err(|e| Error::new(ErrorKind::Invalid, "config", e))?;
    let paths: Vec<PathBuf> = source.paths.iter().map(PathBuf::from).collect();
    let (required, optional) = if source.optional { (Vec::new(), paths) } else { (paths, Vec::new()) };
    Ok(Paths {
        required,
        optional,
        directory: configuration.directory(),
        exclude: ExcludeArgs {
            exclude: source.exclude.clone(),
            iexclude: source.iexclude.clone(),
            exclude_file: source.exclude_files.iter().map(PathBuf::from).collect(),
            ignore_file: source.ignore_files.clone(),
            exclude_caches: source.exclude_caches,
            exclude_if_present: source.exclude_if_present.clone(),
            exclude_larger_than: larger_than,
            exclude_nodump: source.exclude_nodump,
            one_file_system: source.one_file_system,
        },
    })
}

/// `run` backs up and forgets; what else a pipeline asks for is named, never passed over in silence.
fn say_what_is_not_executed(session: &Session, name: &str, pipeline: &PipelineConfig) {
    let parts = [
        (!pipeline.replicas.is_empty(), "replicas"),
        (pipeline.checks.is_some(), "checks"),
        (pipeline.schedule.is_some(), "schedule"),
    ];
    let not: Vec<&str> = parts.iter().filter(|(given, _)| *given).map(|(_, part)| *part).collect();
    if !not.is_empty() {
        session.console.warn(format_args!(
            "pipeline {name}: configured but not executed by this version: {}; `run` backs up to {} now",
            not.join(", "),
            pipeline.sink
        ));
    }
}

fn summary(session: &Session, lines: &[Line]) -> Result<()> {
    let console = &session.console;
    if console.format() == Format::Json {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| {
                json!({
                    "pipeline": line.pipeline, "source": line.source, "exit_code": line.exit.code(), "note": line.note,
                })
            })
            .collect();
        return console.json(&json!({"message_type": "run_summary", "results": lines}));
    }
    let mut table = Table::new(&["Pipeline", "Source", "Result"]);
    for line in lines {
        let result = match line.exit {
            // Others may have published: what the code means for the whole of a command is not said of one line.
            Exit::Failed => "failed",
            ended => crate::exit::TABLE.iter().find(|(exit, ..)| *exit == ended).map_or("", |(_, _, text)| text),
        };
        let result = line.note.as_deref().unwrap_or(result).to_owned();
        table.row(vec![line.pipeline.clone(), line.source.clone(), result]);
    }
    match console.volume() {
        crate::output::Volume::Quiet => Ok(()),
        _ => table.print(console),
    }
}
