//! `config` and `explain-exclude`.

use crate::args::{ConfigCommand, ExplainArgs};
use crate::commands::run_pipelines::paths_of;
use crate::config;
use crate::exit::{Exit, Outcome};
use crate::local::{self, Paths};
use crate::output::{Format, Table, put_path};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::display::display_bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

/// Runs a `config` command.
///
/// # Errors
/// The configuration is missing or wrong.
pub(super) fn run(session: &Session, command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Check => check(session)?,
        ConfigCommand::Show { origin } => show(session, *origin)?,
        ConfigCommand::Schema => match session.console.format() {
            Format::Text => session.console.document(&pretty(&config::schema())?)?,
            Format::Json => session.console.json(&config::schema())?,
        },
    }
    Ok(Exit::Done)
}

fn check(session: &Session) -> Result<()> {
    let configuration = session.required_configuration()?;
    // Patterns and backends have a meaning of their own: what cannot be compiled or opened is wrong too.
    for name in configuration.backup.sources.keys() {
        let paths = paths_of(configuration, name)?;
        local::explain(&paths, &[]).map_err(|e| at(configuration, "sources", name, e))?;
    }
    for (name, sink) in &configuration.backup.sinks {
        if config::has_references(sink) {
            continue;
        }
        let place = session.place_configured(name)?;
        session.bare_sink(&place).map_err(|e| at(configuration, "sinks", name, e))?;
    }
    let backup = &configuration.backup;
    match session.console.format() {
        Format::Json => session.console.json(&json!({
            "message_type": "summary",
            "file": configuration.file.display().to_string(),
            "sources": backup.sources.len(),
            "sinks": backup.sinks.len(),
            "pipelines": backup.pipelines.len(),
        })),
        Format::Text => session.console.summary(format_args!(
            "{} is right: {}, {}, {}",
            configuration.file.display(),
            units::count(backup.sources.len() as u64, "source"),
            units::count(backup.sinks.len() as u64, "sink"),
            units::count(backup.pipelines.len() as u64, "pipeline"),
        )),
    }
}

fn at(configuration: &config::Configuration, section: &str, name: &str, error: Error) -> Error {
    let place = configuration.place(&["backup", section, name]);
    Error::new(ErrorKind::Invalid, "config", place).with_source(error)
}

fn show(session: &Session, origin: bool) -> Result<()> {
    let shown = config::shown(session.required_configuration()?)?;
    let console = &session.console;
    match (origin, console.format()) {
        (false, Format::Json) => console.json(&shown.document),
        (false, Format::Text) => console.document(&pretty(&shown.document)?),
        (true, Format::Json) => shown.leaves.iter().try_for_each(|(path, value, origin)| {
            console.json_item(&json!({"path": path, "value": value, "origin": origin}))
        }),
        (true, Format::Text) => {
            let mut table = Table::new(&["Key", "Value", "From"]);
            for (path, value, origin) in shown.leaves {
                let value = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                table.row(vec![path, value, origin]);
            }
            table.print(console)
        }
    }
}

fn pretty(value: &Value) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "config", "cannot print JSON").with_source(e))
}

/// Says of paths whether they would be backed up, and why.
///
/// # Errors
/// A bad pattern, or directories that cannot be read.
pub(super) fn explain(session: &Session, args: &ExplainArgs) -> Outcome {
    let directory = surroundings::working_directory()?;
    let mut paths = match &args.configured {
        Some(name) => paths_of(session.required_configuration()?, name)?,
        None => Paths { exclude: args.exclude.clone(), directory: directory.clone(), ..Paths::default() },
    };
    if args.configured.is_none() {
        paths.required = if args.source.is_empty() { vec![directory.clone()] } else { args.source.clone() };
    }
    let asked: Vec<_> = args.paths.iter().map(|path| directory.join(path)).collect();
    for explained in local::explain(&paths, &asked)? {
        let path = explained.path.as_os_str().as_encoded_bytes();
        match session.console.format() {
            Format::Json => {
                let mut object = Map::new();
                object.insert("message_type".into(), "explanation".into());
                put_path(&mut object, path);
                object.insert("verdict".into(), explained.verdict.into());
                object.insert("reason".into(), explained.reason.into());
                session.console.json_item(&object)?;
            }
            Format::Text => session.console.line(format_args!("{}: {}", display_bytes(path), explained.reason))?,
        }
    }
    Ok(Exit::Done)
}
