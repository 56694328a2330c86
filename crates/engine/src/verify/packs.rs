//! Reading packs: plain hashes, or everything decoded and every id recomputed.

use super::Findings;
use super::claims::Claims;
use super::parity;
use super::pass::Pass;
use super::policy;
use super::record::Recorder;
use crate::options::{Damage, Subset};
use crate::repository::Repository;
use crate::segments::{Scratch, SegmentReader};
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::ObjectInfo;
use decube_backup_format::hash::Domain;
use decube_backup_format::ids::{PackKind, PackName, ShortId, pack_key};
use decube_backup_format::log::ObjectName;
use decube_backup_format::pack::{Footer, PackHeader, PackReader, SegmentEntry};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Scrub,
    Decode,
}

/// What one pack yielded.
#[derive(Default)]
pub(super) struct PackResult {
    pub(super) damages: Vec<String>,
    pub(super) lost: bool,
    pub(super) lost_chunks: Vec<ShortId>,
    /// Chunks that an index segment says it has, and it has not.
    pub(super) absent_chunks: Vec<ShortId>,
    /// What is wrong with its parity, and with index segments that speak of it.
    pub(super) others: Vec<Damage>,
    bytes: u64,
    chunks: u64,
}

/// The packs of `subset`, in the order of reading.
fn chosen(repo: &Repository, subset: Subset) -> Result<Vec<(PackName, ObjectInfo)>> {
    let state = repo.state();
    let mut all: Vec<(PackName, ObjectInfo)> = state.live_packs().map(|(n, i)| (n, *i)).collect();
    match subset {
        Subset::All => {}
        // Names are random, so their first bytes split them evenly and stay the same for ever.
        Subset::Group { n, of } => {
            all.retain(|(name, _)| u32::from_be_bytes([0, 0, name.id.0[0], name.id.0[1]]) % of.max(1) + 1 == n)
        }
        Subset::Percent(percent) => shuffle_and_keep(repo, &mut all, |all| {
            let wanted = (all.len() as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as usize;
            wanted.min(all.len())
        })?,
        Subset::Bytes(bytes) => shuffle_and_keep(repo, &mut all, |all| {
            let mut sum = 0u64;
            let within = |(_, info): &&(PackName, ObjectInfo)| {
                let more = sum < bytes;
                sum += u64::from(info.len);
                more
            };
            all.iter().take_while(within).count()
        })?,
        Subset::Due(policy) => {
            shuffle_and_keep(repo, &mut all, Vec::len)?;
            policy::due(repo, &policy, &mut all);
        }
    }
    Ok(all)
}

pub(super) type Packs = Vec<(PackName, ObjectInfo)>;

fn shuffle_and_keep(repo: &Repository, all: &mut Packs, count: impl Fn(&Packs) -> usize) -> Result<()> {
    let mut salt = [0; 32];
    repo.env.entropy.fill(&mut salt)?;
    all.sort_by_cached_key(|(name, _)| *blake3::keyed_hash(&salt, &name.id.0).as_bytes());
    let keep = count(all);
    all.truncate(keep);
    Ok(())
}

/// How packs are read.
pub(super) struct Reading<'a> {
    pub(super) repo: &'a Repository,
    pub(super) mode: Mode,
    /// What is said of hosts' packs.
    pub(super) claims: Claims,
    /// When the last pack may be begun, by the monotonic clock; the first one is always read.
    pub(super) ends: Option<Duration>,
    pub(super) monitor: &'a dyn Monitor,
}

