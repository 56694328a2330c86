//! The end of a restore: hard links, then directories.

use super::Tally;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::Target;

/// Another name of something restored.
pub(super) struct Link {
    pub(super) original: EntryPath,
    pub(super) path: EntryPath,
    pub(super) kind: EntryKind,
}

/// What is left to do once all content is written.
#[derive(Default)]
pub(super) struct Afterwards {
    pub(super) links: Vec<Link>,
    pub(super) directories: Vec<(EntryPath, Entry)>,
}

impl Afterwards {
    pub(super) fn finish(self, target: &dyn Target, tally: &Tally<'_>) {
        for Link { original, path, kind } in self.links {
            match (target.link(&original, &path), kind) {
                (Ok(()), EntryKind::File { .. }) => tally.update(|r| r.files_restored += 1),
                (Ok(()), _) => tally.update(|r| r.others += 1),
                (Err(error), _) => {
                    tally.problem(Problem::from_error(ProblemKind::Unwritable, path.as_bytes().to_vec(), &error));
                }
            }
        }
        for (path, mut entry) in self.directories.into_iter().rev() {
            entry.path = path;
            tally.problems(target.finish_directory(&entry));
        }
    }
}
