//! A window of the plan: wanted chunks grouped by segment, segments into runs fetched together.

use super::file::FileJob;
use super::work::{Chunk, Piece, SegmentTask};
use crate::index::Location;
use decube_backup_format::ids::{ChunkId, PackName};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Pieces planned before the window is handed to the workers.
const WINDOW_PIECES: usize = 64 << 10;
/// Bytes fetched with one request, at most (one segment may be larger): two huge pages hold it with the rest of its first and its
/// last block.
const RUN_BYTES: u32 = (4 << 20) - (8 << 10);
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
    groups: HashMap<(PackName, u32), (Wanted, SegmentTask)>,
    pieces: usize,
}

/// The piece that wanted something first: its number, its file.
struct Wanted {
    piece: usize,
    file: Arc<FileJob>,
}

/// What is fetched with one request: neighbouring segments of a pack.
struct Run {
    wanted: Wanted,
    pack: PackName,
    segments: Vec<SegmentTask>,
}

impl Window {
    /// Adds one chunk of `file`.
    pub(super) fn add(&mut self, file: &Arc<FileJob>, id: ChunkId, file_offset: u64, at: &Location) -> Fill {
        let (_, group) = self.groups.entry((at.pack, at.segment)).or_insert_with(|| {
            let wanted = Wanted { piece: self.pieces, file: file.clone() };
            (wanted, SegmentTask { number: at.segment, entry: at.entry, pieces: Vec::new() })
        });
        let chunk = Chunk { offset: at.offset, len: at.len, id };
        group.pieces.push(Piece { file: file.clone(), file_offset, chunk });
        self.pieces += 1;
        if self.pieces >= WINDOW_PIECES { Fill::Full } else { Fill::Open }
    }

    /// Empties the window into what is fetched together, those first that are wanted first, so that files are written from front
    /// to back; `lanes` files in turn, as who writes a file keeps others from writing it.
    pub(super) fn take(&mut self, lanes: usize) -> Vec<(PackName, Vec<SegmentTask>)> {
        self.pieces = 0;
        let mut groups: Vec<_> = std::mem::take(&mut self.groups).into_iter().collect();
        groups.sort_unstable_by_key(|(place, _)| *place);
        let mut runs: Vec<Run> = Vec::new();
        for ((pack, _), (wanted, segment)) in groups {
            match runs.last_mut() {
                Some(run) if run.pack == pack && joins(&run.segments, &segment) => {
                    run.segments.push(segment);
                    if wanted.piece < run.wanted.piece {
                        run.wanted = wanted;
                    }
                }
                _ => runs.push(Run { wanted, pack, segments: vec![segment] }),
            }
        }
        runs.sort_unstable_by_key(|run| run.wanted.piece);
        in_turn(runs, lanes)
    }
}

/// `runs`, in the order of their files and within them; those of `lanes` files in turn.
fn in_turn(runs: Vec<Run>, lanes: usize) -> Vec<(PackName, Vec<SegmentTask>)> {
    let mut ordered = Vec::with_capacity(runs.len());
    let mut runs = runs.into_iter().peekable();
    let mut open: VecDeque<VecDeque<Run>> = VecDeque::new();
    loop {
        while open.len() < lanes.max(1)
            && let Some(first) = runs.next()
        {
            let file = first.wanted.file.clone();
            let mut lane = VecDeque::from([first]);
            lane.extend(std::iter::from_fn(|| runs.next_if(|run| Arc::ptr_eq(&run.wanted.file, &file))));
            open.push_back(lane);
        }
        let Some(mut lane) = open.pop_front() else { return ordered };
        ordered.extend(lane.pop_front().map(|run| (run.pack, run.segments)));
        if !lane.is_empty() {
            open.push_back(lane);
        }
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

#[cfg(test)]
mod tests {
    use super::super::file::Length;
    use super::*;
    use decube_backup_core::entry::{Entry, EntryKind, EntryPath, Metadata};
    use decube_backup_core::target::FileMode;
    use decube_backup_format::codec::Codec;
    use decube_backup_format::ids::{PackId, PackKind};
    use decube_backup_format::pack::SegmentEntry;

    /// The `nth` segment of a pack, all that is fetched with one request, and of one chunk.
    fn location(nth: u32) -> Location {
        let pack = PackName { kind: PackKind::Data, id: PackId::default() };
        let (stored_len, raw_len) = (RUN_BYTES, RUN_BYTES);
        let entry = SegmentEntry {
            offset: nth * RUN_BYTES,
            stored_len,
            raw_len,
            codec: Codec::Stored,
            first_chunk: nth,
            chunks: 1,
        };
        Location { pack, segment: nth, entry, offset: 0, len: RUN_BYTES }
    }

    #[test]
    fn files_are_written_in_turn_and_each_from_front_to_back() {
        let segments_of = |lanes| {
            let mut window = Window::default();
            let mut nth = 0;
            // The third shares its first segment with the first file.
            for (name, new_segments) in [("a", 3), ("b", 1), ("c", 2), ("d", 1)] {
                let path = EntryPath::new(name).expect("a path");
                let entry = Entry { path: path.clone(), kind: EntryKind::File { size: 0 }, meta: Metadata::default() };
                let file = Arc::new(FileJob::new(path, entry, FileMode::New, Length::ByContent));
                if name == "c" {
                    assert_eq!(window.add(&file, ChunkId::default(), 0, &location(0)), Fill::Open);
                }
                for _ in 0..new_segments {
                    assert_eq!(window.add(&file, ChunkId::default(), 0, &location(nth)), Fill::Open);
                    nth += 1;
                }
            }
            let runs = window.take(lanes);
            runs.iter().flat_map(|(_, segments)| segments).map(|segment| segment.number).collect::<Vec<_>>()
        };
        assert_eq!(segments_of(1), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(segments_of(2), [0, 3, 1, 4, 2, 5, 6]);
        assert_eq!(segments_of(9), [0, 3, 4, 6, 1, 5, 2]);
    }
}
