//! Index entries in memory.

use super::{Location, SegmentSlot, Slot};
use decube_backup_format::ids::{PackName, ShortId};
use decube_backup_format::pack::Footer;

/// Packs, their segments and a sorted list of chunks.
#[derive(Default)]
pub struct Table {
    pub(super) packs: Vec<PackName>,
    pub(super) segments: Vec<SegmentSlot>,
    pub(super) slots: Vec<Slot>,
}

impl Table {
    pub(super) fn add(&mut self, pack: PackName, footer: &Footer) {
        let pack_ordinal = self.packs.len() as u32;
        self.packs.push(pack);
        for (number, segment) in footer.segments.iter().enumerate() {
            let ordinal = self.segments.len() as u32;
            self.segments.push(SegmentSlot {
                pack: pack_ordinal,
                number: number as u32,
                offset: segment.offset,
                stored_len: segment.stored_len,
                raw_len: segment.raw_len,
                codec: segment.codec,
            });
            let chunks = footer.chunks_of(segment);
            self.slots.extend(chunks.iter().map(|c| Slot { id: c.id, segment: ordinal, offset: c.offset, len: c.len }));
        }
    }

    pub(super) fn sort(&mut self) {
        self.slots.sort_unstable_by_key(|s| s.id);
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn packs(&self) -> impl Iterator<Item = PackName> + '_ {
        self.packs.iter().copied()
    }

    /// Number among the sorted entries, and place.
    pub(super) fn find(&self, id: &ShortId, excluded: &dyn Fn(&PackName) -> bool) -> Option<(usize, Location)> {
        let first = self.slots.partition_point(|s| s.id < *id);
        let equal = self.slots.get(first..)?.iter().take_while(|s| s.id == *id);
        let mut places = (first..).zip(equal).filter_map(|(at, slot)| Some((at, self.resolve(slot)?)));
        places.find(|(_, location)| !excluded(&location.pack))
    }

    fn resolve(&self, slot: &Slot) -> Option<Location> {
        let segment = self.segments.get(slot.segment as usize)?;
        let pack = *self.packs.get(segment.pack as usize)?;
        Some(Location { pack, segment: segment.number, entry: segment.entry(), offset: slot.offset, len: slot.len })
    }
}
