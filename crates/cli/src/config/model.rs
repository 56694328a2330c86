//! The types of the configuration file, and with them its JSON Schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A file with a `backup` section; other root keys belong to others.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "DeCube Backup configuration")]
#[serde(expecting = "keys and values")]
pub struct Document {
    /// Everything about backups.
    pub backup: Backup,
}

/// Everything about backups.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "keys and values")]
pub struct Backup {
    /// Host name recorded in snapshots; this host's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What can be backed up, by name. The name is the component in snapshots.
    #[serde(skip_serializing_if = "is_default")]
    pub sources: BTreeMap<String, SourceConfig>,
    /// Where repositories are, by name. `-r @NAME` uses one on the command line.
    #[serde(skip_serializing_if = "is_default")]
    pub sinks: BTreeMap<String, SinkConfig>,
    /// What is backed up where, by name.
    #[serde(skip_serializing_if = "is_default")]
    pub pipelines: BTreeMap<String, PipelineConfig>,
    /// Watching over backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<MonitoringConfig>,
}

/// Files and directories, and what of them stays out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "keys and values")]
pub struct SourceConfig {
    /// What to back up; relative paths count from the configuration file's directory.
    #[schemars(length(min = 1))]
    pub paths: Vec<String>,
    /// Whether missing paths are reported instead of failing the backup.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optional: bool,
    /// Gitignore patterns of what stays out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclude: Vec<String>,
    /// The same, upper and lower case being equal.
    #[serde(default, skip_serializing_if = "is_default")]
    pub iexclude: Vec<String>,
    /// Files of patterns.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclude_files: Vec<String>,
    /// Names of ignore files honoured where they are found, such as `.gitignore`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ignore_files: Vec<String>,
    /// Whether the content of directories marked by a CACHEDIR.TAG stays out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclude_caches: bool,
    /// Names whose presence leaves out a directory's content.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclude_if_present: Vec<String>,
    /// Files larger than this stay out, such as `2GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_larger_than: Option<String>,
    /// Whether files flagged `no dump` stay out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclude_nodump: bool,
    /// Whether to stay on the file systems the paths are on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub one_file_system: bool,
}

/// A repository and how to open it. Every text may hold `${env:NAME}`, `${file:PATH}`, `${cmd:COMMAND}`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "keys and values")]
pub struct SinkConfig {
    /// Where it is: a directory or a URL such as `fs:/srv/backup`.
    pub url: String,
    /// The password; better a reference than the text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A file that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// A command that prints the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_command: Option<String>,
    /// A key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Upload at most this many bytes a second, such as `10MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_upload: Option<String>,
    /// Download at most this many bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_download: Option<String>,
    /// Parity written for every new pack, percent of its length; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub parity: Option<u8>,
    /// What this kind of storage understands besides.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: Map<String, Value>,
}

/// What is backed up where, when, and for how long it is kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "keys and values")]
pub struct PipelineConfig {
    /// Names of sources; each becomes a snapshot of its own.
    #[schemars(length(min = 1))]
    pub sources: Vec<String>,
    /// Name of the sink.
    pub sink: String,
    /// Name of the snapshots; `{pipeline}`, `{source}` and `{host}` stand for theirs.
    #[serde(default = "default_name")]
    pub name: String,
    /// Labels of the snapshots.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Tags of the snapshots.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// What happens to content on the way: `zstd`, `zstd:LEVEL`, then the repository's cipher,
    /// `aes-256-gcm` or `chacha20-poly1305`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub transforms: Vec<String>,
    /// Further sinks that receive the same snapshots.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replicas: Vec<ReplicaConfig>,
    /// When it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleConfig>,
    /// What is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionConfig>,
    /// What is checked when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<ChecksConfig>,
}

fn default_name() -> String {
    "{pipeline}-{source}".to_owned()
}

/// A further sink.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "keys and values")]
pub struct ReplicaConfig {
    /// Name of the sink.
    pub sink: String,
    /// `continuous`, or a cron expression.
    #[serde(default = "continuous")]
    pub schedule: String,
}

fn continuous() -> String {
    "continuous".to_owned()
}

/// When a pipeline runs: cron expressions of five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "keys and values: `full`, `incremental` or both")]
pub struct ScheduleConfig {
    /// When every file is read anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<String>,
    /// When only changed files are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental: Option<String>,
}

/// What is kept of each name on this host; what no rule keeps is forgotten after a run in which every source was backed up.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "keys and values")]
#[schemars(transform = keeps_something)]
pub struct RetentionConfig {
    /// A policy by name, to which further rules add: `guide` keeps 30 days, 12 weeks, 12 months and 7 years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The newest so many.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = u32::MAX))]
    pub keep_last: u32,
    /// The newest of each of so many hours.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = u32::MAX))]
    pub keep_hourly: u32,
    /// The newest of each of so many days.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = u32::MAX))]
    pub keep_daily: u32,
    /// The newest of each of so many weeks.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = u32::MAX))]
    pub keep_weekly: u32,
    /// The newest of each of so many months.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = u32::MAX))]
    pub keep_monthly: u32,
    /// The newest of each of so many years.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = u32::MAX))]
    pub keep_yearly: u32,
    /// Everything this much younger than the newest, such as `14d`, `8w` or `6m` (months).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within: Option<String>,
    /// The newest of each hour in such a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within_hourly: Option<String>,
    /// The newest of each day in such a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within_daily: Option<String>,
    /// The newest of each week in such a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within_weekly: Option<String>,
    /// The newest of each month in such a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within_monthly: Option<String>,
    /// The newest of each year in such a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within_yearly: Option<String>,
    /// Everything with one of these tags.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_tags: Vec<String>,
    /// Whose calendar days and weeks are counted by: `UTC` if absent, `local` or `Area/City`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Largest share of all snapshots of the repository that one run may forget, percent; 50 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub allow_share: Option<u8>,
}

/// A rule must keep something: tags alone would leave nothing of a series that has none.
fn keeps_something(schema: &mut schemars::Schema) {
    let rules = ["policy", "keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"];
    let spans = ["", "_hourly", "_daily", "_weekly", "_monthly", "_yearly"].map(|of| format!("keep_within{of}"));
    let given = |key: &str| {
        let counted = key.starts_with("keep_") && !key.starts_with("keep_within");
        let worth = if counted { json!({"minimum": 1}) } else { json!({"type": "string"}) };
        json!({"required": [key], "properties": {key: worth}})
    };
    let any: Vec<Value> = rules.into_iter().chain(spans.iter().map(String::as_str)).map(given).collect();
    schema.insert("anyOf".to_owned(), any.into());
}

/// What is checked when.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "keys and values")]
pub struct ChecksConfig {
    /// When the repository is verified; a cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<String>,
    /// How much content is read then: `1/30`, `5%` or a size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_data_subset: Option<String>,
    /// When a restore is rehearsed; a cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<String>,
}

/// Watching over backups.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "keys and values")]
pub struct MonitoringConfig {
    /// Whether anything of this happens.
    #[serde(default)]
    pub enabled: bool,
    /// Time between two checks, such as `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<String>,
    /// Whether a failed or overdue backup raises an alert.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alert_on_failure: bool,
    /// Where metrics are pushed, an http or https URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_endpoint: Option<String>,
}
