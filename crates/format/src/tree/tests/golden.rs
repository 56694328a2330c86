//! Frozen bytes: a change here is a change of the format. `docs/format/tree.md` explains the first leaf.

use super::*;
use crate::ids::hex;
use crate::tree::{
    Child, ListBuilder, ListChild, ListNode, decode_inner, decode_leaf, decode_list, encode_inner, encode_leaf,
    encode_list,
};
use decube_backup_core::entry::Xattr;

fn id(n: u8) -> ChunkId {
    ChunkId([n; 32])
}

fn row(name: &str, kind: EntryKind, content: Content) -> TreeEntry {
    let mtime = Timestamp { seconds: 1_000_000_000, nanoseconds: 0 };
    let meta = Metadata { mode: 0o644, uid: 1000, gid: 100, user: "ann".into(), mtime, ..Metadata::default() };
    TreeEntry { entry: Entry { path: path(name), kind, meta }, content }
}

/// The leaf taken apart in the documentation.
fn plain() -> Vec<TreeEntry> {
    let one_chunk = Content::Extents(vec![Extent::Chunk { id: id(0xaa), len: 4096 }]);
    let mut all = vec![
        row("src", EntryKind::Directory, Content::None),
        row("src/lib.rs", EntryKind::File { size: 4096 }, one_chunk),
        row("src/main.rs", EntryKind::File { size: 3 }, Content::Inline(b"hi\n".to_vec())),
    ];
    all[0].entry.meta.mode = 0o755;
    all[2].entry.meta.mtime = Timestamp { seconds: 1_000_000_001, nanoseconds: 5 };
    all
}

/// Every kind of entry and content and every optional attribute.
fn rich() -> Vec<TreeEntry> {
    let extents = Content::Extents(vec![
        Extent::Chunk { id: id(1), len: 300 },
        Extent::Hole { len: 4000 },
        Extent::Chunk { id: id(2), len: 5 },
    ]);
    let list = Content::List { root: id(3), len: 1 << 40, height: 2 };
    let mut all = vec![
        row("block", EntryKind::BlockDevice { major: 8, minor: 1 }, Content::None),
        row("char", EntryKind::CharDevice { major: 1, minor: 300 }, Content::None),
        row("empty", EntryKind::File { size: 0 }, Content::None),
        row("extents", EntryKind::File { size: 4305 }, extents),
        row("fifo", EntryKind::Fifo, Content::None),
        row("link", EntryKind::Symlink { target: b"fifo".to_vec() }, Content::None),
        row("list", EntryKind::File { size: 1 << 40 }, list),
        row("a-name-of-more-than-fifteen-bytes", EntryKind::File { size: 0 }, Content::None),
    ];
    all[1].entry.meta.birth = Some(Timestamp { seconds: 999_999_999, nanoseconds: 999_999_999 });
    all[3].entry.meta.link_group = Some(path("a-name-of-more-than-fifteen-bytes"));
    all[3].entry.meta.xattrs = vec![Xattr { name: b"user.k".to_vec(), value: b"v".to_vec() }];
    all[4].entry.meta.flags = 0x80;
    all[4].entry.meta.mtime.seconds = -1;
    all[7].entry.meta.link_group = Some(path("a"));
    all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    all
}

fn check(name: &str, bytes: &[u8], frozen: &[&str]) {
    assert_eq!(hex(bytes), frozen.concat(), "{name}");
}

#[test]
fn leaf_bytes_are_frozen() {
    for (name, entries, frozen) in [("plain", plain(), PLAIN), ("rich", rich(), RICH), ("empty", Vec::new(), EMPTY)] {
        entries.iter().for_each(|e| e.check().expect("legal"));
        let bytes = encode_leaf(&entries);
        check(name, &bytes, frozen);
        assert_eq!(decode_leaf(&bytes).expect("decodes"), entries);
    }
}

#[test]
fn inner_bytes_are_frozen() {
    let child = |name, n, entries, bytes| Child { first: path(name), id: id(n), entries, bytes };
    let children =
        vec![child("", 1, 300, 0), child("src/lib.rs", 2, 32, 1 << 20), child("src/main.rs", 3, 1, u64::MAX)];
    let bytes = encode_inner(1, &children);
    check("inner", &bytes, INNER);
    assert_eq!(decode_inner(&bytes).expect("decodes").children, children);
}

#[test]
fn list_bytes_are_frozen() {
    let extents = vec![Extent::Chunk { id: id(1), len: 65_536 }, Extent::Hole { len: 4096 }];
    let children = vec![ListChild { id: id(2), len: 1 << 32 }, ListChild { id: id(3), len: 1 }];
    for (name, node, frozen) in
        [("leaf", ListNode::Leaf(extents), LIST_LEAF), ("inner", ListNode::Inner { height: 1, children }, LIST_INNER)]
    {
        let bytes = encode_list(&node);
        check(name, &bytes, frozen);
        assert_eq!(decode_list(&bytes).expect("decodes"), node);
    }
}

/// The cut rule and the node ids, in one number each.
#[test]
fn roots_are_frozen() {
    let mut store = Store::default();
    let root = store.build(&many(20_000));
    check("tree", &root.id.0, &[TREE_ROOT]);
    let mut builder = ListBuilder::new(hasher(), &cut_key());
    for n in 0..20_000 {
        builder.push(Extent::Chunk { id: chunk_id(n), len: 1 + n as u32 }, &mut store).expect("legal");
    }
    let Content::List { root, height: 1, .. } = builder.finish(&mut store).expect("content") else { panic!("short") };
    check("list", &root.0, &[LIST_ROOT]);
}

/// One line per column, in the order of the documentation.
const PLAIN: &[&str] = &[
    "0103",
    "0003040307347372632f6c69622e72736d61696e",
    "000003000200",
    "02ed03e8076403616e6e00a403e8076403616e6e0000000101",
    "028080a0f6f4acdbe01b008aa8d6b907",
    "0002",
    "0002",
    "01000002",
    "00",
    "802003",
    "68690a",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
const RICH: &[&str] = &[
    "010800000000010000020f1205040506040402612d6e616d652d6f662d6d6f72652d7468616e2d6669667465656e2d62",
    "79746573626c6f636b63686172656d7074797874656e74736669666f6c696e6b73740100090008000100040007000600",
    "050001a403e8076403616e6e0000070080a8d6b9070000000081a8d6b90782a8d6b90700000101000004050100048001",
    "00000102000106757365722e6b017600030100000202000100030021612d6e616d652d6f662d6d6f72652d7468616e2d",
    "6669667465656e2d62797465730000d121808080808020080101ac02046669666f03d804c13e000201010101010101",
    "010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202",
    "0202020202020202020303030303030303030303030303030303030303030303030303030303030303",
];
const EMPTY: &[&str] = &["0100000000"];
const INNER: &[&str] = &[
    "020103000004000a347372632f6c69622e72736d61696eac02200100808040ffffffffffffffffff0101010101010101",
    "010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202",
    "0202020202020202020303030303030303030303030303030303030303030303030303030303030303",
];
const LIST_LEAF: &[&str] = &["030280800881400101010101010101010101010101010101010101010101010101010101010101"];
const LIST_INNER: &[&str] = &[
    "040102808080801001020202020202020202020202020202020202020202020202020202020202020203030303030303",
    "03030303030303030303030303030303030303030303030303",
];
const TREE_ROOT: &str = "b5cac6e2271d66d9671678d49e774ffc4bff5ca4e131d8627584ad8dbc4eb3ac";
const LIST_ROOT: &str = "90ff51ed7f61161f31aa568aa3dafb5bc4fbe1ac1b990522ccbf16a140853f9c";
