//! Which names each directory has in the snapshot, for as long as the walk is inside it.

use decube_backup_core::entry::EntryPath;
use std::collections::HashSet;

/// The directories from the root down to where the walk is, with the names seen in them.
#[derive(Default)]
pub(super) struct Extraneous {
    open: Vec<(EntryPath, HashSet<Vec<u8>>)>,
}

impl Extraneous {
    /// The walk reached `path`.
    pub(super) fn see(&mut self, path: &EntryPath, is_directory: bool) {
        if let (Some(parent), Some((directory, names))) = (path.parent(), self.open.last_mut())
            && *directory == parent
        {
            names.insert(path.name().to_vec());
        }
        if is_directory {
            self.open.push((path.clone(), HashSet::new()));
        }
    }

    /// Directories that are complete once the walk goes on to `next`, innermost first.
    pub(super) fn left(&mut self, next: Option<&EntryPath>) -> Vec<(EntryPath, HashSet<Vec<u8>>)> {
        let mut left = Vec::new();
        while let Some((directory, _)) = self.open.last() {
            if next.is_some_and(|n| n.is_within(directory)) {
                break;
            }
            left.extend(self.open.pop());
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_left_when_the_walk_passes_its_subtree() {
        let path = |t: &str| EntryPath::new(t.as_bytes()).expect("legal");
        let mut watch = Extraneous::default();
        let mut left = Vec::new();
        for (name, directory) in [("", true), ("a", true), ("a/x", false), ("b", true), ("c", false)] {
            left.extend(watch.left(Some(&path(name))));
            watch.see(&path(name), directory);
        }
        left.extend(watch.left(None));
        let shown: Vec<_> = left.iter().map(|(d, names)| (d.to_string(), names.len())).collect();
        assert_eq!(shown, [("a".into(), 1), ("b".into(), 0), (String::new(), 3)]);
    }
}
