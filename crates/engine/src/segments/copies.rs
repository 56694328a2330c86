//! Looking for a copy that is whole, whatever the index says.

use super::{Scratch, SegmentReader, chunk_in, is_damage};
use crate::index::{LocalIndex, Location};
use crate::repository::Repository;
use decube_backup_core::Result;
use decube_backup_format::ids::{PackName, ShortId};
use decube_backup_format::pack::{ChunkEntry, SegmentEntry};

/// Reads copies of chunks until one is what it is said to be; keeps the last segment, as chunks of one tend to be asked for
/// one after the other.
pub(crate) struct Copies<'a> {
    repo: &'a Repository,
    segments: SegmentReader<'a>,
    scratch: Scratch,
    held: Option<(PackName, u32, SegmentEntry)>,
}

impl<'a> Copies<'a> {
    /// Of `repo`'s packs as they are in the store.
    ///
    /// # Errors
    /// `Internal` if zstd refuses its bounds.
    pub(crate) fn new(repo: &'a Repository) -> Result<Self> {
        Ok(Self { repo, segments: SegmentReader::new(repo), scratch: Scratch::new()?, held: None })
    }

    /// A copy of `id` outside the packs `excluded` names that was read and is whole: where it is, and its bytes.
    ///
    /// # Errors
    /// The store does not answer, or the local index.
    pub(crate) fn find(
        &mut self,
        index: &LocalIndex,
        id: &ShortId,
        excluded: &dyn Fn(&PackName) -> bool,
    ) -> Result<Option<(Location, &[u8])>> {
        let mut tried = Vec::new();
        while let Some(at) = index.find(id, &|pack| excluded(pack) || tried.contains(pack))? {
            let chunk = ChunkEntry { id: *id, offset: at.offset, len: at.len };
            let read =
                self.hold(&at).and_then(|()| chunk_in(self.repo, at.pack.kind, &self.scratch.raw, &chunk).map(drop));
            match read {
                Ok(()) => {
                    let bytes = self.scratch.raw.get(at.offset as usize..(at.offset + at.len) as usize);
                    return Ok(Some((at, bytes.unwrap_or_default())));
                }
                Err(error) if is_damage(&error) => tried.push(at.pack),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn hold(&mut self, at: &Location) -> Result<()> {
        let wanted = Some((at.pack, at.segment, at.entry));
        if self.held != wanted {
            self.held = None;
            self.segments.read(&at.pack, at.segment, &at.entry, &mut self.scratch)?;
            self.held = wanted;
        }
        Ok(())
    }
}
