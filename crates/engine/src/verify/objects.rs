//! The log chain and the presence of everything it names.

use super::Findings;
use super::packs::PackResult;
use super::parity;
use super::pass::Pass;
use crate::environment::Environment;
use crate::options::{Damage, VerifyReport};
use crate::repository::plain::{fold_plain, fold_plain_rest, gives_a_record};
use crate::repository::{Repository, copies, fold_readable, no_log, unreadable_record};
use crate::store::{Store, is_unreadable};
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::header::Access;
use decube_backup_format::ids::{FORMAT_KEY, HINT_KEY, log_key, parse_seq_key};
use decube_backup_format::log::ObjectName;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// Reads the whole log again, from record 0, whatever the caches say.
pub(super) fn check_log(repo: &Repository, findings: &mut Findings) -> Result<()> {
    let state = repo.state();
    let mut fresh = State::new(repo.id());
    let mut chain = fresh.chain();
    for seq in 0..state.next_seq() {
        let key = log_key(seq)?;
        let why = match repo.store.get(&key) {
            Err(error) if is_unreadable(&error) => unreadable_record(&error),
            Err(error) => return Err(error),
            Ok(None) => "log record is missing".to_owned(),
            Ok(Some(bytes)) => {
                let applied =
                    chain.accept(&bytes).and_then(|envelope| repo.fold_into(&mut fresh, &envelope, &bytes).map(drop));
                match applied {
                    Ok(()) => {
                        findings.report.records += 1;
                        continue;
                    }
                    Err(error) => error.chain(),
                }
            }
        };
        findings.damage(&key, why);
        break;
    }
    if fresh.next_seq() == state.next_seq() {
        if fresh.hash() != state.hash() {
            findings.damage(log_key(state.next_seq().saturating_sub(1))?, "the log is not the one read before");
        }
        return repo.damaged_records().into_iter().try_for_each(|seq| name_damaged(&repo.store, seq, findings));
    }
    // Behind the first damage every record is judged by its own seal.
    let (folded, damaged) = fold_readable(repo, &mut fresh)?;
    findings.report.records += folded;
    damaged.into_iter().try_for_each(|seq| name_damaged(&repo.store, seq, findings))
}

/// Names log record `seq` unless it is named already.
fn name_damaged(store: &Store, seq: u64, findings: &mut Findings) -> Result<()> {
    let key = log_key(seq)?;
    if !findings.report.damages.iter().any(|d| d.object == key.as_str()) {
        let what = match store.get(&key) {
            Err(error) if is_unreadable(&error) => unreadable_record(&error),
            _ => "log record is damaged or missing: what it recorded is unknown".to_owned(),
        };
        findings.damage(&key, what);
    }
    Ok(())
}

/// Compares what the log names with what the store lists and, where the listing says otherwise, has.
pub(super) fn check_presence(repo: &Repository, findings: &mut Findings, monitor: &dyn Monitor) -> Result<()> {
    let state = repo.state();
    let odd = presence(&repo.store, &state, findings, monitor)?;
    if !odd.is_empty() {
        // A prune beside this deletes what it has recorded as out of force.
        repo.refresh()?;
    }
    for odd in odd.iter().filter(|odd| !repo.state().is_out_of_force(&odd.name)) {
        note(odd, findings)?;
    }
    let told = told(&odd);
    for (name, info) in state.objects() {
        // Small objects are read and hashed at every level; packs and parity have levels of their own.
        if matches!(name, ObjectName::Pack(_) | ObjectName::Parity(_)) || told.contains(&name) {
            continue;
        }
        let key = name.key()?;
        match repo.store.get(&key) {
            Ok(Some(bytes)) if *blake3::hash(&bytes).as_bytes() != info.hash => {
                findings.damage(&key, "content differs from what was written");
            }
            Err(error) if is_unreadable(&error) => findings.damage(&key, unreadable_object(&error)),
            read => drop(read?),
        }
    }
    tell_of_twins(&state, repo.damaged_originals(), findings)
}

