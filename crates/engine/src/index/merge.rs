//! Runs and the table in memory → one new run.

use super::run::{BLOCK_ITEMS, FENCE_EVERY, MAGIC, Run, SEGMENT_BYTES, Slots, encode_header, encode_slot, io, prefix};
use super::table::Table;
use super::{SegmentSlot, Slot};
use crate::repository::Temporary;
use decube_backup_core::Result;
use decube_backup_format::wire::Writer;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Merges `runs` and the sorted `table` into a new run at `path` that covers the index segments `covers`.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn merge(path: &Path, runs: &[Run], table: &Table, covers: &HashSet<[u8; 16]>) -> Result<Run> {
    let failed = |e| io("cannot write the local index", path, e);
    let temporary = Temporary::beside(path);
    let mut out = BufWriter::with_capacity(256 << 10, File::create(temporary.temp()).map_err(failed)?);
    let mut inputs = write_head(runs, table, covers, &mut out).map_err(failed)?;
    for input in &mut inputs {
        input.advance()?;
    }
    let mut fences = Vec::new();
    let mut written = 0usize;
    // There are few inputs, so looking at each is as fast as a heap.
    while let Some(first) = inputs.iter_mut().filter(|i| i.next.is_some()).min_by_key(|i| i.next.map(|s| s.id)) {
        let Some(slot) = first.next else { break };
        if written.is_multiple_of(FENCE_EVERY) {
            fences.push(prefix(&slot.id));
        }
        written += 1;
        out.write_all(&encode_slot(&slot)).map_err(failed)?;
        first.advance()?;
    }
    for fence in fences {
        out.write_all(&fence.to_le_bytes()).map_err(failed)?;
    }
    out.into_inner().map_err(|e| failed(e.into_error()))?;
    temporary.replace().map_err(failed)?;
    Run::open(path)?.ok_or_else(|| failed(std::io::Error::other("just written and not readable")))
}

/// Writes all that comes before the slots; returns the inputs of those.
fn write_head<'a>(
    runs: &'a [Run],
    table: &'a Table,
    covers: &HashSet<[u8; 16]>,
    out: &mut impl Write,
) -> std::io::Result<Vec<Input<'a>>> {
    let packs = runs.iter().flat_map(|run| &run.packs).chain(&table.packs);
    let segments = runs.iter().map(Run::segments).sum::<u64>() + table.segments.len() as u64;
    let slots = runs.iter().map(Run::len).sum::<u64>() + table.slots.len() as u64;
    let header = encode_header(packs, covers, segments, slots);
    out.write_all(MAGIC)?;
    out.write_all(&(header.len() as u32).to_le_bytes())?;
    out.write_all(&header)?;
    let (mut pack_base, mut segment_base) = (0, 0);
    let mut inputs = Vec::new();
    for run in runs {
        copy_segments(run, pack_base, out)?;
        inputs.push(Input { next: None, segment_base, rest: Rest::Run(Slots::new(run)) });
        (pack_base, segment_base) = (pack_base + run.packs.len() as u32, segment_base + run.segments() as u32);
    }
    for segment in &table.segments {
        out.write_all(&encode_segment(segment, pack_base))?;
    }
    inputs.push(Input { next: None, segment_base, rest: Rest::Table(table.slots.iter()) });
    Ok(inputs)
}

fn encode_segment(segment: &SegmentSlot, pack_base: u32) -> Vec<u8> {
    let mut record = Vec::with_capacity(SEGMENT_BYTES);
    record.write_u32(segment.pack + pack_base);
    record.write_u32(segment.number);
    record.write_u32(segment.offset);
    record.write_u32(segment.stored_len);
    record.write_u32(segment.raw_len);
    record.write_u8(segment.codec as u8);
    record
}

/// Copies the segments of `run`, whose packs come after `pack_base` others.
fn copy_segments(run: &Run, pack_base: u32, out: &mut impl Write) -> std::io::Result<()> {
    let mut block = vec![0; SEGMENT_BYTES * BLOCK_ITEMS];
    let mut at = run.segments_at;
    while at < run.slots_at {
        let len = (run.slots_at - at).min(block.len() as u64) as usize;
        let part = block.get_mut(..len).unwrap_or_default();
        run.file.read_exact_at(part, at)?;
        for segment in part.chunks_exact_mut(SEGMENT_BYTES) {
            if let Some(pack) = segment.first_chunk_mut::<4>() {
                *pack = (u32::from_le_bytes(*pack) + pack_base).to_le_bytes();
            }
        }
        out.write_all(part)?;
        at += len as u64;
    }
    Ok(())
}

/// Sorted slots of one input, one ahead.
struct Input<'a> {
    next: Option<Slot>,
    /// How many segments the inputs before it have.
    segment_base: u32,
    rest: Rest<'a>,
}

enum Rest<'a> {
    Run(Slots<'a>),
    Table(std::slice::Iter<'a, Slot>),
}

impl Input<'_> {
    fn advance(&mut self) -> Result<()> {
        let slot = match &mut self.rest {
            Rest::Table(slots) => slots.next().copied(),
            Rest::Run(slots) => slots.next()?,
        };
        self.next = slot.map(|slot| Slot { segment: slot.segment + self.segment_base, ..slot });
        Ok(())
    }
}
