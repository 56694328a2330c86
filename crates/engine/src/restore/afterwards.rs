//! The end of a restore: hard links, then directories.

use super::{Lacking, Tally};
use crate::options::Effect;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::Target;

/// Another name of something restored.
pub(super) struct Link {
    pub(super) original: EntryPath,
    pub(super) path: EntryPath,
    pub(super) kind: EntryKind,
    /// Whether a directory stands there, which goes with all that is in it.
    pub(super) over_directory: bool,
}

/// What is left to do once all content is written.
#[derive(Default)]
pub(super) struct Afterwards {
    pub(super) links: Vec<Link>,
    pub(super) directories: Vec<(EntryPath, Entry)>,
}

impl Afterwards {
    /// Makes the links; returns what has to be restored by itself: its first name cannot be written,
    /// or cannot have this one.
    pub(super) fn link(&mut self, target: &dyn Target, tally: &Tally<'_>) -> Vec<EntryPath> {
        let mut alone = Vec::new();
        for Link { original, path, kind, over_directory } in self.links.drain(..) {
            let lacking = tally.lacking(&original);
            // What stands here may be better than what came back, or may be all there is.
            let stays = match lacking {
                None => false,
                Some(Lacking::Place) => {
                    alone.push(path);
                    continue;
                }
                Some(Lacking::Everything) => true,
                Some(Lacking::Parts) => !matches!(target.existing(&path), Ok(None)),
            };
            if stays {
                let message = format!("another name of {original}, which could not be restored; left as it was");
                tally.problem(Problem::new(ProblemKind::Damaged, path.as_bytes(), message));
                continue;
            }
            let linked = target.link(&original, &path);
            if over_directory && linked.is_ok() {
                tally.deleted(&path, Effect::Real);
            }
            match linked {
                Ok(()) if lacking == Some(Lacking::Parts) => {
                    let message = format!("another name of {original}, of which parts are missing");
                    tally.problem(Problem::new(ProblemKind::Damaged, path.as_bytes(), message));
                }
                Ok(()) => tally.update(|r| match kind {
                    EntryKind::File { .. } => r.files_restored += 1,
                    _ => r.others += 1,
                }),
                Err(error) => {
                    let message = format!("cannot be one with {original}, is restored by itself: {}", error.chain());
                    tally.problem(Problem::new(ProblemKind::Attribute, path.as_bytes(), message));
                    alone.push(path);
                }
            }
        }
        alone
    }

    /// Gives directories their attributes, innermost first.
    pub(super) fn finish_directories(self, target: &dyn Target, tally: &Tally<'_>) {
        for (path, mut entry) in self.directories.into_iter().rev() {
            entry.path = path;
            tally.problems(target.finish_directory(&entry));
        }
    }
}