impl Reading<'_> {
    /// Reads the packs of `subset`, and in any case those known to be damaged, to say what is left of them, and those of
    /// another length than recorded, unless they are given up already.
    pub(super) fn run(
        &self,
        subset: Option<Subset>,
        findings: &mut Findings,
        recorder: Option<&mut Recorder<'_>>,
    ) -> Result<()> {
        let (repo, monitor) = (self.repo, self.monitor);
        let state = repo.state();
        let suspicious = |name: &PackName| findings.resized_packs.contains(name) || state.is_damaged(name);
        let mut packs: Packs = state.live_packs().map(|(n, i)| (n, *i)).filter(|(n, _)| suspicious(n)).collect();
        if let Some(subset) = subset {
            packs.extend(chosen(repo, subset)?.into_iter().filter(|(name, _)| !suspicious(name)));
        }
        let (lost, packs): (Packs, Packs) = packs.into_iter().partition(|(name, _)| findings.lost_packs.contains(name));
        for (name, _) in lost {
            let (damage, bytes) = parity::check(&repo.store, &state, &name)?;
            findings.report.damages.extend(damage);
            findings.report.bytes_read += bytes;
        }
        let total = packs.iter().map(|(_, info)| u64::from(info.len)).sum();
        monitor.phase("verify", Some(total), Some(packs.len() as u64));
        // Another host may read for the same policy: what it finished meanwhile is left out.
        let passed_over = |name: &PackName| {
            matches!(subset, Some(Subset::Due(_))) && repo.state().verified(name) != state.verified(name)
        };
        let (next, shared) = (AtomicUsize::new(0), Mutex::new((findings, recorder, None::<Error>)));
        let segments = SegmentReader::new(repo);
        let end = |error: Option<Error>| {
            next.store(usize::MAX / 2, Ordering::Relaxed);
            if let Some(error) = error {
                shared.lock().unwrap_or_else(PoisonError::into_inner).2.get_or_insert(error);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..repo.env.workers() {
                scope.spawn(|| {
                    let mut scratch = None;
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some((name, info)) = packs.get(at) else { return };
                        if at > 0 && self.ends.is_some_and(|ends| repo.env.clock.monotonic() >= ends) {
                            return end(None);
                        }
                        if passed_over(name) {
                            continue;
                        }
                        let read = check_stop(monitor);
                        let read = read.and_then(|()| one(self, &segments, name, info, &mut scratch));
                        let read = read.and_then(|result| {
                            result.map(|result| with_parity(repo, name, result)).transpose().map(Option::flatten)
                        });
                        match read {
                            Ok(None) => monitor.advance(Progress::Objects, 1),
                            Ok(Some(result)) => {
                                monitor.advance(Progress::Bytes, result.bytes);
                                monitor.advance(Progress::Objects, 1);
                                let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
                                let (findings, recorder, _) = &mut *guard;
                                collect(findings, recorder.as_deref_mut(), self.mode, name, result);
                            }
                            Err(error) => return end(Some(error)),
                        }
                    }
                });
            }
        });
        match shared.into_inner().unwrap_or_else(PoisonError::into_inner).2 {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Holds what index segments say of `pack` against its own table.
    fn hear(&self, pack: &PackName, own: &Footer, result: &mut PackResult) -> Result<()> {
        let (damages, absent) = self.claims.check(self.repo, pack, own)?;
        result.others.extend(damages);
        result.absent_chunks.extend(absent);
        Ok(())
    }

    /// What is wrong in a pack whose bytes are as they were recorded: that was sealed so, and parity does not change it.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) fn contents(&self, name: &PackName, pack: &[u8]) -> Result<PackResult> {
        let (mut result, mut scratch) = (PackResult::default(), Scratch::new()?);
        let header = pack.get(..PackHeader::BYTES).unwrap_or_default();
        let reader = SegmentReader::new(self.repo).open_header(name, header);
        let opened = reader.and_then(|reader| reader.footer_of(pack).map(|footer| (reader, footer)));
        match opened {
            Ok((reader, footer)) => {
                self.hear(name, &footer, &mut result)?;
                let mut read = |entry: &SegmentEntry, sealed: &mut Vec<u8>| {
                    let bytes = pack.get(entry.offset as usize..end_of(entry) as usize).unwrap_or_default();
                    bytes.clone_into(sealed);
                    Ok(())
                };
                decode(self.repo, &reader, &footer, &mut read, &mut scratch, &mut result)?;
            }
            Err(error) => {
                result.damages.push(unreadable_table(&error));
                result.lost = true;
            }
        }
        Ok(result)
    }
}

/// Adds to what a pack yielded what its parity does; `None` if a prune took both out of force by now.
fn with_parity(repo: &Repository, name: &PackName, mut result: PackResult) -> Result<Option<PackResult>> {
    let (damage, bytes) = parity::check(&repo.store, &repo.state(), name)?;
    if damage.is_some() && repo.is_out_of_force_by_now(&ObjectName::Pack(*name))? {
        return Ok(None);
    }
    result.others.extend(damage);
    result.bytes += bytes;
    Ok(Some(result))
}

fn collect(
    findings: &mut Findings,
    recorder: Option<&mut Recorder<'_>>,
    mode: Mode,
    name: &PackName,
    result: PackResult,
) {
    findings.report.packs_read += 1;
    findings.report.bytes_read += result.bytes;
    findings.report.chunks += result.chunks;
    if !result.damages.is_empty() || result.lost {
        findings.bad_packs.insert(*name);
    } else if let Some(recorder) = recorder.filter(|_| mode == Mode::Decode) {
        recorder.sound(*name, result.bytes);
    }
    let key = pack_key(name).map_or_else(|_| name.id.to_hex(), |k| k.to_string());
    findings.content(name, &key, result);
}

