//! Cursor: order, seeking, scopes, and going on past damage.

use super::*;
use crate::tree::{Gap, NodeVisitor, TreeCursor, Visit, visit_nodes};
use decube_backup_core::{Error, ErrorKind};

fn sample() -> (Store, TreeRoot, Vec<TreeEntry>) {
    let mut store = Store::default();
    let entries = many(20_000);
    let root = store.build(&entries);
    (store, root, entries)
}

/// Every entry that reads, and every gap.
fn drain(cursor: &mut TreeCursor<'_, Store>) -> (Vec<TreeEntry>, Vec<Gap>) {
    let (mut entries, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match cursor.next() {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return (entries, gaps),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                gaps.push(cursor.gap().expect("gap").clone());
            }
        }
    }
}

#[test]
fn reading_yields_every_entry_in_order() {
    let (store, root, entries) = sample();
    let (read, gaps) = drain(&mut TreeCursor::new(&store, &root));
    assert!(read == entries && gaps.is_empty());
    assert_eq!(store.reads.get(), store.nodes.len());
}

#[test]
fn lookup_finds_what_is_there_in_one_read_per_level() {
    let (store, root, entries) = sample();
    for i in (0..entries.len()).step_by(397) {
        let mut cursor = TreeCursor::new(&store, &root);
        let (reads, found) = store.reads_of(|| cursor.lookup(&entries[i].entry.path).expect("whole"));
        assert_eq!(found.as_ref(), Some(&entries[i]));
        assert_eq!(reads, usize::from(root.height) + 1);
        assert_eq!(cursor.next().expect("whole").as_ref(), entries.get(i + 1));
    }
    assert!(TreeCursor::new(&store, &root).lookup(&path("d0001/file-1")).expect("whole").is_none());
}

#[test]
fn seek_goes_forward_and_back_to_the_first_entry_at_or_after() {
    let (store, root, entries) = sample();
    let mut cursor = TreeCursor::new(&store, &root);
    let mut check = |target: EntryPath| {
        cursor.seek(&target).expect("whole");
        let expected = entries.get(entries.partition_point(|e| e.entry.path < target));
        assert_eq!(cursor.peek().expect("whole"), expected, "{target}");
        assert_eq!(cursor.next().expect("whole").as_ref(), expected, "{target}");
    };
    for round in 0..500 {
        let at = &entries[(noise(round) % 20_000) as usize].entry.path;
        check(at.clone());
        check(EntryPath::new([at.as_bytes(), b"~"].concat()).unwrap_or_default());
    }
    for text in ["", "a", "zzz", "d0000", "d0039/file-499.dat/below"] {
        check(path(text));
    }
}

#[test]
fn forward_seeks_within_a_leaf_read_nothing() {
    let (store, root, entries) = sample();
    let mut cursor = TreeCursor::new(&store, &root);
    let (reads, ()) = store.reads_of(|| {
        for entry in entries.iter().step_by(3) {
            assert_eq!(cursor.lookup(&entry.entry.path).expect("whole").as_ref(), Some(entry));
        }
    });
    assert_eq!(reads, store.nodes.len());
}

#[test]
fn a_scope_is_a_path_and_all_below_it() {
    let (store, root, entries) = sample();
    for scope in ["", "d0007", "d0007/file-003.dat", "d0007/file", "nothing"].map(path) {
        let mut cursor = TreeCursor::within(&store, &root, &scope).expect("whole");
        let (reads, (read, _)) = store.reads_of(|| drain(&mut cursor));
        assert!(read.iter().eq(entries.iter().filter(|e| e.entry.path.is_within(&scope))), "{scope}");
        assert!(scope.is_root() || reads <= 8, "{scope}: {reads}");
        cursor.seek(&path("")).expect("whole");
        assert_eq!(cursor.next().expect("whole").as_ref(), read.first());
    }
}

#[test]
fn a_lost_node_is_one_error_with_its_range_and_reading_goes_on() {
    let (mut store, root, entries) = sample();
    let ids: Vec<ChunkId> = store.nodes.keys().copied().filter(|id| *id != root.id).collect();
    for lost in ids.iter().step_by(7) {
        let bytes = store.nodes.remove(lost).expect("there");
        let (read, gaps) = drain(&mut TreeCursor::new(&store, &root));
        let [gap] = gaps.as_slice() else { panic!("{} gaps", gaps.len()) };
        assert_eq!((gap.id, gap.height), (*lost, 0));
        let in_gap =
            |e: &&TreeEntry| e.entry.path >= gap.from && gap.until.as_ref().is_none_or(|until| e.entry.path < *until);
        assert_eq!(entries.iter().filter(in_gap).count() as u64, gap.entries);
        assert!(read.iter().eq(entries.iter().filter(|e| !in_gap(e))));

        let mut cursor = TreeCursor::new(&store, &root);
        cursor.seek(&gap.from).expect_err("lost");
        assert_eq!(cursor.gap(), Some(gap));
        let after = cursor.next().expect("goes on").map(|e| e.entry.path);
        assert_eq!(after, gap.until);
        store.nodes.insert(*lost, bytes);
    }
}

