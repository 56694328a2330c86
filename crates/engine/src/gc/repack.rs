//! Copying what is needed of packs that go into new ones.
//!
//! Every chunk is checked against its id on the way, and sealed under the current key: packs of older key versions
//! migrate. A segment that is needed whole keeps its compression. What is copied is recorded by `Add` on the way and at the
//! end, so that a prune that is stopped or killed copies nothing twice; a copy nobody needs is garbage for the next one.

use super::tally::take_kept;
use crate::index::LocalIndex;
use crate::index::bitmap::Bitmap;
use crate::pipeline::{AddedPack, ChunkWriter, Lane, PackSealer, WriterContext, WriterSettings};
use crate::publish;
use crate::repository::{Owners, Repository};
use crate::segments::{Scratch, SegmentReader, chunk_in, is_damage};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress, check_stop};
use decube_backup_core::sink::Distance;
use decube_backup_core::{Error, Result};
use decube_backup_format::codec::Codec;
use decube_backup_format::host::HostMark;
use decube_backup_format::ids::{PackKind, PackName, ShortId, pack_key};
use decube_backup_format::log::{ObjectName, WriterId};
use decube_backup_format::manifest::RunId;
use decube_backup_format::pack::{ChunkEntry, Footer, PackReader, SegmentEntry};
use std::collections::{BTreeMap, BTreeSet};

/// Copied bytes after which they are recorded.
const RECORD_BYTES: u64 = 4 << 30;
/// Most bytes fetched at once, if they are asked for over a network.
const FETCH_BYTES_MAX: u32 = 8 << 20;
/// The same if not: a request costs next to nothing there, and memory that comes and goes does not.
const FETCH_BYTES_NEAR_MAX: u32 = 1 << 20;
/// Bytes between two segments that are rather fetched than asked for twice.
const GAP_BYTES_MAX: u32 = 128 << 10;
/// A segment needed whole is taken over as it is if it is this part of a full one; smaller ones are put together.
const WHOLE_SHARE: usize = 4;

/// Most bytes fetched at once from a store at `distance`.
pub(super) const fn fetch_bytes_max(distance: Distance) -> u32 {
    match distance {
        Distance::Local => FETCH_BYTES_NEAR_MAX,
        Distance::Remote => FETCH_BYTES_MAX,
    }
}

/// What copying came to.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Packs written.
    pub packs: u64,
    /// Bytes of packs and index segments written.
    pub bytes: u64,
    /// Packs that are recorded.
    pub written: BTreeSet<PackName>,
    /// Packs that cannot be read: they stay as they are.
    pub damaged: BTreeSet<PackName>,
}

/// What is copied from.
pub(super) struct Repack<'a> {
    pub repo: &'a Repository,
    pub index: &'a LocalIndex,
    /// The entries at which live chunks are counted; taken as they are copied.
    pub kept: &'a Bitmap,
    pub monitor: &'a dyn Monitor,
}

/// A piece of a pack to fetch: segments from this number on, with their entries.
struct Stretch {
    from: u32,
    to: u32,
    segments: Vec<u32>,
}

