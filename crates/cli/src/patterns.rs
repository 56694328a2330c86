//! Patterns of what stays out that match nothing, because they are written as paths are.
//!
//! One with a slash begins at what is backed up, as in a `.gitignore` there; a shell's habit is to begin where one stands.

use crate::local::Paths;
use std::path::{Component, Path, PathBuf};

/// What to say of each pattern of `paths` that can match nothing, with the one that is most likely meant.
pub(crate) fn warnings(paths: &Paths) -> Vec<String> {
    let roots: Vec<&PathBuf> = paths.required.iter().chain(&paths.optional).collect();
    let exact = paths.exclude.exclude.iter().map(|text| (text, false));
    let told = exact.chain(paths.exclude.iexclude.iter().map(|text| (text, true))).filter_map(|(text, any_case)| {
        let (not, pattern) = text.strip_prefix('!').map_or(("", text.as_str()), |pattern| ("!", pattern));
        // Whether there is such a name in any case is not looked for.
        if any_case && !is_dotted(pattern) || !may_be_a_path(paths, &roots, pattern) {
            return None;
        }
        let meant = roots.iter().find_map(|root| below(&paths.directory, root, pattern));
        let meant = meant.or_else(|| pattern.strip_prefix("./").map(PathBuf::from));
        let slash = if pattern.ends_with('/') { "/" } else { "" };
        let hint = match meant {
            Some(meant) if !meant.as_os_str().is_empty() => format!("Write \"{not}/{}{slash}\"", meant.display()),
            _ if pattern.starts_with("../") => "It leads out of it".to_owned(),
            _ => return None,
        };
        Some(format!("the pattern {text:?} matches nothing: with a slash it begins at what is backed up. {hint}"))
    });
    told.collect()
}

/// Whether `pattern` cannot be meant as one: it begins with a dot, or with a name that is in none of `roots`.
fn may_be_a_path(paths: &Paths, roots: &[&PathBuf], pattern: &str) -> bool {
    is_dotted(pattern)
        || pattern.split_once('/').is_some_and(|(first, _)| {
            !roots.iter().any(|root| paths.directory.join(root).join(first).symlink_metadata().is_ok())
        })
}

fn is_dotted(pattern: &str) -> bool {
    pattern.starts_with("./") || pattern.starts_with("../")
}

/// What `pattern`, taken for a path from `directory`, is below `root`. From the root itself, or from within it, only what begins
/// with a dot is one: all else may be there tomorrow.
fn below(directory: &Path, root: &Path, pattern: &str) -> Option<PathBuf> {
    let (directory, root) = (lexical(directory), lexical(&directory.join(root)));
    if !is_dotted(pattern) && directory.starts_with(&root) {
        return None;
    }
    lexical(&directory.join(pattern)).strip_prefix(root).ok().map(Path::to_path_buf)
}

/// `path` with `.` and `..` taken away by name.
fn lexical(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut clean, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => _ = clean.pop(),
            other => clean.push(other),
        }
        clean
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ExcludeArgs;

    #[test]
    fn patterns_of_any_case_are_warned_of_only_where_they_begin_with_a_dot() {
        let told = |pattern: &str| {
            let exclude = ExcludeArgs { iexclude: vec![pattern.to_owned()], ..ExcludeArgs::default() };
            warnings(&Paths { required: vec!["/proj".into()], directory: "/".into(), exclude, ..Paths::default() })
                .len()
        };
        assert_eq!(["proj/build", "PROJ/build", "./proj/build"].map(told), [0, 0, 1]);
    }

    #[test]
    fn what_is_written_as_a_path_is_told_with_the_pattern_meant() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir_all(folder.path().join("proj/src/proj")).expect("made");
        let cases = [
            ("proj", "proj/build", Some("Write \"/build\"")),
            ("./proj/", "!proj/build/", Some("Write \"!/build/\"")),
            ("proj", "./proj/build", Some("Write \"/build\"")),
            ("proj", "./build", Some("Write \"/build\"")),
            (".", "./proj/*.o", Some("Write \"/proj/*.o\"")),
            ("proj", "../x", Some("It leads out of it")),
            ("proj", "proj", None),
            ("proj", "build/", None),
            ("proj", "src/proj", None),
            ("proj", "src/none", None),
            ("proj", "/build", None),
            ("proj", "**/x", None),
            // It is there, and matched.
            ("proj/src", "proj/x", None),
            (".", "proj/build", None),
            // It may be there tomorrow.
            (".", "gone/build", None),
            ("..", "gone/build", None),
            ("proj", "*/x", None),
            ("proj", "proj/", None),
        ];
        for (root, pattern, expected) in cases {
            let paths = Paths {
                required: vec![root.into()],
                directory: folder.path().to_owned(),
                exclude: ExcludeArgs { exclude: vec![pattern.to_owned()], ..ExcludeArgs::default() },
                ..Paths::default()
            };
            let told = warnings(&paths);
            let as_expected = match (told.as_slice(), expected) {
                ([], None) => true,
                ([told], Some(expected)) => told.ends_with(expected),
                _ => false,
            };
            assert!(as_expected, "{root} {pattern}: {told:?}");
        }
    }
}
