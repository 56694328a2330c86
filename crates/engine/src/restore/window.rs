//! A window of the plan: wanted chunks grouped by segment, segments into runs fetched together.

use super::file::FileJob;
use super::work::{Chunk, Piece, SegmentTask};
use crate::index::Location;
use decube_backup_format::ids::{ChunkId, PackName};
use std::collections::HashMap;
use std::sync::Arc;

/// Pieces planned before the window is handed to the workers.
const WINDOW_PIECES: usize = 64 << 10;
/// Bytes fetched with one request, at most (one segment may be larger).
const RUN_BYTES: u32 = 4 << 20;
/// Gap between two wanted segments that is cheaper to read than to skip, bytes.
const GAP_BYTES: u32 = 128 << 10;

/// Whether a window takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    Open,
    Full,
}

/// Pieces waiting to be handed out.
#[derive(Default)]
pub(super) struct Window {
    /// With the number of the piece that wanted the segment first.
    groups: HashMap<(PackName, u32), (usize, SegmentTask)>,
    pieces: usize,
}

impl Window {
    /// Adds one chunk of `file`.
    pub(super) fn add(&mut self, file: &Arc<FileJob>, id: ChunkId, file_offset: u64, at: &Location) -> Fill {
        let (_, group) = self
            .groups
            .entry((at.pack, at.segment))
            .or_insert_with(|| (self.pieces, SegmentTask { number: at.segment, entry: at.entry, pieces: Vec::new() }));
        let chunk = Chunk { offset: at.offset, len: at.len, id };
        group.pieces.push(Piece { file: file.clone(), file_offset, chunk });
        self.pieces += 1;
        if self.pieces >= WINDOW_PIECES { Fill::Full } else { Fill::Open }
    }

    /// Empties the window into what is fetched together: neighbouring segments of a pack, and those first that are wanted
    /// first, so that files are written from front to back.
    pub(super) fn take(&mut self) -> Vec<(PackName, Vec<SegmentTask>)> {
        self.pieces = 0;
        let mut groups: Vec<_> = std::mem::take(&mut self.groups).into_iter().collect();
        groups.sort_unstable_by_key(|(place, _)| *place);
        let mut runs: Vec<(usize, PackName, Vec<SegmentTask>)> = Vec::new();
        for ((pack, _), (wanted, segment)) in groups {
            match runs.last_mut() {
                Some((first, last, segments)) if *last == pack && joins(segments, &segment) => {
                    *first = wanted.min(*first);
                    segments.push(segment);
                }
                _ => runs.push((wanted, pack, vec![segment])),
            }
        }
        runs.sort_unstable_by_key(|(first, ..)| *first);
        runs.into_iter().map(|(_, pack, segments)| (pack, segments)).collect()
    }
}

/// Whether `next` is better fetched together with `run`.
fn joins(run: &[SegmentTask], next: &SegmentTask) -> bool {
    run.first().zip(run.last()).is_some_and(|(first, last)| {
        let end = last.entry.offset + last.entry.stored_len;
        next.entry.offset - end <= GAP_BYTES
            && next.entry.offset + next.entry.stored_len - first.entry.offset <= RUN_BYTES
    })
}
