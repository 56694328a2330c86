//! `sink`.

use crate::args::SinkCommand;
use crate::exit::{Exit, Outcome};
use crate::local;
use crate::output::{Format, Table};
use crate::session::Session;
use crate::units;
use decube_backup_core::{Key, PutMode, Result, Rope, Sink};
use decube_backup_testkit::conformance::{self, CheckReport, Options, SuiteReport};
use serde_json::json;
use std::time::Duration;

/// Runs a `sink` command.
///
/// # Errors
/// The place cannot be opened.
pub(super) fn run(session: &Session, command: &SinkCommand) -> Outcome {
    let SinkCommand::Check { place, quick } = command;
    let place = match place {
        Some(place) => session.place_named(place)?,
        None => session.place()?,
    };
    // Without retries: what the layers above would hide is what is looked for.
    let sink = session.bare_sink(&place)?;
    let mut options = Options { entropy: session.entropy.clone(), ..Options::default() };
    if *quick {
        options.object_bytes_max = 1 << 20;
        options.list_objects = 40;
        options.race_rounds = 3;
        options.patience = Duration::from_secs(60);
    }
    session
        .console
        .talk(format_args!("checking {}; this writes below conformance/ and removes it again", place.shown()));
    let made = place.missing_directories();
    let runtime = session.runtime()?;
    // Where nothing can be written at all, every promise would be reported as broken.
    let probed = runtime.block_on(probe(&*sink, &options));
    let suite = probed.map(|()| runtime.block_on(conformance::run_all(sink, options)));
    local::remove_made(&made);
    let suite = suite.map_err(|e| e.with("place", place.shown()))?;
    match session.console.format() {
        Format::Json => print_json(session, &suite)?,
        Format::Text => print_text(session, &suite)?,
    }
    Ok(if suite.passed() { Exit::Done } else { Exit::Damaged })
}

/// Writes and removes one object as large as the largest of the checks.
async fn probe(sink: &dyn Sink, options: &Options) -> Result<()> {
    let mut random = [0; 16];
    options.entropy.fill(&mut random)?;
    let key = Key::new(format!("conformance/{:032x}/probe", u128::from_le_bytes(random)))?;
    sink.put(&key, Rope::from(vec![0; options.object_bytes_max]), PutMode::CreateNew).await?;
    sink.delete(&key).await
}

fn words(check: &CheckReport) -> (&'static str, Vec<String>) {
    match &check.outcome {
        conformance::Outcome::Passed => ("ok", Vec::new()),
        conformance::Outcome::Skipped(reason) => ("skipped", vec![reason.clone()]),
        conformance::Outcome::Failed(findings) => ("FAILED", findings.iter().map(ToString::to_string).collect()),
    }
}

fn print_json(session: &Session, suite: &SuiteReport) -> decube_backup_core::Result<()> {
    for check in &suite.checks {
        let (outcome, said) = words(check);
        session.console.json_item(&json!({
            "message_type": "check",
            "name": check.name,
            "contract": check.contract,
            "outcome": outcome.to_ascii_lowercase(),
            "findings": said,
        }))?;
    }
    session.console.json(&json!({
        "message_type": "summary",
        "passed": suite.passed(),
        "failed": suite.failed().count(),
        "leftovers": suite.leftovers().collect::<Vec<_>>(),
    }))
}

fn print_text(session: &Session, suite: &SuiteReport) -> decube_backup_core::Result<()> {
    let mut table = Table::new(&[">Contract", "Check", "Outcome"]);
    for check in &suite.checks {
        let (outcome, said) = words(check);
        let outcome = std::iter::once(outcome.to_owned()).chain(said).collect::<Vec<_>>().join(": ");
        table.row(vec![check.contract.to_string(), check.name.replace('_', " "), outcome]);
    }
    table.print(&session.console)?;
    for object in suite.leftovers() {
        session.console.warn(format_args!("could not remove {object}"));
    }
    let failed = suite.failed().count() as u64;
    session.console.summary(match failed {
        0 => "the storage keeps its promises".to_owned(),
        n => format!("{} not kept: do not keep a repository there", units::count(n, "promise")),
    })
}
