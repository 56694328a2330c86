//! Leaf bytes → entries. Total and bounded; accepts only what [`super::encode_leaf`] yields.

use super::{Class, encode_leaf_into};
use crate::tree::columns::{Budget, TimeColumn, decode_id, decode_runs, decode_times};
use crate::tree::content::{Content, Extent, INLINE_BYTES_MAX, LEAF_EXTENTS_MAX};
use crate::tree::entry::{TreeEntry, XATTR_WEIGHT};
use crate::tree::node::{ENTRY_WEIGHT_MAX, NODE_ITEMS_MAX, NODE_WEIGHT_MAX, TAG_LEAF};
use crate::tree::paths::decode_paths;
use crate::wire::Reader;
use decube_backup_core::entry::Xattr;
use decube_backup_core::{EntryKind, EntryPath, Result, Timestamp, limits};
use std::sync::Arc;

/// Decodes a leaf into its entries, strictly ascending, each of which passes [`TreeEntry::check`].
///
/// # Errors
/// `Corrupt` on any bytes [`super::encode_leaf`] does not yield for entries a builder puts in one leaf.
pub fn decode_leaf(bytes: &[u8]) -> Result<Vec<TreeEntry>> {
    let mut reader = Reader::new(bytes, "tree leaf");
    let entries = decode(&mut reader)?;
    let too_heavy = || {
        let all_but_last = entries.split_last().map(|(_, rest)| rest).unwrap_or_default();
        all_but_last.iter().map(TreeEntry::weight).sum::<usize>() >= NODE_WEIGHT_MAX
    };
    if entries.iter().any(|e| e.broken_rule().is_some()) || too_heavy() {
        return Err(reader.corrupt());
    }
    let mut again = Vec::with_capacity(bytes.len());
    encode_leaf_into(&entries, &mut again);
    if again != bytes {
        return Err(reader.corrupt());
    }
    Ok(entries)
}

fn decode(reader: &mut Reader<'_>) -> Result<Vec<TreeEntry>> {
    if reader.u8()? != TAG_LEAF {
        return Err(reader.corrupt());
    }
    let n = reader.count(2)?;
    if n > NODE_ITEMS_MAX {
        return Err(reader.corrupt());
    }
    let mut budget = Budget(NODE_WEIGHT_MAX + ENTRY_WEIGHT_MAX);
    let paths = decode_paths(reader, n, &mut budget)?;
    let mut entries: Vec<TreeEntry> = paths.into_iter().map(TreeEntry::blank).collect();
    let mut classes = vec![Class::Directory; n];
    let corrupt = reader.clone();
    decode_runs(reader, classes.iter_mut(), |class, number| {
        *class = Class::from_number(number).ok_or_else(|| corrupt.corrupt())?;
        Ok(())
    })?;
    decode_owners(reader, &mut entries)?;
    decode_stamps(reader, &mut entries)?;
    decode_runs(reader, entries.iter_mut(), |entry, flags| {
        entry.entry.meta.flags = narrow(flags, &corrupt)?;
        Ok(())
    })?;
    decode_xattrs(reader, &mut entries, &mut budget)?;
    decode_link_groups(reader, &mut entries, &mut budget)?;
    decode_kinds(reader, &mut entries, &classes)?;
    decode_contents(reader, &mut entries, &classes)?;
    if reader.remaining() > 0 {
        return Err(reader.corrupt());
    }
    Ok(entries)
}

fn narrow(value: u64, reader: &Reader<'_>) -> Result<u32> {
    u32::try_from(value).map_err(|_| reader.corrupt())
}

fn read_u32(reader: &mut Reader<'_>) -> Result<u32> {
    let value = reader.varint()?;
    narrow(value, reader)
}

fn read_name(reader: &mut Reader<'_>) -> Result<Arc<str>> {
    let bytes = reader.bytes(limits::NAME_BYTES_MAX)?;
    std::str::from_utf8(bytes).map(Arc::from).map_err(|_| reader.corrupt())
}