/// What reading one pack yields; `None` if a prune took it out of force by now, whatever was left of it.
fn one(
    reading: &Reading<'_>,
    segments: &SegmentReader<'_>,
    name: &PackName,
    info: &ObjectInfo,
    scratch: &mut Option<Scratch>,
) -> Result<Option<PackResult>> {
    let repo = reading.repo;
    let mut result = PackResult::default();
    let scratch = match scratch {
        Some(ready) => ready,
        none => none.insert(Scratch::new()?),
    };
    let key = pack_key(name)?;
    let read = (|| {
        let mut pass = Pass::new(&repo.store, key.clone());
        if reading.mode == Mode::Scrub {
            let intact = pass.finish()? == info.hash;
            result.bytes = pass.at;
            if intact {
                return Ok(());
            }
            // A damaged pack is decoded at every level, to say which chunks are hit.
            pass = Pass::new(&repo.store, key.clone());
        }
        pass.read_to(PackHeader::BYTES as u64, scratch.sealed_mut())?;
        if pass.absent {
            result.lost = true;
            result.damages.push("object is missing".into());
            return Ok(());
        }
        let opened = segments.open_header(name, scratch.sealed_mut()).and_then(|reader| {
            let footer = match segments.footer(&reader, u64::from(info.len)) {
                Err(error) if is_table_damage(&error) => {
                    result.damages.push(unreadable_table(&error));
                    // The index still says where the segments are.
                    crate::repository::indexed_footer(repo, name)?
                }
                footer => {
                    let footer = footer?;
                    reading.hear(name, &footer, &mut result)?;
                    Some(footer)
                }
            };
            Ok((reader, footer))
        });
        match opened {
            Ok((reader, Some(footer))) => {
                let mut read = |entry: &SegmentEntry, sealed: &mut Vec<u8>| pass.read_to(end_of(entry), sealed);
                decode(repo, &reader, &footer, &mut read, scratch, &mut result)?;
            }
            Ok((_, None)) => result.lost = true,
            Err(error) if is_table_damage(&error) => {
                result.damages.push(unreadable_table(&error));
                result.lost = true;
            }
            Err(error) => return Err(error),
        }
        if pass.finish()? != info.hash {
            result.damages.push("content differs from what was written".into());
        }
        result.bytes = pass.at;
        Ok(())
    })();
    match read {
        Ok(()) => {}
        // One unreadable object is damage; a store that does not answer is not.
        Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Corrupt) => {
            result.lost = true;
            result.damages.push(format!("object cannot be read: {}", error.chain()));
        }
        Err(error) => return Err(error),
    }
    let is_suspect = result.lost || !result.damages.is_empty();
    Ok(if is_suspect && repo.is_out_of_force_by_now(&ObjectName::Pack(*name))? { None } else { Some(result) })
}

/// Whether `error` tells of the bytes of a header or footer, and not of a store that does not answer.
fn is_table_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported)
}

fn unreadable_table(error: &Error) -> String {
    format!("table of contents cannot be read: {}", error.chain())
}

fn end_of(entry: &SegmentEntry) -> u64 {
    u64::from(entry.offset) + u64::from(entry.stored_len)
}

/// Decodes the segments in order; they follow each other without gaps, and `read` yields their sealed bytes.
fn decode(
    repo: &Repository,
    reader: &PackReader,
    footer: &Footer,
    read: &mut dyn FnMut(&SegmentEntry, &mut Vec<u8>) -> Result<()>,
    scratch: &mut Scratch,
    result: &mut PackResult,
) -> Result<()> {
    let domain = if reader.header().name.kind == PackKind::Meta { Domain::Node } else { Domain::Content };
    for (number, entry) in footer.segments.iter().enumerate() {
        let chunks = footer.chunks_of(entry);
        read(entry, scratch.sealed_mut())?;
        if let Err(error) = scratch.open(reader, number as u32, entry) {
            result.damages.push(format!("segment {number} cannot be decoded: {}", error.chain()));
            result.lost_chunks.extend(chunks.iter().map(|c| c.id));
            continue;
        }
        for chunk in chunks {
            let (from, to) = (chunk.offset as usize, (chunk.offset + chunk.len) as usize);
            let content = scratch.raw.get(from..to).unwrap_or_default();
            result.chunks += 1;
            if repo.hasher.id(domain, content).short() != chunk.id {
                result.damages.push(format!("chunk {} does not match its id", chunk.id));
                result.lost_chunks.push(chunk.id);
            }
        }
    }
    Ok(())
}
