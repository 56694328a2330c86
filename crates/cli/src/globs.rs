//! Patterns that choose entries of a snapshot, with the meaning of gitignore (`core::gitignore`, crate `ignore`): without
//! a slash a pattern is matched with names, with one against the whole path.

use decube_backup_core::gitignore::{self, Line};
use decube_backup_core::{Entry, EntryKind, Error, ErrorKind, Result};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether upper and lower case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letters {
    /// They are not.
    Exact,
    /// They are.
    AnyCase,
}

/// Compiled patterns.
#[derive(Clone, Debug)]
pub(crate) struct Globs(Gitignore);

impl Globs {
    /// Compiles `patterns`.
    ///
    /// # Errors
    /// `Invalid`, naming the pattern.
    pub(crate) fn new(patterns: &[String], letters: Letters) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("/");
        let invalid = |pattern: &str, e: ignore::Error| {
            Error::new(ErrorKind::Invalid, "pattern", "invalid pattern").with("pattern", pattern).with_source(e)
        };
        builder.case_insensitive(letters == Letters::AnyCase).map_err(|e| invalid("", e))?;
        for pattern in patterns {
            match gitignore::line(pattern) {
                Line::Pattern(text) => builder.add_line(None, &text).map_err(|e| invalid(pattern, e))?,
                Line::Backwards(_) => {
                    let message = "invalid pattern: a range in brackets runs backwards";
                    return Err(Error::new(ErrorKind::Invalid, "pattern", message).with("pattern", pattern));
                }
                Line::Nothing => &mut builder,
            };
        }
        builder.build().map(Self).map_err(|e| invalid("", e))
    }

    /// Whether the entry itself matches.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.0.matched(path_of(entry), is_directory(entry)).is_ignore()
    }

    /// Whether the entry or a directory above it matches.
    pub(crate) fn covers(&self, entry: &Entry) -> bool {
        self.0.matched_path_or_any_parents(path_of(entry), is_directory(entry)).is_ignore()
    }
}

fn path_of(entry: &Entry) -> &Path {
    Path::new(OsStr::from_bytes(entry.path.as_bytes()))
}

fn is_directory(entry: &Entry) -> bool {
    entry.kind == EntryKind::Directory
}

#[cfg(test)]
mod tests {
    use super::*;
    use decube_backup_core::{EntryPath, Metadata};

    #[test]
    fn whatever_is_written_is_a_pattern_unless_a_range_runs_backwards() {
        const SIGNS: [char; 14] = ['a', '[', ']', '{', '}', '\\', '!', '^', '-', '/', '*', ':', ' ', 'é'];
        let mut lines = vec![String::new()];
        for _ in 0..3 {
            let longer = lines.iter().flat_map(|line| SIGNS.map(|sign| format!("{line}{sign}")));
            lines = longer.collect();
            for line in &lines {
                let backwards = matches!(gitignore::line(line), Line::Backwards(_));
                assert_eq!(Globs::new(std::slice::from_ref(line), Letters::Exact).is_err(), backwards, "{line:?}");
            }
        }
        // What stands in brackets is what is hardest to write anew.
        for line in &lines {
            for line in [format!("[{line}]"), format!("[!{line}]x")] {
                let backwards = matches!(gitignore::line(&line), Line::Backwards(_));
                assert_eq!(Globs::new(std::slice::from_ref(&line), Letters::Exact).is_err(), backwards, "{line:?}");
            }
        }
    }

    #[test]
    fn patterns_choose_names_paths_and_subtrees() {
        let cases = [
            ("*.rs", "src/a.rs", true, true),
            ("/src", "src/a.rs", false, true),
            ("/home/*/x", "home/ann/x", true, true),
            ("src/", "src", false, false),
            ("A.rs", "src/a.rs", false, false),
            ("*.{rs,c}", "src/a.rs", false, false),
            ("/src[!x]a.rs", "src/a.rs", false, false),
        ];
        for (pattern, path, matches, covers) in cases {
            let globs = Globs::new(&[pattern.to_owned()], Letters::Exact).expect("legal");
            let path = EntryPath::new(path.as_bytes()).expect("legal");
            let entry = Entry { path, kind: EntryKind::File { size: 0 }, meta: Metadata::default() };
            assert_eq!((globs.matches(&entry), globs.covers(&entry)), (matches, covers), "{pattern}");
        }
        assert!(Globs::new(&["[z-a]".to_owned()], Letters::Exact).is_err());
    }
}
