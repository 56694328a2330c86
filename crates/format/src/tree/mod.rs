//! The tree of a snapshot: every entry in path order, in a history-independent Merkle search tree.
//!
//! *Invariant*: the root id is a function of the entries and the keys alone. Node bytes are a function
//! of their items (one encoding each), and where a level is cut depends only on the items since its
//! last cut. So unchanged stretches are shared between snapshots, equal subtrees have equal ids, and
//! a difference is found by ids. A decoder accepts exactly the bytes an encoder yields.
//!
//! On backup data passes `TreeEntry (+ `[`ListBuilder`]` for long files) → `[`TreeBuilder`]` →
//! `[`NodeWriter`]; on restore [`NodeReader`]` → `[`TreeCursor`]` → `[`ListCursor`].
//!
//! | module | holds |
//! |---|---|
//! | `content` | where a file's bytes are: inline, extents, list |
//! | `entry` | one row, its rules and weight |
//! | `node` | reader and writer seams, limits, cut rule |
//! | `paths`, `columns` | column codecs |
//! | `leaf`, `inner`, `list` | node codecs; `list` also builds and reads extent lists |
//! | `levels`, `builder` | sequence → nodes |
//! | `load`, `cursor`, `visit`, `diff` | nodes → entries, ids, changes |
//!
//! *Deliberately absent*: edits in place (a tree is built from a sequence, its parent only saves
//! reading), caches, the check of a node's bytes against its id (the reader's).
//!
//! Source: the cut rule is that of prolly trees (Noms) and of content-defined Merkle trees in general.

mod builder;
mod columns;
mod content;
mod cursor;
mod diff;
mod entry;
mod inner;
mod leaf;
mod levels;
mod list;
mod load;
mod node;
mod paths;
mod visit;

#[cfg(test)]
mod tests;

pub use builder::TreeBuilder;
pub use content::{Content, Extent, FILE_BYTES_MAX, INLINE_BYTES_MAX, LEAF_EXTENTS_MAX};
pub use cursor::TreeCursor;
pub use diff::{Change, diff};
pub use entry::TreeEntry;
pub use inner::{Child, InnerNode, decode_inner, encode_inner};
pub use leaf::{decode_leaf, encode_leaf};
pub use list::{
    ListBuilder, ListChild, ListCursor, ListGap, ListNode, decode_list, encode_list, extent_at, for_each_extent,
    visit_list_nodes,
};
pub use load::Gap;
pub use node::{
    ENTRY_WEIGHT_MAX, HEIGHT_MAX, LIST_ITEMS_MIN, NODE_ITEMS_MAX, NODE_WEIGHT_MAX, NodeReader, NodeWriter,
    TREE_ITEMS_MIN, TreeRoot,
};
pub use visit::{NodeVisitor, Visit, visit_nodes};
