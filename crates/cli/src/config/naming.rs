//! The names of the snapshots that pipelines make, and whether each names what it means.

use crate::config::load::Finding;
use crate::config::model::{Backup, PipelineConfig};
use crate::surroundings;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::select;
use std::collections::BTreeMap;

/// What a name may have in braces.
const PLACEHOLDERS: [&str; 3] = ["{pipeline}", "{source}", "{host}"];

/// The name of the snapshots of `source` that the pipeline `name` makes on `host`.
///
/// # Errors
/// `Invalid` for an unknown placeholder, or a name that a selector takes for something else.
pub(crate) fn snapshot_name(pipeline: &PipelineConfig, name: &str, source: &str, host: &str) -> Result<String> {
    let literal = PLACEHOLDERS.iter().fold(pipeline.name.clone(), |text, known| text.replace(known, ""));
    if let Some(at) = literal.find(['{', '}']) {
        let unknown = literal.get(at..).unwrap_or_default();
        let unknown = unknown.split_inclusive('}').next().unwrap_or_default();
        return Err(Error::new(ErrorKind::Invalid, "config", "an unknown placeholder")
            .with("placeholder", unknown)
            .with("known", PLACEHOLDERS.join(", ")));
    }
    // The host last: it alone may have braces of its own.
    let named = PLACEHOLDERS
        .iter()
        .zip([name, source, host])
        .fold(pipeline.name.clone(), |text, (known, value)| text.replace(known, value));
    select::check_name(&named)?;
    Ok(named)
}

/// What is wrong with the names of all pipelines, taken one by one and together.
pub(super) fn check(backup: &Backup, found: &mut Vec<Finding>) {
    let host = backup.host.clone().unwrap_or_else(surroundings::host);
    // Names by the place they are in: two sinks may be one.
    let mut taken: BTreeMap<(&str, String), &str> = BTreeMap::new();
    for (name, pipeline) in &backup.pipelines {
        let place = backup.sinks.get(&pipeline.sink).map_or(pipeline.sink.as_str(), |sink| sink.url.trim());
        for source in &pipeline.sources {
            let message = match snapshot_name(pipeline, name, source, &host) {
                Err(error) => error.to_string(),
                Ok(named) => match taken.insert((place, named.clone()), name) {
                    Some(other) if other != name => format!(
                        "pipeline {other} makes snapshots of the name \"{named}\" in the same repository: they would be one series"
                    ),
                    _ => continue,
                },
            };
            found.push(Finding::new(&["backup", "pipelines", name, "name"], message));
            break;
        }
    }
}
