//! Extent lists: order, offsets, locality, damage.

use super::*;
use crate::tree::{
    LEAF_EXTENTS_MAX, ListBuilder, ListChild, ListCursor, Visit, extent_at, for_each_extent, visit_list_nodes,
};
use decube_backup_core::ErrorKind;
use std::collections::BTreeSet;

fn extents(n: u64) -> Vec<Extent> {
    let one = |i: u64| match noise(i) % 50 {
        0 => Extent::Hole { len: 1 << 33 },
        r => Extent::Chunk { id: chunk_id(i), len: 100_000 + r as u32 },
    };
    (0..n).map(one).collect()
}

fn build(store: &mut Store, extents: &[Extent]) -> Content {
    let mut builder = ListBuilder::new(hasher(), &cut_key());
    extents.iter().for_each(|e| builder.push(*e, store).expect("legal"));
    builder.finish(store).expect("content")
}

fn ids(store: &Store, content: &Content) -> BTreeSet<ChunkId> {
    let mut ids = BTreeSet::new();
    let enter = |child: &ListChild, _| Ok(if ids.insert(child.id) { Visit::Enter } else { Visit::Skip });
    visit_list_nodes(store, content, enter, |_| Ok(())).expect("whole");
    ids
}

#[test]
fn few_extents_stay_in_the_leaf() {
    let mut store = Store::default();
    assert_eq!(build(&mut store, &[]), Content::None);
    let short = extents(LEAF_EXTENTS_MAX as u64);
    assert_eq!(build(&mut store, &short), Content::Extents(short));
    assert!(store.nodes.is_empty());
    let long = build(&mut store, &extents(LEAF_EXTENTS_MAX as u64 + 1));
    assert!(matches!(long, Content::List { height: 0, .. }));
}

#[test]
fn every_extent_comes_back_at_its_offset() {
    let mut store = Store::default();
    for n in [1, 32, 33, 1000, 30_000] {
        let list = extents(n);
        let content = build(&mut store, &list);
        let total = list.iter().map(Extent::len).sum();
        assert_eq!(content.len(), Some(total));
        let (mut read, mut end) = (Vec::new(), 0);
        for_each_extent(&store, &content, |offset, extent| {
            assert_eq!(offset, end);
            end += extent.len();
            read.push(*extent);
            Ok(())
        })
        .expect("whole");
        assert!(read == list && end == total);
    }
}

#[test]
fn extent_at_reads_one_node_per_level() {
    let mut store = Store::default();
    let list = extents(30_000);
    let content = build(&mut store, &list);
    let Content::List { height, len, .. } = content else { panic!("short") };
    let mut start = 0;
    for (i, extent) in list.iter().enumerate() {
        if i % 997 == 0 {
            for offset in [start, start + extent.len() - 1] {
                let (reads, found) = store.reads_of(|| extent_at(&store, &content, offset).expect("whole"));
                assert_eq!(found, Some((start, *extent)));
                assert_eq!(reads, usize::from(height) + 1);
            }
        }
        start += extent.len();
    }
    assert_eq!(extent_at(&store, &content, len).expect("whole"), None);
    let short = Content::Extents(list[..5].to_vec());
    assert_eq!(extent_at(&store, &short, list[0].len()).expect("whole"), Some((list[0].len(), list[1])));
}

#[test]
fn one_change_rewrites_few_list_nodes() {
    let mut store = Store::default();
    let list = extents(30_000);
    let before = build(&mut store, &list);
    for round in 0..30 {
        let mut changed = list.clone();
        let at = (noise(round) % 30_000) as usize;
        changed.splice(at..at + 1, (0..round % 4).map(|n| Extent::Chunk { id: chunk_id(1 << 40 | n), len: 9 }));
        let after = build(&mut store, &changed);
        let fresh = ids(&store, &after).difference(&ids(&store, &before)).count();
        assert!(fresh <= 10, "{fresh} of {}", ids(&store, &before).len());
    }
}

#[test]
fn a_run_of_equal_chunks_is_a_handful_of_nodes() {
    let mut store = Store::default();
    let content = build(&mut store, &vec![Extent::Chunk { id: chunk_id(1), len: 1 << 20 }; 100_000]);
    assert_eq!(content.len(), Some(100_000 << 20));
    assert!(ids(&store, &content).len() <= 8);
}

#[test]
fn a_builder_is_new_after_finish() {
    let mut store = Store::default();
    let mut builder = ListBuilder::new(hasher(), &cut_key());
    for n in [2000, 10, 0, 2000] {
        let list = extents(n);
        list.iter().for_each(|e| builder.push(*e, &mut store).expect("legal"));
        assert_eq!(builder.finish(&mut store).expect("content"), build(&mut Store::default(), &list));
    }
    let error = builder.push(Extent::Hole { len: 0 }, &mut store).expect_err("empty");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(builder.push(Extent::Hole { len: u64::MAX }, &mut store).is_err());
}

#[test]
fn a_lost_list_node_is_one_error_with_its_bytes_and_reading_goes_on() {
    let mut store = Store::default();
    let list = extents(5000);
    let content = build(&mut store, &list);
    let Content::List { root, len, .. } = content else { panic!("short") };
    let lost = *ids(&store, &content).iter().find(|id| **id != root).expect("leaf");
    store.nodes.remove(&lost);
    let mut cursor = ListCursor::new(&store, &content);
    let (mut end, mut gaps) = (0, Vec::new());
    loop {
        match cursor.next() {
            Ok(Some((offset, extent))) => {
                assert_eq!(offset, end);
                end += extent.len();
            }
            Ok(None) => break,
            Err(_) => {
                let gap = cursor.gap().expect("gap");
                assert_eq!((gap.id, gap.offset), (lost, end));
                end += gap.len;
                gaps.push(gap);
            }
        }
    }
    assert_eq!((end, gaps.len()), (len, 1));
    assert!(for_each_extent(&store, &content, |_, _| Ok(())).is_err());
}

#[test]
fn a_list_that_is_not_as_long_as_it_says_is_damage() {
    let mut store = Store::default();
    let Content::List { root, len, height } = build(&mut store, &extents(500)) else { panic!("short") };
    for wrong in [
        Content::List { root, len: len + 1, height },
        Content::List { root, len, height: height + 1 },
        Content::List { root, len, height: 255 },
    ] {
        assert!(for_each_extent(&store, &wrong, |_, _| Ok(())).is_err());
    }
}
