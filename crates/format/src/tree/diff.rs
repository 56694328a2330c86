//! What changed between two trees, in time that depends on the changes only.
//!
//! Both trees are read side by side. Where both stand before a node with the same id, all below is
//! equal and neither reads it. Otherwise the one whose node starts first reads it; of two that start
//! at the same path, the higher one, or both. An entry before everything the other side still has is
//! only here.

use super::cursor::{Head, TreeCursor};
use super::entry::TreeEntry;
use super::node::{NodeReader, TreeRoot};
use decube_backup_core::Result;
use std::cmp::Ordering;

/// One difference between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only in the second tree.
    Added(Box<TreeEntry>),
    /// Only in the first tree.
    Removed(Box<TreeEntry>),
    /// In both under the same path, with other attributes or content.
    Modified {
        /// As in the first tree.
        before: Box<TreeEntry>,
        /// As in the second.
        after: Box<TreeEntry>,
    },
}

/// Calls `visit` for every difference from `a` to `b`, in path order.
///
/// # Errors
/// What `visit` yields; `Corrupt`, or what `reader` yields, at the first unreadable node.
pub fn diff<R: NodeReader + ?Sized>(
    reader: &R,
    a: &TreeRoot,
    b: &TreeRoot,
    mut visit: impl FnMut(Change) -> Result<()>,
) -> Result<()> {
    let (mut a, mut b) = (TreeCursor::new(reader, a), TreeCursor::new(reader, b));
    while let Some(step) = step(a.head(), b.head()) {
        match step {
            Step::SkipBoth => {
                a.skip_node();
                b.skip_node();
            }
            Step::Expand(sides) => {
                if sides != Sides::Second {
                    a.expand()?;
                }
                if sides != Sides::First {
                    b.expand()?;
                }
            }
            Step::Take(sides) => {
                let before = if sides == Sides::Second { None } else { a.take() };
                let after = if sides == Sides::First { None } else { b.take() };
                match (before.map(Box::new), after.map(Box::new)) {
                    (Some(before), Some(after)) if before == after => {}
                    (Some(before), Some(after)) => visit(Change::Modified { before, after })?,
                    (Some(before), None) => visit(Change::Removed(before))?,
                    (None, Some(after)) => visit(Change::Added(after))?,
                    (None, None) => {}
                }
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Sides {
    First,
    Second,
    Both,
}

enum Step {
    SkipBoth,
    Expand(Sides),
    Take(Sides),
}

fn step(a: Option<Head<'_>>, b: Option<Head<'_>>) -> Option<Step> {
    use Head::{Entry, Node};
    Some(match (a, b) {
        (None, None) => return None,
        (Some(Entry(_)), None) => Step::Take(Sides::First),
        (None, Some(Entry(_))) => Step::Take(Sides::Second),
        (Some(Node(..)), None) => Step::Expand(Sides::First),
        (None, Some(Node(..))) => Step::Expand(Sides::Second),
        (Some(Entry(a)), Some(Entry(b))) => Step::Take(earlier(a.entry.path.cmp(&b.entry.path))),
        (Some(Entry(a)), Some(Node(b, _))) if a.entry.path < b.first => Step::Take(Sides::First),
        (Some(Entry(_)), Some(Node(..))) => Step::Expand(Sides::Second),
        (Some(Node(a, _)), Some(Entry(b))) if b.entry.path < a.first => Step::Take(Sides::Second),
        (Some(Node(..)), Some(Entry(_))) => Step::Expand(Sides::First),
        (Some(Node(a, _)), Some(Node(b, _))) if a.id == b.id => Step::SkipBoth,
        (Some(Node(a, a_height)), Some(Node(b, b_height))) => {
            Step::Expand(earlier(a.first.cmp(&b.first).then(b_height.cmp(&a_height))))
        }
    })
}

fn earlier(order: Ordering) -> Sides {
    match order {
        Ordering::Less => Sides::First,
        Ordering::Greater => Sides::Second,
        Ordering::Equal => Sides::Both,
    }
}
