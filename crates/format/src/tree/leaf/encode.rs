//! Entries → leaf bytes.

use super::Class;
use crate::tree::columns::{TimeColumn, encode_runs, encode_times};
use crate::tree::content::{Content, Extent};
use crate::tree::entry::TreeEntry;
use crate::tree::node::TAG_LEAF;
use crate::tree::paths::encode_paths;
use crate::wire::Writer;
use decube_backup_core::entry::Xattr;
use decube_backup_core::{EntryKind, Metadata};
use std::collections::BTreeMap;

/// Encodes `entries`, which are in strict path order and each pass [`TreeEntry::check`].
pub fn encode_leaf(entries: &[TreeEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_leaf_into(entries, &mut out);
    out
}

/// Appends the leaf to `out`.
pub(crate) fn encode_leaf_into(entries: &[TreeEntry], out: &mut Vec<u8>) {
    let metas = || entries.iter().map(|e| &e.entry.meta);
    out.write_u8(TAG_LEAF);
    out.write_varint(entries.len() as u64);
    encode_paths(out, entries.iter().map(|e| &e.entry.path));
    encode_runs(out, entries.iter().map(|e| Class::of(e) as u64));
    encode_dictionary(out, metas().map(Owner::of), |out, (mode, uid, gid, user, group)| {
        out.write_varint(u64::from(mode));
        out.write_varint(u64::from(uid));
        out.write_varint(u64::from(gid));
        out.write_bytes(user.as_bytes());
        out.write_bytes(group.as_bytes());
    });
    encode_times(out, TimeColumn::Modified, metas().map(|m| (m.mtime, m.mtime)));
    encode_runs(out, metas().map(|m| u64::from(m.birth.is_some())));
    encode_times(out, TimeColumn::Birth, metas().filter_map(|m| Some((m.birth?, m.mtime))));
    encode_runs(out, metas().map(|m| u64::from(m.flags)));
    encode_dictionary(out, metas().map(|m| m.xattrs.as_slice()), |out, xattrs: &[Xattr]| {
        out.write_varint(xattrs.len() as u64);
        for xattr in xattrs {
            out.write_bytes(&xattr.name);
            out.write_bytes(&xattr.value);
        }
    });
    encode_link_groups(entries, out);
    encode_kinds(entries, out);
    encode_contents(entries, out);
}

type Owner<'a> = (u32, u32, u32, &'a str, &'a str);

trait OwnerOf<'a> {
    fn of(meta: &'a Metadata) -> Self;
}

impl<'a> OwnerOf<'a> for Owner<'a> {
    fn of(meta: &'a Metadata) -> Self {
        (meta.mode, meta.uid, meta.gid, &meta.user, &meta.group)
    }
}

/// Writes the distinct `values` in order of first use, then each row's index as runs.
fn encode_dictionary<T: Ord + Copy>(
    out: &mut Vec<u8>,
    values: impl Iterator<Item = T> + Clone,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    let mut indices = Vec::with_capacity(values.size_hint().0);
    let mut known = BTreeMap::new();
    let mut body = Vec::new();
    let mut last: Option<(T, u64)> = None;
    for value in values {
        let index = match last {
            Some((same, index)) if same == value => index,
            _ => {
                let fresh = known.len() as u64;
                *known.entry(value).or_insert_with(|| {
                    write(&mut body, value);
                    fresh
                })
            }
        };
        last = Some((value, index));
        indices.push(index);
    }
    out.write_varint(known.len() as u64);
    out.extend_from_slice(&body);
    encode_runs(out, indices.into_iter());
}

/// Writes the few rows that have one: rows skipped since the last, then the path against the row's own.
fn encode_link_groups(entries: &[TreeEntry], out: &mut Vec<u8>) {
    let members =
        || entries.iter().enumerate().filter_map(|(row, e)| Some((row, &e.entry, e.entry.meta.link_group.as_ref()?)));
    out.write_varint(members().count() as u64);
    let mut expected = 0;
    for (row, entry, first) in members() {
        let (own, first) = (entry.path.as_bytes(), first.as_bytes());
        let prefix = own.iter().zip(first).take_while(|(a, b)| a == b).count();
        out.write_varint((row - expected) as u64);
        out.write_varint(prefix as u64);
        out.write_bytes(first.get(prefix..).unwrap_or_default());
        expected = row + 1;
    }
}

/// Writes sizes, symlink targets and device numbers.
fn encode_kinds(entries: &[TreeEntry], out: &mut Vec<u8>) {
    for entry in entries {
        if let EntryKind::File { size } = entry.entry.kind {
            out.write_varint(size);
        }
    }
    for entry in entries {
        match &entry.entry.kind {
            EntryKind::Symlink { target } => out.write_bytes(target),
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                out.write_varint(u64::from(*major));
                out.write_varint(u64::from(*minor));
            }
            _ => {}
        }
    }
}

/// Writes inline bytes, extent lengths and list heights, and last every id: they do not compress.
fn encode_contents(entries: &[TreeEntry], out: &mut Vec<u8>) {
    for entry in entries {
        if let Content::Inline(bytes) = &entry.content {
            out.extend_from_slice(bytes);
        }
    }
    for entry in entries {
        match &entry.content {
            Content::List { height, .. } => out.write_u8(*height),
            Content::Extents(extents) if Class::of(entry) == Class::Extents => {
                out.write_varint(extents.len() as u64);
                for (i, extent) in extents.iter().enumerate() {
                    // The last length is what the size leaves over.
                    let len = if i + 1 == extents.len() { 0 } else { extent.len() };
                    out.write_varint(len << 1 | u64::from(matches!(extent, Extent::Hole { .. })));
                }
            }
            _ => {}
        }
    }
    for entry in entries {
        match &entry.content {
            Content::List { root, .. } => out.extend_from_slice(&root.0),
            Content::Extents(extents) => {
                for id in extents.iter().filter_map(Extent::chunk) {
                    out.extend_from_slice(&id.0);
                }
            }
            _ => {}
        }
    }
}
