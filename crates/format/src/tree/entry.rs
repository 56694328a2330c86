//! One row of a leaf, the rules it keeps and what it weighs.

use super::content::{Content, FILE_BYTES_MAX, INLINE_BYTES_MAX, LEAF_EXTENTS_MAX};
use super::node::{ENTRY_WEIGHT_MAX, HEIGHT_MAX};
use decube_backup_core::{Entry, EntryKind, EntryPath, Error, ErrorKind, Metadata, Result, limits};

/// An entry with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Name, kind and attributes.
    pub entry: Entry,
    /// Where its bytes are.
    pub content: Content,
}

impl TreeEntry {
    /// Whether a tree can hold this entry: limits kept, attributes canonical, content as long as `size` says.
    ///
    /// # Errors
    /// `Invalid`, with the path and the broken rule.
    pub fn check(&self) -> Result<()> {
        match self.broken_rule() {
            None => Ok(()),
            Some(rule) => {
                Err(Error::new(ErrorKind::Invalid, "tree", rule).with("path", format!("{:?}", self.entry.path)))
            }
        }
    }

    pub(super) fn blank(path: EntryPath) -> Self {
        let entry = Entry { path, kind: EntryKind::Directory, meta: Metadata::default() };
        Self { entry, content: Content::None }
    }

    /// In-memory size by a fixed rule, bytes: what the leaf size limit counts. Counting what decoding
    /// costs, not what encoding yields, also bounds the memory a hostile leaf can claim.
    pub(super) fn weight(&self) -> usize {
        let Entry { path, kind, meta } = &self.entry;
        let target = if let EntryKind::Symlink { target } = kind { target.len() } else { 0 };
        let group = meta.link_group.as_ref().map_or(0, |p| p.as_bytes().len());
        let xattrs: usize = meta.xattrs.iter().map(|x| XATTR_WEIGHT + x.name.len() + x.value.len()).sum();
        let content = match &self.content {
            Content::None => 0,
            Content::Inline(bytes) => bytes.len(),
            Content::Extents(extents) => EXTENT_WEIGHT * extents.len(),
            Content::List { .. } => EXTENT_WEIGHT,
        };
        let owner = meta.user.len() + meta.group.len();
        ROW_WEIGHT + path.as_bytes().len() + owner + target + group + xattrs + content
    }

    pub(super) fn broken_rule(&self) -> Option<&'static str> {
        let Entry { kind, meta, .. } = &self.entry;
        let legal_time = |nanoseconds: u32| nanoseconds < 1_000_000_000;
        if meta.mode > 0o7777 {
            return Some("mode has bits beyond the permissions");
        }
        if !legal_time(meta.mtime.nanoseconds) || !meta.birth.is_none_or(|t| legal_time(t.nanoseconds)) {
            return Some("time has too many nanoseconds");
        }
        if meta.user.len() > limits::NAME_BYTES_MAX || meta.group.len() > limits::NAME_BYTES_MAX {
            return Some("owner's name is too long");
        }
        if matches!(kind, EntryKind::Symlink { target } if target.len() > limits::SYMLINK_BYTES_MAX) {
            return Some("symlink target is too long");
        }
        if !meta.xattrs.is_empty() {
            let long = |x: &decube_backup_core::entry::Xattr| {
                x.name.len() > limits::NAME_BYTES_MAX || x.value.len() > limits::XATTR_VALUE_BYTES_MAX
            };
            if meta.xattrs.len() > limits::XATTRS_MAX || meta.xattrs.iter().any(long) {
                return Some("extended attributes are too many or too long");
            }
            if !meta.xattrs.is_sorted_by(|a, b| a.name < b.name) {
                return Some("extended attributes are not sorted by distinct names");
            }
        }
        if self.weight() > ENTRY_WEIGHT_MAX {
            return Some("entry is too large");
        }
        let EntryKind::File { size } = kind else {
            return (self.content != Content::None).then_some("content on what is not a file");
        };
        if *size > FILE_BYTES_MAX {
            return Some("file is too long");
        }
        let shape_is_legal = match &self.content {
            Content::None => *size == 0,
            Content::Inline(bytes) => (1..=INLINE_BYTES_MAX).contains(&bytes.len()),
            Content::Extents(extents) => {
                (1..=LEAF_EXTENTS_MAX).contains(&extents.len()) && !extents.iter().any(|e| e.is_empty())
            }
            Content::List { len, height, .. } => *len > 0 && *height <= HEIGHT_MAX,
        };
        if !shape_is_legal {
            return Some("content is not in a legal shape");
        }
        let agrees = self.content.len() == Some(*size);
        (!agrees).then_some("content is not as long as the file's size")
    }
}

/// What a row weighs without its variable parts.
const ROW_WEIGHT: usize = 64;
const EXTENT_WEIGHT: usize = 40;
pub(super) const XATTR_WEIGHT: usize = 48;