/// Says of each damaged object that is kept twice how the other one is.
///
/// `replaced` are originals found damaged on opening: with record 0 lost, no record tells of them.
fn tell_of_twins(state: &State, replaced: &[Damage], findings: &mut Findings) -> Result<()> {
    let damages = &mut findings.report.damages;
    let named: HashSet<String> = damages.iter().map(|damage| damage.object.clone()).collect();
    let twice: Vec<_> = state.objects().filter_map(|(name, _)| Some((name, name.twin()?))).collect();
    for (name, twin) in twice.iter().filter(|(_, twin)| twice.iter().any(|(name, _)| name == twin)) {
        let (object, twin) = (name.key()?.to_string(), twin.key()?.to_string());
        let how = match named.contains(&twin) {
            true => format!("`{twin}` is damaged too: put both back from a replica"),
            false => copies::twin_is_sound(&object, &twin),
        };
        for damage in damages.iter_mut().filter(|damage| damage.object == object) {
            damage.what = format!("{}; {how}", damage.what);
        }
    }
    damages.extend(replaced.iter().filter(|damage| !named.contains(&damage.object)).cloned());
    Ok(())
}

/// An object that is not there as recorded.
struct Odd {
    name: ObjectName,
    how: How,
}

enum How {
    Missing,
    Resized {
        len: u64,
        recorded: u32,
    },
    /// It is not even told whether it is there.
    Unreadable(Error),
}

impl How {
    /// How an object recorded with so many bytes is odd, if it is.
    ///
    /// # Errors
    /// The store does not answer.
    fn of(store: &Store, key: &Key, recorded: u32) -> Result<Option<Self>> {
        Ok(match store.stat(key) {
            Ok(Some(object)) if object.len == u64::from(recorded) => None,
            Ok(Some(object)) => Some(Self::Resized { len: object.len, recorded }),
            Ok(None) => Some(Self::Missing),
            Err(error) if is_unreadable(&error) => Some(Self::Unreadable(error)),
            Err(error) => return Err(error),
        })
    }
}

/// Which objects in force are missing, of another length than recorded, or cannot be looked at.
fn presence(store: &Store, state: &State, findings: &mut Findings, monitor: &dyn Monitor) -> Result<Vec<Odd>> {
    let mut odd = Vec::new();
    monitor.phase("structure", None, Some(state.live_pack_count() as u64));
    let mut listed: HashMap<Key, u64> = store.list("")?.into_iter().map(|o| (o.key, o.len)).collect();
    for (name, info) in state.objects() {
        check_stop(monitor)?;
        let key = name.key()?;
        // A listing may be stale: where it says otherwise, the object is asked for.
        if listed.remove(&key) != Some(u64::from(info.len))
            && let Some(how) = How::of(store, &key, info.len)?
        {
            odd.push(Odd { name, how });
        }
        if matches!(name, ObjectName::Pack(_)) {
            findings.report.packs += 1;
        }
        monitor.advance(Progress::Objects, 1);
    }
    // A later record without this one: it is missing, unless it was appended since we looked.
    let mut records = listed.keys().filter(|key| key.as_str().starts_with("log/")).filter_map(parse_seq_key);
    if records.any(|seq| seq > state.next_seq()) && !is_there(store, &log_key(state.next_seq())?)? {
        name_damaged(store, state.next_seq(), findings)?;
    }
    let known: HashSet<&str> = [FORMAT_KEY, HINT_KEY].into();
    findings.report.orphans = listed
        .keys()
        .filter(|key| {
            let name = key.as_str();
            !known.contains(name) && !name.starts_with("log/") && !name.starts_with("ckpt/")
        })
        .count() as u64;
    Ok(odd)
}

/// What to say of an object that the store does not give.
fn unreadable_object(why: &Error) -> String {
    format!("object cannot be read: {}", why.chain())
}

/// Whether the store tells that there is such an object.
fn is_there(store: &Store, key: &Key) -> Result<bool> {
    match store.stat(key) {
        Err(error) if is_unreadable(&error) => Ok(false),
        found => Ok(found?.is_some()),
    }
}

/// Those that are there and odd: told of already, reading them says no more.
fn told(odd: &[Odd]) -> HashSet<ObjectName> {
    odd.iter().filter(|odd| !matches!(odd.how, How::Missing)).map(|odd| odd.name).collect()
}

fn note(odd: &Odd, findings: &mut Findings) -> Result<()> {
    let what = match &odd.how {
        How::Missing => "object is missing".to_owned(),
        How::Resized { len, recorded } => format!("object has {len} bytes instead of {recorded}"),
        How::Unreadable(error) => unreadable_object(error),
    };
    findings.damage(odd.name.key()?, what);
    if let ObjectName::Pack(pack) = odd.name {
        findings.bad_packs.insert(pack);
        match odd.how {
            How::Missing | How::Unreadable(_) => findings.lost_packs.insert(pack),
            How::Resized { .. } => findings.resized_packs.insert(pack),
        };
    }
    Ok(())
}

