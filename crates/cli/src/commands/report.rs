//! What several commands say alike.

use crate::output::{Console, Table, problem_counts_json, problem_counts_text};
use crate::session::Session;
use crate::units;
use decube_backup_core::Result;
use decube_backup_core::monitor::ProblemKind;
use decube_backup_engine::clocks::Clocks;
use decube_backup_engine::options::Snapshot;
use decube_backup_engine::retention::ClockTrust;
use decube_backup_format::checkpoint::{Pin, Visibility};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The short form of an id.
pub(super) fn short(hex: &str) -> &str {
    hex.get(..8).unwrap_or(hex)
}

/// A snapshot for JSON.
pub(super) fn snapshot_json(snapshot: &Snapshot) -> Value {
    let manifest = &snapshot.manifest;
    let pinned_until = match snapshot.pin {
        Pin::Until(end) => Some(end.to_string()),
        Pin::None | Pin::Forever => None,
    };
    let forgotten_by = match snapshot.visibility {
        Visibility::Forgotten { seq } => Some(seq),
        Visibility::Live => None,
    };
    let (id, stats) = (snapshot.id.to_hex(), &manifest.stats);
    json!({
        "id": id,
        "short_id": short(&id),
        "seq": snapshot.seq,
        "name": manifest.name,
        "time": manifest.begun.to_string(),
        "hostname": manifest.host,
        "username": manifest.username,
        "paths": manifest.paths,
        "tags": manifest.tags,
        "labels": manifest.labels,
        "component": manifest.component,
        "pipeline": manifest.pipeline,
        "parent": manifest.parent.map(|id| id.to_hex()),
        "tree": manifest.tree.id.to_hex(),
        "entries": manifest.tree.entries,
        "bytes": manifest.tree.bytes,
        "program_version": manifest.program,
        "pinned": snapshot.pin != Pin::None,
        "pinned_until": pinned_until,
        "forgotten_by_record": forgotten_by,
        "problems": problem_counts_json(&manifest.problems_total),
        "summary": {
            "backup_start": manifest.begun.to_string(),
            "backup_end": manifest.ended.to_string(),
            "files_new": stats.files_new,
            "files_changed": stats.files_changed,
            "files_unmodified": stats.files_unchanged,
            "bytes_read": stats.bytes_read,
            "data_added": stats.bytes_added,
            "data_added_packed": stats.bytes_stored,
        },
    })
}

/// The same with what the storage's clock says of it.
pub(super) fn judged_json(snapshot: &Snapshot, clocks: &Clocks) -> Value {
    let (mut value, moment) = (snapshot_json(snapshot), clocks.moment(&snapshot.id));
    value["recorded"] = moment.time.to_string().into();
    value["clock_deviates"] = (moment.clock == ClockTrust::Flagged).into();
    value["pinned"] = clocks.in_force(snapshot.pin).into();
    value
}

/// A table of snapshots with a line below that counts them.
///
/// # Errors
/// stdout cannot be written.
pub(super) fn print_snapshots(console: &Console, snapshots: &[Snapshot], clocks: &Clocks) -> Result<()> {
    let mut table = Table::new(&["ID", "Time", "Name", "Host", "Tags", ">Size", ">Entries", "Problems", "Marks"]);
    for snapshot in snapshots {
        let manifest = &snapshot.manifest;
        let labels = manifest.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let tags: Vec<String> = manifest.tags.iter().cloned().chain(labels).collect();
        table.row(vec![
            short(&snapshot.id.to_hex()).to_owned(),
            units::time(manifest.begun),
            manifest.name.clone(),
            manifest.host.clone(),
            tags.join(","),
            units::size(manifest.tree.bytes),
            manifest.tree.entries.to_string(),
            failing(&manifest.problems_total).unwrap_or_default(),
            marks(snapshot, clocks),
        ]);
    }
    if !table.is_empty() {
        table.print(console)?;
    }
    console.summary(units::count(snapshots.len() as u64, "snapshot"))
}

/// What is special about a snapshot: its pin, and a clock that was off.
fn marks(snapshot: &Snapshot, clocks: &Clocks) -> String {
    let pin = match snapshot.pin {
        pin if !clocks.in_force(pin) => None,
        Pin::Until(end) => Some(format!("pinned until {}", units::time(end))),
        Pin::None | Pin::Forever => Some("pinned".to_owned()),
    };
    let moment = clocks.moment(&snapshot.id);
    let clock = (moment.clock == ClockTrust::Flagged).then(|| format!("clock (recorded {})", units::time(moment.time)));
    pin.into_iter().chain(clock).collect::<Vec<_>>().join(", ")
}

/// Problems that count, in words.
pub(super) fn failing(problems: &BTreeMap<ProblemKind, u64>) -> Option<String> {
    let counting = problems.iter().filter(|(kind, _)| kind.counts()).map(|(kind, count)| (*kind, *count));
    problem_counts_text(&counting.collect())
}

/// `n / seconds` as a rate.
pub(super) fn rate(bytes: u64, seconds: f64) -> String {
    if seconds > 0.0 { format!("{}/s", units::size((bytes as f64 / seconds) as u64)) } else { "-".to_owned() }
}

/// Says so if what is given back lacks something that was there, or never had it.
pub(super) fn warn_of_problems(session: &Session, snapshot: &Snapshot) {
    if let Some(problems) = failing(&snapshot.manifest.problems_total) {
        let id = snapshot.id.to_hex();
        session.console.warn(format_args!(
            "the snapshot records problems of its making: {problems}; `ls {} --problems` lists them",
            short(&id)
        ));
    }
}
