//! What types cannot say: references, schedules, sizes, spans.

use crate::args::subset_of;
use crate::config::load::Finding;
use crate::config::model::{Backup, MonitoringConfig, PipelineConfig, SinkConfig, SourceConfig};
use crate::config::{naming, retention, secrets};
use crate::units;
use decube_backup_format::parity::Overhead;
use std::str::FromStr;

/// Everything wrong, in the order of sections.
pub(super) fn findings(backup: &Backup) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, source) in &backup.sources {
        check_name(&["backup", "sources", name], name, &mut found);
        check_source(name, source, &mut found);
    }
    for (name, sink) in &backup.sinks {
        check_name(&["backup", "sinks", name], name, &mut found);
        check_sink(name, sink, &mut found);
    }
    for (name, pipeline) in &backup.pipelines {
        check_name(&["backup", "pipelines", name], name, &mut found);
        check_pipeline(backup, name, pipeline, &mut found);
    }
    naming::check(backup, &mut found);
    if backup.host.as_ref().is_some_and(|host| host.trim().is_empty()) {
        found.push(Finding::new(&["backup", "host"], "the host is empty; leave it out for this host's name"));
    }
    if let Some(monitoring) = &backup.monitoring {
        check_monitoring(monitoring, &mut found);
    }
    found
}

fn check_name(path: &[&str], name: &str, found: &mut Vec<Finding>) {
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)) {
        found.push(Finding::new(path, "names are letters, digits, dots, dashes and underscores"));
    }
}

fn check_source(name: &str, source: &SourceConfig, found: &mut Vec<Finding>) {
    if source.paths.is_empty() {
        found.push(Finding::new(&["backup", "sources", name, "paths"], "at least one path is needed"));
    }
    for (index, _) in source.paths.iter().enumerate().filter(|(_, path)| path.trim().is_empty()) {
        let index = index.to_string();
        let message = "the path is empty: it would stand for the directory of this file; write `.` if that is meant";
        found.push(Finding::new(&["backup", "sources", name, "paths", &index], message));
    }
    check_size(&["backup", "sources", name, "exclude_larger_than"], source.exclude_larger_than.as_deref(), found);
}

fn check_sink(name: &str, sink: &SinkConfig, found: &mut Vec<Finding>) {
    let at = |key| ["backup", "sinks", name, key];
    let ways = [
        ("password", &sink.password),
        ("password_file", &sink.password_file),
        ("password_command", &sink.password_command),
        ("key_file", &sink.key_file),
    ];
    if sink.url.trim().is_empty() {
        found.push(Finding::new(&at("url"), "the place is empty; write a directory or a URL such as fs:/srv/backup"));
    }
    let given: Vec<&str> = ways.iter().filter(|(_, value)| value.is_some()).map(|(key, _)| *key).collect();
    if let [first, second, ..] = given.as_slice() {
        found.push(Finding::new(&at(second), format!("give one of {first} and {second}, not both")));
    }
    for (key, value) in
        ways.iter().map(|(key, value)| (*key, value.as_deref())).chain([("url", Some(sink.url.as_str()))])
    {
        if let Some(Err(error)) = value.map(secrets::check) {
            found.push(Finding::new(&at(key), error.to_string()));
        }
    }
    if let Some(Err(error)) = sink.parity.map(Overhead::percent) {
        found.push(Finding::new(&at("parity"), error.to_string()));
    }
    check_size(&at("limit_upload"), sink.limit_upload.as_deref(), found);
    check_size(&at("limit_download"), sink.limit_download.as_deref(), found);
}

