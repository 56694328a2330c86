//! What is left in damaged packs.
//!
//! A damaged pack whose parity suffices is read as it was. Chunks and nodes that still decode, and lie in no sound pack, are
//! stored again in new packs. What hosts with write-only keys say is in theirs counts for nothing: it is stored again all the same, and
//! where nothing else is left, read from there. Then the log says of the
//! damaged ones that they are, and that they may go: a prune takes one out of force once nothing that lives depends on
//! it. Until then it stays: somebody may put it back whole from a replica.

use super::{RepairOptions, may_rely, overtaken, with_writer};
use crate::backup::dedup::Dedup;
use crate::options::{Damage, Effect};
use crate::pipeline::Lane;
use crate::publish;
use crate::repository::{Appended, Repository, Verdict, indexed_footer};
use crate::rules;
use crate::segments::{Copies, Scratch, SegmentReader, chunk_in, is_damage};
use crate::verify::{self, Findings, record_damage};
use decube_backup_core::Result;
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_format::checkpoint::State;
use decube_backup_format::codec::Codec;
use decube_backup_format::ids::{PackKind, PackName, ShortId, pack_key};
use decube_backup_format::log::Payload;
use decube_backup_format::manifest::RunId;
use decube_backup_format::pack::{Footer, SegmentEntry};

/// What a repair of packs found and did.
#[derive(Clone, Debug, Default)]
pub struct PacksReport {
    /// What is wrong with packs.
    pub damages: Vec<Damage>,
    /// Packs in force that are missing or damaged.
    pub damaged: u64,
    /// Chunks and nodes in them that sound packs hold too.
    pub elsewhere: u64,
    /// Chunks and nodes that can be read and are stored again, or would be.
    pub saved: u64,
    /// Their bytes, before compression.
    pub saved_bytes: u64,
    /// Chunks and nodes that can be read nowhere. A backup of their source stores them again.
    pub lost: u64,
    /// Damaged packs that were read whole by their parity.
    pub rebuilt: u64,
    /// Packs of which not even a table of contents is left: what they alone held is unknown here.
    pub opaque: u64,
    /// Packs written; 0 on a dry run.
    pub written: u64,
}

/// Stores again what can still be read from damaged packs, and records the damage.
///
/// # Errors
/// The store does not answer; the log is damaged and there is something to write; `Contended`.
pub fn packs(repo: &Repository, options: &RepairOptions, monitor: &dyn Monitor) -> Result<PacksReport> {
    options.explained(repaired(repo, options, monitor))
}

fn repaired(repo: &Repository, options: &RepairOptions, monitor: &dyn Monitor) -> Result<PacksReport> {
    options.check(repo)?;
    let findings = verify::examine(repo, options.content.depth(), monitor)?;
    let state = repo.state();
    let known = state.damaged_packs().map(|(pack, _)| *pack);
    let bad: Vec<PackName> = findings.bad_packs.iter().copied().filter(|pack| state.pack(pack).is_some()).collect();
    let healed: Vec<PackName> = known.filter(|pack| !bad.contains(pack)).collect();
    let mut report = PacksReport { damaged: bad.len() as u64, ..PacksReport::default() };
    report.damages = findings.report.damages.iter().filter(|d| d.object.starts_with("packs/")).cloned().collect();
    if bad.is_empty() && healed.is_empty() {
        return Ok(report);
    }
    let (segments, copies) = (SegmentReader::new(repo), Copies::new(repo)?);
    let mut rescue = Rescue { repo, segments, copies, findings: &findings, bad: &bad, report };
    let index = repo.index()?;
    let is_bad = |pack: &PackName| bad.contains(pack);
    if options.effect == Effect::DryRun {
        let sound = |id: &ShortId| {
            let found = index.find(id, &|pack| !may_rely(&state, pack) || is_bad(pack))?;
            Ok(if found.is_some() { Kept::Elsewhere } else { Kept::Saved })
        };
        rescue.run(monitor, &mut |_, id, _| sound(id))?;
        return Ok(rescue.report);
    }
    let ((), added, deps) = with_writer(repo, &index, &is_bad, monitor, |dedup: &mut Dedup<'_>| {
        rescue.run(monitor, &mut |lane, id, bytes| {
            Ok(if dedup.put(lane, *id, bytes)? { Kept::Saved } else { Kept::Elsewhere })
        })
    })?;
    let mut report = rescue.report;
    report.written = added.len() as u64;
    if !added.is_empty() {
        let record =
            options.record(repo, Payload::Add { run: RunId::default() }, publish::objects(repo, &added)?, Vec::new());
        let mut validate = |state: &State| {
            let packs = added.iter().map(|p| &p.name).chain(&deps);
            Ok(Verdict::of(rules::commit_stands(state, 0, packs, None)))
        };
        if repo.append(record, &mut validate)? == Appended::Void {
            return Err(overtaken());
        }
    }
    let state = repo.state();
    let new: Vec<PackName> = bad.iter().copied().filter(|pack| !state.is_damaged(pack)).collect();
    if !new.is_empty() || !healed.is_empty() {
        record_damage(repo, &options.who, new, healed)?;
    }
    let condemned: std::collections::BTreeSet<PackName> = state.condemned_packs().map(|(pack, _)| *pack).collect();
    let packs: Vec<PackName> = bad.iter().copied().filter(|pack| !condemned.contains(pack)).collect();
    if !packs.is_empty() {
        options.append(repo, Payload::Condemn { packs, released: Vec::new() })?;
    }
    Ok(report)
}