impl Repack<'_> {
    /// Copies what is needed of `sources`, in this order; it is recorded when this returns, and after an error as far as
    /// possible.
    ///
    /// # Errors
    /// What storing yields; `Interrupted`. Damage of a source is a problem and no error.
    pub(super) fn run(&self, sources: &[PackName], copied: &mut Copied) -> Result<()> {
        let (repo, state) = (self.repo, self.repo.state());
        let total = sources.iter().filter_map(|name| state.pack(name).map(|info| u64::from(info.len))).sum();
        self.monitor.phase("repack", Some(total), Some(sources.len() as u64));
        let (owners, keyring) = (Owners::of(&state), repo.keyring()?);
        let mut groups: BTreeMap<Option<WriterId>, Vec<PackName>> = BTreeMap::new();
        for name in sources {
            groups.entry(owners.owner(&name.id.0)).or_default().push(*name);
        }
        drop(state);
        // What is in a host's packs comes into packs of the same host.
        groups.into_iter().try_for_each(|(owner, sources)| {
            let given = owner.as_ref().map(HostMark::given);
            self.run_group(&PackSealer::Keyring { keyring: keyring.clone(), given }, &sources, copied)
        })
    }

    fn run_group(&self, sealer: &PackSealer, sources: &[PackName], copied: &mut Copied) -> Result<()> {
        let repo = self.repo;
        let settings = WriterSettings::new(&repo.header, repo.store.capabilities().distance, &repo.env, None);
        let context = WriterContext {
            store: &repo.store,
            sealer,
            entropy: repo.env.entropy.as_ref(),
            repository: repo.id(),
            monitor: self.monitor,
            kept: None,
        };
        std::thread::scope(|scope| {
            let mut writer = ChunkWriter::start(scope, context, settings);
            let copying = self.copy_all(&mut writer, settings, sources, copied).and_then(|()| writer.flush());
            let (added, failed) = match copying {
                Ok(added) => (added, None),
                // What is in full packs need not be copied again.
                Err(error) => (writer.stop(), Some(error)),
            };
            let recorded = self.record(added, copied);
            failed.map_or(recorded, Err)
        })
    }

    fn copy_all(
        &self,
        writer: &mut ChunkWriter,
        settings: WriterSettings,
        sources: &[PackName],
        copied: &mut Copied,
    ) -> Result<()> {
        let segments = SegmentReader::new(self.repo);
        let mut scratch = Scratch::new()?;
        let mut since = 0;
        for name in sources {
            check_stop(self.monitor)?;
            let state = self.repo.state();
            let Some(info) = state.pack(name) else { continue };
            let mut source = Source { repack: self, name, settings, segments: &segments, scratch: &mut scratch };
            let mut outcome = source.copy(u64::from(info.len), &mut since, writer);
            if matches!(outcome, Err(Failed::Reading(_)))
                && let Some(_at_hand) = segments.bring_back(name)?
            {
                // What was copied by now is not copied again.
                outcome = source.copy(u64::from(info.len), &mut since, writer);
            }
            match outcome {
                Ok(()) => {}
                Err(Failed::Reading(error)) => {
                    if self.repo.is_out_of_force_by_now(&ObjectName::Pack(*name))? {
                        // Another prune was faster; it left each live chunk another place.
                        continue;
                    }
                    copied.damaged.insert(*name);
                    let what = format!("a pack that was to be copied is damaged and stays as it is: {}", error.chain());
                    self.monitor.problem(&Problem::new(ProblemKind::Damaged, pack_key(name)?.as_str(), what));
                }
                Err(Failed::Fatal(error)) => return Err(error),
            }
            self.monitor.advance(Progress::Bytes, u64::from(info.len));
            self.monitor.advance(Progress::Objects, 1);
            if since >= RECORD_BYTES {
                since = 0;
                self.record(writer.flush()?, copied)?;
            }
        }
        Ok(())
    }

    /// Records new packs; those that somebody took for leftovers meanwhile are gone.
    fn record(&self, added: Vec<AddedPack>, copied: &mut Copied) -> Result<()> {
        copied.packs += added.len() as u64;
        copied.bytes += added.iter().map(AddedPack::stored_bytes).sum::<u64>();
        let recorded = publish::record_packs(self.repo, RunId::default(), added, "prune")?;
        copied.bytes += recorded.index_bytes;
        copied.written.extend(recorded.packs.iter().map(|pack| pack.name));
        Ok(())
    }
}

/// Whose fault it is that a pack was not copied.
enum Failed {
    /// The pack's.
    Reading(Error),
    Fatal(Error),
}

fn reading(error: Error) -> Failed {
    if is_damage(&error) { Failed::Reading(error) } else { Failed::Fatal(error) }
}

/// One pack that is copied from.
struct Source<'a> {
    repack: &'a Repack<'a>,
    name: &'a PackName,
    settings: WriterSettings,
    segments: &'a SegmentReader<'a>,
    scratch: &'a mut Scratch,
}

