//! Codecs: what goes in comes out, in one encoding, and no bytes make a decoder panic.

use super::super::columns::{TimeColumn, decode_times, encode_times};
use super::super::*;
use super::{file, many, path};
use crate::ids::ChunkId;
use crate::wire::Reader;
use decube_backup_core::entry::Xattr;
use decube_backup_core::{Entry, EntryKind, EntryPath, ErrorKind, Metadata, Timestamp};
use proptest::collection::{btree_map, vec};
use proptest::option::weighted;
use proptest::prelude::*;

fn any_path() -> impl Strategy<Value = EntryPath> {
    let byte = prop_oneof![4 => b'a'..b'e', 1 => any::<u8>()];
    let name = vec(byte, 1..20).prop_map(|mut name| {
        name.iter_mut().filter(|b| matches!(b, b'/' | 0)).for_each(|b| *b = b'_');
        if matches!(name.as_slice(), b"." | b"..") { b"dot".to_vec() } else { name }
    });
    vec(name, 0..5).prop_map(|names| EntryPath::new(names.join(&b'/')).expect("legal"))
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    let seconds = prop_oneof![4 => 1_700_000_000..1_700_100_000i64, 1 => any::<i64>()];
    let nanoseconds = prop_oneof![Just(0), 0..1_000_000_000u32];
    (seconds, nanoseconds).prop_map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds })
}

fn any_id() -> impl Strategy<Value = ChunkId> {
    any::<[u8; 32]>().prop_map(ChunkId)
}

fn any_extent() -> impl Strategy<Value = Extent> {
    prop_oneof![
        (any_id(), 1..=u32::MAX).prop_map(|(id, len)| Extent::Chunk { id, len }),
        (1..1u64 << 40).prop_map(|len| Extent::Hole { len }),
    ]
}

fn any_kind() -> impl Strategy<Value = (EntryKind, Content)> {
    let kind = prop_oneof![
        Just(EntryKind::Directory),
        Just(EntryKind::Fifo),
        vec(any::<u8>(), 0..40).prop_map(|target| EntryKind::Symlink { target }),
        any::<(u32, u32)>().prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        any::<(u32, u32)>().prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
    ];
    let content = prop_oneof![
        Just(Content::None),
        vec(any::<u8>(), 1..=INLINE_BYTES_MAX).prop_map(Content::Inline),
        vec(any_extent(), 1..=LEAF_EXTENTS_MAX).prop_map(Content::Extents),
        (any_id(), any_extent()).prop_map(|(id, one)| Content::Extents(vec![Extent::Chunk { id, len: 7 }, one])),
        (any_id(), 1..FILE_BYTES_MAX, 0..=HEIGHT_MAX).prop_map(|(root, len, height)| Content::List {
            root,
            len,
            height
        }),
    ];
    prop_oneof![
        kind.prop_map(|kind| (kind, Content::None)),
        content.prop_map(|content| (EntryKind::File { size: content.len().expect("short") }, content)),
    ]
}

fn any_meta() -> impl Strategy<Value = Metadata> {
    let owner = (0..0o10000u32, any::<u32>(), 0..3u32, "[a-c]{0,2}", "\\PC{0,4}");
    let xattrs = btree_map(vec(any::<u8>(), 1..4), vec(any::<u8>(), 0..8), 0..3);
    let xattrs = prop_oneof![3 => Just(Vec::new()), 1 => xattrs.prop_map(|map| {
        map.into_iter().map(|(name, value)| Xattr { name, value }).collect()
    })];
    let rest = (any_time(), weighted(0.5, any_time()), prop_oneof![Just(0), any::<u32>()]);
    (owner, rest, xattrs, weighted(0.2, any_path())).prop_map(|(owner, (mtime, birth, flags), xattrs, link_group)| {
        let (mode, uid, gid, user, group) = owner;
        let (user, group) = (user.into(), group.into());
        Metadata { mode, uid, gid, user, group, mtime, birth, flags, xattrs, link_group }
    })
}

pub(super) fn any_entries(n: usize) -> impl Strategy<Value = Vec<TreeEntry>> {
    btree_map(any_path(), (any_kind(), any_meta()), 0..n).prop_map(|map| {
        let row = |(path, ((kind, content), meta))| TreeEntry { entry: Entry { path, kind, meta }, content };
        map.into_iter().map(row).collect()
    })
}

