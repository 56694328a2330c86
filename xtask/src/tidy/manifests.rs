//! Manifests: versions once, lints once, a description each, no dependency that nobody names.

use crate::Result;
use cargo_metadata::Metadata;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

pub(super) fn check(root: &Path, metadata: &Metadata, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let path = package.manifest_path.as_std_path();
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let manifest: Table = std::fs::read_to_string(path)?.parse()?;
        let sources = sources_of(path.parent().unwrap_or(root), files)?;
        findings.extend(complaints(&manifest, &sources).into_iter().map(|complaint| format!("{name}: {complaint}")));
    }
    Ok(findings)
}

/// The Rust files among `files` that belong to a package: whether they lie in its `src`, and what is in them.
fn sources_of(package: &Path, files: &[PathBuf]) -> Result<Vec<(bool, String)>> {
    let is_source = |file: &&PathBuf| file.starts_with(package) && file.extension().is_some_and(|it| it == "rs");
    let read = |file: &PathBuf| Ok((file.starts_with(package.join("src")), std::fs::read_to_string(file)?));
    files.iter().filter(is_source).map(read).collect()
}

/// Whether `source` names the crate `name`.
fn names(source: &str, name: &str) -> bool {
    let name = name.replace('-', "_");
    source.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
}

fn complaints(manifest: &Table, sources: &[(bool, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let text = |key: &str| manifest.get("package").and_then(|p| p.get(key)).and_then(Value::as_str);
    if text("description").is_none_or(str::is_empty) {
        found.push("no description".to_owned());
    }
    if manifest.get("lints").and_then(|l| l.get("workspace")) != Some(&Value::Boolean(true)) {
        found.push("lints.workspace = true is missing".to_owned());
    }
    for key in ["version", "edition", "rust-version", "license"] {
        if text(key).is_some() {
            found.push(format!("{key} is written out: use {key}.workspace = true"));
        }
    }
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    for table in targets.filter_map(Value::as_table).chain(std::iter::once(manifest)) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = table.get(kind).and_then(Value::as_table) else { continue };
            for (name, value) in dependencies {
                // A crate's tests may depend on the crate itself to switch a feature on: there is no version in that.
                let is_itself = value.get("path").and_then(Value::as_str) == Some(".");
                if value.get("workspace") != Some(&Value::Boolean(true)) && !is_itself {
                    found.push(format!("{name}: versions stand in the root Cargo.toml; use workspace = true"));
                }
                let is_named =
                    |(in_src, source): &(bool, String)| (*in_src || kind != "dependencies") && names(source, name);
                if !is_itself && !sources.iter().any(is_named) {
                    found.push(format!("{name}: nothing names it; take it out of {kind}"));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::complaints;

    fn check(text: &str, expected: usize) {
        let sources = [(true, "use a::x;".to_owned()), (false, "b_c::y()".to_owned())];
        let found = complaints(&text.parse().expect("TOML"), &sources);
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test]
    fn what_is_said_in_the_root_is_not_said_again() {
        let good = "package = { description = 'x', version.workspace = true }\nlints.workspace = true\n";
        check(&format!("{good}[dependencies]\na.workspace = true"), 0);
        check(&format!("{good}[dependencies]\na = '1'\n[dev-dependencies]\nb-c = {{ version = '1' }}"), 2);
        check(&format!("{good}[dev-dependencies]\na = {{ path = '.', features = ['x'] }}"), 0);
        check(&format!("{good}[target.'cfg(unix)'.dependencies]\na = '1'"), 1);
        check("package = { version = '1' }", 3);
    }

    #[test]
    fn what_nothing_names_is_no_dependency() {
        let good = "package = { description = 'x', version.workspace = true }\nlints.workspace = true\n";
        check(&format!("{good}[dev-dependencies]\na.workspace = true\nb-c.workspace = true"), 0);
        // Tests alone name one of them.
        check(&format!("{good}[dependencies]\nb-c = {{ workspace = true, optional = true }}\nd.workspace = true"), 2);
    }
}
