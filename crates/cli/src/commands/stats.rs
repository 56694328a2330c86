//! `stats`.

use crate::args::StatsArgs;
use crate::commands::report::short;
use crate::exit::{Exit, Outcome};
use crate::output::{Bar, Format, Table};
use crate::session::Session;
use crate::units;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::gc::{self, Size};
use decube_backup_engine::{Repository, stats};
use serde_json::json;
use std::collections::BTreeSet;

/// Shows how much is stored, what single snapshots need, or what would be freed.
///
/// # Errors
/// The repository cannot be read, no such snapshot.
pub(super) fn run(session: &Session, args: &StatsArgs) -> Outcome {
    let repository = session.open()?;
    match (args.unique, args.freed, args.snapshots.is_empty()) {
        (true, ..) => return unique(session, &repository, &args.snapshots),
        (_, true, _) => return freed(session, &repository, &args.snapshots),
        (false, false, true) => {}
        (false, false, false) => {
            return Err(Error::new(ErrorKind::Invalid, "stats", "snapshots are measured with --unique or --freed")
                .with_hint(
                    "--unique: what each needs that no other does; --freed: what forgetting all of them would free",
                )
                .into());
        }
    }
    let stats = stats::stats(&repository)?;
    let console = &session.console;
    if console.format() == Format::Json {
        let mut value = serde_json::to_value(&stats)
            .map_err(|e| Error::new(ErrorKind::Internal, "stats", "cannot print JSON").with_source(e))?;
        value["message_type"] = "stats".into();
        console.json(&value)?;
        return Ok(Exit::Done);
    }
    let stored = stats.bytes_data_packs + stats.bytes_meta_packs + stats.bytes_index + stats.bytes_parity;
    let ratio = |of: u64, to: u64| if to > 0 { format!("{:.2}", of as f64 / to as f64) } else { "-".to_owned() };
    let fresh = &stats.freshness;
    let mut table = Table::new(&["What", ">Value"]);
    for (what, value) in [
        ("snapshots", stats.snapshots.to_string()),
        ("log records", stats.records.to_string()),
        ("content of all snapshots", units::size(stats.bytes_logical)),
        ("distinct content", units::size(stats.bytes_raw)),
        ("distinct chunks", stats.chunks.to_string()),
        ("data packs", format!("{} in {}", units::size(stats.bytes_data_packs), stats.data_packs)),
        ("metadata packs", format!("{} in {}", units::size(stats.bytes_meta_packs), stats.meta_packs)),
        ("index", units::size(stats.bytes_index)),
        ("parity", format!("{} for {}", units::size(stats.bytes_parity), units::count(stats.parity_packs, "pack"))),
        ("stored in all", units::size(stored)),
        ("deduplication ratio", ratio(stats.bytes_logical, stats.bytes_raw)),
        ("compression ratio", ratio(stats.bytes_raw, stats.bytes_data_packs)),
        ("overall ratio", ratio(stats.bytes_logical, stored)),
        ("packs read and sound", format!("{} of {}", fresh.verified_packs, stats.data_packs + stats.meta_packs)),
        ("oldest of these readings", fresh.oldest_verified.map_or_else(|| "-".to_owned(), units::time)),
        ("packs known to be damaged", stats.damaged_packs.to_string()),
    ] {
        table.row(vec![what.to_owned(), value]);
    }
    table.print(console)?;
    Ok(Exit::Done)
}

fn unique(session: &Session, repository: &Repository, selectors: &[String]) -> Outcome {
    let wanted = selectors.iter().map(|selector| Ok(repository.select_whole(selector)?.id));
    let wanted = wanted.collect::<Result<BTreeSet<_>>>()?;
    let reporter = session.reporter("stats", Bar::Shown)?;
    let sizes = gc::unique(repository, &reporter)?;
    reporter.finish();
    let console = &session.console;
    let mut table = Table::new(&["ID", "Time", "Name", ">Unique", ">Stored", ">Size"]);
    let state = repository.state();
    for unique in sizes.iter().filter(|unique| wanted.is_empty() || wanted.contains(&unique.snapshot)) {
        let Some(snapshot) = state.snapshot(&unique.snapshot) else { continue };
        let (id, size, manifest) = (unique.snapshot.to_hex(), &unique.size, &snapshot.manifest);
        match console.format() {
            Format::Json => console.json(&json!({
                "message_type": "unique",
                "snapshot": id,
                "name": manifest.name,
                "time": manifest.begun.to_string(),
                "chunks": size.chunks,
                "bytes_raw": size.bytes_raw,
                "bytes_stored": size.bytes_stored,
                "bytes_logical": manifest.tree.bytes,
            }))?,
            Format::Text => table.row(vec![
                short(&id).to_owned(),
                units::time(manifest.begun),
                manifest.name.clone(),
                units::size(size.bytes_raw),
                units::size(size.bytes_stored),
                units::size(manifest.tree.bytes),
            ]),
        }
    }
    if !table.is_empty() {
        table.print(console)?;
    }
    Ok(Exit::Done)
}

fn freed(session: &Session, repository: &Repository, selectors: &[String]) -> Outcome {
    let targets = selectors.iter().map(|selector| repository.select(selector, None)).collect::<Result<Vec<_>>>()?;
    let reporter = session.reporter("stats", Bar::Shown)?;
    let Size { chunks, bytes_raw, bytes_stored } = gc::freed(repository, &targets, &reporter)?;
    reporter.finish();
    let console = &session.console;
    match console.format() {
        Format::Json => console.json(&json!({
            "message_type": "freed",
            "of": selectors,
            "chunks": chunks,
            "bytes_raw": bytes_raw,
            "bytes_stored": bytes_stored,
        }))?,
        Format::Text => console.line(format_args!(
            "{} in the store, {} before compression, {}",
            units::size(bytes_stored),
            units::size(bytes_raw),
            units::count(chunks, "chunk"),
        ))?,
    }
    Ok(Exit::Done)
}