fn decode_owners(reader: &mut Reader<'_>, entries: &mut [TreeEntry]) -> Result<()> {
    // mode, uid, gid and two lengths: at least five bytes
    let n = reader.count(5)?;
    if n > entries.len() {
        return Err(reader.corrupt());
    }
    let mut owners = Vec::with_capacity(n);
    for _ in 0..n {
        let (mode, uid, gid) = (read_u32(reader)?, read_u32(reader)?, read_u32(reader)?);
        owners.push((mode, uid, gid, read_name(reader)?, read_name(reader)?));
    }
    let corrupt = reader.clone();
    decode_runs(reader, entries.iter_mut(), |entry, index| {
        let owner = usize::try_from(index).ok().and_then(|i| owners.get(i));
        let (mode, uid, gid, user, group) = owner.ok_or_else(|| corrupt.corrupt())?;
        let meta = &mut entry.entry.meta;
        (meta.mode, meta.uid, meta.gid) = (*mode, *uid, *gid);
        (meta.user, meta.group) = (Arc::clone(user), Arc::clone(group));
        Ok(())
    })
}

fn decode_stamps(reader: &mut Reader<'_>, entries: &mut [TreeEntry]) -> Result<()> {
    let mtimes = decode_times(reader, TimeColumn::Modified, &vec![Timestamp::default(); entries.len()])?;
    for (entry, mtime) in entries.iter_mut().zip(&mtimes) {
        entry.entry.meta.mtime = *mtime;
    }
    let mut own = Vec::with_capacity(entries.len());
    let corrupt = reader.clone();
    decode_runs(reader, entries.iter_mut(), |entry, present| {
        match present {
            0 => {}
            1 => {
                entry.entry.meta.birth = Some(entry.entry.meta.mtime);
                own.push(entry.entry.meta.mtime);
            }
            _ => return Err(corrupt.corrupt()),
        }
        Ok(())
    })?;
    let births = decode_times(reader, TimeColumn::Birth, &own)?;
    for (place, birth) in entries.iter_mut().filter_map(|e| e.entry.meta.birth.as_mut()).zip(births) {
        *place = birth;
    }
    Ok(())
}

fn decode_xattrs(reader: &mut Reader<'_>, entries: &mut [TreeEntry], budget: &mut Budget) -> Result<()> {
    let n = reader.count(1)?;
    if n > entries.len() {
        return Err(reader.corrupt());
    }
    let mut dictionary = Budget(NODE_WEIGHT_MAX + ENTRY_WEIGHT_MAX);
    let mut lists: Vec<(usize, Vec<Xattr>)> = Vec::with_capacity(n);
    for _ in 0..n {
        let len = reader.count(2)?;
        if len > limits::XATTRS_MAX {
            return Err(reader.corrupt());
        }
        let mut list = Vec::with_capacity(len);
        let mut weight = 0;
        for _ in 0..len {
            let (name, value) = (reader.bytes(limits::NAME_BYTES_MAX)?, reader.bytes(limits::XATTR_VALUE_BYTES_MAX)?);
            let cost = XATTR_WEIGHT + name.len() + value.len();
            dictionary.spend(cost, reader)?;
            weight += cost;
            list.push(Xattr { name: name.to_vec(), value: value.to_vec() });
        }
        lists.push((weight, list));
    }
    let corrupt = reader.clone();
    decode_runs(reader, entries.iter_mut(), |entry, index| {
        let list = usize::try_from(index).ok().and_then(|i| lists.get(i));
        let (weight, list) = list.ok_or_else(|| corrupt.corrupt())?;
        budget.spend(*weight, &corrupt)?;
        entry.entry.meta.xattrs.clone_from(list);
        Ok(())
    })
}

