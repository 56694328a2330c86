//! Bytes of packs that are on their way before somebody has time for them.

use super::{NEAR_BYTES, PACKS_MAX, SegmentReader, locked};
use bytes::Bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::ids::{self, PackName};
use decube_backup_format::pack::{PackHeader, SegmentEntry};
use tokio::task::JoinHandle;

/// A range of a pack that was asked for.
pub(crate) struct Fetch {
    /// Where in the pack it starts.
    from: u64,
    len: u64,
    coming: Coming,
    /// The pack's header, for whoever opens it first.
    header: Option<Coming>,
}

type Coming = JoinHandle<Result<Option<Bytes>>>;

/// Segments of a pack, still sealed.
pub(crate) struct Fetched {
    from: u64,
    bytes: Bytes,
}

impl Fetched {
    /// One of them.
    pub(crate) fn segment(&self, entry: &SegmentEntry) -> Option<&[u8]> {
        let from = usize::try_from(u64::from(entry.offset).checked_sub(self.from)?).ok()?;
        self.bytes.get(from..from.checked_add(entry.stored_len as usize)?)
    }
}

impl SegmentReader<'_> {
    /// Asks for all from the first to the last of `segments`; for the pack's header too, unless it was before: a worker that had
    /// to ask for it would wait behind all that is on its way.
    ///
    /// # Errors
    /// `Invalid` if the pack's name makes no key.
    pub(crate) fn start<'s>(&self, pack: &PackName, segments: impl Iterator<Item = &'s SegmentEntry>) -> Result<Fetch> {
        let (mut from, mut end) = (u64::MAX, 0);
        for segment in segments {
            from = from.min(u64::from(segment.offset));
            end = end.max(u64::from(segment.offset) + u64::from(segment.stored_len));
        }
        if from <= NEAR_BYTES {
            from = 0;
        }
        let len = end.saturating_sub(from);
        let key = ids::pack_key(pack)?;
        let start = |offset, len| self.repo.store.start_get_range(key.clone(), offset, len);
        let header = (self.is_news(pack) && from > 0).then(|| start(0, PackHeader::BYTES as u64));
        Ok(Fetch { from, len, coming: start(from, len), header })
    }

    /// Whether the header of `pack` is neither at hand nor on its way; from now on it is.
    fn is_news(&self, pack: &PackName) -> bool {
        if locked(&self.packs).contains_key(pack) {
            return false;
        }
        let mut asked = locked(&self.asked);
        if asked.len() >= PACKS_MAX {
            asked.clear();
        }
        asked.insert(*pack)
    }

    /// Waits for what was asked for.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` if the pack is shorter or another, what the store yields.
    pub(crate) fn arrived(&self, pack: &PackName, fetch: Fetch) -> Result<Fetched> {
        let Fetch { from, len, coming, header } = fetch;
        if let Some(header) = header {
            // Without it the pack is asked once more, by who needs it and says what is wrong with it.
            let header = self.repo.store.wait(header).ok().flatten();
            let _opened = header.filter(|_| self.shelf.get(pack).is_none()).map(|header| self.keep(pack, &header));
        }
        let bytes = match self.shelf.get(pack) {
            // Found damaged and brought back meanwhile.
            Some(_at_hand) => self.fetch(pack, from, len)?,
            None => self.repo.store.wait(coming)?.unwrap_or_default(),
        };
        if bytes.len() as u64 != len {
            return Err(Error::new(ErrorKind::Corrupt, "get", "the pack is missing or shorter than recorded"));
        }
        if from == 0 && !locked(&self.packs).contains_key(pack) {
            self.keep(pack, bytes.get(..PackHeader::BYTES).unwrap_or_default())?;
        }
        Ok(Fetched { from, bytes })
    }
}