/// A decoder that accepts `bytes` must yield what encodes to them again.
fn canonical_or_corrupt(bytes: &[u8]) {
    match decode_leaf(bytes) {
        Ok(entries) => {
            assert_eq!(encode_leaf(&entries), bytes);
            assert!(entries.is_sorted_by(|a, b| a.entry.path < b.entry.path));
            entries.iter().for_each(|e| e.check().expect("legal"));
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
    match decode_inner(bytes) {
        Ok(node) => assert_eq!(encode_inner(node.height, &node.children), bytes),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
    match decode_list(bytes) {
        Ok(node) => assert_eq!(encode_list(&node), bytes),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
}

/// Applies `(position, value)` edits, then cuts.
fn mutate(mut bytes: Vec<u8>, edits: &[(usize, u8)], keep: usize) -> Vec<u8> {
    let len = bytes.len().max(1);
    for (at, value) in edits {
        if let Some(byte) = bytes.get_mut(at % len) {
            *byte = *value;
        }
    }
    bytes.truncate(keep % (len * 4) + 1);
    bytes
}

fn any_edits() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let value = prop_oneof![0..4u8, any::<u8>()];
    vec((any::<usize>(), value), 0..4)
}

proptest! {
    #[test]
    fn leaves_round_trip(entries in any_entries(40)) {
        entries.iter().for_each(|e| e.check().expect("legal"));
        prop_assert_eq!(decode_leaf(&encode_leaf(&entries)).expect("decodes"), entries);
    }

    #[test]
    fn a_damaged_leaf_is_corrupt_or_canonical(
        entries in any_entries(8), edits in any_edits(), keep in any::<usize>(),
    ) {
        canonical_or_corrupt(&mutate(encode_leaf(&entries), &edits, keep));
    }

    #[test]
    fn arbitrary_bytes_are_corrupt_or_canonical(tag in 0..6u8, rest in vec(prop_oneof![0..4u8, any::<u8>()], 0..200)) {
        let mut bytes = vec![tag];
        bytes.extend(rest);
        canonical_or_corrupt(&bytes);
    }

    #[test]
    fn inner_nodes_round_trip_and_survive_damage(
        rows in btree_map(any_path(), (any_id(), 1..u64::MAX, any::<u64>()), 1..20),
        height in 1..=HEIGHT_MAX, edits in any_edits(), keep in any::<usize>(),
    ) {
        let child = |(first, (id, entries, bytes))| Child { first, id, entries, bytes };
        let children: Vec<Child> = rows.into_iter().map(child).collect();
        let bytes = encode_inner(height, &children);
        prop_assert_eq!(decode_inner(&bytes).expect("decodes"), InnerNode { height, children });
        canonical_or_corrupt(&mutate(bytes, &edits, keep));
    }

    #[test]
    fn list_nodes_round_trip_and_survive_damage(
        extents in vec(any_extent(), 1..40), children in vec((any_id(), 1..1u64 << 50), 1..40),
        height in 1..=HEIGHT_MAX, edits in any_edits(), keep in any::<usize>(),
    ) {
        let children = children.into_iter().map(|(id, len)| ListChild { id, len }).collect();
        for node in [ListNode::Leaf(extents), ListNode::Inner { height, children }] {
            let bytes = encode_list(&node);
            prop_assert_eq!(decode_list(&bytes).expect("decodes"), node);
            canonical_or_corrupt(&mutate(bytes, &edits, keep));
        }
    }

    #[test]
    fn times_round_trip_in_every_column(pairs in vec((any_time(), any_time()), 0..20)) {
        for column in [TimeColumn::Modified, TimeColumn::Birth] {
            let mut out = Vec::new();
            encode_times(&mut out, column, pairs.iter().copied());
            let own: Vec<Timestamp> = pairs.iter().map(|(_, own)| *own).collect();
            let mut reader = Reader::new(&out, "times");
            let times = decode_times(&mut reader, column, &own).expect("decodes");
            prop_assert_eq!(reader.remaining(), 0);
            prop_assert!(times.iter().eq(pairs.iter().map(|(value, _)| value)));
        }
    }
}

#[test]
fn a_small_file_costs_id_time_and_a_few_bytes() {
    let entries = many(200);
    let per_file = encode_leaf(&entries).len() as f64 / 200.0;
    assert!(per_file < 32.0 + 8.0 + 6.0, "bytes per file: {per_file}");
}

#[test]
fn equal_births_cost_a_byte() {
    let mut entries = many(200);
    let without = encode_leaf(&entries).len();
    entries.iter_mut().for_each(|e| e.entry.meta.birth = Some(e.entry.meta.mtime));
    assert!(encode_leaf(&entries).len() - without <= entries.len() + 8);
}

#[test]
fn entries_a_tree_cannot_hold_are_named() {
    let check = |rule: &str, change: &dyn Fn(&mut TreeEntry)| {
        let mut entry = file("f", 9, 1);
        change(&mut entry);
        let error = entry.check().expect_err(rule);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(rule), "{error}");
    };
    let xattr = |name: &[u8], len| Xattr { name: name.to_vec(), value: vec![0; len] };
    check("mode", &|e| e.entry.meta.mode = 0o10_000);
    check("time", &|e| e.entry.meta.birth = Some(Timestamp { seconds: 0, nanoseconds: 1_000_000_000 }));
    check("sorted", &|e| e.entry.meta.xattrs = vec![xattr(b"b", 1), xattr(b"a", 1)]);
    check("too long", &|e| e.entry.meta.xattrs = vec![xattr(b"a", (64 << 10) + 1)]);
    check("too large", &|e| {
        e.entry.meta.xattrs = (0..70u8).map(|n| xattr(&[b'a' + n / 26, b'a' + n % 26], 64 << 10)).collect();
    });
    check("not a file", &|e| e.entry.kind = EntryKind::Fifo);
    check("as long as", &|e| e.entry.kind = EntryKind::File { size: 8 });
    check("legal shape", &|e| e.content = Content::None);
    check("legal shape", &|e| (e.content, e.entry.meta.link_group) = (Content::None, Some(path("a"))));
    check("legal shape", &|e| e.content = Content::Inline(vec![0; 257]));
    check("legal shape", &|e| e.content = Content::Extents(vec![Extent::Hole { len: 1 }; 33]));
}

#[test]
fn a_leaf_cannot_claim_more_memory_than_its_limit() {
    // 700 paths of 60,000 bytes, each three bytes in the leaf.
    let long = "x/".repeat(30_000) + "x";
    let name = |i: u32| {
        file(&format!("{long}{}{}", char::from(b'0' + (i / 26) as u8), char::from(b'a' + (i % 26) as u8)), 1, 1)
    };
    let entries: Vec<TreeEntry> = (0..700).map(name).collect();
    let bytes = encode_leaf(&entries);
    assert!(bytes.len() < 200_000);
    assert!(decode_leaf(&bytes).is_err());
}
