//! A sorted run of index entries on disk.
//!
//! ```text
//! magic 8 | header length u32 | header (postcard-free: counts, covered index ids, packs) | segments 21 B each
//! | slots 28 B each, sorted | fences: first 8 id bytes of every 32nd slot
//! ```
//! A cache: written to a temporary name and renamed, never trusted to be there or whole.

use super::{Location, SegmentSlot, Slot};
use decube_backup_core::{Error, Result};
use decube_backup_format::codec::Codec;
use decube_backup_format::ids::{PackId, PackKind, PackName, ShortId, hex};
use decube_backup_format::wire::{Reader, Writer};
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(super) const MAGIC: &[u8; 8] = b"DCIDXR01";
pub(super) const SEGMENT_BYTES: usize = 21;
pub(super) const SLOT_BYTES: usize = 28;
pub(super) const FENCE_EVERY: usize = 32;
/// Entries or segments read at once when all of them are.
pub(super) const BLOCK_ITEMS: usize = 4096;

/// An open run.
pub struct Run {
    path: PathBuf,
    pub(super) file: File,
    pub(super) packs: Vec<PackName>,
    covers: HashSet<[u8; 16]>,
    pub(super) segments_at: u64,
    pub(super) slots_at: u64,
    slots: u64,
    fences: Vec<u64>,
}

pub(super) fn io(what: &'static str, path: &Path, error: std::io::Error) -> Error {
    Error::io("index cache", what, error).with("path", path.display())
}

pub(super) fn prefix(id: &ShortId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    u64::from_be_bytes(first)
}

impl Run {
    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.slots
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }
    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Its segments.
    pub(super) fn segments(&self) -> u64 {
        (self.slots_at - self.segments_at) / SEGMENT_BYTES as u64
    }
    /// Index segments it holds.
    pub fn covers(&self) -> &HashSet<[u8; 16]> {
        &self.covers
    }
    /// Packs it has entries of.
    pub(crate) fn packs(&self) -> impl Iterator<Item = PackName> + '_ {
        self.packs.iter().copied()
    }

    /// Opens the run at `path`; `None` if there is none or it is not whole.
    ///
    /// # Errors
    /// It exists but cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io("cannot open the local index", path, e)),
        };
        let len = file.metadata().map_err(|e| io("cannot read the local index", path, e))?.len();
        let mut head = [0; 12];
        if file.read_exact_at(&mut head, 0).is_err() || &head[..8] != MAGIC {
            return Ok(None);
        }
        let header_len = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        if header_len as u64 > len {
            return Ok(None);
        }
        let mut header = vec![0; header_len];
        if file.read_exact_at(&mut header, 12).is_err() {
            return Ok(None);
        }
        let Ok((packs, covers, segments, slots)) = decode_header(&header) else { return Ok(None) };
        let segments_at = 12 + header_len as u64;
        let slots_at = segments_at + segments * SEGMENT_BYTES as u64;
        let fences_at = slots_at + slots * SLOT_BYTES as u64;
        let fence_count = slots.div_ceil(FENCE_EVERY as u64);
        if fences_at + fence_count * 8 != len {
            return Ok(None);
        }
        let mut raw = vec![0; fence_count as usize * 8];
        if file.read_exact_at(&mut raw, fences_at).is_err() {
            return Ok(None);
        }
        let fences = raw.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default())).collect();
        Ok(Some(Self { path: path.to_owned(), file, packs, covers, segments_at, slots_at, slots, fences }))
    }

    /// Looks `id` up: number among the entries, and place.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn find(&self, id: &ShortId, excluded: &dyn Fn(&PackName) -> bool) -> Result<Option<(u64, Location)>> {
        let failed = |e| Error::io("index cache", "cannot read the local index", e);
        let wanted = prefix(id);
        // The first slot with this prefix may lie in the block before the first fence that equals it.
        let mut block = self.fences.partition_point(|f| *f < wanted).saturating_sub(1) as u64;
        loop {
            let from = block * FENCE_EVERY as u64;
            if from >= self.slots {
                return Ok(None);
            }
            let n = (self.slots - from).min(FENCE_EVERY as u64) as usize;
            let mut bytes = [0; SLOT_BYTES * FENCE_EVERY];
            let bytes = bytes.get_mut(..n * SLOT_BYTES).unwrap_or_default();
            self.file.read_exact_at(bytes, self.slots_at + from * SLOT_BYTES as u64).map_err(failed)?;
            for (at, slot) in (from..).zip(bytes.chunks_exact(SLOT_BYTES).map(decode_slot)) {
                if slot.id > *id {
                    return Ok(None);
                }
                if slot.id == *id {
                    match self.resolve(&slot)? {
                        Some(location) if !excluded(&location.pack) => return Ok(Some((at, location))),
                        _ => {}
                    }
                }
            }
            block += 1;
        }
    }

    fn resolve(&self, slot: &Slot) -> Result<Option<Location>> {
        let mut bytes = [0; SEGMENT_BYTES];
        self.file
            .read_exact_at(&mut bytes, self.segments_at + u64::from(slot.segment) * SEGMENT_BYTES as u64)
            .map_err(|e| Error::io("index cache", "cannot read the local index", e))?;
        let segment = decode_segment(&bytes)?;
        Ok(self.packs.get(segment.pack as usize).map(|name| Location {
            pack: *name,
            segment: segment.number,
            entry: segment.entry(),
            offset: slot.offset,
            len: slot.len,
        }))
    }

    /// Calls `each` with every segment, in order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn each_segment(&self, each: &mut dyn FnMut(&SegmentSlot)) -> Result<()> {
        let failed = |e| Error::io("index cache", "cannot read the local index", e);
        let mut block = vec![0; SEGMENT_BYTES * BLOCK_ITEMS];
        let mut at = self.segments_at;
        while at < self.slots_at {
            let n = (self.slots_at - at).min(block.len() as u64) as usize;
            let bytes = block.get_mut(..n).unwrap_or_default();
            self.file.read_exact_at(bytes, at).map_err(failed)?;
            for segment in bytes.chunks_exact(SEGMENT_BYTES) {
                each(&decode_segment(segment)?);
            }
            at += n as u64;
        }
        Ok(())
    }
}