impl Source<'_> {
    /// Copies what is needed of a pack of `len` bytes; adds to `copied` how many raw bytes that was. Segments that are
    /// whole are copied even if others are not.
    fn copy(&mut self, len: u64, copied: &mut u64, writer: &mut ChunkWriter) -> Result<(), Failed> {
        let reader = self.segments.pack(self.name).map_err(reading)?;
        let footer = self.segments.footer(&reader, len).map_err(reading)?;
        let mut damage = None;
        for stretch in self.stretches(&footer).map_err(Failed::Fatal)? {
            check_stop(self.repack.monitor).map_err(Failed::Fatal)?;
            let (from, len) = (u64::from(stretch.from), u64::from(stretch.to - stretch.from));
            let bytes = self.segments.fetch(self.name, from, len).map_err(reading)?;
            for number in stretch.segments {
                let Some(entry) = footer.segments.get(number as usize) else { continue };
                let start = (entry.offset - stretch.from) as usize;
                let sealed = bytes.get(start..start + entry.stored_len as usize).unwrap_or_default();
                match self.segment(&reader, &footer, number, entry, sealed, writer) {
                    Ok(bytes) => *copied += bytes,
                    Err(Failed::Reading(error)) => _ = damage.get_or_insert(error),
                    Err(fatal) => return Err(fatal),
                }
            }
        }
        damage.map_or(Ok(()), |error| Err(Failed::Reading(error)))
    }

    /// The segments with something needed in them, neighbours together.
    fn stretches(&self, footer: &Footer) -> Result<Vec<Stretch>> {
        let bytes_max = fetch_bytes_max(self.repack.repo.store.capabilities().distance);
        let mut stretches: Vec<Stretch> = Vec::new();
        for (number, entry) in (0..).zip(&footer.segments) {
            let mut is_needed = false;
            for chunk in footer.chunks_of(entry) {
                is_needed = is_needed || self.is_kept(&chunk.id)?;
            }
            if !is_needed {
                continue;
            }
            let (from, to) = (entry.offset, entry.offset + entry.stored_len);
            match stretches.last_mut().filter(|last| from - last.to <= GAP_BYTES_MAX && to - last.from <= bytes_max) {
                Some(last) => {
                    last.to = to;
                    last.segments.push(number);
                }
                None => stretches.push(Stretch { from, to, segments: vec![number] }),
            }
        }
        Ok(stretches)
    }

    fn is_kept(&self, id: &ShortId) -> Result<bool> {
        let found = self.repack.index.find_entry(id, &|other| other != self.name)?;
        Ok(found.is_some_and(|(at, _)| self.repack.kept.has(at)))
    }

    fn segment(
        &mut self,
        reader: &PackReader,
        footer: &Footer,
        number: u32,
        entry: &SegmentEntry,
        sealed: &[u8],
        writer: &mut ChunkWriter,
    ) -> Result<u64, Failed> {
        self.scratch.load(sealed);
        self.scratch.open(reader, number, entry).map_err(reading)?;
        let chunks = footer.chunks_of(entry);
        let mut needed: Vec<ChunkEntry> = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            if !self.is_kept(&chunk.id).map_err(Failed::Fatal)? {
                continue;
            }
            chunk_in(self.repack.repo, self.name.kind, &self.scratch.raw, chunk).map_err(Failed::Reading)?;
            needed.push(*chunk);
        }
        let lane = match (self.name.kind, entry.codec) {
            (PackKind::Meta, _) => Lane::Meta,
            (PackKind::Data, Codec::Stored) => Lane::Stored,
            (PackKind::Data, Codec::Zstd) => Lane::Solid,
        };
        let raw_bytes = needed.iter().map(|chunk| u64::from(chunk.len)).sum();
        let (index, kept) = (self.repack.index, self.repack.kept);
        let taken = |chunk: &ChunkEntry| take_kept(index, kept, &chunk.id, self.name).map_err(Failed::Fatal);
        if needed.len() == chunks.len() && entry.raw_len as usize >= self.settings.full_at(lane) / WHOLE_SHARE {
            for chunk in &needed {
                taken(chunk)?;
            }
            let body = self.scratch.take_body(entry.codec);
            let spare = writer.push_whole(self.name.kind, entry, chunks, body).map_err(Failed::Fatal)?;
            *self.scratch.sealed_mut() = spare;
            return Ok(raw_bytes);
        }
        for chunk in &needed {
            let bytes = self.scratch.raw.get(chunk.offset as usize..(chunk.offset + chunk.len) as usize);
            if taken(chunk)? {
                writer.push(lane, chunk.id, bytes.unwrap_or_default()).map_err(Failed::Fatal)?;
            }
        }
        Ok(raw_bytes)
    }
}
