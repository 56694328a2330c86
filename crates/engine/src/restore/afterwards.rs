//! The end of a restore: hard links, then directories.
//!
//! What cannot be one with the first name of its group is restored again. *Invariant*: however many names there are, that ends
//! after a few rounds, and nothing is said of a name twice.

use super::{Lacking, Tally};
use crate::options::Effect;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::target::Target;
use decube_backup_core::{Error, ErrorKind};
use std::collections::HashMap;

/// So many names of a group are tried as its first; then each of the others is restored by itself.
const FIRST_NAMES_MAX: u8 = 4;

/// A file with so many names is good to link to. What it does not take has a first name of its own, however often: it may
/// have all the names that its file system allows.
const MANY_NAMES: u64 = 32;

/// Another name of something restored.
pub(super) struct Link {
    pub(super) original: EntryPath,
    pub(super) path: EntryPath,
    pub(super) kind: EntryKind,
    /// Whether a directory stands there, which goes with all that is in it.
    pub(super) over_directory: bool,
}

/// How the names of a group go on that cannot be one with its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// One of them is their first.
    Together,
    /// Each is a file.
    Apart,
}

/// A name that is restored again.
#[derive(Clone)]
pub(super) struct Alone {
    pub(super) path: EntryPath,
    /// As in [`Link`].
    pub(super) over_directory: bool,
    pub(super) again: Again,
}

/// What is left to do once all content is written.
#[derive(Default)]
pub(super) struct Afterwards {
    pub(super) links: Vec<Link>,
    pub(super) directories: Vec<(EntryPath, Entry)>,
    /// How many first names of its group failed before this one.
    tried: HashMap<EntryPath, u8>,
}

impl Afterwards {
    /// Makes the links; returns what has to be restored again: its first name cannot be written, or cannot have this one.
    pub(super) fn link(&mut self, target: &dyn Target, tally: &Tally<'_>) -> Vec<Alone> {
        let mut round = Round { target, tally, tried: &mut self.tried, groups: HashMap::new(), alone: Vec::new() };
        self.links.drain(..).for_each(|link| round.link(link));
        round.alone
    }

    /// Gives directories their attributes, innermost first.
    pub(super) fn finish_directories(self, target: &dyn Target, tally: &Tally<'_>) {
        for (path, mut entry) in self.directories.into_iter().rev() {
            entry.path = path;
            tally.problems(target.finish_directory(&entry));
        }
    }
}

struct Round<'a> {
    target: &'a dyn Target,
    tally: &'a Tally<'a>,
    tried: &'a mut HashMap<EntryPath, u8>,
    /// What was decided for groups, by the first name that did not do.
    groups: HashMap<EntryPath, Again>,
    alone: Vec<Alone>,
}

impl Round<'_> {
    fn link(&mut self, link: Link) {
        let Link { original, path, kind, over_directory } = &link;
        let lacking = self.tally.lacking(original);
        // What stands here may be better than what came back, or may be all there is.
        let stays = match lacking {
            None => None,
            Some(Lacking::Space) if self.is_one_file_system(original, path) => {
                let message = format!("another name of {original}, for which there is no space; left as it was");
                return self.problem(ProblemKind::Unwritable, path, message);
            }
            Some(Lacking::Place | Lacking::Space) => return self.again(link, None),
            Some(Lacking::Everything(why)) => Some(why),
            Some(Lacking::Parts(why)) => Some(why).filter(|_| !matches!(self.target.existing(path), Ok(None))),
        };
        if let Some(why) = stays {
            let message = format!("another name of {original}, which could not be restored; left as it was");
            return self.problem(why, path, message);
        }
        let linked = self.target.link(original, path);
        if *over_directory && linked.is_ok() {
            self.tally.deleted(path, Effect::Real);
        }
        match (linked, lacking) {
            (Ok(()), Some(Lacking::Parts(why))) => {
                self.problem(why, path, format!("another name of {original}, of which parts are missing"));
            }
            (Ok(()), _) => self.tally.update(|r| match kind {
                EntryKind::File { .. } => r.files_restored += 1,
                _ => r.others += 1,
            }),
            // Its content would need more.
            (Err(error), _) if error.kind() == ErrorKind::NoSpace => {
                self.problem(ProblemKind::Unwritable, path, error.chain());
            }
            (Err(error), _) => self.again(link, Some(&error)),
        }
    }

    fn problem(&self, kind: ProblemKind, path: &EntryPath, message: String) {
        self.tally.problem(Problem::new(kind, path.as_bytes(), message));
    }

    fn is_one_file_system(&self, one: &EntryPath, other: &EntryPath) -> bool {
        let device = |path: &EntryPath| {
            let directory = self.target.existing(&path.parent().unwrap_or_default());
            directory.ok().flatten().map(|directory| directory.inode.0)
        };
        device(one) == device(other)
    }

    /// `link` cannot be one with its first name, which says why, or is not there.
    fn again(&mut self, link: Link, why: Option<&Error>) {
        let Link { original, path, over_directory, .. } = link;
        let decided = self.groups.get(&original).copied();
        let again = decided.unwrap_or_else(|| self.decide(&original, &path));
        let told = match (again, why) {
            (Again::Apart, Some(why)) => Some(format!("is restored by itself: {}", why.chain())),
            (Again::Apart, None) => Some("which cannot be written; is restored by itself".to_owned()),
            (Again::Together, Some(why)) if decided.is_none() => {
                Some(format!("begins another file, which other names are tried with: {}", why.chain()))
            }
            (Again::Together, _) => None,
        };
        if let Some(told) = told {
            self.problem(ProblemKind::Attribute, &path, format!("cannot be one with {original}, {told}"));
        }
        self.alone.push(Alone { path, over_directory, again });
    }

    /// Decides how the names go on that `original` was the first of; `next` is the first of them.
    fn decide(&mut self, original: &EntryPath, next: &EntryPath) -> Again {
        let did = matches!(self.target.existing(original), Ok(Some(first)) if first.links >= MANY_NAMES);
        let tried = self.tried.remove(original).unwrap_or_default() + u8::from(!did);
        let again = if tried < FIRST_NAMES_MAX { Again::Together } else { Again::Apart };
        if again == Again::Together {
            self.tried.insert(next.clone(), tried);
        }
        self.groups.insert(original.clone(), again);
        again
    }
}
