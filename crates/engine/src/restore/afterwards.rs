//! The end of a restore: hard links, then directories.

use super::Tally;
use decube_backup_core::entry::{Entry, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::Target;

/// What is left to do once all content is written.
#[derive(Default)]
pub(super) struct Afterwards {
    pub(super) links: Vec<(EntryPath, EntryPath)>,
    pub(super) directories: Vec<(EntryPath, Entry)>,
}

impl Afterwards {
    pub(super) fn finish(self, target: &dyn Target, tally: &Tally<'_>) {
        for (original, path) in self.links {
            match target.link(&original, &path) {
                Ok(()) => tally.update(|r| r.files_restored += 1),
                Err(error) => {
                    tally.problem(Problem::from_error(ProblemKind::Unwritable, path.as_bytes().to_vec(), &error))
                }
            }
        }
        for (path, mut entry) in self.directories.into_iter().rev() {
            entry.path = path;
            tally.problems(target.finish_directory(&entry));
        }
    }
}
