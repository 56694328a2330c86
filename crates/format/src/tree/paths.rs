//! The path column: strictly ascending paths, each as what differs from the one before.
//!
//! `prefix` bytes are shared with the front of the previous path, `tail` bytes with its end (file
//! extensions), and only the middle is stored.

use super::columns::Budget;
use crate::wire::{Reader, Writer};
use decube_backup_core::entry::cmp_path_bytes;
use decube_backup_core::{EntryPath, Result};
use std::cmp::Ordering;

/// Largest value a half of a shape byte says itself; this one means "and a varint follows".
const NIBBLE_ESCAPE: usize = 15;

/// Writes `paths`: prefix lengths, shapes, middles.
pub(super) fn encode_paths<'a>(out: &mut Vec<u8>, paths: impl Iterator<Item = &'a EntryPath>) {
    let mut shapes = Vec::with_capacity(NODE_SHAPES);
    let mut middles = Vec::with_capacity(NODE_MIDDLES);
    let mut previous: &[u8] = &[];
    for path in paths {
        let path = path.as_bytes();
        let prefix = common(previous.iter(), path.iter());
        let (old, new) = (previous.get(prefix..).unwrap_or_default(), path.get(prefix..).unwrap_or_default());
        let tail = common(old.iter().rev(), new.iter().rev());
        let middle = new.get(..new.len() - tail).unwrap_or_default();
        out.write_varint(prefix as u64);
        write_shape(&mut shapes, tail, middle.len());
        middles.extend_from_slice(middle);
        previous = path;
    }
    out.extend_from_slice(&shapes);
    out.extend_from_slice(&middles);
}

/// Reads `n` paths, strictly ascending.
pub(super) fn decode_paths(reader: &mut Reader<'_>, n: usize, budget: &mut Budget) -> Result<Vec<EntryPath>> {
    let mut prefixes = Vec::with_capacity(n);
    for _ in 0..n {
        prefixes.push(length(reader)?);
    }
    let mut shapes = Vec::with_capacity(n);
    for _ in 0..n {
        shapes.push(read_shape(reader)?);
    }
    let mut paths: Vec<EntryPath> = Vec::with_capacity(n);
    for (prefix, (tail, middle)) in prefixes.into_iter().zip(shapes) {
        let previous = paths.last().map(EntryPath::as_bytes).unwrap_or_default();
        let (front, back) = previous.split_at_checked(prefix).ok_or_else(|| reader.corrupt())?;
        let tail_at = back.len().checked_sub(tail).ok_or_else(|| reader.corrupt())?;
        let len = prefix + middle + tail;
        budget.spend(len, reader)?;
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(front);
        bytes.extend_from_slice(reader.take(middle)?);
        bytes.extend_from_slice(back.get(tail_at..).unwrap_or_default());
        let differs_at = bytes.get(prefix..).unwrap_or_default();
        if !paths.is_empty() && cmp_path_bytes(back, differs_at) != Ordering::Less {
            return Err(reader.corrupt());
        }
        paths.push(EntryPath::new(bytes).map_err(|_| reader.corrupt())?);
    }
    Ok(paths)
}

/// Room for what an average leaf holds.
const NODE_SHAPES: usize = 512;
const NODE_MIDDLES: usize = 4096;

fn common<'a>(a: impl Iterator<Item = &'a u8>, b: impl Iterator<Item = &'a u8>) -> usize {
    a.zip(b).take_while(|(x, y)| x == y).count()
}

fn write_shape(out: &mut Vec<u8>, tail: usize, middle: usize) {
    out.write_u8((tail.min(NIBBLE_ESCAPE) << 4 | middle.min(NIBBLE_ESCAPE)) as u8);
    for len in [tail, middle] {
        if len >= NIBBLE_ESCAPE {
            out.write_varint((len - NIBBLE_ESCAPE) as u64);
        }
    }
}

fn read_shape(reader: &mut Reader<'_>) -> Result<(usize, usize)> {
    let byte = usize::from(reader.u8()?);
    let mut half = |nibble| if nibble == NIBBLE_ESCAPE { Ok(NIBBLE_ESCAPE + length(reader)?) } else { Ok(nibble) };
    Ok((half(byte >> 4)?, half(byte & 15)?))
}

/// A varint no longer than a path.
fn length(reader: &mut Reader<'_>) -> Result<usize> {
    usize::try_from(reader.varint()?).ok().filter(|&n| n <= EntryPath::LEN_MAX).ok_or_else(|| reader.corrupt())
}