/// What became of a readable chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Elsewhere,
    Saved,
}

struct Rescue<'a> {
    repo: &'a Repository,
    segments: SegmentReader<'a>,
    copies: Copies<'a>,
    findings: &'a Findings,
    bad: &'a [PackName],
    report: PacksReport,
}

type Keep<'k> = dyn FnMut(Lane, &ShortId, &[u8]) -> Result<Kept> + 'k;

impl Rescue<'_> {
    fn run(&mut self, monitor: &dyn Monitor, keep: &mut Keep<'_>) -> Result<()> {
        monitor.phase("rescue", None, Some(self.bad.len() as u64));
        let mut scratch = Scratch::new()?;
        for pack in self.bad {
            check_stop(monitor)?;
            let _at_hand = self.segments.bring_back(pack)?;
            let object = pack_key(pack)?;
            let rebuilt = self.findings.report.repairable.iter().any(|found| found.object == object.as_str());
            self.report.rebuilt += u64::from(rebuilt);
            match self.footer(pack)? {
                Some(footer) => self.pack(pack, &footer, &mut scratch, keep)?,
                None => self.report.opaque += 1,
            }
            monitor.advance(Progress::Objects, 1);
        }
        Ok(())
    }

    /// From the pack itself, else from the index.
    fn footer(&self, pack: &PackName) -> Result<Option<Footer>> {
        let len = self.repo.state().pack(pack).map_or(0, |info| u64::from(info.len));
        match self.segments.pack(pack).and_then(|reader| self.segments.footer(&reader, len)) {
            Ok(footer) => Ok(Some(footer)),
            Err(error) if is_damage(&error) => indexed_footer(self.repo, pack),
            Err(error) => Err(error.with("key", pack_key(pack)?)),
        }
    }

    fn pack(&mut self, pack: &PackName, footer: &Footer, scratch: &mut Scratch, keep: &mut Keep<'_>) -> Result<()> {
        for (number, entry) in footer.segments.iter().enumerate() {
            let lane = lane(pack, entry);
            let decoded = match self.segments.read(pack, number as u32, entry, scratch) {
                Ok(()) => true,
                Err(error) if is_damage(&error) => false,
                Err(error) => return Err(error),
            };
            for chunk in footer.chunks_of(entry) {
                match chunk_in(self.repo, pack.kind, &scratch.raw, chunk) {
                    Ok(bytes) if decoded => self.report.count(bytes, keep(lane, &chunk.id, bytes)?),
                    _ if self.is_elsewhere(&chunk.id)? => self.report.elsewhere += 1,
                    _ if self.save_hosted(&chunk.id, keep)? => {}
                    _ => self.report.lost += 1,
                }
            }
        }
        Ok(())
    }

    /// Whether a pack that no host added has a copy that is not known to be damaged.
    fn is_elsewhere(&self, id: &ShortId) -> Result<bool> {
        let state = self.repo.state();
        let bad = |pack: &PackName| self.bad.contains(pack) || self.findings.is_lost(pack, id);
        let excluded = |pack: &PackName| state.is_reclaimed(pack) || state.is_hosted(pack) || bad(pack);
        Ok(self.repo.index()?.find(id, &excluded)?.is_some())
    }

    /// Stores again what a host says it has, if it does; whether it does.
    fn save_hosted(&mut self, id: &ShortId, keep: &mut Keep<'_>) -> Result<bool> {
        let (state, index, findings, bad) = (self.repo.state(), self.repo.index()?, self.findings, self.bad);
        let excluded = |pack: &PackName| {
            state.is_reclaimed(pack) || !state.is_hosted(pack) || bad.contains(pack) || findings.is_lost(pack, id)
        };
        let found = self.copies.find(&index, id, &excluded)?;
        if let Some((at, bytes)) = found {
            self.report.count(bytes, keep(lane(&at.pack, &at.entry), id, bytes)?);
            return Ok(true);
        }
        Ok(false)
    }
}

impl PacksReport {
    fn count(&mut self, bytes: &[u8], kept: Kept) {
        match kept {
            Kept::Elsewhere => self.elsewhere += 1,
            Kept::Saved => {
                self.saved += 1;
                self.saved_bytes += bytes.len() as u64;
            }
        }
    }
}

/// How what lies in a segment is stored again.
fn lane(pack: &PackName, entry: &SegmentEntry) -> Lane {
    match (pack.kind, entry.codec) {
        (PackKind::Meta, _) => Lane::Meta,
        (PackKind::Data, Codec::Stored) => Lane::Stored,
        (PackKind::Data, _) => Lane::Solid,
    }
}
