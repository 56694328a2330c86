//! Repository statistics, from the folded log and the index; reads no pack.

use crate::options::StatsReport;
use crate::repository::{Repository, index_segment};
use decube_backup_core::Result;
use decube_backup_format::header::Access;
use decube_backup_format::ids::PackKind;
use std::collections::HashSet;

/// Counts what the repository holds.
///
/// # Errors
/// An index segment is missing or damaged.
pub fn stats(repo: &Repository) -> Result<StatsReport> {
    repo.check_reader(Access::Read)?;
    let state = repo.state();
    let mut report = StatsReport {
        records: state.next_seq(),
        damaged_packs: state.damaged_packs().len() as u64,
        freshness: crate::verify::freshness(&state, repo.env.clock.now()),
        ..StatsReport::default()
    };
    for snapshot in state.live_snapshots() {
        report.snapshots += 1;
        report.bytes_logical = report.bytes_logical.saturating_add(snapshot.manifest.tree.bytes);
    }
    for (name, info) in state.live_packs() {
        match name.kind {
            PackKind::Data => {
                (report.data_packs, report.bytes_data_packs) =
                    (report.data_packs + 1, report.bytes_data_packs + u64::from(info.len))
            }
            PackKind::Meta => {
                (report.meta_packs, report.bytes_meta_packs) =
                    (report.meta_packs + 1, report.bytes_meta_packs + u64::from(info.len))
            }
        }
    }
    report.parity_packs = state.parities().len() as u64;
    report.bytes_parity = state.parities().map(|(_, info)| u64::from(info.len)).sum();
    let mut packs = HashSet::new();
    for (level, id, info) in state.indexes() {
        report.bytes_index += u64::from(info.len);
        for (pack, footer) in index_segment(repo, level, &id)? {
            if pack.kind == PackKind::Data && state.pack(&pack).is_some() && packs.insert(pack) {
                report.chunks += footer.chunks.len() as u64;
                report.bytes_raw += footer.chunks.iter().map(|c| u64::from(c.len)).sum::<u64>();
            }
        }
    }
    Ok(report)
}
