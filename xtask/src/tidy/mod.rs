//! `tidy`: the rules of the house that a program can check.
//!
//! | module | rule |
//! |---|---|
//! | [`floors`] | a crate depends only on strictly lower floors |
//! | [`manifests`] | versions once, lints once, a description each, no dependency that nobody names |
//! | [`text`] | file length, forbidden words, printing |
//! | [`links`] | relative links in the documents lead somewhere |
//!
//! Every check returns its findings, so one run shows them all. A rule without an exception needs no
//! discussion; the exceptions there are stand in the module of their rule, each with its reason.

mod floors;
mod links;
mod manifests;
mod text;

use crate::flags::Flags;
use crate::{Result, host};
use std::path::{Path, PathBuf};

/// Runs all checks.
pub(crate) fn run(arguments: Vec<String>) -> Result {
    Flags::new(arguments).end()?;
    let root = host::workspace_root()?;
    let findings = check(&root)?;
    for finding in &findings {
        println!("tidy: {finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: nothing to complain about");
            Ok(())
        }
        count => Err(format!("{count} findings").into()),
    }
}

fn check(root: &Path) -> Result<Vec<String>> {
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(root).no_deps().exec()?;
    let mut findings = floors::check(&metadata);
    let files = text_files(root)?;
    findings.extend(manifests::check(root, &metadata, &files)?);
    for file in &files {
        let name = file.strip_prefix(root)?.to_string_lossy().into_owned();
        let bytes = std::fs::read(file)?;
        let Ok(content) = String::from_utf8(bytes) else { continue }; // golden bytes and the like
        findings.extend(text::check(&name, &content));
        if name.ends_with(".md") {
            findings.extend(links::check(root, file, &name, &content));
        }
    }
    findings.extend(lock_is_committed(root));
    Ok(findings)
}

/// A clone without `Cargo.lock` builds something else tomorrow.
fn lock_is_committed(root: &Path) -> Option<String> {
    if !root.join(".git").exists() || host::find_program("git").is_none() {
        return None; // an unpacked archive: that the file exists was checked before
    }
    let mut git = std::process::Command::new("git");
    // The owner of a clone in a container is often somebody else.
    git.arg("-c").arg(format!("safe.directory={}", root.display())).current_dir(root);
    let listed = host::run_quietly(git.args(["ls-files", "--error-unmatch", "Cargo.lock"]));
    listed.is_err().then(|| "Cargo.lock is not committed".to_owned())
}

/// All files that belong to the repository, sorted; what `.gitignore` names is built or installed, not ours.
fn text_files(root: &Path) -> Result<Vec<PathBuf>> {
    const NOT_OURS: [&str; 2] = [".git", "Cargo.lock"];
    let ours = |entry: &ignore::DirEntry| !NOT_OURS.iter().any(|name| entry.file_name() == *name);
    let walk = ignore::WalkBuilder::new(root)
        .standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .filter_entry(ours)
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            files.push(entry.into_path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_or_installed_is_not_ours_and_what_is_hidden_is() {
        let root = tempfile::tempdir().expect("temp");
        let put = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
            std::fs::write(path, text).expect("file");
        };
        put(".gitignore", "/target\n/bin\n.crates.toml\n");
        put("src/bin/a.rs", "");
        put(".ci/run", "");
        for elsewhere in ["target/b", "bin/c", ".crates.toml", ".git/config", "Cargo.lock"] {
            put(elsewhere, "/home/somebody");
        }
        let files = text_files(root.path()).expect("listed");
        let names: Vec<_> = files.iter().filter_map(|file| file.strip_prefix(root.path()).ok()).collect();
        assert_eq!(names, [".ci/run", ".gitignore", "src/bin/a.rs"].map(Path::new));
    }
}