fn decode_link_groups(reader: &mut Reader<'_>, entries: &mut [TreeEntry], budget: &mut Budget) -> Result<()> {
    let n = reader.count(3)?;
    let mut rows = entries.iter_mut();
    for _ in 0..n {
        let skip = usize::try_from(reader.varint()?).map_err(|_| reader.corrupt())?;
        let entry = rows.nth(skip).ok_or_else(|| reader.corrupt())?;
        let prefix = usize::try_from(reader.varint()?).ok();
        let shared = prefix.and_then(|p| entry.entry.path.as_bytes().get(..p)).ok_or_else(|| reader.corrupt())?;
        let rest = reader.bytes(EntryPath::LEN_MAX)?;
        budget.spend(shared.len() + rest.len(), reader)?;
        let first = EntryPath::new([shared, rest].concat()).map_err(|_| reader.corrupt())?;
        entry.entry.meta.link_group = Some(first);
    }
    Ok(())
}

fn decode_kinds(reader: &mut Reader<'_>, entries: &mut [TreeEntry], classes: &[Class]) -> Result<()> {
    for (entry, class) in entries.iter_mut().zip(classes) {
        if matches!(class, Class::Bare | Class::Inline | Class::Single | Class::Extents | Class::List) {
            entry.entry.kind = EntryKind::File { size: reader.varint()? };
        }
    }
    for (entry, class) in entries.iter_mut().zip(classes) {
        let kind = &mut entry.entry.kind;
        match class {
            Class::Symlink => *kind = EntryKind::Symlink { target: reader.bytes(limits::SYMLINK_BYTES_MAX)?.to_vec() },
            Class::Fifo => *kind = EntryKind::Fifo,
            Class::CharDevice => *kind = EntryKind::CharDevice { major: read_u32(reader)?, minor: read_u32(reader)? },
            Class::BlockDevice => *kind = EntryKind::BlockDevice { major: read_u32(reader)?, minor: read_u32(reader)? },
            _ => {}
        }
    }
    Ok(())
}

fn decode_contents(reader: &mut Reader<'_>, entries: &mut [TreeEntry], classes: &[Class]) -> Result<()> {
    for (entry, _) in entries.iter_mut().zip(classes).filter(|(_, c)| **c == Class::Inline) {
        let size = usize::try_from(entry.entry.kind.size()).ok().filter(|&n| n <= INLINE_BYTES_MAX);
        let bytes = reader.take(size.ok_or_else(|| reader.corrupt())?)?;
        entry.content = Content::Inline(bytes.to_vec());
    }
    for (entry, class) in entries.iter_mut().zip(classes) {
        let len = entry.entry.kind.size();
        match class {
            Class::List => entry.content = Content::List { root: Default::default(), len, height: reader.u8()? },
            Class::Single => {
                let len = narrow(len, reader)?;
                entry.content = Content::Extents(vec![Extent::Chunk { id: Default::default(), len }]);
            }
            Class::Extents => entry.content = Content::Extents(decode_extents(reader, len)?),
            _ => {}
        }
    }
    for entry in entries.iter_mut() {
        match &mut entry.content {
            Content::List { root, .. } => *root = decode_id(reader)?,
            Content::Extents(extents) => {
                for extent in extents {
                    if let Extent::Chunk { id, .. } = extent {
                        *id = decode_id(reader)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Extents that fill `size`, ids still missing.
fn decode_extents(reader: &mut Reader<'_>, size: u64) -> Result<Vec<Extent>> {
    let n = reader.count(1)?;
    if n > LEAF_EXTENTS_MAX {
        return Err(reader.corrupt());
    }
    let mut left = size;
    let mut extents = Vec::with_capacity(n);
    for i in 0..n {
        let word = reader.varint()?;
        let len = if i + 1 == n { left } else { word >> 1 };
        left = left.checked_sub(len).ok_or_else(|| reader.corrupt())?;
        extents.push(match word & 1 {
            1 => Extent::Hole { len },
            _ => Extent::Chunk { id: Default::default(), len: narrow(len, reader)? },
        });
    }
    Ok(extents)
}
