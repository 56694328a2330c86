//! The leaf: up to 1024 entries as columns. Bytes: `docs/format/tree.md`.
//!
//! Equal entries give equal bytes: dictionaries are in order of first use, every choice of coding is
//! the smallest, and the decoder accepts only what the encoder yields.

mod decode;
mod encode;

pub use decode::decode_leaf;
pub use encode::encode_leaf;
pub(super) use encode::encode_leaf_into;

use super::content::Content;
use super::entry::TreeEntry;
use decube_backup_core::EntryKind;

/// Kind of entry and form of content in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Directory = 0,
    /// A file without own content.
    Bare = 1,
    Inline = 2,
    /// A file that is one chunk: no lengths needed.
    Single = 3,
    Extents = 4,
    List = 5,
    Symlink = 6,
    Fifo = 7,
    CharDevice = 8,
    BlockDevice = 9,
}

impl Class {
    const ALL: [Self; 10] = [
        Self::Directory,
        Self::Bare,
        Self::Inline,
        Self::Single,
        Self::Extents,
        Self::List,
        Self::Symlink,
        Self::Fifo,
        Self::CharDevice,
        Self::BlockDevice,
    ];

    fn of(entry: &TreeEntry) -> Self {
        match &entry.entry.kind {
            EntryKind::Directory => Self::Directory,
            EntryKind::Symlink { .. } => Self::Symlink,
            EntryKind::Fifo => Self::Fifo,
            EntryKind::CharDevice { .. } => Self::CharDevice,
            EntryKind::BlockDevice { .. } => Self::BlockDevice,
            EntryKind::File { .. } => match &entry.content {
                Content::None => Self::Bare,
                Content::Inline(_) => Self::Inline,
                Content::Extents(extents) if matches!(extents.as_slice(), [one] if one.chunk().is_some()) => {
                    Self::Single
                }
                Content::Extents(_) => Self::Extents,
                Content::List { .. } => Self::List,
            },
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}
