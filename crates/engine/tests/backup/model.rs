//! Random trees and edits: every snapshot is what the tree was.

use crate::common::made_up::{Behaviour, MadeUp, MadeUpFile};
use crate::common::{Harness, noise, path, small_packs};
use decube_backup_engine::browse;
use decube_backup_engine::options::{Difference, RestoreOptions};
use decube_backup_format::ids::SnapshotId;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Path → (seed, length) of the content.
type Model = BTreeMap<String, (u64, u64)>;

#[derive(Clone, Debug)]
enum Edit {
    Write { folder: u8, name: u8, seed: u64, len: u64 },
    Remove(prop::sample::Index),
    Rename { which: prop::sample::Index, folder: u8, name: u8 },
    Swap(prop::sample::Index, prop::sample::Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let len = prop_oneof![Just(0u64), 1..300u64, 256..258u64, 1000..50_000u64, 100_000..400_000u64, Just(1_200_000)];
    let edit = prop_oneof![
        4 => (0..6u8, 0..12u8, 0..4u64, len).prop_map(|(folder, name, seed, len)| Edit::Write { folder, name, seed, len }),
        1 => any::<prop::sample::Index>().prop_map(Edit::Remove),
        1 => (any::<prop::sample::Index>(), 0..6u8, 0..12u8).prop_map(|(which, folder, name)| Edit::Rename { which, folder, name }),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(a, b)| Edit::Swap(a, b)),
    ];
    prop::collection::vec(edit, 1..12)
}

/// Folders whose order by bytes and by path differ.
fn place(folder: u8, name: u8) -> String {
    let folder = ["a", "a/b", "a-b", "a!", "b", "b/c/d"][usize::from(folder) % 6];
    format!("{folder}/f{name}")
}

fn apply(model: &mut Model, edit: &Edit) {
    let nth = |model: &Model, index: &prop::sample::Index| {
        (!model.is_empty()).then(|| model.keys().nth(index.index(model.len())).cloned()).flatten()
    };
    match edit {
        Edit::Write { folder, name, seed, len } => _ = model.insert(place(*folder, *name), (*seed, *len)),
        Edit::Remove(which) => {
            if let Some(path) = nth(model, which) {
                model.remove(&path);
            }
        }
        Edit::Rename { which, folder, name } => {
            if let Some(content) = nth(model, which).and_then(|path| model.remove(&path)) {
                model.insert(place(*folder, *name), content);
            }
        }
        Edit::Swap(a, b) => {
            if let (Some(a), Some(b)) = (nth(model, a), nth(model, b)) {
                let (one, other) = (model[&a], model[&b]);
                model.insert(a, other);
                model.insert(b, one);
            }
        }
    }
}

fn source(model: &Model) -> MadeUp {
    let mut files: Vec<MadeUpFile> = model
        .iter()
        .map(|(name, (seed, len))| MadeUpFile {
            path: path(name),
            // Another length is another change time, as on a real file system.
            seed: *seed + (*len << 8),
            len: *len,
            behaviour: Behaviour::Fine,
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    MadeUp::new(files)
}

fn assert_holds(harness: &Harness, snapshot: &SnapshotId, model: &Model) {
    let (to, report) = harness.restore_with(snapshot, &RestoreOptions::default());
    assert!(report.problems.is_empty(), "{report:?}");
    assert_eq!(report.files_restored, model.len() as u64);
    for (name, (seed, len)) in model {
        let bytes = std::fs::read(to.path().join(name)).expect(name);
        assert!(bytes == noise(*seed + (*len << 8), *len as usize), "{name}");
    }
}

fn assert_diff(harness: &Harness, (a, before): (&SnapshotId, &Model), (b, after): (&SnapshotId, &Model)) {
    let mut found = BTreeMap::new();
    let mut visit = |difference: Difference| {
        let (what, entry) = match difference {
            Difference::Added(entry) => ("added", entry),
            Difference::Removed(entry) => ("removed", entry),
            Difference::Content(_, entry) => ("content", entry),
            Difference::Attributes(_, entry) => ("attributes", entry),
        };
        if entry.kind != decube_backup_core::EntryKind::Directory {
            found.insert(entry.path.to_string(), what);
        }
        Ok(())
    };
    browse::diff(&harness.repository(), &harness.snapshot(a), &harness.snapshot(b), &mut visit).expect("diff");
    let mut expected = BTreeMap::new();
    for name in before.keys().chain(after.keys()) {
        match (before.get(name), after.get(name)) {
            (Some(x), Some(y)) if x != y && (x.1, y.1) == (0, 0) => _ = expected.insert(name.clone(), "attributes"),
            (Some(x), Some(y)) if x != y => _ = expected.insert(name.clone(), "content"),
            (None, Some(_)) => _ = expected.insert(name.clone(), "added"),
            (Some(_), None) => _ = expected.insert(name.clone(), "removed"),
            _ => {}
        }
    }
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_holds_what_the_tree_was(rounds in prop::collection::vec(edits(), 1..5)) {
        let harness = Harness::with_repository(&small_packs());
        let mut model = Model::new();
        let mut history = Vec::new();
        for (round, edits) in rounds.iter().enumerate() {
            edits.iter().for_each(|edit| apply(&mut model, edit));
            // Now and then another machine takes over, without any cache.
            let writer = if round % 3 == 2 { harness.somebody_else() } else { harness.through(harness.sink.clone()) };
            let report = writer.backup_source(&source(&model), "model").expect("backup");
            history.push((report.snapshot.expect("a snapshot"), model.clone()));
        }
        for (snapshot, model) in &history {
            assert_holds(&harness, snapshot, model);
        }
        for pair in history.windows(2) {
            assert_diff(&harness, (&pair[0].0, &pair[0].1), (&pair[1].0, &pair[1].1));
        }
        harness.assert_sound("model");
    }
}
