//! What a tree needs: its nodes, its list nodes and its chunks, each shown to a callback.

use crate::segments::Nodes;
use decube_backup_core::Result;
use decube_backup_format::ids::ChunkId;
use decube_backup_format::tree::{
    Content, NodeVisitor, TreeEntry, TreeRoot, Visit, for_each_extent, visit_list_nodes, visit_nodes,
};

/// What is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A tree or list node; skipped with all below it if the callback says so.
    Node,
    /// A content chunk.
    Chunk,
}

/// Called for everything that is needed, as often as it is met.
pub(super) type See<'a> = dyn Fn(&ChunkId, Need) -> Result<Visit> + 'a;

/// Shows `see` everything the tree at `root` needs.
///
/// # Errors
/// The first unreadable node, with the path of its file if it is a list node; what `see` yields.
pub(super) fn tree(nodes: &Nodes<'_>, root: &TreeRoot, see: &See<'_>) -> Result<()> {
    visit_nodes(nodes, root, &mut Walk { nodes, see })
}

/// Shows `see` everything the content of `entry` needs.
///
/// # Errors
/// As [`tree`].
pub(super) fn content(nodes: &Nodes<'_>, entry: &TreeEntry, see: &See<'_>) -> Result<()> {
    let chunk = |id: &ChunkId| see(id, Need::Chunk).map(drop);
    let shown = match &entry.content {
        Content::None | Content::Inline(_) => Ok(()),
        list @ Content::List { .. } => visit_list_nodes(
            nodes,
            list,
            |child, _| see(&child.id, Need::Node),
            |extents| extents.iter().filter_map(|extent| extent.chunk()).try_for_each(chunk),
        ),
        short => for_each_extent(nodes, short, |_, extent| extent.chunk().map_or(Ok(()), chunk)),
    };
    shown.map_err(|error| error.with("path", &entry.entry.path))
}

struct Walk<'a> {
    nodes: &'a Nodes<'a>,
    see: &'a See<'a>,
}

impl NodeVisitor for Walk<'_> {
    fn node(&mut self, id: &ChunkId, _height: u8) -> Result<Visit> {
        (self.see)(id, Need::Node)
    }
    fn leaf(&mut self, entries: Vec<TreeEntry>) -> Result<()> {
        entries.iter().try_for_each(|entry| content(self.nodes, entry, self.see))
    }
}
