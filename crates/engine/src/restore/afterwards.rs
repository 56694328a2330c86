//! The end of a restore: hard links, then directories.

use super::{Lacking, Tally};
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
            let lacking = tally.lacking(&original);
            // What stands here may be better than what came back, or may be all there is.
            let stays = match lacking {
                None => false,
                Some(Lacking::All) => true,
                Some(Lacking::Parts) => !matches!(target.existing(&path), Ok(None)),
            };
            if stays {
                let message = format!("another name of {original}, which could not be restored; left as it was");
                tally.problem(Problem::new(ProblemKind::Damaged, path.as_bytes(), message));
                continue;
            }
            match (target.link(&original, &path), kind) {
                (Ok(()), EntryKind::File { .. }) => tally.update(|r| r.files_restored += u64::from(lacking.is_none())),
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