/// Tall enough for inner nodes below the root; each loses all its leaves and no more.
#[test]
fn a_lost_inner_node_loses_its_leaves() {
    let mut store = Store::default();
    let entries = many(30_000);
    let root = store.build_tall(&entries);
    assert_eq!(root.height, 2);
    let inner = |(id, bytes): (&ChunkId, &Bytes)| (bytes[0] == 2 && *id != root.id).then_some(*id);
    let inner: Vec<ChunkId> = store.nodes.iter().filter_map(inner).collect();
    assert!(inner.len() > 1);
    for lost in inner {
        let bytes = store.nodes.remove(&lost).expect("there");
        let (read, gaps) = drain(&mut TreeCursor::new(&store, &root));
        let [gap] = gaps.as_slice() else { panic!("{} gaps", gaps.len()) };
        assert_eq!((gap.id, gap.height, gap.entries), (lost, 1, (entries.len() - read.len()) as u64));
        let outside =
            |e: &&TreeEntry| e.entry.path < gap.from || gap.until.as_ref().is_some_and(|u| e.entry.path >= *u);
        assert!(read.iter().eq(entries.iter().filter(outside)));
        store.nodes.insert(lost, bytes);
    }
}

#[test]
fn a_lost_root_loses_everything_once() {
    let (mut store, root, entries) = sample();
    store.nodes.remove(&root.id);
    let (read, gaps) = drain(&mut TreeCursor::new(&store, &root));
    assert!(read.is_empty());
    let [gap] = gaps.as_slice() else { panic!("{} gaps", gaps.len()) };
    assert_eq!((gap.entries, gap.height, &gap.until), (entries.len() as u64, root.height, &None));
}

/// A node that decodes but is not what its parent says: another leaf, an inner node, a wrong root.
#[test]
fn a_node_in_the_wrong_place_is_damage() {
    let (mut store, root, _) = sample();
    let leaves: Vec<ChunkId> = store.nodes.keys().copied().filter(|id| *id != root.id).collect();
    for stranger in [leaves[1], root.id] {
        let original = store.nodes.insert(leaves[0], store.nodes[&stranger].clone()).expect("there");
        assert_eq!(drain(&mut TreeCursor::new(&store, &root)).1.len(), 1);
        store.nodes.insert(leaves[0], original);
    }
    for wrong in [
        TreeRoot { height: root.height + 1, ..root },
        TreeRoot { height: 200, ..root },
        TreeRoot { entries: root.entries + 1, ..root },
        TreeRoot { id: leaves[0], ..root },
    ] {
        let (read, gaps) = drain(&mut TreeCursor::new(&store, &wrong));
        assert!(read.is_empty() && gaps.len() == 1);
    }
}

#[test]
fn a_visitor_skips_and_goes_on_past_damage() {
    #[derive(Default)]
    struct Survey {
        nodes: usize,
        entries: u64,
        lost: u64,
    }
    impl NodeVisitor for Survey {
        fn node(&mut self, _: &ChunkId, height: u8) -> Result<Visit> {
            self.nodes += 1;
            Ok(if height == 0 && self.nodes.is_multiple_of(2) { Visit::Skip } else { Visit::Enter })
        }
        fn leaf(&mut self, entries: Vec<TreeEntry>) -> Result<()> {
            self.entries += entries.len() as u64;
            Ok(())
        }
        fn damaged(&mut self, gap: Gap, _: Error) -> Result<()> {
            self.lost += gap.entries;
            Ok(())
        }
    }
    let (mut store, root, _) = sample();
    let (reads, ()) = store.reads_of(|| visit_nodes(&store, &root, &mut Survey::default()).expect("whole"));
    assert_eq!(reads, store.nodes.len().div_ceil(2));
    for id in store.nodes.keys().copied().filter(|id| *id != root.id).collect::<Vec<_>>() {
        store.nodes.remove(&id);
    }
    let mut survey = Survey::default();
    visit_nodes(&store, &root, &mut survey).expect("goes on");
    assert!(survey.entries == 0 && survey.lost > 0 && survey.lost < root.entries);
}
