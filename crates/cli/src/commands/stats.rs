//! `stats`.

use crate::exit::{Exit, Outcome};
use crate::output::{Format, Table};
use crate::session::Session;
use crate::units;
use decube_backup_engine::stats;

/// Shows how much is stored.
///
/// # Errors
/// The repository cannot be read.
pub(super) fn run(session: &Session) -> Outcome {
    let repository = session.open()?;
    let stats = stats::stats(&repository)?;
    let console = &session.console;
    if console.format() == Format::Json {
        console.json(&stats)?;
        return Ok(Exit::Done);
    }
    let stored = stats.bytes_data_packs + stats.bytes_meta_packs + stats.bytes_index;
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
        ("stored in all", units::size(stored)),
        ("deduplication ratio", ratio(stats.bytes_logical, stats.bytes_raw)),
        ("compression ratio", ratio(stats.bytes_raw, stats.bytes_data_packs)),
        ("overall ratio", ratio(stats.bytes_logical, stored)),
        ("packs read and sound", format!("{} of {}", fresh.verified_packs, stats.data_packs + stats.meta_packs)),
        ("oldest of these readings", fresh.oldest_verified.map_or_else(|| "-".to_owned(), units::local_time)),
        ("packs known to be damaged", stats.damaged_packs.to_string()),
    ] {
        table.row(vec![what.to_owned(), value]);
    }
    table.print(console)?;
    Ok(Exit::Done)
}