/// The whole log's plain part; with what ended that, if it was not the log's end.
fn plain_state(store: &Store, mut state: State) -> Result<(State, Option<Error>)> {
    let broken = fold_plain(store, &mut state, &mut |_| Ok(ControlFlow::Continue(())))?;
    Ok((state, broken))
}

/// Checks log chain, presence and every object's hash without any key.
///
/// # Errors
/// `NotFound` if there is no repository; `Corrupt` if its log is gone; the store cannot be read at all.
pub fn scrub(env: &Environment, monitor: &dyn Monitor) -> Result<VerifyReport> {
    let begun = env.clock.monotonic();
    let store = Store::new(env);
    let mut header = copies::header(&store)?;
    let (mut state, mut broken) = plain_state(&store, State::new(header.value.repository))?;
    // A header that is not this repository's makes all of its log look wrong, or asks for what it does not need.
    if (state.next_seq() == 0 || copies::check_recorded(&header, &state).is_err())
        && let Ok(Some(other)) = copies::other_header(&store, &header)
    {
        let (by_copy, broken_by_copy) = plain_state(&store, State::new(other.value.repository))?;
        if by_copy.next_seq() > 0 && copies::check_recorded(&other, &by_copy).is_ok() {
            (header, state, broken) = (other, by_copy, broken_by_copy);
        }
    }
    header.value.check(Access::Read)?;
    if state.next_seq() == 0 && broken.is_none() && !copies::has_log(&store)? {
        return Err(no_log::why(&store)?);
    }
    let mut findings = Findings::default();
    findings.report.records = state.next_seq();
    if let Some(error) = broken {
        // A storage that gives no record at all says nothing about any of them.
        if state.next_seq() == 0 && error.kind() == ErrorKind::Io && !gives_a_record(&store)? {
            return Err(error);
        }
        findings.damage(log_key(state.next_seq())?, error.chain());
    }
    let (folded, damaged) = fold_plain_rest(&store, &mut state)?;
    findings.report.records += folded;
    damaged.into_iter().try_for_each(|seq| name_damaged(&store, seq, &mut findings))?;
    let odd = presence(&store, &state, &mut findings, monitor)?;
    let by_now = if odd.is_empty() { state.clone() } else { plain_state(&store, state.clone())?.0 };
    for odd in odd.iter().filter(|odd| !by_now.is_out_of_force(&odd.name)) {
        note(odd, &mut findings)?;
    }
    let told = told(&odd);
    let total = state.objects().map(|(_, info)| u64::from(info.len)).sum();
    monitor.phase("scrub", Some(total), Some(state.live_pack_count() as u64));
    for (name, info) in state.objects() {
        check_stop(monitor)?;
        let key = name.key()?;
        let mut pass = Pass::new(&store, key.clone());
        let hash = match pass.finish() {
            Ok(hash) => hash,
            // One unreadable object is damage; a store that does not answer is not.
            Err(error) if is_unreadable(&error) => {
                if !told.contains(&name) {
                    findings.damage(&key, unreadable_object(&error));
                }
                findings.bad_packs.extend(if let ObjectName::Pack(pack) = name { Some(pack) } else { None });
                continue;
            }
            Err(error) => return Err(error),
        };
        if !pass.absent {
            findings.report.bytes_read += pass.at;
            monitor.advance(Progress::Bytes, pass.at);
            if hash != info.hash {
                match name {
                    ObjectName::Parity(parity) => findings.damage(&key, parity::what_is_left(&store, &parity)?),
                    _ if told.contains(&name) => {}
                    _ => findings.damage(&key, "content differs from what was written"),
                }
            }
            if let ObjectName::Pack(pack) = name {
                findings.report.packs_read += 1;
                if hash != info.hash {
                    findings.bad_packs.insert(pack);
                }
            }
        }
    }
    // Without keys nobody knows what should be in a pack.
    parity::judge(&store, &state, &|_, _| Ok(PackResult::default()), &mut findings, monitor)?;
    tell_of_twins(&state, header.damage.as_slice(), &mut findings)?;
    let mut report = findings.report;
    report.seconds = (env.clock.monotonic() - begun).as_secs_f64();
    Ok(report)
}