fn check_pipeline(backup: &Backup, name: &str, pipeline: &PipelineConfig, found: &mut Vec<Finding>) {
    let base = ["backup", "pipelines", name];
    let at = |keys: &[&'static str]| [&base[..], keys].concat();
    if pipeline.tags.iter().any(|tag| tag.trim().is_empty()) {
        found.push(Finding::new(&at(&["tags"]), "an empty tag is none"));
    }
    if pipeline.sources.is_empty() {
        found.push(Finding::new(&at(&["sources"]), "at least one source is needed"));
    }
    for (index, source) in pipeline.sources.iter().enumerate() {
        if pipeline.sources.iter().take(index).any(|before| before == source) {
            let index = index.to_string();
            let path = [&base[..], &["sources", &index]].concat();
            found.push(Finding::new(&path, format!("\"{source}\" is named twice: it would make two snapshots a run")));
        } else if !backup.sources.contains_key(source) {
            let index = index.to_string();
            let path = [&base[..], &["sources", &index]].concat();
            found.push(Finding::new(
                &path,
                format!("there is no source \"{source}\"; known: {}", names(backup.sources.keys())),
            ));
        }
    }
    let missing = |sink: &str| format!("there is no sink \"{sink}\"; known: {}", names(backup.sinks.keys()));
    if !backup.sinks.contains_key(&pipeline.sink) {
        found.push(Finding::new(&at(&["sink"]), missing(&pipeline.sink)));
    }
    for (index, replica) in pipeline.replicas.iter().enumerate() {
        let index = index.to_string();
        let path = |key| [&base[..], &["replicas", &index, key]].concat();
        if replica.sink == pipeline.sink {
            found.push(Finding::new(&path("sink"), "a replica must be another sink than the pipeline's"));
        } else if !backup.sinks.contains_key(&replica.sink) {
            found.push(Finding::new(&path("sink"), missing(&replica.sink)));
        }
        if replica.schedule != "continuous" {
            check_cron(&path("schedule"), Some(&replica.schedule), found);
        }
    }
    if let Err(message) = effort(&pipeline.transforms) {
        found.push(Finding::new(&at(&["transforms"]), message));
    }
    if pipeline.sources.len() > 1 && !pipeline.name.contains("{source}") {
        found.push(Finding::new(&at(&["name"]), "with several sources the name needs {source}, or they would mix"));
    }
    if let Some(schedule) = &pipeline.schedule {
        check_cron(&at(&["schedule", "full"]), schedule.full.as_deref(), found);
        check_cron(&at(&["schedule", "incremental"]), schedule.incremental.as_deref(), found);
    }
    if let Some(checks) = &pipeline.checks {
        check_cron(&at(&["checks", "verify"]), checks.verify.as_deref(), found);
        check_cron(&at(&["checks", "drill"]), checks.drill.as_deref(), found);
        if let Some(Err(message)) = checks.read_data_subset.as_deref().map(subset_of) {
            found.push(Finding::new(&at(&["checks", "read_data_subset"]), message));
        }
    }
    if let Some(Err((key, message))) = pipeline.retention.as_ref().map(retention::read) {
        let path = ["retention"].into_iter().chain(key).collect::<Vec<_>>();
        found.push(Finding::new(&at(&path), message));
    }
}

fn check_monitoring(monitoring: &MonitoringConfig, found: &mut Vec<Finding>) {
    check_span(&["backup", "monitoring", "check_interval"], monitoring.check_interval.as_deref(), found);
    if let Some(url) = &monitoring.metrics_endpoint
        && !(url.starts_with("http://") || url.starts_with("https://"))
    {
        found.push(Finding::new(&["backup", "monitoring", "metrics_endpoint"], "not an http or https URL"));
    }
}

fn check_size(path: &[&str], text: Option<&str>, found: &mut Vec<Finding>) {
    if let Some(Err(message)) = text.map(units::parse_size) {
        found.push(Finding::new(path, message));
    }
}

fn check_span(path: &[&str], text: Option<&str>, found: &mut Vec<Finding>) {
    if let Some(Err(error)) = text.map(units::parse_span_seconds) {
        found.push(Finding::new(path, error.to_string()));
    }
}

fn check_cron(path: &[&str], text: Option<&str>, found: &mut Vec<Finding>) {
    if let Some(Err(error)) = text.map(croner::Cron::from_str) {
        found.push(Finding::new(path, format!("not a cron expression: {error}")));
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The cipher a chain of transforms names, if it names one.
pub(crate) fn cipher(transforms: &[String]) -> Option<&str> {
    let named = transforms.last()?.split(':').next()?;
    ["aes-256-gcm", "chacha20-poly1305"].into_iter().find(|cipher| *cipher == named)
}

/// The compression level a chain of transforms asks for; `None` for the measured default.
///
/// # Errors
/// What is wrong with the chain.
pub(crate) fn effort(transforms: &[String]) -> Result<Option<i32>, String> {
    let mut level = None;
    for (index, transform) in transforms.iter().enumerate() {
        match transform.split_once(':').unwrap_or((transform, "auto")) {
            ("zstd", "auto") if index == 0 => {}
            ("zstd", text) if index == 0 => match text.parse() {
                Ok(n @ 1..=19) => level = Some(n),
                _ => return Err(format!("\"{transform}\": zstd levels are 1 to 19")),
            },
            ("zstd", _) => return Err("zstd must come first: what is sealed does not compress".to_owned()),
            ("aes-256-gcm" | "chacha20-poly1305", "auto") if index + 1 == transforms.len() => {}
            ("aes-256-gcm" | "chacha20-poly1305", "auto") => return Err("the cipher must come last".to_owned()),
            _ => {
                return Err(format!(
                    "unknown transform \"{transform}\"; known: zstd, zstd:LEVEL, aes-256-gcm, chacha20-poly1305"
                ));
            }
        }
    }
    Ok(level)
}
