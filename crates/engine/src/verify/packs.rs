//! Reading packs: plain hashes, or everything decoded and every id recomputed.

use super::Findings;
use super::pass::Pass;
use crate::options::Subset;
use crate::repository::Repository;
use crate::segments::{Scratch, SegmentReader};
use decube_backup_core::monitor::{Monitor, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::ObjectInfo;
use decube_backup_format::hash::Domain;
use decube_backup_format::ids::{PackKind, PackName, ShortId, pack_key};
use decube_backup_format::pack::{Footer, PackHeader, PackReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Scrub,
    Decode,
}

/// What one pack yielded.
#[derive(Default)]
struct PackResult {
    damages: Vec<String>,
    lost: bool,
    lost_chunks: Vec<ShortId>,
    bytes: u64,
    chunks: u64,
}

/// The packs of `subset`, in name order.
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
    }
    Ok(all)
}

type Packs = Vec<(PackName, ObjectInfo)>;

fn shuffle_and_keep(repo: &Repository, all: &mut Packs, count: impl Fn(&Packs) -> usize) -> Result<()> {
    let mut salt = [0; 32];
    repo.env.entropy.fill(&mut salt)?;
    all.sort_by_cached_key(|(name, _)| *blake3::keyed_hash(&salt, &name.id.0).as_bytes());
    let keep = count(all);
    all.truncate(keep);
    Ok(())
}

pub(super) fn read(
    repo: &Repository,
    subset: Subset,
    mode: Mode,
    findings: &mut Findings,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut packs = chosen(repo, subset)?;
    // Outside the subset too: only reading tells what is left of them.
    let resized = |name: &PackName| findings.resized_packs.contains(name);
    packs.retain(|(name, _)| !findings.lost_packs.contains(name) && !resized(name));
    packs.extend(repo.state().live_packs().filter(|(name, _)| resized(name)).map(|(name, info)| (name, *info)));
    let total = packs.iter().map(|(_, info)| u64::from(info.len)).sum();
    monitor.phase("verify", Some(total), Some(packs.len() as u64));
    let (next, shared) = (AtomicUsize::new(0), Mutex::new((findings, None::<Error>)));
    let segments = SegmentReader::new(repo);
    std::thread::scope(|scope| {
        for _ in 0..repo.env.workers() {
            scope.spawn(|| {
                let mut scratch = None;
                while let Some((name, info)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result =
                        check_stop(monitor).and_then(|()| one(repo, &segments, name, info, mode, &mut scratch));
                    let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let (findings, failed) = &mut *guard;
                    match result {
                        Ok(result) => {
                            monitor.advance(Progress::Bytes, result.bytes);
                            monitor.advance(Progress::Objects, 1);
                            collect(findings, name, result);
                        }
                        Err(error) => {
                            failed.get_or_insert(error);
                            next.store(usize::MAX / 2, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    match shared.into_inner().unwrap_or_else(PoisonError::into_inner).1 {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn collect(findings: &mut Findings, name: &PackName, result: PackResult) {
    findings.report.packs_read += 1;
    findings.report.bytes_read += result.bytes;
    findings.report.chunks += result.chunks;
    if result.lost {
        findings.lost_packs.insert(*name);
    }
    for chunk in result.lost_chunks {
        findings.lost_chunks.entry(chunk).or_default().push(*name);
    }
    let key = pack_key(name).map_or_else(|_| name.id.to_hex(), |k| k.to_string());
    for what in result.damages {
        findings.damage(&key, what);
    }
}

fn one(
    repo: &Repository,
    segments: &SegmentReader<'_>,
    name: &PackName,
    info: &ObjectInfo,
    mode: Mode,
    scratch: &mut Option<Scratch>,
) -> Result<PackResult> {
    let mut result = PackResult::default();
    let scratch = match scratch {
        Some(ready) => ready,
        none => none.insert(Scratch::new()?),
    };
    let key = pack_key(name)?;
    let read = (|| {
        let mut pass = Pass::new(&repo.store, key.clone());
        if mode == Mode::Scrub {
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
                footer => Some(footer?),
            };
            Ok((reader, footer))
        });
        match opened {
            Ok((reader, Some(footer))) => decode(repo, name, &reader, &footer, &mut pass, scratch, &mut result)?,
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
        Ok(()) => Ok(result),
        // One unreadable object is damage; a store that does not answer is not.
        Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Corrupt) => {
            result.lost = true;
            result.damages.push(format!("object cannot be read: {}", error.chain()));
            Ok(result)
        }
        Err(error) => Err(error),
    }
}

/// Whether `error` tells of the bytes of a header or footer, and not of a store that does not answer.
fn is_table_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported)
}

fn unreadable_table(error: &Error) -> String {
    format!("table of contents cannot be read: {}", error.chain())
}

/// Decodes the segments in order; they follow each other without gaps.
fn decode(
    repo: &Repository,
    name: &PackName,
    reader: &PackReader,
    footer: &Footer,
    pass: &mut Pass<'_>,
    scratch: &mut Scratch,
    result: &mut PackResult,
) -> Result<()> {
    let domain = if name.kind == PackKind::Meta { Domain::Node } else { Domain::Content };
    for (number, entry) in footer.segments.iter().enumerate() {
        let chunks = footer.chunks_of(entry);
        pass.read_to(u64::from(entry.offset) + u64::from(entry.stored_len), scratch.sealed_mut())?;
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
