//! `decube-verify --data-dir`: a live directory against its newest snapshot.

use crate::commands::report::{failing, short};
use crate::exit::{Exit, Outcome};
use crate::local::{self, Paths};
use crate::output::{Bar, Format, problem_counts_json, put_path};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::{EntryPath, Error, ErrorKind, Result};
use decube_backup_engine::live::{self, Deviation, LiveReport};
use decube_backup_engine::options::{Snapshot, SnapshotFilter};
use decube_backup_engine::{Repository, browse};
use serde_json::{Map, json};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Compares `directory` with the snapshot `selector` names; without one, with the newest that holds it.
///
/// # Errors
/// The directory or a snapshot of it does not exist; the repository cannot be read.
pub(crate) fn run(session: &Session, directory: &Path, selector: Option<&str>) -> Outcome {
    let found = surroundings::working_directory()?.join(directory).canonicalize();
    let directory = found
        .map_err(|e| Error::io("verify", "cannot look into the directory", e).with("directory", directory.display()))?;
    let subtree = EntryPath::new(directory.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default())?;
    let source = local::source(&Paths { required: vec![directory.clone()], ..Paths::default() })?;
    let repository = session.open()?;
    let snapshot = match selector {
        Some(selector) => repository.select_whole(selector)?,
        None => newest_of(&repository, &subtree)?,
    };
    let console = &session.console;
    let reporter = session.reporter("verify", Bar::Shown)?;
    let mut say = |path: &EntryPath, deviation: Deviation| match console.format() {
        Format::Text => console.line(format_args!("{}: /{path}", word(deviation))),
        Format::Json => {
            let mut object = Map::new();
            object.insert("message_type".into(), "deviation".into());
            object.insert("deviation".into(), word(deviation).into());
            put_path(&mut object, &[b"/", path.as_bytes()].concat());
            console.json(&object)
        }
    };
    let report = live::compare(&repository, &snapshot, &subtree, &*source, &reporter, &mut say)?;
    reporter.finish();
    summary(session, &directory, &snapshot, &report)?;
    let corrupted = count(&report, Deviation::Corrupted) > 0;
    Ok(if corrupted { Exit::Damaged } else { Exit::of_problems(&report.problems) })
}

fn word(deviation: Deviation) -> &'static str {
    match deviation {
        Deviation::Missing => "missing",
        Deviation::New => "new",
        Deviation::Changed => "changed",
        Deviation::Corrupted => "corrupted",
    }
}

fn count(report: &LiveReport, deviation: Deviation) -> u64 {
    report.deviations.get(&deviation).copied().unwrap_or(0)
}

fn newest_of(repository: &Repository, path: &EntryPath) -> Result<Snapshot> {
    for (_, snapshot) in repository.dated_snapshots(&SnapshotFilter::default()).into_iter().rev() {
        match browse::entry(repository, &snapshot, path) {
            Ok(_) => return Ok(snapshot),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(ErrorKind::NotFound, "verify", "no snapshot holds this directory")
        .with("directory", format!("/{path}"))
        .with_hint("`decube-backup snapshots` lists what there is; --snapshot chooses one"))
}

fn summary(session: &Session, directory: &Path, snapshot: &Snapshot, report: &LiveReport) -> Result<()> {
    let (console, id) = (&session.console, snapshot.id.to_hex());
    let all = [Deviation::Missing, Deviation::New, Deviation::Changed, Deviation::Corrupted];
    if console.format() == Format::Json {
        let counts: Map<_, _> = all.iter().map(|d| (word(*d).to_owned(), count(report, *d).into())).collect();
        return console.json(&json!({
            "message_type": "summary",
            "directory": directory.to_string_lossy(),
            "snapshot_id": id,
            "entries": report.entries,
            "bytes_read": report.bytes_read,
            "deviations": counts,
            "problems": problem_counts_json(&report.problems),
        }));
    }
    let counts = all.map(|deviation| format!("{} {}", count(report, deviation), word(deviation)));
    console.summary(format_args!(
        "compared {} with snapshot {} of {}: {}, {} read; {}",
        directory.display(),
        short(&id),
        snapshot.manifest.begun,
        units::count(report.entries, "entry"),
        units::size(report.bytes_read),
        counts.join(", "),
    ))?;
    if let Some(problems) = failing(&report.problems) {
        console.warn(format_args!("not compared: {problems}"));
    }
    if count(report, Deviation::Corrupted) > 0 {
        console.stderr(
            "hint: content changed while size and time did not: suspect the disk, and restore these files from the snapshot",
        );
    }
    Ok(())
}
