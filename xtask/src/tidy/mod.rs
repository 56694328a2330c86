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

/// All files that belong to the repository, sorted; what is built or ignored is left out.
fn text_files(root: &Path) -> Result<Vec<PathBuf>> {
    const NOT_OURS: [&str; 4] = [".git", "bin", "target", "corpus"];
    const NOT_TEXT: [&str; 1] = ["Cargo.lock"];
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir()? {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let name = name.to_string_lossy();
            if kind.is_dir() && (!NOT_OURS.contains(&name.as_ref()) || folder.ends_with("src")) {
                folders.push(entry.path());
            } else if kind.is_file() && !NOT_TEXT.contains(&name.as_ref()) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
