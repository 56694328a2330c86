//! From a damaged pack and its parity back to the pack.

use super::head::ParityHead;
use super::{WHAT, internal, short_hash};
use crate::wire::corrupt;
use decube_backup_core::{Error, ErrorKind, Result};
use reed_solomon_simd::ReedSolomonDecoder;
use std::ops::Range;

/// A parity object as far as it is readable.
pub struct Parity<'a> {
    head: ParityHead,
    /// Numbers and bytes of the recovery shards that are what they were.
    usable: Vec<(usize, &'a [u8])>,
}

/// A pack as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The whole object.
    pub bytes: Vec<u8>,
    /// What was damaged of it, ascending, in whole shards; empty if nothing was.
    pub ranges: Vec<Range<u32>>,
}

impl Rebuilt {
    /// Bytes in all ranges.
    pub fn damaged_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
    }
}

impl<'a> Parity<'a> {
    /// Reads what is left of a parity object, itself damaged perhaps.
    ///
    /// # Errors
    /// `Corrupt` if neither head is whole; `Unsupported` for another version.
    pub fn decode(object: &'a [u8]) -> Result<Self> {
        let head = match ParityHead::decode(object) {
            Err(error) if error.kind() == ErrorKind::Corrupt => ParityHead::decode(tail(object).ok_or(error)?)?,
            head => head?,
        };
        let (from, len) = (head.encoded_len(), head.shard_bytes as usize);
        let shard = |number: usize| object.get(from + number * len..from + (number + 1) * len);
        let usable = head.recovery.iter().enumerate().filter_map(|(number, hash)| {
            let bytes = shard(number)?;
            (short_hash(bytes) == *hash).then_some((number, bytes))
        });
        let usable = usable.collect();
        Ok(Self { head, usable })
    }

    /// What it says of itself and of its pack.
    pub fn head(&self) -> &ParityHead {
        &self.head
    }

    /// Recovery shards that are whole: so many damaged data shards can be made good.
    pub fn usable(&self) -> usize {
        self.usable.len()
    }

    /// Brings back the pack of which `pack` is left: damaged, cut short or too long; what could not be read is any bytes.
    ///
    /// Memory: two to four times the pack's length besides `pack`.
    ///
    /// # Errors
    /// `Corrupt` if more is damaged than the parity makes good, and if what comes out is not the pack.
    pub fn rebuild(&self, pack: Vec<u8>) -> Result<Rebuilt> {
        let head = &self.head;
        let mut bytes = pack;
        bytes.resize(head.pack_len as usize, 0);
        let damaged = head.damaged(&bytes);
        if damaged.len() > self.usable.len() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "parity",
                "more of the pack is damaged than its parity makes good",
            )
            .with("shards_damaged", damaged.len())
            .with("shards_usable", self.usable.len())
            .with("shard_bytes", head.shard_bytes));
        }
        if !damaged.is_empty() {
            self.restore(&mut bytes, &damaged)?;
        }
        if *blake3::hash(&bytes).as_bytes() != head.pack_hash {
            return Err(corrupt(WHAT).with("reason", "what comes out is not the pack"));
        }
        Ok(Rebuilt { ranges: ranges(head, &damaged), bytes })
    }

    /// Overwrites the `damaged` shards of `pack`.
    fn restore(&self, pack: &mut [u8], damaged: &[usize]) -> Result<()> {
        let len = self.head.shard_bytes as usize;
        let mut decoder =
            ReedSolomonDecoder::new(self.head.data.len(), self.head.recovery.len(), len).map_err(internal)?;
        let mut next = damaged.iter().peekable();
        let mut last = Vec::new();
        for (number, shard) in self.head.shards(pack).enumerate() {
            if next.next_if(|damaged| **damaged == number).is_some() {
                continue;
            }
            let whole = if shard.len() == len {
                shard
            } else {
                last.extend_from_slice(shard);
                last.resize(len, 0);
                &last
            };
            decoder.add_original_shard(number, whole).map_err(internal)?;
        }
        for (number, shard) in self.usable.iter().take(damaged.len()) {
            decoder.add_recovery_shard(*number, shard).map_err(internal)?;
        }
        let decoded = decoder.decode().map_err(internal)?;
        for (number, shard) in decoded.restored_original_iter() {
            let from = number * len;
            let to = pack.len().min(from + len);
            if let Some(into) = pack.get_mut(from..to) {
                into.copy_from_slice(shard.get(..to - from).unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// The head at the end, as the last four bytes tell its length.
fn tail(object: &[u8]) -> Option<&[u8]> {
    let (rest, len) = object.split_last_chunk::<4>()?;
    rest.get(rest.len().checked_sub(u32::from_le_bytes(*len) as usize)?..)
}

/// Neighbouring shards joined.
fn ranges(head: &ParityHead, damaged: &[usize]) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for number in damaged {
        let from = *number as u32 * head.shard_bytes;
        let to = head.pack_len.min(from.saturating_add(head.shard_bytes));
        match ranges.last_mut().filter(|last| last.end == from) {
            Some(last) => last.end = to,
            None => ranges.push(from..to),
        }
    }
    ranges
}
