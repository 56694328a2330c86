//! Index segments from the packs themselves.
//!
//! An index segment says nothing that the packs do not say in their own tables of contents. A segment is taken out of
//! force only if it is missing or its bytes are not those recorded, and only once every pack in force is covered by
//! others: while the contents of some pack can be learned from nowhere, the damaged segment stays on the list, so that a
//! replica's copy can be put back under its name.

use super::{ATTEMPTS_MAX, RepairOptions, overtaken};
use crate::options::{Damage, Effect};
use crate::publish;
use crate::repository::{Appended, Repository, Verdict, open_segment};
use crate::segments::{SegmentReader, is_damage};
use crate::store::is_unreadable;
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_core::{ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{PackName, index_key, pack_key};
use decube_backup_format::log::{ObjectName, Payload};
use decube_backup_format::manifest::RunId;
use decube_backup_format::pack::Footer;
use std::collections::HashSet;

/// What a repair of the index found and did.
#[derive(Clone, Debug, Default)]
pub struct IndexReport {
    /// Index segments in force.
    pub segments: u64,
    /// Of them, those that are missing or damaged.
    pub damaged: Vec<Damage>,
    /// Segments that this program cannot read, but that are not proved to be damaged: left alone.
    pub kept: Vec<Damage>,
    /// Packs that no readable segment covers and whose own table of contents could be read.
    pub packs: u64,
    /// Packs of which no table of contents can be read.
    pub unreadable: Vec<Damage>,
    /// Damaged segments taken out of force, or that would be.
    pub retired: u64,
    /// Segments written; 0 on a dry run.
    pub written: u64,
}

impl IndexReport {
    /// Whether there is nothing to repair.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.kept.is_empty() && self.packs == 0 && self.unreadable.is_empty()
    }
}

struct Plan {
    report: IndexReport,
    tables: Vec<(PackName, Footer)>,
    retire: Vec<ObjectName>,
}

/// Writes index segments for packs that no readable one covers, and retires damaged ones.
///
/// # Errors
/// The store does not answer; the log is damaged and there is something to write; `Contended`.
pub fn index(repo: &Repository, options: &RepairOptions, monitor: &dyn Monitor) -> Result<IndexReport> {
    options.explained(repaired(repo, options, monitor))
}

fn repaired(repo: &Repository, options: &RepairOptions, monitor: &dyn Monitor) -> Result<IndexReport> {
    options.check(repo)?;
    for _ in 0..ATTEMPTS_MAX {
        repo.refresh()?;
        let Plan { mut report, tables, retire } = plan(repo, monitor)?;
        // What is missing may be what a prune beside this took out of force.
        if !report.is_sound() && repo.refresh()? > 0 {
            continue;
        }
        report.retired = retire.len() as u64;
        if options.effect == Effect::DryRun || (tables.is_empty() && retire.is_empty()) {
            return Ok(report);
        }
        let added = publish::index(repo, publish::LEVEL_NEW, tables.iter().map(|(name, footer)| (*name, footer)))?;
        report.written = added.len() as u64;
        let record = options.record(repo, Payload::Add { run: RunId::default() }, added, retire.clone());
        // Whoever merged or repaired index segments meanwhile may have done the same: look again.
        let mut validate = |state: &State| Ok(Verdict::of(retire.iter().all(|name| indexes(state).contains(name))));
        if let Appended::At(_) = repo.append(record, &mut validate)? {
            return Ok(report);
        }
    }
    Err(overtaken())
}

fn indexes(state: &State) -> HashSet<ObjectName> {
    state.indexes().map(|(level, id, _)| ObjectName::Index { level, id }).collect()
}

fn plan(repo: &Repository, monitor: &dyn Monitor) -> Result<Plan> {
    let state = repo.state();
    let (mut report, mut covered, mut damaged) = (IndexReport::default(), HashSet::new(), Vec::new());
    monitor.phase("index", None, Some(state.indexes().len() as u64));
    for (level, id, info) in state.indexes() {
        check_stop(monitor)?;
        report.segments += 1;
        let key = index_key(level, &id)?;
        let found = |what: String| Damage { object: key.to_string(), what };
        match repo.store.get(&key) {
            Ok(None) => {
                report.damaged.push(found("object is missing".into()));
                damaged.push(ObjectName::Index { level, id });
            }
            Ok(Some(bytes)) => match open_segment(repo, level, &id, &bytes) {
                Ok(tables) => covered.extend(tables.into_iter().map(|(pack, _)| pack)),
                // Byte for byte what was written: a newer program may know what to make of it.
                Err(error) if *blake3::hash(&bytes).as_bytes() == info.hash => report.kept.push(found(error.chain())),
                Err(error) => {
                    report.damaged.push(found(error.chain()));
                    damaged.push(ObjectName::Index { level, id });
                }
            },
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                report.damaged.push(found(error.chain()));
                damaged.push(ObjectName::Index { level, id });
            }
            Err(error) if is_unreadable(&error) => report.kept.push(found(error.chain())),
            Err(error) => return Err(error),
        }
        monitor.advance(Progress::Objects, 1);
    }
    let segments = SegmentReader::new(repo);
    let mut tables = Vec::new();
    for (name, info) in state.live_packs().filter(|(name, _)| !covered.contains(name)) {
        check_stop(monitor)?;
        match segments.table(&name, u64::from(info.len)) {
            Ok(footer) => tables.push((name, footer)),
            Err(error) if is_damage(&error) => {
                report.unreadable.push(Damage { object: pack_key(&name)?.to_string(), what: error.chain() });
            }
            Err(error) => return Err(error),
        }
    }
    report.packs = tables.len() as u64;
    let retire = if report.unreadable.is_empty() { damaged } else { Vec::new() };
    Ok(Plan { report, tables, retire })
}
