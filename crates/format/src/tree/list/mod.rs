//! Extent lists of long files: content-defined nodes, so that a change in the middle of a file rewrites
//! a few of them. Bytes: `docs/format/tree.md`.
//!
//! `extents → `[`ListBuilder`]` → nodes → `[`ListCursor`]` → extents`.

mod builder;
mod cursor;
mod node;

pub use builder::ListBuilder;
pub use cursor::{ListCursor, ListGap, extent_at, for_each_extent, visit_list_nodes};
pub use node::{ListChild, ListNode, decode_list, encode_list};
