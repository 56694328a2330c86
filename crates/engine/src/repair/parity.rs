//! Parity for packs that have none, or whose parity is missing or damaged.
//!
//! Parity is made of packs that are byte for byte what was recorded, and of no others: what is damaged is for
//! [`mod@super::packs`]. New parity has a new name; the record that names it takes the old one out of force, and a prune deletes
//! that. Stopped anywhere, what was recorded stays.

use super::{Content, RepairOptions};
use crate::options::{Damage, Effect};
use crate::repository::{Repository, Verdict};
use crate::store::is_unreadable;
use crate::verify;
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::{ObjectInfo, State};
use decube_backup_format::ids::{PackName, ParityId, ParityName, pack_key, parity_key};
use decube_backup_format::log::{AddedObject, ObjectName, Payload};
use decube_backup_format::manifest::RunId;
use decube_backup_format::parity::ParityEncoder;

/// Packs read after which their parity is recorded, bytes.
const RECORD_BYTES: u64 = 4 << 30;

/// What a repair of parity found and did.
#[derive(Clone, Debug, Default)]
pub struct ParityReport {
    /// Packs in force.
    pub packs: u64,
    /// Of them, those that never had parity.
    pub without: u64,
    /// Parity objects that are missing or damaged.
    pub damaged: Vec<Damage>,
    /// Packs without whole parity that are not what was recorded themselves, so that none is made of them.
    pub unreadable: Vec<Damage>,
    /// Parity objects written; 0 on a dry run.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ParityReport {
    /// Whether there is nothing to repair.
    pub fn is_sound(&self) -> bool {
        self.without == 0 && self.damaged.is_empty()
    }
}

/// Writes parity for each pack that has none that is whole, as much as the environment asks for.
///
/// # Errors
/// `Invalid` if the environment asks for none; the store does not answer; the log is damaged and there is something to write.
pub fn parity(repo: &Repository, options: &RepairOptions, monitor: &dyn Monitor) -> Result<ParityReport> {
    options.explained(repaired(repo, options, monitor))
}

fn repaired(repo: &Repository, options: &RepairOptions, monitor: &dyn Monitor) -> Result<ParityReport> {
    options.check(repo)?;
    if repo.env.parity.is_none() {
        return Err(Error::new(ErrorKind::Invalid, "repair", "it is not said how much parity packs shall have")
            .with_hint("give --parity PERCENT, such as 10"));
    }
    repo.refresh()?;
    let state = repo.state();
    let mut report = ParityReport { packs: state.live_pack_count() as u64, ..ParityReport::default() };
    let wanting = wanting(repo, &state, options.content, &mut report, monitor)?;
    if options.effect == Effect::DryRun {
        return Ok(report);
    }
    let total = wanting.iter().map(|(_, info)| u64::from(info.len)).sum();
    monitor.phase("parity", Some(total), Some(wanting.len() as u64));
    let mut maker = Maker { repo, options, encoder: ParityEncoder::new(), added: Vec::new(), bytes: 0, report };
    for (pack, info) in &wanting {
        if let Err(stop) = check_stop(monitor) {
            maker.record()?;
            return Err(stop);
        }
        maker.make(pack, info)?;
        monitor.advance(Progress::Bytes, u64::from(info.len));
        monitor.advance(Progress::Objects, 1);
    }
    maker.record()?;
    Ok(maker.report)
}

/// Packs in force without whole parity.
fn wanting(
    repo: &Repository,
    state: &State,
    content: Content,
    report: &mut ParityReport,
    monitor: &dyn Monitor,
) -> Result<Vec<(PackName, ObjectInfo)>> {
    monitor.phase("structure", None, Some(report.packs));
    let mut wanting = Vec::new();
    for (pack, info) in state.live_packs() {
        check_stop(monitor)?;
        match state.parity(&pack) {
            None => report.without += 1,
            Some((name, recorded)) => match damage_of(repo, state, &name, recorded, content)? {
                None => continue,
                Some(_) if repo.is_out_of_force_by_now(&ObjectName::Pack(pack))? => continue,
                Some(damage) => report.damaged.push(damage),
            },
        }
        wanting.push((pack, *info));
        monitor.advance(Progress::Objects, 1);
    }
    Ok(wanting)
}

fn damage_of(
    repo: &Repository,
    state: &State,
    name: &ParityName,
    recorded: &ObjectInfo,
    content: Content,
) -> Result<Option<Damage>> {
    let key = parity_key(name)?;
    let found = |what: &str| Some(Damage { object: key.to_string(), what: what.to_owned() });
    let object = match repo.store.stat(&key) {
        Err(error) if is_unreadable(&error) => return Ok(found(&format!("object cannot be read: {}", error.chain()))),
        object => object?,
    };
    match object {
        None => Ok(found("object is missing")),
        Some(object) if object.len != u64::from(recorded.len) => Ok(found("object has another length than recorded")),
        Some(_) if content == Content::Structure => Ok(None),
        Some(_) => Ok(verify::parity_damage(&repo.store, state, &name.pack)?.0),
    }
}

/// Makes parity of one pack after the other.
struct Maker<'a> {
    repo: &'a Repository,
    options: &'a RepairOptions,
    encoder: ParityEncoder,
    /// Stored and in no record yet.
    added: Vec<AddedObject>,
    /// Bytes of their packs.
    bytes: u64,
    report: ParityReport,
}

impl Maker<'_> {
    fn make(&mut self, pack: &PackName, info: &ObjectInfo) -> Result<()> {
        let key = pack_key(pack)?;
        let mut damaged = |what: String| {
            // A prune beside this deletes what it has recorded as out of force.
            if !self.repo.is_out_of_force_by_now(&ObjectName::Pack(*pack))? {
                self.report.unreadable.push(Damage { object: key.to_string(), what });
            }
            Ok(())
        };
        let bytes = match self.repo.store.get(&key) {
            Ok(Some(bytes)) if *blake3::hash(&bytes).as_bytes() == info.hash => bytes,
            Ok(Some(_)) => return damaged("content differs from what was written".into()),
            Ok(None) => return damaged("object is missing".into()),
            Err(error) if is_unreadable(&error) => return damaged(error.chain()),
            Err(error) => return Err(error),
        };
        let (mut id, mut object) = (ParityId::default(), Vec::new());
        self.repo.env.entropy.fill(&mut id.0)?;
        self.encoder.encode(self.repo.id(), *pack, &bytes, info.hash, self.repo.env.parity, &mut object)?;
        let name = ParityName { pack: *pack, id };
        let added = AddedObject::of(ObjectName::Parity(name), &object);
        self.repo.store.wait(self.repo.store.start_put_new(parity_key(&name)?, object))?;
        self.report.written += 1;
        self.report.bytes += added.len;
        self.added.push(added);
        self.bytes += bytes.len() as u64;
        if self.bytes >= RECORD_BYTES { self.record() } else { Ok(()) }
    }

    /// Parity of a pack that was reclaimed meanwhile goes with it: such a record always stands.
    fn record(&mut self) -> Result<()> {
        self.bytes = 0;
        if self.added.is_empty() {
            return Ok(());
        }
        let added = std::mem::take(&mut self.added);
        let record = self.options.record(self.repo, Payload::Add { run: RunId::default() }, added, Vec::new());
        self.repo.append(record, &mut |_| Ok(Verdict::Stands)).map(drop)
    }
}