/// The entries of a run in order, a block in memory at a time.
pub(super) struct Slots<'a> {
    run: &'a Run,
    block: Vec<u8>,
    /// Entries read from the file so far.
    read: u64,
    /// Offset in the block of the next one.
    at: usize,
}

impl<'a> Slots<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        Self { run, block: Vec::new(), read: 0, at: 0 }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    #[allow(clippy::should_implement_trait, reason = "fails per item: not what an iterator promises")]
    pub(super) fn next(&mut self) -> Result<Option<Slot>> {
        if self.at == self.block.len() {
            let n = (self.run.slots - self.read).min(BLOCK_ITEMS as u64);
            self.block.resize(n as usize * SLOT_BYTES, 0);
            self.run
                .file
                .read_exact_at(&mut self.block, self.run.slots_at + self.read * SLOT_BYTES as u64)
                .map_err(|e| Error::io("index cache", "cannot read the local index", e))?;
            (self.read, self.at) = (self.read + n, 0);
        }
        let slot = self.block.get(self.at..self.at + SLOT_BYTES).map(decode_slot);
        self.at += slot.map_or(0, |_| SLOT_BYTES);
        Ok(slot)
    }
}

fn decode_segment(bytes: &[u8]) -> Result<SegmentSlot> {
    let mut reader = Reader::new(bytes, "local index");
    let (pack, number, offset) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (stored_len, raw_len, codec) = (reader.u32()?, reader.u32()?, Codec::from_byte(reader.u8()?)?);
    Ok(SegmentSlot { pack, number, offset, stored_len, raw_len, codec })
}

pub(super) fn encode_slot(slot: &Slot) -> [u8; SLOT_BYTES] {
    let mut out = [0; SLOT_BYTES];
    out[..16].copy_from_slice(&slot.id.0);
    out[16..20].copy_from_slice(&slot.segment.to_le_bytes());
    out[20..24].copy_from_slice(&slot.offset.to_le_bytes());
    out[24..28].copy_from_slice(&slot.len.to_le_bytes());
    out
}

pub(super) fn decode_slot(bytes: &[u8]) -> Slot {
    let word = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(bytes.get(at..at + 4).unwrap_or(&[0; 4]));
        u32::from_le_bytes(word)
    };
    let mut id = [0; 16];
    id.copy_from_slice(bytes.get(..16).unwrap_or(&[0; 16]));
    Slot { id: ShortId(id), segment: word(16), offset: word(20), len: word(24) }
}

/// Name of the file of a run that covers the index segments `covers`: whoever makes the same run makes the same file.
pub(super) fn file_name(covers: &HashSet<[u8; 16]>) -> String {
    let mut sorted: Vec<&[u8; 16]> = covers.iter().collect();
    sorted.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    sorted.iter().for_each(|id| _ = hasher.update(&id[..]));
    format!("{}.run", hex(&hasher.finalize().as_bytes()[..12]))
}

type Header = (Vec<PackName>, HashSet<[u8; 16]>, u64, u64);

pub(super) fn encode_header<'a>(
    packs: impl Iterator<Item = &'a PackName>,
    covers: &HashSet<[u8; 16]>,
    segments: u64,
    slots: u64,
) -> Vec<u8> {
    let mut names = Vec::new();
    let mut count = 0u64;
    for pack in packs {
        names.write_u8(pack.kind.letter() as u8);
        names.extend_from_slice(&pack.id.0);
        count += 1;
    }
    let mut out = Vec::with_capacity(names.len() + covers.len() * 16 + 40);
    out.write_varint(segments);
    out.write_varint(slots);
    out.write_varint(covers.len() as u64);
    for id in covers {
        out.extend_from_slice(id);
    }
    out.write_varint(count);
    out.extend_from_slice(&names);
    out
}

fn decode_header(bytes: &[u8]) -> Result<Header> {
    let mut reader = Reader::new(bytes, "local index");
    let (segments, slots) = (reader.varint()?, reader.varint()?);
    let mut covers = HashSet::new();
    for _ in 0..reader.count(16)? {
        covers.insert(reader.array()?);
    }
    let count = reader.count(17)?;
    let mut packs = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = if reader.u8()? == b'd' { PackKind::Data } else { PackKind::Meta };
        packs.push(PackName { kind, id: PackId(reader.array()?) });
    }
    reader.finish()?;
    if segments > 1 << 40 || slots > 1 << 40 {
        return Err(decube_backup_format::wire::corrupt("local index"));
    }
    Ok((packs, covers, segments, slots))
}
