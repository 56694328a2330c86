//! Shape: the root is a function of the entry set, and changes stay local.

use super::codec::any_entries;
use super::*;
use crate::tree::{HEIGHT_MAX, NODE_ITEMS_MAX, Visit, visit_nodes};
use decube_backup_core::ErrorKind;
use decube_backup_core::entry::Xattr;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Ids of all nodes of a tree with their heights and numbers of entries.
#[derive(Default)]
struct Nodes {
    ids: BTreeSet<ChunkId>,
    leaf_entries: Vec<usize>,
}

impl crate::tree::NodeVisitor for Nodes {
    fn node(&mut self, id: &ChunkId, height: u8) -> Result<Visit> {
        assert!(height <= HEIGHT_MAX);
        Ok(if self.ids.insert(*id) { Visit::Enter } else { Visit::Skip })
    }
    fn leaf(&mut self, entries: Vec<TreeEntry>) -> Result<()> {
        self.leaf_entries.push(entries.len());
        Ok(())
    }
}

fn nodes(store: &Store, root: &TreeRoot) -> Nodes {
    let mut nodes = Nodes::default();
    visit_nodes(store, root, &mut nodes).expect("whole");
    nodes
}

fn fresh(store: &Store, before: &TreeRoot, after: &TreeRoot) -> usize {
    nodes(store, after).ids.difference(&nodes(store, before).ids).count()
}

#[test]
fn a_tree_without_entries_is_one_empty_leaf() {
    let mut store = Store::default();
    let root = store.build(&[]);
    assert_eq!((root.height, root.entries, root.bytes, store.nodes.len()), (0, 0, 0, 1));
    assert!(crate::tree::decode_leaf(&store.nodes[&root.id]).expect("legal").is_empty());
}

#[test]
fn a_root_counts_entries_and_bytes() {
    let mut store = Store::default();
    let root = store.build(&many(20_000));
    assert_eq!((root.height, root.entries, root.bytes), (1, 20_041, 20_000 * 1024));
}

#[test]
fn leaves_keep_their_limits_and_hold_some_256_entries() {
    let mut store = Store::default();
    let root = store.build(&many(50_000));
    let leaves = nodes(&store, &root).leaf_entries;
    let (last, rest) = leaves.split_last().expect("leaves");
    assert!(rest.iter().all(|n| (32..=NODE_ITEMS_MAX).contains(n)) && *last <= NODE_ITEMS_MAX);
    let average = leaves.iter().sum::<usize>() / leaves.len();
    assert!((200..400).contains(&average), "{average}");
}

#[test]
fn heavy_entries_end_a_leaf_by_weight() {
    let mut entries = many(2000);
    for entry in &mut entries {
        entry.entry.meta.xattrs = vec![Xattr { name: b"user.x".to_vec(), value: vec![7; 16 << 10] }];
    }
    let mut store = Store::default();
    let root = store.build(&entries);
    assert!(nodes(&store, &root).leaf_entries.iter().all(|n| *n <= 16));
}

/// Editing, adding or removing one of 20,000 entries, at many places.
#[test]
fn one_change_rewrites_one_path_and_few_neighbours() {
    let mut store = Store::default();
    let entries = many(20_000);
    let before = store.build(&entries);
    let (mut worst, mut total) = (0, 0);
    for round in 0..60 {
        let mut changed = entries.clone();
        let at = (noise(round) % 19_000) as usize + 2;
        match round % 3 {
            0 => changed[at].entry.meta.mode = 0o600,
            1 => drop(changed.remove(at)),
            _ => {
                let mut added = changed[at].clone();
                added.entry.path = EntryPath::new([added.entry.path.as_bytes(), b"+"].concat()).expect("legal");
                changed.insert(at + 1, added);
                changed.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
            }
        }
        let after = store.build(&changed);
        let fresh = fresh(&store, &before, &after);
        worst = worst.max(fresh);
        total += fresh;
    }
    // Root and one leaf are the least; more only where a removed or added entry moves a cut.
    assert!(worst <= 8 && total <= 60 * 3, "worst {worst}, total {total}");
}

#[test]
fn cuts_resynchronise_after_an_insertion_at_the_front() {
    let mut store = Store::default();
    let mut entries = many(20_000);
    let before = store.build(&entries);
    for i in 0..100 {
        entries.insert(1 + i, file(&format!("a{i:03}"), 1024, 77));
    }
    let after = store.build(&entries);
    assert!(fresh(&store, &before, &after) <= 8);
}

#[test]
fn disorder_is_refused_also_across_leaves() {
    let mut store = Store::default();
    let mut builder = TreeBuilder::new(hasher(), &cut_key());
    for entry in many(1500) {
        builder.push(entry.clone(), &mut store).expect("in order");
        let error = builder.push(entry, &mut store).expect_err("twice");
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
    assert!(store.puts > 2);
    let root = builder.finish(&mut store).expect("unharmed");
    assert_eq!(root, store.build(&many(1500)));
}

#[test]
fn other_keys_give_other_cuts_and_ids() {
    let entries = many(3000);
    let build = |hasher: ContentHasher, cut: u8| {
        let mut store = Sizes::default();
        let mut builder = TreeBuilder::new(hasher, &Key32([cut; 32]));
        entries.iter().for_each(|e| builder.push(e.clone(), &mut store).expect("legal"));
        (builder.finish(&mut store).expect("root").id, store.0)
    };
    let (id, sizes) = build(hasher(), 2);
    let (other_id, same_sizes) = build(ContentHasher::new(&Key32([9; 32])), 2);
    assert_ne!(id, other_id);
    assert_eq!(sizes[..3], same_sizes[..3], "leaf cuts depend on the cut key and the paths only");
    assert_ne!(sizes, build(hasher(), 3).1);
}

#[derive(Default)]
struct Sizes(Vec<usize>);

impl NodeWriter for Sizes {
    fn put_node(&mut self, _: ChunkId, bytes: &[u8]) -> Result<()> {
        self.0.push(bytes.len());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Start from one set, edit into another: the root is that of the other set built at once.
    #[test]
    fn history_leaves_no_trace(start in any_entries(300), edits in any_entries(100), keep in any::<u64>()) {
        let mut set: BTreeMap<EntryPath, TreeEntry> =
            start.iter().map(|e| (e.entry.path.clone(), e.clone())).collect();
        let mut store = Store::default();
        store.build(&start);
        set.retain(|p, _| noise(keep ^ p.as_bytes().len() as u64) % 5 != 4);
        for edit in edits {
            set.insert(edit.entry.path.clone(), edit);
        }
        let goal: Vec<TreeEntry> = set.into_values().collect();
        let root = store.build(&goal);
        prop_assert_eq!(root, Store::default().build(&goal));
        let mut cursor = crate::tree::TreeCursor::new(&store, &root);
        for entry in &goal {
            let read = cursor.next().expect("whole");
            prop_assert_eq!(read.as_ref(), Some(entry));
        }
        prop_assert!(cursor.next().expect("whole").is_none());
    }
}
