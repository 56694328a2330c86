//! Diff: complete, in order, and cheap.

use super::codec::any_entries;
use super::*;
use crate::tree::{Change, diff};
use proptest::prelude::*;

fn changes(store: &Store, a: &TreeRoot, b: &TreeRoot) -> Vec<Change> {
    let mut all = Vec::new();
    diff(store, a, b, |change| {
        all.push(change);
        Ok(())
    })
    .expect("whole");
    all
}

/// What a diff must say, by comparing the two lists.
fn expected(a: &[TreeEntry], b: &[TreeEntry]) -> Vec<Change> {
    let map = |list: &[TreeEntry]| -> BTreeMap<EntryPath, TreeEntry> {
        list.iter().map(|e| (e.entry.path.clone(), e.clone())).collect()
    };
    let (a, b) = (map(a), map(b));
    let mut paths: Vec<&EntryPath> = a.keys().chain(b.keys()).collect();
    paths.sort();
    paths.dedup();
    let of = |map: &BTreeMap<EntryPath, TreeEntry>, path| map.get(path).cloned().map(Box::new);
    let change = |path| match (of(&a, path), of(&b, path)) {
        (Some(before), Some(after)) => (before != after).then_some(Change::Modified { before, after }),
        (Some(before), None) => Some(Change::Removed(before)),
        (None, Some(after)) => Some(Change::Added(after)),
        (None, None) => None,
    };
    paths.into_iter().filter_map(change).collect()
}

#[test]
fn equal_trees_are_compared_without_reading() {
    let mut store = Store::default();
    let root = store.build(&many(5000));
    assert_eq!(store.reads_of(|| changes(&store, &root, &root)), (0, vec![]));
}

#[test]
fn reads_depend_on_the_changes_not_on_the_tree() {
    let mut store = Store::default();
    let entries = many(30_000);
    let before = store.build_tall(&entries);
    assert_eq!(before.height, 2);
    for edits in [1, 5, 20] {
        let mut changed = entries.clone();
        for round in 0..edits {
            let at = (noise(round * 31 + edits) % 30_000) as usize;
            match round % 3 {
                0 => changed[at].entry.meta.mode ^= 0o111,
                1 => drop(changed.remove(at)),
                _ => changed.insert(at + 1, {
                    let mut added = changed[at].clone();
                    added.entry.path = EntryPath::new([added.entry.path.as_bytes(), b"/+"].concat()).expect("legal");
                    added
                }),
            }
        }
        changed.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        let after = store.build_tall(&changed);
        let (reads, found) = store.reads_of(|| changes(&store, &before, &after));
        assert_eq!(found, expected(&entries, &changed));
        assert!(reads as u64 <= 2 * (3 + 4 * edits), "{reads} reads for {edits} edits of {} nodes", store.nodes.len());
    }
}

#[test]
fn a_tree_against_nothing_is_all_added_or_removed() {
    let mut store = Store::default();
    let entries = many(3000);
    let (empty, full) = (store.build(&[]), store.build(&entries));
    assert_eq!(changes(&store, &empty, &full), expected(&[], &entries));
    assert_eq!(changes(&store, &full, &empty), expected(&entries, &[]));
}

#[test]
fn trees_of_different_height_share_their_leaves() {
    let mut store = Store::default();
    let entries = many(30_000);
    let (small, large) = (&entries[..150], &entries[..]);
    let (a, b) = (store.build(small), store.build(large));
    assert!(a.height < b.height);
    assert_eq!(changes(&store, &a, &b), expected(small, large));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_diff_says_exactly_what_differs(a in any_entries(300), b in any_entries(100), mix in any::<u64>()) {
        let mut store = Store::default();
        let mut set: BTreeMap<EntryPath, TreeEntry> =
            a.iter().filter(|e| noise(mix ^ e.entry.path.as_bytes().len() as u64) % 4 != 3)
                .map(|e| (e.entry.path.clone(), e.clone())).collect();
        set.extend(b.into_iter().map(|e| (e.entry.path.clone(), e)));
        let b: Vec<TreeEntry> = set.into_values().collect();
        let roots = (store.build(&a), store.build(&b));
        prop_assert_eq!(changes(&store, &roots.0, &roots.1), expected(&a, &b));
    }
}
